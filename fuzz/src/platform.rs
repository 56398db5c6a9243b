//! The platform and the record: transactions, blocks, heads, exports, envelopes, answers of the REST interface.

use std::path::Path;
use std::sync::LazyLock;

use certs::note::NoteKey;
use coordinator::api::{ConsistencyView, PreparedView, ReceiptView, SharesView};
use coordinator::envelope::{
    BLOCK_SIZE, BodyKey, BodyReader, BodySealer, DocumentKey, SealedBody, encrypted_length,
};
use coordinator::platform::ReadReport;
use coordinator::record::audit::{VerifiedRecord, verify_approvals, verify_export};
use coordinator::record::head::SignedHead;
use coordinator::record::{
    Genesis, Header, Identifier, SignedTransaction, UnsignedTransaction, VersionName,
};
use ed25519_dalek::SigningKey;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::keys::rng;
use crate::node::in_memory;
use crate::{Target, Verdict, edits, refused, text};

const RECORD: &str = include_str!("../../coordinator/tests/vectors/record.jsonl");

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "transaction",
            run: transaction,
            seeds: transactions,
        },
        Target {
            name: "genesis",
            run: genesis,
            seeds: || vec![("ok".to_owned(), opening())],
        },
        Target {
            name: "block_header",
            run: block_header,
            seeds: headers,
        },
        Target {
            name: "signed_head",
            run: signed_head,
            seeds: heads,
        },
        Target {
            name: "record_export",
            run: record_export,
            seeds: || {
                let edit = |line: u8, what: u8| vec![line, 0, what, 40, 0, 1, 0];
                let mut seeds = vec![("whole".to_owned(), vec![0, 0])];
                for line in 0..54 {
                    seeds.push((format!("edited-{line}"), edit(line, line % 8)));
                }
                seeds
            },
        },
        Target {
            name: "record_handovers",
            run: record_handovers,
            seeds: || {
                let edit = |line: u8, what: u8| vec![line, 0, what, 40, 0, 1, 0];
                (0..32)
                    .map(|line| (format!("edited-{line}"), edit(line, line % 8)))
                    .collect()
            },
        },
        Target {
            name: "approvals_file",
            run: approvals_file,
            seeds: || {
                let edit = |line: u8, what: u8| vec![line, 0, what, 40, 0, 1, 0];
                let mut seeds = vec![("ok".to_owned(), vec![0, 0])];
                for line in 0..5 {
                    for what in 0..8 {
                        seeds.push((format!("edited-{line}-{what}"), edit(line, what)));
                    }
                }
                seeds
            },
        },
        Target {
            name: "identifier",
            run: identifier,
            seeds: || vec![("ok".to_owned(), b"a-name.1".to_vec())],
        },
        Target {
            name: "body",
            run: body,
            seeds: || {
                vec![
                    ("ok-empty".to_owned(), vec![0, 0, 0]),
                    ("ok-short".to_owned(), vec![9, 0, 0]),
                    ("ok-two-blocks".to_owned(), vec![3, 1, 0]),
                    ("edited".to_owned(), vec![9, 0, 0, 0, 20, 0, 1, 0]),
                ]
            },
        },
        Target {
            name: "wrapped_body_key",
            run: wrapped_body_key,
            seeds: || {
                vec![
                    ("ok".to_owned(), Vec::new()),
                    ("flip".to_owned(), vec![0, 3, 0, 1, 0]),
                ]
            },
        },
        Target {
            name: "rest_answer",
            run: rest_answer,
            seeds: rest_answers,
        },
    ]
}

/// All hexadecimal strings of the record's export that are long enough to be something, by the line.
fn lines() -> Vec<Value> {
    RECORD
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| strings(value, found)),
        Value::Object(map) => map.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

fn encoded() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    lines().iter().for_each(|line| strings(line, &mut found));
    found
        .iter()
        .filter_map(|text| hex::decode(text).ok())
        .collect()
}

pub(crate) fn opening() -> Vec<u8> {
    let mut found = encoded();
    found.retain(|bytes| Genesis::from_bytes(bytes).is_ok());
    found.swap_remove(0)
}

fn numbered(accepted: impl Fn(&[u8]) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut found = encoded();
    found.retain(|bytes| accepted(bytes));
    (0..)
        .map(|number| format!("ok-{number}"))
        .zip(found)
        .collect()
}

fn transactions() -> Vec<(String, Vec<u8>)> {
    numbered(|bytes| SignedTransaction::from_bytes(bytes).is_ok())
}

fn headers() -> Vec<(String, Vec<u8>)> {
    numbered(|bytes| Header::from_bytes(bytes).is_ok())
}

