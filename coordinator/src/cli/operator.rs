//! Operators' commands: they work in the platform's folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::api::auth::{KeyTerms, Scopes};
use crate::body_store::Bucket;
use crate::client::{ClientError, user_key};
use crate::config::{Config, PeerConfig};
use crate::daemon::{self, Ready, RunOptions};
use crate::folder::Folder;
use crate::master_key::{Passphrase, SealedMasterKey};
use crate::organisations;
use crate::platform::{add_cluster, list_clusters, now_ms};
use crate::record::{Author, Identifier, TenantRegister, Transaction};
use crate::setup::{self, Exchange, InitOptions};

/// Which platform.
#[derive(Debug, Args)]
pub(super) struct Dir {
    /// The platform's folder.
    #[arg(long, value_name = "DIR", env = "COORDINATOR_DIR")]
    dir: PathBuf,
}

impl Dir {
    pub(super) fn open(&self) -> Result<Folder, Failure> {
        Ok(Folder::open(&self.dir)?)
    }
}

/// Where the passphrase is.
#[derive(Debug, Args)]
pub(super) struct PassphraseSource {
    /// File with the passphrase of the master key, on its first line. Without it: the systemd credential `passphrase`, or
    /// a prompt.
    #[arg(long, value_name = "FILE", env = "COORDINATOR_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseSource {
    /// Reads it; `twice` asks again, for a new one.
    pub(super) fn obtain(&self, twice: bool) -> Result<Passphrase, Failure> {
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join("passphrase"));
        let file = self
            .passphrase_file
            .clone()
            .or_else(|| credential.filter(|path| path.exists()));
        if let Some(file) = file {
            return Ok(Passphrase::from_file(&file)?);
        }
        let none = |_| {
            let message = "there is no passphrase: give --passphrase-file, or start it on a terminal and type it";
            Failure::new(exit::PASSPHRASE, "passphrase-missing", message)
        };
        let typed = zeroize::Zeroizing::new(
            rpassword::prompt_password("Passphrase of the platform: ").map_err(none)?,
        );
        if twice {
            let again = zeroize::Zeroizing::new(
                rpassword::prompt_password("The same again: ").map_err(none)?,
            );
            if *typed != *again {
                return Err(Failure::new(
                    exit::PASSPHRASE,
                    "passphrase-differs",
                    "the two differ: start again",
                ));
            }
        }
        if typed.is_empty() {
            return Err(Failure::new(
                exit::PASSPHRASE,
                "passphrase-empty",
                "the passphrase is empty: choose one",
            ));
        }
        Ok(Passphrase::new(&typed))
    }
}

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes: keys and approval authorities of the organisations, sealed under the platform's master key; the record with its \
first tenant; policy.toml for the crypto nodes' operators; client.toml, a profile for this command line.

Example:
  coordinator init --dir D --organisation alder --organisation birch \\
    --organisation cedar --approvals 2
Then give D/policy.toml to the crypto nodes' operators (`cryptonode policy set`), and when they have made a key:
  coordinator cluster add --dir D cluster.json
  coordinator run --dir D")]
pub(super) struct Init {
    #[command(flatten)]
    dir: Dir,
    /// An organisation that runs the record and approves reads; give several.
    #[arg(
        long = "organisation",
        value_name = "NAME",
        required_unless_present = "exchange"
    )]
    organisations: Vec<Identifier>,
    /// How many of them must approve a read.
    #[arg(long, value_name = "M", required_unless_present = "exchange")]
    approvals: Option<u16>,
    /// The record is one between peers elsewhere: the folder that `coordinator peer found` made. One of the organisations then registers the tenant.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["organisations", "approvals"], requires = "peers")]
    exchange: Option<PathBuf>,
    /// An organisation's peer of that record; give at least a quorum of them. On this machine: its name, the http:// URL of its API, and the file with its
    /// token, separated by commas. Elsewhere: its name and its https:// URL; its operator runs `peer allow` with the certificate that is made here.
    #[arg(long = "peer", value_name = "NAME,URL[,FILE]", value_parser = peer_config, requires = "exchange")]
    peers: Vec<PeerConfig>,
    /// The first tenant.
    #[arg(long = "first-tenant", value_name = "TENANT", default_value = "main")]
    first_tenant: Identifier,
    /// The tenant's administrator, whose key is made.
    #[arg(long, value_name = "USER", default_value = "admin")]
    administrator: Identifier,
    /// The platform keeps the administrator's key and signs for it, so that plain HTTP does everything; otherwise it is written to users/.
    #[arg(long, conflicts_with = "exchange")]
    managed_administrator: bool,
    /// Where the HTTP API will listen; a loopback address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7710")]
    listen: SocketAddr,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

