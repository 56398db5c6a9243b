//! A cluster in memory, and requests that it would accept.

use certs::{
    Algorithm, Approval, Approved, Binding, Issuer, Organisation, Policy, PolicyConfig, Refused,
};
use reencrypt::{
    EphemeralKey, EphemeralSecret, KeyShare, Opening, Point, PublicKeyPackage, Scalar,
    SecretScalar, Share, VerifiedEphemeralKey, VerifiedWrappedKey, WrappedKey, verify_request,
    wrap,
};

/// The moment at which everything here happens: seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;
/// The subject public key that the approvals name: a DER SubjectPublicKeyInfo of an Ed25519 key (RFC 8410). The policy
/// compares bytes, so any key does.
const CLIENT: &[u8; 44] =
    b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00a client's key: nobody knows its";

/// A cluster's key, shared by a dealer in memory, with an approval policy. For measuring alone: a real key is never in
/// one place.
pub struct Cluster {
    shares: Vec<KeyShare>,
    package: PublicKeyPackage,
    policy: Policy,
    issuers: Vec<Issuer>,
}

/// A request as a node receives it, and what its maker keeps.
pub struct PreparedRequest {
    /// The encoded wrapped key.
    pub wrapped_key: Vec<u8>,
    /// The encoded ephemeral key.
    pub ephemeral_key: [u8; 160],
    /// The approvals, DER.
    pub approvals: Vec<Vec<u8>>,
    wrapped: VerifiedWrappedKey,
    secret: EphemeralSecret,
}

impl Cluster {
    /// A key shared t of n, and `approvals` organisations that must all approve.
    ///
    /// # Panics
    /// If the numbers make no cluster, such as t > n.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the benches choose the numbers")]
    pub fn new(threshold: u16, members: u16, approvals: u16, algorithm: Algorithm) -> Self {
        let rng = &mut rand::rng();
        let coefficients: Vec<SecretScalar> =
            (0..threshold).map(|_| SecretScalar::random(rng)).collect();
        let evaluate = |at: u16| -> Scalar {
            let at = Scalar::from(at);
            coefficients
                .iter()
                .rev()
                .fold(Scalar::ZERO, |sum, c| sum * at + c.expose())
        };
        let secret_at =
            |at: u16| SecretScalar::from_scalar(evaluate(at)).expect("zero has no chance");
        let public_key: Point = secret_at(0).public();
        let publics = (1..=members).map(|i| secret_at(i).public()).collect();
        let shares = (1..=members)
            .map(|i| KeyShare::new(i, 0, public_key, secret_at(i)).expect("i ≥ 1"))
            .collect();
        let issuers: Vec<Issuer> = (0..approvals)
            .map(|i| {
                let (from, to) = (NOW - 1_000, NOW + 1_000_000);
                Issuer::generate(&format!("organisation {i}"), algorithm, from, to)
                    .expect("a valid issuer")
            })
            .collect();
        let organisations = (0..)
            .zip(&issuers)
            .map(|(i, issuer): (u32, _)| Organisation {
                name: format!("organisation {i}"),
                issuers: vec![issuer.certificate_der().to_vec()],
            })
            .collect();
        let policy = Policy::new(PolicyConfig {
            approvals_needed: approvals,
            organisations,
            max_lifetime_s: 300,
            tolerance_s: 30,
        })
        .expect("a valid policy");
        let package = PublicKeyPackage::new(public_key, 0, threshold, publics)
            .expect("shares of one polynomial");
        Self {
            shares,
            package,
            policy,
            issuers,
        }
    }

    /// A request that every node accepts.
    ///
    /// # Panics
    /// Never, as the inputs are of our own making.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the inputs are our own")]
    pub fn request(&self) -> PreparedRequest {
        let rng = &mut rand::rng();
        let public_key = self.package.public_key();
        let wrapped = wrap(&public_key, b"label", &[7; 32], rng).expect("valid lengths");
        let secret = EphemeralSecret::new(&wrapped, rng);
        let approval = |i: usize| Approval {
            write_id: wrapped.write_id(),
            ephemeral_point: *secret.public().point().as_bytes(),
            approval_id: format!("approval-{i}"),
            client_spki: CLIENT.to_vec(),
            not_before: NOW,
            not_after: NOW + 120,
        };
        let approvals = self
            .issuers
            .iter()
            .enumerate()
            .map(|(i, issuer)| issuer.issue(&approval(i)).expect("a valid approval"))
            .collect();
        PreparedRequest {
            wrapped_key: wrapped.as_bytes().to_vec(),
            ephemeral_key: *secret.public().as_bytes(),
            approvals,
            wrapped,
            secret,
        }
    }

    /// The policy's part of a node's work.
    ///
    /// # Errors
    /// [`Refused`] if the approvals do not suffice.
    pub fn approve(
        &self,
        request: &PreparedRequest,
        ephemeral_point: [u8; 32],
        write_id: [u8; 32],
    ) -> Result<Approved, Refused> {
        let approvals: Vec<&[u8]> = request.approvals.iter().map(Vec::as_slice).collect();
        let binding = Binding {
            write_id,
            ephemeral_point,
            client_spki: CLIENT,
        };
        self.policy.verify(&approvals, &binding, NOW)
    }

    /// A node's whole work on a request, but for the wire and the disk: parse, verify the approvals, both proofs, compute
    /// the share and its proof. `node` counts from 1.
    ///
    /// # Panics
    /// If there is no such node or the request is not one of [`Cluster::request`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "the request is our own")]
    pub fn answer(&self, node: u16, request: &PreparedRequest) -> Share {
        let rng = &mut rand::rng();
        let share = self
            .shares
            .get(usize::from(node) - 1)
            .expect("a node of this cluster");
        let wrapped = WrappedKey::parse_under(&request.wrapped_key, &self.package.public_key())
            .expect("a wrapped key under this cluster's key");
        let ephemeral = EphemeralKey::parse(&request.ephemeral_key).expect("an ephemeral key");
        self.approve(request, *ephemeral.point().as_bytes(), wrapped.write_id())
            .expect("enough approvals");
        let (wrapped, ephemeral): (VerifiedWrappedKey, VerifiedEphemeralKey) =
            verify_request(&wrapped, &ephemeral, rng).expect("true proofs");
        share
            .reencrypt(&wrapped, &ephemeral, rng)
            .expect("no identity")
    }

    /// Starts the opening of a request.
    ///
    /// # Panics
    /// Never for a request of [`Cluster::request`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "the request is our own")]
    pub fn opening(&self, request: PreparedRequest) -> Opening {
        Opening::new(request.wrapped, request.secret, self.package.clone())
            .expect("they belong together")
    }
}
