//! What a platform shows to those who do not trust it: the proof of a row, of a version, of how a document stands, and an audit's answer.
//!
//! The signatures of a quorum stand between a fuzzer and everything behind them. So an input is a list of edits of an honest answer, or, behind a `+`, any
//! bytes. Whatever is accepted says what the record says.

use std::sync::LazyLock;

use certs::merkle::{Tree, leaf_hash};
use certs::note::NoteKey;
use coordinator::api::{ProofView, StandingView};
use coordinator::client::ProvenVersion;
use coordinator::record::audit::{
    AuditAnswer, AuditRow, AuditView, DocumentProof, InclusionProof, PathHash, verify_export,
};
use coordinator::record::head::SignedHead;
use coordinator::record::{
    KeyWrapping, SignedTransaction, Transaction, VersionName, Write, quorum,
};
use serde_json::Value;

use crate::node::in_memory;
use crate::platform::{READS, founders, strings};
use crate::{Target, Verdict, edits};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "link_proof",
            run: link_proof,
            seeds,
        },
        Target {
            name: "version_proof",
            run: version_proof,
            seeds,
        },
        Target {
            name: "document_standing",
            run: document_standing,
            seeds,
        },
        Target {
            name: "audit_answer",
            run: audit_answer,
            seeds,
        },
    ]
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = vec![
        ("ok".to_owned(), Vec::new()),
        ("any-bytes".to_owned(), b"+{\"position\":0}".to_vec()),
    ];
    for what in 0..8 {
        for place in [40, 250] {
            seeds.push((
                format!("edit-{what}-{place}"),
                vec![b'-', what, place, 0, 1, 0],
            ));
        }
    }
    seeds
}

/// An honest answer, edited; behind a `+`, any bytes.
pub(crate) fn changed(honest: &[u8], bytes: &[u8]) -> Vec<u8> {
    match bytes.split_first() {
        Some((b'+', rest)) => rest.to_vec(),
        Some((_, changes)) => edits::apply(honest, changes, &[]),
        None => honest.to_vec(),
    }
}

/// A record with reads, as a platform has it, and its honest answers.
struct Record {
    keys: Vec<NoteKey>,
    rows: Vec<SignedTransaction>,
    link_proof: Vec<u8>,
    version: (VersionName, Write),
    version_proof: Vec<u8>,
    /// A read of that version, and how its document stands under the same head.
    read: SignedTransaction,
    standing: StandingView,
    answer: Vec<u8>,
}

impl Record {
    fn load() -> Self {
        let mut found = Vec::new();
        for line in READS.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            strings(&line, &mut found);
        }
        let rows: Vec<SignedTransaction> = found
            .iter()
            .filter_map(|text| SignedTransaction::from_bytes(&hex::decode(text).ok()?).ok())
            .collect();
        let tree: Tree = rows.iter().map(|row| leaf_hash(row.as_bytes())).collect();
        let keys = founders();
        let size = tree.size();
        let note = found.iter().find(|note| {
            let Ok(signed) = SignedHead::parse(note) else {
                return false;
            };
            let head = signed.verify(&keys, quorum(keys.len()));
            head.is_ok_and(|head| head.checkpoint.size == size)
        });
        let note = note.unwrap().clone();

        let path = |index: u64| tree.inclusion_proof(index, size).unwrap();
        let proof = |index: usize| ProofView {
            transaction: rows[index].as_bytes().to_vec(),
            position: index as u64,
            size,
            path: path(index as u64).iter().map(hex::encode).collect(),
            checkpoint: note.clone(),
        };
        let (written, write) = rows
            .iter()
            .enumerate()
            .find_map(|(index, row)| match row.transaction() {
                Transaction::Write(write) if matches!(write.key, KeyWrapping::Threshold { .. }) => {
                    Some((index, write.clone()))
                }
                _ => None,
            })
            .unwrap();
        let name = write.name();
        let reads = |row: &SignedTransaction| matches!(row.transaction(), Transaction::Read(_));
        let read = rows.iter().rposition(reads).unwrap();

