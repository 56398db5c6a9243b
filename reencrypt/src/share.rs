//! A node's share of a re-encryption (section 5).
//!
//! Node i, once it has accepted the request and verified both of its proofs:
//!
//! ```text
//! B = U + X                    (the identity is refused)
//! D_i = x_i·B
//! proof = equality proof, purpose "share", ctx (Y, LE64(epoch), LE16(i), write_id, X), bases (G, B), points (Y_i, D_i)
//! encoding: LE16(i) ‖ LE64(epoch) ‖ D_i ‖ proof(96)
//! ```
//!
//! The proof's context names key, epoch, index and request: a share can neither be passed off as another member's nor
//! used in another epoch or for another read.

use std::fmt;
use std::ops::Deref;

use rand_core::CryptoRng;

use crate::ephemeral_key::VerifiedEphemeralKey;
use crate::equality::{Batch, EqualityProof, Statement};
use crate::error::{KeyShareError, ProofError, RequestError, ShareError};
use crate::group::{self, Point};
use crate::public_key_package::PublicKeyPackage;
use crate::request::Exchange;
use crate::secret::SecretScalar;
use crate::wrapped_key::VerifiedWrappedKey;

/// A node's secret share `x_i` of the cluster key. Wiped when dropped.
pub struct KeyShare {
    index: u16,
    epoch: u64,
    public_key: Point,
    public_share: Point,
    secret: SecretScalar,
}

impl KeyShare {
    /// The share of member `index` (from 1) of the key `public_key` in `epoch`.
    ///
    /// # Errors
    /// [`KeyShareError::IndexZero`].
    pub fn new(
        index: u16,
        epoch: u64,
        public_key: Point,
        secret: SecretScalar,
    ) -> Result<Self, KeyShareError> {
        if index == 0 {
            return Err(KeyShareError::IndexZero);
        }
        Ok(KeyShare {
            index,
            epoch,
            public_key,
            public_share: secret.public(),
            secret,
        })
    }

    /// Checks that this is the share which the package says that this member has: before it is used, and at every
    /// start.
    ///
    /// # Errors
    /// [`KeyShareError`] says what does not fit.
    pub fn check(&self, package: &PublicKeyPackage) -> Result<(), KeyShareError> {
        if self.public_key != package.public_key() {
            return Err(KeyShareError::OtherKey);
        }
        if self.epoch != package.epoch() {
            return Err(KeyShareError::OtherEpoch {
                share: self.epoch,
                package: package.epoch(),
            });
        }
        let (index, members) = (self.index, package.members());
        let public_share = package
            .public_share(index)
            .ok_or(KeyShareError::NotAMember { index, members })?;
        if self.public_share != public_share {
            return Err(KeyShareError::OtherPublicShare { index });
        }
        Ok(())
    }

    /// i, from 1.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The epoch of the sharing.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// `Y`.
    #[must_use]
    pub fn public_key(&self) -> Point {
        self.public_key
    }

    /// `Y_i = x_i·G`.
    #[must_use]
    pub fn public_share(&self) -> Point {
        self.public_share
    }

    /// `x_i`, to be sealed and stored.
    #[must_use]
    pub fn secret(&self) -> &SecretScalar {
        &self.secret
    }

    /// This node's share of a re-encryption, in constant time with respect to `x_i`. Whether the request is approved,
    /// the caller has found out before.
    ///
    /// # Errors
    /// [`RequestError`], if the wrapped key is of another cluster key, the ephemeral key was made for another wrapped
    /// key, or `U + X` is the identity.
    pub fn reencrypt<R>(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        rng: &mut R,
    ) -> Result<Share, RequestError>
    where
        R: CryptoRng + ?Sized,
    {
        Ok(self.multiply(wrapped, ephemeral)?.prove(rng))
    }

    /// The first half of [`KeyShare::reencrypt`]: `D_i` without its proof, for who measures the two apart.
    ///
    /// # Errors
    /// As [`KeyShare::reencrypt`].
    pub fn multiply(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
    ) -> Result<UnprovenShare<'_>, RequestError> {
        Ok(self.begin(wrapped, ephemeral)?.multiply())
    }

    /// [`KeyShare::multiply`] up to where nothing can go wrong any more, and nothing secret was touched.
    ///
    /// # Errors
    /// As [`KeyShare::reencrypt`].
    pub fn begin(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
    ) -> Result<PendingShare<'_>, RequestError> {
        let exchange = Exchange::new(wrapped, ephemeral)?;
        exchange.check_key(&self.public_key)?;
        Ok(PendingShare {
            key: self,
            exchange,
        })
    }
}

