//! Checkpoints of logs (C2SP tlog-checkpoint): who, how many leaves, which root, as a signed note.
//!
//! ```text
//! record.example/hospital-a
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — record.example/hospital-a Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! One line each: origin (the log's unique name), size in decimal, root in base64. The format allows more lines below; our
//! logs write none, and a reader here refuses them, so that a checkpoint has one encoding. Other parties add their
//! signatures to the same text. Whoever keeps the last checkpoint they saw can ask for a consistency proof
//! ([`crate::merkle`]) to the next one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::SigningKey;

use crate::merkle::Hash;
use crate::note::SignedNote;
pub use crate::note::{NoteError, NoteKey};

/// The longest origin, in bytes.
pub const MAX_ORIGIN: usize = 256;

/// The state of a log: the first `size` leaves and their root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's unique name: one line, not empty, at most [`MAX_ORIGIN`] bytes. By custom a URL without scheme.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// Root of the Merkle tree over them (RFC 9162).
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or not signed by those who should.
    #[error("{0}")]
    Note(#[from] NoteError),
    /// An origin that is empty, too long, or has control characters.
    #[error("the checkpoint's origin must be one line of 1 to {MAX_ORIGIN} bytes")]
    Origin,
    /// A size that is no decimal number of 64 bits without leading zeros.
    #[error("the checkpoint's second line is not a size in decimal")]
    Size,
    /// A root that is not 32 bytes in base64.
    #[error("the checkpoint's third line is not a root of 32 bytes in base64")]
    Root,
    /// More or fewer than three lines.
    #[error("the checkpoint does not consist of origin, size and root")]
    Lines,
}

impl CheckpointError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Note(error) => error.code(),
            Self::Origin => "checkpoint-origin",
            Self::Size => "checkpoint-size",
            Self::Root => "checkpoint-root",
            Self::Lines => "checkpoint-lines",
        }
    }
}

impl Checkpoint {
    /// The text that is signed.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`]
    pub fn to_text(&self) -> Result<String, CheckpointError> {
        check_origin(&self.origin)?;
        Ok(format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64_STANDARD.encode(self.root)
        ))
    }

    /// Reads the text that is signed.
    ///
    /// # Errors
    /// [`CheckpointError`] for any text but the one that [`Checkpoint::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text
            .strip_suffix('\n')
            .ok_or(CheckpointError::Lines)?
            .split('\n')
            .collect();
        let [origin, size, root] = lines.as_slice() else {
            return Err(CheckpointError::Lines);
        };
        check_origin(origin)?;
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        if number.to_string() != *size {
            return Err(CheckpointError::Size);
        }
        let root = BASE64_STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CheckpointError::Root)?;
        Ok(Self {
            origin: (*origin).to_owned(),
            size: number,
            root,
        })
    }
}

/// Signs a checkpoint; the result is the whole note. `name` is the signing key's: for a log's own key, its origin.
///
/// # Errors
/// An origin or a name that cannot stand in a note.
pub fn sign(
    checkpoint: &Checkpoint,
    name: &str,
    key: &SigningKey,
) -> Result<String, CheckpointError> {
    Ok(SignedNote::sign(&checkpoint.to_text()?, name, key)?.to_string())
}

/// Adds a signature to the note of a checkpoint. The caller has verified what it signs.
///
/// # Errors
/// A note that is not a checkpoint's, or a name that cannot stand in a note; the note is left as it was.
pub fn add_signature(
    note: &mut String,
    name: &str,
    key: &SigningKey,
) -> Result<(), CheckpointError> {
    let mut signed = SignedCheckpoint::parse(note)?;
    signed.note.add_signature(name, key)?;
    *note = signed.note.to_string();
    Ok(())
}

/// A checkpoint with signatures that nobody has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub(crate) note: SignedNote,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads a note that is a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`]
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Checkpoint::from_text(note.text())?;
        Ok(Self { note, checkpoint })
    }

    /// What it claims, unverified: to find out whose keys to ask for.
    #[must_use]
    pub fn claimed(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint, if at least `needed` distinct ones of `keys` signed it. Whether its origin is the log's that was
    /// asked for is for the caller to compare.
    ///
    /// # Errors
    /// [`NoteError`] in [`CheckpointError::Note`]
    pub fn verify(&self, keys: &[NoteKey], needed: usize) -> Result<Checkpoint, CheckpointError> {
        self.note.verify(keys, needed)?;
        Ok(self.checkpoint.clone())
    }

    /// Leaves away every signature but that of `key`: what is kept of a note that strangers may have written into.
    pub fn keep_only(&mut self, key: &NoteKey) {
        self.note.keep_only(key.name(), key.hash());
    }

    /// The names that stand at the signatures, verified by nobody.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &str> {
        self.note.claimed_signers()
    }

    /// The ones of `keys` that signed, each public key once.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if a signature of one of `keys` does not verify.
    pub fn signers<'k>(&self, keys: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, CheckpointError> {
        Ok(self.note.signers(keys)?)
    }
}

/// The whole note.
impl core::fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.note.fmt(f)
    }
}

fn check_origin(origin: &str) -> Result<(), CheckpointError> {
    let good =
        !origin.is_empty() && origin.len() <= MAX_ORIGIN && !origin.chars().any(char::is_control);
    if good {
        Ok(())
    } else {
        Err(CheckpointError::Origin)
    }
}
