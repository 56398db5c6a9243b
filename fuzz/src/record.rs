//! The record's machine, and what organisations' peers say to each other and to platforms.

use std::sync::LazyLock;

use certs::note::NoteKey;
use coordinator::record::wire::{BlocksView, PeerStatusView, StandingView, Submitted};
use coordinator::record::{
    Author, BlockContext, Genesis, Header, Identifier, SignedTransaction, State, Statements,
    UnsignedTransaction, apply,
};
use ed25519_dalek::SigningKey;
use ordering::hostile;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Target, Verdict, edits, refused};

const RECORD: &str = include_str!("../../coordinator/tests/vectors/record.jsonl");

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "record_state",
            run: record_state,
            seeds: || {
                let steps = HISTORY.len();
                let whole = (0..steps).map(|at| (format!("whole-{at}"), vec![at as u8]));
                let edited = (0..steps).map(|at| {
                    let edit = [at as u8, (at % 8) as u8, (at * 7) as u8, 0, 1, 0];
                    (format!("edited-{at}"), edit.to_vec())
                });
                whole.chain(edited).collect()
            },
        },
        Target {
            name: "ordered_batch",
            run: ordered_batch,
            seeds: || {
                let batch = |items: &[&[u8]]| hostile::encode_batch([7; 32], 3, 1_000, items);
                vec![
                    ("ok-empty".to_owned(), batch(&[])),
                    ("ok-two".to_owned(), batch(&[b"one", &[2; 300]])),
                ]
            },
        },
        Target {
            name: "gossip",
            run: gossip,
            seeds: || {
                vec![
                    ("ok".to_owned(), b"\0\0\0\x03one\0\0\0\x01x".to_vec()),
                    ("long".to_owned(), b"\xff\xff\xff\xffone".to_vec()),
                ]
            },
        },
        Target {
            name: "peer_answer",
            run: peer_answer,
            seeds: peer_answers,
        },
    ]
}

/// A moment of the frozen record: the state, and the transaction that came next.
struct Moment {
    before: State,
    block: BlockContext,
    next: SignedTransaction,
}

