//! The record, the nodes' logs and what the organisations say they approved, held against each other: with every process real, and a node of which somebody has the
//! keys.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cryptonode::audit::{AuditEntry, AuditLog, AuditRecord, CheckpointKey, verify_folder};
use cryptonode::config::Config;
use cryptonode::store::{Folder, Passphrase, Store};
use serde_json::Value;
use threshold_exchange::site::{Exchange, RecordEngine, Site, SitePlan};

use super::cluster::empty_site;

const BINARY: &str = env!("CARGO_BIN_EXE_threshold-exchange");
const APPROVALS: u16 = 2;
const NODES: u16 = 3;

/// A command of an auditor or an operator: its status, what it printed as JSON, and what it said.
fn tool(tool: &str, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(BINARY)
        .args([tool, "--json"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .next();
    let value = first.map_or(Value::Null, Result::unwrap);
    (output.status.code().unwrap(), value, said)
}

fn done((status, value, said): (i32, Value, String)) -> Value {
    assert_eq!(status, 0, "{said}");
    value
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What the parties hand to the auditor: nodes' logs, organisations' files, and the record last.
struct Evidence {
    logs: Vec<PathBuf>,
    approvals: Vec<PathBuf>,
    export: PathBuf,
}

async fn gather(site: &Site, exchange: &Exchange) -> Evidence {
    let mut logs = Vec::new();
    for node in site.nodes() {
        let log = site.layout().node_log(&node.name);
        let export = ["audit", "export", "--dir", text(&node.folder), "--out"];
        done(tool("cryptonode", &[&export[..], &[text(&log)]].concat()));
        logs.push(log);
    }
    let out = site.layout().root().join("approvals");
    let mut approvals = Vec::new();
    for name in site.plan().organisation_names() {
        let (folder, passphrase) = (site.layout().peer(&name), site.layout().passphrase(&name));
        let written = done(tool(
            "coordinator",
            &[
                "audit",
                "approvals",
                "--dir",
                text(&folder),
                "--out",
                text(&out),
                "--passphrase-file",
                text(&passphrase),
            ],
        ));
        assert_eq!(written["organisations"][0]["organisation"], name.as_str());
        approvals.push(out.join(format!("{name}.approvals")));
    }
    let export = site.layout().record_export();
    exchange.export(&export).await.unwrap();
    Evidence {
        logs,
        approvals,
        export,
    }
}

fn reconcile(site: &Site, evidence: &Evidence) -> (i32, Value, String) {
    let (keys, cluster) = (site.layout().verifiers(), site.layout().cluster());
    let needed = APPROVALS.to_string();
    let mut arguments = vec!["audit", "reconcile", text(&evidence.export)];
    arguments.extend(["--keys", text(&keys), "--cluster", text(&cluster)]);
    arguments.extend(["--approvals", &needed]);
    for log in &evidence.logs {
        arguments.extend(["--node-log", text(log)]);
    }
    for file in &evidence.approvals {
        arguments.extend(["--approvals-of", text(file)]);
    }
    tool("coordinator", &arguments)
}

/// Whoever has taken a node over gives a share that nobody approved, and has the log say what he likes, under the node's own signature.
/// The node's name, and what he has the log say.
async fn log_without_approval(site: &Site) -> (String, AuditRecord) {
    // A read asks some of the nodes, and not always the same.
    let given = site.nodes().iter().find_map(|node| {
        let passphrase = site.layout().passphrase(&node.name);
        let passphrase = Passphrase::obtain(Some(&passphrase), false).unwrap();
        let folder = Folder::open(&node.folder).unwrap();
        let name = Config::load(&node.folder).unwrap().name;
        let store = Store::open(folder.path(), &passphrase).unwrap();
        let identity = store.identity().unwrap();
        let public = identity.signing.verifying_key().to_bytes();
        let audit = node.folder.join("audit");
        let mut honest = None;
        verify_folder(&audit, &name, &public, |_, entry, _| {
            if let AuditEntry::Share(share) = entry {
                honest = Some(share.clone());
            }
            Ok(())
        })
        .unwrap();
        honest.map(|share| (name, identity, audit, share))
    });
    let (name, identity, audit, mut forged) = given.expect("a node gave a share");
    for approval in &mut forged.approvals {
        approval.approval_id = hex::encode([7; 32]);
    }
    let key = CheckpointKey::of_node(&name, &identity.signing).unwrap();
    let log = AuditLog::open(&audit, key, None).unwrap();
    log.append(forged.clone()).await.unwrap();
    log.checkpoint().await.unwrap();
    (name, forged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_without_an_approval_is_named_and_every_approval_has_its_outcome() {
    let plan = SitePlan {
        nodes: NODES,
        threshold: 2,
        organisations: 4,
        approvals: APPROVALS,
    };
    let mut site = empty_site("reconciliation", plan).ordered_by(RecordEngine::Simplex);
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();
    site.start_nodes().await.unwrap();
    site.generate_key().await.unwrap();
    site.start_platform().await.unwrap();
    let exchange = Exchange::enrol(&site, site.public_key().unwrap())
        .await
        .unwrap();
    let letter = site.layout().root().join("letter");
    std::fs::write(&letter, "Dear all").unwrap();
    exchange.write("letter", &letter).await.unwrap();
    let copy = site.layout().root().join("copy");
    exchange.read("letter", &copy).await.unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), b"Dear all");

    // The second read is approved by all and answered by none: no node runs.
    for node in 0..usize::from(NODES) {
        site.kill_node(node).await.unwrap();
    }
    let refused = exchange.read("letter", &copy).await.unwrap_err();
    assert_eq!(refused.code(), "too-few-answers", "{refused}");

    let evidence = gather(&site, &exchange).await;
    let told = done(reconcile(&site, &evidence));
    assert_eq!(told["discrepancies"], Value::Array(vec![]));
    assert_eq!(told["without_files"], Value::Array(vec![]));
    let reads = told["reads_without_shares"].as_array().unwrap();
    let [unanswered] = reads.as_slice() else {
        panic!("{told:#}");
    };
    let approvals = told["approvals"].as_array().unwrap();
    let of_unanswered: Vec<&Value> = approvals
        .iter()
        .filter(|it| it["approval_id"] == *unanswered)
        .collect();
    assert_eq!(of_unanswered.len(), 4, "{told:#}");
    for approval in of_unanswered {
        assert_eq!(approval["outcome"], "open", "{told:#}");
        assert_eq!(approval["releases"], Value::Array(vec![]));
    }
    // Of the read that was answered: each node names as many approvals as it counted, and each of those has the node's release.
    let shares = told["shares"].as_u64().unwrap();
    assert!(shares >= 2, "{told:#}");
    let releases: usize = approvals
        .iter()
        .map(|it| it["releases"].as_array().unwrap().len())
        .sum();
    assert_eq!(releases as u64, shares * u64::from(APPROVALS), "{told:#}");
    for approval in approvals {
        let used = !approval["releases"].as_array().unwrap().is_empty();
        assert_eq!(approval["outcome"] == "used", used, "{told:#}");
    }

    // An organisation that leaves an approval out of its file would have to sign that anew; a file cut by hand is refused.
    let cut = std::fs::read_to_string(&evidence.approvals[0]).unwrap();
    let cut: Vec<&str> = cut
        .lines()
        .enumerate()
        .filter(|(line, _)| *line != 1)
        .map(|(_, line)| line)
        .collect();
    let altered = site.layout().root().join("cut.approvals");
    std::fs::write(&altered, cut.join("\n") + "\n").unwrap();
    let partly = Evidence {
        approvals: vec![altered],
        logs: evidence.logs.clone(),
        export: evidence.export.clone(),
    };
    let (status, _, said) = reconcile(&site, &partly);
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("altered, added or left out"), "{said}");

    // A share that nobody approved.
    let (name, forged) = log_without_approval(&site).await;
    let evidence = gather(&site, &exchange).await;
    let (status, told, said) = reconcile(&site, &evidence);
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("take the logs as evidence"), "{said}");
    let found = told["discrepancies"].as_array().unwrap();
    assert!(found.iter().all(|it| it["node"] == name.as_str()));
    let kinds: Vec<&str> = found
        .iter()
        .map(|it| it["kind"]["kind"].as_str().unwrap())
        .collect();
    // For each of the two that it names: no such read, and not issued.
    let named = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!(
        (named("unknown-read"), named("not-issued")),
        (2, 2),
        "{told:#}"
    );
    let evidence = &found[0]["evidence"];
    assert_eq!(
        evidence["write_id"],
        hex::encode(forged.write_id),
        "{told:#}"
    );
    site.stop().await.unwrap();
}
