//! Verification of an export, offline, by anybody who has the organisations' public keys.
//!
//! 1. Every line is exactly as the writer makes it; the genesis gives the ledger's id.
//! 2. Every block is executed from the genesis: each signature, proof, permission, root and hash is checked anew.
//! 3. The head that comes out is the signed one, origin with the ledger's id included.
//! 4. Enough of the given keys signed it: a quorum of those that were given, and of the organisations on the record.
//!
//! What that proves: the export is what the signers agreed on, whole and unaltered up to that head. An *older* export is
//! true too; whoever has seen a later head compares sizes, and proves by [`VerifiedRecord::root_at`] that an earlier one is its
//! beginning.

use super::export::{BlockLine, Closing, FORMAT, Opening};
use crate::record::{
    block::{Block, Header, MAX_BLOCK_BYTES},
    genesis::{Genesis, quorum},
    head::{Head, SignedHead},
    identifier::Identifier,
    peer::Follower,
    root::Hash,
    signed::{LedgerId, SignedTransaction},
    state::State,
};
use certs::checkpoint::NoteKey;
use certs::merkle::Tree;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Read as _},
    path::Path,
};

/// Bytes of the longest line: a block in hexadecimal, with room for quotes.
const MAX_LINE: usize = 2 * MAX_BLOCK_BYTES + 1024 * 1024;

/// Why an export is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read.
    #[error("the export {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A line that no export has.
    #[error("line {line} of the export is not in order: {reason}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What does not hold.
        reason: String,
    },
    /// A block that does not hold.
    #[error("block {height} (line {line}) does not hold: {reason}")]
    Block {
        /// Its line, from 1.
        line: u64,
        /// The number that it should have.
        height: u64,
        /// What does not hold.
        reason: String,
    },
    /// The head was signed for something else.
    #[error(
        "the signed head is not that of these transactions: the export was altered, or cut short, or the head is of another record"
    )]
    Head,
    /// A signature that is false, or too few.
    #[error("the head is not signed as it must be: {0}")]
    Signatures(String),
}

impl AuditError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "export-file",
            Self::Line { .. } => "export-line",
            Self::Block { .. } => "export-block",
            Self::Head => "export-head",
            Self::Signatures(_) => "export-signatures",
        }
    }
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The ledger's name.
    pub name: Identifier,
    /// The ledger's id.
    #[serde(with = "hex")]
    pub ledger: LedgerId,
    /// Blocks.
    pub blocks: u64,
    /// Transactions.
    pub transactions: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Time of the first and of the last block, milliseconds since the Unix epoch.
    pub time_ms: Option<(u64, u64)>,
    /// Merkle root over the transactions.
    #[serde(with = "hex")]
    pub transactions_root: Hash,
    /// Hash over the state.
    #[serde(with = "hex")]
    pub state_root: Hash,
    /// Who of the given keys signed the head.
    pub signed_by: Vec<String>,
    /// Who of the given keys did not.
    pub not_signed_by: Vec<String>,
}

/// A record that was verified from its genesis to its signed head.
#[derive(Debug)]
pub struct VerifiedRecord {
    /// What was verified.
    pub report: AuditReport,
    /// The state at the head.
    pub state: State,
    /// SHA-256 of the approval certificates that each organisation ever had on the record.
    pub issuers: BTreeMap<Identifier, BTreeSet<Hash>>,
    tree: Tree,
}

impl VerifiedRecord {
    /// Merkle root over the first `size` transactions: equal to an earlier head's, if that was of this record. `None` if there
    /// are fewer.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        self.tree.root_at(size).ok()
    }
}

