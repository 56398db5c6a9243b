//! Reads that the reader opens itself (`docs/protocol/end-to-end-read.md`): the proof of a version, the nodes' shares, the sealed body.
//!
//! Such a read is prepared like any other, with an ephemeral key of the reader's ([`super::documents`]).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use cryptonode::client::{ClusterDescriptor, MemberDescriptor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::bodies::{is_part, parts, range_of, trace_of, with_times};
use super::views::ReceiptView;
use super::{Api, Problem, ProofView, Tenant, record};
use crate::body_store::Pointer;
use crate::platform::Relayed;
use crate::record::audit::{DocumentProof, PathHash, Standing};
use crate::record::{DatasetName, Document, DocumentName, Hash, Identifier, Role, UserName};

/// By which a reader says where a sealed body lies.
pub(crate) const BODY_POINTER: &str = "body-pointer";

/// Proof of a version: the transaction that wrote it, with its keys, its checksum and its author's signature, its place in the record, and
/// the organisations' signed head. `latest` is a version, too.
///
/// A body that lies on the ledger is in the transaction, and without encryption it is the document, to be had without a read: with an API key
/// that is bound to a user, there are proofs of what that user may read alone.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/versions/{version}/proof", tag = "documents",
    operation_id = "prove_version", responses((status = 200, body = ProofView)))]
pub(super) async fn prove(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document, version)): Path<(String, Identifier, Identifier, String)>,
) -> Result<Json<ProofView>, Problem> {
    let bound = caller.user.map(|user| UserName {
        tenant: tenant.clone(),
        user,
    });
    let dataset = DatasetName { tenant, dataset };
    let record = api.platform.record();
    if let Some(reader) = bound
        && !record.with_state(|state| state.allows(&reader, &dataset, Role::Reader))
    {
        return Err(Problem::not_found());
    }
    proof_of(&api, &dataset.document(document), &version).await
}

/// The proof of a version of a document.
pub(super) async fn proof_of(
    api: &Api,
    document: &DocumentName,
    version: &str,
) -> Result<Json<ProofView>, Problem> {
    let asked = match version {
        "latest" => None,
        number => Some(number.parse::<u64>().map_err(|_| {
            Problem::bad_request("a version is a number from 1, or the word `latest`")
        })?),
    };
    let record = api.platform.record();
    let written = record.with_state(|state| {
        let latest = state.document(document)?.latest;
        let version = state.version(&document.version(asked.unwrap_or(latest)))?;
        Some(version.transaction)
    });
    let written = written.ok_or_else(Problem::not_found)?;
    Ok(Json(ProofView::of(record, &written).await?))
}

/// A cluster of crypto nodes, as far as a reader needs it: its key, and each member's share of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "public_key": "e2f1…64 hexadecimal digits", "epoch": 0, "attempt": 1, "threshold": 3, "policy_hash": "0c4a…64 hexadecimal digits",
    "members": [{ "index": 1, "name": "n1", "identity": "44d2…64 hexadecimal digits", "address": "10.0.0.1:7700",
    "public_share": "9ab0…64 hexadecimal digits" }]
}))]
pub struct ClusterKeyView {
    /// Y, hexadecimal.
    pub public_key: String,
    /// The key's epoch.
    pub epoch: u64,
    /// The attempt of the ceremony that made this epoch.
    pub attempt: u32,
    /// How many shares open a wrapped key.
    pub threshold: u16,
    /// The members in index order.
    pub members: Vec<ClusterMemberView>,
    /// SHA-256 of the nodes' approval policy, hexadecimal.
    pub policy_hash: String,
}

/// A crypto node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "index": 1, "name": "n1", "identity": "44d2…64 hexadecimal digits", "address": "10.0.0.1:7700",
    "public_share": "9ab0…64 hexadecimal digits"
}))]
pub struct ClusterMemberView {
    /// Its index, from 1.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// Its Ed25519 identity, by which its TLS certificate is known; hexadecimal.
    pub identity: String,
    /// Where it listens: `host:port`, UDP.
    pub address: String,
    /// Y_i, hexadecimal.
    pub public_share: String,
}

