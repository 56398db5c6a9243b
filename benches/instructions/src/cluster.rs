//! A cluster in memory and one read of one wrapped key, the same in every run: seeds and committed keys stand for randomness.

use certs::{Algorithm, Approval, Binding, Issuer, Organisation, Policy, PolicyConfig};
use cryptonode::audit::{AuditApproval, AuditRecord};
use cryptonode::wire::v1::{ByteBuf, Request};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{
    EphemeralKey, EphemeralSecret, KeyShare, Opening, Progress, PublicKeyPackage, Scalar,
    SecretScalar, Share, VerifiedWrappedKey, WrappedKey, verify_request, wrap,
};

/// The moment at which everything here happens: seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;
/// The subject public key that the approvals name (RFC 8410). The policy compares bytes, so any key does.
const CLIENT: &[u8; 44] =
    b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00a client's key: nobody knows its";
/// Two organisations' authorities, certificate and key; made for this and used for nothing else.
const ORGANISATIONS: [(&str, &str); 2] = [
    (
        include_str!("../organisations/alder.certificate.pem"),
        include_str!("../organisations/alder.key.pem"),
    ),
    (
        include_str!("../organisations/birch.certificate.pem"),
        include_str!("../organisations/birch.key.pem"),
    ),
];

/// Everything of one read.
pub(crate) struct Read {
    pub(crate) rng: StdRng,
    pub(crate) package: PublicKeyPackage,
    shares: Vec<KeyShare>,
    policy: Policy,
    pub(crate) wrapped: VerifiedWrappedKey,
    pub(crate) ephemeral: EphemeralSecret,
    pub(crate) approvals: Vec<Vec<u8>>,
}

