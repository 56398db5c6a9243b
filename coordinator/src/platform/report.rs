//! What happened in a read: phases with their times, what each organisation and each crypto node did.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptonode::client::{NodeOutcome, Outcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::record::{
    DocumentVersion, Identifier, KeyWrapping, TransactionId, UserName, VersionName,
};

/// Milliseconds that the phases of a read took. A phase that did not happen took none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "record_ms": 2.1, "approvals_ms": 0.8, "cluster_ms": 1.4, "master_key_ms": 0.0, "fetch_ms": 0.6, "checksum_ms": 0.4,
    "decrypt_ms": 0.3, "first_byte_ms": 5.4, "total_ms": 6.0
}))]
pub struct Phases {
    /// The record decides: permission, version, order, finality.
    pub record_ms: f64,
    /// The organisations' peers issue their approval certificates.
    pub approvals_ms: f64,
    /// The crypto nodes re-encrypt, and the document key is opened.
    pub cluster_ms: f64,
    /// The master key opens the document key, with platform encryption.
    #[serde(default)]
    pub master_key_ms: f64,
    /// The stored body is fetched from the body store, both times.
    pub fetch_ms: f64,
    /// The stored body's checksum is computed.
    pub checksum_ms: f64,
    /// Blocks are verified and decrypted.
    pub decrypt_ms: f64,
    /// From the signed request to the first byte.
    pub first_byte_ms: f64,
    /// From the signed request to the last byte.
    pub total_ms: f64,
}

impl Phases {
    /// They, by the names that they have in a span.
    pub(super) fn named(&self) -> [(&'static str, f64); 9] {
        [
            ("coordinator.permission_ms", self.record_ms),
            ("coordinator.approvals_ms", self.approvals_ms),
            ("coordinator.reencryption_ms", self.cluster_ms),
            ("coordinator.master_key_ms", self.master_key_ms),
            ("coordinator.fetch_ms", self.fetch_ms),
            ("coordinator.checksum_ms", self.checksum_ms),
            ("coordinator.decrypt_ms", self.decrypt_ms),
            ("coordinator.first_byte_ms", self.first_byte_ms),
            ("coordinator.total_ms", self.total_ms),
        ]
    }
}

pub(super) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// What one organisation's peer answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "organisation": "alder", "approved": true }))]
pub struct OrganisationReport {
    /// Its name.
    pub organisation: String,
    /// Whether it issued an approval.
    pub approved: bool,
    /// The code of its refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The sentence of its refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What one crypto node did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "index": 1, "name": "n1", "outcome": "answered", "millis": 1.2 }))]
pub struct NodeReport {
    /// Its index in the cluster, from 1.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// `answered`, `refused`, `timed-out`, `unreachable`, `cheated`, `failed`, `overtaken` or `not-asked`.
    pub outcome: String,
    /// The code of its refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it gave no share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long it took, in milliseconds; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

impl From<NodeOutcome> for NodeReport {
    fn from(node: NodeOutcome) -> Self {
        let (outcome, code, message) = match node.what {
            Outcome::Answered => ("answered", None, None),
            Outcome::Refused { code, message } => ("refused", Some(code), Some(message)),
            Outcome::TimedOut { reason } => ("timed-out", None, Some(reason)),
            Outcome::Unreachable { reason } => ("unreachable", None, Some(reason)),
            Outcome::Cheated { reason } => ("cheated", None, Some(reason)),
            Outcome::Failed { code, reason } => ("failed", Some(code), Some(reason)),
            Outcome::Overtaken => ("overtaken", None, None),
            Outcome::NotAsked => ("not-asked", None, None),
        };
        let millis = node.millis;
        Self {
            index: node.index,
            name: node.name,
            outcome: outcome.to_owned(),
            code,
            message,
            millis,
        }
    }
}

/// What happened in one read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "read_id": "019a0000-0000-7000-8000-000000000001", "dataset": "designs", "document": "bridge", "version": 3, "length": 1_048_576,
    "checksum": "77e0…64 hexadecimal digits", "encryption": "threshold", "transaction_id": "5a0b…64 hexadecimal digits", "height": 814,
    "outcome": "complete", "phases": { "record_ms": 2.1, "approvals_ms": 0.8, "cluster_ms": 1.4, "fetch_ms": 0.6, "checksum_ms": 0.4,
    "decrypt_ms": 0.3, "first_byte_ms": 5.4, "total_ms": 6.0 }, "organisations": [{ "organisation": "alder", "approved": true }],
    "nodes": [{ "index": 1, "name": "n1", "outcome": "answered", "millis": 1.2 }]
}))]
pub struct ReadReport {
    /// The read's identifier at this platform.
    pub read_id: Uuid,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
    /// Bytes of plaintext of the whole document.
    pub length: u64,
    /// The first and the last byte that were asked for, if not all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[u64; 2]>,
    /// The checksum on the record, over the stored body, hexadecimal.
    #[serde(default)]
    pub checksum: String,
    /// `none`, `platform` or `threshold`.
    pub encryption: String,
    /// Id of the read's transaction, hexadecimal.
    pub transaction_id: String,
    /// The block that recorded it; absent if the record refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// `streaming`, `complete`, or the code of what went wrong; `relayed` if the reader opens the document itself.
    pub outcome: String,
    /// Times.
    pub phases: Phases,
    /// Organisations, in the record's order.
    pub organisations: Vec<OrganisationReport>,
    /// Crypto nodes, in index order.
    pub nodes: Vec<NodeReport>,
}

