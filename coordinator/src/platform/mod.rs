//! The write flow and the read flow: the golden record decides, the envelope encrypts, the cluster of crypto nodes opens.
//!
//! | file | what it does |
//! |---|---|
//! | [`write`] | a body streams in, is encrypted and stored; the transaction goes back to its author to be signed; commit |
//! | [`read`] | the read's transaction goes to its reader to be signed; record, approvals, cluster, body |
//! | [`end_to_end`] | the same for a reader who opens the document itself: shares and the sealed body are passed on |
//! | [`stored_body`] | a stored body is verified, then decrypted as it streams out |
//! | [`byte_range`] | which bytes of a document |
//! | [`clusters`] | which clusters there are, and a client for each |
//! | [`managed`] | users whose keys the platform keeps, and signs with |
//! | [`erase`] | bodies of erased versions are removed |
//! | [`leftovers`] | bodies and keys of uploads of which it is not known yet whether they are on the record |
//! | [`master`] | rotation of the master key, and the rewrapping that follows from it |
//! | [`rewrap`] | document keys are wrapped anew under another cluster key |
//! | [`owned`] | what a user owns |
//! | [`parts`] | uploads in parts, which go on after an interruption |
//! | [`prepared`] | what waits for a signature |
//! | [`turns`] | whose turn it is to move a body |
//! | [`version_keys`] | the platform's half of the keys of what is under platform encryption |
//! | [`report`] | what happened in a read, phase by phase |
//!
//! The platform decides nothing about permission: it prepares transactions, the record accepts or refuses them, and each
//! organisation's peer and each crypto node checks for itself. The platform asks the record's state beforehand only to
//! refuse early what the record would refuse anyway.

mod byte_range;
mod clusters;
mod end_to_end;
mod erase;
mod error;
mod leftovers;
mod managed;
mod master;
mod owned;
mod pace;
mod parts;
mod prepared;
mod read;
mod report;
mod rewrap;
mod stored_body;
mod turns;
mod version_keys;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptonode::randomness;
use cryptonode::telemetry::Telemetry;
use uuid::Uuid;

use crate::body_store::BodyStore;
use crate::config::Limits;
use crate::key_store::KeyStore;
use crate::master_key::MasterKey;
use crate::record::{
    Author, Identifier, Receipt, RecordError, RecordHandle, SignedTransaction, Transaction,
    UnsignedTransaction, UserName,
};

pub use byte_range::{ByteRange, NoRange};
pub use clusters::{ClusterAddError, Clusters, add as add_cluster, list as list_clusters};
pub use end_to_end::{EndToEndRequest, Relayed, SealedStream};
pub use error::PlatformError;
pub use managed::{ManagedKeyError, ManagedKeys, NewKey};
pub use master::{MasterKeyView, MasterKeysView, RewrapProgress, UnderMasterKey};
pub use owned::Owned;
pub use parts::{
    BeginParts, MAX_TAG, PartsError, PartsStatus, Whole, WrittenParts, piece_pointers,
};
pub use prepared::{PreparedTransaction, PreparedWrite};
pub use read::{CommitRead, ReadRequest, ReadStream};
pub use report::{NodeReport, OrganisationReport, Phases, ReadReport, ReportOf};
pub use rewrap::{RewrapRequest, RewrapStep};
pub use write::WriteRequest;

/// How long a transfer waits for its turn before it is told to come back.
const WAIT_FOR_TURN: Duration = Duration::from_secs(5);
/// For the collector to take the last spans.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(2);
/// Whose limit a long body meets, and what to do.
const TOO_LONG_HERE: &str =
    "this platform: write it as several documents, or have its operator raise `limits.body_bytes`";
/// How many reports of reads are kept.
const REPORTS: usize = 4096;