#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "everything here is of our own making, and a failure ends the count"
)]
impl Read {
    /// Of a key shared t of n.
    pub(crate) fn new(threshold: u16, members: u16) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let coefficients: Vec<SecretScalar> = (0..threshold)
            .map(|_| SecretScalar::random(&mut rng))
            .collect();
        let secret_at = |at: u16| {
            let at = Scalar::from(at);
            let value = coefficients
                .iter()
                .rev()
                .fold(Scalar::ZERO, |sum, c| sum * at + c.expose());
            SecretScalar::from_scalar(value).expect("zero has no chance")
        };
        let public_key = secret_at(0).public();
        let publics = (1..=members).map(|i| secret_at(i).public()).collect();
        let shares = (1..=members)
            .map(|i| KeyShare::new(i, 0, public_key, secret_at(i)).expect("i is at least 1"))
            .collect();
        let package = PublicKeyPackage::new(public_key, 0, threshold, publics)
            .expect("shares of one polynomial");
        let wrapped = wrap(&public_key, &[1; 32], &[2; 32], &mut rng).expect("valid lengths");
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        let approvals = ORGANISATIONS
            .iter()
            .map(|(certificate, key)| approval(certificate, key, &wrapped, &ephemeral))
            .collect();
        Self {
            rng,
            package,
            shares,
            policy: policy(),
            wrapped,
            ephemeral,
            approvals,
        }
    }

    /// Both approvals against the policy.
    pub(crate) fn approve(&self) {
        let approvals: Vec<&[u8]> = self.approvals.iter().map(Vec::as_slice).collect();
        self.policy
            .verify(&approvals, &self.binding(), NOW)
            .expect("two good approvals");
    }

    /// What its approvals are bound to.
    fn binding(&self) -> Binding<'static> {
        Binding {
            write_id: self.wrapped.write_id(),
            ephemeral_point: *self.ephemeral.public().point().as_bytes(),
            client_spki: CLIENT,
        }
    }

    /// One organisation's authority, and what it is asked to sign.
    pub(crate) fn to_approve(&self) -> (Issuer, Approval) {
        let (certificate, key) = ORGANISATIONS[0];
        let issuer = Issuer::from_pem(certificate, key).expect("a committed authority");
        (issuer, wanted(&self.wrapped, &self.ephemeral))
    }

    /// The request, as a client sends it.
    pub(crate) fn message(&self) -> Request {
        let approvals = self.approvals.iter();
        Request::Reencrypt {
            result: None,
            approvals: approvals
                .map(|approval| ByteBuf::from(approval.as_slice()))
                .collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(self.wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(self.ephemeral.public().as_bytes().as_slice()),
        }
    }

    /// Its wrapped key and its ephemeral key as a node decodes them.
    pub(crate) fn parse(&self) -> (WrappedKey, EphemeralKey) {
        let wrapped = WrappedKey::parse_under(self.wrapped.as_bytes(), &self.package.public_key())
            .expect("a wrapped key under this key");
        let ephemeral =
            EphemeralKey::parse(self.ephemeral.public().as_bytes()).expect("an ephemeral key");
        (wrapped, ephemeral)
    }

    /// What a node writes into its audit log of it.
    pub(crate) fn audit_record(&self) -> AuditRecord {
        let approval = |number: u8| AuditApproval {
            approval_id: "approval".to_owned(),
            organisation: format!("organisation {number}"),
            issuer_fingerprint: [number; 32],
        };
        AuditRecord {
            epoch: 0,
            client: [7; 32],
            time_ms: NOW * 1_000,
            write_id: self.wrapped.write_id(),
            approvals: vec![approval(1), approval(2)],
            public_key: *self.package.public_key().as_bytes(),
            ephemeral_point: *self.ephemeral.public().point().as_bytes(),
        }
    }

    /// A node's whole work on the request, but for the wire and the disk.
    pub(crate) fn answer(&mut self) -> Share {
        let (wrapped, ephemeral) = self.parse();
        self.approve();
        let (wrapped, ephemeral) =
            verify_request(&wrapped, &ephemeral, &mut self.rng).expect("true proofs");
        self.shares[0]
            .reencrypt(&wrapped, &ephemeral, &mut self.rng)
            .expect("no identity")
    }

    /// One node's share.
    pub(crate) fn share(&mut self, index: u16) -> Share {
        let node = &self.shares[usize::from(index) - 1];
        node.reencrypt(&self.wrapped, self.ephemeral.public(), &mut self.rng)
            .expect("no identity")
    }

    /// The bytes of the answers of the first t nodes.
    pub(crate) fn answers(&mut self) -> Vec<(u16, [u8; Share::LENGTH])> {
        (1..=self.package.threshold())
            .map(|index| (index, self.share(index).to_bytes()))
            .collect()
    }

    /// The bytes of the answers of the first t nodes and of one more; the first of them is a lie.
    pub(crate) fn answers_with_a_lie(&mut self) -> Vec<(u16, [u8; Share::LENGTH])> {
        let mut answers: Vec<(u16, [u8; Share::LENGTH])> = (1..=self.package.threshold() + 1)
            .map(|index| (index, self.share(index).to_bytes()))
            .collect();
        // Another point where D is (protocol section 5).
        answers[0].1[10..42].copy_from_slice(self.package.public_key().as_bytes());
        answers
    }

    /// From the answers to the secret, with x_c·Y.
    pub(crate) fn open(self, answers: &[(u16, [u8; Share::LENGTH])]) {
        let mut opening =
            Opening::new(self.wrapped, self.ephemeral, self.package).expect("they belong together");
        let mut progress = Progress::Finished;
        for (index, answer) in answers {
            progress = opening.add(*index, answer);
        }
        assert!(matches!(progress, Progress::Opened(_)));
    }
}

