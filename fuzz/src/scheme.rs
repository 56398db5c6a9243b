//! Wrapped keys, ephemeral keys, shares, packages: protocol sections 2 to 6.

use std::sync::LazyLock;

use reencrypt::{
    EphemeralKey, EphemeralSecret, Opening, Point, Progress, PublicKeyPackage, Share,
    VerifiedWrappedKey, WrappedKey, decode_scalar, verify_request, wrap,
};
use serde_json::Value;

use crate::keys::{Sharing, rng};
use crate::{Target, Verdict, edits, refused};

static SHARING: LazyLock<Sharing> = LazyLock::new(Sharing::new);
static WRAPPED: LazyLock<VerifiedWrappedKey> =
    LazyLock::new(|| wrap(&SHARING.y, b"label", &[7; 32], &mut rng(2)).unwrap());

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "wrapped_key",
            run: wrapped_key,
            seeds: wrapped_keys,
        },
        Target {
            name: "ephemeral_key",
            run: ephemeral_key,
            seeds: ephemeral_keys,
        },
        Target {
            name: "share",
            run: share,
            seeds: shares,
        },
        Target {
            name: "opening",
            run: opening,
            seeds: openings,
        },
        Target {
            name: "package",
            run: package,
            seeds: packages,
        },
        Target {
            name: "points",
            run: points,
            seeds: || {
                vec![(
                    "generator".to_owned(),
                    Point::generator().as_bytes().to_vec(),
                )]
            },
        },
    ]
}