/// What the platform is made of.
pub struct Parts {
    /// The golden record.
    pub record: RecordHandle,
    /// Where bodies lie.
    pub bodies: BodyStore,
    /// Wraps the version keys of datasets with platform encryption.
    pub master_key: Arc<dyn MasterKey>,
    /// The version keys, wrapped under the master key.
    pub keys: KeyStore,
    /// Where the list of uploads in parts lies.
    pub parts_list: PathBuf,
    /// What else is wrapped under the master key.
    pub under_master_key: Vec<Box<dyn UnderMasterKey>>,
    /// The clusters of crypto nodes.
    pub clusters: Clusters,
    /// The keys of users that the platform keeps.
    pub managed: ManagedKeys,
    /// Limits on what is taken on.
    pub limits: Limits,
    /// Where spans of reads go.
    pub tracing: Tracing,
}

/// Where spans of reads go, and of how many.
#[derive(Debug, Default)]
pub struct Tracing {
    /// The exporter.
    pub telemetry: Telemetry,
    /// How many of the reads that come without a trace begin one: 0 none, 1 all.
    pub sample_ratio: f64,
}

/// The platform.
pub struct Platform {
    record: RecordHandle,
    bodies: BodyStore,
    master_key: Arc<dyn MasterKey>,
    keys: KeyStore,
    under_master_key: Vec<Box<dyn UnderMasterKey>>,
    rewrapping: master::Rewrapping,
    parts: parts::Parts,
    clusters: Clusters,
    managed: ManagedKeys,
    /// When all kept keys were last held against the record.
    managed_swept: Mutex<Option<Instant>>,
    limits: Limits,
    transfers: Arc<turns::Turns>,
    uploads: prepared::Prepared<write::Waiting>,
    reads: prepared::Prepared<read::Waiting>,
    end_to_end: prepared::Prepared<end_to_end::Waiting>,
    rewraps: prepared::Prepared<rewrap::Waiting>,
    reports: Arc<report::Reports>,
    tracing: Tracing,
    /// Erased documents whose bodies could not be removed yet.
    erased: erase::Due,
    /// Uploads of which it is not known yet whether they are on the record.
    leftovers: leftovers::Leftovers,
    /// When this process began, milliseconds since the Unix epoch.
    started_ms: u64,
}

