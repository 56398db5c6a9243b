//! Whom an auditor trusts: keys of logs and of witnesses, and what they say of a checkpoint.

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint};
use certs::cosignature::WitnessKey;
use certs::log_proof::{LogProofError, verify_head};
use certs::note::NoteError;
use serde::Serialize;

use super::{note_key, witness_key};

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A key that is none.
    #[error("the key {text:?} cannot be used: {reason}")]
    Key {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        reason: NoteError,
    },
    /// No key of this log is known.
    #[error(
        "the checkpoint is of the log {origin}, and none of the keys that were given is its key"
    )]
    UnknownLog {
        /// The log's origin.
        origin: String,
    },
    /// The log did not sign it.
    #[error("{0}")]
    Proof(#[from] LogProofError),
    /// A cosignature is false.
    #[error("{0}")]
    Note(#[from] NoteError),
    /// Too few witnesses.
    #[error(
        "{found} of the witnesses whose keys were given have cosigned it, and {needed} were asked for"
    )]
    FewWitnesses {
        /// How many have.
        found: usize,
        /// How many were asked for.
        needed: usize,
    },
}

impl TrustError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "audit-key",
            Self::UnknownLog { .. } => "audit-unknown-log",
            Self::Proof(error) => error.code(),
            Self::Note(error) => error.code(),
            Self::FewWitnesses { .. } => "audit-few-witnesses",
        }
    }
}

/// A witness that has cosigned, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cosigner {
    /// Its name.
    pub witness: String,
    /// When, in seconds since the Unix epoch, by its own clock.
    pub time_s: u64,
}

/// A checkpoint that its log signed, with the witnesses that cosigned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHead {
    /// The head.
    pub head: Checkpoint,
    /// The witnesses, each once, and never the log itself.
    pub cosigners: Vec<Cosigner>,
}

/// Keys of logs and of witnesses.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    logs: Vec<NoteKey>,
    witnesses: Vec<WitnessKey>,
}

impl Trusted {
    /// Adds a key in its text form, a log's or a witness's: the type byte in it tells which.
    ///
    /// # Errors
    /// [`TrustError::Key`]
    pub fn add(&mut self, text: &str) -> Result<(), TrustError> {
        let reason = match (text.parse::<NoteKey>(), text.parse::<WitnessKey>()) {
            (Ok(key), _) => {
                self.logs.push(key);
                return Ok(());
            }
            (_, Ok(key)) => {
                self.witnesses.push(key);
                return Ok(());
            }
            (Err(reason), _) => reason,
        };
        let text = text.to_owned();
        Err(TrustError::Key { text, reason })
    }

    /// Adds a member of a cluster: its log, and its word on others' logs.
    ///
    /// # Errors
    /// [`TrustError::Key`]
    pub fn add_member(&mut self, name: &str, identity: &[u8; 32]) -> Result<(), TrustError> {
        let wrong = |reason| TrustError::Key {
            text: name.to_owned(),
            reason,
        };
        self.logs.push(note_key(name, identity).map_err(wrong)?);
        self.witnesses
            .push(witness_key(name, identity).map_err(wrong)?);
        Ok(())
    }

    /// Whether there is any key of a log.
    #[must_use]
    pub fn knows_logs(&self) -> bool {
        !self.logs.is_empty()
    }

    /// The key of the log that a checkpoint claims to be of.
    ///
    /// # Errors
    /// [`TrustError::UnknownLog`]
    pub fn log_of(&self, checkpoint: &SignedCheckpoint) -> Result<&NoteKey, TrustError> {
        let origin = &checkpoint.claimed().origin;
        let key = self.logs.iter().find(|key| key.name() == origin);
        key.ok_or_else(|| TrustError::UnknownLog {
            origin: origin.clone(),
        })
    }

    /// The head, if its log signed it and at least `needed` witnesses cosigned it.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn verify(
        &self,
        checkpoint: &SignedCheckpoint,
        needed: usize,
    ) -> Result<TrustedHead, TrustError> {
        let log = self.log_of(checkpoint)?;
        let head = verify_head(checkpoint, log)?;
        // A log is no witness of itself.
        let cosigners: Vec<Cosigner> = checkpoint
            .cosigners(&self.witnesses)?
            .into_iter()
            .filter(|cosigned| cosigned.witness.verifying_key() != log.verifying_key())
            .map(|cosigned| Cosigner {
                witness: cosigned.witness.name().to_owned(),
                time_s: cosigned.time_s,
            })
            .collect();
        if cosigners.len() < needed {
            return Err(TrustError::FewWitnesses {
                found: cosigners.len(),
                needed,
            });
        }
        Ok(TrustedHead { head, cosigners })
    }
}
