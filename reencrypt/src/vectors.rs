//! The vectors of an independent implementation (on libsodium): good ones are reproduced byte for byte from the nonces
//! that they give, bad ones are refused for the reason that they give.
//!
//! They lie in `vectors/`; the environment variable `VECTORS` names another folder, from the working directory or from
//! the root of the repository. This is the only place that chooses nonces, which is why it lives inside the crate: no
//! feature and no public function lets anybody else do so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::{Path, PathBuf};

use curve25519_dalek::scalar::Scalar;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::*;
use crate::wrapped_key::wrap_with_nonces;
use crate::*;

#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Bytes(#[serde(with = "hex::serde")] Vec<u8>);

impl Bytes {
    fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().expect("the right length")
    }

    fn point(&self) -> Point {
        Point::from_slice(&self.0).unwrap()
    }

    fn secret(&self) -> SecretScalar {
        SecretScalar::from_canonical_bytes(&self.array()).unwrap()
    }
}

fn load<T: DeserializeOwned>(name: &str) -> T {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = match std::env::var_os("VECTORS").map(PathBuf::from) {
        Some(folder) if folder.is_dir() => folder,
        Some(folder) => crate_folder.join("..").join(folder),
        None => crate_folder.join("vectors"),
    };
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds a refusal against the reason that the vector gives. Of a reason not known here only the refusal is asked.
fn assert_refused<T, E: std::fmt::Debug + PartialEq>(
    why: &str,
    outcome: Result<T, E>,
    expected: Option<E>,
) {
    match (outcome, expected) {
        (Ok(_), _) => panic!("accepted, although: {why}"),
        (Err(error), Some(expected)) => assert_eq!(error, expected, "{why}"),
        (Err(_), None) => {}
    }
}

mod group_json {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        generator: Bytes,
        shadow_generator: Bytes,
        hash: Vec<Hashed>,
    }

    #[derive(Deserialize)]
    struct Hashed {
        tag: String,
        items: Vec<Bytes>,
        hash: Bytes,
        scalar: Bytes,
    }

    #[test]
    fn vectors_of_generators() {
        let file: File = load("group.json");
        assert_eq!(Point::generator().as_bytes(), &file.generator.array());
        assert_eq!(
            Point::shadow_generator().as_bytes(),
            &file.shadow_generator.array()
        );
        assert_eq!(file.generator.point(), Point::generator());
        assert_eq!(file.shadow_generator.point(), Point::shadow_generator());
    }

    #[test]
    fn vectors_of_hashes() {
        let file: File = load("group.json");
        assert!(!file.hash.is_empty());
        for vector in file.hash {
            let items: Vec<&[u8]> = vector.items.iter().map(|item| item.0.as_slice()).collect();
            assert_eq!(hash(&vector.tag, &items), vector.hash.array());
            assert_eq!(
                hash_to_scalar(&vector.tag, &items).to_bytes(),
                vector.scalar.array()
            );
        }
    }
}

