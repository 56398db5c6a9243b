//! The wrapped key (section 3): a data key encrypted under the cluster's public key `Y`, with a label.
//!
//! ```text
//! r = Hs("cryptonode/v1/wrap-nonce", 64 random bytes, Y, label, secret), not 0
//! U = r·G;  Ū = r·Ḡ;  S = r·Y
//! body: see the module `body`
//! proof = equality proof, purpose "wrapped-key", ctx (Y, label, body), bases (G, Ḡ), points (U, Ū)
//! encoding: 0x01 ‖ Y ‖ U ‖ Ū ‖ proof(96) ‖ LE16(|label|) ‖ label ‖ LE16(|body|) ‖ body
//! ```
//!
//! Without the proof a stranger could shift somebody's `U` by a known multiple of `G` into a wrapped key of his own and
//! have the cluster open it. The proof hashes label and body, so that a wrapped key cannot be altered at all; that it
//! is not passed off unaltered as something else is what the label is for, and whoever keeps a record checks it.
//!
//! A [`WrappedKey`] has been parsed: it has exactly one encoding. A [`VerifiedWrappedKey`] has also had its proof
//! verified, or was made here, and is what everything else takes.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::body;
use crate::equality::{Batch, EqualityProof, Statement};
use crate::error::{ProofError, WrapError, WrappedKeyError};
use crate::group::{self, Hex, Point};
use crate::hash::Hasher;
use crate::secret::SecretScalar;
use crate::tags;

/// The longest label, in bytes.
pub const MAX_LABEL: usize = 1_024;
/// The shortest secret that can be wrapped, in bytes.
pub const MIN_SECRET: usize = 16;
/// The longest secret that can be wrapped, in bytes.
pub const MAX_SECRET: usize = 1_024;
/// The longest encoding of a wrapped key, in bytes.
pub const MAX_WRAPPED_KEY: usize = HEADER + 2 + MAX_LABEL + 2 + MAX_BODY;

const VERSION: u8 = 1;
/// Version, `Y`, `U`, `Ū`, proof.
const HEADER: usize = 1 + 3 * Point::LENGTH + EqualityProof::LENGTH;
const MIN_BODY: usize = body::COMMITMENT_LENGTH + MIN_SECRET + body::TAG_LENGTH;
const MAX_BODY: usize = body::COMMITMENT_LENGTH + MAX_SECRET + body::TAG_LENGTH;

/// A wrapped key that was parsed and whose proof nobody has verified yet. Cheap to clone.
#[derive(Clone)]
pub struct WrappedKey {
    bytes: Arc<[u8]>,
    write_id: [u8; 32],
    public_key: Point,
    u: Point,
    shadow_u: Point,
    proof: EqualityProof,
    label: Range<usize>,
    body: Range<usize>,
}

impl WrappedKey {
    /// Parses a wrapped key. Lengths are checked before anything is decoded.
    ///
    /// # Errors
    /// [`WrappedKeyError`], if these are not the bytes of a wrapped key. The proof is decoded, and not verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, WrappedKeyError> {
        let frame = Frame::split(bytes)?;
        let public_key = Point::from_bytes(frame.public_key).map_err(WrappedKeyError::PublicKey)?;
        frame.decode(bytes, public_key, Sha256::digest(bytes).into())
    }

    /// [`WrappedKey::parse`] for whoever knows the key already, which saves decoding it.
    ///
    /// # Errors
    /// [`WrappedKeyError::OtherKey`] if it is encrypted under another key, else those of [`WrappedKey::parse`].
    pub fn parse_under(bytes: &[u8], public_key: &Point) -> Result<Self, WrappedKeyError> {
        NamedWrappedKey::new(bytes)?.decode_under(public_key)
    }

    /// The bytes that name the key, after a check of all lengths and before any arithmetic: enough to find out whether
    /// one serves it.
    ///
    /// # Errors
    /// [`WrappedKeyError`], if the lengths are not those of a wrapped key.
    pub fn peek_public_key(bytes: &[u8]) -> Result<&[u8; 32], WrappedKeyError> {
        Frame::split(bytes).map(|frame| frame.public_key)
    }

    /// The encoding, at most [`MAX_WRAPPED_KEY`] bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the encoding, which names this wrapped key.
    #[must_use]
    pub fn write_id(&self) -> [u8; 32] {
        self.write_id
    }

    /// The writer's name for what this opens: at most [`MAX_LABEL`] bytes.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        self.bytes.get(self.label.clone()).unwrap_or_default()
    }

    /// `Y`, the cluster key under which it is encrypted.
    #[must_use]
    pub fn public_key(&self) -> Point {
        self.public_key
    }

    /// Verifies the proof.
    ///
    /// # Errors
    /// [`WrappedKeyError::Proof`] with [`ProofError::False`] if it does not hold.
    pub fn verify<R>(&self, rng: &mut R) -> Result<VerifiedWrappedKey, WrappedKeyError>
    where
        R: CryptoRng + ?Sized,
    {
        let mut batch = Batch::new();
        self.push_proof(&mut batch);
        batch
            .verify_vartime(rng)
            .map_err(|_| WrappedKeyError::Proof(ProofError::False))?;
        Ok(VerifiedWrappedKey(self.clone()))
    }

    /// Adds the proof to a batch.
    pub(crate) fn push_proof(&self, batch: &mut Batch) -> usize {
        let context = [self.public_key.as_bytes(), self.label(), self.body()];
        batch.push(&statement(&context, self.u, self.shadow_u), &self.proof)
    }

    /// The type that says so, after a batch that contained [`WrappedKey::push_proof`] has verified.
    pub(crate) fn assume_verified(&self) -> VerifiedWrappedKey {
        VerifiedWrappedKey(self.clone())
    }

    pub(crate) fn u(&self) -> &Point {
        &self.u
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.body.clone()).unwrap_or_default()
    }
}