/// Any bytes as a signed transaction.
fn transaction(bytes: &[u8]) -> Verdict {
    // What a platform prepares and a user signs is the part without the signature.
    if let Ok(unsigned) = UnsignedTransaction::from_bytes(bytes) {
        assert_eq!(unsigned.to_bytes(), bytes, "one encoding");
    }
    let signed = SignedTransaction::from_bytes(bytes).map_err(|error| error.to_string())?;
    assert_eq!(signed.as_bytes(), bytes);
    Ok(())
}

fn genesis(bytes: &[u8]) -> Verdict {
    let genesis = Genesis::from_bytes(bytes).map_err(|error| error.to_string())?;
    assert_eq!(genesis.to_bytes(), bytes, "one encoding");
    let _ = (genesis.id(), genesis.origin());
    Ok(())
}

fn block_header(bytes: &[u8]) -> Verdict {
    let header = Header::from_bytes(bytes).map_err(|error| error.to_string())?;
    assert_eq!(header.to_bytes(), bytes, "one encoding");
    Ok(())
}

fn heads() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    lines().iter().for_each(|line| strings(line, &mut found));
    found.retain(|text| text.contains("\u{2014} "));
    (0..)
        .map(|number| format!("ok-{number}"))
        .zip(found.into_iter().map(String::into_bytes))
        .collect()
}

fn signed_head(bytes: &[u8]) -> Verdict {
    SignedHead::parse(text(bytes)?)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The export of a record with one line edited: nothing but the original is verified up to its signatures.
fn record_export(bytes: &[u8]) -> Verdict {
    thread_local! {
        static FOLDER: tempfile::TempDir = in_memory();
    }
    let [which, how, rest @ ..] = bytes else {
        return refused("short");
    };
    let mut lines: Vec<Vec<u8>> = RECORD
        .lines()
        .map(|line| line.as_bytes().to_vec())
        .collect();
    let which = usize::from(*which) % lines.len();
    if how & 1 == 0 {
        let others: Vec<Vec<u8>> = lines.clone();
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        lines[which] = edits::apply(&lines[which], rest, &others);
    } else {
        lines[which] = rest.to_vec();
    }
    let whole = lines.join(&b'\n');
    FOLDER.with(|folder| {
        let path = folder.path().join("record.jsonl");
        std::fs::write(&path, &whole).unwrap();
        match verify_export(&path, &[]) {
            // No keys were given, so nothing can be signed by any of them.
            Ok(_) => panic!("an unsigned record is verified"),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                Err(error.code().to_owned())
            }
        }
    })
}

const HANDOVERS: &str = include_str!("../../coordinator/tests/vectors/record-handovers.jsonl");
pub(crate) const READS: &str = include_str!("../../coordinator/tests/vectors/record-reads.jsonl");
const APPROVALS: &str = include_str!("../../coordinator/tests/vectors/alpha.approvals");

/// The founders of those records.
pub(crate) fn founders() -> Vec<NoteKey> {
    ["alpha", "beta", "delta", "gamma"]
        .map(|name| {
            let seed: [u8; 32] = Sha256::digest(format!("head {name}")).into();
            let key = SigningKey::from_bytes(&seed).verifying_key();
            NoteKey::new(name, key).unwrap()
        })
        .to_vec()
}

/// A file of lines with one of them edited, on a disk; whether it is the original.
fn edited<T>(original: &str, bytes: &[u8], run: impl FnOnce(&Path, bool) -> T) -> Option<T> {
    thread_local! {
        static FOLDER: tempfile::TempDir = in_memory();
    }
    let [which, how, rest @ ..] = bytes else {
        return None;
    };
    let mut lines: Vec<Vec<u8>> = original
        .lines()
        .map(|line| line.as_bytes().to_vec())
        .collect();
    let which = usize::from(*which) % lines.len();
    if how & 1 == 0 {
        let others: Vec<Vec<u8>> = lines.clone();
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        lines[which] = edits::apply(&lines[which], rest, &others);
    } else {
        lines[which] = rest.to_vec();
    }
    let mut whole = lines.join(&b'\n');
    whole.push(b'\n');
    FOLDER.with(|folder| {
        let path = folder.path().join("edited");
        std::fs::write(&path, &whole).unwrap();
        Some(run(&path, whole == original.as_bytes()))
    })
}

/// A record whose organisations changed, with one line edited, under the founders' keys: whoever signs at its end, no other transactions come out.
fn record_handovers(bytes: &[u8]) -> Verdict {
    let found = edited(HANDOVERS, bytes, |path, _| {
        match verify_export(path, &founders()) {
            // A signature of nobody who counts may be altered.
            Ok(verified) => {
                assert_eq!(verified.report.verifiers.len(), 3);
                assert_eq!(verified.report.transactions, 15);
                Ok(())
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                Err(error.code().to_owned())
            }
        }
    });
    found.unwrap_or_else(|| refused("short"))
}

