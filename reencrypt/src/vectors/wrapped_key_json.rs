//! `wrapped_key.json`. Section 3: wrapped keys.

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
        | "passes only if both equations of the proof get one weight in a batch" => not_the_proof,
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
