//! Commands about an organisation's own peer process.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use cryptonode::randomness;

use super::operator::PassphraseSource;
use super::output::{field, instant};
use super::peer_arguments::{ApprovalKey, Change, PeerDir};
use super::peer_status::{join, members, status};
use super::peer_tenants::{self, PeerTenantCommand};
use super::{Failure, Output, block_on, exit};
use crate::client::user_key;
use crate::daemon;
use crate::folder::Folder;
use crate::master_key::SealedMasterKey;
use crate::organisations;
use crate::peer::run::{PeerReady, read_token};
use crate::peer::settings::PeerSettings;
use crate::peer::{
    PeerProcessError,
    ask::AskedPeer,
    backup, caller, run,
    setup::{self, ApprovalsNeeded, Coming},
};
use crate::platform::now_ms;
use crate::record::{
    Author, Identifier, OrganisationEndorse, TenantRegister, Transaction, UnsignedTransaction,
    wire::Submitted,
};

/// How long what an organisation signs here may take to be ordered.
const LIFETIME_MS: u64 = 60_000;

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
        /// Where software on other machines will ask, over TLS and known by its key. Without it: port 7731 of the address of --listen, if that is no loopback address.
        #[arg(long, value_name = "ADDR")]
        api_tls: Option<SocketAddr>,
        /// The kind of key that signs the organisation's approvals.
        #[arg(long, value_enum, default_value_t = ApprovalKey::Ed25519)]
        approvals_key: ApprovalKey,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
    /// Let software on another machine ask this peer over TLS: a platform, an auditor. It counts at once.
    #[command(after_help = "\
Examples:
  coordinator peer allow hospital --dir A --certificate peer-client.pem
  coordinator peer allow auditor --dir A --public-key HEX")]
    Allow {
        /// A name for it.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        dir: PeerDir,
        /// Its certificate: a platform's is peer-client.pem in its folder.
        #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
        certificate: Option<PathBuf>,
        /// Its Ed25519 key, hexadecimal.
        #[arg(long, value_name = "HEX", required_unless_present = "certificate")]
        public_key: Option<String>,
    },
    /// Let it ask no more. It counts at once.
    #[command(after_help = "Example:\n  coordinator peer disallow hospital --dir A")]
    Disallow {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        dir: PeerDir,
    },
    /// Make a ledger's beginning of the organisations' files; one of them does it, all check it.
    #[command(after_help = "\
Example:
  coordinator peer found --out E --name main --approvals 3 \\
    A/organisation.json B/organisation.json C/organisation.json \\
    D/organisation.json")]
    Found {
        /// The folder for genesis, addresses, approval policy and verifier keys; all of it public.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The ledger's name.
        #[arg(long, value_name = "NAME", default_value = "main")]
        name: Identifier,
        /// How many organisations must approve a read; a majority of them, or
        /// more.
        #[arg(long, value_name = "M")]
        approvals: u16,
        /// Take fewer than a majority: half of the organisations or fewer then
        /// decide who reads.
        #[arg(long)]
        minority_may_approve: bool,
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
        /// For a newcomer when those of the beginning have left: what
        /// `peer members` wrote at a peer that takes part.
        #[arg(long, value_name = "FILE", requires = "newcomer")]
        members: Option<PathBuf>,
    },
    /// Write who is on the record now and where their peers listen, for a newcomer; all of it public.
    #[command(after_help = "Example:\n  coordinator peer members --dir A --out members-now.json")]
    Members {
        #[command(flatten)]
        dir: PeerDir,
        /// The file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where the peer's API answers, if not where peer.toml says.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
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
    /// Have a peer that lost its votes vote at once, when the order stands still without it.
    #[command(after_help = "\
A peer whose record/order was lost follows without a vote until a new batch is
final, so that it never votes twice. If more peers than f = (n - 1) / 3 lost
theirs or are gone for good, there is no new batch without it. Only then: stop
it, use this, start it. If it did vote before for what comes up again, the others
take nothing from it for an hour.

Example:
  coordinator peer vote-anew --dir A")]
    VoteAnew {
        #[command(flatten)]
        dir: PeerDir,
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
    /// What this organisation does about a tenant that it answers for, and the tenant's administrators may not.
    #[command(subcommand)]
    Tenant(PeerTenantCommand),
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
            api_tls,
            approvals_key,
            passphrase,
        } => {
            let passphrase = passphrase.obtain(true)?;
            let algorithm = approvals_key.into();
            let (dir, name) = (&dir.dir, &organisation);
            let made = setup::init(dir, name, listen, api, api_tls, algorithm, &passphrase)?;
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
        PeerCommand::Allow {
            name,
            dir,
            certificate,
            public_key,
        } => {
            let key = match (certificate, public_key) {
                (Some(path), _) => caller::read_key(&path).map_err(PeerProcessError::from)?,
                (None, Some(hexadecimal)) => public_key_of(&hexadecimal)?,
                (None, None) => return Err(wrong_key()),
            };
            setup::allow(&Folder::open_peer(&dir.dir)?, &name, key)?;
            let key = hex::encode(key);
            let value = serde_json::json!({ "name": name, "key": key });
            output.result(&value, &[field("may ask", format!("{name}, key {key}"))])
        }
        PeerCommand::VoteAnew { dir } => {
            setup::vote_anew(&Folder::open_peer(&dir.dir)?)?;
            let value = serde_json::json!({ "dir": dir.dir, "votes": "at the next start" });
            output.result(
                &value,
                &[field("votes", "at the next start, whatever it lost")],
            )
        }
        PeerCommand::Disallow { name, dir } => {
            let removed = setup::disallow(&Folder::open_peer(&dir.dir)?, &name)?;
            if removed == 0 {
                let message =
                    format!("[[clients]] in peer.toml has no {name}; look at the names there");
                return Err(Failure::new(exit::CONFIGURATION, "peer-no-client", message));
            }
            let value = serde_json::json!({ "name": name, "removed": removed });
            output.result(&value, &[field("may ask no more", name)])
        }
        PeerCommand::Found {
            out,
            name,
            approvals,
            minority_may_approve,
            epoch_batches,
            files,
        } => {
            let approvals = ApprovalsNeeded {
                number: approvals,
                minority: minority_may_approve,
            };
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
            members,
        } => {
            let coming = match (newcomer, members) {
                (_, Some(path)) => Coming::Helped(path),
                (true, None) => Coming::Newcomer,
                (false, None) => Coming::Founder,
            };
            let made = setup::join(&dir.dir, &exchange, coming)?;
            let lines = [
                field("ledger", &made.ledger),
                field("organisations", join(&made.organisations)),
                "compare both with the other organisations, then: coordinator peer run".to_owned(),
            ];
            output.result(&made, &lines)
        }
        PeerCommand::Members { dir, out, url } => members(&dir.dir, &out, url, output),
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
        PeerCommand::Tenant(command) => peer_tenants::run(command, output),
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
pub(super) fn submit(
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

pub(super) fn recorded(
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

fn wrong_key() -> Failure {
    let message = "a public key has 64 hexadecimal digits";
    Failure::new(exit::CONFIGURATION, "key-file", message)
}

fn public_key_of(hexadecimal: &str) -> Result<[u8; 32], Failure> {
    let key = hex::decode(hexadecimal).map_err(|_| wrong_key())?;
    key.try_into().map_err(|_| wrong_key())
}