impl From<ClusterDescriptor> for ClusterKeyView {
    fn from(it: ClusterDescriptor) -> Self {
        let member = |member: MemberDescriptor| ClusterMemberView {
            index: member.index,
            name: member.name,
            identity: hex::encode(member.identity),
            address: member.address,
            public_share: hex::encode(member.public_share),
        };
        Self {
            public_key: hex::encode(it.public_key),
            epoch: it.epoch,
            attempt: it.attempt,
            threshold: it.threshold,
            members: it.members.into_iter().map(member).collect(),
            policy_hash: hex::encode(it.policy_hash),
        }
    }
}

impl ClusterKeyView {
    /// What a client of the cluster is made from, once it was checked; none if something is not hexadecimal, or not as long as it must be.
    #[must_use]
    pub fn descriptor(&self) -> Option<ClusterDescriptor> {
        let bytes = |text: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
        };
        let members = self.members.iter().map(|member| {
            Some(MemberDescriptor {
                index: member.index,
                name: member.name.clone(),
                identity: bytes(&member.identity)?,
                address: member.address.clone(),
                public_share: bytes(&member.public_share)?,
            })
        });
        Some(ClusterDescriptor {
            version: 1,
            public_key: bytes(&self.public_key)?,
            epoch: self.epoch,
            attempt: self.attempt,
            threshold: self.threshold,
            members: members.collect::<Option<_>>()?,
            policy_hash: bytes(&self.policy_hash)?,
        })
    }
}

/// Bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexBytes(#[serde(with = "hex")] pub Vec<u8>);

/// How a document stands after a read of it: its row in the record's state, and the read, both proven under one head. The read being its
/// reader's own, the head is no older.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "latest": 3, "erased": false, "changed_ms": 1_795_000_000_000_u64, "state_path": ["9c0d…64 hexadecimal digits"],
    "position": 2049, "path": ["77c1…64 hexadecimal digits"], "checkpoint": "main/9f1c…\n2050\n…\nstate …\n\n— alder …\n"
}))]
pub struct StandingView {
    /// The latest version.
    pub latest: u64,
    /// Whether the document is erased as a whole.
    pub erased: bool,
    /// Time of its latest change, milliseconds since the Unix epoch.
    pub changed_ms: u64,
    /// The hashes beside the row's path in the state tree, from the root down; hexadecimal.
    #[schema(value_type = Vec<String>)]
    pub state_path: Vec<PathHash>,
    /// The read's position in the record, from 0.
    pub position: u64,
    /// The inclusion path of the read (RFC 9162 section 2.1.3), hexadecimal.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<PathHash>,
    /// The head, signed by the organisations' peers: a C2SP tlog-checkpoint.
    pub checkpoint: String,
}

impl From<Standing> for StandingView {
    fn from(it: Standing) -> Self {
        let all = |hashes: Vec<Hash>| hashes.into_iter().map(PathHash).collect();
        let document = it.document.document;
        Self {
            latest: document.latest,
            erased: document.erased,
            changed_ms: document.changed_ms,
            state_path: all(it.document.path),
            position: it.inclusion.position,
            path: all(it.inclusion.path),
            checkpoint: it.signed_head,
        }
    }
}

impl StandingView {
    /// The document's row, unverified.
    #[must_use]
    pub fn document(&self) -> DocumentProof {
        DocumentProof {
            document: Document {
                latest: self.latest,
                erased: self.erased,
                changed_ms: self.changed_ms,
            },
            path: self.state_path.iter().map(|hash| hash.0).collect(),
        }
    }
}

