//! What is said of logs: proofs as files, cosignatures, and offers to a witness.
//!
//! Signatures stand between a fuzzer and everything behind them. So the witness also gets offers that the log has really signed, chosen by
//! the input: true and false heads, proofs from true and false sizes, changed in places.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint, sign};
use certs::cosignature::{CosignatureLine, WitnessKey, cosign};
use certs::log_proof::{ConsistencyFile, InclusionFile};
use certs::merkle::{Tree, leaf_hash};
use cryptonode::audit::{note_key, origin_of, witness_key};
use cryptonode::witness::{Reply, Watch, Watched};
use ed25519_dalek::SigningKey;

use crate::{Target, Verdict, refused, text};

/// Records of the log.
const SIZE: u64 = 13;
/// Records under the head that is known of it.
const OLD: u64 = 5;

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn identity(seed: u8) -> [u8; 32] {
    signing(seed).verifying_key().to_bytes()
}

static LOG: LazyLock<NoteKey> = LazyLock::new(|| note_key("node-1", &identity(1)).unwrap());
static WITNESS: LazyLock<WitnessKey> =
    LazyLock::new(|| witness_key("node-2", &identity(2)).unwrap());

fn record(number: u64, story: u64) -> Vec<u8> {
    [number.to_le_bytes(), story.to_le_bytes()].concat()
}

/// A log whose records from `other` on are not the ones that it had first.
fn tree(size: u64, other: u64) -> Tree {
    (0..size)
        .map(|number| leaf_hash(&record(number, u64::from(number >= other))))
        .collect()
}

fn head(tree: &Tree, size: u64) -> Checkpoint {
    Checkpoint {
        origin: origin_of("node-1", &identity(1)),
        size,
        root: tree.root_at(size).unwrap(),
    }
}

fn signed(tree: &Tree, size: u64) -> SignedCheckpoint {
    let note = sign(&head(tree, size), LOG.name(), &signing(1)).unwrap();
    SignedCheckpoint::parse(&note).unwrap()
}

fn included(index: u64) -> Vec<u8> {
    let tree = tree(SIZE, SIZE);
    let file = InclusionFile {
        extra: Some(record(index, 0)),
        index,
        proof: tree.inclusion_proof(index, SIZE).unwrap(),
        checkpoint: signed(&tree, SIZE),
    };
    file.to_string().into_bytes()
}

fn continued(old: u64, size: u64) -> Vec<u8> {
    let tree = tree(size, size);
    let file = ConsistencyFile {
        old,
        proof: tree.consistency_proof(old, size).unwrap(),
        checkpoint: signed(&tree, size),
    };
    file.to_string().into_bytes()
}

fn cosigned(witness: u8) -> Vec<u8> {
    let name = origin_of("node-2", &identity(witness));
    let head = head(&tree(OLD, OLD), OLD);
    let line = cosign(&head, &name, &signing(witness), 1_800_000_000).unwrap();
    line.to_string().into_bytes()
}

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "inclusion_file",
            run: inclusion_file,
            seeds: || {
                vec![
                    ("ok-first".to_owned(), included(0)),
                    ("ok-last".to_owned(), included(SIZE - 1)),
                    (
                        "no-proof".to_owned(),
                        b"c2sp.org/tlog-proof@v1\nindex 0\n".to_vec(),
                    ),
                ]
            },
        },
        Target {
            name: "consistency_file",
            run: consistency_file,
            seeds: || {
                vec![
                    ("ok-longer".to_owned(), continued(OLD, SIZE)),
                    ("ok-same".to_owned(), continued(OLD, OLD)),
                    ("another-size".to_owned(), continued(4, SIZE)),
                ]
            },
        },
        Target {
            name: "cosignature",
            run: cosignature,
            seeds: || {
                let both = [cosigned(3), cosigned(2)].concat();
                vec![
                    ("ok".to_owned(), cosigned(2)),
                    ("ok-two".to_owned(), both),
                    ("of-a-stranger".to_owned(), cosigned(3)),
                ]
            },
        },
        Target {
            name: "witness_offer",
            run: witness_offer,
            seeds: || {
                vec![
                    ("ok-longer".to_owned(), continued(OLD, SIZE)),
                    ("ok-same".to_owned(), continued(OLD, OLD)),
                    ("shorter".to_owned(), continued(0, 3)),
                ]
            },
        },
        Target {
            name: "witness_steps",
            run: witness_steps,
            seeds: || {
                vec![
                    ("ok-honest".to_owned(), vec![0, 13, 5, 0, 0, 5, 0, 0]),
                    ("ok-forked".to_owned(), vec![2, 13, 5, 0, 2, 5, 5, 0]),
                    ("ok-false-proof".to_owned(), vec![0, 13, 5, 7, 0, 9, 3, 0]),
                ]
            },
        },
        Target {
            name: "witnessed",
            run: witnessed,
            seeds: || {
                let mut watch = watch();
                let rewritten = signed(&tree(OLD, 2), OLD);
                offer(&mut watch, &rewritten, OLD, Vec::new(), 0);
                let kept = watch.logs()[&identity(1)].to_bytes();
                vec![
                    ("ok".to_owned(), kept),
                    ("empty".to_owned(), b"{}".to_vec()),
                ]
            },
        },
    ]
}

