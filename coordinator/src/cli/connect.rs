//! Which platform, which tenant, whose signature: from options, the environment, and a profile, in this order.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::output::{field, table};
use super::{Failure, Output, block_on, exit};
use crate::client::profile::{ApiKey, Profile};
use crate::client::{Client, Signer, user_key};
use crate::folder;
use crate::record::Identifier;

const MAX_KEY_FILE: u64 = 4096;

/// Options of every command that speaks to a platform.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platform and user")]
pub(super) struct Connect {
    /// Profile with whatever of the following is not given.
    #[arg(long, global = true, value_name = "FILE", env = "COORDINATOR_PROFILE")]
    profile: Option<PathBuf>,
    /// Where the platform answers.
    #[arg(long, global = true, value_name = "URL", env = "COORDINATOR_URL")]
    url: Option<String>,
    /// The tenant.
    #[arg(long, global = true, value_name = "TENANT", env = "COORDINATOR_TENANT")]
    tenant: Option<Identifier>,
    /// File with the tenant's API key; the key itself can be in COORDINATOR_API_KEY.
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The user who signs.
    #[arg(long, global = true, value_name = "USER", env = "COORDINATOR_USER")]
    user: Option<Identifier>,
    /// File of the user's key.
    #[arg(long, global = true, value_name = "FILE", env = "COORDINATOR_KEY")]
    key: Option<PathBuf>,
}

/// Commands about the profile.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Write a profile with what the options and the environment say, but for an operator's API key.
    #[command(after_help = "\
Example:
  coordinator --url http://127.0.0.1:7710 --tenant acme \\
    --api-key-file acme.key --user alice --key alice.pem \\
    client init --out alice.toml
  export COORDINATOR_PROFILE=alice.toml")]
    Init {
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what would be used.
    Show,
}

fn missing(what: &str, how: &str) -> Failure {
    Failure::new(
        exit::CONFIGURATION,
        "profile",
        format!("{what} is not known: give {how}, or a profile with --profile"),
    )
}

impl Connect {
    /// What is known.
    pub(super) fn resolve(&self) -> Result<Profile, Failure> {
        let mut profile = match &self.profile {
            Some(path) => Profile::read(path)?,
            None => Profile::default(),
        };
        // A key belongs to its user: naming another user takes another key.
        if self.user.is_some() && self.user != profile.user {
            profile.key = None;
        }
        profile.url = self.url.clone().or(profile.url);
        profile.tenant = self.tenant.clone().or(profile.tenant);
        profile.user = self.user.clone().or(profile.user);
        profile.key = self.key.clone().or(profile.key);
        if let Some(path) = &self.api_key_file {
            let bytes = folder::read_secret(path, MAX_KEY_FILE)?;
            // A key that is no text is refused as an empty one is.
            let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
            profile.api_key = Some(ApiKey::new(Zeroizing::new(text.to_owned())));
        } else if let Ok(key) = std::env::var("COORDINATOR_API_KEY") {
            profile.api_key = Some(ApiKey::new(Zeroizing::new(key)));
        }
        Ok(profile)
    }

    /// The tenant.
    pub(super) fn tenant(&self) -> Result<Identifier, Failure> {
        self.resolve()?
            .tenant
            .ok_or_else(|| missing("the tenant", "--tenant"))
    }

    /// A client with what is known, and with a signature if a user is.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let profile = self.resolve()?;
        let url = profile
            .url
            .ok_or_else(|| missing("the platform's URL", "--url"))?;
        let tenant = profile
            .tenant
            .ok_or_else(|| missing("the tenant", "--tenant"))?;
        let api_key = profile
            .api_key
            .ok_or_else(|| missing("the tenant's API key", "--api-key-file"))?;
        let mut client = Client::new(&url, tenant, api_key.expose().to_owned())?;
        if let (Some(user), Some(key)) = (profile.user, profile.key) {
            client.sign_as(Signer::new(user, user_key::read(&key)?));
        }
        if let Some(ledger) = profile.ledger {
            let mut id = [0; 32];
            let wrong = |_| {
                Failure::new(
                    exit::CONFIGURATION,
                    "profile",
                    "the profile's ledger is not 64 hexadecimal digits",
                )
            };
            hex::decode_to_slice(&ledger, &mut id).map_err(wrong)?;
            client.pin_ledger(id);
        }
        if let Some(trace) = cryptonode::telemetry::of_process() {
            client.in_trace(trace);
        }
        Ok(client)
    }

    /// The file of the organisations' verifier keys, if a profile names one.
    pub(super) fn verifiers(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(self.resolve()?.verifiers)
    }

    /// An operator's API key.
    pub(super) fn operator_key(&self) -> Result<ApiKey, Failure> {
        let how =
            "a profile with an `operator_key` (`coordinator key create --operator` makes one)";
        self.resolve()?.operator_key.ok_or_else(|| {
            Failure::new(
                exit::CONFIGURATION,
                "profile",
                format!("this needs an operator's API key: use {how}"),
            )
        })
    }
}

pub(super) fn client(
    command: &ClientCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let mut profile = connect.resolve()?;
    match command {
        ClientCommand::Init { out } => {
            for file in [&mut profile.key, &mut profile.verifiers]
                .into_iter()
                .flatten()
            {
                *file = std::path::absolute(&*file)?;
            }
            // An operator's key opens the whole record: it is not handed on by way of a profile in the environment.
            profile.operator_key = None;
            profile.write(out)?;
            let next = format!("use it with: export COORDINATOR_PROFILE={}", out.display());
            output.result(
                &json!({ "profile": out }),
                &[field("profile", out.display()), next],
            )
        }
        ClientCommand::Show => {
            let known = |known: bool| if known { "known" } else { "not known" };
            let value = json!({
                "url": profile.url, "tenant": profile.tenant, "user": profile.user, "key": profile.key,
                "ledger": profile.ledger, "api_key": profile.api_key.is_some(),
                "operator_key": profile.operator_key.is_some(), "verifiers": profile.verifiers,
            });
            let file = |file: Option<PathBuf>| file.map(|file| file.display().to_string());
            let text = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
            let lines = [
                field("url", text(profile.url)),
                field("tenant", text(profile.tenant.map(|t| t.to_string()))),
                field("user", text(profile.user.map(|u| u.to_string()))),
                field("key", text(file(profile.key))),
                field("ledger", text(profile.ledger)),
                field("verifier keys", text(file(profile.verifiers))),
                field("API key", known(profile.api_key.is_some())),
                field("operator's API key", known(profile.operator_key.is_some())),
            ];
            output.result(&value, &lines)
        }
    }
}

pub(super) fn status(connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let status = block_on(async { Ok(client.status().await?) })?;
    let mut lines = vec![
        field("tenant", &status.tenant),
        field("ledger", &status.ledger),
    ];
    let peers: Vec<Vec<String>> = status
        .peers
        .iter()
        .map(|peer| {
            let state = peer
                .fault
                .clone()
                .unwrap_or_else(|| "takes part".to_owned());
            vec![
                peer.organisation.to_string(),
                peer.height.to_string(),
                state,
            ]
        })
        .collect();
    lines.extend(table(&["organisation", "block", "peer"], &peers));
    let clusters: Vec<Vec<String>> = status
        .clusters
        .iter()
        .map(|cluster| {
            let rule = format!("{} of {}", cluster.threshold, cluster.nodes.len());
            vec![cluster.public_key.clone(), cluster.epoch.to_string(), rule]
        })
        .collect();
    lines.extend(table(&["cluster key", "epoch", "nodes"], &clusters));
    output.result(&status, &lines)
}
