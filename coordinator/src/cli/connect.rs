//! Which platform, which tenant, whose signature: from options, the environment, and a profile, in this order.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::output::{field, table};
use super::{Failure, Output, block_on, exit, profiles};
use crate::client::profile::{ApiKey, Profile};
use crate::client::profiles::{Profiles, is_name};
use crate::client::{Client, Signer, user_key};
use crate::record::Identifier;

/// Options of every command that speaks to a platform.
#[derive(Debug, Args)]
#[command(next_help_heading = "Platform and user")]
pub(super) struct Connect {
    /// Profile with whatever of the following is not given: its name (`coordinator profile`), or a file.
    #[arg(long, global = true, value_name = "NAME", env = "COORDINATOR_PROFILE")]
    profile: Option<String>,
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

/// Commands about a profile in a file of its own.
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
    /// What is known, with the API key.
    pub(super) fn resolve(&self) -> Result<Profile, Failure> {
        let mut profile = self.told()?;
        profile.load_keys()?;
        Ok(profile)
    }

    /// What is known, with the names of the files of keys.
    fn told(&self) -> Result<Profile, Failure> {
        let mut profile = match &self.profile {
            Some(name) => self.named(name)?,
            None => match Profiles::path() {
                Some(path) => Profiles::read(&path)?.find(None, &path)?,
                None => None,
            }
            .unwrap_or_default(),
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
            profile.api_key = None;
            profile.api_key_file = Some(path.clone());
        } else if let Ok(key) = std::env::var("COORDINATOR_API_KEY") {
            profile.api_key = Some(ApiKey::new(Zeroizing::new(key)));
        }
        Ok(profile)
    }

    /// A profile by its name, or the one in a file.
    pub(super) fn named(&self, name: &str) -> Result<Profile, Failure> {
        if !is_name(name) {
            return Ok(Profile::read(Path::new(name))?);
        }
        // What was a file before there were names, is one.
        if Path::new(name).is_file() {
            return Ok(Profile::read(Path::new(name))?);
        }
        let path = Profiles::path().unwrap_or_default();
        let found = Profiles::read(&path)?.find(Some(name), &path)?;
        Ok(found.unwrap_or_default())
    }

    /// What is known, to be kept: with absolute names of files, and without an operator's key, which opens the whole record.
    pub(super) fn to_keep(&self) -> Result<Profile, Failure> {
        let mut profile = self.told()?;
        for file in [
            &mut profile.key,
            &mut profile.api_key_file,
            &mut profile.verifiers,
        ]
        .into_iter()
        .flatten()
        {
            *file = std::path::absolute(&*file)?;
        }
        profile.operator_key = None;
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
        match (profile.user, profile.key) {
            (Some(user), Some(key)) => client.sign_as(Signer::new(user, user_key::read(&key)?)),
            // Then the platform has it, or says that it has not.
            (Some(user), None) => client.sign_as(Signer::managed(user)),
            _ => {}
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
    match command {
        ClientCommand::Init { out } => {
            connect.to_keep()?.write(out)?;
            let next = format!("use it with: export COORDINATOR_PROFILE={}", out.display());
            output.result(
                &json!({ "profile": out }),
                &[field("profile", out.display()), next],
            )
        }
        ClientCommand::Show => profiles::show(&connect.resolve()?, output),
    }
}

pub(super) fn status(connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let status = block_on(async { Ok(client.status().await?) })?;
    let mut lines = vec![
        field("tenant", &status.tenant),
        field("ledger", &status.ledger),
        field("client towards the crypto nodes", &status.client),
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
