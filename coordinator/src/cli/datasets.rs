//! Datasets and who may do what with them.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::api::DatasetView;
use crate::client::Client;
use crate::record::{
    DatasetCreate, Encryption, Identifier, IdentifierError, PermissionEntry, PermissionSet, Role,
    Storage, Transaction, UserName, UserNameError,
};

/// Commands about datasets.
#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Create a dataset; the user who signs owns it.
    #[command(after_help = "\
Examples:
  coordinator dataset create designs --encryption threshold
  coordinator dataset create notes --encryption platform --storage ledger")]
    Create {
        /// The dataset's name, unique in the tenant for ever.
        #[arg(value_name = "DATASET")]
        name: Identifier,
        /// Who can open what is written: a threshold of crypto nodes after the organisations' approval, the platform, or
        /// anybody.
        #[arg(long, value_enum, default_value_t = Level::Threshold)]
        encryption: Level,
        /// The cluster's key, 64 hexadecimal digits; not needed if the platform knows one cluster only.
        #[arg(long, value_name = "HEX")]
        cluster: Option<String>,
        /// Where bodies lie; on the ledger they have at most 2 KiB.
        #[arg(long, value_enum, default_value_t = Place::OffChain)]
        storage: Place,
    },
    /// Show a dataset and its permissions.
    Show {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        name: Identifier,
    },
    /// List the tenant's datasets.
    Ls,
}

/// Levels of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    /// Nothing is encrypted.
    None,
    /// Under the platform's master key.
    Platform,
    /// Under the key of a cluster of crypto nodes: no one party can open it.
    Threshold,
}

/// Where bodies lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// In the record itself.
    Ledger,
    /// In the body store.
    OffChain,
}

/// Arguments of `grant` and `revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator grant designs reader alice
  coordinator revoke designs reader alice
  coordinator grant designs writer other-tenant/bob")]
pub(super) struct Permission {
    /// The dataset.
    #[arg(value_name = "DATASET")]
    dataset: Identifier,
    /// The role.
    #[arg(value_enum)]
    role: RoleName,
    /// The user, or TENANT/USER of another tenant.
    #[arg(value_name = "USER")]
    grantee: String,
}

/// Commands about permissions.
#[derive(Debug, Subcommand)]
pub(super) enum PermissionCommand {
    /// Show who has which role.
    Show {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
    },
    /// Give a user a role.
    Add(Permission),
    /// Take a role from a user.
    Remove(Permission),
    /// Say who has a role, as a whole.
    #[command(after_help = "Example:\n  coordinator permission set designs reader alice umbra/bob")]
    Set {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The role.
        #[arg(value_enum)]
        role: RoleName,
        /// All its users; TENANT/USER of another tenant.
        #[arg(value_name = "USER")]
        users: Vec<String>,
        /// The version of the permissions that these are to follow: refuse if somebody changed them meanwhile.
        #[arg(long, value_name = "N")]
        after: Option<u64>,
    },
}

/// What a user may do with a dataset.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleName {
    /// Manages permissions, erases, writes and reads.
    Owner,
    /// Writes.
    Writer,
    /// Reads.
    Reader,
}

impl RoleName {
    pub(super) fn role(self) -> Role {
        match self {
            Self::Owner => Role::Owner,
            Self::Writer => Role::Writer,
            Self::Reader => Role::Reader,
        }
    }
}

pub(super) fn permission(
    command: &PermissionCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        PermissionCommand::Add(entry) => grant(entry, connect, output),
        PermissionCommand::Remove(entry) => revoke(entry, connect, output),
        PermissionCommand::Show { dataset } => {
            let client = connect.client()?;
            let permissions = block_on(async { Ok(client.permissions(dataset).await?) })?;
            let lines = [
                field("version", permissions.version),
                field("owners", permissions.owners.join(", ")),
                field("writers", permissions.writers.join(", ")),
                field("readers", permissions.readers.join(", ")),
            ];
            output.result(&permissions, &lines)
        }
        PermissionCommand::Set {
            dataset,
            role,
            users,
            after,
        } => {
            let client = connect.client()?;
            let named = |text: &String| user_name(client.tenant(), text);
            let mut users = users.iter().map(named).collect::<Result<Vec<_>, _>>()?;
            users.sort_unstable();
            users.dedup();
            let receipt = block_on(async {
                let present = match after {
                    Some(version) => *version,
                    None => client.permissions(dataset).await?.version,
                };
                let set = PermissionSet {
                    tenant: client.tenant().clone(),
                    dataset: dataset.clone(),
                    version: present.saturating_add(1),
                    role: role.role(),
                    users,
                };
                Ok(client.submit(Transaction::PermissionSet(set)).await?)
            })?;
            let line = format!("the role is set in {dataset}, block {}", receipt.height);
            output.result(&json!({ "dataset": dataset, "receipt": receipt }), &[line])
        }
    }
}