/// Any bytes as a wrapped key, with its proof.
fn wrapped_key(bytes: &[u8]) -> Verdict {
    let peeked = WrappedKey::peek_public_key(bytes).copied();
    let wrapped = WrappedKey::parse(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(wrapped.as_bytes(), bytes, "one encoding");
    assert_eq!(peeked.as_ref(), Ok(wrapped.public_key().as_bytes()));
    wrapped
        .verify(&mut rng(3))
        .map(drop)
        .map_err(|error| error.code().to_owned())
}

/// Any bytes as an ephemeral key for the one wrapped key.
fn ephemeral_key(bytes: &[u8]) -> Verdict {
    let key = EphemeralKey::parse(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(key.as_bytes().as_slice(), bytes, "one encoding");
    let alone = key.verify(&SHARING.y, &WRAPPED.write_id(), &mut rng(3));
    let together = verify_request(&WRAPPED, &key, &mut rng(4));
    assert_eq!(alone.is_ok(), together.is_ok());
    alone.map(drop).map_err(|error| error.code().to_owned())
}

fn ephemeral() -> EphemeralSecret {
    EphemeralSecret::new(&WRAPPED, &mut rng(5))
}

/// Any bytes as node 1's share.
fn share(bytes: &[u8]) -> Verdict {
    let share = Share::parse(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(share.to_bytes().as_slice(), bytes, "one encoding");
    share
        .verify(&SHARING.package, &WRAPPED, ephemeral().public())
        .map(drop)
        .map_err(|error| error.code().to_owned())
}

/// Answers of three nodes to one read, edited: the honest ones are enough, and nobody honest is named.
fn opening(bytes: &[u8]) -> Verdict {
    let (&which, edits) = bytes.split_first().ok_or("empty")?;
    let victim = u16::from(which % 3) + 1;
    let secret = ephemeral();
    let answers: Vec<Vec<u8>> = SHARING
        .shares
        .iter()
        .map(|share| {
            let answer = share.reencrypt(&WRAPPED, secret.public(), &mut rng(6));
            answer.unwrap().to_bytes().to_vec()
        })
        .collect();
    let others: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    let bad = edits::apply(&answers[usize::from(victim) - 1], edits, &others);
    let honest = bad == answers[usize::from(victim) - 1];
    let mut opening = Opening::new(WRAPPED.clone(), secret, SHARING.package.clone()).unwrap();
    let mut opened = None;
    let mut queue = vec![(victim, &bad)];
    queue.extend((1..).zip(&answers).filter(|(index, _)| *index != victim));
    for (index, answer) in queue {
        if let Progress::Opened(secret) = opening.add(index, answer) {
            opened = Some(secret);
        }
    }
    assert_eq!(opened.expect("two honest answers open").expose(), [7; 32]);
    let culprits: Vec<u16> = opening.culprits().iter().map(|c| c.index).collect();
    assert!(culprits.iter().all(|index| *index == victim && !honest));
    match opening.culprits().first() {
        None => Ok(()),
        Some(culprit) => refused(culprit.reason.code()),
    }
}

/// Any points as a sharing: only one polynomial is accepted.
fn package(bytes: &[u8]) -> Verdict {
    let (head, points) = bytes.split_at_checked(2).ok_or("empty")?;
    let points: Vec<Point> = points
        .as_chunks::<32>()
        .0
        .iter()
        .take(16)
        .filter_map(|bytes| Point::from_bytes(bytes).ok())
        .collect();
    let (y, shares) = points.split_first().ok_or("no points")?;
    let epoch = u64::from(head[1]);
    PublicKeyPackage::new(*y, epoch, head[0].into(), shares.to_vec())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// 32 bytes as a point and as a scalar: what is accepted is encoded as it was.
fn points(bytes: &[u8]) -> Verdict {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| "length".to_owned())?;
    let scalar = decode_scalar(bytes);
    if let Ok(scalar) = &scalar {
        assert_eq!(scalar.as_bytes(), bytes);
    }
    let point = Point::from_bytes(bytes).map_err(|error| error.to_string())?;
    assert_eq!(point.as_ristretto().compress().as_bytes(), bytes);
    assert_ne!(bytes, &[0; 32], "the identity");
    Ok(())
}

/// Every string of hexadecimal bytes of this length in the vectors, whatever it stands for.
fn vectors(file: &str, lengths: std::ops::RangeInclusive<usize>) -> Vec<(String, Vec<u8>)> {
    fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
        match value {
            Value::String(text) => found.extend(hex::decode(text)),
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            Value::Object(map) => map.values().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(file).unwrap(), &mut found);
    found.retain(|bytes| lengths.contains(&bytes.len()));
    found.sort();
    found.dedup();
    let name = |number| format!("vector-{number}");
    (0..).map(name).zip(found).collect()
}

const WRAPPED_KEYS: &str = include_str!("../../reencrypt/vectors/wrapped_key.json");
const READS: &str = include_str!("../../reencrypt/vectors/read.json");

fn wrapped_keys() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vectors(WRAPPED_KEYS, 150..=2_400);
    seeds.push(("ok".to_owned(), WRAPPED.as_bytes().to_vec()));
    seeds
}

fn ephemeral_keys() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vectors(READS, 150..=170);
    seeds.push(("ok".to_owned(), ephemeral().public().as_bytes().to_vec()));
    seeds
}

fn shares() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vectors(READS, 130..=140);
    let answer = SHARING.shares[0].reencrypt(&WRAPPED, ephemeral().public(), &mut rng(6));
    seeds.push(("ok".to_owned(), answer.unwrap().to_bytes().to_vec()));
    seeds
}

fn openings() -> Vec<(String, Vec<u8>)> {
    vec![
        ("ok".to_owned(), vec![0]),
        ("flipped".to_owned(), vec![1, 0, 20, 0, 1, 0]),
        ("cut".to_owned(), vec![2, 4, 100, 0, 0, 0]),
        ("of-another".to_owned(), vec![0, 6, 10, 0, 0, 1]),
    ]
}

fn packages() -> Vec<(String, Vec<u8>)> {
    let package = &SHARING.package;
    let mut bytes = vec![2, 0];
    bytes.extend(SHARING.y.as_bytes());
    for share in package.public_shares() {
        bytes.extend(share.as_bytes());
    }
    vec![("ok".to_owned(), bytes)]
}