fn hexadecimal(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn lines() -> Vec<Value> {
    let lines = RECORD.lines().map(serde_json::from_str);
    lines.map(Result::unwrap).collect()
}

static HISTORY: LazyLock<Vec<Moment>> = LazyLock::new(|| {
    let lines = lines();
    let genesis = Genesis::from_bytes(&hexadecimal(&lines[0]["genesis"])).unwrap();
    let mut state = genesis.state().unwrap();
    let mut moments = Vec::new();
    for line in lines.iter().filter(|line| line.get("header").is_some()) {
        let header = Header::from_bytes(&hexadecimal(&line["header"])).unwrap();
        let block = BlockContext {
            height: header.height,
            time_ms: header.time_ms,
        };
        for next in line["transactions"].as_array().unwrap() {
            let next = SignedTransaction::from_bytes(&hexadecimal(next)).unwrap();
            moments.push(Moment {
                before: state.clone(),
                block,
                next: next.clone(),
            });
            apply(&mut state, &block, &next).unwrap();
        }
    }
    assert!(moments.len() > 40);
    moments
});

/// The key that somebody on the frozen record has in the beginning.
fn key(author: &Author) -> SigningKey {
    let name = match author {
        Author::User(name) | Author::Managed(name) => name.to_string(),
        Author::Organisation(name) => format!("operator {name}"),
    };
    SigningKey::from_bytes(&Sha256::digest(name).into())
}

/// At some moment of the record somebody signs what nobody has signed: an edited transaction. What is refused changes nothing, what is
/// accepted is accepted once.
fn record_state(bytes: &[u8]) -> Verdict {
    let [which, changes @ ..] = bytes else {
        return refused("short");
    };
    let moment = &HISTORY[usize::from(*which) % HISTORY.len()];
    let honest = moment.next.content().to_bytes();
    let others: Vec<Vec<u8>> = HISTORY
        .iter()
        .step_by(5)
        .map(|moment| moment.next.content().to_bytes())
        .collect();
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let changed = edits::apply(&honest, changes, &others);
    let content = UnsignedTransaction::from_bytes(&changed).map_err(|_| "encoding".to_owned())?;
    assert_eq!(content.to_bytes(), changed, "one encoding");
    let key = key(&content.author);
    let signed = content.sign(&key);
    let mut state = moment.before.clone();
    let before = state.root();
    match apply(&mut state, &moment.block, &signed) {
        Err(rejection) => {
            assert!(!rejection.to_string().is_empty());
            assert_eq!(state.root(), before, "refused means unchanged");
            Err(rejection.code().to_owned())
        }
        Ok(events) => {
            assert!(!events.is_empty(), "something has happened");
            assert_ne!(state.root(), before, "and the state says so");
            let after = state.root();
            let again = apply(&mut state, &moment.block, &signed).unwrap_err();
            assert_eq!(again.code(), "replayed");
            assert_eq!(state.root(), after);
            Ok(())
        }
    }
}

fn ordered_batch(bytes: &[u8]) -> Verdict {
    let again = hostile::decode_batch(bytes)?;
    assert_eq!(again, bytes, "one encoding");
    Ok(())
}

/// What a member tells the others: items of it, and never more bytes than came.
fn gossip(bytes: &[u8]) -> Verdict {
    let items = hostile::gossip(bytes);
    let total: usize = items.iter().map(|item| item.len() + 4).sum();
    assert!(total <= bytes.len());
    assert!(items.iter().all(|item| !item.is_empty()));
    if total == bytes.len() {
        Ok(())
    } else {
        refused("rest")
    }
}

fn peer_answers() -> Vec<(String, Vec<u8>)> {
    let lines = lines();
    let blocks: Vec<Value> = lines
        .iter()
        .filter(|line| line.get("header").is_some())
        .take(2)
        .map(|line| {
            json!({
                "header": line["header"],
                "signed_head": "none",
                "transactions": line["transactions"],
            })
        })
        .collect();
    let status = json!({
        "organisation": "alpha", "software": "1", "ledger": "00", "height": 1, "transactions": 1,
        "ordered": 1, "epoch": 0, "votes": true, "organisations": ["alpha", "beta"],
        "changes": [{"change": "remove", "organisation": "beta", "endorsed_by": ["alpha"]}],
        "accused": [{"organisation": "beta", "fault": "said two things"}],
    });
    let texts = [
        ("ok-blocks", json!({ "blocks": blocks })),
        ("ok-status", status),
        (
            "ok-recorded",
            json!({"outcome": "recorded", "height": 1, "position": 0}),
        ),
        (
            "ok-refused",
            json!({"outcome": "refused", "code": "replayed", "message": "again"}),
        ),
    ];
    texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.to_string().into_bytes()))
        .collect()
}

/// Any JSON as what a peer's process answers.
fn peer_answer(bytes: &[u8]) -> Verdict {
    let blocks = serde_json::from_slice::<BlocksView>(bytes);
    for view in blocks.iter().flat_map(|view| &view.blocks) {
        let header = view.header();
        if let Some(block) = view.block() {
            assert_eq!(Some(block.header), header);
        }
    }
    let status = serde_json::from_slice::<PeerStatusView>(bytes).is_ok();
    let submitted = serde_json::from_slice::<Submitted>(bytes).is_ok();
    let standing = serde_json::from_slice::<StandingView>(bytes);
    if let Ok(StandingView::Departed { epoch, note }) = &standing {
        let name = || "alder".parse::<Identifier>();
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
        if let (Ok(own), Ok(by), Ok(key)) = (name(), name(), NoteKey::new("alder", key)) {
            let mut heard = Statements::about([0; 32], own, [0; 32]);
            assert!(!heard.hear(&by, &key, *epoch, note), "nobody signed that");
        }
    }
    if blocks.is_ok() || status || submitted || standing.is_ok() {
        Ok(())
    } else {
        refused("json")
    }
}
