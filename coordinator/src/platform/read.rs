//! The read flow, managed: the platform holds the ephemeral key for the length of one read. (The other one, where the reader holds
//! it: [`super::end_to_end`].)
//!
//! 1. The platform looks up the version, verifies its wrapped key, makes an ephemeral key for this read alone, and gives the
//!    transaction `read` to the reader to be signed.
//! 2. The signed transaction goes onto the record: there every peer checks identity, permission and version.
//! 3. Each organisation's peer issues its approval, or says why not.
//! 4. The crypto nodes get wrapped key, ephemeral key and approvals; the first t good answers open the document key (DEK2). With
//!    platform encryption the version key opens it.
//! 5. The document key opens the body key (DEK1), bound to name, length and checksum, and the pointer to the body.
//! 6. The stored body is verified against the checksum, then decrypted block by block as it streams to the reader.
//!
//! Nothing is released before step 6, and of the body nothing that did not verify. What happened is kept as a [`ReadReport`],
//! of reads that failed as well.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cryptonode::randomness;
use cryptonode::telemetry::{Kind, OpenPart, Span};
use cryptonode::wire::v1::TraceParent;
use rand::RngExt as _;
use reencrypt::{EphemeralSecret, VerifiedWrappedKey, WrappedKey};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::byte_range::ByteRange;
use super::report::{Begun, NodeReport, OrganisationReport, ReadReport, ReportOf, ms};
use super::stored_body::{Opened, Place, Times, verified};
use super::turns::Turn;
use super::version_keys::split_pointer;
use super::{Platform, PlatformError, PreparedTransaction, Tracing};
use crate::body_store::Pointer;
use crate::envelope::{DocumentKey, EnvelopeError, SealedBody};
use crate::record::{
    Body, Content, DatasetName, DocumentVersion, Identifier, KeyWrapping, Read, RecordError,
    Reencryption, Rejection, Role, SignedTransaction, Transaction, TransactionId,
    UnsignedTransaction, UserName, VersionName,
};

/// What is to be read.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The dataset.
    pub dataset: DatasetName,
    /// The document.
    pub document: Identifier,
    /// The version; the latest if absent.
    pub version: Option<u64>,
    /// Who will sign.
    pub reader: UserName,
}

/// A document on its way to its reader.
#[derive(Debug)]
pub struct ReadStream {
    /// Bytes of plaintext of the whole document.
    pub length: u64,
    /// Which of them come, if not all.
    pub range: Option<Range<u64>>,
    /// Media type, if the writer gave one.
    pub content_type: Option<String>,
    /// What happened so far: of a document of one part, all.
    pub report: ReadReport,
    /// Where the report of the whole read will be.
    pub reports: ReportOf,
    /// The first part of the plaintext, unless the document is empty.
    pub first: Option<Bytes>,
    /// The others; an error breaks off.
    pub parts: mpsc::Receiver<Bytes>,
    /// Says, once the parts have ended, whether that was all.
    pub end: tokio::task::JoinHandle<Result<(), PlatformError>>,
}

/// What waits.
pub(super) struct Waiting {
    pub(super) transaction: TransactionId,
    pub(super) reader: UserName,
    pub(super) name: VersionName,
    pub(super) version: DocumentVersion,
    pub(super) content: Content,
    pub(super) threshold: Option<Threshold>,
}

pub(super) struct Threshold {
    wrapped: VerifiedWrappedKey,
    ephemeral: EphemeralSecret,
}

/// A signed read, as its reader asks for it.
#[derive(Debug)]
pub struct CommitRead {
    /// The signed transaction.
    pub signed: SignedTransaction,
    /// Which bytes; all if absent.
    pub range: Option<ByteRange>,
    /// The caller's span, if it does this in one.
    pub trace: Option<TraceParent>,
}

/// A read in progress: what the report will say.
pub(super) struct Progress {
    pub(super) started: Instant,
    pub(super) report: ReadReport,
    pub(super) times: Times,
    /// There if the read is recorded; it ends with the progress.
    pub(super) span: Option<Span>,
    /// What the crypto nodes are told, if somebody records the read: this platform, or else its caller.
    pub(super) trace: Option<TraceParent>,
}

impl Progress {
    /// A part of the read begins, if it is recorded.
    pub(super) fn begin(&self, name: &'static str, kind: Kind) -> Option<OpenPart> {
        self.span.as_ref().map(|span| span.begin(name, kind))
    }

    /// The part is over.
    pub(super) fn end<T>(&mut self, part: Option<OpenPart>, result: &Result<T, PlatformError>) {
        if let (Some(span), Some(part)) = (&mut self.span, part) {
            span.end(part, result.as_ref().err().map(PlatformError::code));
        }
    }

