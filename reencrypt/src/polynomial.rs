//! Polynomials modulo ℓ at small places, in constant time: the indices of members are numbers of 16 bits, so that a step of Horner's
//! rule multiplies by 16 bits instead of by 253.
//!
//! A residue is kept below 2²⁵⁴ and not fully reduced. With ℓ = 2²⁵² + δ, δ < 2¹²⁵, a number a < 2²⁷¹ is split at bit 252,
//!
//! ```text
//! a = q·2²⁵² + r  ≡  r + ℓ − q·δ   (mod ℓ)        0 < r + ℓ − q·δ < 2²⁵⁴        since q·δ < 2¹⁹·2¹²⁵ < ℓ
//! ```
//!
//! and every step is the same few multiplications and additions whatever the numbers are.

use curve25519_dalek::Scalar;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::SecretScalar;

/// δ = ℓ − 2²⁵², in limbs of 64 bits, the lowest first.
const DELTA: [u64; 2] = [0x5812_631a_5cf5_d3ed, 0x14de_f9de_a2f7_9cd6];
/// ℓ, likewise.
const ORDER: [u64; 4] = [DELTA[0], DELTA[1], 0, 1 << 60];
/// The bits of the highest limb below bit 252.
const BELOW_252: u64 = (1 << 60) - 1;

/// A number below 2²⁵⁴ in limbs of 64 bits, the lowest first; it stands for its residue modulo ℓ.
#[derive(Clone, Copy, Zeroize)]
struct Residue([u64; 4]);

impl Residue {
    const ZERO: Self = Self([0; 4]);

    fn of(scalar: &Scalar) -> Self {
        let (limbs, _) = scalar.as_bytes().as_chunks::<8>();
        let mut residue = Self::ZERO;
        for (limb, bytes) in residue.0.iter_mut().zip(limbs) {
            *limb = u64::from_le_bytes(*bytes);
        }
        residue
    }

    fn to_scalar(self) -> Scalar {
        let mut bytes = [0; 32];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        for (chunk, limb) in chunks.iter_mut().zip(self.0) {
            *chunk = limb.to_le_bytes();
        }
        Scalar::from_bytes_mod_order(bytes)
    }

    /// self·x + addend.
    fn times_plus(self, x: u16, addend: &Self) -> Self {
        let (Self([a, b, c, d]), [e, f, g, h]) = (self, addend.0);
        let x = u128::from(x);
        let (a, carry) = split(u128::from(a) * x + u128::from(e));
        let (b, carry) = split(u128::from(b) * x + u128::from(f) + carry);
        let (c, carry) = split(u128::from(c) * x + u128::from(g) + carry);
        let (d, carry) = split(u128::from(d) * x + u128::from(h) + carry);
        Self::reduced([a, b, c, d], carry as u64)
    }

    /// Of a number below 2²⁷¹ with `high` above its four limbs.
    fn reduced([a, b, c, d]: [u64; 4], high: u64) -> Self {
        let q = u128::from(high << 4 | d >> 60);
        let (low, carry) = split(q * u128::from(DELTA[0]));
        let (middle, top) = split(q * u128::from(DELTA[1]) + carry);
        // r + ℓ − q·δ, limb by limb; a borrow is 0 or 1.
        let plus = |r: u64, l: u64, carry: u128| split(u128::from(r) + u128::from(l) + carry);
        let (a, carry) = plus(a, ORDER[0], 0);
        let (b, carry) = plus(b, ORDER[1], carry);
        let (c, carry) = plus(c, ORDER[2], carry);
        let (d, _) = plus(d & BELOW_252, ORDER[3], carry);
        let (a, borrow) = minus(a, low, 0);
        let (b, borrow) = minus(b, middle, borrow);
        let (c, borrow) = minus(c, top as u64, borrow);
        let (d, _) = minus(d, 0, borrow);
        Self([a, b, c, d])
    }
}

/// The lower limb, and what is above it.
fn split(wide: u128) -> (u64, u128) {
    (wide as u64, wide >> 64)
}

/// a − b − borrow, and the next borrow.
fn minus(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let wide = u128::from(a)
        .wrapping_sub(u128::from(b))
        .wrapping_sub(u128::from(borrow));
    (wide as u64, (wide >> 64) as u64 & 1)
}

/// Σ_k c_k·x^k, by Horner's rule, in constant time with respect to the coefficients.
#[must_use]
pub fn evaluate(coefficients: &[SecretScalar], x: u16) -> Scalar {
    coefficients
        .iter()
        .rev()
        .fold(Residue::ZERO, |value, coefficient| {
            value.times_plus(x, &Residue::of(coefficient.expose()))
        })
        .to_scalar()
}

/// [`evaluate`] at 1, 2, …, `places`, in constant time with respect to the coefficients. Quicker than one place after the other: a step at one
/// does not wait for that at another.
#[must_use]
pub fn evaluate_each(coefficients: &[SecretScalar], places: u16) -> Zeroizing<Vec<Scalar>> {
    let mut values = Zeroizing::new(vec![Residue::ZERO; usize::from(places)]);
    for coefficient in coefficients.iter().rev() {
        let coefficient = Zeroizing::new(Residue::of(coefficient.expose()));
        for (x, value) in (1..=places).zip(values.iter_mut()) {
            *value = value.times_plus(x, &coefficient);
        }
    }
    Zeroizing::new(values.iter().map(|value| value.to_scalar()).collect())
}