/// An organisation's file of approvals with one line edited: it is taken as it was, or not at all.
fn approvals_file(bytes: &[u8]) -> Verdict {
    static RECORD: LazyLock<VerifiedRecord> = LazyLock::new(|| {
        let folder = in_memory();
        let path = folder.path().join("record");
        std::fs::write(&path, READS).unwrap();
        verify_export(&path, &founders()).unwrap()
    });
    let found = edited(APPROVALS, bytes, |path, original| {
        let verified = verify_approvals(path, &RECORD, 30_000);
        assert!(verified.is_ok() || !original);
        match verified {
            Ok(issued) => {
                assert_eq!(issued.approvals().len(), 3);
                Ok(())
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                Err(error.code().to_owned())
            }
        }
    });
    found.unwrap_or_else(|| refused("short"))
}

fn identifier(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let name: Identifier = text.parse().map_err(|_| "identifier".to_owned())?;
    assert_eq!(name.as_str(), text);
    Ok(())
}

fn name() -> VersionName {
    VersionName {
        tenant: "tenant".parse().unwrap(),
        dataset: "dataset".parse().unwrap(),
        document: "document".parse().unwrap(),
        version: 1,
    }
}

fn body_key() -> BodyKey {
    BodyKey::from_slice(&[8; 32]).unwrap()
}

/// A sealed body, edited: what comes out is a prefix of what went in, and all of it only if nothing was changed.
fn body(bytes: &[u8]) -> Verdict {
    let [small, blocks, _, edits @ ..] = bytes else {
        return refused("short");
    };
    let length = usize::from(*small) + usize::from(blocks % 3) * BLOCK_SIZE;
    let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let mut sealed = Vec::new();
    let mut sealer = BodySealer::new(&body_key(), &name(), &mut rng(3), &mut sealed).unwrap();
    sealer.push(&plain, &mut sealed).unwrap();
    let _: SealedBody = sealer.finish(&mut sealed).unwrap();
    assert_eq!(sealed.len() as u64, encrypted_length(length as u64));
    let changed = edits::apply(&sealed, edits, &[&sealed]);
    let mut reader = BodyReader::new(body_key(), name(), length as u64);
    let mut out = Vec::new();
    let result = reader
        .push(&changed, &mut out)
        .and_then(|()| reader.finish());
    assert!(
        plain.starts_with(&out),
        "only authentic plaintext comes out"
    );
    assert_eq!(result.is_ok(), changed == sealed);
    result.map_err(|error| error.code().to_owned())
}

static WRAPPED_BODY_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    document_key()
        .wrap_body_key(
            &body_key(),
            &name(),
            &sealed_body(),
            b"metadata",
            &mut rng(4),
        )
        .unwrap()
});

fn document_key() -> DocumentKey {
    DocumentKey::from_slice(&[9; 32]).unwrap()
}

fn sealed_body() -> SealedBody {
    SealedBody {
        length: 7,
        checksum: [1; 32],
    }
}

/// A wrapped body key and an encrypted pointer, edited: only the originals open.
fn wrapped_body_key(edits: &[u8]) -> Verdict {
    let honest = &*WRAPPED_BODY_KEY;
    let changed = edits::apply(honest, edits, &[]);
    let opened = document_key().unwrap_body_key(&changed, &name(), &sealed_body());
    assert_eq!(opened.is_ok(), &changed == honest);
    assert!(
        document_key()
            .open_pointer(&changed, &name(), &sealed_body())
            .is_err()
    );
    opened.map(drop).map_err(|error| error.code().to_owned())
}

fn rest_answers() -> Vec<(String, Vec<u8>)> {
    let id = "0190a6a0-0000-7000-8000-000000000000";
    let prepared = format!(
        "{{\"id\":\"{id}\",\"transaction\":\"{}\"}}",
        hex::encode(opening())
    );
    vec![("prepared".to_owned(), prepared.into_bytes())]
}

/// Any JSON as what a platform answers: a client reads it before it trusts any of it.
fn rest_answer(bytes: &[u8]) -> Verdict {
    let prepared = serde_json::from_slice::<PreparedView>(bytes);
    if let Ok(prepared) = &prepared
        && let Ok(unsigned) = UnsignedTransaction::from_bytes(&prepared.transaction)
    {
        assert_eq!(unsigned.to_bytes(), prepared.transaction);
    }
    let receipt = serde_json::from_slice::<ReceiptView>(bytes).is_ok();
    let report = serde_json::from_slice::<ReadReport>(bytes).is_ok();
    let consistency = serde_json::from_slice::<ConsistencyView>(bytes).is_ok();
    let shares = serde_json::from_slice::<SharesView>(bytes).is_ok();
    if prepared.is_ok() || receipt || report || consistency || shares {
        Ok(())
    } else {
        refused("json")
    }
}