    pub(super) fn settle(&mut self, outcome: &str) -> ReadReport {
        let (times, phases) = (&self.times, &mut self.report.phases);
        phases.fetch_ms = ms(times.fetch);
        phases.checksum_ms = ms(times.checksum);
        phases.decrypt_ms = ms(times.decrypt);
        phases.first_byte_ms = times.first.map_or(0.0, |first| {
            ms(first.saturating_duration_since(self.started))
        });
        phases.total_ms = ms(self.started.elapsed());
        self.report.outcome = outcome.to_owned();
        if let Some(span) = &mut self.span
            && outcome != "streaming"
        {
            if outcome != "complete" {
                span.failed(outcome);
            }
            // Fetching, hashing and decrypting take turns, so they are sums and not parts.
            for (name, ms) in self.report.phases.named() {
                span.say(name, ms.to_string());
            }
        }
        self.report.clone()
    }
}

impl Platform {
    /// Step 1.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotFound`]; [`PlatformError::WrappedKey`] if the record holds a key that is none.
    pub fn prepare_read(&self, request: ReadRequest) -> Result<PreparedTransaction, PlatformError> {
        // The reader's: the document may be another tenant's.
        let tenant = request.reader.tenant.clone();
        let (waiting, transaction) = self.look_up(request)?;
        let id = self
            .reads
            .insert(tenant.as_str(), waiting, Instant::now())
            .map_err(|_| PlatformError::Busy)?;
        Ok(PreparedTransaction { id, transaction })
    }

    /// What a read needs, and its transaction.
    pub(super) fn look_up(
        &self,
        request: ReadRequest,
    ) -> Result<(Waiting, UnsignedTransaction), PlatformError> {
        let (name, version, content) = self.version_to_read(&request)?;
        let threshold = match &content.key {
            KeyWrapping::Threshold { wrapped_key } => Some(Threshold::prepare(wrapped_key)?),
            KeyWrapping::Platform { .. } | KeyWrapping::None => None,
        };
        let read = Read {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            reencryption: threshold.as_ref().map(|threshold| Reencryption {
                write_id: threshold.wrapped.write_id(),
                ephemeral_key: threshold.ephemeral.public().as_bytes().to_vec(),
                client_spki: self.clusters.spki().to_vec(),
            }),
        };
        let transaction = self.unsigned(request.reader.clone(), Transaction::Read(read));
        let waiting = Waiting {
            transaction: transaction.id(),
            reader: request.reader,
            name,
            version,
            content,
            threshold,
        };
        Ok((waiting, transaction))
    }

    /// What is to be read, as far as it is there. Of another tenant's datasets a user sees those that it may read, and nothing else.
    pub(super) fn version_to_read(
        &self,
        request: &ReadRequest,
    ) -> Result<(VersionName, DocumentVersion, Content), PlatformError> {
        let document = request.dataset.document(request.document.clone());
        let missing = |what, name| PlatformError::NotFound { what, name };
        let (name, version) = self.record.with_state(|state| {
            let (reader, dataset) = (&request.reader, &request.dataset);
            let visible =
                reader.tenant == dataset.tenant || state.allows(reader, dataset, Role::Reader);
            let known = state.document(&document).filter(|_| visible);
            let latest = known
                .ok_or_else(|| missing("document", document.to_string()))?
                .latest;
            let name = document.version(request.version.unwrap_or(latest));
            match state.version(&name) {
                Some(version) => Ok((name, version.clone())),
                None => Err(missing("version", name.to_string())),
            }
        })?;
        match version.content.clone() {
            Some(content) => Ok((name, version, content)),
            None => Err(RecordError::from(Rejection::Erased(name.to_string())).into()),
        }
    }

    /// The span of a read, if it is recorded: below its caller's, or one that begins a trace.
    pub(super) fn span(&self, trace: Option<&TraceParent>, start: Instant) -> Option<Span> {
        let Tracing {
            telemetry,
            sample_ratio,
        } = &self.tracing;
        match trace {
            Some(parent) => telemetry.below("read", Kind::Server, parent, start),
            None if randomness::system().random::<f64>() < *sample_ratio => {
                telemetry.root("read", Kind::Server, start)
            }
            None => None,
        }
    }

