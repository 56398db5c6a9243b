//! A recovery phrase split among custodians: any k of m pieces give it back, fewer say nothing of it.
//!
//! ```text
//! s random scalar, shared by Feldman's scheme with threshold k: piece i holds s_i; commitments C_0 = s·G, …, C_k−1
//! info = identity of the phrase's node ‖ k ‖ m ‖ C_0 ‖ … ‖ C_k−1
//! key = HKDF-SHA-512(salt = "cryptonode/v1/custody", ikm = s, info), 32 bytes
//! sealed = ChaCha20-Poly1305(key, nonce = 0^12, aad = info, plaintext = the phrase's 32 bytes)(48)
//! piece i = CBOR map: index, share, pieces, sealed, identity, threshold, commitments
//! words = six words of H("cryptonode/v1/custody-words", info, sealed), the same for all pieces of one split
//! ```
//!
//! The phrase is sealed under a shared key instead of being shared itself, because Feldman's commitments would otherwise be to the
//! phrase, and they go to everybody. Each custodian checks its piece alone, against the commitments that all pieces have in common:
//! then k pieces that were all found good do give s. That s opens the phrase of the node that the piece names is what whoever splits
//! makes sure of before a piece leaves ([`split`] joins what it has made), and what [`join`] checks at the end. That their pieces are of one split custodians
//! find out by telephone, without showing each other anything: by the words.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use curve25519_dalek::{RistrettoPoint, Scalar};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::Sha512;
use vsss_rs::{DefaultShare, IdentifierPrimeField, ReadableShareSet, Share, ShareVerifierGroup};
use zeroize::{Zeroize, Zeroizing};

use crate::known::{known, known_in_place};
use crate::phrase::RecoveryPhrase;
use crate::shares::share_fits;
use crate::tags;
use crate::wire_v1::{self, WireError};
use crate::words::words_of;

type Piece = DefaultShare<IdentifierPrimeField<Scalar>, IdentifierPrimeField<Scalar>>;
type Verifier = ShareVerifierGroup<RistrettoPoint>;

/// The most pieces of one phrase.
pub const MAX_PIECES: u16 = 255;
/// The longest encoding of a piece, in bytes.
const MAX_PIECE: usize = 16 << 10;

/// One custodian's piece, checked against its own commitments. Its share is wiped when it is dropped.
pub struct CustodyPiece(Fields);

// Each piece is made once, and no copy of its share: there is no Clone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    index: u16,
    #[serde(with = "serde_bytes")]
    share: [u8; 32],
    pieces: u16,
    sealed: ByteBuf,
    #[serde(with = "serde_bytes")]
    identity: [u8; 32],
    threshold: u16,
    commitments: ByteBuf,
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.share.zeroize();
    }
}

impl std::fmt::Debug for CustodyPiece {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "CustodyPiece({} of {}, redacted)",
            self.0.index, self.0.pieces
        )
    }
}

/// Why a phrase is not split, or pieces are not joined. Says nothing of what they hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// k or m is out of bounds.
    #[error(
        "a phrase is split into 2 to {MAX_PIECES} pieces of which at least 2 are needed: {threshold} of {pieces} is not possible"
    )]
    Parameters {
        /// k.
        threshold: u16,
        /// m.
        pieces: u16,
    },
    /// Not a piece.
    #[error("this is no piece of a recovery phrase: {0}")]
    Unreadable(#[from] WireError),
    /// Not hexadecimal, or points and lengths in it are wrong.
    #[error("this is no piece of a recovery phrase: it is cut short or was altered")]
    Damaged,
    /// The share does not fit the commitments.
    #[error(
        "piece {index} is not good: its share does not fit what all pieces have in common; ask for it again"
    )]
    Share {
        /// Its index.
        index: u16,
    },
    /// Pieces of two splits.
    #[error(
        "piece {index} belongs to another phrase, or to another split of it: pieces of one split belong together"
    )]
    OtherSplit {
        /// The piece that differs from the first.
        index: u16,
    },
    /// One piece twice.
    #[error("piece {index} is there twice")]
    Twice {
        /// Its index.
        index: u16,
    },
    /// Too few.
    #[error("{have} pieces are there, and {needed} are needed")]
    TooFew {
        /// How many are there.
        have: usize,
        /// k.
        needed: u16,
    },
    /// The pieces are good, and what they seal is not the phrase that they name.
    #[error(
        "the pieces fit each other, but do not open the phrase of the node that they name: whoever split it did so wrongly"
    )]
    Sealed,
}

