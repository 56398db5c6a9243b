//! Why a client's wish did not come true. The sentences say what to do next where that is known.

use std::path::PathBuf;

use crate::envelope::EnvelopeError;
use crate::folder::FolderError;
use crate::record::audit::ProofFileError;

/// A reason.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The platform cannot be reached.
    #[error(
        "cannot reach the platform at {url}: {reason}; is it running (`coordinator run`), and is the URL right?"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The platform answered with a problem.
    #[error("{detail}")]
    Problem {
        /// HTTP status.
        status: u16,
        /// The problem's stable code.
        code: String,
        /// Its sentence.
        detail: String,
        /// What organisations or nodes said.
        more: Option<serde_json::Value>,
        /// The request's identifier, as in the platform's logs.
        request_id: Option<String>,
    },
    /// The platform answered with something that is no answer of this API.
    #[error("{url} does not answer as a coordinator does: {reason}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// What the platform prepared is not what its user meant. Nothing was signed.
    #[error(
        "the platform prepared something else than was asked, so nothing was signed: {what} is {found} instead of {expected}"
    )]
    NotWhatWasMeant {
        /// The field.
        what: &'static str,
        /// What was asked.
        expected: String,
        /// What was prepared.
        found: String,
    },
    /// No URL of a platform.
    #[error("{url:?} is no URL of a platform: {reason}; one looks like http://127.0.0.1:7710")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No API key: empty, or with characters that none has.
    #[error("the API key is empty or has characters that no API key has: copy it whole")]
    ApiKey,
    /// A request that cannot be made of what was given.
    #[error("this cannot be sent: {reason}; check the content type")]
    Request {
        /// What is wrong.
        reason: String,
    },
    /// A key by which something is to happen once, and that is none.
    #[error(
        "what makes a request happen once has 1 to 100 visible characters: draw 128 bits at random, and write them in hexadecimal"
    )]
    Once,
    /// A document broke off. What reached a destination that is no file is of no use.
    #[error(
        "the document broke off after {received} of {expected} bytes ({reason}): do not use what arrived"
    )]
    BrokenOff {
        /// Bytes that arrived.
        received: u64,
        /// Bytes that the document has.
        expected: u64,
        /// Why, as far as the platform says.
        reason: String,
    },
    /// A document that arrived is not the one on the record.
    #[error(
        "the document arrived with the checksum {found}, the record has {expected}: it was altered on its way, do not use it"
    )]
    Altered {
        /// SHA-256 on the record, hexadecimal.
        expected: String,
        /// SHA-256 of what arrived, hexadecimal.
        found: String,
    },
    /// An end-to-end read, and nothing to hold the record against.
    #[error(
        "a read that is opened here is checked against what the organisations signed: give their verifier keys with --keys (the file verifiers.txt, got from the organisations themselves), or put them into the profile"
    )]
    NoVerifiers,
    /// A version that only the platform opens.
    #[error(
        "{version} is not under a cluster's key, so the platform itself opens it: read it without --end-to-end"
    )]
    NotEndToEnd {
        /// The version.
        version: String,
    },
    /// What the platform says of a version is not on the record.
    #[error(
        "the platform does not prove that this version is on the record, so nothing was read: {0}"
    )]
    NotProven(#[source] ProofFileError),
    /// The latest version was asked for, and is not proven to be that.
    #[error(
        "the platform gave {version} for the latest version and does not prove that it is: ask again, or name the version that is meant"
    )]
    LatestNotProven {
        /// The version.
        version: String,
    },
    /// The latest version was asked for, and there is a later one.
    #[error(
        "the platform gave {version} for the latest version, and version {latest} is on the record: ask again"
    )]
    NotLatest {
        /// The version.
        version: String,
        /// The latest one.
        latest: u64,
    },
    /// The document key did not open.
    #[error("the document's key does not open with the shares that came: {reason}")]
    Shares {
        /// What is wrong with them.
        reason: String,
    },
    /// The sealed body or one of its keys is not what the record says.
    #[error("{0}; nothing was released that was not verified")]
    Envelope(#[from] EnvelopeError),
    /// A range outside of the document.
    #[error("the document has {length} bytes, and none of those that were asked for")]
    Range {
        /// Bytes of plaintext.
        length: u64,
    },
    /// A file that is no user key.
    #[error("{} is not a user's key: make one with `coordinator user new`", .0.display())]
    KeyFile(PathBuf),
    /// A file that is no profile.
    #[error("the profile {} is not right: {reason}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A profile that is not there.
    #[error(
        "there is no profile {name:?} in {}: {}; keep one with `coordinator profile add {name} …`", path.display(),
        if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) }
    )]
    NoProfile {
        /// What was asked for.
        name: String,
        /// Where.
        path: PathBuf,
        /// Those that there are.
        known: Vec<String>,
    },
    /// An operation that is signed, without a user.
    #[error(
        "this needs a user who acts: give --user, and --key unless the platform keeps the user's key, or put them into a profile"
    )]
    NoUser,
    /// Something that needs the user's own key, for a user whose key the platform keeps.
    #[error(
        "this needs the key of the user itself: give --key; a managed user has none here, and takes it over with `coordinator user rotate --new-key FILE`"
    )]
    NoKey,
    /// Something of the source or the destination failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ClientError {
    /// Whether the platform has refused, so that nothing of what was asked will happen. After any other error it may have
    /// happened all the same.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Problem { status, .. } if (400..500).contains(status))
    }

    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "platform-unreachable",
            Self::Problem { code, .. } => code,
            Self::Answer { .. } => "platform-answer",
            Self::NotWhatWasMeant { .. } => "not-what-was-meant",
            Self::Url { .. } => "profile",
            Self::ApiKey => "api-key-malformed",
            Self::Request { .. } => "request",
            Self::Once => "idempotency-key-malformed",
            Self::BrokenOff { .. } => "document-broken-off",
            Self::Altered { .. } => "document-altered",
            Self::NoVerifiers => "verifier-keys",
            Self::NotEndToEnd { .. } => "not-end-to-end",
            Self::NotProven(e) => e.code(),
            Self::LatestNotProven { .. } => "latest-not-proven",
            Self::NotLatest { .. } => "not-latest",
            Self::Shares { .. } => "shares",
            Self::Envelope(e) => e.code(),
            Self::Range { .. } => "range-not-satisfiable",
            Self::KeyFile(_) => "key-file",
            Self::Profile { .. } | Self::NoProfile { .. } => "profile",
            Self::NoUser => "no-user",
            Self::NoKey => "no-key",
            Self::Io { .. } => "io",
            Self::Folder(e) => e.code(),
        }
    }
}
