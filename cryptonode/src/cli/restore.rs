//! `cryptonode restore`: a node from its recovery phrase and what any member keeps for it.
//!
//! The phrase gives the identity and ρ; the certificate of each key has the node's share sealed to ρ·G. Any copy will do: the node's own
//! confirmation in it is what shows that it is not made up. What the phrase cannot give back is what the node has promised since, so a
//! restored node serves reads and takes no part in ceremonies, until a reshare gives it a new identity.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use dkg::{RecoveryPhrase, RestoredKey};
use serde_json::json;

use super::custody::read_phrase;
use super::init::cost;
use super::member::read_cards;
use super::output::field;
use super::{Failure, Output, PassphraseSource, exit};
use crate::client::{PeerOptions, call};
use crate::config::{CONFIG_FILE, Config, policy_text, read_policy};
use crate::keyring::ActiveKey;
use crate::node_files::PublicIdentity;
use crate::store::{
    Change, Folder, NodeIdentity, STORE_FILE, Store, key_change, restored_change, write_private,
};
use crate::tls::TlsIdentity;
use crate::wire::v1::{Answer, Request};

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Any member's copy of the certificate serves: its operator writes it with `cryptonode key export --certificate`, or --from fetches it.
With --dry-run everything is checked and nothing written: a drill for a phrase that should never be needed.
A restored node serves reads, and takes no part in ceremonies.

Examples:
  cryptonode restore --phrase-file words --certificate key.ceremony --policy policy.toml --dry-run
  cryptonode restore --dir n1 --name n1 --listen 0.0.0.0:7700 --passphrase-file pass --phrase-file words \\
    --from n2.card --key 3af1…")]
pub(super) struct Restore {
    /// The new folder.
    #[arg(
        long,
        value_name = "DIR",
        env = "CRYPTONODE_DIR",
        required_unless_present = "dry_run"
    )]
    dir: Option<PathBuf>,
    /// What people call the node.
    #[arg(long, required_unless_present = "dry_run")]
    name: Option<String>,
    /// UDP address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7700")]
    listen: SocketAddr,
    /// host:port by which others reach the node; the listening address if absent.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// File with the 24 words of the node's phrase.
    #[arg(long, value_name = "FILE")]
    phrase_file: PathBuf,
    /// A ceremony's certificate, as `key export --certificate` writes it; one for each key.
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// Card of a member that is running, to fetch the certificates of --key from.
    #[arg(long, value_name = "CARD", requires = "key")]
    from: Option<PathBuf>,
    /// Y in hexadecimal of a key that is to be restored.
    #[arg(long, value_name = "HEX")]
    key: Vec<String>,
    /// The policy file of the keys; the member of --from is asked for it if absent.
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    policy: Option<PathBuf>,
    /// Check everything and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Memory of the passphrase's key derivation, in KiB. Less than the default is for tests only.
    #[arg(long, value_name = "KIB", hide = true)]
    argon2_memory_kib: Option<u32>,
}

pub(super) fn run(command: &Restore, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    let phrase = read_phrase(&command.phrase_file)?;
    let policy = command.policy.as_deref().map(read_policy).transpose()?;
    let keys = restore_keys(command, &phrase, policy.as_ref())?;
    let identity = hex::encode(phrase.node_keys().identity.verifying_key().to_bytes());
    if !command.dry_run {
        write(command, &phrase, &keys)?;
    }
    let values: Vec<_> = keys.iter().map(view).collect();
    let value = json!({
        "identity": identity, "keys": values, "dry_run": command.dry_run, "dir": command.dir,
    });
    let mut lines = vec![field("identity", &identity)];
    lines.extend(keys.iter().map(|key| {
        field(
            "key",
            format!(
                "{} epoch {}, share {} of {}, {} are needed",
                hex::encode(key.package.public_key().as_bytes()),
                key.package.epoch(),
                key.share.index(),
                key.package.members(),
                key.package.threshold()
            ),
        )
    }));
    lines.push(match &command.dir {
        Some(dir) if !command.dry_run => field(
            "next",
            format!(
                "cryptonode run --dir {}; it serves reads only",
                dir.display()
            ),
        ),
        _ => "Nothing was written: the phrase restores this node.".to_owned(),
    });
    output.result(&value, &lines)
}

