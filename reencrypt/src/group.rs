//! The group (section 1): ristretto255 of RFC 9496, its elements as they come from other people, and multiplication by
//! secrets in constant time.
//!
//! A [`Point`] is an element that has been decoded: canonical, and never the identity. It keeps its 32 bytes beside the
//! decoded form, because every point here is also hashed, and encoding costs a field inversion.
//!
//! Multiplications by a secret go through this module: by the generator `G` and the shadow generator `Ḡ` with
//! precomputed tables, by any other base with dalek's constant-time ladder. Functions that leak their inputs through
//! their running time have `vartime` in their names and see public values only.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use curve25519_dalek::constants::{
    RISTRETTO_BASEPOINT_COMPRESSED, RISTRETTO_BASEPOINT_POINT, RISTRETTO_BASEPOINT_TABLE,
};
use curve25519_dalek::ristretto::{
    CompressedRistretto, RistrettoBasepointTable, RistrettoPoint, VartimeRistrettoPrecomputation,
};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{VartimeMultiscalarMul, VartimePrecomputedMultiscalarMul};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{PointError, ScalarError};
use crate::hash::hash;
use crate::secret::SecretScalar;
use crate::tags;

/// An element of ristretto255 that is not the identity, with its canonical encoding (32 bytes).
#[derive(Clone, Copy)]
pub struct Point {
    bytes: [u8; 32],
    element: RistrettoPoint,
}

impl Point {
    /// The length of an encoded point.
    pub const LENGTH: usize = 32;

    /// Decodes a point, as RFC 9496 §4.3.1 has it.
    ///
    /// # Errors
    /// [`PointError::Identity`] for the identity, [`PointError::NotCanonical`] for anything that is not the one
    /// encoding of an element.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, PointError> {
        // Zeros are the one encoding of the identity.
        if *bytes == [0; 32] {
            return Err(PointError::Identity);
        }
        let element = CompressedRistretto(*bytes)
            .decompress()
            .ok_or(PointError::NotCanonical)?;
        Ok(Point {
            bytes: *bytes,
            element,
        })
    }

    /// [`Point::from_bytes`] for a slice whose length is not known yet.
    ///
    /// # Errors
    /// [`PointError::Length`] if the slice is not 32 bytes, else those of [`Point::from_bytes`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, PointError> {
        let bytes = bytes
            .try_into()
            .map_err(|_| PointError::Length { got: bytes.len() })?;
        Point::from_bytes(bytes)
    }

    /// Takes an element that was computed; `None` if it is the identity.
    #[must_use]
    pub fn from_ristretto(element: RistrettoPoint) -> Option<Self> {
        let point = Point {
            bytes: element.compress().to_bytes(),
            element,
        };
        (point.bytes != [0; 32]).then_some(point)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The element, for arithmetic.
    #[must_use]
    pub fn as_ristretto(&self) -> &RistrettoPoint {
        &self.element
    }

    /// `G`, the generator of RFC 9496.
    #[must_use]
    pub fn generator() -> Self {
        Point {
            bytes: RISTRETTO_BASEPOINT_COMPRESSED.to_bytes(),
            element: RISTRETTO_BASEPOINT_POINT,
        }
    }

    /// `Ḡ`, the shadow generator: derived from a hash, so that nobody knows its logarithm to the base `G`.
    #[must_use]
    pub fn shadow_generator() -> Self {
        SHADOW.point
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Point {}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({})", Hex(&self.bytes))
    }
}

/// Public bytes in messages for people.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Decodes a public scalar: 32 bytes, little-endian, below ℓ. Zero is a scalar.
///
/// # Errors
/// [`ScalarError::NotReduced`] if the integer is ℓ or more.
pub fn decode_scalar(bytes: &[u8; 32]) -> Result<Scalar, ScalarError> {
    Option::from(Scalar::from_canonical_bytes(*bytes)).ok_or(ScalarError::NotReduced)
}

/// The shadow generator with its table: 30 KiB, made once, for proving.
struct Shadow {
    point: Point,
    table: RistrettoBasepointTable,
}

static SHADOW: LazyLock<Shadow> = LazyLock::new(|| {
    let element = RistrettoPoint::from_uniform_bytes(&hash(tags::SHADOW_GENERATOR, &[]));
    Shadow {
        point: Point {
            bytes: element.compress().to_bytes(),
            element,
        },
        table: RistrettoBasepointTable::create(&element),
    }
});

