//! Users and their keys.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on, exit, pki};
use crate::api::UserView;
use crate::client::user_key;
use crate::platform::now_ms;
use crate::record::{Identifier, Transaction, UserExpire, UserName, UserRegister, UserRole};

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
  coordinator user add carol --managed
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
            required_unless_present_any = ["new_key", "managed"],
            conflicts_with_all = ["new_key", "managed"]
        )]
        public_key: Option<String>,
        /// Make the user's key and write it to this file.
        #[arg(long, value_name = "FILE", conflicts_with = "managed")]
        new_key: Option<PathBuf>,
        /// The platform makes the user's key, keeps it sealed, and signs for the user when an API key of the tenant asks.
        #[arg(long)]
        managed: bool,
        /// What the user may do in the tenant.
        #[arg(long, value_enum, default_value_t = RoleName::Member)]
        role: RoleName,
    },
    /// List the tenant's users.
    Ls,
    /// Show a user.
    Show {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
    },
    /// Exchange the key of the user who acts: for one of its own, or one that the platform keeps.
    #[command(after_help = "\
Examples:
  coordinator user rotate --new-key alice-2.pem
  coordinator user rotate --managed
  coordinator --user carol user rotate --new-key carol.pem")]
    Rotate {
        /// Make the new key and write it to this file. A managed user takes its key into its own hands so.
        #[arg(
            long,
            value_name = "FILE",
            required_unless_present = "managed",
            conflicts_with = "managed"
        )]
        new_key: Option<PathBuf>,
        /// The platform makes the new key, keeps it and signs from then on. The old key is of no use any more.
        #[arg(long)]
        managed: bool,
    },
    /// Say when a user's time is over; an administrator signs. The key of a managed user is destroyed then.
    #[command(after_help = "\
Examples:
  coordinator user expire bob --at 2027-01-31T00:00:00Z
  coordinator user expire bob --days 30
  coordinator user expire bob --never")]
    Expire {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
        /// The moment (RFC 3339).
        #[arg(long, value_name = "TIME", value_parser = moment, group = "when")]
        at: Option<u64>,
        /// So many days from now.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500), group = "when")]
        days: Option<u32>,
        /// Not at all.
        #[arg(long, group = "when")]
        never: bool,
    },
    /// End a user: its time is over at once, and its managed key is destroyed; an administrator signs. What it did stays on the record.
    Remove {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
    },
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
    /// Take the binding to a certificate away; an administrator signs, and for an administrator the organisation that answers for the tenant.
    #[command(after_help = "\
