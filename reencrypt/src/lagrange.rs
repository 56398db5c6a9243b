//! Lagrange coefficients at 0 (section 6): the weights λ_i with `p(0) = Σ λ_i·p(i)` for every polynomial of a degree
//! below the number of indices.
//!
//! `λ_i = Π_{j≠i} j / (j − i)`. Indices are small and public, so the products are taken in machine integers as long as
//! they fit into 128 bits, which leaves a few multiplications modulo ℓ for each index, and all denominators are inverted
//! together.

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

    let numerator = product(indices.iter().map(|&j| u128::from(j)));
    // λ_i = Π_j j / (i·Π_{j≠i} (j − i)): the denominators are not 0 modulo ℓ, being products of small integers.
    let mut coefficients: Vec<Scalar> = indices
        .iter()
        .map(|&i| {
            let others = indices.iter().filter(|&&j| j != i);
            let distances = others.clone().map(|&j| u128::from(j.abs_diff(i)));
            let magnitude = product(distances.chain([u128::from(i)]));
            let negative = others.filter(|&&j| j < i).count() % 2 == 1;
            if negative { -magnitude } else { magnitude }
        })
        .collect();
    Scalar::invert_batch_alloc(&mut coefficients);
    for coefficient in &mut coefficients {
        *coefficient *= numerator;
    }
    Ok(coefficients)
}

/// The product of factors below 2¹⁶, of which as many as possible are multiplied as integers.
fn product(factors: impl Iterator<Item = u128>) -> Scalar {
    let mut reduced: Option<Scalar> = None;
    let mut pending = 1_u128;
    for factor in factors {
        match pending.checked_mul(factor) {
            Some(larger) => pending = larger,
            None => {
                let chunk = Scalar::from(pending);
                reduced = Some(reduced.map_or(chunk, |product| product * chunk));
                pending = factor;
            }
        }
    }
    let chunk = Scalar::from(pending);
    reduced.map_or(chunk, |product| product * chunk)
}

/// `Σ λ_i·P_i` of public points, in variable time.
pub(crate) fn combine_vartime(
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
