//! `coordinator peer`: an organisation's peer of the record as a process of its own, for the engine `simplex`.
//!
//! ```text
//! organisation A                     organisation B …                together
//! peer init --dir A                  peer init --dir B
//!   └ A/organisation.json ─────────────┴───────────────────────────→ peer found --out E …
//! peer join --dir A --exchange E     peer join --dir B --exchange E
//! peer run --dir A                   peer run --dir B
//!
//! later: peer init --dir F           peer endorse --dir A --admit F/organisation.json, and so a quorum of them
//!        peer join --dir F --exchange E --newcomer
//!        peer run --dir F            from the next epoch on it votes
//! ```
//!
//! A peer's folder holds its organisation's keys, sealed under a passphrase of its own, the genesis, its copy of the record and its part of the order. Three
//! addresses: one where the other peers connect, authenticated by the keys on the record; one on loopback where the
//! organisation's own software asks over HTTP ([`api`]), with the token in the folder; and one where software elsewhere asks the same over TLS, known by its key.

pub mod api;
pub mod ask;
pub mod backup;
pub mod caller;
pub mod clients;
pub mod farewell;
pub mod revocation;
pub mod run;
pub mod settings;
pub mod setup;

use crate::{
    folder::FolderError,
    master_key::MasterKeyError,
    organisations::OrganisationError,
    record::{Identifier, MemberError, OrganisationsError, peer::StoreError},
};
use std::{net::SocketAddr, path::PathBuf};

/// Why a peer's process does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum PeerProcessError {
    /// Settings that are wrong.
    #[error("{}: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of another organisation, or of the exchange, that is not what it should be.
    #[error("{} cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The organisations cannot found a ledger together.
    #[error("these organisations cannot found a ledger: {0}")]
    Organisations(#[from] OrganisationsError),
    /// An impossible number of approvals.
    #[error(
        "{approvals} approvals cannot be had from {organisations} organisations: choose between 1 and {organisations}"
    )]
    Approvals {
        /// Asked for.
        approvals: u16,
        /// There are.
        organisations: usize,
    },
    /// Fewer approvals than a majority, and nobody said that it is meant.
    #[error(
        "{approvals} of {organisations} organisations are no majority, and half of them or fewer would decide who reads: take {majority} or more, or say --minority-may-approve"
    )]
    Minority {
        /// Asked for.
        approvals: u16,
        /// There are.
        organisations: usize,
        /// The least majority of them.
        majority: usize,
    },
    /// Joining what does not have this organisation, with these keys.
    #[error(
        "the genesis has no organisation {0} with the keys in this folder; found the ledger with this folder's organisation.json, or join with --newcomer and have the organisations admit it"
    )]
    NotFounding(Identifier),
    /// There is a genesis already.
    #[error("this peer has joined another ledger already: {}; make another folder", .0.display())]
    Joined(PathBuf),
    /// The sealed key is not the one that the others were told.
    #[error(
        "the key in secrets/ is not the one in {}: the folder was put together of two; take secrets/ and organisation.json from the same backup", .0.display()
    )]
    KeyDiffers(PathBuf),
    /// The TLS library.
    #[error("TLS cannot be set up with this peer's key: {0}")]
    Tls(#[from] cryptonode::tls::TlsError),
    /// A client's certificate.
    #[error(transparent)]
    Caller(#[from] caller::CallerError),
    /// No genesis yet.
    #[error("this peer has joined no ledger; run `coordinator peer join` first")]
    NotJoined,
    /// The others removed its organisation, or gave it other keys, while it was away.
    #[error(
        "{organisation} has no place in the order with this peer's key from epoch {epoch} on, say {}: its copy of the record stays in record/; if the organisation is to take part again, have the others admit it with `peer endorse`, or take the folder with its newer keys", by.iter().map(Identifier::as_str).collect::<Vec<_>>().join(", ")
    )]
    Removed {
        /// Whose peer.
        organisation: Identifier,
        /// The first epoch without it.
        epoch: u64,
        /// Who signed that.
        by: Vec<Identifier>,
    },
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; choose another `api` or `api_tls` in peer.toml, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The peer.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// Its store, or a copy of it.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// Keys of the organisation.
    #[error(transparent)]
    Organisation(#[from] OrganisationError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A file.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// What was asked of the running peer was refused.
    #[error("{message}")]
    Refused {
        /// A stable code.
        code: String,
        /// The reason.
        message: String,
    },
}

impl PeerProcessError {
    fn store(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }

    /// A stable name of the reason, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Settings { .. } => "config-peer",
            Self::File { .. } => "peer-file",
            Self::Organisations(_) => "organisations",
            Self::Approvals { .. } => "approvals-impossible",
            Self::Minority { .. } => "approvals-minority",
            Self::NotFounding(_) => "peer-not-founding",
            Self::Joined(_) => "peer-joined",
            Self::KeyDiffers(_) => "peer-key-differs",
            Self::Tls(_) => "peer-tls",
            Self::Caller(e) => e.code(),
            Self::NotJoined => "peer-not-joined",
            Self::Removed { .. } => "peer-removed",
            Self::Listen { .. } => "listen",
            Self::Member(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Organisation(e) => e.code(),
            Self::MasterKey(e) => e.code(),
            Self::Folder(e) => e.code(),
            Self::System(_) => "system",
            Self::Refused { code, .. } => code,
        }
    }
}
