//! A cluster whose secret is dealt by somebody who knows it: enough for tests and benches of this crate.

use curve25519_dalek::scalar::Scalar;
use rand::CryptoRng;
use reencrypt::{KeyShare, Point, PublicKeyPackage, SecretScalar};

pub(crate) struct Cluster {
    pub(crate) package: PublicKeyPackage,
    pub(crate) nodes: Vec<KeyShare>,
}

impl Cluster {
    pub(crate) fn deal<R: CryptoRng>(
        threshold: u16,
        members: u16,
        epoch: u64,
        rng: &mut R,
    ) -> Self {
        Self::share(&SecretScalar::random(rng), threshold, members, epoch, rng)
    }

    pub(crate) fn share<R: CryptoRng>(
        secret: &SecretScalar,
        threshold: u16,
        members: u16,
        epoch: u64,
        rng: &mut R,
    ) -> Self {
        let mut coefficients = vec![*secret.expose()];
        for _ in 1..threshold {
            coefficients.push(*SecretScalar::random(rng).expose());
        }
        let public_key = secret.public();
        let nodes: Vec<KeyShare> = (1..=members)
            .map(|index| {
                let at = Scalar::from(index);
                let value = coefficients
                    .iter()
                    .rev()
                    .fold(Scalar::ZERO, |sum, c| sum * at + c);
                let secret = SecretScalar::from_scalar(value).unwrap();
                KeyShare::new(index, epoch, public_key, secret).unwrap()
            })
            .collect();
        let public_shares = nodes.iter().map(KeyShare::public_share).collect();
        let package = PublicKeyPackage::new(public_key, epoch, threshold, public_shares).unwrap();
        Cluster { package, nodes }
    }

    pub(crate) fn public_key(&self) -> Point {
        self.package.public_key()
    }

    /// Node `index`, from 1.
    pub(crate) fn node(&self, index: u16) -> &KeyShare {
        &self.nodes[usize::from(index) - 1]
    }
}
