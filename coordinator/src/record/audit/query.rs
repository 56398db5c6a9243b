//! Queries: what the record says about something, each row with its proof.

use super::Subject;
use crate::record::{
    peer::{StoreError, StoredTransaction},
    root::Hash,
    signed::SignedTransaction,
    transaction::OrganisationChange,
};
use certs::merkle::{ProofError, leaf_hash, verify_inclusion};
use std::ops::Range;

/// Rows that one query returns at most.
pub const MAX_ROWS: usize = 1000;
/// Bytes of transactions after which a query ends early; one row always fits.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Rows that are fetched at once at least: a filter by kind may drop most of them.
const PIECE: usize = 256;

/// Which transactions.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Those that speak of this; all, if absent.
    pub subject: Option<Subject>,
    /// Those of these kinds ([`Transaction::kind`]); all, if empty.
    pub kinds: Vec<String>,
    /// Those in blocks from this time on, milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Those in blocks up to this time, this one included.
    pub until_ms: Option<u64>,
    /// Those from this position of the record on: one more than the last row's, for the next page.
    pub from_position: u64,
    /// How many at most; 1,000 if 0 or more.
    pub limit: usize,
}

/// What a query found.
#[derive(Debug)]
pub(in crate::record) struct Found {
    pub(in crate::record) rows: Vec<StoredTransaction>,
    /// Where to go on, if there may be more.
    pub(in crate::record) next: Option<u64>,
}

impl Query {
    /// The matching transactions among the first `size`. `span` says which positions a span of time has, `select(subject, positions,
    /// limit)` fetches some of them in order.
    pub(in crate::record) fn run(
        &self,
        size: u64,
        span: impl Fn((u64, u64)) -> Result<Range<u64>, StoreError>,
        select: impl Fn(Option<&str>, Range<u64>, usize) -> Result<Vec<StoredTransaction>, StoreError>,
    ) -> Result<Found, StoreError> {
        let limit = match self.limit {
            0 => MAX_ROWS,
            limit => limit.min(MAX_ROWS),
        };
        let subject = self.subject.as_ref().map(Subject::to_string);
        let mut span = match (self.from_ms, self.until_ms) {
            (None, None) => 0..size,
            (from, until) => span((from.unwrap_or(0), until.unwrap_or(u64::MAX)))?,
        };
        span.start = span.start.max(self.from_position);
        span.end = span.end.min(size);
        let piece = limit.max(PIECE);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while !span.is_empty() {
            let fetched = select(subject.as_deref(), span.clone(), piece)?;
            let last_piece = fetched.len() < piece;
            for row in fetched {
                span.start = row.position + 1;
                if !self.wants(&row.transaction) {
                    continue;
                }
                bytes += row.transaction.as_bytes().len();
                rows.push(row);
                if rows.len() == limit || bytes >= MAX_BYTES {
                    let next = (!span.is_empty()).then_some(span.start);
                    return Ok(Found { rows, next });
                }
            }
            if last_piece {
                break;
            }
        }
        Ok(Found { rows, next: None })
    }

    fn wants(&self, transaction: &SignedTransaction) -> bool {
        self.kinds.is_empty()
            || self
                .kinds
                .iter()
                .any(|kind| kind == transaction.transaction().kind())
    }
}

/// Proof that a transaction is on the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Its position.
    pub position: u64,
    /// Number of transactions of the tree that the proof is of.
    pub size: u64,
    /// The path (RFC 9162 section 2.1.3).
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// Holds it against a root of `size` transactions, such as that of a signed head.
    ///
    /// # Errors
    /// [`ProofError`] if the transaction is not there.
    pub fn verify(&self, transaction: &SignedTransaction, root: &Hash) -> Result<(), ProofError> {
        verify_inclusion(
            &leaf_hash(transaction.as_bytes()),
            self.position,
            self.size,
            &self.path,
            root,
        )
    }
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Number of its block.
    pub height: u64,
    /// Time of its block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The transaction, with author and signature.
    pub transaction: SignedTransaction,
    /// What it took back, if it is a withdrawal, which names that by a hash.
    pub withdrawn: Option<OrganisationChange>,
    /// That it is on the record; all rows of an answer are in one tree.
    pub proof: InclusionProof,
}
