//! What a server serves: the seams to the rest of the node.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::counters::Counters;
use super::gate::Gate;
use super::refusal::Refusal;
use crate::audit::{AuditError, AuditLog, AuditRecord, Committed};
use crate::client::{ClusterDescriptor, MemberDescriptor};
use crate::keyring::{ActiveKey, Keyring};
use crate::telemetry::Telemetry;
use crate::wire::v1::EvidenceItem;
use crate::witness::Reply;

/// Name and version of this software, as others are told.
pub const SOFTWARE: &str = concat!("cryptonode ", env!("CARGO_PKG_VERSION"));

/// Everything that a request may need.
pub struct Serving {
    /// The node's Ed25519 identity, for `status`.
    pub identity: [u8; 32],
    /// Name and version of the software, for `status`.
    pub software: String,
    /// The keys that the node holds shares of.
    pub keyring: Arc<Keyring>,
    /// Where every share is recorded before it leaves.
    pub audit: Arc<dyn AuditSink>,
    /// Who answers messages of ceremonies.
    pub ceremony: Arc<dyn CeremonyHandler>,
    /// Who cosigns others' audit logs, and shows what witnesses said of this node's.
    pub witness: Arc<dyn Witnessing>,
    /// What the operator has forbidden or bounded.
    pub gate: Arc<Gate>,
    /// The node's clock, in milliseconds since the Unix epoch.
    pub clock_ms: fn() -> u64,
    /// What was done so far.
    pub counters: Arc<Counters>,
    /// Where spans of requests go that belong to a trace.
    pub telemetry: Telemetry,
}

/// An audit log, as the server needs it.
pub trait AuditSink: Send + Sync {
    /// Appends a record: it is on its way to the disk when this returns. Resolves only when it is durable.
    fn append(&self, record: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>>;
    /// The signed checkpoint over all records, a C2SP signed note.
    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>>;
    /// At most `limit` records from number `from` on, at most `max_bytes` of them. May block: called where that is allowed.
    ///
    /// # Errors
    /// [`AuditError`] if the log cannot be read.
    fn read(&self, from: u64, limit: u32, max_bytes: usize) -> Result<Vec<Vec<u8>>, AuditError>;
    /// Number of durable records.
    fn size(&self) -> u64;
}

impl AuditSink for AuditLog {
    fn append(&self, record: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>> {
        self.append(record).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>> {
        self.checkpoint().boxed()
    }

    fn read(&self, from: u64, limit: u32, max_bytes: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        self.read(from, limit, max_bytes)
    }

    fn size(&self) -> u64 {
        self.size()
    }
}

/// Who answers messages of ceremonies.
pub trait CeremonyHandler: Send + Sync {
    /// Whether this identity may send messages at all: a member that the operator configured. Asked before a message is
    /// read, since members' messages may be long.
    fn is_member(&self, identity: &[u8; 32]) -> bool;
    /// Answers a message of `from`, whose identity the connection proved.
    fn handle(&self, from: [u8; 32], message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Refusal>>;
    /// The canonical encoding of the policy with this hash, if the node has it: of a key, or of a ceremony.
    fn policy(&self, hash: [u8; 32]) -> BoxFuture<'_, Option<Vec<u8>>>;
}

/// A node as a witness of others' audit logs, and as a log that has witnesses.
pub trait Witnessing: Send + Sync {
    /// Answers an offer of the member `from`, whose identity the connection proved.
    fn offered(&self, from: [u8; 32], offer: String) -> BoxFuture<'_, Result<Reply, Refusal>>;
    /// The newest checkpoint of this node's log that was cosigned.
    fn cosigned(&self) -> Option<String>;
    /// The proof that this node's first `new` records begin with its first `old`.
    ///
    /// # Errors
    /// [`Refusal`] for sizes that the log does not have.
    fn consistency(&self, old: u64, new: u64) -> Result<Vec<[u8; 32]>, Refusal>;
    /// What is held against others' logs.
    fn evidence(&self) -> Vec<EvidenceItem>;
}

/// The public description of a key: `cluster.json`.
#[must_use]
pub fn descriptor(key: &ActiveKey) -> ClusterDescriptor {
    let members = (1_u16..)
        .zip(&key.members)
        .map(|(index, member)| MemberDescriptor {
            index,
            name: member.name.clone(),
            identity: member.identity,
            address: member.address.clone(),
            public_share: key
                .package
                .public_share(index)
                .map_or([0; 32], |share| *share.as_bytes()),
        })
        .collect();
    ClusterDescriptor {
        version: 1,
        public_key: *key.package.public_key().as_bytes(),
        epoch: key.package.epoch(),
        attempt: key.result.attempt,
        threshold: key.package.threshold(),
        members,
        policy_hash: key.policy.hash(),
    }
}