/// Any text as a proof of a record.
fn inclusion_file(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let file = InclusionFile::parse(text).map_err(|error| error.code().to_owned())?;
    assert_eq!(file.to_string(), text, "one encoding");
    let (index, found, head) = file.verify(&LOG).map_err(|error| error.code().to_owned())?;
    assert!(index < head.size);
    if head.size == SIZE {
        assert_eq!(found, record(index, 0), "only what is in the log is proved");
    }
    Ok(())
}

/// Any text as a proof that a head continues the one of five records.
fn consistency_file(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let file = ConsistencyFile::parse(text).map_err(|error| error.code().to_owned())?;
    assert_eq!(file.to_string(), text, "one encoding");
    let old = head(&tree(OLD, OLD), OLD);
    let found = file
        .verify(&LOG, &old)
        .map_err(|error| error.code().to_owned())?;
    assert!(found.size >= old.size);
    Ok(())
}

/// Any text as a witness's answer.
fn cosignature(bytes: &[u8]) -> Verdict {
    let line = CosignatureLine::from_text(text(bytes)?);
    let bare = signed(&tree(OLD, OLD), OLD);
    let mut checkpoint = bare.clone();
    if let Err(error) = checkpoint.add_cosignature(&line, &WITNESS) {
        assert_eq!(checkpoint, bare, "left as it was");
        return refused(error.code());
    }
    let again = SignedCheckpoint::parse(&checkpoint.to_string()).unwrap();
    assert_eq!(
        again
            .cosigners(std::slice::from_ref(&*WITNESS))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        again.verify(std::slice::from_ref(&*LOG), 1),
        Ok(bare.claimed().clone())
    );
    Ok(())
}

/// A witness that has seen five records.
fn watch() -> Watch {
    let mut watch = Watch::new(WITNESS.name(), &signing(2), BTreeMap::new());
    let first = signed(&tree(OLD, OLD), OLD);
    offer(&mut watch, &first, 0, Vec::new(), 0);
    watch
}

fn offer(
    watch: &mut Watch,
    checkpoint: &SignedCheckpoint,
    old: u64,
    proof: Vec<[u8; 32]>,
    now_ms: u64,
) -> Option<Reply> {
    let file = ConsistencyFile {
        old,
        proof,
        checkpoint: checkpoint.clone(),
    };
    let weighed = watch.weigh(&identity(1), &file.to_string(), now_ms).ok()?;
    watch.take(weighed, now_ms / 1000).ok()
}

/// Any text as an offer.
fn witness_offer(bytes: &[u8]) -> Verdict {
    let mut watch = watch();
    let before = watch.logs().clone();
    let weighed = watch.weigh(&identity(1), text(bytes)?, 1_000);
    assert_eq!(watch.logs(), &before, "weighing changes nothing");
    let weighed = weighed.map_err(|error| error.code().to_owned())?;
    match watch.take(weighed, 1).unwrap() {
        Reply::Cosigned(lines) => {
            let kept = watch.logs()[&identity(1)].note();
            let mut checkpoint = SignedCheckpoint::parse(kept).unwrap();
            let line = CosignatureLine::from_text(&lines);
            assert_eq!(checkpoint.add_cosignature(&line, &WITNESS), Ok(1));
            Ok(())
        }
        Reply::Seen(note) => {
            assert_eq!(note, before[&identity(1)].note());
            refused("seen")
        }
    }
}

/// Offers that the log has signed: of each four bytes, from which record on the history is another, how many records, from how
/// many the proof, and what is changed in it. Whatever is cosigned continues what was cosigned before.
fn witness_steps(bytes: &[u8]) -> Verdict {
    let mut watch = watch();
    let mut last = head(&tree(OLD, OLD), OLD);
    let (steps, _) = bytes.as_chunks::<4>();
    for (number, [other, size, old, edit]) in (1..).zip(&steps[..steps.len().min(40)]) {
        let size = u64::from(*size) % 24;
        // 0 is the honest history.
        let other = if *other == 0 {
            size
        } else {
            u64::from(*other) - 1
        };
        let old = u64::from(*old).min(size);
        let tree = tree(size, other);
        let mut proof = tree.consistency_proof(old, size).unwrap();
        match edit % 4 {
            1 => drop(proof.pop()),
            2 => proof.push([*edit; 32]),
            3 => {
                let count = proof.len().max(1);
                if let Some(hash) = proof.get_mut(usize::from(*edit) % count) {
                    hash[usize::from(*edit) % 32] ^= 1;
                }
            }
            _ => {}
        }
        let before = watch.logs()[&identity(1)].note().to_owned();
        let reply = offer(&mut watch, &signed(&tree, size), old, proof, number * 1_000);
        match reply.unwrap() {
            Reply::Cosigned(_) => {
                assert!(size >= last.size);
                assert_eq!(
                    tree.root_at(last.size),
                    Ok(last.root),
                    "a fork was cosigned"
                );
                last = head(&tree, size);
            }
            Reply::Seen(note) => assert_eq!(note, before),
        }
        let kept = &watch.logs()[&identity(1)];
        assert_eq!(kept.head().as_ref(), Ok(&last));
        assert!(kept.findings().len() <= 4 && kept.to_bytes().len() < 16_384);
        assert_eq!(Watched::from_bytes(&kept.to_bytes()).as_ref(), Ok(kept));
    }
    Ok(())
}

/// Any bytes as what the store has of a log.
fn witnessed(bytes: &[u8]) -> Verdict {
    match Watched::from_bytes(bytes) {
        Ok(kept) => {
            assert!(kept.head().is_ok());
            Ok(())
        }
        Err(_) => refused("unreadable"),
    }
}
