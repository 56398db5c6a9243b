//! Sections 2 to 4: proofs, wrapped keys and ephemeral keys that were forged, altered or moved.

use super::*;

/// The proof that passes a batch in which both of its equations have one weight: for any point `first`, a `second` with
/// `first + second = s·(B1 + B2)`, and commitments in the same relation.
struct OneWeightForgery {
    second: Point,
    proof: [u8; 96],
}

fn forge_for_one_weight(first: Point, purpose: &str, context: &[&[u8]]) -> OneWeightForgery {
    let (g, shadow) = generators();
    let both = g.as_ristretto() + shadow.as_ristretto();
    let s = SecretScalar::random(&mut rng());
    let w = SecretScalar::random(&mut rng());
    let second = Point::from_ristretto(both * s.expose() - first.as_ristretto()).unwrap();
    let w1 = random_point();
    let w2 = Point::from_ristretto(both * w.expose() - w1.as_ristretto()).unwrap();
    let e = Hasher::new("cryptonode/v1/dleq")
        .item(purpose.as_bytes())
        .items(context)
        .items(&[
            g.as_bytes(),
            shadow.as_bytes(),
            first.as_bytes(),
            second.as_bytes(),
        ])
        .items(&[w1.as_bytes(), w2.as_bytes()])
        .finalize_scalar();
    let f: Scalar = w.expose() + e * s.expose();
    // It does satisfy the sum of its two equations.
    let left = both * f;
    let right =
        w1.as_ristretto() + w2.as_ristretto() + (first.as_ristretto() + second.as_ristretto()) * e;
    assert_eq!(left, right);
    let proof = [*w1.as_bytes(), *w2.as_bytes(), f.to_bytes()].concat();
    OneWeightForgery {
        second,
        proof: proof.try_into().unwrap(),
    }
}

#[test]
fn one_weight_forgery_is_refused_alone_and_in_a_batch() {
    let (g, shadow) = generators();
    let context: [&[u8]; 1] = [b"context"];
    for _ in 0..16 {
        let first = random_point();
        let forgery = forge_for_one_weight(first, "test", &context);
        let statement = Statement {
            purpose: "test",
            context: &context,
            bases: (g, shadow),
            points: (first, forgery.second),
        };
        let proof = EqualityProof::from_bytes(&forgery.proof).unwrap();
        assert_eq!(proof.verify_vartime(&statement), Err(ProofError::False));
        let mut batch = Batch::new();
        let number = batch.push(&statement, &proof);
        assert_eq!(
            batch.verify_vartime(&mut rng()).unwrap_err().indices(),
            [number]
        );
    }
}

#[test]
fn two_false_proofs_whose_errors_cancel_are_both_named() {
    // f of the first is one too large, f of the second one too small: without weights they would cancel.
    let secret = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let points = (
        secret.public(),
        Point::from_ristretto(shadow.as_ristretto() * secret.expose()).unwrap(),
    );
    let statement = Statement {
        purpose: "test",
        context: &[],
        bases: (g, shadow),
        points,
    };
    let mut batch = Batch::new();
    for error in [Scalar::ZERO, Scalar::ONE, Scalar::ZERO, -Scalar::ONE] {
        let mut bytes = EqualityProof::prove(&statement, &secret, &mut rng()).to_bytes();
        let f = decode_scalar(bytes[64..].try_into().unwrap()).unwrap() + error;
        bytes[64..].copy_from_slice(f.as_bytes());
        batch.push(&statement, &EqualityProof::from_bytes(&bytes).unwrap());
    }
    let culprits = batch.verify_vartime(&mut rng()).unwrap_err();
    assert_eq!(culprits.indices(), [1, 3]);
    assert!(culprits.contains(3) && !culprits.contains(2));
}