pub(super) fn run(
    command: &DatasetCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    match command {
        DatasetCommand::Create {
            name,
            encryption,
            cluster,
            storage,
        } => block_on(create(
            &client,
            name,
            *encryption,
            cluster.as_deref(),
            *storage,
            output,
        )),
        DatasetCommand::Show { name } => {
            let dataset = block_on(async { Ok(client.dataset(name).await?) })?;
            let users = |users: &[String]| {
                if users.is_empty() {
                    "nobody".to_owned()
                } else {
                    users.join(", ")
                }
            };
            let lines = [
                field("dataset", &dataset.dataset),
                field("encryption", level(&dataset)),
                field("owners", users(&dataset.permissions.owners)),
                field("writers", users(&dataset.permissions.writers)),
                field("readers", users(&dataset.permissions.readers)),
            ];
            output.result(&dataset, &lines)
        }
        DatasetCommand::Ls => ls(&client, output),
    }
}

/// Lists the tenant's datasets.
pub(super) fn ls(client: &Client, output: &Output) -> Result<(), Failure> {
    let datasets = block_on(async { Ok(client.datasets().await?) })?;
    let row = |dataset: &DatasetView| vec![dataset.dataset.to_string(), level(dataset)];
    let rows: Vec<Vec<String>> = datasets.iter().map(row).collect();
    output.result(&datasets, &table(&["dataset", "encryption"], &rows))
}

fn level(dataset: &DatasetView) -> String {
    match &dataset.cluster {
        Some(cluster) => format!("{} under {cluster}", dataset.encryption),
        None => dataset.encryption.clone(),
    }
}

async fn create(
    client: &Client,
    name: &Identifier,
    level: Level,
    cluster: Option<&str>,
    place: Place,
    output: &Output,
) -> Result<(), Failure> {
    let encryption = match level {
        Level::None => Encryption::None,
        Level::Platform => Encryption::Platform,
        Level::Threshold => Encryption::Threshold {
            public_key: cluster_key(client, cluster).await?,
        },
    };
    let storage = match place {
        Place::Ledger => Storage::Ledger,
        Place::OffChain => Storage::OffChain,
    };
    let (tenant, dataset) = (client.tenant().clone(), name.clone());
    let transaction = Transaction::DatasetCreate(DatasetCreate {
        tenant,
        dataset,
        encryption,
        storage,
    });
    let receipt = client.submit(transaction).await?;
    let line = format!("{name} is created, block {}", receipt.height);
    output.result(&json!({ "dataset": name, "receipt": receipt }), &[line])
}

async fn cluster_key(client: &Client, asked: Option<&str>) -> Result<[u8; 32], Failure> {
    let text = match asked {
        Some(text) => text.to_owned(),
        None => {
            let mut clusters = client.status().await?.clusters.into_iter();
            match (clusters.next(), clusters.next()) {
                (Some(only), None) => only.public_key,
                (None, _) => {
                    let message = "the platform knows no cluster: run `coordinator cluster add` with a cluster.json first";
                    return Err(Failure::new(
                        exit::CONFIGURATION,
                        "cluster-unknown",
                        message,
                    ));
                }
                _ => {
                    let message = "the platform knows several clusters: name one with --cluster (`coordinator status` lists them)";
                    return Err(Failure::new(exit::USAGE, "cluster-ambiguous", message));
                }
            }
        }
    };
    let mut key = [0; 32];
    let wrong = |_| {
        Failure::new(
            exit::USAGE,
            "cluster-key",
            "--cluster must be 64 hexadecimal digits",
        )
    };
    hex::decode_to_slice(&text, &mut key).map_err(wrong)?;
    Ok(key)
}

pub(super) fn grant(
    permission: &Permission,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    change(
        permission,
        Transaction::PermissionAdd,
        true,
        connect,
        output,
    )
}

pub(super) fn revoke(
    permission: &Permission,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    change(
        permission,
        Transaction::PermissionRemove,
        false,
        connect,
        output,
    )
}

fn change(
    permission: &Permission,
    transaction: fn(PermissionEntry) -> Transaction,
    granted: bool,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    let role = permission.role.role();
    let name = role.name();
    let user = user_name(client.tenant(), &permission.grantee)?;
    let entry = PermissionEntry {
        tenant: client.tenant().clone(),
        dataset: permission.dataset.clone(),
        role,
        user: user.clone(),
    };
    let receipt = block_on(async { Ok(client.submit(transaction(entry)).await?) })?;
    let verb = if granted { "is now" } else { "is no longer" };
    let line = format!(
        "{user} {verb} {name} of {}, block {}",
        permission.dataset, receipt.height
    );
    let value = json!({
        "dataset": permission.dataset, "user": user.to_string(), "role": name, "granted": granted, "receipt": receipt,
    });
    output.result(&value, &[line])
}

fn user_name(tenant: &Identifier, text: &str) -> Result<UserName, Failure> {
    let wrong = |e: &dyn std::fmt::Display| {
        let message = format!("{text:?} is no user: {e}");
        Failure::new(exit::USAGE, "user-name", message)
    };
    if text.contains('/') {
        return text.parse().map_err(|e: UserNameError| wrong(&e));
    }
    let user = text.parse().map_err(|e: IdentifierError| wrong(&e))?;
    Ok(UserName {
        tenant: tenant.clone(),
        user,
    })
}