/// `NAME,http://…,TOKEN FILE` or `NAME,https://…` with a key after it at most.
pub(super) fn peer_config(text: &str) -> Result<PeerConfig, String> {
    let mut parts = text.splitn(3, ',');
    let (Some(name), Some(url)) = (parts.next(), parts.next()) else {
        return Err("name, URL and what follows are separated by commas".to_owned());
    };
    let mut peer = PeerConfig {
        organisation: name
            .parse()
            .map_err(|e: crate::record::IdentifierError| e.to_string())?,
        url: url.to_owned(),
        token_file: None,
        key: None,
    };
    match parts.next() {
        Some(key) if peer.is_remote() => peer.key = Some(key.parse()?),
        Some(file) => {
            peer.token_file = Some(std::path::absolute(file).map_err(|e| e.to_string())?);
        }
        None => {}
    }
    match peer.mistake() {
        Some(mistake) => Err(format!("the URL {mistake}")),
        None => Ok(peer),
    }
}

pub(super) fn init(command: Init, output: &Output) -> Result<(), Failure> {
    let passphrase = command.passphrase.obtain(true)?;
    let options = InitOptions {
        dir: command.dir.dir,
        organisations: command.organisations,
        approvals: command.approvals.unwrap_or_default(),
        tenant: command.first_tenant,
        administrator: command.administrator,
        managed_administrator: command.managed_administrator,
        listen: command.listen,
        exchange: command.exchange.map(|dir| Exchange {
            dir,
            peers: command.peers,
        }),
    };
    let registered = options.exchange.is_none();
    let elsewhere = options
        .exchange
        .iter()
        .any(|exchange| exchange.peers.iter().any(PeerConfig::is_remote));
    let made = block_on(async { Ok(setup::init(options, &passphrase).await?) })?;
    let names: Vec<&str> = made
        .organisations
        .iter()
        .map(|organisation| organisation.name.as_str())
        .collect();
    let mut lines = vec![
        field("folder", made.dir.display()),
        field("organisations", names.join(", ")),
        field(
            "approval policy for the crypto nodes",
            made.policy.display(),
        ),
        field(
            "tenant",
            format!("{}, administrator {}", made.tenant, made.administrator),
        ),
        field("profile", made.profile.display()),
    ];
    if let Some(file) = made.peer_client.as_ref().filter(|_| elsewhere) {
        lines.push(format!(
            "at each peer elsewhere: coordinator peer allow {} --certificate {}",
            made.tenant,
            file.display()
        ));
    }
    lines.push(if registered {
        format!("next: coordinator run --dir {}", made.dir.display())
    } else {
        let (tenant, user) = (&made.tenant, &made.administrator);
        let key = &made.administrator_public_key;
        format!(
            "next, at one organisation's peer: coordinator peer register-tenant {tenant} --administrator {user} --public-key {key}"
        )
    });
    output.result(&made, &lines)
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line when it serves; with --json:
  {\"event\":\"ready\",\"url\":…,\"dir\":…,\"ledger\":…,\"pid\":…}
SIGTERM or Ctrl-C stops it after running requests have ended; a second one stops it at once.
It ends with status 6 when the record has stopped for good, as on a full disk: have the service manager start it again.

Example:
  coordinator run --dir D --passphrase-file pass")]
pub(super) struct Run {
    #[command(flatten)]
    dir: Dir,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Listen here instead of where the settings say; port 0 takes a free port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Bodies lie in this bucket instead of where the settings say: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. Its
    /// credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; GOOGLE_APPLICATION_CREDENTIALS;
    /// AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.
    #[arg(long, value_name = "URL", env = "COORDINATOR_BODIES", value_parser = bucket_url)]
    bodies: Option<String>,
    /// Stop when standard input is closed: with a pipe from the supervisor, nothing is left running when that dies.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn bucket_url(text: &str) -> Result<String, String> {
    let bucket: Result<Bucket, _> = text.parse();
    bucket.map(|_| text.to_owned()).map_err(|e| e.to_string())
}

pub(super) fn run(command: &Run, output: &Output) -> Result<(), Failure> {
    daemon::harden();
    if let Some(address) = command.listen {
        loopback(address)?;
    }
    // The folder is taken before the passphrase is asked for: nobody should type it in vain.
    let prepared = daemon::prepare(&command.dir.dir)?;
    let passphrase = command.passphrase.obtain(false)?;
    let options = RunOptions {
        listen: command.listen,
        bodies: command.bodies.clone(),
        exit_with_stdin: command.exit_with_stdin,
    };
    let announce = |ready: &Ready| {
        if output.result(ready, &[field("ready", &ready.url)]).is_err() {
            tracing::warn!("nobody reads standard output: the ready line was lost");
        }
    };
    block_on(async { Ok(daemon::run(prepared, passphrase, options, announce).await?) })
}

/// The API is plain HTTP.
pub(super) fn loopback(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let message =
        "--listen must be a loopback address such as 127.0.0.1:7710, because the API is plain HTTP";
    Err(Failure::new(exit::CONFIGURATION, "config-value", message))
}

/// Commands about clusters.
#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make a cluster known, from the cluster.json that its operators exported; a running platform sees it at once.
    #[command(after_help = "Example:\n  coordinator cluster add --dir D cluster.json")]
    Add {
        #[command(flatten)]
        dir: Dir,
        /// The cluster's descriptor.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the known clusters.
    Ls {
        #[command(flatten)]
        dir: Dir,
    },
}

pub(super) fn cluster(command: &ClusterCommand, output: &Output) -> Result<(), Failure> {
    match command {
        ClusterCommand::Add { dir, file } => {
            let folder = Folder::open(&dir.dir)?;
            let cluster = add_cluster(&folder.clusters(), file)?;
            let key = hex::encode(cluster.public_key);
            let value = json!({
                "public_key": key, "epoch": cluster.epoch, "threshold": cluster.threshold,
                "nodes": cluster.members.len(),
            });
            let rule = format!(
                "{} of {} nodes, epoch {}",
                cluster.threshold,
                cluster.members.len(),
                cluster.epoch
            );
            output.result(&value, &[field("cluster key", key), rule])
        }
        ClusterCommand::Ls { dir } => {
            let clusters = list_clusters(&Folder::open(&dir.dir)?.clusters())?;
            let row = |cluster: &cryptonode::client::ClusterDescriptor| {
                let rule = format!("{} of {}", cluster.threshold, cluster.members.len());
                vec![
                    hex::encode(cluster.public_key),
                    cluster.epoch.to_string(),
                    rule,
                ]
            };
            let rows: Vec<Vec<String>> = clusters.iter().map(row).collect();
            output.result(&clusters, &table(&["cluster key", "epoch", "nodes"], &rows))
        }
    }
}

/// Commands about tenants.
#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Register a tenant: an organisation of this platform answers for it and signs.
    #[command(after_help = "\
Example:
  coordinator --profile D/client.toml tenant create acme --dir D \\
    --organisation alder --administrator ada --new-key ada.pem")]
    Create {
        /// The tenant's name.
        #[arg(value_name = "NAME")]
        name: Identifier,
        #[command(flatten)]
        dir: Dir,
        /// The organisation that registers it.
        #[arg(long, value_name = "NAME")]
        organisation: Identifier,
        /// The tenant's first administrator.
        #[arg(long, value_name = "USER")]
        administrator: Identifier,
        /// Make the administrator's key and write it to this file.
        #[arg(long, value_name = "FILE")]
        new_key: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
}

pub(super) fn tenant(
    command: &TenantCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let TenantCommand::Create {
        name,
        dir,
        organisation,
        administrator,
        new_key,
        passphrase,
    } = command;
    let folder = Folder::open(&dir.dir)?;
    if !organisations::are_here(&folder, &setup::read_genesis(&folder)?) {
        let message = format!(
            "the organisations of this record have their keys elsewhere (engine simplex): the operator of {organisation} registers the tenant, with `coordinator peer register-tenant {name} --administrator {administrator} --public-key HEX` in its peer's folder"
        );
        return Err(Failure::new(exit::CONFIGURATION, "record-engine", message));
    }
    let client = connect.client()?;
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase.obtain(false)?)?;
    let operator = organisations::signing_key(&folder, &master, organisation, "operator")?;
    let public_key = user_key::create(new_key)?.verifying_key().to_bytes();
    let transaction = Transaction::TenantRegister(TenantRegister {
        tenant: name.clone(),
        administrator: administrator.clone(),
        public_key,
    });
    let author = Author::Organisation(organisation.clone());
    let registered =
        block_on(async { Ok(client.submit_as(author, &operator, transaction).await) })?;
    if registered.as_ref().is_err_and(ClientError::is_refusal) {
        // The key opens nothing; another attempt makes a new one under the same name.
        let _ = std::fs::remove_file(new_key);
    }
    let receipt = registered?;
    let terms = KeyTerms {
        tenant: name.to_string(),
        name: "administrator".to_owned(),
        scopes: Scopes::all(),
        user: None,
        expires_ms: None,
    };
    let api_key = setup::api_keys(&folder, &master)?
        .issue(terms, now_ms())?
        .key;
    let value = json!({
        "tenant": name, "administrator": administrator, "key": new_key, "api_key": api_key.as_str(), "receipt": receipt,
    });
    let lines = [
        field(
            "tenant",
            format!(
                "{name}, administrator {administrator}, block {}",
                receipt.height
            ),
        ),
        field("the administrator's key", new_key.display()),
        field("API key", api_key.as_str()),
    ];
    output.result(&value, &lines)
}

/// Commands about the settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether coordinator.toml is right.
    Check {
        #[command(flatten)]
        dir: Dir,
    },
}

pub(super) fn config(command: &ConfigCommand, output: &Output) -> Result<(), Failure> {
    let ConfigCommand::Check { dir } = command;
    let folder = Folder::open(&dir.dir)?;
    let config = Config::read(&folder.config())?;
    output.result(
        &config,
        &[format!("{} is right", folder.config().display())],
    )
}
