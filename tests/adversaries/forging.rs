//! Proofs, wrapped keys and ephemeral keys of somebody who knows the algebra, made from `docs/protocol/wrapped-key.md`.

use curve25519_dalek::Scalar;
use reencrypt::{Hasher, Point, SecretScalar};

fn random() -> SecretScalar {
    SecretScalar::random(&mut rand::rng())
}

/// e of an equality proof over the generators.
fn challenge(purpose: &str, context: &[&[u8]], points: [&Point; 4]) -> Scalar {
    let (g, shadow) = (Point::generator(), Point::shadow_generator());
    let [first, second, w1, w2] = points;
    Hasher::new("cryptonode/v1/dleq")
        .item(purpose.as_bytes())
        .items(context)
        .items(&[g.as_bytes(), shadow.as_bytes()])
        .items(&[first.as_bytes(), second.as_bytes()])
        .items(&[w1.as_bytes(), w2.as_bytes()])
        .finalize_scalar()
}

/// `first ‖ second ‖ proof` where `first` is anybody's point, and the sum of the proof's two equations holds:
/// `second = s·(G + Ḡ) − first`. A verifier with one weight for both equations accepts it.
pub(crate) fn for_one_weight(first: &Point, purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let (g, shadow) = (Point::generator(), Point::shadow_generator());
    let both = g.as_ristretto() + shadow.as_ristretto();
    let (s, w) = (random(), random());
    let second = Point::from_ristretto(both * s.expose() - first.as_ristretto()).unwrap();
    let w1 = random().public();
    let w2 = Point::from_ristretto(both * w.expose() - w1.as_ristretto()).unwrap();
    let e = challenge(purpose, context, [first, &second, &w1, &w2]);
    let f = w.expose() + e * s.expose();
    let left = both * f;
    let sum = first.as_ristretto() + second.as_ristretto();
    assert_eq!(left, w1.as_ristretto() + w2.as_ristretto() + sum * e);
    encoded(first, &second, &w1, &w2, &f)
}

/// `s·G ‖ s·Ḡ ‖ proof`, true.
pub(crate) fn honest(s: &SecretScalar, purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let shadow = Point::shadow_generator();
    let on_shadow =
        |scalar: &SecretScalar| Point::from_ristretto(shadow.as_ristretto() * scalar.expose());
    let w = random();
    let (first, second) = (s.public(), on_shadow(s).unwrap());
    let (w1, w2) = (w.public(), on_shadow(&w).unwrap());
    let e = challenge(purpose, context, [&first, &second, &w1, &w2]);
    encoded(&first, &second, &w1, &w2, &(w.expose() + e * s.expose()))
}

fn encoded(first: &Point, second: &Point, w1: &Point, w2: &Point, f: &Scalar) -> Vec<u8> {
    let parts: [&[u8; 32]; 5] = [
        first.as_bytes(),
        second.as_bytes(),
        w1.as_bytes(),
        w2.as_bytes(),
        f.as_bytes(),
    ];
    parts.map(<[u8; 32]>::as_slice).concat()
}

/// A wrapped key's encoding around `U ‖ Ū ‖ proof`.
pub(crate) fn wrapped_key(y: &Point, points: &[u8], label: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_le_bytes();
    [
        &[1],
        y.as_bytes().as_slice(),
        points,
        &length(label),
        label,
        &length(body),
        body,
    ]
    .concat()
}