fn view(key: &ActiveKey) -> serde_json::Value {
    json!({
        "public_key": hex::encode(key.package.public_key().as_bytes()), "epoch": key.package.epoch(),
        "index": key.share.index(), "threshold": key.package.threshold(), "members": key.members.len(),
    })
}

/// The newest of each key, every share checked against its Y_j.
fn restore_keys(
    command: &Restore,
    phrase: &RecoveryPhrase,
    policy: Option<&certs::Policy>,
) -> Result<Vec<ActiveKey>, Failure> {
    let mut certificates = Vec::new();
    for path in &command.certificate {
        certificates.push(std::fs::read(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::new(exit::FAILED, "certificate-file", message)
        })?);
    }
    let wanted = command
        .key
        .iter()
        .map(|key| {
            let bytes = hex::decode(key).ok();
            bytes
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| {
                    let message = "a public key has 64 hexadecimal digits";
                    Failure::new(exit::USAGE, "public-key", message)
                })
        })
        .collect::<Result<Vec<[u8; 32]>, Failure>>()?;
    if let Some(card) = &command.from {
        for key in &wanted {
            certificates.push(fetch(card, key, phrase)?);
        }
    }
    let mut newest: BTreeMap<[u8; 32], (RestoredKey, Vec<u8>)> = BTreeMap::new();
    for bytes in certificates {
        let restored = dkg::restore_key(&bytes, phrase)
            .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
        let key = *restored.certified.public_key().as_bytes();
        let version = |key: &RestoredKey| (key.certified.epoch(), key.certified.attempt());
        let newer = newest
            .get(&key)
            .is_none_or(|(known, _)| version(known) < version(&restored));
        if newer {
            newest.insert(key, (restored, bytes));
        }
    }
    if let Some(missing) = wanted.iter().find(|key| !newest.contains_key(*key)) {
        let message = format!(
            "no certificate is one of the key {}: get it from another member",
            hex::encode(missing)
        );
        return Err(Failure::new(exit::FAILED, "key-missing", message));
    }
    if newest.is_empty() {
        let message = "no key is given: name certificates with --certificate, or a member with --from and --key";
        return Err(Failure::new(exit::USAGE, "no-certificate", message));
    }
    let mut keys = Vec::new();
    for (restored, certificate) in newest.into_values() {
        let policy = match (policy, &command.from) {
            (Some(policy), _) => policy.clone(),
            (None, Some(card)) => fetch_policy(card, restored.certified.policy_hash(), phrase)?,
            (None, None) => {
                let message = "name the policy file of the keys with --policy";
                return Err(Failure::new(exit::USAGE, "policy", message));
            }
        };
        keys.push(active(restored, certificate, &policy)?);
    }
    Ok(keys)
}

fn active(
    restored: RestoredKey,
    certificate: Vec<u8>,
    policy: &certs::Policy,
) -> Result<ActiveKey, Failure> {
    let RestoredKey { certified, share } = restored;
    if *certified.policy_hash() != policy.hash() {
        let message = format!(
            "the key {} was made under the policy {}, and the file given is {}: get the policy file of the key from another member",
            hex::encode(certified.public_key().as_bytes()),
            hex::encode(certified.policy_hash()),
            hex::encode(policy.hash())
        );
        return Err(Failure::new(exit::CONFIGURATION, "other-policy", message));
    }
    let key = ActiveKey {
        share,
        package: certified.package().clone(),
        result: certified.name(),
        policy: policy.clone(),
        members: certified.members().to_vec(),
        certificate,
    };
    key.check()
        .map_err(|error| Failure::new(exit::FAILED, "unusable-share", error.to_string()))?;
    Ok(key)
}

