//! Users and their keys.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, block_on, exit, pki};
use crate::client::user_key;
use crate::record::{Identifier, Transaction, UserCertify, UserName, UserRegister, UserRole};

/// Commands about users.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make a key for a user, without any platform; its public half goes to an administrator.
    #[command(after_help = "Example:\n  coordinator user new --out alice.pem")]
    New {
        /// The file of the private key; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Register a user of the tenant; an administrator signs.
    #[command(after_help = "\
Examples:
  coordinator user add alice --new-key alice.pem
  coordinator user add bob --public-key \\
    90a55f0bb40a95d4d2780524b56174f6a109133f44b8a35d5cc0571958a98204")]
    Add {
        /// The user's name, unique in the tenant for ever.
        #[arg(value_name = "USER")]
        name: Identifier,
        /// The user's public key: 64 hexadecimal digits.
        #[arg(
            long,
            value_name = "HEX",
            required_unless_present = "new_key",
            conflicts_with = "new_key"
        )]
        public_key: Option<String>,
        /// Make the user's key and write it to this file.
        #[arg(long, value_name = "FILE")]
        new_key: Option<PathBuf>,
        /// What the user may do in the tenant.
        #[arg(long, value_enum, default_value_t = RoleName::Member)]
        role: RoleName,
    },
    /// List the tenant's users.
    Ls,
    /// Let a user sign nothing until it is resumed; an administrator signs.
    Suspend {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
    },
    /// Let a suspended user sign again; an administrator signs.
    Resume {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
    },
    /// Bind a user to a certificate of its company; the user itself or an administrator signs, and the certificate's key.
    Bind(pki::Bind),
    /// Take the binding to a certificate away; an administrator signs.
    Unbind {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
    },
}

/// What a user may do in its tenant.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleName {
    /// Creates datasets and uses those it has permission for.
    Member,
    /// Manages the tenant's users as well.
    Administrator,
}

pub(super) fn run(
    command: &UserCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        UserCommand::New { out } => {
            let public_key = hex::encode(user_key::create(out)?.verifying_key().to_bytes());
            let lines = [
                field("key", out.display()),
                field("public key", &public_key),
            ];
            output.result(&json!({ "key": out, "public_key": public_key }), &lines)
        }
        UserCommand::Add {
            name,
            public_key,
            new_key,
            role,
        } => add(
            name,
            public_key.as_deref(),
            new_key.as_deref(),
            *role,
            connect,
            output,
        ),
        UserCommand::Bind(it) => pki::bind(it, connect, output),
        UserCommand::Unbind { name } => {
            let unbound = |user: UserName| {
                Transaction::UserCertify(UserCertify {
                    tenant: user.tenant,
                    user: user.user,
                    certificate: None,
                })
            };
            change(name, unbound, "unbound", connect, output)
        }
        UserCommand::Ls => ls(connect, output),
        UserCommand::Suspend { name } => {
            change(name, Transaction::UserSuspend, "suspended", connect, output)
        }
        UserCommand::Resume { name } => {
            change(name, Transaction::UserResume, "resumed", connect, output)
        }
    }
}

fn add(
    name: &Identifier,
    public_key: Option<&str>,
    new_key: Option<&Path>,
    role: RoleName,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    client.user()?;
    let public_key = match (public_key, new_key) {
        (Some(text), _) => {
            let mut bytes = [0; 32];
            let wrong = |_| {
                Failure::new(
                    exit::USAGE,
                    "public-key",
                    "--public-key must be 64 hexadecimal digits",
                )
            };
            hex::decode_to_slice(text, &mut bytes).map_err(wrong)?;
            bytes
        }
        (None, Some(file)) => user_key::create(file)?.verifying_key().to_bytes(),
        (None, None) => {
            return Err(Failure::new(
                exit::USAGE,
                "public-key",
                "give --public-key or --new-key",
            ));
        }
    };
    let role = match role {
        RoleName::Member => UserRole::Member,
        RoleName::Administrator => UserRole::Administrator,
    };
    let (tenant, user) = (client.tenant().clone(), name.clone());
    let transaction = Transaction::UserRegister(UserRegister {
        tenant,
        user,
        public_key,
        role,
        expires_ms: None,
    });
    let registered = block_on(async { Ok(client.submit(transaction).await) })?;
    if let (Err(e), Some(file)) = (&registered, new_key)
        && e.is_refusal()
    {
        // The key opens nothing; another attempt makes a new one under the same name. After any other error the user may be
        // registered with it, for ever.
        let _ = std::fs::remove_file(file);
    }
    let receipt = registered?;
    let public_key = hex::encode(public_key);
    let value =
        json!({ "user": name, "public_key": public_key, "key": new_key, "receipt": receipt });
    let mut lines = vec![
        field("user", format!("{name}, block {}", receipt.height)),
        field("public key", public_key),
    ];
    lines.extend(new_key.map(|file| field("key", file.display())));
    output.result(&value, &lines)
}

fn ls(connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let users = block_on(async { Ok(client.users().await?) })?;
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let role = match user.role {
                UserRole::Administrator => "administrator",
                UserRole::Member => "member",
            };
            let state = if user.suspended {
                "suspended"
            } else {
                "active"
            };
            let certificate = user.certificate.as_ref().map_or_else(
                || "none".to_owned(),
                |it| it.fault.clone().unwrap_or_else(|| "stands".to_owned()),
            );
            vec![
                user.user.to_string(),
                role.to_owned(),
                state.to_owned(),
                certificate,
                user.public_key.clone(),
            ]
        })
        .collect();
    output.result(
        &users,
        &table(
            &["user", "role", "state", "certificate", "public key"],
            &rows,
        ),
    )
}

fn change(
    name: &Identifier,
    transaction: fn(UserName) -> Transaction,
    done: &str,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    let user = UserName {
        tenant: client.tenant().clone(),
        user: name.clone(),
    };
    let receipt = block_on(async { Ok(client.submit(transaction(user)).await?) })?;
    let line = format!("{name} is {done}, block {}", receipt.height);
    output.result(
        &json!({ "user": name, "state": done, "receipt": receipt }),
        &[line],
    )
}
