//! Keys and honest values that are the same in every run.

use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{KeyShare, Point, PublicKeyPackage, Scalar, SecretScalar};

/// A generator that gives the same in every run.
pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A cluster of three, two of which are enough.
pub(crate) struct Sharing {
    pub(crate) y: Point,
    pub(crate) package: PublicKeyPackage,
    pub(crate) shares: Vec<KeyShare>,
}

impl Sharing {
    pub(crate) fn new() -> Self {
        let mut rng = rng(1);
        let (x, slope) = (
            SecretScalar::random(&mut rng),
            SecretScalar::random(&mut rng),
        );
        let y = x.public();
        let share = |index: u16| x.expose() + slope.expose() * Scalar::from(index);
        let secrets: Vec<SecretScalar> = (1..=3)
            .map(|index| SecretScalar::from_scalar(share(index)).unwrap())
            .collect();
        let public = secrets.iter().map(SecretScalar::public).collect();
        let package = PublicKeyPackage::new(y, 0, 2, public).unwrap();
        let shares = (1..)
            .zip(secrets)
            .map(|(index, secret)| KeyShare::new(index, 0, y, secret).unwrap())
            .collect();
        Self { y, package, shares }
    }
}
