//! The recovery phrase: 24 words from which a node's long-term keys come.
//!
//! A node is made from 32 random bytes, written down as 24 English words (BIP-39) and kept offline. Two keys are
//! derived from those bytes by HKDF-SHA-512 (RFC 5869) with the salt `cryptonode/v1/recovery-phrase`:
//!
//! | key | HKDF info | output |
//! |---|---|---|
//! | identity (Ed25519) | `cryptonode/v1/identity` | 32 bytes, the seed of RFC 8032 |
//! | recovery scalar ρ | `cryptonode/v1/recovery-key` | 64 bytes, little-endian, reduced mod ℓ |
//!
//! The input of HKDF is the phrase's entropy itself (32 bytes), not the stretched seed of BIP-39: the entropy is
//! already uniform, and the derivation is then independent of Unicode and of passphrase conventions.
//!
//! The identity's seed lives on the node, sealed. ρ never does: whoever has it opens every share that was ever sealed
//! to this node ([`crate::CertifiedKey::recover_share`]), so it is derived only while the phrase is at hand.

use curve25519_dalek::Scalar;
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::tags;

/// Words in a recovery phrase.
pub const PHRASE_WORDS: usize = 24;

/// A node's recovery phrase: 256 bits of entropy, zeroized when dropped.
pub struct RecoveryPhrase {
    entropy: Zeroizing<[u8; 32]>,
}

/// The long-term keys of a node that stay on it.
pub struct NodeKeys {
    /// Signs the node's ceremony messages and its TLS certificate. Zeroized when dropped.
    pub identity: SigningKey,
    /// R = ρ·G, to which the node's shares are sealed.
    pub recovery_public: Point,
}

/// Why words are not a recovery phrase. Says nothing of the words themselves beyond a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not 24 words.
    #[error(
        "a recovery phrase has 24 words, this has {0}: write all of them, in order, separated by spaces"
    )]
    WordCount(usize),
    /// A word that is not in BIP-39's English list. Positions count from 1.
    #[error("word {0} of the recovery phrase is not in the list of BIP-39: check its spelling")]
    UnknownWord(usize),
    /// All words are known, the checksum is not theirs.
    #[error(
        "the words of the recovery phrase do not belong together: check for a wrong or a swapped word"
    )]
    Checksum,
}

impl PhraseError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WordCount(_) => "phrase-word-count",
            Self::UnknownWord(_) => "phrase-unknown-word",
            Self::Checksum => "phrase-checksum",
        }
    }
}

impl RecoveryPhrase {
    /// A new phrase from `rng`.
    pub fn generate<R: CryptoRng>(rng: &mut R) -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        rng.fill_bytes(entropy.as_mut_slice());
        Self { entropy }
    }

    pub(crate) fn entropy(&self) -> &[u8] {
        self.entropy.as_slice()
    }

    pub(crate) fn from_entropy(entropy: [u8; 32]) -> Self {
        Self {
            entropy: Zeroizing::new(entropy),
        }
    }

    /// Reads 24 English words; case and the amount of white space do not matter.
    pub fn parse(words: &str) -> Result<Self, PhraseError> {
        let count = words.split_whitespace().count();
        if count != PHRASE_WORDS {
            return Err(PhraseError::WordCount(count));
        }
        // One allocation, large enough, so that no copy of the words is left behind by growing.
        let mut normalized = Zeroizing::new(String::with_capacity(words.len()));
        for word in words.split_whitespace() {
            if !normalized.is_empty() {
                normalized.push(' ');
            }
            normalized.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
        }
        let mut mnemonic =
            bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &normalized).map_err(
                |error| match error {
                    bip39::Error::UnknownWord(position) => {
                        PhraseError::UnknownWord(position.saturating_add(1))
                    }
                    bip39::Error::BadWordCount(count) => PhraseError::WordCount(count),
                    _ => PhraseError::Checksum,
                },
            )?;
        let (mut bytes, length) = mnemonic.to_entropy_array();
        let mut entropy = Zeroizing::new([0; 32]);
        let filled = bytes.get(..length).filter(|part| part.len() == 32);
        let outcome = match filled {
            Some(part) => {
                entropy.copy_from_slice(part);
                Ok(Self { entropy })
            }
            None => Err(PhraseError::Checksum),
        };
        bytes.zeroize();
        mnemonic.zeroize();
        outcome
    }

    /// The 24 words, lower case, separated by single spaces.
    pub fn words(&self) -> Zeroizing<String> {
        // 24 words of at most 8 letters.
        let mut words = Zeroizing::new(String::with_capacity(PHRASE_WORDS * 9));
        if let Ok(mut mnemonic) = bip39::Mnemonic::from_entropy(self.entropy.as_slice()) {
            for word in mnemonic.words() {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(word);
            }
            mnemonic.zeroize();
        }
        words
    }

    /// The keys that stay on the node.
    pub fn node_keys(&self) -> NodeKeys {
        let mut seed = Zeroizing::new([0; 32]);
        self.derive(tags::PHRASE_IDENTITY, seed.as_mut_slice());
        NodeKeys {
            identity: SigningKey::from_bytes(&seed),
            recovery_public: self.recovery_secret().public(),
        }
    }

    /// ρ: opens every share ever sealed to this node. Only for a recovery, with the phrase at hand.
    pub fn recovery_secret(&self) -> SecretScalar {
        let mut wide = Zeroizing::new([0; 64]);
        self.derive(tags::PHRASE_RECOVERY, wide.as_mut_slice());
        let mut scalar = Scalar::from_bytes_mod_order_wide(&wide);
        let secret = SecretScalar::from_scalar(scalar);
        scalar.zeroize();
        #[allow(
            clippy::expect_used,
            reason = "a SHA-512 output that is 0 mod ℓ is found by nobody"
        )]
        secret.expect("not zero")
    }

    fn derive(&self, info: &str, output: &mut [u8]) {
        let hkdf = Hkdf::<Sha512>::new(Some(tags::PHRASE.as_bytes()), self.entropy.as_slice());
        #[allow(
            clippy::expect_used,
            reason = "HKDF-SHA-512 gives up to 16,320 bytes, and 64 are asked for at most"
        )]
        hkdf.expand(info.as_bytes(), output)
            .expect("at most 64 bytes");
    }
}