impl CustodyError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Parameters { .. } => "custody-parameters",
            Self::Unreadable(_) | Self::Damaged => "custody-unreadable",
            Self::Share { .. } => "custody-share",
            Self::OtherSplit { .. } => "custody-other-split",
            Self::Twice { .. } => "custody-twice",
            Self::TooFew { .. } => "custody-too-few",
            Self::Sealed => "custody-sealed",
        }
    }
}

/// Splits a phrase into `pieces` pieces of which any `threshold` give it back, and makes sure of that.
///
/// # Errors
/// [`CustodyError::Parameters`].
pub fn split<R: CryptoRng>(
    phrase: &RecoveryPhrase,
    threshold: u16,
    pieces: u16,
    rng: &mut R,
) -> Result<Vec<CustodyPiece>, CustodyError> {
    let impossible = CustodyError::Parameters { threshold, pieces };
    if threshold < 2 || threshold > pieces || pieces > MAX_PIECES {
        return Err(impossible);
    }
    let secret = SecretScalar::random(rng);
    let (mut shares, verifiers) = vsss_rs::feldman::split_secret::<Piece, Verifier>(
        usize::from(threshold),
        usize::from(pieces),
        &IdentifierPrimeField(*secret.expose()),
        None,
        &mut *rng,
    )
    .map_err(|_| impossible.clone())?;
    // The first is the generator.
    let commitments: Vec<u8> = verifiers
        .iter()
        .skip(1)
        .flat_map(|commitment| commitment.0.compress().to_bytes())
        .collect();
    // What all pieces have in common is known to every custodian.
    known_in_place(commitments.as_slice());
    let mut fields = Fields {
        index: 0,
        share: [0; 32],
        pieces,
        sealed: ByteBuf::new(),
        identity: known(phrase.node_keys().identity.verifying_key().to_bytes()),
        threshold,
        commitments: ByteBuf::from(commitments),
    };
    let info = fields.info();
    let sealed = cipher(&secret, &info).encrypt(
        &Nonce::default(),
        Payload {
            msg: phrase.entropy(),
            aad: &info,
        },
    );
    fields.sealed = ByteBuf::from(sealed.map_err(|_| impossible)?);
    known_in_place(fields.sealed.as_slice());
    let made = (1..)
        .zip(&mut shares)
        .map(|(index, share)| {
            let piece = fields.piece(index, share.value().0.to_bytes());
            share.value_mut().0.zeroize();
            CustodyPiece::check(piece)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let last = made.len().saturating_sub(usize::from(threshold));
    for some in [made.get(..usize::from(threshold)), made.get(last..)] {
        join(some.unwrap_or_default())?;
    }
    Ok(made)
}

/// Gives the phrase back from at least k pieces of one split.
///
/// # Errors
/// [`CustodyError`] names the piece that does not belong to the others.
pub fn join(pieces: &[CustodyPiece]) -> Result<RecoveryPhrase, CustodyError> {
    let first = &pieces
        .first()
        .ok_or(CustodyError::TooFew { have: 0, needed: 2 })?
        .0;
    let mut seen = std::collections::BTreeSet::new();
    for CustodyPiece(piece) in pieces {
        if piece.info() != first.info() || piece.sealed != first.sealed {
            return Err(CustodyError::OtherSplit { index: piece.index });
        }
        if !seen.insert(piece.index) {
            return Err(CustodyError::Twice { index: piece.index });
        }
    }
    if pieces.len() < usize::from(first.threshold) {
        return Err(CustodyError::TooFew {
            have: pieces.len(),
            needed: first.threshold,
        });
    }
    let mut shares = pieces
        .iter()
        .take(usize::from(first.threshold))
        .map(|piece| piece.0.to_share())
        .collect::<Result<Vec<_>, _>>()?;
    let combined = shares
        .combine()
        .map(|secret| SecretScalar::from_scalar(secret.0));
    for share in &mut shares {
        share.value_mut().0.zeroize();
    }
    let secret = combined
        .ok()
        .and_then(Result::ok)
        .ok_or(CustodyError::Sealed)?;
    let info = first.info();
    let payload = Payload {
        msg: &first.sealed,
        aad: &info,
    };
    let entropy = cipher(&secret, &info).decrypt(&Nonce::default(), payload);
    let entropy = Zeroizing::new(entropy.map_err(|_| CustodyError::Sealed)?);
    let phrase = entropy
        .as_slice()
        .try_into()
        .map(RecoveryPhrase::from_entropy)
        .map_err(|_| CustodyError::Sealed)?;
    if known(phrase.node_keys().identity.verifying_key().to_bytes()) != first.identity {
        return Err(CustodyError::Sealed);
    }
    Ok(phrase)
}

fn cipher(secret: &SecretScalar, info: &[u8]) -> ChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha512>::new(Some(tags::CUSTODY.as_bytes()), secret.to_bytes().as_slice());
    #[allow(
        clippy::expect_used,
        reason = "HKDF-SHA-512 gives up to 16,320 bytes, and 32 are asked for"
    )]
    hkdf.expand(info, key.as_mut_slice()).expect("32 bytes");
    ChaCha20Poly1305::new(&Key::from(*key))
}