/// Σ_j w_j·j^k for k = 0 … count − 1, where j counts the weights from 1. There are 65,535 weights at most.
pub(crate) fn power_sums(weights: &[Scalar], count: usize) -> Vec<Scalar> {
    let mut terms: Vec<Residue> = weights.iter().map(Residue::of).collect();
    (0..count)
        .map(|_| {
            let mut sum = Sum::default();
            for (j, term) in (1..=u16::MAX).zip(&mut terms) {
                sum.add(term);
                *term = term.times_plus(j, &Residue::ZERO);
            }
            sum.reduced().to_scalar()
        })
        .collect()
}

/// A sum of up to 2¹⁶ residues, below 2²⁷⁰.
#[derive(Default)]
struct Sum([u64; 5]);

impl Sum {
    fn add(&mut self, residue: &Residue) {
        let mut carry = 0;
        for (limb, addend) in self.0.iter_mut().zip(residue.0.into_iter().chain([0])) {
            (*limb, carry) = split(u128::from(*limb) + u128::from(addend) + carry);
        }
    }

    fn reduced(&self) -> Residue {
        let [a, b, c, d, high] = self.0;
        Residue::reduced([a, b, c, d], high)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn slowly(coefficients: &[SecretScalar], x: u16) -> Scalar {
        let x = Scalar::from(x);
        coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |value, c| value * x + c.expose())
    }

    #[test]
    fn the_order_is_that_of_the_group() {
        assert_eq!(Residue(ORDER).to_scalar(), Scalar::ZERO);
        let mut less = ORDER;
        less[0] -= 1;
        assert_eq!(Residue(less).to_scalar(), -Scalar::ONE);
    }

    #[test]
    fn values_are_those_of_plain_arithmetic() {
        let rng = &mut rand::rng();
        let largest = || SecretScalar::from_scalar(-Scalar::ONE).unwrap();
        let one = || SecretScalar::from_scalar(Scalar::ONE).unwrap();
        let mut polynomials: Vec<Vec<SecretScalar>> = vec![
            Vec::new(),
            vec![one()],
            (0..40).map(|_| largest()).collect(),
            (0..40).map(|_| one()).collect(),
        ];
        polynomials.extend((1..50).map(|length| {
            (0..length)
                .map(|_| SecretScalar::random(rng))
                .collect::<Vec<_>>()
        }));
        for polynomial in &polynomials {
            for x in [0, 1, 2, 3, 255, 256, 1024, u16::MAX - 1, u16::MAX] {
                assert_eq!(evaluate(polynomial, x), slowly(polynomial, x));
            }
            for places in [0, 1, 70] {
                let values = evaluate_each(polynomial, places);
                let slowly: Vec<Scalar> = (1..=places).map(|x| slowly(polynomial, x)).collect();
                assert_eq!(*values, slowly);
            }
        }
        let polynomial = &polynomials[2][..2];
        let values = evaluate_each(polynomial, u16::MAX);
        assert_eq!(values.len(), usize::from(u16::MAX));
        assert_eq!(values.last(), Some(&slowly(polynomial, u16::MAX)));
    }

    #[test]
    fn a_sum_of_as_many_residues_as_there_are_places_is_reduced() {
        let bound = Residue([u64::MAX, u64::MAX, u64::MAX, (1 << 62) - 1]);
        let mut sum = Sum::default();
        for _ in 0..u16::MAX {
            sum.add(&bound);
        }
        let expected = bound.to_scalar() * Scalar::from(u16::MAX);
        assert_eq!(sum.reduced().to_scalar(), expected);
    }

    #[test]
    fn a_residue_at_its_bound_stays_below_it() {
        // 2²⁵⁴ − 1, times the largest number, plus itself.
        let bound = Residue([u64::MAX, u64::MAX, u64::MAX, (1 << 62) - 1]);
        let value = bound.times_plus(u16::MAX, &bound);
        assert!(value.0[3] < 1 << 62);
        let wide = bound.to_scalar();
        assert_eq!(value.to_scalar(), wide * Scalar::from(u16::MAX) + wide);
    }

    #[test]
    fn power_sums_are_those_of_plain_arithmetic() {
        let rng = &mut rand::rng();
        for (members, count) in [(0, 2), (1, 1), (5, 3), (70, 47)] {
            let weights: Vec<Scalar> = (0..members)
                .map(|_| *SecretScalar::random(rng).expose())
                .collect();
            for (k, sum) in power_sums(&weights, count).into_iter().enumerate() {
                let power = |j: u16| (0..k).fold(Scalar::ONE, |p, _| p * Scalar::from(j));
                let plain: Scalar = weights
                    .iter()
                    .zip(1u16..)
                    .map(|(weight, j)| weight * power(j))
                    .sum();
                assert_eq!(sum, plain);
            }
        }
    }
}
