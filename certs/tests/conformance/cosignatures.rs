//! Cosignatures and proofs as files: what they are, and what is not one.

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint, sign};
use certs::cosignature::{CosignatureLine, WitnessKey, cosign};
use certs::log_proof::{ConsistencyFile, InclusionFile, MAX_HASHES};
use certs::merkle::{Tree, leaf_hash};
use ed25519_dalek::{SigningKey, Verifier};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn witness(name: &str, seed: u8) -> WitnessKey {
    WitnessKey::new(name, key(seed).verifying_key()).unwrap()
}

fn log() -> NoteKey {
    NoteKey::new("log.example/a", key(1).verifying_key()).unwrap()
}

fn tree(size: u64) -> Tree {
    (0..size).map(|n| leaf_hash(&n.to_le_bytes())).collect()
}

fn head(size: u64) -> Checkpoint {
    Checkpoint {
        origin: "log.example/a".into(),
        size,
        root: tree(size).root(),
    }
}

fn signed(size: u64) -> SignedCheckpoint {
    let note = sign(&head(size), "log.example/a", &key(1)).unwrap();
    SignedCheckpoint::parse(&note).unwrap()
}

#[test]
fn a_witness_key_published_by_another_implementation_parses() {
    // Of a public witness, from the tests of transparency-dev/formats.
    let text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    let key: WitnessKey = text.parse().unwrap();
    assert_eq!(
        (key.name(), key.to_string().as_str()),
        ("remora.n621.de", text)
    );
    // A log's key is no witness's, and the other way round.
    assert!(text.parse::<NoteKey>().is_err());
    assert!(log().to_string().parse::<WitnessKey>().is_err());
    assert!(text.replace("da77", "da78").parse::<WitnessKey>().is_err());
}

#[test]
fn what_is_signed_is_the_documented_text() {
    let line = cosign(&head(7), "w.example", &key(2), 1_679_315_147).unwrap();
    let line = line.to_string();
    let encoded = line.strip_prefix("— w.example ").unwrap().trim_end();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded).unwrap();
    assert_eq!(bytes.len(), 4 + 8 + 64);
    assert_eq!(bytes[..4], witness("w.example", 2).hash());
    assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
    let text = head(7).to_text().unwrap();
    let message = format!("cosignature/v1\ntime 1679315147\n{text}");
    let signature = ed25519_dalek::Signature::from_slice(&bytes[12..]).unwrap();
    let verified = key(2)
        .verifying_key()
        .verify(message.as_bytes(), &signature);
    assert!(verified.is_ok());
}

#[test]
fn cosignatures_are_added_counted_and_dated() {
    let mut checkpoint = signed(7);
    let keys = [witness("w1", 2), witness("w2", 3), witness("again", 2)];
    for (index, time_s) in [(0, 50), (1, 60), (0, 70)] {
        let witness = &keys[index];
        let line = cosign(&head(7), witness.name(), &key(2 + index as u8), time_s).unwrap();
        assert_eq!(checkpoint.add_cosignature(&line, witness).unwrap(), time_s);
    }
    let line = cosign(&head(7), "again", &key(2), 10).unwrap();
    checkpoint.add_cosignature(&line, &keys[2]).unwrap();
    let again = SignedCheckpoint::parse(&checkpoint.to_string()).unwrap();
    let found: Vec<(&str, u64)> = again
        .cosigners(&keys)
        .unwrap()
        .iter()
        .map(|cosigned| (cosigned.witness.name(), cosigned.time_s))
        .collect();
    assert_eq!(
        found,
        [("w1", 70), ("w2", 60)],
        "each key once, the latest time"
    );
    assert_eq!(again.verify(&[log()], 1).unwrap(), head(7));
    let mut bare = again.clone();
    bare.keep_only(&log());
    assert_eq!(bare, signed(7));
}

#[test]
fn a_cosignature_of_something_else_is_none() {
    let w = witness("w", 2);
    let good = cosign(&head(7), "w", &key(2), 50).unwrap().to_string();
    let other_size = cosign(&head(8), "w", &key(2), 50).unwrap().to_string();
    let other_key = cosign(&head(7), "w", &key(3), 50).unwrap().to_string();
    let plain = sign(&head(7), "w", &key(2)).unwrap();
    let plain = plain.split_once("\n\n").unwrap().1.to_owned();
    // The same signature with another time.
    let mut bytes = base64::Engine::decode(
        &base64::prelude::BASE64_STANDARD,
        good.strip_prefix("— w ").unwrap().trim_end(),
    )
    .unwrap();
    bytes[11] ^= 1;
    let dated = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &bytes);
    let dated = format!("— w {dated}\n");
    let of_no_length = format!("{}\n", good.trim_end().get(..20).unwrap());
    for text in [
        "",
        "\n",
        other_size.as_str(),
        &other_key,
        &plain,
        &dated,
        &of_no_length,
        &format!("another text\n\n{good}"),
        good.trim_end(),
    ] {
        let mut checkpoint = signed(7);
        let line = CosignatureLine::from_text(text);
        assert!(checkpoint.add_cosignature(&line, &w).is_err(), "{text:?}");
        assert_eq!(checkpoint, signed(7), "left as it was");
    }
    // One that claims to be a trusted witness's and is false spoils the note.
    let note = format!("{}{dated}", signed(7));
    let checkpoint = SignedCheckpoint::parse(&note).unwrap();
    assert!(checkpoint.cosigners(std::slice::from_ref(&w)).is_err());
    assert_eq!(checkpoint.cosigners(&[witness("x", 4)]), Ok(vec![]));
}

