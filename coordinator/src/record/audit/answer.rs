//! An answer to a query: the rows, and the signed head under which all of them are proven.
//!
//! [`AuditView`] is the answer as the platform, a peer's process and the command line give it in JSON. It carries each transaction's
//! bytes, so that whoever has it needs nobody: [`AuditRowView::proof_file`] makes the proof that [`super::verify_proof`] reads.

use super::{
    AuditRow, MAX_ROWS, ProofFileError, ProvenHead, ProvenRow, Query, Subject, subjects_with,
};
use crate::record::wire::HexBytes;
use crate::record::{
    root::Hash,
    signed::SignedTransaction,
    transaction::{OrganisationChange, Transaction},
};
use certs::checkpoint::NoteKey;
use certs::log_proof::InclusionLines;
use serde::{Deserialize, Serialize};

/// What a query found, proven under one head.
#[derive(Debug, Clone)]
pub struct AuditAnswer {
    /// The head: a C2SP signed note. None, if the proofs are for a size that was asked for, whose head the asker has.
    pub signed_head: Option<String>,
    /// Number of transactions of the tree that all proofs are in.
    pub size: u64,
    /// The rows, in the record's order.
    pub rows: Vec<AuditRow>,
    /// The position to go on at, if there may be more.
    pub next: Option<u64>,
}

/// A query as it stands in a URL. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// `KIND:NAME`; everything, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Kinds of transactions with commas between them; all, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<String>,
    /// From this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<u64>,
    /// Up to this time, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// From this position on: `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_position: Option<u64>,
    /// Prove in the tree of this size, that of the head which came with the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How many rows at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl AuditQuery {
    /// The query, and the size that its proofs are to be for.
    ///
    /// # Errors
    /// [`super::SubjectError`]
    pub fn query(&self) -> Result<(Query, Option<u64>), super::SubjectError> {
        let subject: Option<Subject> = self.subject.as_deref().map(str::parse).transpose()?;
        let kinds = self.kinds.as_deref().unwrap_or_default().split(',');
        let query = Query {
            subject,
            kinds: kinds
                .filter(|kind| !kind.is_empty())
                .map(str::to_owned)
                .collect(),
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            from_position: self.from_position.unwrap_or(0),
            limit: self.limit.unwrap_or(0),
        };
        Ok((query, self.size))
    }
}

/// An answer in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "signed_head": "main/9f1c…\n812\n…\nstate …\n\n— alder …\n— birch …\n", "size": 812,
    "rows": [{ "position": 811, "height": 790, "time_ms": 1_795_000_000_000_u64, "transaction_id": "5a0b…64 hexadecimal digits", "kind": "read", "author": "user acme/alice",
    "about": ["tenant:acme", "user:acme/alice", "dataset:acme/designs", "document:acme/designs/bridge"], "transaction": "a267…hexadecimal", "path": ["77c1…64 hexadecimal digits"] }]
}))]
pub struct AuditView {
    /// The head under which the rows are proven: a C2SP signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_head: Option<String>,
    /// Number of transactions under that head.
    pub size: u64,
    /// The rows, in the record's order.
    pub rows: Vec<AuditRowView>,
    /// What to give as `from_position` for the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One row in JSON. Bytes are lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({ "position": 811, "height": 790, "time_ms": 1_795_000_000_000_u64, "transaction_id": "5a0b…64 hexadecimal digits", "kind": "read", "author": "user acme/alice",
    "about": ["tenant:acme", "user:acme/alice", "dataset:acme/designs", "document:acme/designs/bridge"], "transaction": "a267…hexadecimal", "path": ["77c1…64 hexadecimal digits"] }))]
pub struct AuditRowView {
    /// Its position on the record, from 0.
    pub position: u64,
    /// Its block. Whoever answers says so; an export proves it.
    pub height: u64,
    /// Time of its block, milliseconds since the Unix epoch. Whoever answers says so; an export proves it, and the proof bounds it.
    pub time_ms: u64,
    /// The transaction's id.
    pub transaction_id: String,
    /// Its kind.
    pub kind: String,
    /// Who signed it: `user tenant/name` or `organisation name`.
    pub author: String,
    /// What it speaks of, as `KIND:NAME`.
    pub about: Vec<String>,
    /// The signed transaction: the leaf.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub transaction: Vec<u8>,
    /// For the withdrawal of an endorsement: the change that it takes back, which the transaction names by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub withdrawn: Option<HexBytes>,
    /// The path from the leaf to the root (RFC 9162 section 2.1.3), lowest first.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<PathHash>,
}

/// One hash of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathHash(#[serde(with = "hex")] pub Hash);

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is no head in it.
    #[error("the answer has no signed head: ask again without a size")]
    NoHead,
    /// A proof that does not hold, or a head that is not signed.
    #[error("row {position}: {source}")]
    Row {
        /// The row's position.
        position: u64,
        /// What does not hold.
        source: ProofFileError,
    },
    /// The head.
    #[error(transparent)]
    Head(ProofFileError),
    /// What is said beside the transaction is not what it says itself.
    #[error("row {position} is not of what it says: {what} differs from the transaction's")]
    Beside {
        /// The row's position.
        position: u64,
        /// What differs.
        what: &'static str,
    },
}

