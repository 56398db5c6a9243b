//! Re-encryption: this project's beside Umbral's.
//!
//! | operation | reencrypt | umbral-pre |
//! |---|---|---|
//! | encrypt | `wrap` a key, with its proof | `encrypt` |
//! | one node's fragment | the request parsed, both its proofs verified, share and proof, encoded | the capsule parsed and thereby verified, `reencrypt`, encoded |
//! | one fragment verified | `Share::parse`, `verify` | `CapsuleFrag::from_bytes`, `verify` |
//! | open from t | `Opening` with x_c·Y | `decrypt_reencrypted` |
//! | verify t and open | the same after `verify_shares` | `verify` of each, `decrypt_reencrypted` |

use std::hint::black_box;
use std::rc::Rc;

use reencrypt::{
    EphemeralKey, EphemeralSecret, KeyShare, Opening, Progress, PublicKeyPackage, Scalar,
    SecretScalar, Share, VerifiedWrappedKey, WrappedKey, verify_request, verify_shares, wrap,
};
use umbral_pre::{
    Capsule, CapsuleFrag, DefaultDeserialize, DefaultSerialize, SecretKey, Signer,
    decrypt_reencrypted, encrypt, generate_kfrags,
};

use crate::samples::Operation;

const OURS: &str = "reencrypt (ristretto255)";
const UMBRAL: &str = "umbral-pre (secp256k1)";
const ENCRYPT: &str = "encrypt";
const FRAGMENT: &str = "one node's fragment";
const VERIFY: &str = "one fragment verified";
const OPEN: &str = "open from t";
const OPEN_VERIFIED: &str = "verify t and open";
/// What is encrypted: a data key.
const SECRET: [u8; 32] = [7; 32];

/// Each operation of both.
pub fn operations(members: u16, threshold: u16) -> Vec<Operation> {
    let mut all = Vec::new();
    let (ours, umbral) = (ours(members, threshold), umbral(members, threshold));
    for (a, b) in ours.into_iter().zip(umbral) {
        all.extend([a, b]);
    }
    all
}

/// A key shared by a dealer.
struct Cluster {
    package: PublicKeyPackage,
    shares: Vec<KeyShare>,
    wrapped: VerifiedWrappedKey,
}

impl Cluster {
    fn deal(members: u16, threshold: u16) -> Self {
        let rng = &mut rand::rng();
        let coefficients: Vec<SecretScalar> =
            (0..threshold).map(|_| SecretScalar::random(rng)).collect();
        let secret_at = |at: u16| {
            let at = Scalar::from(at);
            let value = coefficients
                .iter()
                .rev()
                .fold(Scalar::ZERO, |sum, c| sum * at + c.expose());
            SecretScalar::from_scalar(value).unwrap()
        };
        let public_key = secret_at(0).public();
        let publics = (1..=members).map(|i| secret_at(i).public()).collect();
        let shares = (1..=members)
            .map(|i| KeyShare::new(i, 0, public_key, secret_at(i)).unwrap())
            .collect();
        let package = PublicKeyPackage::new(public_key, 0, threshold, publics).unwrap();
        let wrapped = wrap(&public_key, &[1; 32], &SECRET, rng).unwrap();
        Self {
            package,
            shares,
            wrapped,
        }
    }

    /// A node's work, from the request's bytes to the answer's.
    fn answer(&self, node: &KeyShare, ephemeral: &[u8; 160]) -> [u8; Share::LENGTH] {
        let rng = &mut rand::rng();
        let wrapped =
            WrappedKey::parse_under(self.wrapped.as_bytes(), &self.package.public_key()).unwrap();
        let ephemeral = EphemeralKey::parse(ephemeral).unwrap();
        let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, rng).unwrap();
        node.reencrypt(&wrapped, &ephemeral, rng)
            .unwrap()
            .to_bytes()
    }

    /// A reader's ephemeral key with the first t answers to it.
    fn read(&self) -> (EphemeralSecret, Vec<(u16, [u8; Share::LENGTH])>) {
        let ephemeral = EphemeralSecret::new(&self.wrapped, &mut rand::rng());
        let public = *ephemeral.public().as_bytes();
        let answers = (1..=self.package.threshold())
            .zip(&self.shares)
            .map(|(index, node)| (index, self.answer(node, &public)))
            .collect();
        (ephemeral, answers)
    }

    fn open(&self, ephemeral: EphemeralSecret, answers: &[(u16, [u8; Share::LENGTH])]) {
        let mut opening =
            Opening::new(self.wrapped.clone(), ephemeral, self.package.clone()).unwrap();
        let mut progress = Progress::Finished;
        for (index, answer) in answers {
            progress = opening.add(*index, answer);
        }
        assert!(matches!(progress, Progress::Opened(secret) if secret.ct_eq(&SECRET)));
    }
}