#[test]
fn a_proof_holds_for_no_other_purpose_context_base_or_point() {
    let secret = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let shadow_point = Point::from_ristretto(shadow.as_ristretto() * secret.expose()).unwrap();
    let context: [&[u8]; 2] = [b"ab", b"c"];
    let statement = Statement {
        purpose: "test",
        context: &context,
        bases: (g, shadow),
        points: (secret.public(), shadow_point),
    };
    let proof = EqualityProof::prove(&statement, &secret, &mut rng());
    proof.verify_vartime(&statement).unwrap();
    let shifted: [&[u8]; 2] = [b"a", b"bc"];
    let shorter: [&[u8]; 1] = [b"abc"];
    for moved in [
        Statement {
            purpose: "tes",
            ..statement
        },
        Statement {
            context: &shifted,
            ..statement
        },
        Statement {
            context: &shorter,
            ..statement
        },
        Statement {
            bases: (shadow, g),
            ..statement
        },
        Statement {
            bases: (g, random_point()),
            ..statement
        },
        Statement {
            points: (shadow_point, secret.public()),
            ..statement
        },
        Statement {
            points: (random_point(), shadow_point),
            ..statement
        },
    ] {
        assert_eq!(proof.verify_vartime(&moved), Err(ProofError::False));
        let mut batch = Batch::new();
        batch.push(&statement, &proof);
        batch.push(&moved, &proof);
        assert_eq!(batch.verify_vartime(&mut rng()).unwrap_err().indices(), [1]);
    }
}

/// `X = U' − U` would make the nodes compute `x_i·U'` under an approval for `U`.
#[test]
fn a_point_chosen_to_open_another_document_is_refused() {
    let cluster = Cluster::deal(2, 3, 0, &mut rng());
    let y = cluster.public_key();
    let approved = wrap(&y, b"approved", SECRET, &mut rng()).unwrap();
    let target = wrap(&y, b"not approved", &[0x99; 32], &mut rng()).unwrap();
    let x =
        Point::from_ristretto(point_u(&target).as_ristretto() - point_u(&approved).as_ristretto())
            .unwrap();

    let write_id = approved.write_id();
    let own = EphemeralSecret::new(&approved, &mut rng());
    let copied = [x.as_bytes(), &own.public().as_bytes()[32..]].concat();
    let context: [&[u8]; 2] = [y.as_bytes(), &write_id];
    let forgery = forge_for_one_weight(x, "ephemeral-key", &context);
    let forged = [
        x.as_bytes(),
        forgery.second.as_bytes(),
        forgery.proof.as_slice(),
    ]
    .concat();

    for bytes in [copied, forged] {
        let key = EphemeralKey::parse(&bytes).unwrap();
        let expected = EphemeralKeyError::Proof(ProofError::False);
        assert_eq!(key.verify(&y, &write_id, &mut rng()), Err(expected));
        assert_eq!(
            verify_request(&approved, &key, &mut rng()),
            Err(RequestError::EphemeralKey(expected))
        );
    }
}

/// A stranger takes over `U` and `Ū` of somebody's wrapped key, shifted by a multiple that he knows.
#[test]
fn a_shifted_ciphertext_is_refused() {
    let y = random_point();
    let wrapped = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let delta = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let mut bytes = wrapped.as_bytes().to_vec();
    for (at, generator) in [(33, g), (65, shadow)] {
        let point = Point::from_slice(&bytes[at..at + 32]).unwrap();
        let shifted: RistrettoPoint =
            point.as_ristretto() + generator.as_ristretto() * delta.expose();
        bytes[at..at + 32].copy_from_slice(shifted.compress().as_bytes());
    }
    let expected = WrappedKeyError::Proof(ProofError::False);
    assert_eq!(
        WrappedKey::parse(&bytes).unwrap().verify(&mut rng()),
        Err(expected)
    );

    // With both proofs of the request false, the wrapped key is named.
    let other = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let ephemeral = EphemeralSecret::new(&other, &mut rng());
    assert_eq!(
        verify_request(
            &WrappedKey::parse(&bytes).unwrap(),
            ephemeral.public(),
            &mut rng()
        ),
        Err(RequestError::WrappedKey(expected))
    );
}

