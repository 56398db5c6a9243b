//! What the command line and the running node say to each other on `admin.sock`.
//!
//! One connection, one command: a line of JSON goes in; lines of JSON come out, any number of them events, the last one
//! a result or an error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ceremony::CeremonyView;
use crate::revocation::ListView;
use crate::suspension::{SuspensionKind, SuspensionView};

/// Longest command in bytes: the largest policy, in hexadecimal.
pub const MAX_COMMAND: usize = 8 * 1024 * 1024;
/// Longest line of an answer in bytes: a certificate of the largest cluster, in hexadecimal.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// A command to the running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// What the node is doing; answered with [`NodeStatus`].
    Status {},
    /// Opens a sealed node. Answered with an event; then the passphrase comes on a line of its own, which no command's
    /// type ever holds; then what the node says when it serves.
    Unseal {},
    /// Proposes a key with this node as leader; answered with a [`CeremonyView`].
    CeremonyPropose {
        /// t; in a reshare as it is, if absent.
        threshold: Option<u16>,
        /// The head of Y in hexadecimal, if the shares of a key are to be handed on; a new key is made if absent.
        #[serde(default)]
        reshare: Option<String>,
        /// The canonical encoding of the policy that the reshare gives the key, in hexadecimal; the key's own if absent.
        #[serde(default)]
        policy: Option<String>,
        /// Names of present members that the reshare may go without.
        #[serde(default)]
        absent: Vec<String>,
        /// Attempts of the reshare are numbered from here on.
        #[serde(default)]
        after_attempt: u32,
        /// Names of the members, this node included or not; all configured ones if absent.
        members: Option<Vec<String>>,
        /// How long the proposal stays open, in seconds; as configured if absent.
        open_for_s: Option<u64>,
        /// How many members an attempt may leave out.
        #[serde(default)]
        may_be_absent: u16,
        /// How long a member may keep silent in a step before it is left out, in seconds; 300 if absent.
        #[serde(default)]
        patience_s: Option<u32>,
        /// Allows n < 2t − 1.
        allow_few_members: bool,
    },
    /// All ceremonies that this node knows; answered with a list of [`CeremonyView`].
    CeremonyList {},
    /// Accepts a proposal that waits for the operator.
    CeremonyAccept {
        /// Its id in hexadecimal, or the head of it.
        id: String,
        /// SHA-256 of the policy that the operator was shown, in hexadecimal; a proposal that changes a key's policy needs it.
        #[serde(default)]
        policy_hash: Option<String>,
    },
    /// The policy of a key, and the one that a ceremony would give it; answered with [`KeyPolicy`].
    KeyPolicy {
        /// A ceremony's id in hexadecimal, or the head of it; empty for the latest that changes a policy.
        #[serde(default)]
        ceremony: Option<String>,
        /// Y in hexadecimal, or the head of it; the only key if absent.
        #[serde(default)]
        public_key: Option<String>,
    },
    /// Rejects it.
    CeremonyReject {
        /// Its id in hexadecimal, or the head of it.
        id: String,
        /// A sentence that the other members are shown.
        reason: String,
    },
    /// Calls off a ceremony that this node leads.
    CeremonyAbort {
        /// Its id in hexadecimal, or the head of it.
        id: String,
    },
    /// One ceremony, or the latest; answered with a [`CeremonyView`], after events with the same if it is waited for.
    CeremonyStatus {
        /// Its id in hexadecimal, or the head of it; the latest if absent.
        id: Option<String>,
        /// Answers only when it is decided, with an event for every change until then.
        wait: bool,
    },
    /// All active keys; answered with a list of [`KeyView`].
    KeyList {},
    /// One active key; answered with an [`ExportedKey`].
    KeyExport {
        /// Y in hexadecimal, or the head of it; the only key if absent.
        public_key: Option<String>,
    },
    /// What an authority is to sign so that the node presents its certificate; answered with `request`, PEM.
    CertificateRequest {},
    /// Checks every share against its public share; answered with a list of [`KeyHealth`].
    KeyCheck {},
    /// Gives no shares of a key, or for a document, from now on; answered with a [`SuspensionView`].
    Suspend {
        /// Which of the two.
        kind: SuspensionKind,
        /// A key: Y in hexadecimal, or the head of it. A document: its write id in hexadecimal.
        subject: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Gives them again; answered with the [`SuspensionView`] that was.
    Resume {
        /// Which of the two.
        kind: SuspensionKind,
        /// As in `Suspend`.
        subject: String,
        /// Why, in the operator's words.
        reason: String,
    },
    /// All that is suspended; answered with a list of [`SuspensionView`].
    Suspended {},
    /// Takes the configuration that is in the folder now; answered with [`crate::reload::Reloaded`].
    Reload {},
    /// The signed head of the audit log; answered with `{"note": …}`.
    AuditCheckpoint {},
    /// Who has cosigned this node's audit log, and what it has seen of others' logs; answered with
    /// [`WitnessingView`](crate::witness::WitnessingView).
    AuditWitness {},
    /// How long the phases of requests for shares took since the start; answered with a list of
    /// [`PhaseDurations`](crate::server::PhaseDurations).
    Phases {},
}

