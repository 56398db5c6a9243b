//! Erasure of documents.

use clap::Args;
use serde_json::json;

use super::{Connect, Failure, Output, block_on, exit};
use crate::api::OwnedDocument;
use crate::client::Client;
use crate::record::{Erase, Identifier, Transaction};

/// Documents that are named before they are erased; the others are counted.
const SHOWN: usize = 1000;
/// Documents of one request.
const AT_ONCE: usize = 100;

/// Arguments of `erase`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator erase designs bridge
  coordinator erase designs bridge --version 1
  coordinator erase --all-owned --yes")]
pub(super) struct Erasure {
    /// The dataset.
    #[arg(
        value_name = "DATASET",
        required_unless_present = "all_owned",
        requires = "document"
    )]
    dataset: Option<Identifier>,
    /// The document.
    #[arg(value_name = "DOCUMENT")]
    document: Option<Identifier>,
    /// The one version; if not given, all, and none can be written any more.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Every document of every dataset of the tenant that the user who signs is an owner of. What is erased already is passed over,
    /// so it can be run again.
    #[arg(long, conflicts_with_all = ["dataset", "document", "version"])]
    all_owned: bool,
    /// Do not only say what --all-owned would erase, but erase it.
    #[arg(long, requires = "all_owned")]
    yes: bool,
}

pub(super) fn run(command: &Erasure, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let (Some(dataset), Some(document)) = (&command.dataset, &command.document) else {
        return block_on(erase_owned(&client, command.yes, output));
    };
    let erase = Transaction::Erase(Erase {
        tenant: client.tenant().clone(),
        dataset: dataset.clone(),
        document: document.clone(),
        version: command.version,
    });
    let receipt = block_on(async { Ok(client.submit(erase).await?) })?;
    let line = format!("{dataset}/{document} is erased, block {}", receipt.height);
    let value = json!({ "dataset": dataset, "document": document, "version": command.version, "receipt": receipt });
    output.result(&value, &[line])
}

async fn erase_owned(client: &Client, yes: bool, output: &Output) -> Result<(), Failure> {
    let user = client.user()?.user;
    let owned = client.owned(&user, if yes { 1 } else { SHOWN }).await?;
    if !yes {
        let names = named(&owned.documents);
        let mut lines = names.clone();
        let more = owned.count.saturating_sub(names.len() as u64);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let count = owned.count;
        lines.push(format!(
            "{count} documents would be erased: say --yes to do it"
        ));
        let value = json!({ "erased": false, "documents": names, "count": count });
        return output.result(&value, &lines);
    }
    let bar = output.progress_of_items("documents", owned.count);
    let mut names = Vec::new();
    loop {
        let part = client.erase_owned(AT_ONCE).await;
        let part = match part {
            Ok(part) => part,
            Err(e) => {
                bar.finish_and_clear();
                let e = Failure::from(e);
                let message = so_far(&e.message, names.len(), owned.count);
                return Err(Failure::new(e.exit.max(exit::FAILED), e.code, message));
            }
        };
        bar.inc(part.erased.len() as u64);
        names.extend(named(&part.erased));
        if let Some(it) = part.not_erased.into_iter().next() {
            bar.finish_and_clear();
            let message = format!("{}/{}: {}", it.dataset, it.document, it.detail);
            let message = so_far(&message, names.len(), owned.count);
            return Err(Failure::new(exit::FAILED, it.code, message));
        }
        if part.remaining == 0 || part.erased.is_empty() {
            break;
        }
    }
    bar.finish_and_clear();
    let line = format!("{} documents are erased", names.len());
    let value = json!({ "erased": true, "documents": names, "count": names.len() });
    output.result(&value, &[line])
}

fn named(documents: &[OwnedDocument]) -> Vec<String> {
    let name = |it: &OwnedDocument| format!("{}/{}", it.dataset, it.document);
    documents.iter().map(name).collect()
}

fn so_far(message: &str, erased: usize, of: u64) -> String {
    format!("{message} (erased so far: {erased} of {of}; run it again for the rest)")
}
