//! Attacks on sections 2 to 6, each refused for its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../cluster/mod.rs"]
mod cluster;
mod forgery;
mod opening;
mod package;
mod share;

use cluster::Cluster;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use rand::rngs::ThreadRng;
use reencrypt::equality::{Batch, EqualityProof, Statement};
use reencrypt::*;

const LABEL: &[u8] = b"a label";
const SECRET: &[u8] = &[0x5e; 32];

fn rng() -> ThreadRng {
    rand::rng()
}

fn random_point() -> Point {
    SecretScalar::random(&mut rng()).public()
}

fn generators() -> (Point, Point) {
    (Point::generator(), Point::shadow_generator())
}

/// A read that nobody disturbs, up to the nodes' answers.
struct Read {
    cluster: Cluster,
    wrapped: VerifiedWrappedKey,
    secret: EphemeralSecret,
}

impl Read {
    fn new(threshold: u16, members: u16) -> Self {
        let cluster = Cluster::deal(threshold, members, 4, &mut rng());
        let wrapped = wrap(&cluster.public_key(), LABEL, SECRET, &mut rng()).unwrap();
        Self::of(cluster, wrapped)
    }

    fn of(cluster: Cluster, wrapped: VerifiedWrappedKey) -> Self {
        let secret = EphemeralSecret::new(&wrapped, &mut rng());
        Read {
            cluster,
            wrapped,
            secret,
        }
    }

    fn answer(&self, index: u16) -> [u8; Share::LENGTH] {
        let node = self.cluster.node(index);
        node.reencrypt(&self.wrapped, self.secret.public(), &mut rng())
            .unwrap()
            .to_bytes()
    }

    fn verify(&self, share: &[u8]) -> Result<VerifiedShare, ShareError> {
        Share::parse(share)?.verify(&self.cluster.package, &self.wrapped, self.secret.public())
    }

    fn open(self) -> Opening {
        Opening::new(self.wrapped, self.secret, self.cluster.package).unwrap()
    }
}

/// A wrapped key of somebody who follows the format and not the rules: the proof is good, the body is whatever `body`
/// makes of `S` and `U`.
fn wrapped_by_a_liar(
    public_key: &Point,
    body: impl FnOnce(&RistrettoPoint, &Point) -> Vec<u8>,
) -> VerifiedWrappedKey {
    let r = SecretScalar::random(&mut rng());
    let u = r.public();
    let body = body(&(public_key.as_ristretto() * r.expose()), &u);
    let context = [public_key.as_bytes(), LABEL, body.as_slice()];
    let bytes = [
        &[1],
        public_key.as_bytes().as_slice(),
        &points_and_proof(&r, "wrapped-key", &context),
        &(LABEL.len() as u16).to_le_bytes(),
        LABEL,
        &(body.len() as u16).to_le_bytes(),
        &body,
    ]
    .concat();
    WrappedKey::parse(&bytes)
        .unwrap()
        .verify(&mut rng())
        .unwrap()
}

/// `s·G ‖ s·Ḡ ‖ proof`.
fn points_and_proof(secret: &SecretScalar, purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let bases = generators();
    let shadow = Point::from_ristretto(bases.1.as_ristretto() * secret.expose()).unwrap();
    let points = (secret.public(), shadow);
    let statement = Statement {
        purpose,
        context,
        bases,
        points,
    };
    let proof = EqualityProof::prove(&statement, secret, &mut rng()).to_bytes();
    [points.0.as_bytes().as_slice(), points.1.as_bytes(), &proof].concat()
}

fn body_of(wrapped: &WrappedKey) -> &[u8] {
    let start = 193 + 2 + wrapped.label().len() + 2;
    &wrapped.as_bytes()[start..]
}

fn point_u(wrapped: &WrappedKey) -> Point {
    Point::from_slice(&wrapped.as_bytes()[33..65]).unwrap()
}