/// Verifies an export against the public keys by which the organisations' peers sign heads.
///
/// # Errors
/// [`AuditError`] with the first thing that does not hold.
pub fn verify_export(path: &Path, keys: &[NoteKey]) -> Result<VerifiedRecord, AuditError> {
    let file = std::fs::File::open(path).map_err(|error| AuditError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let mut lines = Lines {
        reader: std::io::BufReader::new(file),
        path,
        line: 0,
    };

    let first = lines
        .next()?
        .ok_or_else(|| lines.wrong("the file is empty"))?;
    let opening: Opening = lines.parse(&first)?;
    if opening.format != FORMAT {
        return Err(lines.wrong(format!("the format is {}, not {FORMAT}", opening.format)));
    }
    let genesis = Genesis::from_bytes(&opening.genesis).map_err(|error| lines.wrong(error))?;
    let mut follower = Follower::new(&genesis).map_err(|error| lines.wrong(error))?;
    let mut totals = Totals::default();
    totals.note_issuers(follower.state());

    loop {
        let line = lines
            .next()?
            .ok_or_else(|| lines.wrong("the export ends without a signed head"))?;
        if line.starts_with("{\"signed_head\"") {
            let closing: Closing = lines.parse(&line)?;
            if lines.next()?.is_some() {
                return Err(lines.wrong("there is more after the signed head"));
            }
            let head = follower.head(&genesis.origin());
            let (signed_by, not_signed_by) =
                check_signatures(&closing.signed_head, &head, keys, follower.state())?;
            let report = AuditReport {
                ledger: genesis.id(),
                name: genesis.name,
                blocks: totals.blocks,
                transactions: head.checkpoint.size,
                kinds: totals.kinds,
                time_ms: totals.time_ms,
                transactions_root: head.checkpoint.root,
                state_root: head.state_root,
                signed_by,
                not_signed_by,
            };
            let tree = follower.tree().clone();
            return Ok(VerifiedRecord {
                report,
                state: follower.into_state(),
                issuers: totals.issuers,
                tree,
            });
        }
        let block = lines.block(&line)?;
        follower
            .follow(&block)
            .map_err(|reason| AuditError::Block {
                line: lines.line,
                height: totals.blocks + 1,
                reason,
            })?;
        totals.add(&block, follower.state());
    }
}

fn check_signatures(
    note: &str,
    expected: &Head,
    keys: &[NoteKey],
    state: &State,
) -> Result<(Vec<String>, Vec<String>), AuditError> {
    let refused = |error: &dyn std::fmt::Display| AuditError::Signatures(error.to_string());
    let signed = SignedHead::parse(note).map_err(|error| refused(&error))?;
    if signed.claimed() != expected {
        return Err(AuditError::Head);
    }
    // A record of one organisation's making must not do with one signature because it names no others.
    let needed = quorum(keys.len()).max(state.quorum());
    signed
        .verify(keys, needed)
        .map_err(|error| refused(&error))?;
    let signers = signed.signers(keys).map_err(|error| refused(&error))?;
    let (yes, no): (Vec<_>, Vec<_>) = keys.iter().partition(|key| signers.contains(key));
    let names = |keys: Vec<&NoteKey>| keys.into_iter().map(|key| key.name().to_owned()).collect();
    Ok((names(yes), names(no)))
}

#[derive(Default)]
struct Totals {
    blocks: u64,
    kinds: BTreeMap<&'static str, u64>,
    time_ms: Option<(u64, u64)>,
    issuers: BTreeMap<Identifier, BTreeSet<Hash>>,
}

impl Totals {
    fn add(&mut self, block: &Block, state: &State) {
        self.blocks += 1;
        let time_ms = block.header.time_ms;
        self.time_ms = Some((self.time_ms.map_or(time_ms, |(first, _)| first), time_ms));
        for transaction in &block.transactions {
            let kind = transaction.transaction().kind();
            *self.kinds.entry(kind).or_default() += 1;
            if kind == "organisation-endorse" {
                self.note_issuers(state);
            }
        }
    }

    fn note_issuers(&mut self, state: &State) {
        for organisation in state.organisations() {
            let known = self.issuers.entry(organisation.name.clone()).or_default();
            known.extend(
                organisation
                    .issuers
                    .iter()
                    .map(|issuer| <Hash>::from(Sha256::digest(issuer))),
            );
        }
    }
}

/// The lines of an export, one at a time.
struct Lines<'a> {
    reader: std::io::BufReader<std::fs::File>,
    path: &'a Path,
    line: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<String>, AuditError> {
        self.line += 1;
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        self.reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| AuditError::File {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            return Err(self.wrong("it does not end, or is longer than any line of an export"));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| self.wrong("it is not text"))
    }

    /// A line in its one form.
    fn parse<T: Serialize + DeserializeOwned>(&self, text: &str) -> Result<T, AuditError> {
        let value: T = serde_json::from_str(text).map_err(|error| self.wrong(error))?;
        let again = serde_json::to_string(&value).map_err(|error| self.wrong(error))?;
        if again != text {
            return Err(self.wrong("it is not written as an export writes it"));
        }
        Ok(value)
    }

    fn block(&self, text: &str) -> Result<Block, AuditError> {
        let line: BlockLine = self.parse(text)?;
        let header = Header::from_bytes(&line.header).map_err(|error| self.wrong(error))?;
        let transactions = line
            .transactions
            .iter()
            .map(|bytes| SignedTransaction::from_bytes(&bytes.0));
        let transactions = transactions
            .collect::<Result<_, _>>()
            .map_err(|error| self.wrong(error))?;
        Ok(Block {
            header,
            transactions,
        })
    }

    fn wrong(&self, reason: impl ToString) -> AuditError {
        AuditError::Line {
            line: self.line,
            reason: reason.to_string(),
        }
    }
}