impl Fields {
    /// A piece with what all have in common, and this share.
    fn piece(&self, index: u16, share: [u8; 32]) -> Self {
        Self {
            index,
            share,
            pieces: self.pieces,
            sealed: self.sealed.clone(),
            identity: self.identity,
            threshold: self.threshold,
            commitments: self.commitments.clone(),
        }
    }

    fn info(&self) -> Vec<u8> {
        let (threshold, pieces) = (self.threshold.to_le_bytes(), self.pieces.to_le_bytes());
        let parts: [&[u8]; 4] = [&self.identity, &threshold, &pieces, &self.commitments];
        parts.concat()
    }

    fn to_share(&self) -> Result<Piece, CustodyError> {
        let value = reencrypt::decode_scalar(&self.share).map_err(|_| CustodyError::Damaged)?;
        Ok(Piece::with_identifier_and_value(
            IdentifierPrimeField(Scalar::from(self.index)),
            IdentifierPrimeField(value),
        ))
    }
}

impl CustodyPiece {
    /// The check that each custodian makes alone.
    fn check(fields: Fields) -> Result<Self, CustodyError> {
        let (threshold, pieces) = (fields.threshold, fields.pieces);
        if threshold < 2 || threshold > pieces || pieces > MAX_PIECES {
            return Err(CustodyError::Parameters { threshold, pieces });
        }
        let (commitments, rest) = fields.commitments.as_chunks::<32>();
        let complete = rest.is_empty()
            && commitments.len() == usize::from(threshold)
            && fields.sealed.len() == 48
            && (1..=pieces).contains(&fields.index);
        if !complete {
            return Err(CustodyError::Damaged);
        }
        let commitments = commitments
            .iter()
            .map(|commitment| Point::from_bytes(commitment).map_err(|_| CustodyError::Damaged))
            .collect::<Result<Vec<_>, _>>()?;
        let mut share = fields.to_share()?;
        let value = &share.value().0;
        let good = !known(*value == Scalar::ZERO) && share_fits(value, &commitments, fields.index);
        share.value_mut().0.zeroize();
        if !good {
            return Err(CustodyError::Share {
                index: fields.index,
            });
        }
        Ok(Self(fields))
    }