/// What a reader needs to open the document key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "receipt": { "transaction_id": "5a0b…64 hexadecimal digits", "height": 813, "time_ms": 1_795_000_000_000_u64, "position": 2049 },
    "approvals": ["3082…hexadecimal"], "shares": ["0100…276 hexadecimal digits"],
    "cluster": { "public_key": "e2f1…64 hexadecimal digits", "epoch": 0, "attempt": 1, "threshold": 3,
    "policy_hash": "0c4a…64 hexadecimal digits", "members": [{ "index": 1, "name": "n1", "identity": "44d2…64 hexadecimal digits",
    "address": "10.0.0.1:7700", "public_share": "9ab0…64 hexadecimal digits" }] }
}))]
pub struct SharesView {
    /// The read on the record. Its `transaction_id` names it in `recorded-reads`.
    pub receipt: ReceiptView,
    /// How the document stands now; absent if the record changed too fast for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingView>,
    /// The organisations' approval certificates, DER, hexadecimal.
    #[schema(value_type = Vec<String>)]
    pub approvals: Vec<HexBytes>,
    /// The cluster, as the shares are of it.
    pub cluster: ClusterKeyView,
    /// Shares of the re-encryption to the reader's key, 138 bytes each, hexadecimal; none if the read named a key of the reader's own
    /// towards the crypto nodes.
    #[schema(value_type = Vec<String>)]
    pub shares: Vec<HexBytes>,
}

impl From<Relayed> for SharesView {
    fn from(relayed: Relayed) -> Self {
        let all = |bytes: Vec<Vec<u8>>| bytes.into_iter().map(HexBytes).collect();
        Self {
            receipt: relayed.receipt.into(),
            standing: relayed.standing.map(StandingView::from),
            approvals: all(relayed.approvals),
            cluster: relayed.cluster.into(),
            shares: all(relayed.shares),
        }
    }
}

/// Puts a prepared end-to-end read onto the record, and answers with the organisations' approvals and the crypto nodes' shares.
///
/// Whoever holds the ephemeral key's secret opens the document key with them; nobody else learns anything from them. The sealed body is
/// at `recorded-reads/{read}/body`.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/reads/{id}/shares", tag = "documents", operation_id = "commit_end_to_end_read",
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses((status = 201, body = SharesView, headers(
        ("Server-Timing" = String, description = "What the read's phases took, up to the shares.")))))]
pub(super) async fn shares(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let trace = trace_of(request.headers());
    let signed = record::signed(&caller, request.into_body()).await?;
    let relayed = api
        .platform
        .commit_end_to_end(&tenant, id, signed, trace)
        .await?;
    let report = api.platform.report(&tenant, caller.user.as_ref(), id);
    let view = (StatusCode::CREATED, Json(SharesView::from(relayed)));
    Ok(with_times(report.as_ref(), view))
}

/// The sealed body of a version under a cluster's key, for its reader to decrypt: for an hour after the read, as often and in such
/// parts as the reader likes.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/recorded-reads/{read}/body", tag = "documents", operation_id = "fetch_sealed_body",
    params(
        ("Body-Pointer" = Option<String>, Header, description = "Where the body lies, 32 hexadecimal digits: what the document key opens \
            of the version's pointer. Needed unless the body lies on the record."),
        ("Range" = Option<String>, Header, description = "One range of the sealed bytes, such as `bytes=0-1023`.")),
    responses(
        (status = 200, description = "The sealed body.", content_type = "application/octet-stream", headers(
            ("Accept-Ranges" = String, description = "`bytes`."))),
        (status = 206, description = "The bytes that were asked for.", content_type = "application/octet-stream",
            headers(("Content-Range" = String, description = "Which bytes of how many."))),
        (status = 416, description = "The sealed body has no such bytes; `Content-Range` has its length.")))]
pub(super) async fn body(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, read)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut id = [0; 32];
    hex::decode_to_slice(&read, &mut id).map_err(|_| Problem::not_found())?;
    let range = range_of(&headers)?;
    let pointer = headers.get(BODY_POINTER).map(pointer).transpose()?;
    let stream = api
        .platform
        .sealed_body(&tenant, caller.user.as_ref(), id, pointer, range)
        .await?;
    let (whole, sent) = (stream.length, stream.range);
    let length = sent.end.saturating_sub(sent.start);
    let mut response = Body::from_stream(parts(stream.parts, stream.end)).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if range.is_some() {
        is_part(&mut response, &sent, whole);
    }
    Ok(response)
}

fn pointer(value: &HeaderValue) -> Result<Pointer, Problem> {
    let bytes = value.to_str().ok().and_then(|text| hex::decode(text).ok());
    let pointer = bytes.and_then(|bytes| Pointer::from_slice(&bytes));
    pointer.ok_or_else(|| Problem::bad_request("`Body-Pointer` has 32 hexadecimal digits"))
}