impl ReadReport {
    /// The report of a read that has just begun.
    pub(super) fn begin(read_id: Uuid, read: &Begun<'_>) -> Self {
        let encryption = match read.key {
            KeyWrapping::None => "none",
            KeyWrapping::Platform { .. } => "platform",
            KeyWrapping::Threshold { .. } => "threshold",
        };
        Self {
            read_id,
            dataset: read.name.dataset.clone(),
            document: read.name.document.clone(),
            version: read.name.version,
            length: read.version.length,
            range: read
                .range
                .map(|range| [range.start, range.end.saturating_sub(1)]),
            checksum: hex::encode(read.version.checksum),
            encryption: encryption.to_owned(),
            transaction_id: hex::encode(read.transaction),
            height: None,
            outcome: "failed".to_owned(),
            phases: Phases::default(),
            organisations: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

/// What is known of a read before it is on the record.
pub(super) struct Begun<'r> {
    pub(super) transaction: TransactionId,
    pub(super) name: &'r VersionName,
    pub(super) version: &'r DocumentVersion,
    pub(super) key: &'r KeyWrapping,
    pub(super) range: Option<&'r Range<u64>>,
}

/// The reports of one reader, for whoever waits for the end of a read.
#[derive(Clone)]
pub struct ReportOf {
    reports: Arc<Reports>,
    reader: UserName,
}

impl ReportOf {
    pub(super) fn new(reports: Arc<Reports>, reader: UserName) -> Self {
        Self { reports, reader }
    }

    /// The report of a read, if it is still remembered.
    pub fn get(&self, read: Uuid) -> Option<ReadReport> {
        let UserName { tenant, user } = &self.reader;
        self.reports.get(tenant, Some(user), read)
    }
}

impl std::fmt::Debug for ReportOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReportOf({})", self.reader)
    }
}

/// The latest reads of all tenants, bounded.
pub(super) struct Reports {
    latest: Mutex<VecDeque<(UserName, ReadReport)>>,
    limit: usize,
}

impl Reports {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            latest: Mutex::new(VecDeque::new()),
            limit,
        })
    }

    /// Adds a report or replaces the one of the same read.
    pub(super) fn put(&self, reader: &UserName, report: ReadReport) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, old)) = latest
            .iter_mut()
            .rev()
            .find(|(_, r)| r.read_id == report.read_id)
        {
            *old = report;
            return;
        }
        if latest.len() >= self.limit {
            latest.pop_front();
        }
        latest.push_back((reader.clone(), report));
    }

    /// The report of a tenant's read, or of one user's of it.
    pub(super) fn get(
        &self,
        tenant: &Identifier,
        reader: Option<&Identifier>,
        id: Uuid,
    ) -> Option<ReadReport> {
        let own =
            |of: &UserName| of.tenant == *tenant && reader.is_none_or(|reader| *reader == of.user);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest
            .iter()
            .rev()
            .find(|(of, report)| report.read_id == id && own(of))
            .map(|(_, r)| r.clone())
    }
}
