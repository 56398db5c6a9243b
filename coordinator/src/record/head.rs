//! What a peer signs: the head of the record as a C2SP tlog-checkpoint.
//!
//! ```text
//! NAME/LEDGER ID IN HEXADECIMAL
//! NUMBER OF TRANSACTIONS
//! MERKLE ROOT OVER THEM, BASE64
//! state HASH OVER THE STATE, BASE64            the one extension line
//!
//! — ORGANISATION SIGNATURE                     one line for each peer, by its head key
//! ```
//!
//! The origin holds the ledger's id, so a signature for one ledger says nothing about another. The format is read by the tools
//! that exist for transparency logs; they pass over the extension line.

use super::{block::Header, root::Hash};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use certs::checkpoint::{Checkpoint, CheckpointError, NoteKey};
use certs::note::{MAX_SIGNATURES, SignedNote};
use ed25519_dalek::SigningKey;

const STATE: &str = "state ";

/// The head of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Origin, number of transactions, Merkle root over them.
    pub checkpoint: Checkpoint,
    /// Hash over the state after the last of them.
    pub state_root: Hash,
}

/// Why a signed head is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a checkpoint, or not signed by those who should.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No extension line with the state's root.
    #[error("the head has no line with the state's root, or more than that")]
    StateRoot,
    /// Heads of several peers that do not say the same.
    #[error("the heads of the peers do not say the same")]
    Different,
}

impl Head {
    /// The head that a block makes.
    #[must_use]
    pub fn new(origin: &str, header: &Header) -> Self {
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: header.size,
            root: header.transactions_root,
        };
        Self {
            checkpoint,
            state_root: header.state_root,
        }
    }

    /// The text that is signed.
    ///
    /// # Errors
    /// [`HeadError::Checkpoint`] for an origin that no checkpoint can have.
    pub fn to_text(&self) -> Result<String, HeadError> {
        let state = BASE64_STANDARD.encode(self.state_root);
        Ok(format!("{}{STATE}{state}\n", self.checkpoint.to_text()?))
    }

    /// Reads the text that is signed; no other text than [`Head::to_text`] writes.
    ///
    /// # Errors
    /// [`HeadError`]
    pub fn from_text(text: &str) -> Result<Self, HeadError> {
        let at = text
            .strip_suffix('\n')
            .and_then(|text| text.rfind('\n'))
            .ok_or(HeadError::StateRoot)?;
        let (checkpoint, extension) = text.split_at_checked(at + 1).ok_or(HeadError::StateRoot)?;
        let state_root = extension
            .strip_prefix(STATE)
            .and_then(|line| {
                BASE64_STANDARD
                    .decode(line.strip_suffix('\n')?)
                    .ok()?
                    .try_into()
                    .ok()
            })
            .ok_or(HeadError::StateRoot)?;
        Ok(Self {
            checkpoint: Checkpoint::from_text(checkpoint)?,
            state_root,
        })
    }

    /// Signs it; the result is the whole note.
    ///
    /// # Errors
    /// [`HeadError::Checkpoint`] for an origin or a name that cannot stand in a note.
    pub fn sign(&self, organisation: &str, key: &SigningKey) -> Result<String, HeadError> {
        let note =
            SignedNote::sign(&self.to_text()?, organisation, key).map_err(CheckpointError::Note)?;
        Ok(note.to_string())
    }
}

/// A note that is a head, with signatures that nobody has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    note: SignedNote,
    head: Head,
}

impl SignedHead {
    /// Reads a note that is a head.
    ///
    /// # Errors
    /// [`HeadError`]
    pub fn parse(note: &str) -> Result<Self, HeadError> {
        let note = SignedNote::parse(note).map_err(CheckpointError::Note)?;
        let head = Head::from_text(note.text())?;
        Ok(Self { note, head })
    }

    /// What it claims, unverified.
    #[must_use]
    pub fn claimed(&self) -> &Head {
        &self.head
    }

    /// The ones of `keys` that signed it.
    ///
    /// # Errors
    /// [`HeadError::Checkpoint`] if a signature of one of `keys` does not verify.
    pub fn signers<'k>(&self, keys: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, HeadError> {
        Ok(self.note.signers(keys).map_err(CheckpointError::Note)?)
    }

    /// The head, if at least `needed` distinct ones of `keys` signed it.
    ///
    /// # Errors
    /// [`HeadError::Checkpoint`] if not.
    pub fn verify(&self, keys: &[NoteKey], needed: usize) -> Result<Head, HeadError> {
        self.note
            .verify(keys, needed)
            .map_err(CheckpointError::Note)?;
        Ok(self.head.clone())
    }
}

/// One note of this head with all the signatures of those notes that say it. Nobody's is verified: that is for whoever reads it. None, if no note says it.
#[must_use]
pub fn gather<'a>(head: &Head, notes: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let start = format!("{}\n", head.to_text().ok()?);
    let mut lines: Vec<&str> = Vec::new();
    for note in notes {
        let Some(signatures) = note.strip_prefix(&start) else {
            continue;
        };
        if SignedHead::parse(note).is_err() {
            continue;
        }
        for line in signatures.lines() {
            if !lines.contains(&line) && lines.len() < MAX_SIGNATURES {
                lines.push(line);
            }
        }
    }
    let note = format!("{start}{}\n", lines.join("\n"));
    (!lines.is_empty()).then_some(note)
}

/// One note with the signatures of several, which must have the same text. Each must be signed by one of `keys` at least, so
/// that nobody's note brings in signatures that would spoil the others'.
///
/// # Errors
/// [`HeadError::Different`] if they say different things; [`HeadError::Checkpoint`] if one of them is not signed, or falsely.
pub fn merge<'a>(
    notes: impl IntoIterator<Item = &'a str>,
    keys: &[NoteKey],
) -> Result<String, HeadError> {
    let mut merged = String::new();
    for note in notes {
        let parsed = SignedHead::parse(note)?;
        parsed.verify(keys, 1)?;
        let text = parsed.note.text();
        if merged.is_empty() {
            merged = note.to_owned();
        } else if let Some(signatures) = merged
            .starts_with(&format!("{text}\n"))
            .then(|| note.strip_prefix(text)?.strip_prefix('\n'))
            .flatten()
        {
            merged.push_str(signatures);
        } else {
            return Err(HeadError::Different);
        }
    }
    SignedHead::parse(&merged)?.verify(keys, 1)?;
    Ok(merged)
}