impl Platform {
    /// Puts the parts together, and removes what an earlier process left of uploads that were never committed, as far as the record tells.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, PlatformError> {
        let Parts {
            record,
            bodies,
            master_key,
            keys,
            parts_list,
            under_master_key,
            clusters,
            managed,
            limits,
            tracing,
        } = parts;
        let lifetime = Duration::from_secs(limits.prepared_s);
        let leftovers = leftovers::Leftovers::of(bodies.earlier_notes()?);
        let platform = Self {
            transfers: turns::Turns::new(limits.transfers),
            uploads: prepared::Prepared::new(limits.prepared, lifetime),
            reads: prepared::Prepared::new(limits.prepared, lifetime),
            end_to_end: prepared::Prepared::new(limits.prepared, lifetime),
            rewraps: prepared::Prepared::new(limits.prepared, lifetime),
            reports: report::Reports::new(REPORTS),
            record,
            bodies,
            master_key,
            keys,
            under_master_key,
            rewrapping: master::Rewrapping::default(),
            parts: parts::Parts::new(parts::List::open(&parts_list)?),
            clusters,
            managed,
            managed_swept: Mutex::default(),
            limits,
            tracing,
            erased: erase::Due::default(),
            leftovers,
            started_ms: now_ms(),
        };
        platform.remove_unfinished_pieces().await?;
        platform.settle_leftovers().await?;
        platform.remove_all_erased().await?;
        platform.sweep_managed().await;
        Ok(Arc::new(platform))
    }

    /// The record.
    pub fn record(&self) -> &RecordHandle {
        &self.record
    }

    /// The clusters.
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// What happened in a read of this tenant, or of its one user `reader`, if it is still remembered.
    pub fn report(
        &self,
        tenant: &Identifier,
        reader: Option<&Identifier>,
        read: Uuid,
    ) -> Option<ReadReport> {
        self.reports.get(tenant, reader, read)
    }

    /// Puts a signed transaction on the record that needs nothing from the platform. Writes and reads have ways of their
    /// own, because a body, or a key that waits, belongs to them.
    pub async fn submit(&self, signed: SignedTransaction) -> Result<Receipt, PlatformError> {
        if matches!(
            signed.transaction(),
            Transaction::Write(_) | Transaction::Read(_)
        ) {
            let reason =
                "writes and reads are prepared first: POST to the document's `uploads` or `reads`"
                    .to_owned();
            return Err(PlatformError::Malformed { reason });
        }
        let erased = match signed.transaction() {
            Transaction::Erase(it) => Some(it.name()),
            // What was under the platform's keys before is so no more.
            Transaction::Rewrap(it) => Some(it.name().document_name()),
            _ => None,
        };
        let ended = self.keys_ended_by(&signed);
        let result = self.put_on_record(signed).await;
        self.destroy_ended(ended).await;
        if let Some(name) = erased {
            // Somebody else may have erased it, or it is on the record although the answer did not come: the state tells.
            self.remove_erased(name).await;
        }
        result
    }

    /// A transaction for its author to sign, of the kinds that [`Platform::submit`] takes. Whether the record accepts it, is seen then.
    pub fn prepare_change(
        &self,
        author: UserName,
        transaction: Transaction,
    ) -> UnsignedTransaction {
        self.unsigned(author, transaction)
    }

    /// Gives up what has waited for a signature for too long, and goes on with what was broken off. To be called every now and then.
    pub async fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        drop(self.reads.expired(now));
        drop(self.end_to_end.expired(now));
        drop(self.rewraps.expired(now));
        for waiting in self.uploads.expired(now) {
            self.give_up(waiting).await;
        }
        self.remove_due().await;
        if let Err(e) = self.settle_leftovers().await {
            tracing::warn!(error = %e, "what uploads left behind is looked at again later");
        }
        self.sweep_managed().await;
        if let Err(e) = self.keys.flush().await {
            tracing::warn!(error = %e, "what was committed is noted later");
        }
        if let Err(e) = self.remove_old_parts().await {
            tracing::warn!(error = %e, "uploads in parts that are over go later");
        }
        self.rewrap_if_needed();
    }

    /// Closes connections to the crypto nodes, and sends the last spans.
    pub async fn close(&self) {
        self.rewrapping.stop();
        self.clusters.close().await;
        self.tracing.telemetry.flush(LAST_SPANS_WITHIN).await;
    }

    async fn put_on_record(&self, signed: SignedTransaction) -> Result<Receipt, PlatformError> {
        Ok(self.record.submit(signed).await?)
    }

    /// Waits for a turn of this tenant's to move a body.
    async fn turn(&self, tenant: &Identifier) -> Result<turns::Turn, PlatformError> {
        let turn = self.transfers.take(tenant.as_str(), WAIT_FOR_TURN).await;
        turn.ok_or(PlatformError::Busy)
    }

    /// A transaction for its author to sign, valid while the platform keeps what belongs to it.
    fn unsigned(&self, author: UserName, transaction: Transaction) -> UnsignedTransaction {
        let author = match self.is_managed(&author) {
            true => Author::Managed(author),
            false => Author::User(author),
        };
        UnsignedTransaction {
            ledger: self.record.ledger(),
            author,
            nonce: randomness::public(),
            expires_ms: self.prepared_until(),
            transaction,
        }
    }

    /// Until when what is prepared now may come onto the record.
    fn prepared_until(&self) -> u64 {
        let lifetime = u64::try_from(self.uploads.lifetime().as_millis());
        now_ms().saturating_add(lifetime.unwrap_or(0))
    }
}

impl From<RecordError> for PlatformError {
    fn from(e: RecordError) -> Self {
        let (code, message) = (e.code().to_owned(), e.to_string());
        match e {
            RecordError::Rejected(_) | RecordError::Refused { .. } => {
                Self::Rejected { code, message }
            }
            _ => Self::Record { code, message },
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