        let folder = in_memory();
        let export = folder.path().join("record");
        std::fs::write(&export, READS).unwrap();
        let mut state = verify_export(&export, &keys).unwrap().state;
        let _ = state.root();
        let DocumentProof {
            document,
            path: row,
        } = state.prove_document(&name.document_name()).unwrap();
        let all = |hashes: Vec<[u8; 32]>| hashes.into_iter().map(PathHash).collect();
        let standing = StandingView {
            latest: document.latest,
            erased: document.erased,
            changed_ms: document.changed_ms,
            state_path: all(row),
            position: read as u64,
            path: all(path(read as u64)),
            checkpoint: note.clone(),
        };
        let answer = AuditAnswer {
            signed_head: Some(note.clone()),
            size,
            rows: (0..3)
                .map(|index| AuditRow {
                    height: 1,
                    time_ms: 1,
                    transaction: rows[index].clone(),
                    withdrawn: None,
                    proof: InclusionProof {
                        position: index as u64,
                        size,
                        path: path(index as u64),
                    },
                })
                .collect(),
            next: None,
        };
        let text = |value: &ProofView| serde_json::to_vec_pretty(value).unwrap();
        Self {
            link_proof: text(&proof(rows.len() / 2)),
            version_proof: text(&proof(written)),
            version: (name, write),
            read: rows[read].clone(),
            standing,
            answer: serde_json::to_vec(&AuditView::from(answer)).unwrap(),
            keys,
            rows,
        }
    }
}

static RECORD: LazyLock<Record> = LazyLock::new(Record::load);

/// The proof of a transaction, as `coordinator link verify` reads it: only what is at that place is proven.
fn link_proof(bytes: &[u8]) -> Verdict {
    let record = &*RECORD;
    let code = |error: coordinator::record::audit::ProofFileError| error.code().to_owned();
    let view = ProofView::from_json(&changed(&record.link_proof, bytes)).map_err(code)?;
    let (head, row) = view.verify(&record.keys).map_err(code)?;
    assert_eq!(head.head().checkpoint.size, record.rows.len() as u64);
    let place = usize::try_from(row.position()).unwrap();
    assert_eq!(row.transaction(), &record.rows[place]);
    Ok(())
}

/// The proof of a version, as a reader who trusts no platform takes it: the write that is on the record, and its very key.
fn version_proof(bytes: &[u8]) -> Verdict {
    let record = &*RECORD;
    let (name, write) = &record.version;
    let view = ProofView::from_json(&changed(&record.version_proof, bytes))
        .map_err(|error| error.code().to_owned())?;
    let document = name.document_name();
    let proven = ProvenVersion::verify(&view, &record.keys, &document, Some(name.version))
        .map_err(|error| error.code().to_owned())?;
    assert_eq!((proven.name(), proven.write()), (name, write));
    let wrapped = proven.wrapped_key().unwrap();
    let KeyWrapping::Threshold { wrapped_key } = &write.key else {
        unreachable!("it was chosen so")
    };
    assert_eq!(wrapped.as_bytes(), wrapped_key.as_slice());
    Ok(())
}

/// What a platform says of how a document stands when a read is on the record: as it does, or refused.
fn document_standing(bytes: &[u8]) -> Verdict {
    let record = &*RECORD;
    let honest = serde_json::to_vec(&record.standing).unwrap();
    let said: StandingView =
        serde_json::from_slice(&changed(&honest, bytes)).map_err(|_| "json".to_owned())?;
    let view = ProofView::from_json(&record.version_proof).unwrap();
    let (name, _) = &record.version;
    let proven = ProvenVersion::verify(&view, &record.keys, &name.document_name(), None).unwrap();
    let latest = proven.is_latest(&said, &record.read, &record.keys);
    let refused = latest.map_err(|error| error.code().to_owned());
    let believed = match &refused {
        Ok(()) => true,
        Err(code) => code == "not-latest",
    };
    if believed {
        assert_eq!(said.document(), record.standing.document());
        assert_eq!(said.position, record.standing.position);
    }
    refused
}

/// An audit's answer: each row is on the record, and what stands beside it is what it says itself.
fn audit_answer(bytes: &[u8]) -> Verdict {
    let record = &*RECORD;
    let view: AuditView =
        serde_json::from_slice(&changed(&record.answer, bytes)).map_err(|_| "json".to_owned())?;
    view.verify(&record.keys, None)
        .map_err(|error| error.code().to_owned())?;
    for row in &view.rows {
        let place = usize::try_from(row.position).unwrap();
        let own = &record.rows[place];
        assert_eq!(row.transaction, own.as_bytes());
        assert_eq!(row.kind, own.transaction().kind());
        assert_eq!(row.author, own.author().to_string());
        assert_eq!(row.transaction_id, hex::encode(own.id()));
    }
    Ok(())
}
