//! Erasure of documents.

use clap::Args;
use serde_json::json;

use super::{Connect, Failure, Output, block_on, exit};
use crate::client::{Client, ClientError};
use crate::record::{Erase, Identifier, Transaction};

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
    let erase = erasure(&client, dataset, document, command.version);
    let receipt = block_on(async { Ok(client.submit(erase).await?) })?;
    let line = format!("{dataset}/{document} is erased, block {}", receipt.height);
    let value = json!({ "dataset": dataset, "document": document, "version": command.version, "receipt": receipt });
    output.result(&value, &[line])
}

fn erasure(
    client: &Client,
    dataset: &Identifier,
    document: &Identifier,
    version: Option<u64>,
) -> Transaction {
    Transaction::Erase(Erase {
        tenant: client.tenant().clone(),
        dataset: dataset.clone(),
        document: document.clone(),
        version,
    })
}

async fn erase_owned(client: &Client, yes: bool, output: &Output) -> Result<(), Failure> {
    let user = client.user()?.to_string();
    let mut owned = Vec::new();
    for dataset in client.datasets().await? {
        if !dataset.permissions.owners.contains(&user) {
            continue;
        }
        let documents = client.documents(&dataset.dataset).await?.into_iter();
        let present = documents.filter(|it| !it.erased);
        owned.extend(present.map(|it| (dataset.dataset.clone(), it.document)));
    }
    let names: Vec<String> = owned
        .iter()
        .map(|(dataset, document)| format!("{dataset}/{document}"))
        .collect();
    if !yes {
        let mut lines = names.clone();
        lines.push(format!(
            "{} documents would be erased: say --yes to do it",
            names.len()
        ));
        return output.result(&json!({ "erased": false, "documents": names }), &lines);
    }
    let bar = output.progress_of_items("documents", owned.len() as u64);
    for (done, (dataset, document)) in owned.iter().enumerate() {
        match client
            .submit(erasure(client, dataset, document, None))
            .await
        {
            Ok(_) => {}
            // Somebody else was faster.
            Err(ClientError::Problem { code, .. }) if code == "erased" => {}
            Err(e) => {
                bar.finish_and_clear();
                let e = Failure::from(e);
                let message = format!(
                    "{} (erased so far: {done} of {}; run it again for the rest)",
                    e.message,
                    owned.len()
                );
                return Err(Failure::new(e.exit.max(exit::FAILED), e.code, message));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let line = format!("{} documents are erased", names.len());
    output.result(&json!({ "erased": true, "documents": names }), &[line])
}
