//! Verification of an export, offline, by anybody who has the organisations' public keys.
//!
//! 1. Every line is exactly as the writer makes it; the genesis gives the ledger's id.
//! 2. Every block is executed from the genesis: each signature, proof, permission, root and hash is checked anew.
//! 3. The head that comes out is the signed one, origin with the ledger's id included.
//! 4. Enough signed it of those who count: a quorum of the keys that were given and of the organisations on the record, or of those to whom the given
//!    keys lead by the handovers in between ([`super::succession`]).
//!
//! What that proves: the export is what the signers agreed on, whole and unaltered up to that head. An *older* export is
//! true too; whoever has seen a later head compares sizes, and proves by [`VerifiedRecord::root_at`] that an earlier one is its
//! beginning.

use super::{
    export::{BlockLine, Closing, FORMAT, FORMAT_1, HandoverLine, Opening, may_hand_over},
    lines::Lines,
    succession::{ConcludeError, Handover, Signers, Succession},
};
use crate::record::{
    block::{Block, Header, MAX_BLOCK_BYTES},
    genesis::Genesis,
    identifier::Identifier,
    peer::Follower,
    root::Hash,
    signed::{LedgerId, SignedTransaction},
    state::State,
};
use certs::checkpoint::NoteKey;
use certs::merkle::Tree;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, path::Path};

/// Bytes of the longest line: a block in hexadecimal, with room for quotes.
const MAX_LINE: u64 = 2 * MAX_BLOCK_BYTES as u64 + 1024 * 1024;

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
    /// Who signed the head, of those whose keys count at the end: the given ones, or those to whom they lead.
    pub signed_by: Vec<String>,
    /// Who of them did not.
    pub not_signed_by: Vec<String>,
    /// The changes of the keys that sign heads, as far as those before signed them.
    pub handovers: Vec<Handover>,
    /// The verifier keys of the organisations that are on the record at the end.
    pub verifiers: Vec<String>,
}

/// A record that was verified from its genesis to its signed head.
#[derive(Debug)]
pub struct VerifiedRecord {
    /// What was verified.
    pub report: AuditReport,
    /// The state at the head.
    pub state: State,
    /// The approval certificates (DER) that each organisation ever had on the record, by their SHA-256.
    pub issuers: BTreeMap<Identifier, BTreeMap<Hash, Vec<u8>>>,
    /// The keys by which each organisation's peer ever signed heads.
    pub head_keys: BTreeMap<Identifier, Vec<NoteKey>>,
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

/// Verifies an export against the public keys by which the organisations' peers sign heads: those of the founders, or of any later time.
///
/// # Errors
/// [`AuditError`] with the first thing that does not hold.
pub fn verify_export(path: &Path, keys: &[NoteKey]) -> Result<VerifiedRecord, AuditError> {
    let mut lines = Lines::open(path, MAX_LINE)?;
    let first = lines
        .next()?
        .ok_or_else(|| lines.wrong("the file is empty"))?;
    let opening: Opening = lines.parse(&first)?;
    let hands_over = opening.format == FORMAT;
    if !hands_over && opening.format != FORMAT_1 {
        return Err(lines.wrong(format!("the format is {}, not {FORMAT}", opening.format)));
    }
    let genesis = Genesis::from_bytes(&opening.genesis).map_err(|error| lines.wrong(error))?;
    let mut follower = Follower::new(&genesis).map_err(|error| lines.wrong(error))?;
    let mut totals = Totals::default();
    totals.note_organisations(follower.state());
    let origin = genesis.origin();
    let mut succession = Succession::new(keys);
    let mut signers = Signers::of(follower.state());

    loop {
        let line = lines
            .next()?
            .ok_or_else(|| lines.wrong("the export ends without a signed head"))?;
        if line.starts_with("{\"signed_head\"") {
            let closing: Closing = lines.parse(&line)?;
            if lines.next()?.is_some() {
                return Err(lines.wrong("there is more after the signed head"));
            }
            let head = follower.head(&origin);
            let concluded = succession.conclude(&closing.signed_head, &head, &signers);
            let ((signed_by, not_signed_by), handovers) =
                concluded.map_err(|error| match error {
                    ConcludeError::OtherHead => AuditError::Head,
                    error => AuditError::Signatures(error.to_string()),
                })?;
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
                handovers,
                verifiers: signers.verifiers(),
            };
            let tree = follower.tree().clone();
            return Ok(VerifiedRecord {
                report,
                state: follower.into_state(),
                issuers: totals.issuers,
                head_keys: totals.head_keys,
                tree,
            });
        }
        let block = block(&lines, &line)?;
        follower
            .follow(&block)
            .map_err(|reason| AuditError::Block {
                line: lines.number(),
                height: totals.blocks + 1,
                reason,
            })?;
        totals.add(&block);
        if !may_hand_over(&block.transactions) {
            continue;
        }
        totals.note_organisations(follower.state());
        let (height, after) = (block.header.height, Signers::of(follower.state()));
        if hands_over {
            let line = lines.next()?.unwrap_or_default();
            let line: HandoverLine = lines.parse(&line)?;
            let head = follower.head(&origin);
            succession
                .hand_over(height, &line.handover, &head, &signers, &after)
                .map_err(|error| lines.wrong(error))?;
        } else if signers != after {
            succession.lose(height);
        }
        signers = after;
    }
}

#[derive(Default)]
struct Totals {
    blocks: u64,
    kinds: BTreeMap<&'static str, u64>,
    time_ms: Option<(u64, u64)>,
    issuers: BTreeMap<Identifier, BTreeMap<Hash, Vec<u8>>>,
    head_keys: BTreeMap<Identifier, Vec<NoteKey>>,
}

impl Totals {
    fn add(&mut self, block: &Block) {
        self.blocks += 1;
        let time_ms = block.header.time_ms;
        self.time_ms = Some((self.time_ms.map_or(time_ms, |(first, _)| first), time_ms));
        for transaction in &block.transactions {
            let kind = transaction.transaction().kind();
            *self.kinds.entry(kind).or_default() += 1;
        }
    }

    /// What stood on the record within one block alone signed nothing: heads and approvals come after blocks.
    fn note_organisations(&mut self, state: &State) {
        for organisation in state.organisations() {
            let known = self.issuers.entry(organisation.name.clone()).or_default();
            for issuer in &organisation.issuers {
                known.insert(Sha256::digest(issuer).into(), issuer.to_vec());
            }
        }
        for key in state.head_keys() {
            let Ok(name) = key.name().parse::<Identifier>() else {
                continue;
            };
            let known = self.head_keys.entry(name).or_default();
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
}

fn block(lines: &Lines<'_>, text: &str) -> Result<Block, AuditError> {
    let line: BlockLine = lines.parse(text)?;
    let header = Header::from_bytes(&line.header).map_err(|error| lines.wrong(error))?;
    let transactions = line
        .transactions
        .iter()
        .map(|bytes| SignedTransaction::from_bytes(&bytes.0));
    let transactions = transactions
        .collect::<Result<_, _>>()
        .map_err(|error| lines.wrong(error))?;
    Ok(Block {
        header,
        transactions,
    })
}
