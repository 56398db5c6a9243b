//! Lagrange coefficients at 0 (section 6): the weights λ_i with `p(0) = Σ λ_i·p(i)` for every polynomial of a degree
//! below the number of indices.
//!
//! `λ_i = Π_{j≠i} j / (j − i)`. Indices are small and public, so the products are taken in machine integers as long as
//! they fit, which leaves a few multiplications modulo ℓ for each index. The denominators of small clusters fit into 64
//! bits, where an inverse costs a thirtieth of an exponentiation modulo ℓ; those of large ones are inverted together.

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;

use crate::error::InterpolationError;

/// The coefficients of `indices`, in their order.
///
/// # Errors
/// [`InterpolationError`], if an index is 0 or occurs twice.
pub fn coefficients_at_zero(indices: &[u16]) -> Result<Vec<Scalar>, InterpolationError> {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    if sorted.first() == Some(&0) {
        return Err(InterpolationError::IndexZero);
    }
    if let Some(index) = sorted.windows(2).find_map(|pair| match pair {
        [first, second] if first == second => Some(*first),
        _ => None,
    }) {
        return Err(InterpolationError::Duplicate(index));
    }

    // λ_i = Π_j j / (i·Π_{j≠i} (j − i)): the denominators are not 0 modulo ℓ, being products of small integers.
    let numerator = product(indices.iter().map(|&j| u128::from(j)));
    let inverses = match small_denominators(indices) {
        Some(denominators) => denominators.into_iter().map(invert_small).collect(),
        None => {
            let denominators = indices.iter().map(|&i| product(denominator(indices, i)));
            let mut inverses: Vec<Scalar> = denominators.collect();
            Scalar::invert_batch_alloc(&mut inverses);
            inverses
        }
    };
    Ok(indices
        .iter()
        .zip(inverses)
        .map(|(&i, inverse)| {
            let negative = indices.iter().filter(|&&j| j < i).count() % 2 == 1;
            let magnitude = numerator * inverse;
            if negative { -magnitude } else { magnitude }
        })
        .collect())
}

/// The factors of the denominator of λ_i, but for its sign.
fn denominator(indices: &[u16], i: u16) -> impl Iterator<Item = u128> {
    let distances = indices.iter().filter(move |&&j| j != i);
    std::iter::once(u128::from(i)).chain(distances.map(move |&j| u128::from(j.abs_diff(i))))
}

/// The denominators, if all of them are below 2⁶⁴.
fn small_denominators(indices: &[u16]) -> Option<Vec<u64>> {
    let small = |i| {
        denominator(indices, i).try_fold(1_u64, |product, factor| {
            product.checked_mul(u64::try_from(factor).ok()?)
        })
    };
    indices.iter().map(|&i| small(i)).collect()
}

/// ℓ, in 64-bit limbs, the least significant first.
const ORDER: [u64; 4] = [0x5812_631a_5cf5_d3ed, 0x14de_f9de_a2f7_9cd6, 0, 1 << 60];

/// `1/d` modulo ℓ for a public `d` that is not 0, in variable time: `(k·ℓ + 1) / d`, with `k = −1/ℓ mod d`.
fn invert_small(d: u64) -> Scalar {
    let wide = u128::from(d);
    let remainder = ORDER
        .iter()
        .rev()
        .fold(0, |rest, &limb| (rest << 64 | u128::from(limb)) % wide);
    let k = match invert_modulo(remainder, wide) {
        0 => 0,
        inverse => wide - inverse,
    };

    // k·ℓ + 1, of five limbs, and its quotient by d, which is exact and below ℓ.
    let mut carry = 1;
    let mut multiple = ORDER.map(|limb| {
        carry += k * u128::from(limb);
        let low = carry as u64;
        carry >>= 64;
        low
    });
    let mut rest = carry % wide;
    for limb in multiple.iter_mut().rev() {
        rest = rest << 64 | u128::from(*limb);
        *limb = (rest / wide) as u64;
        rest %= wide;
    }
    let mut bytes = [0; 32];
    for (chunk, limb) in bytes.chunks_exact_mut(8).zip(multiple) {
        chunk.copy_from_slice(&limb.to_le_bytes());
    }
    Scalar::from_bytes_mod_order(bytes)
}