    /// Steps 2 to 6.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Range`] before the read is on the record; whatever went wrong before the first byte. Later errors end the
    /// stream and stand in the report.
    pub async fn commit_read(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        commit: CommitRead,
    ) -> Result<ReadStream, PlatformError> {
        let CommitRead {
            signed,
            range,
            trace,
        } = commit;
        let turn = self.turn(tenant).await?;
        let started = Instant::now();
        let waiting = self
            .reads
            .take(id, tenant.as_str(), started)
            .ok_or(PlatformError::NotWaiting)?;
        if signed.id() != waiting.what().transaction {
            self.reads.put_back(id, waiting);
            return Err(PlatformError::OtherTransaction);
        }
        let length = waiting.what().version.length;
        let range = match range.map(|range| range.within(length)) {
            Some(None) => {
                self.reads.put_back(id, waiting);
                return Err(PlatformError::Range { length });
            }
            Some(Some(range)) if range != (0..length) => Some(range),
            _ => None,
        };
        let waiting = waiting.into_inner();
        let mut progress = Progress {
            started,
            report: report_of(id, &waiting, range.as_ref()),
            times: Times::default(),
            span: self.span(trace.as_ref(), started),
            trace,
        };
        let body = SealedBody {
            checksum: waiting.version.checksum,
            length: waiting.version.length,
        };
        let content_type = waiting.version.content_type.clone();
        let reader = waiting.reader.clone();
        let opened = self
            .open(waiting, signed, body, range.clone(), &mut progress)
            .await;
        let opened =
            opened.inspect_err(|e| self.reports.put(&reader, progress.settle(&e.code())))?;
        let (mut parts, report, mut end) = self.stream(reader.clone(), opened, progress, turn);
        // What goes wrong before there is a byte is an answer of its own, and no document that breaks off.
        let first = parts.recv().await;
        if first.is_none() {
            (&mut end).await??;
            end = tokio::spawn(async { Ok(()) });
        }
        let reports = ReportOf::new(self.reports.clone(), reader);
        Ok(ReadStream {
            length: body.length,
            range,
            content_type,
            report: reports.get(report.read_id).unwrap_or(report),
            reports,
            first,
            parts,
            end,
        })
    }

    /// Steps 2 to 5, and the first half of 6.
    async fn open(
        &self,
        waiting: Waiting,
        signed: SignedTransaction,
        body: SealedBody,
        range: Option<Range<u64>>,
        progress: &mut Progress,
    ) -> Result<Opened, PlatformError> {
        let Waiting {
            transaction,
            name,
            content,
            threshold,
            ..
        } = waiting;
        let mut clock = Instant::now();
        let mut lap = || ms(std::mem::replace(&mut clock, Instant::now()).elapsed());

        let part = progress.begin("record", Kind::Internal);
        let receipt = self.put_on_record(signed).await;
        progress.end(part, &receipt);
        progress.report.phases.record_ms = lap();
        progress.report.height = Some(receipt?.height);

        let document_key = match (&content.key, threshold) {
            (KeyWrapping::Threshold { .. }, Some(threshold)) => {
                let part = progress.begin("approvals", Kind::Internal);
                let approvals = self.approvals(transaction, &mut progress.report).await;
                progress.end(part, &approvals);
                progress.report.phases.approvals_ms = lap();
                let part = progress.begin("cluster", Kind::Client);
                let trace = part.as_ref().map(OpenPart::context).or(progress.trace);
                let key = self
                    .ask_cluster(threshold, approvals?, trace, &mut progress.report)
                    .await;
                progress.end(part, &key);
                progress.report.phases.cluster_ms = lap();
                Some(key?)
            }
            (KeyWrapping::Platform { wrapped_key }, _) => {
                let part = progress.begin("master-key", Kind::Internal);
                let key = self.open_for_platform(wrapped_key, &name).await;
                progress.end(part, &key);
                progress.report.phases.master_key_ms = lap();
                Some(key?)
            }
            _ => None,
        };
        let body_key = match &document_key {
            Some(key) => Some(
                key.unwrap_body_key(&content.wrapped_dek1, &name, &body)?
                    .body_key,
            ),
            None => None,
        };
        let place = self
            .place(document_key.as_ref(), content.body, &name, &body)
            .await?;
        let part = progress.begin("verify-body", Kind::Internal);
        let opened = verified(place, body_key, name, body, range, &mut progress.times).await;
        progress.end(part, &opened);
        opened
    }

