//! Proofs about a log as files, in the forms that C2SP gives them: for whoever has the log's key, and not the log.
//!
//! *A record is in the log* ([`InclusionFile`], C2SP tlog-proof): number, siblings up to the root, and the signed checkpoint. `extra`
//! carries the record itself; it is believed only because its hash leads to the root.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of the record>
//! index 73894
//! <base64 of a hash>
//! …
//!                                       (an empty line)
//! <the checkpoint's note>
//! ```
//!
//! *A later head continues an earlier one* ([`ConsistencyFile`], the body of tlog-witness's `add-checkpoint`): the old size, the
//! consistency proof, and the later checkpoint. The same bytes are what a log offers to its witnesses.
//!
//! ```text
//! old 20852014
//! <base64 of a hash>
//! …
//!
//! <the checkpoint's note>
//! ```

use core::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, NoteKey, SignedCheckpoint};
use crate::merkle::{Hash, ProofError, leaf_hash, verify_consistency, verify_inclusion};
use crate::note::MAX_NOTE;

/// Most hashes of a proof: what a tree of 2^63 leaves needs.
pub const MAX_HASHES: usize = 63;
/// Longest record that a proof carries, in bytes.
pub const MAX_EXTRA: usize = 64 * 1024;
/// Longest file, in bytes.
pub const MAX_FILE: usize = max_file(MAX_EXTRA);

/// Longest file of a proof whose record has at most `max_extra` bytes.
#[must_use]
pub const fn max_file(max_extra: usize) -> usize {
    MAX_NOTE + 4 * max_extra.div_ceil(3) + MAX_HASHES * 45 + 128
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogProofError {
    /// Not of the form.
    #[error("the file is no proof of this kind: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Its checkpoint is none, or not signed by whom it must be.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is another log's.
    #[error("the checkpoint is of the log {found}, not of {wanted}")]
    OtherLog {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// It has no record.
    #[error("the proof has no record in it: ask for one with its record, or bring the record")]
    NoRecord,
    /// The hashes do not lead where they should.
    #[error("{0}")]
    Proof(#[from] ProofError),
}

impl LogProofError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "proof-malformed",
            Self::Checkpoint(error) => error.code(),
            Self::OtherLog { .. } => "proof-other-log",
            Self::NoRecord => "proof-no-record",
            Self::Proof(error) => error.code(),
        }
    }
}

const fn malformed(reason: &'static str) -> LogProofError {
    LogProofError::Malformed { reason }
}

/// The lines of an inclusion proof in front of its checkpoint, whatever log it is of; nothing in them is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionLines {
    /// The record, if the file carries it.
    pub extra: Option<Vec<u8>>,
    /// Its number, from 0.
    pub index: u64,
    /// The siblings up to the root, lowest first.
    pub proof: Vec<Hash>,
}

/// A proof that a record is in a log; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionFile {
    /// The record, if the file carries it.
    pub extra: Option<Vec<u8>>,
    /// Its number, from 0.
    pub index: u64,
    /// The siblings up to the root, lowest first.
    pub proof: Vec<Hash>,
    /// The head that it is proved against.
    pub checkpoint: SignedCheckpoint,
}

/// A proof that a head continues an earlier one; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyFile {
    /// The earlier head's size.
    pub old: u64,
    /// The consistency proof (RFC 9162, section 2.1.4.1).
    pub proof: Vec<Hash>,
    /// The later head.
    pub checkpoint: SignedCheckpoint,
}

impl InclusionLines {
    /// Reads the lines of a proof whose record has at most `max_extra` bytes; returns the checkpoint's note behind them, unread, too.
    ///
    /// # Errors
    /// [`LogProofError::Malformed`]
    pub fn parse(text: &str, max_extra: usize) -> Result<(Self, &str), LogProofError> {
        let (head, note) = split(text, max_file(max_extra))?;
        Ok((Self::read(head, max_extra)?, note))
    }

    fn read(mut head: core::str::Split<'_, char>, max_extra: usize) -> Result<Self, LogProofError> {
        if head.next() != Some(HEADER) {
            return Err(malformed("its first line is another"));
        }
        let mut line = head.next().unwrap_or_default();
        let extra = match line.strip_prefix("extra ") {
            Some(encoded) => {
                line = head.next().unwrap_or_default();
                let extra = BASE64_STANDARD.decode(encoded).ok();
                let extra = extra.filter(|bytes| !bytes.is_empty() && bytes.len() <= max_extra);
                Some(extra.ok_or(malformed("its record cannot be read"))?)
            }
            None => None,
        };
        Ok(Self {
            extra,
            index: number(line, "index ")?,
            proof: hashes(head)?,
        })
    }

    /// The whole file: these lines, an empty one, and the checkpoint's note.
    #[must_use]
    pub fn with_note(&self, note: &str) -> String {
        format!("{self}\n{note}")
    }
}

impl fmt::Display for InclusionLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64_STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        write_hashes(f, &self.proof)
    }
}