#[test]
fn an_ephemeral_key_serves_one_wrapped_key_of_one_cluster() {
    let cluster = Cluster::deal(1, 1, 0, &mut rng());
    let stranger = Cluster::deal(1, 1, 0, &mut rng());
    let y = cluster.public_key();
    let one = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let two = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let for_one = EphemeralSecret::new(&one, &mut rng());
    let for_two = EphemeralSecret::new(&two, &mut rng());

    let refused = Err(RequestError::EphemeralKey(EphemeralKeyError::Proof(
        ProofError::False,
    )));
    assert_eq!(
        verify_request(&two, for_one.public(), &mut rng()).map(drop),
        refused
    );
    // Verified types do not mix either.
    let node = cluster.node(1);
    assert_eq!(
        node.reencrypt(&two, for_one.public(), &mut rng()),
        Err(RequestError::OtherWrite)
    );
    assert_eq!(
        stranger
            .node(1)
            .reencrypt(&one, for_one.public(), &mut rng()),
        Err(RequestError::OtherKey)
    );
    assert_eq!(
        Opening::new(two.clone(), for_one, cluster.package.clone()).unwrap_err(),
        RequestError::OtherWrite
    );
    assert_eq!(
        Opening::new(two, for_two, stranger.package).unwrap_err(),
        RequestError::OtherKey
    );
}

/// The writer himself can choose `x_c = −r`, which makes `U + X` the identity.
#[test]
fn an_identity_base_is_refused() {
    let cluster = Cluster::deal(1, 1, 0, &mut rng());
    let y = cluster.public_key();
    let r = SecretScalar::random(&mut rng());
    let body = [0; 64];
    let wrapped = [
        &[1],
        y.as_bytes().as_slice(),
        &points_and_proof(&r, "wrapped-key", &[y.as_bytes(), b"", &body]),
        &[0, 0, 64, 0],
        &body,
    ]
    .concat();
    let wrapped = WrappedKey::parse(&wrapped).unwrap();
    let negative = SecretScalar::from_scalar(-r.expose()).unwrap();
    let context = [y.as_bytes().as_slice(), &wrapped.write_id()];
    let ephemeral = points_and_proof(&negative, "ephemeral-key", &context);
    let ephemeral = EphemeralKey::parse(&ephemeral).unwrap();
    let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, &mut rng()).unwrap();
    let refused = RequestError::IdentityBase;
    assert_eq!(
        cluster.node(1).reencrypt(&wrapped, &ephemeral, &mut rng()),
        Err(refused)
    );
}

#[test]
fn wrapping_checks_its_lengths() {
    let y = random_point();
    let with = |label: usize, secret: usize| {
        wrap(&y, &vec![1; label], &vec![2; secret], &mut rng()).map(|w| w.as_bytes().len())
    };
    assert_eq!(with(1_025, 32), Err(WrapError::LabelTooLong { got: 1_025 }));
    assert_eq!(with(0, 15), Err(WrapError::SecretLength { got: 15 }));
    assert_eq!(with(0, 1_025), Err(WrapError::SecretLength { got: 1_025 }));
    assert_eq!(with(0, 16), Ok(197 + 64));
    assert_eq!(with(1_024, 1_024), Ok(MAX_WRAPPED_KEY));
}

#[test]
fn a_key_is_known_before_anything_is_decoded() {
    let y = random_point();
    let mut bytes = wrap(&y, LABEL, SECRET, &mut rng())
        .unwrap()
        .as_bytes()
        .to_vec();
    assert_eq!(WrappedKey::peek_public_key(&bytes), Ok(y.as_bytes()));
    assert!(WrappedKey::parse_under(&bytes, &y).is_ok());
    assert_eq!(
        WrappedKey::parse_under(&bytes, &random_point()),
        Err(WrappedKeyError::OtherKey)
    );
    bytes.push(0);
    assert_eq!(
        WrappedKey::peek_public_key(&bytes),
        Err(WrappedKeyError::Trailing { extra: 1 })
    );
}