/// The inverse of `value` modulo `modulus` below 2⁶⁴, to which it is coprime, by Euclid's algorithm; 0 modulo 1.
fn invert_modulo(value: u128, modulus: u128) -> u128 {
    // value·x ≡ r (mod modulus), in both rows; 64-bit division is three times as fast as 128-bit.
    let (mut r0, mut r1) = (modulus as u64, value as u64);
    let (mut x0, mut x1) = (0_i128, 1_i128);
    while r1 != 0 {
        let quotient = r0 / r1;
        (r0, r1) = (r1, r0 % r1);
        (x0, x1) = (x1, x0 - i128::from(quotient) * x1);
    }
    x0.rem_euclid(modulus as i128) as u128
}

/// The product of factors below 2¹⁶, of which as many as possible are multiplied as integers.
fn product(factors: impl Iterator<Item = u128>) -> Scalar {
    let mut reduced: Option<Scalar> = None;
    let mut pending = 1_u128;
    for factor in factors {
        if pending >> (u128::BITS - u16::BITS) != 0 {
            let chunk = Scalar::from(pending);
            reduced = Some(reduced.map_or(chunk, |product| product * chunk));
            pending = 1;
        }
        pending *= factor;
    }
    let chunk = Scalar::from(pending);
    reduced.map_or(chunk, |product| product * chunk)
}

/// `Σ λ_i·P_i` of public points, in variable time: for shares, `D` (section 6).
///
/// # Errors
/// [`InterpolationError`] if an index is 0 or occurs twice.
pub fn combine_vartime(
    indices: &[u16],
    points: impl ExactSizeIterator<Item = RistrettoPoint>,
) -> Result<RistrettoPoint, InterpolationError> {
    let coefficients = coefficients_at_zero(indices)?;
    Ok(RistrettoPoint::vartime_multiscalar_mul(
        &coefficients,
        points,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn by_definition(indices: &[u16]) -> Vec<Scalar> {
        let scalar = |index: u16| Scalar::from(index);
        indices
            .iter()
            .map(|&i| {
                indices
                    .iter()
                    .filter(|&&j| j != i)
                    .map(|&j| scalar(j) * (scalar(j) - scalar(i)).invert())
                    .product()
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_definition() {
        let cases: [Vec<u16>; 6] = [
            vec![1],
            vec![2, 1],
            vec![5, 3, 1],
            vec![65_535, 1, 32_768, 40_000, 65_534, 2, 3, 60_000, 50_000, 12],
            (1..=43).rev().collect(),
            (65_000..65_080).collect(),
        ];
        for indices in cases {
            assert_eq!(
                coefficients_at_zero(&indices).unwrap(),
                by_definition(&indices)
            );
        }
        assert_eq!(coefficients_at_zero(&[]).unwrap(), vec![]);
    }

    #[test]
    fn small_inverses_are_inverses() {
        let order = ORDER.map(u64::to_le_bytes).concat();
        let mut largest = (-Scalar::ONE).to_bytes();
        largest[0] += 1;
        assert_eq!(order, largest);

        let random = (0..200).map(|shift| rand::random::<u64>() >> (shift % 64));
        for d in (1..300)
            .chain([u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32])
            .chain(random)
        {
            if d != 0 {
                assert_eq!(invert_small(d) * Scalar::from(d), Scalar::ONE, "{d}");
            }
        }
    }

    #[test]
    fn zero_and_duplicates_are_refused() {
        assert_eq!(
            coefficients_at_zero(&[3, 0]),
            Err(InterpolationError::IndexZero)
        );
        assert_eq!(
            coefficients_at_zero(&[3, 1, 3]),
            Err(InterpolationError::Duplicate(3))
        );
    }
}