    /// Reads a piece and checks it against its commitments.
    ///
    /// # Errors
    /// [`CustodyError::Unreadable`], [`CustodyError::Damaged`] or [`CustodyError::Share`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CustodyError> {
        Self::check(wire_v1::decode(bytes, MAX_PIECE)?)
    }

    /// The piece's bytes. They are secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Large enough from the start: growing would leave copies behind.
        let mut bytes = Vec::with_capacity(512 + self.0.commitments.len());
        wire_v1::encode_into(&self.0, &mut bytes);
        Zeroizing::new(bytes)
    }

    #[cfg(feature = "constant-time")]
    pub(crate) fn share(&self) -> &[u8; 32] {
        &self.0.share
    }

    /// Its index, 1…m.
    pub fn index(&self) -> u16 {
        self.0.index
    }

    /// k: how many pieces give the phrase back.
    pub fn threshold(&self) -> u16 {
        self.0.threshold
    }

    /// m: how many pieces there are.
    pub fn pieces(&self) -> u16 {
        self.0.pieces
    }

    /// Six words that all pieces of one split have in common, and no others: custodians read them to one another. They tell nothing of the phrase.
    pub fn words(&self) -> String {
        let common: [&[u8]; 2] = [&self.0.info(), &self.0.sealed];
        words_of(&reencrypt::hash(tags::CUSTODY_WORDS, &common))
    }

    /// The identity of the node whose phrase it is, 32 bytes.
    pub fn identity(&self) -> &[u8; 32] {
        &self.0.identity
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

    fn again(piece: &CustodyPiece) -> CustodyPiece {
        CustodyPiece::from_bytes(&piece.to_bytes()).unwrap()
    }

    #[test]
    fn any_k_pieces_give_the_phrase_back_and_fewer_do_not() {
        let rng = &mut rand::rng();
        for (threshold, count) in [(2, 2), (2, 3), (3, 5), (5, 5)] {
            let phrase = RecoveryPhrase::generate(rng);
            let pieces = split(&phrase, threshold, count, rng).unwrap();
            for start in 0..=usize::from(count - threshold) {
                let chosen: Vec<_> = pieces[start..][..usize::from(threshold)]
                    .iter()
                    .rev()
                    .map(again)
                    .collect();
                assert_eq!(*join(&chosen).unwrap().words(), *phrase.words());
                assert_eq!(
                    join(&chosen[1..]).unwrap_err(),
                    CustodyError::TooFew {
                        have: chosen.len() - 1,
                        needed: threshold
                    }
                );
            }
        }
    }

    #[test]
    fn each_custodian_sees_alone_whether_its_piece_is_good() {
        let rng = &mut rand::rng();
        let pieces = split(&RecoveryPhrase::generate(rng), 2, 3, rng).unwrap();
        let bytes = pieces[1].to_bytes();
        for place in 0..bytes.len() {
            let mut altered = bytes.to_vec();
            altered[place] ^= 1;
            if let Ok(piece) = CustodyPiece::from_bytes(&altered) {
                // What a custodian cannot see alone, the others see: the share is untouched.
                assert_eq!(piece.0.share, pieces[1].0.share);
                assert!(join(&[piece, again(&pieces[0])]).is_err());
            }
            assert!(CustodyPiece::from_bytes(&bytes[..place]).is_err());
        }
        let wrong = pieces[0].0.piece(2, pieces[2].0.share);
        assert_eq!(
            CustodyPiece::check(wrong).unwrap_err(),
            CustodyError::Share { index: 2 }
        );
    }

    #[test]
    fn all_pieces_of_one_split_have_the_same_words_and_those_of_another_have_others() {
        let rng = &mut rand::rng();
        let phrase = RecoveryPhrase::generate(rng);
        let pieces = split(&phrase, 3, 5, rng).unwrap();
        let words = pieces[0].words();
        assert_eq!(words.split(' ').count(), crate::words::COMPARISON_WORDS);
        for piece in &pieces {
            assert_eq!(again(piece).words(), words);
        }
        // The same phrase again, and the same split but for what is sealed, or for how many are needed.
        assert_ne!(split(&phrase, 3, 5, rng).unwrap()[0].words(), words);
        let mut other = pieces[0].0.piece(1, pieces[0].0.share);
        other.sealed[7] ^= 1;
        assert_ne!(CustodyPiece::check(other).unwrap().words(), words);
        let mut other = pieces[0].0.piece(1, pieces[0].0.share);
        other.pieces = 6;
        assert_ne!(CustodyPiece::check(other).unwrap().words(), words);
    }

    #[test]
    fn pieces_that_do_not_belong_together_are_named() {
        let rng = &mut rand::rng();
        let phrase = RecoveryPhrase::generate(rng);
        let (first, second) = (
            split(&phrase, 2, 3, rng).unwrap(),
            split(&phrase, 2, 3, rng).unwrap(),
        );
        assert_eq!(
            join(&[again(&first[0]), again(&second[2])]).unwrap_err(),
            CustodyError::OtherSplit { index: 3 }
        );
        assert_eq!(
            join(&[again(&first[1]), again(&first[1])]).unwrap_err(),
            CustodyError::Twice { index: 2 }
        );
        assert_eq!(
            join(&[]).unwrap_err(),
            CustodyError::TooFew { have: 0, needed: 2 }
        );
        for (threshold, pieces) in [(0, 3), (1, 3), (4, 3), (2, 256)] {
            assert_eq!(
                split(&phrase, threshold, pieces, rng).unwrap_err(),
                CustodyError::Parameters { threshold, pieces }
            );
        }
        assert!(!format!("{:?}", first[0]).contains(&hex::encode(first[0].0.share)));
    }
}