mod wrapped_key_json {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        good: Vec<Good>,
        bad: Vec<Bad>,
    }

    #[derive(Deserialize)]
    struct Good {
        x: Bytes,
        public_key: Bytes,
        r: Bytes,
        w: Bytes,
        label: Bytes,
        secret: Bytes,
        encoding: Bytes,
        write_id: Bytes,
    }

    #[derive(Deserialize)]
    struct Bad {
        why: String,
        encoding: Bytes,
    }

    #[test]
    fn vectors_of_good_wrapped_keys_are_reproduced_and_opened() {
        let rng = &mut rand::rng();
        let file: File = load("wrapped_key.json");
        assert!(!file.good.is_empty());
        for vector in file.good {
            let public_key = vector.public_key.point();
            let x = vector.x.secret();
            assert_eq!(x.public(), public_key);
            let wrapped = wrap_with_nonces(
                &public_key,
                &vector.label.0,
                &vector.secret.0,
                &vector.r.secret(),
                |_| vector.w.secret(),
            );
            assert_eq!(
                hex::encode(wrapped.as_bytes()),
                hex::encode(&vector.encoding.0)
            );
            assert_eq!(wrapped.write_id(), vector.write_id.array());

            let parsed = WrappedKey::parse(&vector.encoding.0).unwrap();
            assert_eq!(parsed.label(), vector.label.0);
            assert_eq!(parsed.public_key(), public_key);
            let verified = parsed.verify(rng).unwrap();
            assert_eq!(verified, wrapped);

            // The whole secret is a share of 1 of 1.
            let ephemeral = EphemeralSecret::new(&verified, rng);
            let node = KeyShare::new(1, 0, public_key, x).unwrap();
            let answer = node.reencrypt(&verified, ephemeral.public(), rng).unwrap();
            let package = PublicKeyPackage::new(public_key, 0, 1, vec![public_key]).unwrap();
            let mut opening = Opening::new(verified, ephemeral, package).unwrap();
            match opening.add(1, &answer.to_bytes()) {
                Progress::Opened(secret) => assert!(secret.ct_eq(&vector.secret.0)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn reason(why: &str, encoding: &[u8]) -> Option<WrappedKeyError> {
        use WrappedKeyError::*;
        let not_the_proof = Proof(ProofError::False);
        Some(match why {
            "unknown version" => Version { got: encoding[0] },
            "trailing byte" => Trailing { extra: 1 },
            "truncated" => Truncated {
                needed: encoding.len() + 1,
                got: encoding.len(),
            },
            "empty" => Truncated {
                needed: 197,
                got: 0,
            },
            "public key is the identity" => PublicKey(PointError::Identity),
            "U is the identity" => U(PointError::Identity),
            "U is not canonical" => U(PointError::NotCanonical),
            "shadow of U is not canonical" => ShadowU(PointError::NotCanonical),
            "response not reduced" => Proof(ProofError::Response(ScalarError::NotReduced)),
            "U replaced by another point"
            | "shadow replaced by another point"
            | "U and its shadow both shifted by a known multiple"
            | "label changed"
            | "body changed"
            | "key commitment changed"
            | "public key of another cluster"
            | "passes only if both equations of the proof get one weight in a batch" => {
                not_the_proof
            }
            "label length overruns" => LabelTooLong { got: 65_535 },
            "label of 1,025 bytes" => LabelTooLong { got: 1_025 },
            "body of 63 bytes" => BodyLength { got: 63 },
            _ => return None,
        })
    }

    #[test]
    fn vectors_of_bad_wrapped_keys_are_refused_each_for_its_reason() {
        let rng = &mut rand::rng();
        let file: File = load("wrapped_key.json");
        assert!(!file.bad.is_empty());
        for vector in file.bad {
            let encoding = &vector.encoding.0;
            let outcome = WrappedKey::parse(encoding).and_then(|parsed| parsed.verify(rng));
            assert_refused(&vector.why, outcome, reason(&vector.why, encoding));
        }
    }

    /// Among good ones, each false one is found and named, in every place.
    #[test]
    fn vectors_of_bad_wrapped_keys_are_named_in_a_batch() {
        let rng = &mut rand::rng();
        let file: File = load("wrapped_key.json");
        let good: Vec<_> = file
            .good
            .iter()
            .map(|v| WrappedKey::parse(&v.encoding.0).unwrap())
            .collect();
        let bad: Vec<_> = file
            .bad
            .iter()
            .filter_map(|v| WrappedKey::parse(&v.encoding.0).ok())
            .collect();
        assert!(bad.len() >= 8, "the vectors whose proof alone is wrong");
        for bad in &bad {
            for place in 0..=good.len() {
                let mut keys = good.clone();
                keys.insert(place, bad.clone());
                let mut batch = equality::Batch::new();
                for key in &keys {
                    key.push_proof(&mut batch);
                }
                assert_eq!(batch.verify_vartime(rng).unwrap_err().indices(), [place]);
            }
        }
    }
}

mod read_json {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        good: Vec<Good>,
        bad_ephemeral: Vec<BadEphemeral>,
        bad_share: Vec<BadShare>,
    }

    #[derive(Deserialize)]
    struct Good {
        threshold: u16,
        members: u16,
        epoch: u64,
        public_key: Bytes,
        wrapped_key: Bytes,
        write_id: Bytes,
        x_c: Bytes,
        ephemeral_w: Bytes,
        ephemeral_key: Bytes,
        shares: Vec<GoodShare>,
        combined: Bytes,
        secret: Bytes,
    }

    #[derive(Deserialize)]
    struct GoodShare {
        index: u16,
        x_i: Bytes,
        public_share: Bytes,
        w: Bytes,
        encoding: Bytes,
    }

    #[derive(Deserialize)]
    struct BadEphemeral {
        why: String,
        ephemeral_key: Bytes,
    }

    #[derive(Deserialize)]
    struct BadShare {
        why: String,
        encoding: Bytes,
    }

    impl Good {
        fn wrapped(&self) -> VerifiedWrappedKey {
            let parsed = WrappedKey::parse(&self.wrapped_key.0).unwrap();
            assert_eq!(parsed.write_id(), self.write_id.array());
            assert_eq!(parsed.public_key(), self.public_key.point());
            parsed.verify(&mut rand::rng()).unwrap()
        }

        fn ephemeral_secret(&self) -> EphemeralSecret {
            let (public_key, write_id) = (self.public_key.point(), self.write_id.array());
            EphemeralSecret::with_nonce(&public_key, &write_id, self.x_c.secret(), |_, _| {
                self.ephemeral_w.secret()
            })
        }

        /// The vectors give t of n shares: the others follow from them.
        fn package(&self) -> PublicKeyPackage {
            let known: Vec<(Scalar, Scalar)> = self
                .shares
                .iter()
                .map(|share| (Scalar::from(share.index), *share.x_i.secret().expose()))
                .collect();
            let share_at = |at: Scalar| -> Scalar {
                let weight = |i: &Scalar| -> Scalar {
                    let others = known.iter().map(|(j, _)| j).filter(|j| *j != i);
                    others.map(|j| (at - j) * (i - j).invert()).product()
                };
                known.iter().map(|(i, x_i)| weight(i) * x_i).sum()
            };
            let public_shares = (1..=self.members)
                .map(|index| {
                    SecretScalar::from_scalar(share_at(index.into()))
                        .unwrap()
                        .public()
                })
                .collect();
            let package = PublicKeyPackage::new(
                self.public_key.point(),
                self.epoch,
                self.threshold,
                public_shares,
            )
            .unwrap();
            for share in &self.shares {
                assert_eq!(
                    package.public_share(share.index),
                    Some(share.public_share.point())
                );
            }
            package
        }
    }

    #[test]
    fn vectors_of_good_reads_are_reproduced_and_opened() {
        let rng = &mut rand::rng();
        let file: File = load("read.json");
        assert!(!file.good.is_empty());
        for read in file.good {
            let (wrapped, package) = (read.wrapped(), read.package());
            let secret = read.ephemeral_secret();
            assert_eq!(
                hex::encode(secret.public().as_bytes()),
                hex::encode(&read.ephemeral_key.0)
            );
            let ephemeral = EphemeralKey::parse(&read.ephemeral_key.0).unwrap();
            assert_eq!(
                &ephemeral
                    .verify(&read.public_key.point(), &read.write_id.array(), rng)
                    .unwrap(),
                secret.public()
            );
            let (_, ephemeral) = verify_request(&wrapped, &ephemeral, rng).unwrap();

            let mut indices = Vec::new();
            let mut points = Vec::new();
            let mut shares = Vec::new();
            for vector in &read.shares {
                let node = KeyShare::new(
                    vector.index,
                    read.epoch,
                    read.public_key.point(),
                    vector.x_i.secret(),
                )
                .unwrap();
                node.check(&package).unwrap();
                let share = node
                    .reencrypt_with_nonce(&wrapped, &ephemeral, |_, _| vector.w.secret())
                    .unwrap();
                assert_eq!(
                    hex::encode(share.to_bytes()),
                    hex::encode(&vector.encoding.0)
                );
                let parsed = Share::parse(&vector.encoding.0).unwrap();
                assert_eq!(parsed, share);
                parsed.verify(&package, &wrapped, &ephemeral).unwrap();
                indices.push(vector.index);
                points.push(*share.d().as_ristretto());
                shares.push(share);
            }
            verify_shares(&shares, &package, &wrapped, &ephemeral, rng).unwrap();
            let combined = lagrange::combine_vartime(&indices, points.into_iter()).unwrap();
            assert_eq!(
                Point::from_ristretto(combined).unwrap(),
                read.combined.point()
            );

            let mut opening = Opening::new(wrapped, secret, package).unwrap();
            let missing_at_last = read.shares.len() - 1;
            for (place, vector) in read.shares.iter().enumerate() {
                match opening.add(vector.index, &vector.encoding.0) {
                    Progress::Need(missing) => assert_eq!(missing, missing_at_last - place),
                    Progress::Opened(secret) => {
                        assert_eq!(place, missing_at_last);
                        assert_eq!(secret.expose(), read.secret.0);
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(matches!(opening.add(1, &[]), Progress::Finished));
            assert_eq!(opening.culprits(), []);
        }
    }

    /// The read that the bad ephemeral keys and shares belong to.
    fn third() -> (File, Good) {
        let mut file: File = load("read.json");
        let third = file.good.remove(2);
        (file, third)
    }

    #[test]
    fn vectors_of_bad_ephemeral_keys_are_refused_each_for_its_reason() {
        use EphemeralKeyError::*;
        let rng = &mut rand::rng();
        let (file, read) = third();
        let wrapped = read.wrapped();
        assert!(!file.bad_ephemeral.is_empty());
        for vector in file.bad_ephemeral {
            let reason = match vector.why.as_str() {
                "made for another wrapped key"
                | "made for another cluster key"
                | "point chosen to open another document: X = U' - U, its proof copied" => {
                    Some(Proof(ProofError::False))
                }
                "X is the identity" => Some(X(PointError::Identity)),
                "X is not canonical" => Some(X(PointError::NotCanonical)),
                "response not reduced" => {
                    Some(Proof(ProofError::Response(ScalarError::NotReduced)))
                }
                "one byte short" => Some(Length { got: 159 }),
                "one byte long" => Some(Length { got: 161 }),
                _ => None,
            };
            let parsed = EphemeralKey::parse(&vector.ephemeral_key.0);
            let alone = parsed.and_then(|key| {
                key.verify(&wrapped.public_key(), &wrapped.write_id(), &mut rand::rng())
            });
            assert_refused(&vector.why, alone, reason);
            // The node's way: both proofs in one batch.
            let request = parsed
                .map_err(RequestError::from)
                .and_then(|key| verify_request(&wrapped, &key, rng));
            assert_refused(&vector.why, request, reason.map(RequestError::EphemeralKey));
        }
    }

    #[test]
    fn vectors_of_bad_shares_are_refused_each_for_its_reason() {
        use ShareError::*;
        let rng = &mut rand::rng();
        let (file, read) = third();
        let (wrapped, package) = (read.wrapped(), read.package());
        let ephemeral = *read.ephemeral_secret().public();
        let first = &read.shares[0];
        assert!(!file.bad_share.is_empty());
        for vector in &file.bad_share {
            let encoding = &vector.encoding.0;
            let claimed_epoch = || u64::from_le_bytes(encoding[2..10].try_into().unwrap());
            let reason = match vector.why.as_str() {
                "point replaced" | "claims another index" => Some(Proof(ProofError::False)),
                "claims index 0" => Some(IndexZero),
                "claims another epoch" => Some(OtherEpoch {
                    expected: read.epoch,
                    got: claimed_epoch(),
                }),
                "D is the identity" => Some(D(PointError::Identity)),
                "D is not canonical" => Some(D(PointError::NotCanonical)),
                "one byte short" => Some(Length { got: 137 }),
                "one byte long" => Some(Length { got: 139 }),
                "response not reduced" => {
                    Some(Proof(ProofError::Response(ScalarError::NotReduced)))
                }
                _ => None,
            };
            let parsed = Share::parse(encoding);
            let alone = parsed.and_then(|share| share.verify(&package, &wrapped, &ephemeral));
            assert_refused(&vector.why, alone, reason);
            if let Ok(share) = parsed {
                let good = Share::parse(&first.encoding.0).unwrap();
                let refused =
                    verify_shares(&[good, share], &package, &wrapped, &ephemeral, rng).unwrap_err();
                assert_eq!(refused.len(), 1);
                assert_eq!(refused[0].0, 1, "{}", vector.why);
                assert!(reason.is_none_or(|reason| reason == refused[0].1));
            }

            // The reader's way: the answer of that node is refused, the node named, and the good answers still open.
            let mut opening =
                Opening::new(wrapped.clone(), read.ephemeral_secret(), package.clone()).unwrap();
            let mut opened = None;
            let answers = std::iter::once((first.index, encoding)).chain(
                read.shares
                    .iter()
                    .map(|share| (share.index, &share.encoding.0)),
            );
            for (index, answer) in answers {
                if let Progress::Opened(secret) = opening.add(index, answer) {
                    opened = Some(secret);
                }
            }
            assert_eq!(opening.culprits().len(), 1, "{}", vector.why);
            assert_eq!(opening.culprits()[0].index, first.index);
            // The node with the bad answer was one of the only t: without it they open only if it may answer again.
            let may_answer_again = !opening.culprits()[0].reason.is_misbehaviour();
            assert_eq!(opened.is_some(), may_answer_again, "{}", vector.why);
        }
    }
}
