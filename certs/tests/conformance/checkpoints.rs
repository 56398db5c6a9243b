//! Checkpoints: one encoding, several signers, k of n.

use certs::checkpoint::{
    Checkpoint, CheckpointError, NoteError, NoteKey, SignedCheckpoint, add_signature, sign,
};
use certs::note::SignedNote;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn note_key(name: &str, seed: u8) -> NoteKey {
    NoteKey::new(name, key(seed).verifying_key()).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "record.example/a".into(),
        size: 20_852_163,
        root: [7; 32],
    }
}

/// Signed by log a, cosigned by b and c.
fn cosigned() -> String {
    let mut note = sign(&checkpoint(), "record.example/a", &key(1)).unwrap();
    add_signature(&mut note, "b", &key(2)).unwrap();
    add_signature(&mut note, "c", &key(3)).unwrap();
    note
}

#[test]
fn the_note_has_the_documented_lines() {
    let note = cosigned();
    let lines: Vec<&str> = note.split('\n').collect();
    assert_eq!(
        lines[..4],
        [
            "record.example/a",
            "20852163",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            ""
        ]
    );
    assert!(
        lines[4].starts_with("— record.example/a ")
            && lines[5].starts_with("— b ")
            && lines[6].starts_with("— c ")
    );
    assert_eq!((lines.len(), lines[7]), (8, ""));
    assert_eq!(SignedCheckpoint::parse(&note).unwrap().to_string(), note);
}

#[test]
fn distinct_known_keys_are_counted() {
    let signed = SignedCheckpoint::parse(&cosigned()).unwrap();
    let known = [
        note_key("record.example/a", 1),
        note_key("b", 2),
        note_key("d", 4),
    ];
    assert_eq!(signed.verify(&known, 2).unwrap(), checkpoint());
    let too_few = |good, needed| Err(CheckpointError::Note(NoteError::NotEnough { good, needed }));
    assert_eq!(signed.verify(&known, 3), too_few(2, 3));
    assert_eq!(signed.verify(&[], 1), too_few(0, 1));
    assert_eq!(
        signed.verify(&known, 0),
        Err(NoteError::NothingNeeded.into())
    );
    let names: Vec<&str> = signed
        .signers(&known)
        .unwrap()
        .into_iter()
        .map(NoteKey::name)
        .collect();
    assert_eq!(names, ["record.example/a", "b"]);
}

#[test]
fn one_key_counts_once_whatever_its_names() {
    let mut note = cosigned();
    add_signature(&mut note, "b", &key(2)).unwrap();
    add_signature(&mut note, "b2", &key(2)).unwrap();
    let signed = SignedCheckpoint::parse(&note).unwrap();
    let known = [note_key("b", 2), note_key("b", 2), note_key("b2", 2)];
    assert_eq!(
        signed.verify(&known, 2),
        Err(NoteError::NotEnough { good: 1, needed: 2 }.into())
    );
    assert!(signed.verify(&known, 1).is_ok());
}

#[test]
fn a_known_name_with_another_key_is_passed_over_and_a_false_signature_is_not() {
    let signed = SignedCheckpoint::parse(&cosigned()).unwrap();
    assert_eq!(
        signed.verify(&[note_key("b", 9)], 1).unwrap_err().code(),
        "note-not-enough-signatures"
    );
    let altered = cosigned().replace("20852163", "20852164");
    let signed = SignedCheckpoint::parse(&altered).unwrap();
    assert_eq!(signed.claimed().size, 20_852_164);
    let known = [note_key("record.example/a", 1)];
    assert_eq!(
        signed.verify(&known, 1),
        Err(NoteError::Signature {
            name: "record.example/a".into()
        }
        .into())
    );
}

#[test]
fn a_checkpoint_has_one_encoding() {
    let text = checkpoint().to_text().unwrap();
    assert_eq!(Checkpoint::from_text(&text).unwrap(), checkpoint());
    let root = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (bad, error) in [
        (format!("o\n1\n{root}"), CheckpointError::Lines),
        (format!("o\n1\n{root}\nextension\n"), CheckpointError::Lines),
        ("o\n1\n".into(), CheckpointError::Lines),
        (format!("\n1\n{root}\n"), CheckpointError::Origin),
        (format!("o\r\n1\n{root}\n"), CheckpointError::Origin),
        (
            format!("{}\n1\n{root}\n", "o".repeat(257)),
            CheckpointError::Origin,
        ),
        (format!("o\n01\n{root}\n"), CheckpointError::Size),
        (format!("o\n+1\n{root}\n"), CheckpointError::Size),
        (format!("o\n-1\n{root}\n"), CheckpointError::Size),
        (format!("o\n\n{root}\n"), CheckpointError::Size),
        (
            format!("o\n18446744073709551616\n{root}\n"),
            CheckpointError::Size,
        ),
        (format!("o\n1\n{}\n", &root[..43]), CheckpointError::Root),
        (format!("o\n1\n{}d=\n", &root[..42]), CheckpointError::Root), // trailing bits not zero
        (format!("o\n1\n{}\n", &root[..40]), CheckpointError::Root),
    ] {
        assert_eq!(Checkpoint::from_text(&bad), Err(error), "{bad:?}");
    }
    for size in [0, u64::MAX] {
        let checkpoint = Checkpoint {
            size,
            ..checkpoint()
        };
        assert_eq!(
            Checkpoint::from_text(&checkpoint.to_text().unwrap()).unwrap(),
            checkpoint
        );
    }
}