/// A line from the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Something changed while the command waits.
    Event(Value),
    /// The answer; the last line.
    Result(Value),
    /// The command was not carried out; the last line.
    Error {
        /// A stable code.
        code: String,
        /// A sentence that says why and what to do.
        message: String,
    },
}

/// What a running node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's name.
    pub name: String,
    /// Its identity in hexadecimal.
    pub identity: String,
    /// The address that it is bound to.
    pub listen: String,
    /// The address on its card.
    pub advertise: String,
    /// Version of the software.
    pub version: String,
    /// Seconds since it was ready.
    pub up_s: u64,
    /// Whether it can give shares: a key is active and the audit log takes records.
    pub ready: bool,
    /// Why not, in sentences.
    pub not_ready: Vec<String>,
    /// Address of its health and metrics, if they are shown.
    #[serde(default)]
    pub health: Option<String>,
    /// Why they cannot be shown.
    #[serde(default)]
    pub health_failure: Option<String>,
    /// Why the `config.toml` that is there now is not taken.
    #[serde(default)]
    pub config_failure: Option<String>,
    /// Whether the process's memory is kept out of swap.
    #[serde(default)]
    pub memory_locked: bool,
    /// Why it is not.
    #[serde(default)]
    pub memory_failure: Option<String>,
    /// Keys and documents that are given no shares.
    #[serde(default)]
    pub suspended: Vec<SuspensionView>,
    /// The revocation lists that are held against approvals.
    #[serde(default)]
    pub revocation: Vec<ListView>,
    /// Settings that have changed in it and are taken at the next start.
    #[serde(default)]
    pub restart_needed: Vec<String>,
    /// Whether it was restored from its phrase: it then serves reads and takes part in no ceremony.
    #[serde(default)]
    pub restored: bool,
    /// Active keys.
    pub keys: Vec<KeyView>,
    /// Ceremonies that are not decided.
    pub ceremonies: Vec<CeremonyView>,
    /// The audit log.
    pub audit: AuditStatus,
}

/// The audit log in a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// The origin line of its checkpoints.
    pub origin: String,
    /// Acknowledged records.
    pub records: u64,
    /// Why it takes no more, if so.
    pub failure: Option<String>,
    /// Bytes that a crash had torn and that were cut off at start.
    pub torn_bytes: u64,
    /// Records under the newest checkpoint that witnesses cosigned, if there is one.
    #[serde(default)]
    pub cosigned_records: Option<u64>,
    /// A sentence for each other member whose audit log does not continue what this node saw of it.
    #[serde(default)]
    pub others_refused: Vec<String>,
}

/// An active key as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Y in hexadecimal.
    pub public_key: String,
    /// Its epoch.
    pub epoch: u64,
    /// This node's index.
    pub index: u16,
    /// t.
    pub threshold: u16,
    /// n.
    pub members: usize,
    /// The attempt of the ceremony that made this epoch.
    pub attempt: u32,
    /// `serving`, `overlap` (with the epoch before as well), `retired` or `missed`.
    pub state: String,
    /// What the state means, if it is not `serving`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The epochs whose shares this node holds, the newest first.
    pub epochs_held: Vec<u64>,
    /// When the share of the epoch before is erased at the latest, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_ends: Option<u64>,
    /// The epochs that this node knows of.
    pub history: Vec<EpochView>,
    /// Names of the members, in index order.
    pub member_names: Vec<String>,
    /// SHA-256 of its approval policy, in hexadecimal.
    pub policy_hash: String,
    /// How many organisations must approve a read.
    pub approvals_needed: u16,
    /// The organisations of its policy.
    pub organisations: Vec<String>,
}

/// An epoch of a key as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochView {
    /// Its number.
    pub epoch: u64,
    /// The attempt of the ceremony that made it.
    pub attempt: u32,
    /// t.
    pub threshold: u16,
    /// Names of its members, in index order.
    pub members: Vec<String>,
    /// This node's index in it, if it is a member.
    pub index: Option<u16>,
    /// When this node activated it or learned of it, seconds since the Unix epoch.
    pub since: u64,
    /// When this node erased its share of it.
    pub erased: Option<u64>,
}

/// The policy of a key, and another one that is proposed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPolicy {
    /// Y in hexadecimal.
    pub public_key: Option<String>,
    /// The canonical encoding of the policy that governs now, in hexadecimal, if this node has it.
    pub present: Option<String>,
    /// The canonical encoding of what is proposed, in hexadecimal.
    pub proposed: Option<String>,
    /// The ceremony that would change it.
    pub ceremony: Option<CeremonyView>,
}

/// What others need of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedKey {
    /// The key.
    pub key: KeyView,
    /// The contents of `cluster.json`.
    pub descriptor: String,
    /// The ceremony's certificate, in hexadecimal: for those who pin the members.
    pub certificate: String,
    /// The key's certificate, in hexadecimal, once it is signed: for those who know only Y.
    pub key_certificate: Option<String>,
}
