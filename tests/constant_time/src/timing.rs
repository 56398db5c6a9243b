//! Welch's t-test over the times of two classes of secrets, in random order: one scalar always the same, the other new each
//! time. Where the time does not depend on the secret, the classes are one.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use curve25519_dalek::RistrettoPoint;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reencrypt::polynomial::evaluate;
use reencrypt::{EphemeralSecret, KeyShare, Point, Scalar, SecretScalar, VerifiedWrappedKey, wrap};

/// Measurements of each attempt.
const MEASUREMENTS: usize = 20_000;
/// Of the times, only the fastest are looked at: what is above them is other processes.
const KEPT: f64 = 0.8;
/// |t| above which the classes count as different. dudect's own bound for certainty is 10; a busy machine is allowed more.
const BOUND: f64 = 15.0;
/// How often an operation may look variable before it counts as such: an interruption does not repeat itself.
const ATTEMPTS: usize = 3;

struct Fixture {
    point: Point,
    y: Point,
    wrapped: VerifiedWrappedKey,
    ephemeral: EphemeralSecret,
}

type Measured = fn(&Fixture, &SecretScalar);

const OPERATIONS: [(&str, Measured); 5] = [
    ("scalar-times-generator", |_, scalar| {
        black_box(scalar.public());
    }),
    ("scalar-times-point", |fixture, scalar| {
        black_box(scalar.diffie_hellman(&fixture.point));
    }),
    ("share-made", |fixture, scalar| {
        let secret = SecretScalar::from_scalar(*scalar.expose()).unwrap();
        let share = KeyShare::new(1, 0, fixture.y, secret).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        black_box(share.reencrypt(&fixture.wrapped, fixture.ephemeral.public(), &mut rng)).unwrap();
    }),
    ("shares-evaluated", |_, scalar| {
        let coefficient = |()| SecretScalar::from_scalar(*scalar.expose()).unwrap();
        let polynomial = [(); 8].map(coefficient);
        for member in 1..=32 {
            black_box(evaluate(&polynomial, member));
        }
    }),
    ("variable-multiplication", |fixture, scalar| {
        let point = fixture.point.as_ristretto();
        black_box(RistrettoPoint::vartime_double_scalar_mul_basepoint(
            scalar.expose(),
            point,
            &Scalar::ONE,
        ));
    }),
];

/// Measures all; fails if one that should not depends on its secret, or if the variable one is not found out.
pub(crate) fn measure_all() -> ExitCode {
    let mut rng = StdRng::seed_from_u64(3);
    let y = SecretScalar::random(&mut rng).public();
    let wrapped = wrap(&y, b"label", &[9; 32], &mut rng).unwrap();
    let fixture = Fixture {
        point: SecretScalar::random(&mut rng).public(),
        y,
        ephemeral: EphemeralSecret::new(&wrapped, &mut rng),
        wrapped,
    };
    let mut wrong = false;
    for (name, operation) in OPERATIONS {
        let t = (0..ATTEMPTS)
            .map(|_| measure(&fixture, operation, &mut rng).abs())
            .fold(f64::INFINITY, f64::min);
        let varies = t > BOUND;
        println!("{name}: |t| = {t:.1}");
        wrong |= varies != name.starts_with("variable");
    }
    ExitCode::from(u8::from(wrong))
}

fn measure(fixture: &Fixture, operation: Measured, rng: &mut StdRng) -> f64 {
    // The variable multiplication is fastest with few digits that are not zero.
    let fixed = Scalar::from(rng.random::<u8>().max(1));
    let inputs: Vec<(bool, SecretScalar)> = (0..MEASUREMENTS)
        .map(|_| match rng.random::<bool>() {
            true => (true, SecretScalar::from_scalar(fixed).unwrap()),
            false => (false, SecretScalar::random(rng)),
        })
        .collect();
    let mut times: Vec<(bool, f64)> = inputs
        .iter()
        .map(|(class, scalar)| {
            let start = Instant::now();
            operation(fixture, scalar);
            (*class, start.elapsed().as_nanos() as f64)
        })
        .collect();
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    times.truncate((times.len() as f64 * KEPT) as usize);
    let (mean_a, spread_a) = moments(&times, true);
    let (mean_b, spread_b) = moments(&times, false);
    (mean_a - mean_b) / (spread_a + spread_b).sqrt()
}

/// Mean, and variance of the mean.
fn moments(times: &[(bool, f64)], class: bool) -> (f64, f64) {
    let times: Vec<f64> = times
        .iter()
        .filter(|(of, _)| *of == class)
        .map(|(_, time)| *time)
        .collect();
    let count = times.len().max(2) as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}
