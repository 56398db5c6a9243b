//! The read flow, end to end: the reader holds the ephemeral key, and the platform passes on what it cannot open
//! (`docs/protocol/end-to-end-read.md`).
//!
//! 1. The reader, who has the version's write from the record with its proof, makes an ephemeral key and sends its public half. The
//!    platform puts it into the transaction `read` and gives that to the reader to be signed.
//! 2. The signed transaction goes onto the record, and each organisation's peer issues its approval, as in a managed read.
//! 3. The platform has the crypto nodes re-encrypt to the reader's key and passes on their shares. A reader who asks the nodes itself
//!    named a key of its own towards them, and gets the approvals alone.
//! 4. The reader opens the document key, and with it the pointer, by which the platform finds the sealed body and sends it as it is.
//!
//! Without the ephemeral secret the shares tell nothing (protocol section 6), so nothing that the platform holds in these steps opens the
//! document. What it might exchange, the reader finds out.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cryptonode::client::ClusterDescriptor;
use cryptonode::randomness;
use cryptonode::telemetry::{Kind, OpenPart};
use cryptonode::wire::v1::TraceParent;
use reencrypt::{
    EphemeralKey, EphemeralKeyError, ProofError, VerifiedEphemeralKey, VerifiedWrappedKey,
    WrappedKey,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::byte_range::ByteRange;
use super::read::{Progress, ReadRequest};
use super::report::{Begun, NodeReport, ReadReport, ms};
use super::stored_body::{Place, Relay, Times};
use super::{Platform, PlatformError, PreparedTransaction, now_ms};
use crate::body_store::Pointer;
use crate::envelope::encrypted_length;
use crate::record::audit::Standing;
use crate::record::{
    Body, DocumentVersion, Identifier, KeyWrapping, Read, Receipt, RecordError, RecordedRead,
    Reencryption, Rejection, Role, SignedTransaction, Transaction, TransactionId, UserName,
    VersionName,
};

/// For how long after a read its reader may fetch the sealed body, in milliseconds. Longer than a large body takes; whoever comes
/// later makes a new read, so that the record says so.
const FETCHED_WITHIN_MS: u64 = 60 * 60 * 1000;

/// What is to be read, and to which key.
#[derive(Debug, Clone)]
pub struct EndToEndRequest {
    /// What, and by whom.
    pub read: ReadRequest,
    /// The reader's ephemeral key, with its proof.
    pub ephemeral_key: Vec<u8>,
    /// The reader's key towards the crypto nodes (DER SubjectPublicKeyInfo), if it asks them itself.
    pub client_spki: Option<Vec<u8>>,
}

/// What waits for its signature.
pub(super) struct Waiting {
    transaction: TransactionId,
    reader: UserName,
    name: VersionName,
    version: DocumentVersion,
    key: KeyWrapping,
    wrapped: VerifiedWrappedKey,
    ephemeral: VerifiedEphemeralKey,
    /// Whether the platform asks the crypto nodes.
    relayed: bool,
}

/// What a reader needs to open the document key itself.
#[derive(Debug)]
pub struct Relayed {
    /// The read on the record.
    pub receipt: Receipt,
    /// How the document stands after it, proven; none if the record changed too fast.
    pub standing: Option<Standing>,
    /// The organisations' approval certificates, DER.
    pub approvals: Vec<Vec<u8>>,
    /// The cluster, as the shares are of it.
    pub cluster: ClusterDescriptor,
    /// Shares, as many as are needed; none if the reader asks the crypto nodes itself.
    pub shares: Vec<Vec<u8>>,
}

/// A sealed body on its way to a reader who opens it.
#[derive(Debug)]
pub struct SealedStream {
    /// Bytes of the whole sealed body.
    pub length: u64,
    /// Which of them come.
    pub range: Range<u64>,
    /// The bytes in parts.
    pub parts: mpsc::Receiver<Bytes>,
    /// Says, once the parts have ended, whether that was all.
    pub end: JoinHandle<Result<(), PlatformError>>,
}

impl Platform {
    /// Step 1.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotEndToEnd`] for a version that is under no cluster's key; what the record would refuse of the ephemeral key;
    /// otherwise as [`Platform::prepare_read`].
    pub fn prepare_end_to_end(
        &self,
        request: EndToEndRequest,
    ) -> Result<PreparedTransaction, PlatformError> {
        let EndToEndRequest {
            read,
            ephemeral_key,
            client_spki,
        } = request;
        let (name, version, content) = self.version_to_read(&read)?;
        let KeyWrapping::Threshold { wrapped_key } = &content.key else {
            return Err(PlatformError::NotEndToEnd {
                version: name.to_string(),
            });
        };
        let rng = &mut randomness::system();
        let wrapped = WrappedKey::parse(wrapped_key).and_then(|wrapped| wrapped.verify(rng));
        let wrapped = wrapped.map_err(|e| PlatformError::WrappedKey {
            reason: e.to_string(),
        })?;
        let ephemeral = EphemeralKey::parse(&ephemeral_key)
            .and_then(|key| key.verify(&wrapped.public_key(), &wrapped.write_id(), rng))
            .map_err(|e| RecordError::from(refused(e)))?;
        let relayed = client_spki.is_none();
        let transaction = Transaction::Read(Read {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            reencryption: Some(Reencryption {
                write_id: wrapped.write_id(),
                ephemeral_key,
                client_spki: client_spki.unwrap_or_else(|| self.clusters.spki().to_vec()),
            }),
        });
        let tenant = read.reader.tenant.clone();
        let transaction = self.unsigned(read.reader.clone(), transaction);
        let waiting = Waiting {
            transaction: transaction.id(),
            reader: read.reader,
            name,
            version,
            key: content.key,
            wrapped,
            ephemeral,
            relayed,
        };
        let waits = &self.end_to_end;
        let id = waits.insert(tenant.as_str(), waiting, Instant::now());
        let id = id.map_err(|_| PlatformError::Busy)?;
        Ok(PreparedTransaction { id, transaction })
    }

    /// Steps 2 and 3.
    ///
    /// # Errors
    ///
    /// What the record, the organisations or the crypto nodes say; it stands in the report too.
    pub async fn commit_end_to_end(
        &self,
        tenant: &Identifier,
        id: Uuid,
        signed: SignedTransaction,
        trace: Option<TraceParent>,
    ) -> Result<Relayed, PlatformError> {
        let started = Instant::now();
        let waiting = self
            .end_to_end
            .take(id, tenant.as_str(), started)
            .ok_or(PlatformError::NotWaiting)?;
        if signed.id() != waiting.what().transaction {
            self.end_to_end.put_back(id, waiting);
            return Err(PlatformError::OtherTransaction);
        }
        let waiting = waiting.into_inner();
        let begun = Begun {
            transaction: waiting.transaction,
            name: &waiting.name,
            version: &waiting.version,
            key: &waiting.key,
            range: None,
        };
        let mut progress = Progress {
            started,
            report: ReadReport::begin(id, &begun),
            times: Times::default(),
            span: self.span(trace.as_ref(), started),
            trace,
        };
        let reader = waiting.reader.clone();
        let relayed = self.relay(waiting, signed, &mut progress).await;
        let code = relayed.as_ref().err().map(PlatformError::code);
        let outcome = code.as_deref().unwrap_or("relayed");
        self.reports.put(&reader, progress.settle(outcome));
        relayed
    }

    async fn relay(
        &self,
        waiting: Waiting,
        signed: SignedTransaction,
        progress: &mut Progress,
    ) -> Result<Relayed, PlatformError> {
        let mut clock = Instant::now();
        let mut lap = || ms(std::mem::replace(&mut clock, Instant::now()).elapsed());

        let part = progress.begin("record", Kind::Internal);
        let receipt = self.put_on_record(signed).await;
        progress.end(part, &receipt);
        progress.report.phases.record_ms = lap();
        let receipt = receipt?;
        progress.report.height = Some(receipt.height);

        let part = progress.begin("approvals", Kind::Internal);
        let approvals = self
            .approvals(waiting.transaction, &mut progress.report)
            .await;
        progress.end(part, &approvals);
        progress.report.phases.approvals_ms = lap();
        let approvals = approvals?;

        let document = waiting.name.document_name();
        // A read that is approved goes on without it: whoever named a version needs none.
        let standing = self.record.standing(waiting.transaction, &document).await;
        let standing = standing.unwrap_or_else(|error| {
            tracing::debug!(%error, "how the document stands was not proven");
            None
        });
        lap();

        let client = self.clusters.get(waiting.wrapped.public_key().as_bytes())?;
        if !waiting.relayed {
            let cluster = client.cluster().descriptor().clone();
            return Ok(Relayed {
                receipt,
                standing,
                approvals,
                cluster,
                shares: Vec::new(),
            });
        }
        let part = progress.begin("cluster", Kind::Client);
        let trace = part.as_ref().map(OpenPart::context).or(progress.trace);
        let collected = client
            .collect_shares_in(
                trace,
                &waiting.wrapped,
                &waiting.ephemeral,
                approvals.clone(),
            )
            .await;
        let nodes: Vec<NodeReport> = collected.nodes.into_iter().map(NodeReport::from).collect();
        let shares = collected.result.map_err(|e| PlatformError::Cluster {
            code: e.code().to_owned(),
            message: e.to_string(),
            nodes: nodes.clone(),
        });
        progress.end(part, &shares);
        progress.report.nodes = nodes;
        progress.report.phases.cluster_ms = lap();
        Ok(Relayed {
            receipt,
            standing,
            approvals,
            cluster: collected.cluster.descriptor().clone(),
            shares: shares?,
        })
    }

    /// Step 4: the sealed body of a read that is on the record, or a range of it; with a `reader`, of that user's reads alone.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotFound`] for a read of somebody else's, or a pointer of something else; [`PlatformError::ReadOver`]; what the
    /// record would refuse of the read now; [`PlatformError::Range`].
    pub async fn sealed_body(
        self: &Arc<Self>,
        tenant: &Identifier,
        reader: Option<&Identifier>,
        read: TransactionId,
        pointer: Option<Pointer>,
        range: Option<ByteRange>,
    ) -> Result<SealedStream, PlatformError> {
        let (name, length, body) = self.fetchable(tenant, reader, &read)?;
        let length = encrypted_length(length);
        let range = match range {
            None => 0..length,
            Some(range) => range
                .within(length)
                .ok_or(PlatformError::Range { length })?,
        };
        let turn = self.turn(tenant).await?;
        let place = match body {
            Body::OnLedger(bytes) => Place::OnLedger(bytes.into()),
            Body::OffChain { .. } => {
                let pointer = pointer.ok_or(PlatformError::NoPointer)?;
                // A pointer from another read leads to no body of this one.
                let known = self.bodies.pointer_of(name.clone()).await?;
                if known.is_some_and(|known| known != pointer) {
                    let (what, name) = ("body of this version at that pointer", name.to_string());
                    return Err(PlatformError::NotFound { what, name });
                }
                Place::OffChain {
                    store: self.bodies.clone(),
                    tenant: name.tenant,
                    pointer,
                }
            }
        };
        let relay = Relay::open(place, length, range.clone()).await?;
        let (sender, parts) = mpsc::channel(1);
        let idle = Duration::from_secs(self.limits.idle_s);
        let end = tokio::spawn(async move {
            let result = relay.stream(&sender, idle).await;
            drop(turn);
            result
        });
        Ok(SealedStream {
            length,
            range,
            parts,
            end,
        })
    }

    /// Version, plaintext length and body of a recorded read, if its reader may have the body now.
    fn fetchable(
        &self,
        tenant: &Identifier,
        reader: Option<&Identifier>,
        id: &TransactionId,
    ) -> Result<(VersionName, u64, Body), PlatformError> {
        self.record.with_state(|state| {
            let own = |read: &&RecordedRead| {
                read.reader.tenant == *tenant
                    && reader.is_none_or(|reader| *reader == read.reader.user)
            };
            let read = state.read(id).filter(own);
            let read = read.ok_or_else(|| PlatformError::NotFound {
                what: "read",
                name: hex::encode(id),
            })?;
            let (reader, name) = (&read.reader, &read.name);
            if read.reencryption.is_none() {
                let version = name.to_string();
                return Err(PlatformError::NotEndToEnd { version });
            }
            if now_ms() > read.time_ms.saturating_add(FETCHED_WITHIN_MS) {
                return Err(PlatformError::ReadOver);
            }
            if !state.allows(reader, &name.dataset_name(), Role::Reader) {
                let rejection = Rejection::NotPermitted {
                    user: reader.clone(),
                    role: Role::Reader,
                    dataset: name.dataset_name(),
                };
                return Err(RecordError::from(rejection).into());
            }
            let version = state.version(name);
            let content =
                version.and_then(|version| Some((version.length, version.content.as_ref()?)));
            match content {
                Some((length, content)) => Ok((name.clone(), length, content.body.clone())),
                None => Err(RecordError::from(Rejection::Erased(name.to_string())).into()),
            }
        })
    }
}

/// What the record would say of such an ephemeral key.
fn refused(error: EphemeralKeyError) -> Rejection {
    match error {
        EphemeralKeyError::Proof(ProofError::False) => Rejection::EphemeralKeyProof,
        other => Rejection::EphemeralKey {
            reason: other.to_string(),
        },
    }
}