fn ours(members: u16, threshold: u16) -> Vec<Operation> {
    let cluster = Rc::new(Cluster::deal(members, threshold));
    let (ephemeral, answers) = cluster.read();
    let public = *ephemeral.public();
    let (of, share) = (|| Rc::clone(&cluster), answers[0].1);
    let (a, b, c, d, d2, e, e2) = (of(), of(), of(), of(), of(), of(), of());
    vec![
        Operation::new(ENCRYPT, OURS, move || {
            let rng = &mut rand::rng();
            black_box(wrap(&a.package.public_key(), &[1; 32], &SECRET, rng).unwrap());
        }),
        Operation::new(FRAGMENT, OURS, move || {
            black_box(b.answer(&b.shares[0], public.as_bytes()));
        }),
        Operation::new(VERIFY, OURS, move || {
            let share = Share::parse(black_box(&share)).unwrap();
            black_box(share.verify(&c.package, &c.wrapped, &public).unwrap());
        }),
        Operation::prepared(
            OPEN,
            OURS,
            move || d.read(),
            move |(ephemeral, answers)| d2.open(ephemeral, &answers),
        ),
        Operation::prepared(
            OPEN_VERIFIED,
            OURS,
            move || e.read(),
            move |(ephemeral, answers)| {
                let shares: Vec<Share> = answers
                    .iter()
                    .map(|(_, share)| Share::parse(share).unwrap())
                    .collect();
                let rng = &mut rand::rng();
                verify_shares(&shares, &e2.package, &e2.wrapped, ephemeral.public(), rng).unwrap();
                e2.open(ephemeral, &answers);
            },
        ),
    ]
}

fn umbral(members: u16, threshold: u16) -> Vec<Operation> {
    let (owner, reader) = (SecretKey::random(), SecretKey::random());
    let (owner_public, reader_public) = (owner.public_key(), reader.public_key());
    let signer = Signer::new(SecretKey::random());
    let verifying = signer.verifying_key();
    let (capsule, ciphertext) = encrypt(&owner_public, &SECRET).unwrap();
    let fragments = generate_kfrags(
        &owner,
        &reader_public,
        &signer,
        threshold.into(),
        members.into(),
        true,
        true,
    );
    let answers: Vec<_> = fragments
        .iter()
        .take(threshold.into())
        .map(|fragment| umbral_pre::reencrypt(&capsule, fragment.clone()))
        .collect();
    let open = {
        let (reader, capsule) = (reader.clone(), capsule.clone());
        move |answers: Vec<umbral_pre::VerifiedCapsuleFrag>| {
            let opened =
                decrypt_reencrypted(&reader, &owner_public, &capsule, answers, &ciphertext);
            assert_eq!(opened.unwrap().as_ref(), SECRET);
        }
    };
    let fragment = fragments[0].clone();
    let capsule_bytes = capsule.to_bytes().unwrap();
    let answer_bytes = answers[0].clone().unverify().to_bytes().unwrap();
    let (of_verify, of_open) = (capsule.clone(), capsule);
    let (open_answers, verified_answers, open_verified) = (answers.clone(), answers, open.clone());
    vec![
        Operation::new(ENCRYPT, UMBRAL, move || {
            black_box(encrypt(&owner_public, &SECRET).unwrap());
        }),
        Operation::new(FRAGMENT, UMBRAL, move || {
            let capsule = Capsule::from_bytes(&capsule_bytes).unwrap();
            let answer = umbral_pre::reencrypt(&capsule, fragment.clone());
            black_box(answer.unverify().to_bytes().unwrap());
        }),
        Operation::new(VERIFY, UMBRAL, move || {
            let fragment = CapsuleFrag::from_bytes(&answer_bytes).unwrap();
            let verified = fragment.verify(&of_verify, &verifying, &owner_public, &reader_public);
            assert!(black_box(verified).is_ok());
        }),
        Operation::prepared(OPEN, UMBRAL, move || open_answers.clone(), open),
        Operation::prepared(
            OPEN_VERIFIED,
            UMBRAL,
            move || -> Vec<_> {
                verified_answers
                    .iter()
                    .map(|answer| answer.clone().unverify())
                    .collect()
            },
            move |answers| {
                let verified = answers
                    .into_iter()
                    .map(|answer| {
                        let verified =
                            answer.verify(&of_open, &verifying, &owner_public, &reader_public);
                        verified.ok().unwrap()
                    })
                    .collect();
                open_verified(verified);
            },
        ),
    ]
}
