//! Cosignatures (C2SP tlog-cosignature, `cosignature/v1`): a witness says that at this time the newest head which it has seen
//! of a log is this one, and that it continues all earlier ones that it saw.
//!
//! ```text
//! cosignature/v1                                          what is signed, with Ed25519:
//! time 1679315147                                         seconds since the Unix epoch
//! example.com/behind-the-sofa                             and the checkpoint's text
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! ```
//!
//! It stands as a signature line at the checkpoint's note: key hash(4) ‖ time(8, big-endian) ‖ signature(64). The key hash is
//! computed with the type byte 04, so that a key's cosignatures and its signatures of notes are told apart. The header
//! keeps them apart for good: no origin of a log is `cosignature/v1`.

use core::fmt;
use core::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::note::{NoteError, SignedNote, check_name, key_hash, read_key, write_key};

/// Type byte of keys that cosign with Ed25519.
const COSIGNATURE: u8 = 0x04;
/// Time and signature.
const LENGTH: usize = 8 + 64;
/// The latest time that the format allows.
const MAX_TIME: u64 = i64::MAX as u64;

/// A witness's public key with its name. Its text form is `name+hash+base64(0x04 ‖ key)`, the hash in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: VerifyingKey,
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned<'k> {
    /// Whose.
    pub witness: &'k WitnessKey,
    /// When, in seconds since the Unix epoch, by the witness's clock.
    pub time_s: u64,
}

/// The signature lines of a witness's answer (tlog-witness), verified by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureLine(String);

impl WitnessKey {
    /// Names a key.
    ///
    /// # Errors
    /// [`NoteError::Name`]; [`NoteError::Key`] for a point of small order.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        check_name(name)?;
        if key.is_weak() {
            return Err(NoteError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 key.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key).
    #[must_use]
    pub fn hash(&self) -> [u8; 4] {
        key_hash(&self.name, COSIGNATURE, &self.key)
    }

    /// The time of a cosignature of this key over `text`, if it verifies.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time_s = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        let good = time_s <= MAX_TIME
            && self
                .key
                .verify_strict(message(text, time_s).as_bytes(), &signature)
                .is_ok();
        good.then_some(time_s)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, COSIGNATURE, &self.key)
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = read_key(text, COSIGNATURE)?;
        Self::new(name, key)
    }
}

/// What is signed.
fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// Cosigns a checkpoint as the witness `name`: one signature line. The caller has found it to continue what it saw before, and has
/// made that durable.
///
/// # Errors
/// A checkpoint or a name that cannot stand in a note.
pub fn cosign(
    checkpoint: &Checkpoint,
    name: &str,
    key: &SigningKey,
    time_s: u64,
) -> Result<CosignatureLine, CheckpointError> {
    let text = checkpoint.to_text()?;
    let time_s = time_s.min(MAX_TIME);
    let mut bytes = time_s.to_be_bytes().to_vec();
    bytes.extend(key.sign(message(&text, time_s).as_bytes()).to_bytes());
    let mut note = SignedNote::unsigned(&text)?;
    let hash = key_hash(name, COSIGNATURE, &key.verifying_key());
    note.put_signature(name, hash, &bytes)?;
    let note = note.to_string();
    // What the note has behind its text and the empty line.
    let line = note.get(text.len() + 1..).unwrap_or_default();
    Ok(CosignatureLine(line.to_owned()))
}

impl CosignatureLine {
    /// What a witness answered.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// As it stands in a note, with its line break.
impl fmt::Display for CosignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SignedCheckpoint {
    /// The cosignatures of `keys`, each public key once, with the latest time.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if a cosignature of one of `keys` does not verify.
    pub fn cosigners<'k>(&self, keys: &'k [WitnessKey]) -> Result<Vec<Cosigned<'k>>, NoteError> {
        let mut found: Vec<Cosigned<'k>> = Vec::new();
        for witness in keys {
            for signature in self.note.signatures_of(&witness.name, witness.hash()) {
                let time_s = witness.verify(self.note.text(), signature);
                let time_s = time_s.ok_or_else(|| NoteError::Signature {
                    name: witness.name.clone(),
                })?;
                match found
                    .iter_mut()
                    .find(|known| known.witness.key == witness.key)
                {
                    Some(known) => known.time_s = known.time_s.max(time_s),
                    None => found.push(Cosigned { witness, time_s }),
                }
            }
        }
        Ok(found)
    }

    /// Adds what a witness answered, if it is a cosignature of `witness` over this very checkpoint; others' lines in the
    /// answer are passed over. Gives its time.
    ///
    /// # Errors
    /// [`NoteError::NotEnough`] if there is none of this witness, [`NoteError::Signature`] if it does not verify, and what
    /// makes a note's signature lines malformed.
    pub fn add_cosignature(
        &mut self,
        answer: &CosignatureLine,
        witness: &WitnessKey,
    ) -> Result<u64, NoteError> {
        let answered = SignedNote::parse(&format!("{}\n{}", self.note.text(), answer.0))?;
        // A line with an empty line in it would make another text of it.
        if answered.text() != self.note.text() {
            return Err(NoteError::Malformed);
        }
        let hash = witness.hash();
        let bytes: [u8; LENGTH] = answered
            .signatures_of(&witness.name, hash)
            .next()
            .ok_or(NoteError::NotEnough { good: 0, needed: 1 })?
            .try_into()
            .map_err(|_| NoteError::Signature {
                name: witness.name.clone(),
            })?;
        let time_s = witness.verify(self.note.text(), &bytes);
        let time_s = time_s.ok_or_else(|| NoteError::Signature {
            name: witness.name.clone(),
        })?;
        self.note.put_signature(&witness.name, hash, &bytes)?;
        Ok(time_s)
    }
}
