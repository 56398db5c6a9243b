//! Threshold signatures under the cluster's own key: FROST(ristretto255, SHA-512), RFC 9591.
//!
//! What is signed is one thing only, the statement of a key ([`crate::KeyCertificate`]); who signs, and when, is in
//! [`crate::signing`]. This module turns the project's types into `frost-core`'s and back, so that no other file knows of it:
//!
//! ```text
//! round one   signer i: nonces d_i, e_i, fresh and in memory only; sends D_i = d_i·G, E_i = e_i·G
//! round two   signer i, given the commitments of at least t signers: z_i = d_i + e_i·ρ_i + λ_i·x_i·c, and forgets d_i, e_i
//! aggregate   z = Σ z_i, R = Σ (D_i + ρ_i·E_i); the signature is R(32) ‖ z(32), and z·G = R + c·Y
//! ```
//!
//! A nonce that is used for two messages or two sets of commitments gives the share away. [`Nonces`] is consumed by
//! [`sign`], has no copy and no encoding, and is wiped when it is dropped.

mod ciphersuite;
#[cfg(test)]
mod vectors;

use std::collections::BTreeMap;

use ciphersuite::Ristretto255Sha512 as Suite;
pub use ciphersuite::{Ristretto255Sha512, RistrettoGroup, ScalarField};
use frost_core::keys::{KeyPackage, PublicKeyPackage as Keys, SigningShare, VerifyingShare};
use frost_core::round1::{NonceCommitment, SigningCommitments, SigningNonces};
use frost_core::round2::SignatureShare;
use frost_core::{CheaterDetection, Identifier, SigningPackage, VerifyingKey};
use rand_core::CryptoRng;
use reencrypt::{KeyShare, Point, PublicKeyPackage};
use serde::{Deserialize, Serialize};

use crate::known::known_in_place;
use crate::signing::SigningError;

/// A signer's commitments to its nonces of one signing session. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonceCommitments {
    /// The signer's index, 1…n.
    pub index: u16,
    /// D = d·G, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub hiding: [u8; 32],
    /// E = e·G, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub binding: [u8; 32],
}

/// The nonces behind [`NonceCommitments`]. Wiped when dropped.
pub(crate) struct Nonces {
    nonces: SigningNonces<Suite>,
    commitments: NonceCommitments,
}

/// frost-core's traits of randomness over this project's.
struct Adapter<'a, R>(&'a mut R);

impl<R: CryptoRng> rand_core_06::RngCore for Adapter<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl<R: CryptoRng> rand_core_06::CryptoRng for Adapter<'_, R> {}

impl Nonces {
    /// Round one. The nonces come from the share and fresh randomness together (RFC 9591, section 4.1).
    pub(crate) fn new<R: CryptoRng>(share: &KeyShare, rng: &mut R) -> Result<Self, SigningError> {
        let secret = SigningShare::<Suite>::new(*share.secret().expose());
        Self::of(
            share.index(),
            SigningNonces::new(&secret, &mut Adapter(rng)),
        )
    }

    fn of(index: u16, nonces: SigningNonces<Suite>) -> Result<Self, SigningError> {
        known_in_place(nonces.commitments());
        let encode = |commitment: &NonceCommitment<Suite>| {
            let point = Point::from_ristretto(commitment.value());
            point
                .map(|point| *point.as_bytes())
                .ok_or(SigningError::Nonces)
        };
        let commitments = NonceCommitments {
            index,
            hiding: encode(nonces.commitments().hiding())?,
            binding: encode(nonces.commitments().binding())?,
        };
        Ok(Self {
            nonces,
            commitments,
        })
    }

    pub(crate) fn commitments(&self) -> &NonceCommitments {
        &self.commitments
    }
}

fn identifier(index: u16) -> Result<Identifier<Suite>, SigningError> {
    Identifier::try_from(index).map_err(|_| SigningError::Commitments)
}

fn package(
    commitments: &[NonceCommitments],
    message: &[u8],
) -> Result<SigningPackage<Suite>, SigningError> {
    let mut decoded = BTreeMap::new();
    for signer in commitments {
        let decode = |bytes: &[u8; 32]| {
            Point::from_bytes(bytes)
                .map(|point| NonceCommitment::new(*point.as_ristretto()))
                .map_err(|_| SigningError::BadCommitments {
                    signer: signer.index,
                })
        };
        let pair = SigningCommitments::new(decode(&signer.hiding)?, decode(&signer.binding)?);
        if decoded.insert(identifier(signer.index)?, pair).is_some() {
            return Err(SigningError::Commitments);
        }
    }
    Ok(SigningPackage::new(decoded, message))
}

/// Round two: consumes the nonces. `commitments` are those of all signers of the session, this one's own among them.
pub(crate) fn sign(
    nonces: Nonces,
    commitments: &[NonceCommitments],
    message: &[u8],
    share: &KeyShare,
    key: &PublicKeyPackage,
) -> Result<[u8; 32], SigningError> {
    let package = package(commitments, message)?;
    let public_share = key
        .public_share(share.index())
        .ok_or(SigningError::NotAMember)?;
    let own = KeyPackage::new(
        identifier(share.index())?,
        SigningShare::new(*share.secret().expose()),
        VerifyingShare::new(*public_share.as_ristretto()),
        VerifyingKey::new(*key.public_key().as_ristretto()),
        key.threshold(),
    );
    let signed = frost_core::round2::sign(&package, &nonces.nonces, &own)
        .map_err(|_| SigningError::Commitments)?;
    signed
        .serialize()
        .try_into()
        .map_err(|_| SigningError::Commitments)
}

/// Adds the signers' shares up to a signature, which is verified before it is returned.
///
/// # Errors
/// [`SigningError::FalseShares`] names everybody whose share is false.
pub(crate) fn aggregate(
    commitments: &[NonceCommitments],
    shares: &BTreeMap<u16, [u8; 32]>,
    message: &[u8],
    key: &PublicKeyPackage,
) -> Result<[u8; 64], SigningError> {
    let package = package(commitments, message)?;
    let (mut decoded, mut public_shares, mut names) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (&index, share) in shares {
        let signer = identifier(index)?;
        let public_share = key.public_share(index).ok_or(SigningError::NotAMember)?;
        let share = SignatureShare::deserialize(share).map_err(|_| SigningError::FalseShares {
            signers: vec![index],
        })?;
        decoded.insert(signer, share);
        public_shares.insert(signer, VerifyingShare::new(*public_share.as_ristretto()));
        names.insert(signer, index);
    }
    let keys = Keys::new(
        public_shares,
        VerifyingKey::new(*key.public_key().as_ristretto()),
        Some(key.threshold()),
    );
    let outcome =
        frost_core::aggregate_custom(&package, &decoded, &keys, CheaterDetection::AllCheaters);
    let signature = outcome.map_err(|error| match error {
        frost_core::Error::InvalidSignatureShare { culprits } => SigningError::FalseShares {
            signers: culprits
                .iter()
                .filter_map(|one| names.get(one).copied())
                .collect(),
        },
        _ => SigningError::Commitments,
    })?;
    signature
        .serialize()
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(SigningError::Commitments)
}
