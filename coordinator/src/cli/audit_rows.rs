//! `audit document|link|permission|user|dataset|organisation|tenant`: what the record says about something, each row with its proof.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cryptonode::tls::TlsIdentity;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use super::audit::verifier_keys;
use super::operator::peer_config;
use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::client::user_key;
use crate::config::PeerConfig;
use crate::folder;
use crate::peer::{PeerProcessError, ask::AskedPeer, run::read_token_file};
use crate::record::audit::{
    AuditQuery, AuditView, MAX_PROOF_FILE, ProvenHead, Subject, verify_proof,
};
use crate::record::{DatasetName, Identifier, LinkName, PeerAccess, UserName, head};

const DAY_MS: u64 = 86_400_000;

/// Which rows, from whom, and what to do with them.
#[derive(Debug, Args)]
pub(super) struct Rows {
    /// Rows in blocks from this time on: 2026-11-21, 2026-11-21T16:00:00Z, or milliseconds since the Unix epoch.
    #[arg(long, value_name = "TIME", value_parser = beginning)]
    from: Option<u64>,
    /// Rows in blocks up to this time; a day counts to its end.
    #[arg(long, value_name = "TIME", value_parser = end)]
    to: Option<u64>,
    /// Rows of this kind only, such as `read` or `permission-add`; give several.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// How many rows at most.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// File with the organisations' verifier keys: every row is verified under them before it is shown.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Write each row's proof into this folder, for `audit verify --proof`.
    #[arg(long, value_name = "DIR")]
    proofs: Option<PathBuf>,
    /// Ask an organisation's peer instead of the platform: its name, the URL of its API, and for http:// the file with its token. The first one answers;
    /// the others, if there are more, add their signatures under its head.
    #[arg(long = "peer", value_name = "NAME,URL[,FILE]", value_parser = peer_config, requires = "keys")]
    peers: Vec<PeerConfig>,
    /// File with the Ed25519 key by which peers at https:// URLs know who asks (`openssl genpkey -algorithm ed25519`).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

/// About what. The names are those of the tenant that the profile or `--tenant` says.
#[derive(Debug)]
pub(super) enum About<'a> {
    Document(&'a Identifier, &'a Identifier),
    Link(&'a Identifier, &'a Identifier),
    Permission(&'a Identifier),
    User(&'a Identifier),
    Dataset(&'a Identifier),
    Organisation(&'a Identifier),
    Tenant,
}

impl About<'_> {
    fn subject(&self, tenant: Identifier) -> Subject {
        let of = |dataset: &Identifier| DatasetName {
            tenant: tenant.clone(),
            dataset: dataset.clone(),
        };
        match self {
            Self::Document(dataset, document) => {
                Subject::Document(of(dataset).document((*document).clone()))
            }
            Self::Link(dataset, link) => Subject::Link(LinkName {
                tenant: tenant.clone(),
                dataset: (*dataset).clone(),
                link: (*link).clone(),
            }),
            Self::Permission(dataset) => Subject::Permission(of(dataset)),
            Self::Dataset(dataset) => Subject::Dataset(of(dataset)),
            Self::User(user) => Subject::User(UserName {
                tenant: tenant.clone(),
                user: (*user).clone(),
            }),
            Self::Organisation(name) => Subject::Organisation((*name).clone()),
            Self::Tenant => Subject::Tenant(tenant),
        }
    }
}

fn beginning(text: &str) -> Result<u64, String> {
    Ok(moment(text)?.0)
}

fn end(text: &str) -> Result<u64, String> {
    let (at, lasts) = moment(text)?;
    Ok(at.saturating_add(lasts.saturating_sub(1)))
}

/// A time in milliseconds since the Unix epoch, and how long what was named lasts.
fn moment(text: &str) -> Result<(u64, u64), String> {
    if let Ok(ms) = text.parse::<u64>() {
        return Ok((ms, 1));
    }
    let day = time::macros::format_description!("[year]-[month]-[day]");
    let (instant, lasts) = match Date::parse(text, day) {
        Ok(date) => (date.midnight().assume_utc(), DAY_MS),
        Err(_) => {
            let instant = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
                "a time is 2026-11-21, 2026-11-21T16:00:00Z, or milliseconds since the Unix epoch"
                    .to_owned()
            })?;
            // Said to the second, it means the whole second.
            let lasts = if instant.nanosecond() == 0 { 1000 } else { 1 };
            (instant, lasts)
        }
    };
    let ms = instant.unix_timestamp_nanos() / 1_000_000;
    let ms = u64::try_from(ms).map_err(|_| "the time is before 1970".to_owned())?;
    Ok((ms, lasts))
}

pub(super) fn run(
    about: &About<'_>,
    rows: &Rows,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let limit = usize::try_from(rows.limit).unwrap_or(usize::MAX);
    let keys = rows.keys.as_deref().map(verifier_keys).transpose()?;
    let ask = |subject: &Subject| AuditQuery {
        subject: Some(subject.to_string()),
        kinds: (!rows.kinds.is_empty()).then(|| rows.kinds.join(",")),
        from_ms: rows.from,
        until_ms: rows.to,
        ..AuditQuery::default()
    };
    let (subject, view) = if rows.peers.is_empty() {
        let client = connect.client()?;
        let subject = about.subject(client.tenant().clone());
        let query = ask(&subject);
        let view = if subject.tenant().is_some() {
            block_on(async { Ok(client.audit(&query, limit).await?) })?
        } else {
            let key = connect.operator_key()?;
            block_on(async { Ok(client.audit_all(key.expose(), &query, limit).await?) })?
        };
        (subject, view)
    } else {
        let subject = match about {
            About::Organisation(name) => Subject::Organisation((*name).clone()),
            about => about.subject(connect.tenant()?),
        };
        let query = ask(&subject);
        let keys = keys.clone().unwrap_or_default();
        let view = block_on(of_peers(rows, &keys, &query, limit))?;
        (subject, view)
    };
    let refused = |e: crate::record::audit::AnswerError| {
        let message = format!("the answer does not hold: {e}; keep it as evidence");
        Failure::new(exit::DAMAGED, e.code(), message)
    };
    let verified = match &keys {
        Some(keys) => Some(view.verify(keys, Some(&subject)).map_err(refused)?),
        None => None,
    };
    let files = match &rows.proofs {
        Some(folder) => write_proofs(&view, folder)?,
        None => Vec::new(),
    };
    show(&view, verified.as_ref(), &files, output)
}

/// The first peer's answer, with the signatures of the others under its head.
async fn of_peers(
    rows: &Rows,
    keys: &[certs::checkpoint::NoteKey],
    query: &AuditQuery,
    limit: usize,
) -> Result<AuditView, Failure> {
    let identity = rows.tls_key.as_deref().map(tls_identity).transpose()?;
    let ask = |peer: &PeerConfig| -> Result<AskedPeer, Failure> {
        let access = match (&peer.token_file, &identity) {
            (Some(file), _) => PeerAccess::Token(read_token_file(file)?),
            (None, Some(identity)) => {
                let name = peer.organisation.as_str();
                let verifiers = keys.iter().filter(|key| key.name() == name);
                let verifiers = verifiers.map(|key| key.verifying_key().to_bytes());
                PeerAccess::Keys {
                    identity: identity.clone(),
                    known: verifiers.chain(peer.key.map(|key| key.0)).collect(),
                }
            }
            (None, None) => {
                let message = "a peer at an https:// URL knows who asks by their key: give --tls-key, and have its operator allow it";
                return Err(Failure::new(exit::CONFIGURATION, "key-file", message));
            }
        };
        Ok(AskedPeer::reached(peer.url.as_str(), access)?)
    };
    let Some((first, others)) = rows.peers.split_first() else {
        return Err(Failure::new(exit::USAGE, "usage", "give a --peer"));
    };
    let mut view = ask(first)?.audit(query, limit).await?;
    let mut notes: Vec<String> = view.signed_head.iter().cloned().collect();
    for peer in others {
        // One that does not have that block yet, or does not answer, leaves its signature out.
        if let Ok(Some(note)) = ask(peer)?.head_of_size(view.size).await {
            notes.push(note);
        }
    }
    let merged = head::merge(notes.iter().map(String::as_str), keys).map_err(|e| {
        let message = format!(
            "the peers' heads of {} transactions cannot stand together: {e}; keep what they answered as evidence",
            view.size
        );
        Failure::new(exit::DAMAGED, "audit-heads", message)
    })?;
    view.signed_head = Some(merged);
    Ok(view)
}

/// Who asks peers elsewhere.
fn tls_identity(path: &Path) -> Result<Arc<TlsIdentity>, Failure> {
    let key = user_key::read(path)?;
    let identity = TlsIdentity::from_signing_key(&key).map_err(PeerProcessError::from)?;
    Ok(Arc::new(identity))
}

fn write_proofs(view: &AuditView, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let note = view.signed_head.as_deref().unwrap_or_default();
    folder::create_private_dir(folder)?;
    let mut files = Vec::with_capacity(view.rows.len());
    for row in &view.rows {
        let path = folder.join(format!("{}.tlog-proof", row.position));
        folder::write_private(&path, row.proof_file(note).as_bytes())?;
        files.push(path);
    }
    Ok(files)
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: &'a AuditView,
    /// Who of the given keys signed the head; absent if no keys were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<&'a [String]>,
    /// The files of the proofs, in the order of the rows.
    #[serde(skip_serializing_if = "<[PathBuf]>::is_empty")]
    proofs: &'a [PathBuf],
}

fn show(
    view: &AuditView,
    verified: Option<&ProvenHead>,
    files: &[PathBuf],
    output: &Output,
) -> Result<(), Failure> {
    let cells = |row: &crate::record::audit::AuditRowView| {
        vec![
            row.position.to_string(),
            instant(row.time_ms),
            row.height.to_string(),
            row.kind.clone(),
            row.author.clone(),
            row.about.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = view.rows.iter().map(cells).collect();
    let heading = ["position", "time", "block", "kind", "author", "about"];
    let mut lines = table(&heading, &rows);
    lines.push(match verified {
        Some(head) => field("proven under a head signed by", head.signed_by().join(", ")),
        None => "not verified: give --keys with the organisations' verifier keys".to_owned(),
    });
    if view.next.is_some() {
        lines.push("there are more rows: give a greater --limit, or a narrower time".to_owned());
    }
    if let Some(folder) = files.first().and_then(|file| file.parent()) {
        let proofs = format!("{}, {} files", folder.display(), files.len());
        lines.push(field("proofs", proofs));
    }
    let shown = Shown {
        view,
        signed_by: verified.map(ProvenHead::signed_by),
        proofs: files,
    };
    output.result(&shown, &lines)
}

/// `audit verify --proof`: one row, with keys alone.
pub(super) fn verify(proof: &Path, keys: &Path, output: &Output) -> Result<(), Failure> {
    let keys = verifier_keys(keys)?;
    let bytes = folder::read_limited(proof, MAX_PROOF_FILE as u64)?;
    let damaged = |code: &str, reason: String| {
        let message = format!("the proof does not hold: {reason}");
        Failure::new(exit::DAMAGED, code, message)
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| damaged("proof-malformed", "it is not text".to_owned()))?;
    let (head, row) = verify_proof(text, &keys).map_err(|e| damaged(e.code(), e.to_string()))?;
    let transaction = row.transaction();
    let about: Vec<String> = crate::record::audit::subjects_of(transaction)
        .iter()
        .map(Subject::to_string)
        .collect();
    let (after_ms, before_ms) = row.accepted_between_ms();
    let proven = Proven {
        ledger: hex::encode(transaction.content().ledger),
        position: row.position(),
        size: head.head().checkpoint.size,
        transaction_id: hex::encode(transaction.id()),
        kind: transaction.transaction().kind(),
        author: transaction.author().to_string(),
        about,
        accepted_after_ms: after_ms,
        accepted_before_ms: before_ms,
        signed_by: head.signed_by(),
        not_signed_by: head.not_signed_by(),
        transaction: hex::encode(transaction.as_bytes()),
    };
    let place = format!("{} of {}", proven.position, proven.size);
    let time = format!("{} to {}", instant(after_ms), instant(before_ms));
    let lines = [
        field("ledger", &proven.ledger),
        field("transaction", &proven.transaction_id),
        field("kind", proven.kind),
        field("author", &proven.author),
        field("about", proven.about.join(" ")),
        field("position", place),
        field("accepted in", time),
        field("signed by", proven.signed_by.join(", ")),
        "the transaction is on the record".to_owned(),
    ];
    output.result(&proven, &lines)
}

#[derive(Serialize)]
struct Proven<'a> {
    ledger: String,
    position: u64,
    size: u64,
    transaction_id: String,
    kind: &'static str,
    author: String,
    about: Vec<String>,
    accepted_after_ms: u64,
    accepted_before_ms: u64,
    signed_by: &'a [String],
    not_signed_by: &'a [String],
    /// The signed transaction, hexadecimal.
    transaction: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_days_instants_or_milliseconds() {
        assert_eq!(beginning("1700000000001"), Ok(1_700_000_000_001));
        assert_eq!(end("1700000000001"), Ok(1_700_000_000_001));
        assert_eq!(beginning("2026-11-21"), Ok(1_795_219_200_000));
        assert_eq!(end("2026-11-21"), Ok(1_795_219_200_000 + DAY_MS - 1));
        let noon = 1_795_219_200_000 + DAY_MS / 2;
        assert_eq!(beginning("2026-11-21T12:00:00Z"), Ok(noon));
        assert_eq!(end("2026-11-21T13:00:00+01:00"), Ok(noon + 999));
        assert_eq!(end("2026-11-21T12:00:00.5Z"), Ok(noon + 500));
        for bad in ["", "yesterday", "2026-13-01", "1969-12-31", "-1"] {
            assert!(beginning(bad).is_err(), "{bad}");
        }
    }
}