/// Tables of `G` and `Ḡ` for verification, in variable time.
static GENERATORS_VARTIME: LazyLock<VartimeRistrettoPrecomputation> = LazyLock::new(|| {
    VartimeRistrettoPrecomputation::new([RISTRETTO_BASEPOINT_POINT, SHADOW.point.element])
});

/// From this many points on, Pippenger's algorithm without tables beats Straus' with them.
const PIPPENGER_FROM: usize = 190;

/// `s·B`, in constant time with respect to `s`. Which of the bases it is, is public.
pub(crate) fn multiply(secret: &Scalar, base: &Point) -> RistrettoPoint {
    if base.bytes == *RISTRETTO_BASEPOINT_COMPRESSED.as_bytes() {
        secret * RISTRETTO_BASEPOINT_TABLE
    } else if base.bytes == SHADOW.point.bytes {
        secret * &SHADOW.table
    } else {
        secret * base.element
    }
}

/// `s·B` with its encoding, in constant time with respect to `s`.
pub(crate) fn multiply_point(secret: &SecretScalar, base: &Point) -> Point {
    let element = multiply(secret.expose(), base);
    // Not the identity: neither the secret nor the base is zero, and the order is prime.
    Point {
        bytes: element.compress().to_bytes(),
        element,
    }
}

/// `(s·B1, s·B2)` and their encodings, in constant time with respect to `s`.
pub(crate) fn multiply_pair(secret: &SecretScalar, bases: (&Point, &Point)) -> (Point, Point) {
    let mut half = secret.expose().div_by_2();
    let halves = [multiply(&half, bases.0), multiply(&half, bases.1)];
    half.zeroize();
    // Not the identity, as above.
    let [first, second] = double_and_encode(halves);
    (first, second)
}

/// `s·G` of each secret with its encoding, in constant time with respect to the secrets.
pub(crate) fn multiply_generator(secrets: &[SecretScalar]) -> Vec<Point> {
    // Half of a public point is as public as the point.
    let halves: Vec<RistrettoPoint> = secrets
        .iter()
        .map(|secret| {
            let mut half = secret.expose().div_by_2();
            let point = RistrettoPoint::mul_base(&half);
            half.zeroize();
            point
        })
        .collect();
    // Not the identity, as above.
    let encodings = RistrettoPoint::double_and_compress_batch(&halves);
    let doubled = halves.iter().map(|half| half + half);
    doubled
        .zip(encodings)
        .map(|(element, encoding)| Point {
            bytes: encoding.to_bytes(),
            element,
        })
        .collect()
}

/// Doubles and encodes points together, in constant time, with one field inversion where each alone would cost one.
///
/// None of the points may be the identity. Copies of them stay behind on the heap: they are not for secrets.
pub(crate) fn double_and_encode<const N: usize>(halves: [RistrettoPoint; N]) -> [Point; N] {
    let mut encodings = RistrettoPoint::double_and_compress_batch(&halves).into_iter();
    halves.map(|half| {
        let element = half + half;
        let encoding = encodings.next().unwrap_or_else(|| element.compress());
        Point {
            bytes: encoding.to_bytes(),
            element,
        }
    })
}