/// The bytes of a wrapped key whose lengths are right, with their name and nothing decoded: for who has to know the name before
/// the arithmetic is worth its price.
#[derive(Clone)]
pub struct NamedWrappedKey<'a> {
    bytes: &'a [u8],
    frame: Frame<'a>,
    write_id: [u8; 32],
}

impl<'a> NamedWrappedKey<'a> {
    /// Checks the lengths and computes the name.
    ///
    /// # Errors
    /// [`WrappedKeyError`], if the lengths are not those of a wrapped key.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WrappedKeyError> {
        Ok(NamedWrappedKey {
            frame: Frame::split(bytes)?,
            write_id: Sha256::digest(bytes).into(),
            bytes,
        })
    }

    /// SHA-256 of the encoding.
    #[must_use]
    pub fn write_id(&self) -> &[u8; 32] {
        &self.write_id
    }

    /// [`WrappedKey::parse_under`].
    ///
    /// # Errors
    /// [`WrappedKeyError::OtherKey`] if it is encrypted under another key, else those of [`WrappedKey::parse`].
    pub fn decode_under(self, public_key: &Point) -> Result<WrappedKey, WrappedKeyError> {
        if self.frame.public_key != public_key.as_bytes() {
            return Err(WrappedKeyError::OtherKey);
        }
        self.frame.decode(self.bytes, *public_key, self.write_id)
    }
}

impl fmt::Debug for NamedWrappedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedWrappedKey")
            .field("write_id", &Hex(&self.write_id))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey")
            .field("write_id", &Hex(&self.write_id))
            .field("public_key", &self.public_key)
            .field("label", &Hex(self.label()))
            .finish_non_exhaustive()
    }
}

impl PartialEq for WrappedKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for WrappedKey {}

/// A wrapped key whose proof holds: its writer knows what it encrypts, and nobody altered it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedWrappedKey(WrappedKey);

impl Deref for VerifiedWrappedKey {
    type Target = WrappedKey;

    fn deref(&self) -> &WrappedKey {
        &self.0
    }
}

/// Encrypts `secret` (16 to 1,024 bytes) under the cluster key, bound to `label` (at most 1,024 bytes).
///
/// # Errors
/// [`WrapError`], if one of the two has a length that is not allowed.
pub fn wrap<R>(
    public_key: &Point,
    label: &[u8],
    secret: &[u8],
    rng: &mut R,
) -> Result<VerifiedWrappedKey, WrapError>
where
    R: CryptoRng + ?Sized,
{
    if label.len() > MAX_LABEL {
        return Err(WrapError::LabelTooLong { got: label.len() });
    }
    if !(MIN_SECRET..=MAX_SECRET).contains(&secret.len()) {
        return Err(WrapError::SecretLength { got: secret.len() });
    }
    let r = wrap_nonce(public_key, label, secret, rng);
    Ok(wrap_with_nonces(
        public_key,
        label,
        secret,
        &r,
        |statement| statement.nonce(&r, rng),
    ))
}

/// `r`, from fresh randomness and all that it is used for: a stuck generator does not repeat it for another secret.
fn wrap_nonce<R>(public_key: &Point, label: &[u8], secret: &[u8], rng: &mut R) -> SecretScalar
where
    R: CryptoRng + ?Sized,
{
    let mut fresh = Zeroizing::new([0; 64]);
    loop {
        rng.fill_bytes(&mut *fresh);
        let scalar = Hasher::new(tags::WRAP_NONCE)
            .item(&*fresh)
            .item(public_key.as_bytes())
            .item(label)
            .item(secret)
            .finalize_scalar();
        if let Ok(nonce) = SecretScalar::from_scalar(scalar) {
            return nonce;
        }
    }
}

