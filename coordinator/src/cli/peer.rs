//! Commands about an organisation's own peer process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::operator::PassphraseSource;
use super::output::{field, instant};
use super::{Failure, Output, block_on, exit};
use crate::client::user_key;
use crate::daemon;
use crate::folder::Folder;
use crate::master_key::SealedMasterKey;
use crate::organisations;
use crate::peer::run::{PeerReady, read_token};
use crate::peer::settings::PeerSettings;
use crate::peer::{ask::AskedPeer, backup, run, setup};
use crate::platform::now_ms;
use crate::record::{
    Author, Identifier, TenantRegister, Transaction, UnsignedTransaction, wire::Submitted,
};

/// How long a registration is valid.
const REGISTRATION_LIFETIME_MS: u64 = 60_000;

/// Which peer.
#[derive(Debug, Args)]
pub(super) struct PeerDir {
    /// The peer's folder.
    #[arg(long, value_name = "DIR", env = "COORDINATOR_PEER_DIR")]
    dir: PathBuf,
}

/// Commands about a peer.
#[derive(Debug, Subcommand)]
pub(super) enum PeerCommand {
    /// Make a peer's folder: the organisation's keys, sealed, and organisation.json for the others.
    #[command(after_help = "\
Example:
  coordinator peer init --dir A --organisation alder \\
    --listen 192.0.2.1:7720 --api 127.0.0.1:7730")]
    Init {
        #[command(flatten)]
        dir: PeerDir,
        /// The organisation.
        #[arg(long, value_name = "NAME")]
        organisation: Identifier,
        /// Where the other organisations' peers will connect.
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// Where this organisation's software will ask; a loopback address.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7730")]
        api: SocketAddr,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// Make a ledger's beginning of the organisations' files; one of them does it, all check it.
    #[command(after_help = "\
Example:
  coordinator peer found --out E --name main --approvals 2 \\
    A/organisation.json B/organisation.json C/organisation.json \\
    D/organisation.json")]
    Found {
        /// The folder for genesis, addresses, approval policy and verifier keys; all of it public.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The ledger's name.
        #[arg(long, value_name = "NAME", default_value = "main")]
        name: Identifier,
        /// How many organisations must approve a read.
        #[arg(long, value_name = "M")]
        approvals: u16,
        /// The organisations' files; with 3f + 1 of them f may fail in any way.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Take a ledger's beginning into a peer's folder.
    #[command(after_help = "Example:\n  coordinator peer join --dir A --exchange E")]
    Join {
        #[command(flatten)]
        dir: PeerDir,
        /// The folder that `peer found` made.
        #[arg(long, value_name = "DIR")]
        exchange: PathBuf,
    },
    /// Run the peer until SIGTERM or Ctrl-C.
    #[command(after_help = "\
Prints one line when it serves; with --json:
  {\"event\":\"ready\",\"organisation\":…,\"url\":…,\"listen\":…,\"ledger\":…,\"pid\":…}

Example:
  coordinator peer run --dir A --passphrase-file pass")]
    Run {
        #[command(flatten)]
        dir: PeerDir,
        #[command(flatten)]
        passphrase: PassphraseSource,
        /// Stop when standard input is closed.
        #[arg(long)]
        exit_with_stdin: bool,
    },
    /// Say how the running peer is, and of whose faults it has proof.
    Status {
        #[command(flatten)]
        dir: PeerDir,
        /// Where its API answers, if not where peer.toml says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Copy a peer into a new folder, also while it runs: store, sealed keys, settings. Without the passphrase nobody can use it.
    #[command(
        after_help = "Example:\n  coordinator peer backup --dir A --out backups/A-2026-11-21"
    )]
    Backup {
        #[command(flatten)]
        dir: PeerDir,
        /// The folder of the backup; it must not exist, or be empty.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make a peer's folder of a backup. The peer that it was made of must never run again.
    #[command(after_help = "\
Examples:
  coordinator peer restore --from backups/A-2026-11-21 --check
  coordinator peer restore --from backups/A-2026-11-21 --dir A")]
    Restore {
        /// The folder of the backup.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The peer's folder; it must not exist, or be empty.
        #[arg(long, value_name = "DIR", required_unless_present = "check")]
        dir: Option<PathBuf>,
        /// Only look whether the backup is whole.
        #[arg(long, conflicts_with = "dir")]
        check: bool,
    },
    /// Register a tenant: this organisation answers for it and signs.
    #[command(after_help = "\
Example:
  coordinator peer register-tenant acme --dir A \\
    --administrator ada --key ada.pem")]
    RegisterTenant {
        /// The tenant's name.
        #[arg(value_name = "NAME")]
        name: Identifier,
        #[command(flatten)]
        dir: PeerDir,
        /// The tenant's first administrator.
        #[arg(long, value_name = "USER")]
        administrator: Identifier,
        /// The administrator's public key, hexadecimal.
        #[arg(long, value_name = "HEX", conflicts_with = "key")]
        public_key: Option<String>,
        /// File with the administrator's key.
        #[arg(long, value_name = "FILE", required_unless_present = "public_key")]
        key: Option<PathBuf>,
        /// Where the peer's API answers, if not where peer.toml says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
}

pub(super) fn run(command: PeerCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PeerCommand::Init {
            dir,
            organisation,
            listen,
            api,
            passphrase,
        } => {
            let passphrase = passphrase.obtain(true)?;
            let made = setup::init(&dir.dir, &organisation, listen, api, &passphrase)?;
            let lines = [
                field("folder", made.dir.display()),
                field(
                    "for the other organisations",
                    made.organisation_file.display(),
                ),
                "next: coordinator peer found, with the files of all organisations".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Found {
            out,
            name,
            approvals,
            files,
        } => {
            let made = setup::found(&out, &name, approvals, &files)?;
            let lines = [
                field("ledger", &made.ledger),
                field("for all organisations", made.exchange.display()),
                "next: coordinator peer join, in each organisation's folder".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Join { dir, exchange } => {
            let made = setup::join(&dir.dir, &exchange)?;
            let names: Vec<_> = made.organisations.iter().map(Identifier::as_str).collect();
            let lines = [
                field("ledger", &made.ledger),
                field("organisations", names.join(", ")),
                "compare both with the other organisations, then: coordinator peer run".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Run {
            dir,
            passphrase,
            exit_with_stdin,
        } => {
            daemon::harden();
            let passphrase = passphrase.obtain(false)?;
            let announce = |ready: &PeerReady| {
                if output.result(ready, &[field("ready", &ready.url)]).is_err() {
                    tracing::warn!("nobody reads standard output: the ready line was lost");
                }
            };
            block_on(async { Ok(run::run(&dir.dir, passphrase, exit_with_stdin, announce).await?) })
        }
        PeerCommand::Backup { dir, out } => {
            let made = backup::backup(&dir.dir, &out, now_ms())?;
            let lines = [
                field("backup", out.display()),
                field("organisation", &made.organisation),
                field("to block", made.height),
                field("transactions", made.transactions),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Restore {
            from,
            dir: Some(dir),
            ..
        } => {
            let made = backup::restore(&from, &dir, now_ms())?;
            let until = instant(made.no_approvals_until_ms);
            let lines = [
                field("folder", made.dir.display()),
                field("organisation", &made.organisation),
                field("to block", made.height),
                field("no new approvals for reads up to", until),
                "next: coordinator peer run; it gets the rest from the others".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Restore { from, .. } => {
            let found = backup::examine(&from)?;
            let lines = [
                field("organisation", &found.organisation),
                field("ledger", &found.ledger),
                field("to block", found.height),
                field("made", instant(found.made_ms)),
                "the backup is whole".to_owned(),
            ];
            output.result(&found, &lines)
        }
        PeerCommand::Status { dir, url } => status(&dir.dir, url, output),
        PeerCommand::RegisterTenant {
            name,
            dir,
            administrator,
            public_key,
            key,
            url,
            passphrase,
        } => {
            let folder = Folder::open_peer(&dir.dir)?;
            let settings = PeerSettings::read(&folder)?;
            let public_key = match (public_key, key) {
                (Some(hexadecimal), _) => public_key_of(&hexadecimal)?,
                (None, Some(path)) => user_key::read(&path)?.verifying_key().to_bytes(),
                (None, None) => return Err(wrong_key()),
            };
            let master = SealedMasterKey::open(&folder.master_key(), &passphrase.obtain(false)?)?;
            let operator =
                organisations::signing_key(&folder, &master, &settings.organisation, "operator")?;
            let unsigned = UnsignedTransaction {
                ledger: setup::read_genesis(&folder.genesis())?.id(),
                author: Author::Organisation(settings.organisation.clone()),
                nonce: rand::random(),
                expires_ms: now_ms().saturating_add(REGISTRATION_LIFETIME_MS),
                transaction: Transaction::TenantRegister(TenantRegister {
                    tenant: name.clone(),
                    administrator: administrator.clone(),
                    public_key,
                }),
            };
            let url = url.unwrap_or_else(|| format!("http://{}", settings.api));
            let token = read_token(&folder)?;
            let signed = unsigned.sign(&operator);
            let submitted =
                block_on(async { Ok(AskedPeer::new(url, token)?.submit(&signed).await?) })?;
            match &submitted {
                Submitted::Recorded { height, .. } => {
                    let line = format!("{name}, administrator {administrator}, block {height}");
                    output.result(&submitted, &[field("tenant", line)])
                }
                Submitted::Refused { code, message } => {
                    Err(Failure::new(exit::REFUSED, code.as_str(), message.as_str()))
                }
            }
        }
    }
}

fn status(dir: &Path, url: Option<String>, output: &Output) -> Result<(), Failure> {
    let folder = Folder::open_peer(dir)?;
    let settings = PeerSettings::read(&folder)?;
    let url = url.unwrap_or_else(|| format!("http://{}", settings.api));
    let token = read_token(&folder)?;
    let status = block_on(async { Ok(AskedPeer::new(url, token)?.status().await?) })?;
    let mut lines = vec![
        field("organisation", &status.organisation),
        field("ledger", &status.ledger),
        field("block", status.height),
        field("transactions", status.transactions),
        field("state", status.state_root.as_deref().unwrap_or("none yet")),
        field("batch of the order", status.ordered),
    ];
    lines.extend(status.fault.iter().map(|fault| field("fault", fault)));
    let accused = status.accused.iter();
    lines.extend(accused.map(|it| {
        field(
            "proof against",
            format!("{}: {}", it.organisation, it.fault),
        )
    }));
    output.result(&status, &lines)
}

fn wrong_key() -> Failure {
    let message = "a public key has 64 hexadecimal digits";
    Failure::new(exit::CONFIGURATION, "key-file", message)
}

fn public_key_of(hexadecimal: &str) -> Result<[u8; 32], Failure> {
    let key = hex::decode(hexadecimal).map_err(|_| wrong_key())?;
    key.try_into().map_err(|_| wrong_key())
}
