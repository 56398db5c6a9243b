//! Why the platform does not do what it was asked.

use serde_json::json;

use super::managed::ManagedKeyError;
use super::parts::PartsError;
use super::report::{NodeReport, OrganisationReport};
use crate::body_store::BodyStoreError;
use crate::envelope::EnvelopeError;
use crate::key_store::KeyStoreError;
use crate::master_key::MasterKeyError;

/// A reason, with what is needed to say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// There is no such dataset, document or version in this tenant.
    #[error(
        "there is no {what} {name:?}: check the name, and see what there is with `coordinator ls`, or with GET of the list that it would be in"
    )]
    NotFound {
        /// Tenant, dataset, document, version, read.
        what: &'static str,
        /// Its identifier.
        name: String,
    },
    /// A prepared write or read is unknown, was used, or waited too long.
    #[error("this was not prepared, was used already, or waited too long: prepare it again")]
    NotWaiting,
    /// The record refuses the transaction.
    #[error("the record refuses this: {message}")]
    Rejected {
        /// The record's code.
        code: String,
        /// The record's sentence.
        message: String,
    },
    /// The record cannot take anything at present.
    #[error("{message}")]
    Record {
        /// The record's code.
        code: String,
        /// The record's sentence.
        message: String,
    },
    /// What was signed is not what was prepared.
    #[error(
        "what was signed is not the transaction that was prepared: sign the bytes of `transaction` as they came, and send them where their `id` leads"
    )]
    OtherTransaction,
    /// Bytes that are no transaction, or one that belongs elsewhere.
    #[error("{reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A range outside of the document.
    #[error(
        "the document has {length} bytes, and none of those that were asked for: count from 0, and ask within them"
    )]
    Range {
        /// Bytes of plaintext.
        length: u64,
    },
    /// A body longer than the settings allow.
    #[error("the body is longer than {limit} bytes, which is the limit of {what}")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
        /// Whose limit it is.
        what: &'static str,
    },
    /// The sender broke off.
    #[error("the body did not arrive whole: {reason}; send it again, a large one in parts")]
    Upload {
        /// Why, as far as known.
        reason: String,
    },
    /// The reader broke off.
    #[error("the reader closed the connection")]
    ReaderGone,
    /// No byte moved for too long, or too few in all.
    #[error("the transfer was too slow, so it was given up: try again over a better connection")]
    Idle,
    /// Too many transfers, or too many things prepared.
    #[error("the platform has as many transfers under way as it takes on: try again in a moment")]
    Busy,
    /// Fewer organisations approve a read than are needed.
    #[error(
        "not enough organisations approve this read: {given} do; each says in `more` why not, and what it names must be put right before the read is tried again"
    )]
    NotApproved {
        /// How many approve.
        given: usize,
        /// What each said.
        organisations: Vec<OrganisationReport>,
    },
    /// No organisation's peer said yes, and none said no for good.
    #[error(
        "no organisation's peer could approve this read in time: try again in a moment, and see `coordinator status` if it goes on"
    )]
    NoAnswer {
        /// What each said.
        organisations: Vec<OrganisationReport>,
    },
    /// A dataset names a cluster that this platform was not told of.
    #[error(
        "the cluster with the key {key} is not known here: run `coordinator cluster add` with its cluster.json"
    )]
    NoCluster {
        /// The cluster's public key, hexadecimal.
        key: String,
    },
    /// The cluster does not open the key.
    #[error("the crypto nodes did not open the key: {message}")]
    Cluster {
        /// The cluster client's code.
        code: String,
        /// Its sentence.
        message: String,
        /// What each node did.
        nodes: Vec<NodeReport>,
    },
    /// A version that nobody but the platform opens.
    #[error(
        "{version} is not under a cluster's key, so the platform itself opens it: read it without an ephemeral key"
    )]
    NotEndToEnd {
        /// The version.
        version: String,
    },
    /// A body in the body store, and no pointer to it.
    #[error(
        "the sealed body lies in the body store: send its pointer, which the document key opens, in the header `Body-Pointer`"
    )]
    NoPointer,
    /// A sealed body was asked for too long after its read.
    #[error("the read is from more than an hour ago: make a new one to fetch the body")]
    ReadOver,
    /// The wrapped key on the record is not valid.
    #[error(
        "the document's wrapped key is not valid: {reason}; nothing opens it: have it written again"
    )]
    WrappedKey {
        /// What is wrong.
        reason: String,
    },
    /// The stored body or its keys were damaged or exchanged.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The body store failed.
    #[error(transparent)]
    Body(#[from] BodyStoreError),
    /// The master key failed.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The key of a user that this platform keeps, or does not.
    #[error(transparent)]
    ManagedKey(#[from] ManagedKeyError),
    /// The version keys failed.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// The version key of a version that is not erased is not there.
    #[error("the version key of {version} is not here: restore keys.sqlite from a backup")]
    NoVersionKey {
        /// The version.
        version: String,
    },
    /// An upload in parts cannot go on.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// Something of our own failed.
    #[error(
        "the platform failed: {reason}; its operator finds more in its log, by the request's id"
    )]
    Internal {
        /// What.
        reason: String,
    },
}