#[test]
fn notes_that_are_not_notes_are_refused() {
    let good = cosigned();
    let text = checkpoint().to_text().unwrap();
    for bad in [
        "".to_owned(),
        text.clone(),
        format!("{text}\n"),
        good.trim_end().to_owned(),
        good.replace("— b", "- b"),
        good.replace("— b", "—  b"),
        good.replace("— b ", "— b"),
        good.replace("— b ", "— b+b "),
        format!("{good}— d AAAAAA==\n"),
        format!("{good}— d AAAA\n"),
        format!("{good}\n"),
        format!("{good}— d !\n"),
        good.replace('\n', "\r\n"),
        format!("{good}\u{0}"),
    ] {
        assert!(SignedCheckpoint::parse(&bad).is_err(), "{bad:?}");
    }
    let line = "— x AAAAAAA=\n";
    assert!(SignedCheckpoint::parse(&format!("{text}\n{}", line.repeat(100))).is_ok());
    let many = SignedCheckpoint::parse(&format!("{text}\n{}", line.repeat(101))).unwrap_err();
    assert_eq!(many, NoteError::TooManySignatures.into());
    let long = SignedNote::parse(&"x".repeat(65_537)).unwrap_err();
    assert_eq!(long, NoteError::TooLong { length: 65_537 });
}

#[test]
fn names_and_origins_that_cannot_stand_in_a_note_are_refused() {
    for name in ["", "a b", "a+b", "a\n", "a\u{2003}b"] {
        assert_eq!(
            sign(&checkpoint(), name, &key(1)),
            Err(NoteError::Name.into()),
            "{name:?}"
        );
        assert_eq!(
            NoteKey::new(name, key(1).verifying_key()),
            Err(NoteError::Name)
        );
    }
    for origin in ["", "a\nb", "a\u{7f}"] {
        let checkpoint = Checkpoint {
            origin: origin.into(),
            ..checkpoint()
        };
        assert_eq!(
            sign(&checkpoint, "a", &key(1)),
            Err(CheckpointError::Origin)
        );
    }
    let mut note = cosigned();
    assert!(add_signature(&mut note, "a b", &key(5)).is_err());
    assert_eq!(note, cosigned());
}

#[test]
fn keys_have_a_text_form() {
    let key = note_key("record.example/a", 1);
    let text = key.to_string();
    assert_eq!(text.parse::<NoteKey>().unwrap(), key);
    let hash = hex::encode(key.hash());
    assert_eq!(text.split('+').nth(1), Some(hash.as_str()));
    for bad in [
        "",
        "a",
        "a+b",
        "a+00000000+AA==",
        &text.to_uppercase(),
        &format!("{text}="),
        &text[1..],
        &format!("{text} "),
    ] {
        assert!(bad.parse::<NoteKey>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_not_without_panic(text in ".{0,200}(\n\n— [a-z]{1,5} [A-Za-z0-9+/=]{0,100}\n)?") {
        if let Ok(note) = SignedNote::parse(&text) {
            prop_assert_eq!(note.to_string(), text.as_str());
        }
        let _ = text.parse::<NoteKey>();
    }

    #[test]
    fn altered_notes_do_not_verify(at in any::<prop::sample::Index>(), with in "[ -~\n]") {
        let good = sign(&checkpoint(), "a", &key(1)).unwrap();
        let positions: Vec<usize> = good.char_indices().map(|(i, _)| i).collect();
        let at = positions[at.index(positions.len())];
        let next = good[at..].chars().next().unwrap().len_utf8();
        let altered = format!("{}{with}{}", &good[..at], &good[at + next..]);
        prop_assume!(altered != good);
        let verified = SignedCheckpoint::parse(&altered).and_then(|note| note.verify(&[note_key("a", 1)], 1));
        prop_assert!(verified.is_err());
    }
}
