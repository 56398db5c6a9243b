//! Commands about an organisation's own peer process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cryptonode::randomness;

use super::operator::PassphraseSource;
use super::output::field;
use super::{Failure, Output, block_on, exit};
use crate::client::user_key;
use crate::daemon;
use crate::folder::Folder;
use crate::master_key::SealedMasterKey;
use crate::organisations;
use crate::peer::run::{PeerReady, read_token};
use crate::peer::settings::PeerSettings;
use crate::peer::{
    ask::AskedPeer,
    run,
    setup::{self, WantedChange},
};
use crate::platform::now_ms;
use crate::record::{
    Author, Identifier, OrganisationEndorse, TenantRegister, Transaction, UnsignedTransaction,
    wire::Submitted,
};

/// How long what an organisation signs here may take to be ordered.
const LIFETIME_MS: u64 = 60_000;

/// Which peer.
#[derive(Debug, Args)]
pub(super) struct PeerDir {
    /// The peer's folder.
    #[arg(long, value_name = "DIR", env = "COORDINATOR_PEER_DIR")]
    dir: PathBuf,
}

/// What changes: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Change {
    /// The organisation of this organisation.json takes part.
    #[arg(long, value_name = "FILE")]
    admit: Option<PathBuf>,
    /// The organisation of this organisation.json gets the keys in it.
    #[arg(long, value_name = "FILE")]
    rekey: Option<PathBuf>,
    /// The organisation leaves.
    #[arg(long, value_name = "NAME")]
    remove: Option<Identifier>,
}

impl Change {
    fn wanted(self) -> Option<WantedChange> {
        let admit = self.admit.map(WantedChange::Admit);
        let rekey = || self.rekey.map(WantedChange::Rekey);
        let remove = || self.remove.map(WantedChange::Remove);
        admit.or_else(rekey).or_else(remove)
    }
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
        /// Batches of the order in an epoch: who orders changes only
        /// between two. An idle batch takes about a second.
        #[arg(long, value_name = "N", default_value_t = 512)]
        epoch_batches: u32,
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
        /// The organisation, or its new keys, come later than the ledger's
        /// beginning: the others admit them on the record.
        #[arg(long)]
        newcomer: bool,
    },
    /// Endorse a change of the organisations; with a quorum of them it happens.
    #[command(after_help = "\
From the next epoch of the order on the organisations that are on the record
order. An address in a file is noted in peer.toml.

Examples:
  coordinator peer endorse --dir A --admit F/organisation.json
  coordinator peer endorse --dir A --remove dogwood")]
    Endorse {
        #[command(flatten)]
        dir: PeerDir,
        #[command(flatten)]
        change: Change,
        /// Where the peer's API answers, if not where peer.toml says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        passphrase: PassphraseSource,
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
            epoch_batches,
            files,
        } => {
            let made = setup::found(&out, &name, approvals, epoch_batches, &files)?;
            let lines = [
                field("ledger", &made.ledger),
                field("for all organisations", made.exchange.display()),
                "next: coordinator peer join, in each organisation's folder".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Join {
            dir,
            exchange,
            newcomer,
        } => {
            let made = setup::join(&dir.dir, &exchange, newcomer)?;
            let lines = [
                field("ledger", &made.ledger),
                field("organisations", join(&made.organisations)),
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
            let public_key = match (public_key, key) {
                (Some(hexadecimal), _) => public_key_of(&hexadecimal)?,
                (None, Some(path)) => user_key::read(&path)?.verifying_key().to_bytes(),
                (None, None) => return Err(wrong_key()),
            };
            let folder = Folder::open_peer(&dir.dir)?;
            let transaction = Transaction::TenantRegister(TenantRegister {
                tenant: name.clone(),
                administrator: administrator.clone(),
                public_key,
            });
            let submitted = submit(&folder, url, &passphrase, transaction)?;
            recorded(&submitted, output, |height| {
                let line = format!("{name}, administrator {administrator}, block {height}");
                field("tenant", line)
            })
        }
        PeerCommand::Endorse {
            dir,
            change,
            url,
            passphrase,
        } => {
            let folder = Folder::open_peer(&dir.dir)?;
            let wanted = change.wanted().ok_or_else(|| {
                let message = "say what changes: --admit, --rekey or --remove";
                Failure::new(exit::CONFIGURATION, "change", message)
            })?;
            let change = setup::change(&folder, &wanted)?;
            let transaction = Transaction::OrganisationEndorse(OrganisationEndorse { change });
            let submitted = submit(&folder, url, &passphrase, transaction)?;
            recorded(&submitted, output, |height| {
                field(
                    "endorsed",
                    format!("block {height}; see coordinator peer status"),
                )
            })
        }
    }
}

/// Signs with the organisation's operator key, and has it ordered.
fn submit(
    folder: &Folder,
    url: Option<String>,
    passphrase: &PassphraseSource,
    transaction: Transaction,
) -> Result<Submitted, Failure> {
    let settings = PeerSettings::read(folder)?;
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase.obtain(false)?)?;
    let operator = organisations::signing_key(folder, &master, &settings.organisation, "operator")?;
    let unsigned = UnsignedTransaction {
        ledger: setup::read_genesis(&folder.genesis())?.id(),
        author: Author::Organisation(settings.organisation.clone()),
        nonce: randomness::public(),
        expires_ms: now_ms().saturating_add(LIFETIME_MS),
        transaction,
    };
    let url = url.unwrap_or_else(|| format!("http://{}", settings.api));
    let token = read_token(folder)?;
    let signed = unsigned.sign(&operator);
    block_on(async { Ok(AskedPeer::new(url, token)?.submit(&signed).await?) })
}

fn recorded(
    submitted: &Submitted,
    output: &Output,
    line: impl FnOnce(u64) -> String,
) -> Result<(), Failure> {
    match submitted {
        Submitted::Recorded { height, .. } => output.result(submitted, &[line(*height)]),
        Submitted::Refused { code, message } => {
            Err(Failure::new(exit::REFUSED, code.as_str(), message.as_str()))
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
        field(
            "epoch",
            format!(
                "{}{}",
                status.epoch,
                if status.votes {
                    ""
                } else {
                    ", without a vote: it follows"
                }
            ),
        ),
        field("organisations", join(&status.organisations)),
    ];
    lines.extend(status.changes.iter().map(|it| {
        let endorsed = join(&it.endorsed_by);
        field(
            "undecided",
            format!("{} {}, endorsed by {endorsed}", it.change, it.organisation),
        )
    }));
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

fn join(names: &[Identifier]) -> String {
    let names: Vec<_> = names.iter().map(Identifier::as_str).collect();
    names.join(", ")
}

fn wrong_key() -> Failure {
    let message = "a public key has 64 hexadecimal digits";
    Failure::new(exit::CONFIGURATION, "key-file", message)
}

fn public_key_of(hexadecimal: &str) -> Result<[u8; 32], Failure> {
    let key = hex::decode(hexadecimal).map_err(|_| wrong_key())?;
    key.try_into().map_err(|_| wrong_key())
}
