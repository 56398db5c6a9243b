//! The operations on secrets, each run once with its secrets marked.

use std::hint::black_box;

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
use curve25519_dalek::RistrettoPoint;
use hmac::{Hmac, Mac};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{
    EphemeralSecret, KeyShare, Opening, Progress, PublicKeyPackage, Scalar, SecretBytes,
    SecretScalar, VerifiedWrappedKey, wrap,
};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::marks::{MARKS, SecretRng, public, secret};

type Operation = (&'static str, Box<dyn Fn()>);

/// All of them: this file's, and those of the key generation. Those whose name begins with `variable` must be found out.
pub(crate) fn all() -> Vec<Operation> {
    let of_key_generation = dkg::constant_time::operations(MARKS).into_iter();
    let of_key_generation = of_key_generation.map(|(name, run)| {
        let run = move || run(&mut rng(), &mut SecretRng::new());
        (name, Box::new(run) as Box<dyn Fn()>)
    });
    let own = OWN.iter().map(|(name, run)| (*name, Box::new(*run) as _));
    own.chain(of_key_generation).collect()
}

const OWN: [(&str, fn()); 13] = [
    ("scalar-times-generator", scalar_times_generator),
    ("scalar-times-point", scalar_times_point),
    ("scalar-times-points-together", scalar_times_points_together),
    ("scalars-compared", scalars_compared),
    ("secret-bytes-compared", secret_bytes_compared),
    ("share-made", share_made),
    ("wrapped", wrapped),
    ("ephemeral-key-made", ephemeral_key_made),
    ("opened", opened),
    ("sealed-and-unsealed", sealed_and_unsealed),
    ("token-checked", token_checked),
    ("variable-comparison", variable_comparison),
    ("variable-multiplication", variable_multiplication),
];

fn rng() -> StdRng {
    StdRng::seed_from_u64(2)
}

/// A scalar whose bytes are marked.
fn marked() -> SecretScalar {
    let scalar = SecretScalar::random(&mut rng());
    secret(scalar.expose());
    scalar
}

fn scalar_times_generator() {
    let point = marked().public();
    public(&point);
    black_box(point);
}

fn scalar_times_point() {
    let point = SecretScalar::random(&mut rng()).public();
    let shared = marked().diffie_hellman(&point);
    public(&*shared);
    black_box(*shared);
}

fn scalar_times_points_together() {
    let points = [(); 3].map(|()| SecretScalar::random(&mut rng()).public());
    let shared = marked().diffie_hellman_with_each(points.iter());
    public(shared.as_slice());
    black_box(&shared);
}

fn scalars_compared() {
    let (one, other) = (marked(), SecretScalar::random(&mut rng()));
    let mut equal = one.ct_eq(&other).unwrap_u8();
    public(&equal);
    assert_eq!(equal, 1);
    equal = black_box(equal);
    assert_eq!(equal, 1);
}

fn secret_bytes_compared() {
    let bytes = SecretBytes::new(vec![7; 64]);
    secret(bytes.expose());
    let equal = bytes.ct_eq(&[7; 64]);
    public(&equal);
    assert!(equal);
}

/// A key of one node alone, its share marked, and a read of it.
fn node() -> (KeyShare, PublicKeyPackage, VerifiedWrappedKey) {
    let share = SecretScalar::random(&mut rng());
    let y = share.public();
    let package = PublicKeyPackage::new(y, 0, 1, vec![y]).unwrap();
    let wrapped = wrap(&y, b"label", &[9; 32], &mut rng()).unwrap();
    (KeyShare::new(1, 0, y, share).unwrap(), package, wrapped)
}

/// What a node does with its share: D_i and its proof.
fn share_made() {
    let (share, _, wrapped) = node();
    let ephemeral = EphemeralSecret::new(&wrapped, &mut rng());
    secret(share.secret().expose());
    let answer = share
        .reencrypt(&wrapped, ephemeral.public(), &mut SecretRng::new())
        .unwrap();
    let bytes = answer.to_bytes();
    public(&bytes);
    black_box(bytes);
}

/// What a writer does: r and the data key are secret.
fn wrapped() {
    let y = SecretScalar::random(&mut rng()).public();
    let data_key = [9; 32];
    secret(&data_key);
    let wrapped = wrap(&y, b"label", &data_key, &mut SecretRng::new()).unwrap();
    public(wrapped.as_bytes());
    black_box(wrapped.as_bytes().len());
}

fn ephemeral_key_made() {
    let (_, _, wrapped) = node();
    let ephemeral = EphemeralSecret::new(&wrapped, &mut SecretRng::new());
    public(ephemeral.public().as_bytes());
    black_box(ephemeral.public().as_bytes()[0]);
}

/// What a reader does: x_c is secret, and the data key that comes of it. That it opened is not.
fn opened() {
    let (share, package, wrapped) = node();
    let ephemeral = EphemeralSecret::new(&wrapped, &mut SecretRng::new());
    public(ephemeral.public());
    let answer = share
        .reencrypt(&wrapped, ephemeral.public(), &mut rng())
        .unwrap();
    let mut opening = Opening::new(wrapped, ephemeral, package).unwrap();
    let bytes = answer.to_bytes();
    public(&bytes);
    match opening.add(1, &bytes) {
        Progress::Opened(data_key) => {
            public(data_key.expose());
            assert_eq!(data_key.expose(), [9; 32]);
        }
        other => panic!("{other:?}"),
    }
}

/// The ciphers under which shares and records are sealed, with marked keys and contents.
fn sealed_and_unsealed() {
    let (key, content) = ([3; 32], [4; 48]);
    secret(&key);
    secret(&content);
    let cipher = ChaCha20Poly1305::new(&key.into());
    let sealed = cipher.encrypt(&[0; 12].into(), content.as_slice()).unwrap();
    public(sealed.as_slice());
    let plain = cipher.decrypt(&[0; 12].into(), sealed.as_slice()).unwrap();
    public(plain.as_slice());
    assert_eq!(plain, [4; 48]);
    let cipher = XChaCha20Poly1305::new(&key.into());
    let sealed = cipher.encrypt(&[0; 24].into(), content.as_slice()).unwrap();
    public(sealed.as_slice());
    let plain = cipher.decrypt(&[0; 24].into(), sealed.as_slice()).unwrap();
    public(plain.as_slice());
    assert_eq!(plain, [4; 48]);
}

/// How the platform checks its API keys: HMAC-SHA-256 under a marked secret, compared with what a client sent.
fn token_checked() {
    let key = [5; 32];
    let tag = |key: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(b"tenant");
        mac
    };
    let sent = tag(&key).finalize().into_bytes();
    secret(&key);
    assert!(tag(&key).verify_slice(&sent).is_ok());
}

/// Found out: a comparison that stops at the first difference.
fn variable_comparison() {
    let bytes = [7_u8; 64];
    secret(&bytes);
    black_box(black_box(&bytes)[..] == black_box(&[7_u8; 64])[..]);
}

/// Found out: a multiplication that looks its table up by the digits of the scalar.
fn variable_multiplication() {
    let point = SecretScalar::random(&mut rng()).public();
    let scalar = marked();
    black_box(RistrettoPoint::vartime_double_scalar_mul_basepoint(
        scalar.expose(),
        point.as_ristretto(),
        &Scalar::ONE,
    ));
}
