//! Links between versions of documents, and their proofs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, audit, block_on, exit};
use crate::api::{EndView, LinkView, ProofView};
use crate::client::ClientError;
use crate::folder;
use crate::record::{Identifier, Link, Transaction, VersionName};

const MAX_PROOF: u64 = 1024 * 1024;

/// Commands about links.
#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Make a link, or a new version of it.
    #[command(after_help = "\
Example:
  coordinator link put designs bridge-of-plan designs/bridge@3 \\
    plans/valley@1 --relation derived-from")]
    Put(Put),
    /// Show a link.
    Show(Named),
    /// List the links of a dataset.
    Ls {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
    },
    /// Fetch the proof of a link into a file.
    Prove {
        #[command(flatten)]
        named: Named,
        /// The file to write.
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify a proof offline, against the organisations' keys.
    #[command(after_help = "Example:\n  coordinator link verify link.proof --keys D/verifiers.txt")]
    Verify {
        /// The proof.
        #[arg(value_name = "FILE")]
        proof: PathBuf,
        /// File with the organisations' verifier keys, one in each line, got from the organisations themselves.
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
}

/// Which link.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The dataset that it lies in.
    #[arg(value_name = "DATASET")]
    dataset: Identifier,
    /// The link.
    #[arg(value_name = "LINK")]
    link: Identifier,
}

/// Arguments of `link put`.
#[derive(Debug, Args)]
pub(super) struct Put {
    #[command(flatten)]
    named: Named,
    /// Where it starts: DATASET/DOCUMENT@VERSION, or TENANT/DATASET/DOCUMENT@VERSION.
    #[arg(value_name = "FROM")]
    from: String,
    /// Where it leads.
    #[arg(value_name = "TO")]
    to: String,
    /// What it means.
    #[arg(long, value_name = "WORD", default_value = "derived-from")]
    relation: Identifier,
    /// The version that the link must have now, 0 for a new one: refuse if somebody changed it meanwhile.
    #[arg(long, value_name = "N")]
    after: Option<u64>,
}

pub(super) fn run(
    command: &LinkCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        LinkCommand::Put(it) => put(it, connect, output),
        LinkCommand::Show(it) => {
            let client = connect.client()?;
            let link = block_on(async { Ok(client.link(&it.dataset, &it.link).await?) })?;
            let lines = [
                field("link", format!("{}, version {}", link.link, link.version)),
                field("from", end(&link.from)),
                field("to", end(&link.to)),
                field("relation", &link.relation),
                field("author", &link.author),
            ];
            output.result(&link, &lines)
        }
        LinkCommand::Ls { dataset } => {
            let client = connect.client()?;
            let links = block_on(async { Ok(client.links(dataset).await?) })?;
            let row = |it: &LinkView| {
                vec![
                    it.link.to_string(),
                    it.version.to_string(),
                    end(&it.from),
                    it.relation.to_string(),
                    end(&it.to),
                ]
            };
            let rows: Vec<Vec<String>> = links.iter().map(row).collect();
            output.result(
                &links,
                &table(&["link", "version", "from", "", "to"], &rows),
            )
        }
        LinkCommand::Prove { named, out } => {
            let client = connect.client()?;
            let proof =
                block_on(async { Ok(client.prove_link(&named.dataset, &named.link).await?) })?;
            let text = serde_json::to_vec_pretty(&proof).unwrap_or_default();
            std::fs::write(out, text)?;
            let value = json!({ "proof": out, "position": proof.position, "size": proof.size });
            output.result(&value, &[field("proof", out.display())])
        }
        LinkCommand::Verify { proof, keys } => verify(proof, keys, output),
    }
}

fn end(end: &EndView) -> String {
    let tenant = end
        .tenant
        .as_ref()
        .map(|it| format!("{it}/"))
        .unwrap_or_default();
    format!("{tenant}{}/{}@{}", end.dataset, end.document, end.version)
}

fn put(command: &Put, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let Named { dataset, link } = &command.named;
    let (from, to) = (
        version_name(client.tenant(), &command.from)?,
        version_name(client.tenant(), &command.to)?,
    );
    let (version, receipt) = block_on(async {
        let present = match command.after {
            Some(version) => version,
            None => match client.link(dataset, link).await {
                Ok(link) => link.version,
                Err(ClientError::Problem { status: 404, .. }) => 0,
                Err(e) => return Err(e.into()),
            },
        };
        let version = present.saturating_add(1);
        let transaction = Transaction::Link(Link {
            tenant: client.tenant().clone(),
            dataset: dataset.clone(),
            link: link.clone(),
            version,
            from,
            to,
            relation: command.relation.clone(),
        });
        Ok((version, client.submit(transaction).await?))
    })?;
    let line = format!(
        "{dataset}/{link}, version {version}, block {}",
        receipt.height
    );
    let value = json!({ "dataset": dataset, "link": link, "version": version, "receipt": receipt });
    output.result(&value, &[line])
}

fn version_name(tenant: &Identifier, text: &str) -> Result<VersionName, Failure> {
    let read = || {
        let (path, version) = text.rsplit_once('@')?;
        let version: u64 = version.parse().ok()?;
        let words = path
            .split('/')
            .map(str::parse)
            .collect::<Result<Vec<Identifier>, _>>();
        let (tenant, dataset, document) = match words.ok()?.as_slice() {
            [dataset, document] => (tenant.clone(), dataset.clone(), document.clone()),
            [tenant, dataset, document] => (tenant.clone(), dataset.clone(), document.clone()),
            _ => return None,
        };
        Some(VersionName {
            tenant,
            dataset,
            document,
            version,
        })
    };
    read().ok_or_else(|| {
        let message = format!("{text:?} is no version: give DATASET/DOCUMENT@VERSION");
        Failure::new(exit::USAGE, "version-name", message)
    })
}

/// The signed head is of enough organisations, the transaction is in its tree, and it is a link.
fn verify(proof: &Path, keys: &Path, output: &Output) -> Result<(), Failure> {
    let refused = |reason: String| {
        let message = format!("the proof does not hold: {reason}");
        Failure::new(exit::DAMAGED, "proof", message)
    };
    let keys = audit::verifier_keys(keys)?;
    let bytes = folder::read_limited(proof, MAX_PROOF)?;
    let view = ProofView::from_json(&bytes).map_err(|e| refused(e.to_string()))?;
    let (_, row) = view.verify(&keys).map_err(|e| refused(e.to_string()))?;
    let transaction = row.transaction();
    let Transaction::Link(link) = transaction.transaction() else {
        return Err(refused("it is of something else than a link".to_owned()));
    };
    let lines = [
        field("link", format!("{}, version {}", link.name(), link.version)),
        field("from", &link.from),
        field("to", &link.to),
        field("relation", &link.relation),
        field("author", transaction.author()),
        "it is on the record that enough organisations signed".to_owned(),
    ];
    let value = json!({
        "link": link.name().to_string(), "version": link.version, "from": link.from.to_string(), "to": link.to.to_string(),
        "relation": link.relation, "author": transaction.author().to_string(), "position": view.position, "size": view.size,
    });
    output.result(&value, &lines)
}