/// A share that can be computed: `B = U + X` is there, and is not the identity.
pub struct PendingShare<'a> {
    key: &'a KeyShare,
    exchange: Exchange,
}

impl<'a> PendingShare<'a> {
    /// `D_i = x_i·B`, in constant time with respect to `x_i`.
    #[must_use]
    pub fn multiply(self) -> UnprovenShare<'a> {
        let Self { key, exchange } = self;
        UnprovenShare {
            d: group::multiply_point(&key.secret, exchange.base()),
            key,
            exchange,
        }
    }
}

impl fmt::Debug for PendingShare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingShare")
            .field("index", &self.key.index)
            .field("epoch", &self.key.epoch)
            .finish_non_exhaustive()
    }
}

/// `D_i`, of which nobody need believe anything yet: only [`UnprovenShare::prove`] makes of it what may be sent.
pub struct UnprovenShare<'a> {
    key: &'a KeyShare,
    exchange: Exchange,
    d: Point,
}

impl UnprovenShare<'_> {
    /// The second half of [`KeyShare::reencrypt`]: the proof that `D_i` is what it should be.
    #[must_use]
    pub fn prove<R: CryptoRng + ?Sized>(self, rng: &mut R) -> Share {
        self.prove_with_nonce(|statement, secret| statement.nonce(secret, rng))
    }

    /// The share itself. The nonce must be secret and never used again.
    pub(crate) fn prove_with_nonce(
        self,
        nonce: impl FnOnce(&Statement<'_>, &SecretScalar) -> SecretScalar,
    ) -> Share {
        let Self { key, exchange, d } = self;
        let (epoch, index) = (key.epoch, key.index);
        let proof = exchange.with_share_statement(epoch, index, key.public_share, d, |statement| {
            let nonce = nonce(statement, &key.secret);
            EqualityProof::prove_with_nonce(statement, &key.secret, &nonce)
        });
        Share {
            index,
            epoch,
            d,
            proof: proof.to_bytes(),
        }
    }
}

impl fmt::Debug for UnprovenShare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnprovenShare")
            .field("index", &self.key.index)
            .field("epoch", &self.key.epoch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyShare")
            .field("index", &self.index)
            .field("epoch", &self.epoch)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// A node's answer, parsed and not verified: 138 bytes.
///
/// The commitments of its proof stay undecoded until the proof is verified: who combines first and verifies afterwards
/// mostly never needs them, and decoding them would cost twice as much as decoding `D`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Share {
    index: u16,
    epoch: u64,
    d: Point,
    proof: [u8; EqualityProof::LENGTH],
}

impl Share {
    /// The length of an encoded share.
    pub const LENGTH: usize = 2 + 8 + Point::LENGTH + EqualityProof::LENGTH;

    /// Parses a share.
    ///
    /// # Errors
    /// [`ShareError`], if these are not the bytes of one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ShareError> {
        let wrong_length = ShareError::Length { got: bytes.len() };
        let encoding: &[u8; Self::LENGTH] = bytes.try_into().map_err(|_| wrong_length)?;
        let (index, rest) = encoding.split_first_chunk().ok_or(wrong_length)?;
        let (epoch, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let (d, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let proof = rest.first_chunk().ok_or(wrong_length)?;
        let index = u16::from_le_bytes(*index);
        if index == 0 {
            return Err(ShareError::IndexZero);
        }
        EqualityProof::check_response(proof).map_err(ShareError::Proof)?;
        Ok(Share {
            index,
            epoch: u64::from_le_bytes(*epoch),
            d: Point::from_bytes(d).map_err(ShareError::D)?,
            proof: *proof,
        })
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (index, rest) = bytes.split_at_mut(2);
        let (epoch, rest) = rest.split_at_mut(8);
        let (d, proof) = rest.split_at_mut(Point::LENGTH);
        index.copy_from_slice(&self.index.to_le_bytes());
        epoch.copy_from_slice(&self.epoch.to_le_bytes());
        d.copy_from_slice(self.d.as_bytes());
        proof.copy_from_slice(&self.proof);
        bytes
    }

    /// The index of the member that it claims to come from, from 1.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The epoch that it claims to be of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn d(&self) -> &Point {
        &self.d
    }