/// The encryption itself, for lengths that were checked. The nonces must be secret and never used again.
pub(crate) fn wrap_with_nonces(
    public_key: &Point,
    label: &[u8],
    secret: &[u8],
    r: &SecretScalar,
    proof_nonce: impl FnOnce(&Statement<'_>) -> SecretScalar,
) -> VerifiedWrappedKey {
    let generators = (Point::generator(), Point::shadow_generator());
    let (u, shadow_u) = group::multiply_pair(r, (&generators.0, &generators.1));
    let shared = Zeroizing::new(group::multiply(r.expose(), public_key));
    let body = body::seal(&shared, public_key, &u, label, secret);

    let context = [public_key.as_bytes(), label, body.as_slice()];
    let statement = statement(&context, u, shadow_u);
    let proof = EqualityProof::prove_with_nonce(&statement, r, &proof_nonce(&statement));

    let mut bytes = Vec::with_capacity(HEADER + 2 + label.len() + 2 + body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(public_key.as_bytes());
    bytes.extend_from_slice(u.as_bytes());
    bytes.extend_from_slice(shadow_u.as_bytes());
    bytes.extend_from_slice(&proof.to_bytes());
    let label = push_prefixed(&mut bytes, label);
    let body = push_prefixed(&mut bytes, &body);
    VerifiedWrappedKey(WrappedKey {
        write_id: Sha256::digest(&bytes).into(),
        bytes: bytes.into(),
        public_key: *public_key,
        u,
        shadow_u,
        proof,
        label,
        body,
    })
}

/// Appends `LE16(|item|) ‖ item` and returns where the item lies.
fn push_prefixed(bytes: &mut Vec<u8>, item: &[u8]) -> Range<usize> {
    // Lengths are below 2¹⁶: the callers checked them.
    bytes.extend_from_slice(&(item.len() as u16).to_le_bytes());
    let start = bytes.len();
    bytes.extend_from_slice(item);
    start..bytes.len()
}

fn statement<'a>(context: &'a [&'a [u8]], u: Point, shadow_u: Point) -> Statement<'a> {
    Statement {
        purpose: tags::PURPOSE_WRAPPED_KEY,
        context,
        bases: (Point::generator(), Point::shadow_generator()),
        points: (u, shadow_u),
    }
}

/// The parts of an encoding, their lengths checked and nothing decoded.
#[derive(Clone)]
struct Frame<'a> {
    public_key: &'a [u8; 32],
    u: &'a [u8; 32],
    shadow_u: &'a [u8; 32],
    proof: &'a [u8; 96],
    label: Range<usize>,
    body: Range<usize>,
}

impl<'a> Frame<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, WrappedKeyError> {
        let mut reader = Reader { bytes, at: 0 };
        // The least that says how long the rest is.
        reader.need(HEADER + 2 + 2)?;
        let [version] = *reader.take::<1>()?;
        if version != VERSION {
            return Err(WrappedKeyError::Version { got: version });
        }
        let public_key = reader.take()?;
        let u = reader.take()?;
        let shadow_u = reader.take()?;
        let proof = reader.take()?;

        let got = reader.length()?;
        if got > MAX_LABEL {
            return Err(WrappedKeyError::LabelTooLong { got });
        }
        let label = reader.skip(got)?;

        let got = reader.length()?;
        if !(MIN_BODY..=MAX_BODY).contains(&got) {
            return Err(WrappedKeyError::BodyLength { got });
        }
        let body = reader.skip(got)?;

        match bytes.len() - body.end {
            0 => Ok(Frame {
                public_key,
                u,
                shadow_u,
                proof,
                label,
                body,
            }),
            extra => Err(WrappedKeyError::Trailing { extra }),
        }
    }

    fn decode(
        self,
        bytes: &[u8],
        public_key: Point,
        write_id: [u8; 32],
    ) -> Result<WrappedKey, WrappedKeyError> {
        Ok(WrappedKey {
            public_key,
            u: Point::from_bytes(self.u).map_err(WrappedKeyError::U)?,
            shadow_u: Point::from_bytes(self.shadow_u).map_err(WrappedKeyError::ShadowU)?,
            proof: EqualityProof::from_bytes(self.proof).map_err(WrappedKeyError::Proof)?,
            label: self.label,
            body: self.body,
            write_id,
            bytes: bytes.into(),
        })
    }
}

/// Walks along an encoding and never beyond its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Checks that `more` bytes follow.
    fn need(&self, more: usize) -> Result<(), WrappedKeyError> {
        let needed = self.at + more;
        if self.bytes.len() < needed {
            return Err(WrappedKeyError::Truncated {
                needed,
                got: self.bytes.len(),
            });
        }
        Ok(())
    }

    fn skip(&mut self, length: usize) -> Result<Range<usize>, WrappedKeyError> {
        self.need(length)?;
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], WrappedKeyError> {
        let range = self.skip(N)?;
        let (needed, got) = (range.end, self.bytes.len());
        self.bytes
            .get(range)
            .and_then(<[u8]>::first_chunk)
            .ok_or(WrappedKeyError::Truncated { needed, got })
    }

    fn length(&mut self) -> Result<usize, WrappedKeyError> {
        self.take().map(|bytes| u16::from_le_bytes(*bytes).into())
    }
}