impl std::fmt::Debug for RecoveryPhrase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RecoveryPhrase(redacted)")
    }
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NodeKeys")
            .field("recovery_public", &self.recovery_public)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    #[test]
    fn words_and_back_give_the_same_keys() {
        let phrase = RecoveryPhrase::generate(&mut rand::rng());
        let words = phrase.words();
        assert_eq!(words.split(' ').count(), PHRASE_WORDS);
        let again = RecoveryPhrase::parse(&format!("  {}\n", words.to_uppercase())).unwrap();
        assert_eq!(
            again.node_keys().identity.to_bytes(),
            phrase.node_keys().identity.to_bytes()
        );
        assert_eq!(
            again.node_keys().recovery_public,
            phrase.recovery_secret().public()
        );
        assert_ne!(
            again.node_keys().identity.to_bytes(),
            *phrase.recovery_secret().to_bytes()
        );
    }

    #[test]
    fn a_known_phrase_gives_known_keys() {
        // BIP-39's vector for 32 zero bytes. The keys were computed apart, with Python's hashlib and hmac.
        let words = format!("{}art", "abandon ".repeat(23));
        let phrase = RecoveryPhrase::parse(&words).unwrap();
        assert_eq!(phrase.entropy.as_slice(), [0; 32]);
        assert_eq!(
            hex::encode(phrase.node_keys().identity.to_bytes()),
            "8713b5d63d0f823eaa011706ee2d7e2fbe430485dd681fc91de68d297749a3af"
        );
        assert_eq!(
            hex::encode(*phrase.recovery_secret().to_bytes()),
            "a540e790e122310c77710e9bb00d462dd2bd1a78e967f0d8ae3dd1abf50df90c"
        );
    }

    #[test]
    fn wrong_words_are_told_apart() {
        let words = format!("{}art", "abandon ".repeat(23));
        assert_eq!(
            RecoveryPhrase::parse("abandon art").unwrap_err(),
            PhraseError::WordCount(2)
        );
        assert_eq!(
            RecoveryPhrase::parse(&words.replacen("abandon", "cryptonode", 1)).unwrap_err(),
            PhraseError::UnknownWord(1)
        );
        assert_eq!(
            RecoveryPhrase::parse(&"abandon ".repeat(24)).unwrap_err(),
            PhraseError::Checksum
        );
        assert_eq!(
            RecoveryPhrase::parse(&"zoo ".repeat(100)).unwrap_err(),
            PhraseError::WordCount(100)
        );
    }
}