/// The encodings of `s·P` for each `P`, in constant time with respect to `s`, with one field inversion for all of them.
pub(crate) fn encoded_multiples<'a>(
    secret: &SecretScalar,
    points: impl Iterator<Item = &'a Point>,
) -> Zeroizing<Vec<[u8; 32]>> {
    let half = Zeroizing::new(secret.expose().div_by_2());
    // Grown to its whole size at once: growing it later would leave copies behind.
    let mut halves = Zeroizing::new(Vec::with_capacity(points.size_hint().0));
    halves.extend(points.map(|point| multiply(&half, point)));
    let encodings = Zeroizing::new(RistrettoPoint::double_and_compress_batch(halves.iter()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(encodings.len()));
    bytes.extend(encodings.iter().map(CompressedRistretto::to_bytes));
    bytes
}

/// A sum of public multiples of public points, in variable time: `g·G + ḡ·Ḡ + Σ sᵢ·Pᵢ`.
#[derive(Default)]
pub(crate) struct VartimeSum {
    generator: Scalar,
    shadow_generator: Scalar,
    scalars: Vec<Scalar>,
    points: Vec<RistrettoPoint>,
}

impl VartimeSum {
    pub(crate) fn with_capacity(points: usize) -> Self {
        VartimeSum {
            scalars: Vec::with_capacity(points),
            points: Vec::with_capacity(points),
            ..VartimeSum::default()
        }
    }

    /// Adds to the multiple of a base that occurs often; `false` if it is neither `G` nor `Ḡ`.
    pub(crate) fn add_to_generators(&mut self, scalar: Scalar, base: &Point) -> bool {
        if base.bytes == *RISTRETTO_BASEPOINT_COMPRESSED.as_bytes() {
            self.generator += scalar;
        } else if base.bytes == SHADOW.point.bytes {
            self.shadow_generator += scalar;
        } else {
            return false;
        }
        true
    }

    pub(crate) fn add(&mut self, scalar: Scalar, point: RistrettoPoint) {
        self.scalars.push(scalar);
        self.points.push(point);
    }

    pub(crate) fn compute_vartime(mut self) -> RistrettoPoint {
        if self.points.len() < PIPPENGER_FROM {
            return GENERATORS_VARTIME.vartime_mixed_multiscalar_mul(
                [self.generator, self.shadow_generator],
                &self.scalars,
                &self.points,
            );
        }
        self.add(self.generator, RISTRETTO_BASEPOINT_POINT);
        self.add(self.shadow_generator, SHADOW.point.element);
        RistrettoPoint::vartime_multiscalar_mul(&self.scalars, &self.points)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pairs_and_tables_agree_with_plain_multiplication() {
        let secret = SecretScalar::random(&mut rand::rng());
        let other = SecretScalar::random(&mut rand::rng()).public();
        for base in [Point::generator(), Point::shadow_generator(), other] {
            let plain = Point::from_ristretto(secret.expose() * base.element).unwrap();
            let (first, second) = multiply_pair(&secret, (&base, &Point::generator()));
            assert_eq!(first, plain);
            assert_eq!(first.element, plain.element);
            assert_eq!(second, secret.public());
            assert_eq!(multiply(secret.expose(), &base), plain.element);
        }
    }

    #[test]
    fn many_publics_are_those_of_one_by_one() {
        let secrets: Vec<SecretScalar> = (0..9)
            .map(|_| SecretScalar::random(&mut rand::rng()))
            .collect();
        let one_by_one: Vec<Point> = secrets.iter().map(SecretScalar::public).collect();
        let together = multiply_generator(&secrets);
        assert_eq!(together, one_by_one);
        for (a, b) in together.iter().zip(&one_by_one) {
            assert_eq!(a.element, b.element);
        }
        assert!(multiply_generator(&[]).is_empty());
    }

    #[test]
    fn sums_agree_below_and_above_the_change_of_algorithm() {
        for count in [0usize, 1, 5, PIPPENGER_FROM - 1, PIPPENGER_FROM, 250] {
            let mut sum = VartimeSum::with_capacity(count);
            let mut expected = RISTRETTO_BASEPOINT_POINT * Scalar::from(3u8)
                + SHADOW.point.element * Scalar::from(4u8);
            assert!(sum.add_to_generators(Scalar::from(3u8), &Point::generator()));
            assert!(sum.add_to_generators(Scalar::from(4u8), &Point::shadow_generator()));
            for i in 0..count {
                let scalar = *SecretScalar::random(&mut rand::rng()).expose();
                let point = RISTRETTO_BASEPOINT_POINT * Scalar::from(i as u64 + 7);
                expected += scalar * point;
                sum.add(scalar, point);
            }
            assert_eq!(sum.compute_vartime(), expected);
        }
    }

    #[test]
    fn the_identity_and_foreign_encodings_are_refused() {
        assert_eq!(Point::from_bytes(&[0; 32]), Err(PointError::Identity));
        assert_eq!(
            Point::from_bytes(&[0xff; 32]),
            Err(PointError::NotCanonical)
        );
        assert_eq!(
            Point::from_slice(&[1; 31]),
            Err(PointError::Length { got: 31 })
        );
        assert_eq!(
            Point::from_ristretto(RISTRETTO_BASEPOINT_POINT - RISTRETTO_BASEPOINT_POINT),
            None
        );
        let shadow = Point::shadow_generator();
        assert_eq!(Point::from_bytes(shadow.as_bytes()), Ok(shadow));
    }
}
