//! Signed notes (C2SP signed-note): a text for people, and Ed25519 signatures below it.
//!
//! ```text
//! text line 1
//! text line 2
//!                                                              (an empty line)
//! — name base64(key hash ‖ signature)
//! — other.example/log base64(key hash ‖ signature)
//! ```
//!
//! A signature covers the text with its last line break. A key is named by its owner and by the first four bytes of
//! SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), which only help to find it: what counts is the verification. Whoever
//! verifies brings the keys that they trust; signatures by others are passed over, but one by a trusted key that does
//! not verify means a damaged or forged note.

use core::fmt;
use core::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// The longest note that is read, in bytes.
pub const MAX_NOTE: usize = 65_536;
/// The most signatures of a note, as Go's implementation has it.
pub const MAX_SIGNATURES: usize = 100;
/// Type byte of Ed25519 keys.
const ED25519: u8 = 0x01;
/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note, a key or a set of signatures is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE`].
    #[error("the note is {length} bytes long; at most {MAX_NOTE} are accepted")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not text, an empty line, and signatures, each line ended.
    #[error("the text is not a signed note: lines of text, an empty line, lines of signatures")]
    Malformed,
    /// A line below the text that is no signature.
    #[error("signature line {line} of the note is malformed")]
    SignatureLine {
        /// Which one, from 0.
        line: usize,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A key name that is empty or has white space, control characters or a plus sign.
    #[error("a key's name must not be empty, nor contain white space, control characters or +")]
    Name,
    /// Not the text form of a key.
    #[error("a key is written NAME+HASH+BASE64, as its owner publishes it")]
    Key,
    /// The hash in a key's text form is another key's.
    #[error("the hash in the key of {name} is not that key's: the key was mistyped or altered")]
    KeyHash {
        /// The key's name.
        name: String,
    },
    /// A signature that claims to be a trusted key's and does not verify.
    #[error("the signature of {name} does not verify: the note was altered")]
    Signature {
        /// The key's name.
        name: String,
    },
    /// No signature was asked for.
    #[error("at least one signature must be asked for")]
    NothingNeeded,
    /// Too few trusted keys signed.
    #[error("{good} of the {needed} signatures needed are there")]
    NotEnough {
        /// How many distinct trusted keys signed.
        good: usize,
        /// How many are needed.
        needed: usize,
    },
}

impl NoteError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "note-too-long",
            Self::Malformed => "note-malformed",
            Self::SignatureLine { .. } => "note-signature-line",
            Self::TooManySignatures => "note-too-many-signatures",
            Self::Name => "note-key-name",
            Self::Key => "note-key",
            Self::KeyHash { .. } => "note-key-hash",
            Self::Signature { .. } => "note-signature",
            Self::NothingNeeded => "note-nothing-needed",
            Self::NotEnough { .. } => "note-not-enough-signatures",
        }
    }
}

/// A public key that signs notes, with its name. Its text form is `name+hash+base64(0x01 ‖ key)`, the hash in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: VerifyingKey,
}

impl NoteKey {
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

    /// Its owner's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 key.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key).
    #[must_use]
    pub fn hash(&self) -> [u8; 4] {
        key_hash(&self.name, ED25519, &self.key)
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, ED25519, &self.key)
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, key) = read_key(text, ED25519)?;
        Self::new(name, key)
    }
}

/// A note, parsed; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line below a note's text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    hash: [u8; 4],
    signature: Vec<u8>,
}

impl SignedNote {
    /// Signs a text, which must end with a line break.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] for a text that no note can have, [`NoteError::Name`].
    pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<Self, NoteError> {
        let mut note = Self::unsigned(text)?;
        note.add_signature(name, key)?;
        Ok(note)
    }

    /// A text that nobody has signed yet.
    pub(crate) fn unsigned(text: &str) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || !is_note_text(text) {
            return Err(NoteError::Malformed);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures: Vec::new(),
        })
    }

    /// Adds a signature of the same text, if it is not there already.
    ///
    /// # Errors
    /// [`NoteError::Name`], [`NoteError::TooManySignatures`].
    pub fn add_signature(&mut self, name: &str, key: &SigningKey) -> Result<(), NoteError> {
        check_name(name)?;
        let signature = NoteSignature {
            name: name.to_owned(),
            hash: key_hash(name, ED25519, &key.verifying_key()),
            signature: key.sign(self.text.as_bytes()).to_bytes().to_vec(),
        };
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Reads a note.
    ///
    /// # Errors
    /// Anything that is not a note: see [`NoteError`].
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLong { length: note.len() });
        }
        if !is_note_text(note) {
            return Err(NoteError::Malformed);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let mut signatures = Vec::new();
        for (line, content) in lines.split('\n').enumerate() {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(parse_signature(content).ok_or(NoteError::SignatureLine { line })?);
        }
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// The text, with its last line break. Not verified.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The trusted keys that signed: each public key once, however often it signed and under whatever names it is
    /// trusted.
    ///
    /// # Errors
    /// [`NoteError::Signature`] if a signature of one of `keys` does not verify.
    pub fn signers<'k>(&self, keys: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, NoteError> {
        let mut signers: Vec<&NoteKey> = Vec::new();
        for key in keys {
            let hash = key.hash();
            let mut signed = false;
            for line in self
                .signatures
                .iter()
                .filter(|line| line.name == key.name && line.hash == hash)
            {
                let good =
                    ed25519_dalek::Signature::from_slice(&line.signature).is_ok_and(|signature| {
                        key.key
                            .verify_strict(self.text.as_bytes(), &signature)
                            .is_ok()
                    });
                if !good {
                    return Err(NoteError::Signature {
                        name: key.name.clone(),
                    });
                }
                signed = true;
            }
            if signed && !signers.iter().any(|signer| signer.key == key.key) {
                signers.push(key);
            }
        }
        Ok(signers)
    }

    /// The bytes of the signature lines that name this key, verified by nobody.
    pub(crate) fn signatures_of<'n>(
        &'n self,
        name: &'n str,
        hash: [u8; 4],
    ) -> impl Iterator<Item = &'n [u8]> {
        let lines = self.signatures.iter();
        lines
            .filter(move |line| line.name == name && line.hash == hash)
            .map(|line| line.signature.as_slice())
    }

    /// The names of all signature lines, verified by nobody.
    pub(crate) fn claimed_signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|line| line.name.as_str())
    }

    /// Puts the signature of a key, made elsewhere, in place of those that the note has of it. The caller has verified it.
    pub(crate) fn put_signature(
        &mut self,
        name: &str,
        hash: [u8; 4],
        signature: &[u8],
    ) -> Result<(), NoteError> {
        check_name(name)?;
        self.signatures
            .retain(|line| line.name != name || line.hash != hash);
        if self.signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(NoteSignature {
            name: name.to_owned(),
            hash,
            signature: signature.to_vec(),
        });
        Ok(())
    }

    /// Leaves away every signature line but those of this key.
    pub(crate) fn keep_only(&mut self, name: &str, hash: [u8; 4]) {
        self.signatures
            .retain(|line| line.name == name && line.hash == hash);
    }

    /// The text, if at least `needed` distinct ones of `keys` signed it.
    ///
    /// # Errors
    /// [`NoteError::NotEnough`], and as [`SignedNote::signers`]. `needed` = 0 is refused.
    pub fn verify(&self, keys: &[NoteKey], needed: usize) -> Result<&str, NoteError> {
        if needed == 0 {
            return Err(NoteError::NothingNeeded);
        }
        let good = self.signers(keys)?.len();
        if good >= needed {
            Ok(&self.text)
        } else {
            Err(NoteError::NotEnough { good, needed })
        }
    }
}

/// The whole note, as [`SignedNote::parse`] reads it.
impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let mut bytes = line.hash.to_vec();
            bytes.extend(&line.signature);
            writeln!(
                f,
                "{SIGNATURE_PREFIX}{} {}",
                line.name,
                BASE64_STANDARD.encode(bytes)
            )?;
        }
        Ok(())
    }
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    check_name(name).ok()?;
    let bytes = BASE64_STANDARD.decode(encoded).ok()?;
    let (hash, signature) = bytes.split_first_chunk::<4>()?;
    (!signature.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        hash: *hash,
        signature: signature.to_vec(),
    })
}

pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let good = !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if good { Ok(()) } else { Err(NoteError::Name) }
}

/// No control characters except line breaks.
fn is_note_text(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || c >= ' ')
}

/// The first four bytes of SHA-256(name ‖ 0x0A ‖ type of signature ‖ key).
pub(crate) fn key_hash(name: &str, kind: u8, key: &VerifyingKey) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', kind])
        .chain_update(key.as_bytes())
        .finalize();
    let digest: [u8; 32] = digest.into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

/// Writes a key as its owner publishes it.
pub(crate) fn write_key(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    kind: u8,
    key: &VerifyingKey,
) -> fmt::Result {
    let mut bytes = vec![kind];
    bytes.extend(key.as_bytes());
    let hash = u32::from_be_bytes(key_hash(name, kind, key));
    write!(f, "{name}+{hash:08x}+{}", BASE64_STANDARD.encode(bytes))
}

/// Reads a key of this kind in its text form.
pub(crate) fn read_key(text: &str, kind: u8) -> Result<(&str, VerifyingKey), NoteError> {
    // The name has no plus sign; base64 may.
    let (name, rest) = text.split_once('+').ok_or(NoteError::Key)?;
    let (hash, key) = rest.split_once('+').ok_or(NoteError::Key)?;
    let bytes = BASE64_STANDARD.decode(key).map_err(|_| NoteError::Key)?;
    let bytes = match bytes.split_first() {
        Some((found, bytes)) if *found == kind => bytes,
        _ => return Err(NoteError::Key),
    };
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| NoteError::Key)?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| NoteError::Key)?;
    check_name(name)?;
    if hash == format!("{:08x}", u32::from_be_bytes(key_hash(name, kind, &key))) {
        Ok((name, key))
    } else {
        Err(NoteError::KeyHash {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of golang.org/x/mod/sumdb/note, whose format C2SP wrote down.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_verifies() {
        let key: NoteKey = GO_KEY.parse().unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        let note = SignedNote::parse(GO_NOTE).unwrap();
        assert_eq!(note.to_string(), GO_NOTE);
        assert!(note.verify(&[key], 1).unwrap().starts_with("If you think"));
    }

    #[test]
    fn a_key_published_by_another_log_parses() {
        let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key: NoteKey = text.parse().unwrap();
        assert_eq!(
            (key.name(), key.to_string().as_str()),
            ("sum.golang.org", text)
        );
        let other_hash = text.replace("033de0ae", "033de0af");
        assert_eq!(
            other_hash.parse::<NoteKey>(),
            Err(NoteError::KeyHash {
                name: "sum.golang.org".into()
            })
        );
    }
}
