//! What the commands about peers share, and the larger of their arguments.

use std::path::PathBuf;

use clap::Args;

use crate::peer::setup::WantedChange;
use crate::record::Identifier;

/// Which peer.
#[derive(Debug, Args)]
pub(super) struct PeerDir {
    /// The peer's folder.
    #[arg(long, value_name = "DIR", env = "COORDINATOR_PEER_DIR")]
    pub(super) dir: PathBuf,
}

/// What the organisation's approval authority signs with.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ApprovalKey {
    /// Ed25519
    Ed25519,
    /// ECDSA on P-256 with SHA-256
    P256,
}

impl From<ApprovalKey> for certs::Algorithm {
    fn from(it: ApprovalKey) -> Self {
        match it {
            ApprovalKey::Ed25519 => Self::Ed25519,
            ApprovalKey::P256 => Self::EcdsaP256,
        }
    }
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
    /// The change that was asked for.
    pub(super) fn wanted(self) -> Option<WantedChange> {
        let admit = self.admit.map(WantedChange::Admit);
        let rekey = || self.rekey.map(WantedChange::Rekey);
        let remove = || self.remove.map(WantedChange::Remove);
        admit.or_else(rekey).or_else(remove)
    }
}