    /// Verifies that the member it names computed it for this very request.
    ///
    /// # Errors
    /// [`ShareError`] says what is wrong with it.
    pub fn verify(
        &self,
        package: &PublicKeyPackage,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
    ) -> Result<VerifiedShare, ShareError> {
        let exchange = Exchange::new(wrapped, ephemeral)?;
        exchange.check_key(&package.public_key())?;
        self.verify_for(package, &exchange)
    }

    /// [`Share::verify`], for an exchange that was checked against the package.
    pub(crate) fn verify_for(
        &self,
        package: &PublicKeyPackage,
        exchange: &Exchange,
    ) -> Result<VerifiedShare, ShareError> {
        self.with_statement(package, exchange, |statement| {
            EqualityProof::verify_encoded_vartime(&self.proof, statement)
        })?
        .map_err(ShareError::Proof)?;
        Ok(VerifiedShare(*self))
    }

    /// That it comes from a member, in the epoch of the package. Returns that member's public share.
    pub(crate) fn check_membership(&self, package: &PublicKeyPackage) -> Result<Point, ShareError> {
        if self.epoch != package.epoch() {
            return Err(ShareError::OtherEpoch {
                expected: package.epoch(),
                got: self.epoch,
            });
        }
        package
            .public_share(self.index)
            .ok_or(ShareError::NotAMember {
                index: self.index,
                members: package.members(),
            })
    }

    /// Hands out what the share's proof has to prove.
    fn with_statement<T>(
        &self,
        package: &PublicKeyPackage,
        exchange: &Exchange,
        use_statement: impl FnOnce(&Statement<'_>) -> T,
    ) -> Result<T, ShareError> {
        let public_share = self.check_membership(package)?;
        let (epoch, index) = (self.epoch, self.index);
        Ok(exchange.with_share_statement(epoch, index, public_share, self.d, use_statement))
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("index", &self.index)
            .field("epoch", &self.epoch)
            .field("d", &self.d)
            .finish_non_exhaustive()
    }
}

/// A share whose proof holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedShare(Share);

impl Deref for VerifiedShare {
    type Target = Share;

    fn deref(&self) -> &Share {
        &self.0
    }
}

/// Verifies the shares of one request together, for who collects them without opening anything.
///
/// # Errors
/// Every share that is refused, by its place in `shares` and with the reason; the others are good.
pub fn verify_shares<R>(
    shares: &[Share],
    package: &PublicKeyPackage,
    wrapped: &VerifiedWrappedKey,
    ephemeral: &VerifiedEphemeralKey,
    rng: &mut R,
) -> Result<Vec<VerifiedShare>, Vec<(usize, ShareError)>>
where
    R: CryptoRng + ?Sized,
{
    let exchange = Exchange::new(wrapped, ephemeral)
        .and_then(|exchange| {
            exchange.check_key(&package.public_key())?;
            Ok(exchange)
        })
        .map_err(|error| {
            (0..shares.len())
                .map(|place| (place, error.into()))
                .collect::<Vec<_>>()
        })?;

    let mut refused = Vec::new();
    let mut batch = Batch::new();
    let mut places = Vec::with_capacity(shares.len());
    for (place, share) in shares.iter().enumerate() {
        let pushed = share.with_statement(package, &exchange, |statement| {
            let proof = EqualityProof::from_bytes(&share.proof).map_err(ShareError::Proof)?;
            batch.push(statement, &proof);
            Ok(())
        });
        match pushed.flatten() {
            Ok(()) => places.push(place),
            Err(error) => refused.push((place, error)),
        }
    }
    if let Err(culprits) = batch.verify_vartime(rng) {
        let named = culprits
            .indices()
            .iter()
            .filter_map(|&number| places.get(number));
        refused.extend(named.map(|&place| (place, ShareError::Proof(ProofError::False))));
        refused.sort_by_key(|(place, _)| *place);
    }
    if refused.is_empty() {
        Ok(shares.iter().copied().map(VerifiedShare).collect())
    } else {
        Err(refused)
    }
}