#[test]
fn a_proof_file_proves_its_record_and_nothing_else() {
    for (index, size) in [(0, 1), (0, 7), (3, 7), (6, 7)] {
        let file = InclusionFile {
            extra: Some((index as u64).to_le_bytes().to_vec()),
            index,
            proof: tree(size).inclusion_proof(index, size).unwrap(),
            checkpoint: signed(size),
        };
        let text = file.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "));
        assert_eq!(InclusionFile::parse(&text).unwrap(), file);
        let (proved, record, head) = file.verify(&log()).unwrap();
        assert_eq!((proved, record.len(), head.size), (index, 8, size));
        let stranger = NoteKey::new("log.example/a", key(9).verifying_key()).unwrap();
        assert!(file.verify(&stranger).is_err());
        let code = |change: &dyn Fn(&mut InclusionFile)| {
            let mut file = file.clone();
            change(&mut file);
            file.verify(&log()).unwrap_err().code()
        };
        assert_eq!(code(&|file| file.extra = None), "proof-no-record");
        assert_eq!(code(&|file| file.extra = Some(vec![1])), "proof-root");
        assert_eq!(code(&|file| file.proof.push([0; 32])), "proof-length");
        assert!(matches!(
            code(&|file| file.index += 1),
            "proof-root" | "proof-range" | "proof-length"
        ));
        // No byte can be changed without its being noticed: not read, or not verified.
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let proved = String::from_utf8(bytes)
                .ok()
                .and_then(|text| InclusionFile::parse(&text).ok())
                .is_some_and(|file| file.verify(&log()).is_ok());
            assert!(!proved, "byte {at} of {text}");
        }
    }
}

#[test]
fn a_consistency_file_proves_that_one_head_continues_the_other() {
    for (old, new) in [(1, 7), (4, 7), (7, 7), (6, 13)] {
        let file = ConsistencyFile {
            old,
            proof: tree(new).consistency_proof(old, new).unwrap(),
            checkpoint: signed(new),
        };
        let text = file.to_string();
        assert!(text.starts_with(&format!("old {old}\n")));
        assert_eq!(ConsistencyFile::parse(&text).unwrap(), file);
        assert_eq!(file.verify(&log(), &head(old)).unwrap(), head(new));
        let other_root = Checkpoint {
            root: [9; 32],
            ..head(old)
        };
        assert!(matches!(
            file.verify(&log(), &other_root).unwrap_err().code(),
            "proof-old-root" | "proof-root"
        ));
        let other_log = Checkpoint {
            origin: "log.example/b".into(),
            ..head(old)
        };
        let code = file.verify(&log(), &other_log).unwrap_err().code();
        assert_eq!(code, "proof-other-log");
        let code = file.verify(&log(), &head(old + 1)).unwrap_err().code();
        assert_eq!(code, "proof-malformed");
    }
}

#[test]
fn what_is_not_of_the_form_is_refused() {
    let proof = |head: &str| format!("{head}\n{}", signed(7));
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    for head in [
        "",
        "c2sp.org/tlog-proof@v2\nindex 0\n",
        "c2sp.org/tlog-proof@v1\n",
        "c2sp.org/tlog-proof@v1\nindex 00\n",
        "c2sp.org/tlog-proof@v1\nindex -1\n",
        "c2sp.org/tlog-proof@v1\nindex 18446744073709551616\n",
        "c2sp.org/tlog-proof@v1\nextra \nindex 0\n",
        "c2sp.org/tlog-proof@v1\nextra A\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n",
        &format!(
            "c2sp.org/tlog-proof@v1\nindex 0\n{}",
            hash.repeat(MAX_HASHES + 1)
        ),
    ] {
        assert!(InclusionFile::parse(&proof(head)).is_err(), "{head:?}");
    }
    for head in [
        "",
        "old\n",
        "old 8\n",
        "old 07\n",
        "old 1\nAAAA\n",
        &format!("old 1\n{}", hash.repeat(MAX_HASHES + 1)),
    ] {
        assert!(ConsistencyFile::parse(&proof(head)).is_err(), "{head:?}");
    }
    let longest = format!("old 1\n{}", hash.repeat(MAX_HASHES));
    assert!(ConsistencyFile::parse(&proof(&longest)).is_ok());
    assert!(ConsistencyFile::parse("old 1\n\nno note\n").is_err());
}
