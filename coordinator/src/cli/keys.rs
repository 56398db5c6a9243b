//! API keys: made, listed, rotated and revoked, by whoever has a key with the scope `keys`, or in the platform's folder.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::operator::PassphraseSource;
use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on};
use crate::api::auth::{ApiKeys, DEFAULT_GRACE_S, IssuedKey, KeyRecord, KeyTerms, Scope, Scopes};
use crate::api::{IssuedKeyView, OPERATOR};
use crate::client::profile::ApiKey;
use crate::folder::Folder;
use crate::master_key::SealedMasterKey;
use crate::platform::now_ms;
use crate::record::Identifier;
use crate::setup;

/// Commands about API keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make an API key. It is printed once and kept nowhere.
    #[command(after_help = "\
Examples, over the API with a key that has the scope `keys`, and in the platform's folder:
  (umask 077; coordinator key create nightly --scope read > nightly.key)
  (umask 077; coordinator key create app --for-user carol > carol.key)
  (umask 077; coordinator key create --dir D --for-tenant acme > acme.key)
  (umask 077; coordinator key create --dir D --operator > operator.key)")]
    Create {
        /// What people call it.
        #[arg(value_name = "NAME", default_value = "unnamed")]
        name: String,
        /// What it may be used for; give several. Without it: everything but `keys`.
        #[arg(long = "scope", value_enum, value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// For how many days it opens anything; for ever, if not given.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
        /// The one user who may act through it; any of the tenant's, if not given.
        #[arg(long, value_name = "USER")]
        for_user: Option<Identifier>,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys, those that are over included.
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Make a key with the terms of another, which goes on for a while.
    #[command(after_help = "\
Example:
  (umask 077; coordinator key rotate 90a55f0bb40a95d4 > new.key)")]
    Rotate {
        /// The key's id: the part between the dots.
        #[arg(value_name = "KEY-ID")]
        id: String,
        /// For how many seconds the old key goes on.
        #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_GRACE_S)]
        grace_s: u64,
        #[command(flatten)]
        place: Place,
    },
    /// The platform's master key, under which it keeps what opens documents and its own secrets.
    #[command(subcommand)]
    Master(super::rewrap::MasterCommand),
    /// Revoke a key: from the next request on it opens nothing.
    Revoke {
        /// The key's id: the part between the dots.
        #[arg(value_name = "KEY-ID")]
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose keys, and how to get at them.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Work in the platform's folder, whether the platform runs or not; without it the platform is asked, with the profile's key.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The tenant whose keys they are, in the folder.
    #[arg(long, value_name = "TENANT", requires = "dir")]
    for_tenant: Option<Identifier>,
    /// Keys for operators, who may export the whole record, in the folder.
    #[arg(long, requires = "dir", conflicts_with = "for_tenant")]
    operator: bool,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

impl Place {
    /// The folder's keys, and the tenant whose they are.
    fn local(&self) -> Result<Option<(ApiKeys, String)>, Failure> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let tenant = match (&self.for_tenant, self.operator) {
            (Some(tenant), _) => tenant.as_str(),
            (None, true) => OPERATOR,
            (None, false) => {
                let message = "say whose keys: give --for-tenant TENANT, or --operator";
                return Err(Failure::new(super::exit::USAGE, "usage", message));
            }
        };
        let folder = Folder::open(dir)?;
        let passphrase = self.passphrase.obtain(false)?;
        let master = SealedMasterKey::open(&folder.master_key(), &passphrase)?;
        let keys = setup::api_keys(&folder, &master)?;
        Ok(Some((keys, tenant.to_owned())))
    }
}

pub(super) fn run(command: &KeyCommand, connect: &Connect, output: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Create {
            name,
            scopes,
            days,
            for_user,
            place,
        } => {
            let scopes = match scopes.is_empty() {
                true => usual(),
                false => Scopes::try_from(scopes.clone()).unwrap_or_else(|_| usual()),
            };
            let lifetime_s = days.map(|days| u64::from(days) * 86_400);
            let issued = match place.local()? {
                Some((keys, tenant)) => {
                    let now_ms = now_ms();
                    let terms = KeyTerms {
                        tenant,
                        name: name.clone(),
                        scopes,
                        user: for_user.clone(),
                        expires_ms: lifetime_s.map(|seconds| now_ms + seconds * 1000),
                    };
                    view(keys.issue(terms, now_ms)?)
                }
                None => {
                    let client = connect.client()?;
                    let made = client.create_key(name, scopes, lifetime_s, for_user.as_ref());
                    block_on(async { Ok(made.await?) })?
                }
            };
            show(output, &issued)
        }
        KeyCommand::Ls { place } => {
            let keys = match place.local()? {
                Some((keys, tenant)) => keys.list(&tenant, None, usize::MAX)?,
                None => {
                    let client = connect.client()?;
                    block_on(async { Ok(client.keys().await?) })?
                }
            };
            let now_ms = now_ms();
            let rows: Vec<_> = keys.iter().map(|key| row(key, now_ms)).collect();
            let heading = ["key", "name", "scopes", "user", "made", "state"];
            output.result(&keys, &table(&heading, &rows))
        }
        KeyCommand::Rotate { id, grace_s, place } => {
            let issued = match place.local()? {
                Some((keys, tenant)) => view(keys.rotate(&tenant, id, *grace_s, None, now_ms())?),
                None => {
                    let client = connect.client()?;
                    block_on(async { Ok(client.rotate_key(id, *grace_s).await?) })?
                }
            };
            show(output, &issued)
        }
        KeyCommand::Master(it) => super::rewrap::master(it, connect, output),
        KeyCommand::Revoke { id, place } => {
            let revoked = match place.local()? {
                Some((keys, tenant)) => keys.revoke(&tenant, id, now_ms())?,
                None => {
                    let client = connect.client()?;
                    block_on(async { Ok(client.revoke_key(id).await?) })?
                }
            };
            let line = format!("{} ({}) opens nothing any more", revoked.id, revoked.name);
            output.result(&revoked, &[field("revoked", line)])
        }
    }
}

/// Everything but making other keys.
fn usual() -> Scopes {
    let scopes = Scopes::all().iter().filter(|scope| *scope != Scope::Keys);
    Scopes::try_from(scopes.collect::<Vec<_>>()).unwrap_or_else(|_| Scopes::all())
}

fn view(issued: IssuedKey) -> IssuedKeyView {
    IssuedKeyView {
        record: issued.record,
        api_key: ApiKey::new(issued.key),
    }
}

/// Prints the key alone, so that it can be sent to a file; what is known of it goes with `--json`.
fn show(output: &Output, issued: &IssuedKeyView) -> Result<(), Failure> {
    let line = Zeroizing::new(issued.api_key.expose().to_owned());
    output.result(&json!(issued), &[line.to_string()])
}

fn row(key: &KeyRecord, now_ms: u64) -> Vec<String> {
    let state = match (key.revoked_ms, key.expires_ms) {
        (Some(at), _) => format!("revoked {}", instant(at)),
        (None, Some(at)) if at <= now_ms => format!("expired {}", instant(at)),
        (None, Some(at)) => format!("until {}", instant(at)),
        (None, None) => "in use".to_owned(),
    };
    vec![
        key.id.clone(),
        key.name.clone(),
        key.scopes.to_string(),
        key.user
            .as_ref()
            .map_or("any", Identifier::as_str)
            .to_owned(),
        instant(key.created_ms),
        state,
    ]
}