/// Asks a member for its copy of a key's certificate.
fn fetch(card: &Path, key: &[u8; 32], phrase: &RecoveryPhrase) -> Result<Vec<u8>, Failure> {
    let (name, answer) = ask(card, &Request::Key { public_key: *key }, phrase)?;
    match answer {
        Answer::Key { certificate, .. } => Ok(certificate.into_vec()),
        other => Err(unexpected(&name, other)),
    }
}

/// Asks a member for the policy that a key's certificate names.
fn fetch_policy(
    card: &Path,
    hash: &[u8; 32],
    phrase: &RecoveryPhrase,
) -> Result<certs::Policy, Failure> {
    let policy_hash = *hash;
    let (name, answer) = ask(card, &Request::Policy { policy_hash }, phrase)?;
    match answer {
        // What it is held against is in the certificate: see `active`.
        Answer::Policy { policy } => certs::Policy::from_bytes(&policy)
            .map_err(|error| Failure::new(exit::FAILED, "member-answer", error.to_string())),
        other => Err(unexpected(&name, other)),
    }
}

fn unexpected(name: &str, answer: Answer) -> Failure {
    match answer {
        Answer::Refused { code, message, .. } => {
            let message = format!("{name} refused ({code}): {message}");
            Failure::new(exit::FAILED, "member-refused", message)
        }
        _ => {
            let message = format!("{name} answered something else than it was asked");
            Failure::new(exit::FAILED, "member-answer", message)
        }
    }
}

/// Asks the member of a card, as the node that is restored.
fn ask(
    card: &Path,
    request: &Request,
    phrase: &RecoveryPhrase,
) -> Result<(String, Answer), Failure> {
    let cards = read_cards(&card.to_string_lossy())?;
    let card = cards.first().ok_or_else(|| {
        let message = "the file of --from has no card in it";
        Failure::new(exit::CONFIGURATION, "card", message)
    })?;
    let member = card.member().map_err(Failure::from)?;
    let identity = TlsIdentity::from_signing_key(&phrase.node_keys().identity)
        .map_err(|error| Failure::new(exit::FAILED, "own-identity", error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let options = PeerOptions::default();
    let answer = runtime
        .block_on(call(
            identity,
            &member.address,
            &member.identity,
            request,
            options,
        ))
        .map_err(|error| Failure::new(exit::FAILED, "member-unreachable", error.to_string()))?;
    Ok((member.name, answer))
}

fn write(command: &Restore, phrase: &RecoveryPhrase, keys: &[ActiveKey]) -> Result<(), Failure> {
    let (Some(dir), Some(name)) = (&command.dir, &command.name) else {
        let message = "give --dir and --name, or --dry-run";
        return Err(Failure::new(exit::USAGE, "dir", message));
    };
    let advertise = command
        .advertise
        .clone()
        .unwrap_or_else(|| command.listen.to_string());
    let text = Config::template(name, command.listen, &advertise);
    let config = Config::parse(dir, &text)?;
    let passphrase = command.passphrase.obtain(true)?;
    // What was fetched is written out: the operator wants to see what the node goes by, and the next restore asks for it.
    let policy = match (&command.policy, keys) {
        (Some(path), _) => std::fs::read(path)?,
        (None, [key, ..]) => policy_text(&key.policy).into_bytes(),
        (None, []) => Vec::new(),
    };
    let folder = Folder::create(dir)?;
    let node = phrase.node_keys();
    let identity = NodeIdentity {
        signing: node.identity,
        recovery_public: *node.recovery_public.as_bytes(),
    };
    let mut changes: Vec<Change> = vec![identity.to_change(), restored_change()];
    changes.extend(keys.iter().map(key_change));
    let made = Store::create(
        folder.path(),
        &passphrase,
        cost(command.argon2_memory_kib),
        &changes,
    )
    .map_err(Failure::from)
    .and_then(|()| {
        PublicIdentity::of(&identity)
            .write(folder.path())
            .map_err(Failure::from)
    })
    .and_then(|()| write_private(&config.policy, &policy, false).map_err(Failure::from))
    .and_then(|()| {
        write_private(&folder.file(CONFIG_FILE), text.as_bytes(), false).map_err(Failure::from)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(folder.file(STORE_FILE));
    }
    made
}