#[expect(clippy::expect_used, reason = "the certificates are committed")]
fn policy() -> Policy {
    let organisations = (1..)
        .zip(ORGANISATIONS)
        .map(|(number, (certificate, key)): (u32, _)| {
            let issuer = Issuer::from_pem(certificate, key).expect("a committed authority");
            Organisation {
                name: format!("organisation {number}"),
                issuers: vec![issuer.certificate_der().to_vec()],
            }
        })
        .collect();
    Policy::new(PolicyConfig {
        approvals_needed: 2,
        organisations,
        max_lifetime_s: 300,
        tolerance_s: 30,
    })
    .expect("a valid policy")
}

/// An approval as the issuer makes it, but for the serial number, which is random there and fixed here. Ed25519 signs without
/// randomness, so the same bytes come out every time.
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the certificate is our own"
)]
fn approval(
    certificate: &str,
    key: &str,
    wrapped: &VerifiedWrappedKey,
    ephemeral: &EphemeralSecret,
) -> Vec<u8> {
    const SIGNATURE: usize = 64;
    let issuer = Issuer::from_pem(certificate, key).expect("a committed authority");
    let mut der = issuer
        .issue(&wanted(wrapped, ephemeral))
        .expect("a valid approval");
    // Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version 3, serial INTEGER (16 bytes), … }, …, signature }
    let version_and_serial = [0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x10];
    let serial = der
        .windows(version_and_serial.len())
        .position(|window| window == version_and_serial)
        .expect("a version and a serial number")
        + version_and_serial.len();
    der[serial..serial + 16].fill(0x42);
    let length = usize::from(u16::from_be_bytes([der[6], der[7]])) + 4;
    let signed_part = 4..4 + length;
    let key = SigningKey::from_pkcs8_pem(key).expect("an Ed25519 key");
    let signature = key.sign(&der[signed_part]).to_bytes();
    let place = der.len() - SIGNATURE;
    der[place..].copy_from_slice(&signature);
    der
}

/// What an organisation is asked to sign.
fn wanted(wrapped: &VerifiedWrappedKey, ephemeral: &EphemeralSecret) -> Approval {
    Approval {
        write_id: wrapped.write_id(),
        ephemeral_point: *ephemeral.public().point().as_bytes(),
        approval_id: "approval".to_owned(),
        client_spki: CLIENT.to_vec(),
        not_before: NOW,
        not_after: NOW + 120,
    }
}

/// Two approvals with other keys than the committed ones, and the policy that asks for them.
pub(crate) struct Signed {
    policy: Policy,
    approvals: Vec<Vec<u8>>,
    binding: Binding<'static>,
}

impl Signed {
    /// By P-256, which signs with randomness: keys and signatures differ from run to run, the number of instructions that verify them hardly.
    #[expect(clippy::expect_used, reason = "the authorities are our own")]
    pub(crate) fn with_p256(read: &Read) -> Self {
        let issuers = [1, 2].map(|number| {
            let name = format!("organisation {number}");
            Issuer::generate(&name, Algorithm::EcdsaP256, NOW - 1_000, NOW + 1_000_000)
                .expect("a valid authority")
        });
        let organisations = (1..)
            .zip(&issuers)
            .map(|(number, issuer): (u32, _)| Organisation {
                name: format!("organisation {number}"),
                issuers: vec![issuer.certificate_der().to_vec()],
            })
            .collect();
        let policy = Policy::new(PolicyConfig {
            approvals_needed: 2,
            organisations,
            max_lifetime_s: 300,
            tolerance_s: 30,
        });
        let wanted = wanted(&read.wrapped, &read.ephemeral);
        let approvals = issuers.map(|issuer| issuer.issue(&wanted).expect("a valid approval"));
        Self {
            policy: policy.expect("a valid policy"),
            approvals: approvals.to_vec(),
            binding: read.binding(),
        }
    }

    /// Both against the policy.
    #[expect(clippy::expect_used, reason = "they are good")]
    pub(crate) fn approve(&self) {
        let approvals: Vec<&[u8]> = self.approvals.iter().map(Vec::as_slice).collect();
        self.policy
            .verify(&approvals, &self.binding, NOW)
            .expect("two good approvals");
    }
}