Examples:
  coordinator user unbind alice
  coordinator user unbind admin --organisation alder --dir D")]
    Unbind {
        /// The user.
        #[arg(value_name = "USER")]
        name: Identifier,
        #[command(flatten)]
        signs: pki::AsOrganisation,
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

impl RoleName {
    fn role(self) -> UserRole {
        match self {
            Self::Member => UserRole::Member,
            Self::Administrator => UserRole::Administrator,
        }
    }
}

/// A moment (RFC 3339) in milliseconds since the Unix epoch.
fn moment(text: &str) -> Result<u64, String> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let wrong = || "a moment looks like 2027-01-31T00:00:00Z".to_owned();
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong())
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
            managed: true,
            role,
        } if public_key.is_none() && new_key.is_none() => {
            let client = connect.client()?;
            client.user()?;
            let added = client.add_managed_user(name, role.role(), None);
            let receipt = block_on(async { Ok(added.await?) })?;
            let lines = [
                field("user", format!("{name}, block {}", receipt.height)),
                field("key", "kept by the platform"),
            ];
            let value = json!({ "user": name, "managed": true, "receipt": receipt });
            output.result(&value, &lines)
        }
        UserCommand::Add {
            name,
            public_key,
            new_key,
            role,
            ..
        } => add(
            name,
            public_key.as_deref(),
            new_key.as_deref(),
            *role,
            connect,
            output,
        ),
        UserCommand::Bind(it) => pki::bind(it, connect, output),
        UserCommand::Unbind { name, signs } => pki::unbind(name, signs, connect, output),
        UserCommand::Ls => ls(connect, output),
        UserCommand::Show { name } => show(name, connect, output),
        UserCommand::Rotate { new_key, .. } => rotate(new_key.as_deref(), connect, output),
        UserCommand::Expire {
            name,
            at,
            days,
            never,
        } => {
            let from_now = days.map(|days| now_ms() + u64::from(days) * 86_400_000);
            let expires_ms = at.or(from_now);
            if expires_ms.is_none() && !never {
                let message = "say when: give --at, --days or --never";
                return Err(Failure::new(exit::USAGE, "usage", message));
            }
            expire(name, expires_ms, connect, output)
        }
        // Past for every block that comes.
        UserCommand::Remove { name } => expire(name, Some(1), connect, output),
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
    let role = role.role();
    let (tenant, user) = (client.tenant().clone(), name.clone());
    let transaction = Transaction::UserRegister(UserRegister {
        tenant,
        user,
        public_key,
        role,
        expires_ms: None,
        managed: false,
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

fn show(name: &Identifier, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let user = block_on(async { Ok(client.user_view(name).await?) })?;
    let mut lines = vec![
        field("user", &user.user),
        field("role", role_name(user.role)),
        field("state", state(&user)),
        field("key", format!("{} ({})", user.public_key, keeper(&user))),
        field("key version", user.key_version),
    ];
    lines.extend(user.expires_ms.map(|end| field("expires", instant(end))));
    output.result(&user, &lines)
}

fn rotate(new_key: Option<&Path>, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let name = client.user()?.user;
    let Some(file) = new_key else {
        let receipt = block_on(async { Ok(client.give_key_away().await?) })?;
        let lines = [
            field("user", format!("{name}, block {}", receipt.height)),
            field(
                "key",
                "kept by the platform; the file of the old key is of no use any more",
            ),
        ];
        let value = json!({ "user": name, "managed": true, "receipt": receipt });
        return output.result(&value, &lines);
    };
    let key = user_key::create(file)?;
    let rotated = block_on(async { Ok(client.take_key(&key).await) })?;
    if rotated
        .as_ref()
        .is_err_and(crate::client::ClientError::is_refusal)
    {
        // The key opens nothing; another attempt makes a new one under the same name.
        let _ = std::fs::remove_file(file);
    }
    let receipt = rotated?;
    let public_key = hex::encode(key.verifying_key().to_bytes());
    let lines = [
        field("user", format!("{name}, block {}", receipt.height)),
        field("public key", &public_key),
        field("key", file.display()),
    ];
    let value = json!({ "user": name, "managed": false, "public_key": public_key, "key": file, "receipt": receipt });
    output.result(&value, &lines)
}

fn expire(
    name: &Identifier,
    expires_ms: Option<u64>,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    let transaction = Transaction::UserExpire(UserExpire {
        tenant: client.tenant().clone(),
        user: name.clone(),
        expires_ms,
    });
    let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
    let line = match expires_ms {
        Some(end) if end <= now_ms() => {
            format!("{name} may sign nothing any more, block {}", receipt.height)
        }
        Some(end) => format!("{name} expires {}, block {}", instant(end), receipt.height),
        None => format!("{name} does not expire, block {}", receipt.height),
    };
    let value = json!({ "user": name, "expires_ms": expires_ms, "receipt": receipt });
    output.result(&value, &[line])
}

fn role_name(role: UserRole) -> &'static str {
    match role {
        UserRole::Administrator => "administrator",
        UserRole::Member => "member",
    }
}

fn state(user: &UserView) -> &'static str {
    match (user.suspended, user.expires_ms) {
        (_, Some(end)) if end <= now_ms() => "expired",
        (true, _) => "suspended",
        (false, _) => "active",
    }
}

fn keeper(user: &UserView) -> &'static str {
    if user.managed {
        "the platform's"
    } else {
        "its own"
    }
}

fn ls(connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let users = block_on(async { Ok(client.users().await?) })?;
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let certificate = user.certificate.as_ref().map_or_else(
                || "none".to_owned(),
                |it| it.fault.clone().unwrap_or_else(|| "stands".to_owned()),
            );
            vec![
                user.user.to_string(),
                role_name(user.role).to_owned(),
                state(user).to_owned(),
                certificate,
                keeper(user).to_owned(),
                user.public_key.clone(),
            ]
        })
        .collect();
    output.result(
        &users,
        &table(
            &[
                "user",
                "role",
                "state",
                "certificate",
                "key is",
                "public key",
            ],
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
