//! The last act: what outsiders can check with public keys alone.

use std::path::PathBuf;

use serde_json::Value;

use super::story::{Story, Told};
use crate::site::{Exchange, Site, SiteError, Tool};

fn number(document: &Value, field: &str) -> u64 {
    document
        .get(field)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

/// Verifies the record and the nodes' logs, and holds them against each other. `reads` were answered.
pub(super) async fn verify(
    site: &Site,
    story: &mut Story,
    exchange: &Exchange,
    reads: usize,
) -> Option<()> {
    record(site, story, exchange).await?;
    let released = nodes(site, story).await?;
    reconcile(site, story, reads, released).await
}

async fn record(site: &Site, story: &mut Story, exchange: &Exchange) -> Option<()> {
    let (export, keys) = (site.layout().record_export(), site.layout().verifiers());
    story
        .step("verify-record", "The record is exported, and verified offline from its first transaction on", async {
            exchange.export(&export).await?;
            let arguments = ["audit".as_ref(), "verify".as_ref(), export.as_os_str(), "--keys".as_ref(), keys.as_os_str()];
            let report = site.program().run(Tool::Coordinator, &arguments).await?;
            let signed = report.get("signed_by").and_then(Value::as_array).map_or(0, Vec::len);
            let (blocks, transactions) = (number(&report, "blocks"), number(&report, "transactions"));
            let told = Told::new(format!(
                "{transactions} transactions in {blocks} blocks: every signature, permission and root holds; {signed} organisations signed the head"
            ));
            Ok::<_, SiteError>(((), told.with("transactions", transactions).with("blocks", blocks).with("signed_by", signed)))
        })
        .await
}

/// Gives the number of shares that the nodes logged.
async fn nodes(site: &Site, story: &mut Story) -> Option<u64> {
    let title = format!(
        "The audit logs of all {} nodes are verified, the dead ones' too",
        site.nodes().len()
    );
    story
        .step("verify-node-audits", title, async {
            let mut counts = Vec::new();
            let mut total = 0;
            for node in site.nodes() {
                let log = site.layout().node_log(&node.name);
                let arguments = [
                    "audit".as_ref(),
                    "export".as_ref(),
                    "--dir".as_ref(),
                    node.folder.as_os_str(),
                    "--out".as_ref(),
                    log.as_os_str(),
                ];
                let report = site.program().run(Tool::Cryptonode, &arguments).await?;
                let records = number(&report, "records");
                total += records;
                counts.push(format!("{}: {records}", node.name));
            }
            let told = Told::new(format!(
                "{total} shares were released ({})",
                counts.join(", ")
            ));
            Ok::<_, SiteError>((total, told.with("shares", total)))
        })
        .await
}

/// Has every organisation write out what it approved, from where its peer's store lies: a folder of its own, or the platform's. Gives the files.
async fn approvals(site: &Site) -> Result<Vec<PathBuf>, SiteError> {
    let (layout, names) = (site.layout(), site.plan().organisation_names());
    let out = layout.root().join("approvals");
    let own: Vec<_> = names
        .iter()
        .map(|name| (layout.peer(name), layout.passphrase(name)))
        .filter(|(folder, _)| folder.exists())
        .collect();
    let folders = if own.is_empty() {
        vec![(layout.platform(), layout.passphrase("platform"))]
    } else {
        own
    };
    for (folder, passphrase) in folders {
        let arguments = [
            "audit".as_ref(),
            "approvals".as_ref(),
            "--dir".as_ref(),
            folder.as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
            "--passphrase-file".as_ref(),
            passphrase.as_os_str(),
        ];
        site.program().run(Tool::Coordinator, &arguments).await?;
    }
    let file = |name: &String| out.join(format!("{name}.approvals"));
    Ok(names.iter().map(file).collect())
}

async fn reconcile(site: &Site, story: &mut Story, reads: usize, released: u64) -> Option<()> {
    let plan = *site.plan();
    story
        .step("reconcile", "The nodes' logs and what the organisations approved are held against the record", async {
            let files = approvals(site).await?;
            let mut arguments = vec!["audit".to_owned(), "reconcile".to_owned(), site.layout().record_export().display().to_string()];
            let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
            option("--keys", site.layout().verifiers().display().to_string());
            option("--cluster", site.layout().cluster().display().to_string());
            option("--approvals", plan.approvals.to_string());
            for node in site.nodes() {
                option("--node-log", site.layout().node_log(&node.name).display().to_string());
            }
            for file in files {
                option("--approvals-of", file.display().to_string());
            }
            let report = site.program().run(Tool::Coordinator, &arguments).await?;
            let (shares, on_record) = (number(&report, "shares"), number(&report, "reads"));
            let least = u64::try_from(reads).unwrap_or(u64::MAX).saturating_mul(plan.threshold.into());
            if shares != released || shares < least {
                return Err(SiteError::Unexpected(format!(
                    "{released} shares were logged and {shares} were compared, and {reads} reads need at least {least}"
                )));
            }
            let issued = report.get("approvals").and_then(Value::as_array).map_or(0, Vec::len);
            let told = Told::new(format!(
                "{shares} shares, {on_record} reads on the record, {issued} approvals: no share without its approvals, and no approval without its outcome"
            ));
            Ok(((), told.with("shares", shares).with("reads", on_record).with("approvals", issued)))
        })
        .await
}