    /// Step 3.
    pub(super) async fn approvals(
        &self,
        read: TransactionId,
        report: &mut ReadReport,
    ) -> Result<Vec<Vec<u8>>, PlatformError> {
        let mut approvals = Vec::new();
        let mut refused = false;
        for outcome in self.record.approvals(read).await {
            let organisation = outcome.organisation.to_string();
            let (code, message) = match outcome.result {
                Ok(certificate) => {
                    approvals.push(certificate);
                    (None, None)
                }
                Err(refusal) => {
                    refused |= !refusal.is_transient();
                    (Some(refusal.code().to_owned()), Some(refusal.to_string()))
                }
            };
            let approved = code.is_none();
            report.organisations.push(OrganisationReport {
                organisation,
                approved,
                code,
                message,
            });
        }
        if approvals.is_empty() && !refused {
            return Err(PlatformError::NoAnswer {
                organisations: report.organisations.clone(),
            });
        }
        if approvals.is_empty() {
            return Err(PlatformError::NotApproved {
                given: 0,
                organisations: report.organisations.clone(),
            });
        }
        Ok(approvals)
    }

    /// Step 4, threshold. Whether the approvals are enough, the nodes decide.
    pub(super) async fn ask_cluster(
        &self,
        threshold: Threshold,
        approvals: Vec<Vec<u8>>,
        trace: Option<TraceParent>,
        report: &mut ReadReport,
    ) -> Result<DocumentKey, PlatformError> {
        let client = self
            .clusters
            .get(threshold.wrapped.public_key().as_bytes())?;
        let opened = client
            .open_in(trace, threshold.wrapped, threshold.ephemeral, approvals)
            .await;
        report.nodes = opened.nodes.into_iter().map(NodeReport::from).collect();
        let secret = opened.result.map_err(|e| PlatformError::Cluster {
            code: e.code().to_owned(),
            message: e.to_string(),
            nodes: report.nodes.clone(),
        })?;
        let reason = || PlatformError::WrappedKey {
            reason: "it does not hold a document key".into(),
        };
        DocumentKey::from_slice(secret.expose()).ok_or_else(reason)
    }

    /// Step 5, the pointer.
    async fn place(
        &self,
        key: Option<&DocumentKey>,
        body: Body,
        name: &VersionName,
        sealed: &SealedBody,
    ) -> Result<Place, PlatformError> {
        let pointer = match (body, key) {
            (Body::OnLedger(bytes), _) => return Ok(Place::OnLedger(bytes.into())),
            (Body::OffChain { pointer }, Some(key)) => key.open_pointer(&pointer, name, sealed)?,
            (Body::OffChain { pointer }, None) => {
                let parts = split_pointer(&pointer);
                let (wrapped, sealed_pointer) = parts.ok_or(EnvelopeError::Pointer)?;
                let key = self.open_for_platform(wrapped, name).await?;
                key.open_pointer(sealed_pointer, name, sealed)?
            }
        };
        let pointer = Pointer::from_slice(&pointer).ok_or(EnvelopeError::Pointer)?;
        Ok(Place::OffChain {
            store: self.bodies.clone(),
            tenant: name.tenant.clone(),
            pointer,
        })
    }

    /// The second half of step 6.
    fn stream(
        self: &Arc<Self>,
        reader: UserName,
        opened: Opened,
        mut progress: Progress,
        turn: Turn,
    ) -> (
        mpsc::Receiver<Bytes>,
        ReadReport,
        JoinHandle<Result<(), PlatformError>>,
    ) {
        let (sender, parts) = mpsc::channel(1);
        let report = progress.settle("streaming");
        self.reports.put(&reader, report.clone());
        let platform = self.clone();
        let end = tokio::spawn(async move {
            let idle = Duration::from_secs(platform.limits.idle_s);
            let mut times = progress.times;
            // Whoever has the last byte finds the report complete.
            let result = opened
                .stream(&sender, idle, &mut times, |times| {
                    progress.times = *times;
                    platform.reports.put(&reader, progress.settle("complete"));
                })
                .await;
            if let Err(e) = &result {
                progress.times = times;
                platform.reports.put(&reader, progress.settle(&e.code()));
            }
            drop(turn);
            result
        });
        (parts, report, end)
    }
}

impl Threshold {
    fn prepare(wrapped_key: &[u8]) -> Result<Self, PlatformError> {
        let refused = |e: reencrypt::WrappedKeyError| PlatformError::WrappedKey {
            reason: e.to_string(),
        };
        let rng = &mut randomness::system();
        let wrapped = WrappedKey::parse(wrapped_key)
            .and_then(|wrapped| wrapped.verify(rng))
            .map_err(refused)?;
        let ephemeral = EphemeralSecret::new(&wrapped, rng);
        Ok(Self { wrapped, ephemeral })
    }
}

pub(super) fn report_of(id: Uuid, waiting: &Waiting, range: Option<&Range<u64>>) -> ReadReport {
    ReadReport::begin(
        id,
        &Begun {
            transaction: waiting.transaction,
            name: &waiting.name,
            version: &waiting.version,
            key: &waiting.content.key,
            range,
        },
    )
}