impl PlatformError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> String {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::NotWaiting => "not-prepared",
            Self::Rejected { code, .. }
            | Self::Record { code, .. }
            | Self::Cluster { code, .. } => return code.clone(),
            Self::OtherTransaction => "other-transaction",
            Self::Malformed { .. } => "malformed",
            Self::Range { .. } => "range-not-satisfiable",
            Self::TooLong { .. } => "body-too-long",
            Self::Upload { .. } => "upload-broken-off",
            Self::ReaderGone => "reader-gone",
            Self::Idle => "transfer-idle",
            Self::Busy => "busy",
            Self::NotApproved { .. } => "not-approved",
            Self::NoAnswer { .. } => "approvals-unavailable",
            Self::NoCluster { .. } => "cluster-unknown",
            Self::NotEndToEnd { .. } => "not-end-to-end",
            Self::NoPointer => "pointer-needed",
            Self::ReadOver => "read-over",
            Self::WrappedKey { .. } => "wrapped-key-invalid",
            Self::Envelope(e) => e.code(),
            Self::Body(e) => e.code(),
            Self::MasterKey(e) => e.code(),
            Self::ManagedKey(e) => e.code(),
            Self::Keys(e) => e.code(),
            Self::Parts(e) => e.code(),
            Self::NoVersionKey { .. } => "version-key-missing",
            Self::Internal { .. } => "internal",
        }
        .to_owned()
    }

    /// Whether the transaction may be found on the record later all the same.
    pub(super) fn leaves_open(&self) -> bool {
        matches!(self, Self::Record { code, .. } if code != "record-busy")
    }

    /// Whether another write has taken the version, so that this one can never be committed.
    pub(super) fn is_outrun(&self) -> bool {
        matches!(self, Self::Rejected { code, .. } if code == "version")
    }

    /// What organisations or nodes said, for the answer.
    pub fn details(&self) -> Option<serde_json::Value> {
        match self {
            Self::NotApproved { organisations, .. } | Self::NoAnswer { organisations } => {
                Some(json!({ "organisations": organisations }))
            }
            Self::Cluster { nodes, .. } => Some(json!({ "nodes": nodes })),
            Self::Parts(PartsError::Gap { have, .. } | PartsError::Length { have, .. }) => {
                Some(json!({ "offset": have }))
            }
            _ => None,
        }
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        if let Self::Body(e) = self {
            return e.may_pass();
        }
        matches!(
            self,
            Self::Busy
                | Self::Cluster { .. }
                | Self::NoAnswer { .. }
                | Self::Record { .. }
                | Self::ManagedKey(ManagedKeyError::TooMany)
                | Self::Parts(PartsError::Pending)
        )
    }
}

impl From<tokio::task::JoinError> for PlatformError {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::Internal {
            reason: e.to_string(),
        }
    }
}
