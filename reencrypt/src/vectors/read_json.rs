//! `read.json`. Sections 4 to 6: whole reads.

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
                .multiply(&wrapped, &ephemeral)
                .map(|share| share.prove_with_nonce(|_, _| vector.w.secret()))
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
            "response not reduced" => Some(Proof(ProofError::Response(ScalarError::NotReduced))),
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
            "response not reduced" => Some(Proof(ProofError::Response(ScalarError::NotReduced))),
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
