//! Requests for access: a user asks, an owner grants or declines.

use clap::Subcommand;
use serde_json::json;

use super::datasets::RoleName;
use super::output::{instant, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::api::AccessView;
use crate::record::{AccessDecision, Identifier, Transaction};

/// Commands about requests for access.
#[derive(Debug, Subcommand)]
pub(super) enum RequestCommand {
    /// Ask for a role in a dataset, for the user who signs.
    #[command(after_help = "\
Examples:
  coordinator request ask designs reader
  coordinator request ask designs reader --of-tenant umbra")]
    Ask {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The role.
        #[arg(value_enum)]
        role: RoleName,
        /// The tenant that the dataset belongs to, if it is another one.
        #[arg(long, value_name = "TENANT")]
        of_tenant: Option<Identifier>,
    },
    /// List the requests for access to a dataset; of another tenant's dataset, those of the user who signs.
    Ls {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The tenant that the dataset belongs to, if it is another one.
        #[arg(long, value_name = "TENANT")]
        of_tenant: Option<Identifier>,
    },
    /// Grant a request; an owner signs.
    #[command(after_help = "Example:\n  coordinator request grant designs 5a0bd1…")]
    Grant {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The request, as `request ls` shows it; its beginning is enough if no other begins so.
        #[arg(value_name = "REQUEST")]
        request: String,
    },
    /// Decline a request; an owner signs.
    Decline {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The request, as `request ls` shows it; its beginning is enough if no other begins so.
        #[arg(value_name = "REQUEST")]
        request: String,
    },
}

pub(super) fn run(
    command: &RequestCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    match command {
        RequestCommand::Ask {
            dataset,
            role,
            of_tenant,
        } => {
            let asked = client.ask_for_access(of_tenant.as_ref(), dataset, role.role());
            let receipt = block_on(async { Ok(asked.await?) })?;
            let line = format!(
                "asked; the request is {}, block {}",
                receipt.transaction_id, receipt.height
            );
            let value = json!({ "request": receipt.transaction_id, "receipt": receipt });
            output.result(&value, &[line])
        }
        RequestCommand::Ls { dataset, of_tenant } => {
            let requests = block_on(async {
                Ok(match of_tenant {
                    Some(of) => client.shared_access_requests(of, dataset).await?,
                    None => client.access_requests(dataset).await?,
                })
            })?;
            let row = |it: &AccessView| {
                let role = format!("{:?}", it.role).to_lowercase();
                vec![
                    it.request.clone(),
                    it.user.clone(),
                    role,
                    it.status.clone(),
                    instant(it.requested_ms),
                ]
            };
            let rows: Vec<Vec<String>> = requests.iter().map(row).collect();
            let heading = ["request", "user", "role", "status", "asked"];
            output.result(&requests, &table(&heading, &rows))
        }
        RequestCommand::Grant { dataset, request } => {
            decide(&client, dataset, request, true, output)
        }
        RequestCommand::Decline { dataset, request } => {
            decide(&client, dataset, request, false, output)
        }
    }
}

fn decide(
    client: &crate::client::Client,
    dataset: &Identifier,
    request: &str,
    grant: bool,
    output: &Output,
) -> Result<(), Failure> {
    let refused = |message: String| Failure::new(exit::REFUSED, "unknown-access-request", message);
    let (asked, receipt) = block_on(async {
        let known = client.access_requests(dataset).await?;
        let mut open = known
            .into_iter()
            .filter(|it| it.status == "open" && it.request.starts_with(request));
        let asked = match (open.next(), open.next()) {
            (Some(one), None) => one,
            (None, _) => {
                let message = format!(
                    "no open request begins with {request}: `coordinator request ls {dataset}` lists them"
                );
                return Err(refused(message));
            }
            _ => {
                return Err(refused(format!(
                    "several requests begin with {request}: give more of it"
                )));
            }
        };
        let unreadable = || refused("the platform's list of requests cannot be read".to_owned());
        let mut id = [0; 32];
        hex::decode_to_slice(&asked.request, &mut id).map_err(|_| unreadable())?;
        let decision = AccessDecision {
            tenant: client.tenant().clone(),
            dataset: dataset.clone(),
            role: asked.role,
            user: asked.user.parse().map_err(|_| unreadable())?,
            request: id,
        };
        let transaction = match grant {
            true => Transaction::AccessGrant(decision),
            false => Transaction::AccessDecline(decision),
        };
        let receipt = client.submit(transaction).await?;
        Ok((asked, receipt))
    })?;
    let verb = if grant { "granted" } else { "declined" };
    let line = format!(
        "the request of {} is {verb}, block {}",
        asked.user, receipt.height
    );
    let value = json!({
        "request": asked.request, "user": asked.user, "role": asked.role, "granted": grant, "receipt": receipt,
    });
    output.result(&value, &[line])
}