impl InclusionFile {
    /// Reads the one form of a proof.
    ///
    /// # Errors
    /// [`LogProofError::Malformed`], [`LogProofError::Checkpoint`]
    pub fn parse(text: &str) -> Result<Self, LogProofError> {
        let (head, checkpoint) = parts(text)?;
        let InclusionLines {
            extra,
            index,
            proof,
        } = InclusionLines::read(head, MAX_EXTRA)?;
        Ok(Self {
            extra,
            index,
            proof,
            checkpoint,
        })
    }

    /// The record and its number, if the log with this key signed a head that contains it.
    ///
    /// # Errors
    /// [`LogProofError`]
    pub fn verify(&self, log: &NoteKey) -> Result<(u64, &[u8], Checkpoint), LogProofError> {
        let head = verify_head(&self.checkpoint, log)?;
        let record = self.extra.as_deref().ok_or(LogProofError::NoRecord)?;
        verify_inclusion(
            &leaf_hash(record),
            self.index,
            head.size,
            &self.proof,
            &head.root,
        )?;
        Ok((self.index, record, head))
    }
}

impl fmt::Display for InclusionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = InclusionLines {
            extra: self.extra.clone(),
            index: self.index,
            proof: self.proof.clone(),
        };
        write!(f, "{lines}\n{}", self.checkpoint)
    }
}

impl ConsistencyFile {
    /// Reads the one form of a proof.
    ///
    /// # Errors
    /// [`LogProofError::Malformed`], [`LogProofError::Checkpoint`]
    pub fn parse(text: &str) -> Result<Self, LogProofError> {
        let (mut head, checkpoint) = parts(text)?;
        let old = number(head.next().unwrap_or_default(), "old ")?;
        if old > checkpoint.claimed().size {
            return Err(malformed("the old size is greater than the checkpoint's"));
        }
        let proof = hashes(head)?;
        Ok(Self {
            old,
            proof,
            checkpoint,
        })
    }

    /// The later head, if the log with this key signed it and it continues `old`, which the caller has verified.
    ///
    /// # Errors
    /// [`LogProofError`]; [`LogProofError::Proof`] if it does not continue `old`.
    pub fn verify(&self, log: &NoteKey, old: &Checkpoint) -> Result<Checkpoint, LogProofError> {
        let head = verify_head(&self.checkpoint, log)?;
        if old.origin != head.origin {
            return Err(LogProofError::OtherLog {
                found: old.origin.clone(),
                wanted: head.origin,
            });
        }
        if old.size != self.old {
            return Err(malformed("it is a proof from another size"));
        }
        verify_consistency(old.size, head.size, &self.proof, &old.root, &head.root)?;
        Ok(head)
    }
}

impl fmt::Display for ConsistencyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        write_hashes(f, &self.proof)?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// The head, if `log` signed it and it is that log's.
///
/// # Errors
/// [`LogProofError::Checkpoint`], [`LogProofError::OtherLog`]
pub fn verify_head(
    checkpoint: &SignedCheckpoint,
    log: &NoteKey,
) -> Result<Checkpoint, LogProofError> {
    let head = checkpoint.verify(core::slice::from_ref(log), 1)?;
    if head.origin != log.name() {
        return Err(LogProofError::OtherLog {
            found: head.origin,
            wanted: log.name().to_owned(),
        });
    }
    Ok(head)
}

/// The lines in front of the first empty one, and the checkpoint behind it.
fn parts(text: &str) -> Result<(core::str::Split<'_, char>, SignedCheckpoint), LogProofError> {
    let (head, note) = split(text, MAX_FILE)?;
    Ok((head, SignedCheckpoint::parse(note)?))
}

fn split(text: &str, limit: usize) -> Result<(core::str::Split<'_, char>, &str), LogProofError> {
    if text.len() > limit {
        return Err(malformed("it is too long"));
    }
    let (head, note) = text
        .split_once("\n\n")
        .ok_or(malformed("there is no empty line in front of a checkpoint"))?;
    Ok((head.split('\n'), note))
}

fn number(line: &str, name: &str) -> Result<u64, LogProofError> {
    let digits = line.strip_prefix(name);
    let number = digits.and_then(|digits| digits.parse::<u64>().ok());
    number
        .filter(|number| digits == Some(number.to_string().as_str()))
        .ok_or(malformed("its number is missing or not decimal"))
}

fn hashes<'t>(lines: impl Iterator<Item = &'t str>) -> Result<Vec<Hash>, LogProofError> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == MAX_HASHES {
            return Err(malformed("it has too many hashes"));
        }
        let hash = BASE64_STANDARD
            .decode(line)
            .ok()
            .and_then(|bytes| Hash::try_from(bytes).ok());
        hashes.push(hash.ok_or(malformed("a hash is not 32 bytes in base64"))?);
    }
    Ok(hashes)
}

fn write_hashes(f: &mut fmt::Formatter<'_>, proof: &[Hash]) -> fmt::Result {
    proof
        .iter()
        .try_for_each(|hash| writeln!(f, "{}", BASE64_STANDARD.encode(hash)))
}