impl AnswerError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHead => "audit-no-head",
            Self::Row { source, .. } | Self::Head(source) => source.code(),
            Self::Beside { .. } => "audit-row",
        }
    }
}

impl From<AuditAnswer> for AuditView {
    fn from(answer: AuditAnswer) -> Self {
        Self {
            signed_head: answer.signed_head,
            size: answer.size,
            rows: answer.rows.into_iter().map(AuditRowView::from).collect(),
            next: answer.next,
        }
    }
}

impl From<AuditRow> for AuditRowView {
    fn from(row: AuditRow) -> Self {
        let transaction = &row.transaction;
        Self {
            position: row.proof.position,
            height: row.height,
            time_ms: row.time_ms,
            transaction_id: hex::encode(transaction.id()),
            kind: transaction.transaction().kind().to_owned(),
            author: transaction.author().to_string(),
            about: about(transaction, row.withdrawn.as_ref()),
            withdrawn: row.withdrawn.map(|it| HexBytes(it.to_bytes())),
            transaction: transaction.as_bytes().to_vec(),
            path: row.proof.path.into_iter().map(PathHash).collect(),
        }
    }
}

fn about(transaction: &SignedTransaction, withdrawn: Option<&OrganisationChange>) -> Vec<String> {
    subjects_with(transaction, withdrawn)
        .iter()
        .map(Subject::to_string)
        .collect()
}

impl AuditView {
    /// Verifies every row under the head, and that what stands beside a transaction is what it says itself. `subject` is what was asked for: a row about
    /// something else is refused. Heights and times are not proven by this.
    ///
    /// # Errors
    /// [`AnswerError`] for the first thing that does not hold.
    pub fn verify(
        &self,
        keys: &[NoteKey],
        subject: Option<&Subject>,
    ) -> Result<ProvenHead, AnswerError> {
        let note = self.signed_head.as_deref().ok_or(AnswerError::NoHead)?;
        let head = ProvenHead::verify(note, keys).map_err(AnswerError::Head)?;
        for row in &self.rows {
            let position = row.position;
            let proven = head
                .row(&row.lines())
                .map_err(|source| AnswerError::Row { position, source })?;
            row.says(&proven, subject)
                .map_err(|what| AnswerError::Beside { position, what })?;
        }
        Ok(head)
    }
}

impl AuditRowView {
    fn lines(&self) -> InclusionLines {
        InclusionLines {
            extra: Some(self.transaction.clone()),
            index: self.position,
            proof: self.path.iter().map(|hash| hash.0).collect(),
        }
    }

    /// The proof as a file, under the head's note that came with the row.
    #[must_use]
    pub fn proof_file(&self, signed_head: &str) -> String {
        self.lines().with_note(signed_head)
    }

    fn says(&self, proven: &ProvenRow, subject: Option<&Subject>) -> Result<(), &'static str> {
        let transaction = proven.transaction();
        // Taken for what was withdrawn only if it has the hash that the author signed.
        let withdrawn = self
            .withdrawn
            .as_ref()
            .map(|it| OrganisationChange::from_bytes(&it.0))
            .transpose()
            .map_err(|_| "what was withdrawn")?;
        let of_hash = withdrawn
            .as_ref()
            .is_none_or(|it| match transaction.transaction() {
                Transaction::OrganisationWithdraw(asked) => asked.change == it.id(),
                _ => false,
            });
        let about = about(transaction, withdrawn.as_ref());
        let checks = [
            ("what was withdrawn", of_hash),
            ("id", self.transaction_id == hex::encode(transaction.id())),
            ("kind", self.kind == transaction.transaction().kind()),
            ("author", self.author == transaction.author().to_string()),
            ("subject", self.about == about),
            (
                "what was asked for",
                subject.is_none_or(|it| about.contains(&it.to_string())),
            ),
        ];
        checks
            .into_iter()
            .find(|(_, holds)| !holds)
            .map_or(Ok(()), |(what, _)| Err(what))
    }
}

/// All parts of an answer together, at most `limit` rows, every one proven under the head that came with the first part. `part` asks for
/// one.
///
/// # Errors
/// What `part` says.
pub async fn whole_answer<E>(
    query: &AuditQuery,
    limit: usize,
    part: impl AsyncFn(AuditQuery) -> Result<AuditView, E>,
) -> Result<AuditView, E> {
    let next = |query: &AuditQuery, left: usize| AuditQuery {
        limit: Some(left.min(MAX_ROWS)),
        ..query.clone()
    };
    let mut whole = part(next(query, limit)).await?;
    while let Some(from) = whole.next.filter(|_| whole.rows.len() < limit) {
        let further = AuditQuery {
            from_position: Some(from),
            size: Some(whole.size),
            ..next(query, limit - whole.rows.len())
        };
        let more = part(further).await?;
        // Whoever answers with nothing new must not keep the asker for ever.
        whole.next = more.next.filter(|next| *next > from);
        whole.rows.extend(more.rows);
    }
    whole.rows.truncate(limit);
    Ok(whole)
}
