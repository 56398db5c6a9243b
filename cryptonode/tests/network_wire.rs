//! The messages of `cryptonode/1`: one encoding each, frozen, bounded, and no bytes that panic the decoder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use cryptonode::wire::v1::{
    Answer, ByteBuf, EPHEMERAL_KEY, EvidenceItem, KeyStatus, MAX_APPROVALS, MAX_CEREMONY_MESSAGE,
    MAX_COSIGNATURES, MAX_FINDINGS, MAX_HASHES, MAX_MEMBER_REQUEST, MAX_MESSAGE, MAX_OFFER,
    MAX_REQUEST, MAX_WRAPPED_KEY, Request, ResultVersion, SHARE, TraceParent, WireError,
    presentable,
};
use proptest::prelude::*;

fn reencrypt(approvals: Vec<Vec<u8>>, wrapped_key: Vec<u8>) -> Request {
    Request::Reencrypt {
        result: None,
        approvals: approvals.into_iter().map(ByteBuf::from).collect(),
        traceparent: None,
        wrapped_key: ByteBuf::from(wrapped_key),
        ephemeral_key: ByteBuf::from(vec![0xee; EPHEMERAL_KEY]),
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn requests() -> Vec<(&'static str, Request)> {
    vec![
        (
            "reencrypt",
            reencrypt(
                vec![vec![0x30, 0x00], vec![0x30, 0x01, 0xff]],
                vec![1, 2, 3],
            ),
        ),
        ("reencrypt, result", {
            let mut request = reencrypt(vec![vec![0x30, 0]], vec![1, 2, 3]);
            let Request::Reencrypt { result, .. } = &mut request else {
                unreachable!()
            };
            *result = Some(ResultVersion {
                epoch: 1,
                attempt: 3,
            });
            request
        }),
        ("reencrypt, traceparent", {
            let mut request = reencrypt(vec![vec![0x30, 0]], vec![1, 2, 3]);
            let Request::Reencrypt { traceparent, .. } = &mut request else {
                unreachable!()
            };
            *traceparent = TraceParent::parse(TRACE);
            assert!(traceparent.is_some());
            request
        }),
        (
            "key",
            Request::Key {
                public_key: [0x11; 32],
            },
        ),
        (
            "key_certificate",
            Request::KeyCertificate {
                public_key: [0x11; 32],
            },
        ),
        (
            "ceremony",
            Request::Ceremony {
                message: ByteBuf::from(vec![7; 3]),
            },
        ),
        (
            "policy",
            Request::Policy {
                policy_hash: [0x22; 32],
            },
        ),
        ("status", Request::Status {}),
        ("checkpoint", Request::Checkpoint {}),
        (
            "audit",
            Request::Audit {
                from: 300,
                limit: 20,
            },
        ),
        ("cosigned_checkpoint", Request::CosignedCheckpoint {}),
        ("consistency", Request::Consistency { new: 300, old: 20 }),
        (
            "witness",
            Request::Witness {
                offer: "old 0\n\na\n1\nb\n".into(),
            },
        ),
        ("evidence", Request::Evidence {}),
    ]
}

fn answers() -> Vec<(&'static str, Answer)> {
    let refused = |retry_after_ms| Answer::Refused {
        code: "busy".into(),
        message: "Later.".into(),
        retry_after_ms,
    };
    vec![
        (
            "share",
            Answer::Share {
                share: ByteBuf::from(vec![0xaa; SHARE]),
                newest: None,
            },
        ),
        (
            "share, newest",
            Answer::Share {
                share: ByteBuf::from(vec![0xaa; SHARE]),
                newest: Some(ResultVersion {
                    epoch: 2,
                    attempt: 5,
                }),
            },
        ),
        (
            "key_certificate",
            Answer::KeyCertificate {
                addresses: vec!["n1:7700".into(), String::new()],
                certificate: ByteBuf::from(vec![7]),
            },
        ),
        (
            "key",
            Answer::Key {
                descriptor: "{}".into(),
                certificate: ByteBuf::from(vec![9]),
            },
        ),
        (
            "ceremony",
            Answer::Ceremony {
                message: ByteBuf::from(vec![8]),
            },
        ),
        (
            "policy",
            Answer::Policy {
                policy: ByteBuf::from(vec![5]),
            },
        ),
        (
            "status",
            Answer::Status {
                keys: vec![KeyStatus {
                    epoch: 0,
                    index: 1,
                    attempt: 1,
                    members: 5,
                    threshold: 3,
                    public_key: [0x22; 32],
                }],
                time_ms: 1_800_000_000_000,
                identity: [0x33; 32],
                software: "cryptonode 0.1.0".into(),
            },
        ),
        (
            "checkpoint",
            Answer::Checkpoint {
                note: "a\n1\nb\n".into(),
            },
        ),
        (
            "audit",
            Answer::Audit {
                from: 0,
                size: 2,
                records: vec![ByteBuf::from(vec![1]), ByteBuf::from(vec![2])],
            },
        ),
        (
            "consistency",
            Answer::Consistency {
                proof: vec![ByteBuf::from(vec![0x44; 32])],
            },
        ),
        (
            "cosigned",
            Answer::Cosigned {
                signatures: "— w AAAA\n".into(),
            },
        ),
        (
            "seen",
            Answer::Seen {
                note: "a\n1\nb\n".into(),
            },
        ),
        (
            "evidence",
            Answer::Evidence {
                findings: vec![EvidenceItem {
                    kind: "forked".into(),
                    seen: "a\n1\nb\n".into(),
                    shown: "a\n1\nc\n".into(),
                    time_ms: 1_800_000_000_000,
                }],
            },
        ),
        ("refused", refused(None)),
        ("refused, retry", refused(Some(200))),
    ]
}

/// The bytes of version 1. They never change: another encoding is another version.
const FROZEN: &str = include_str!("network_wire_v1.txt");

#[test]
fn bytes_of_version_1_are_frozen() {
    let mut lines = String::new();
    for (name, request) in requests() {
        lines.push_str(&format!(
            "request {name}: {}\n",
            hex::encode(request.to_bytes().unwrap())
        ));
    }
    for (name, answer) in answers() {
        lines.push_str(&format!(
            "answer {name}: {}\n",
            hex::encode(answer.to_bytes().unwrap())
        ));
    }
    assert_eq!(lines, FROZEN, "the encoding of version 1 must not change");
}

#[test]
fn a_traceparent_has_one_form() {
    let (_, request) = requests().swap_remove(2);
    let bytes = request.to_bytes().unwrap();
    let at = bytes
        .windows(TRACE.len())
        .position(|window| window == TRACE.as_bytes())
        .unwrap();
    for (what, place, byte) in [
        ("another version", 1, b'1'),
        ("upper case", 3 + 1, b'B'),
        ("no hexadecimal", 3, b'x'),
        ("no separator", 2, b'0'),
        ("a control character", 5, 0x0a),
    ] {
        let mut other = bytes.clone();
        other[at + place] = byte;
        let refused = Request::from_bytes(&other).unwrap_err();
        assert_eq!(refused.code(), "message-shape", "{what}");
    }
    // Longer than any.
    let mut longer = bytes.clone();
    longer[at - 1] += 1;
    longer.insert(at + TRACE.len(), b'0');
    assert_eq!(
        Request::from_bytes(&longer).unwrap_err().code(),
        "message-shape"
    );
}

#[test]
fn what_witnesses_say_has_its_bounds() {
    let refused = |answer: Answer| answer.to_bytes().unwrap_err().code();
    let offer = "o".repeat(MAX_OFFER + 1);
    let request = Request::Witness { offer };
    assert_eq!(request.to_bytes().unwrap_err().code(), "field-length");
    let hash = ByteBuf::from(vec![0; 32]);
    let proof = vec![hash.clone(); MAX_HASHES];
    let longest = Answer::Consistency { proof };
    assert_eq!(
        Answer::from_bytes(&longest.to_bytes().unwrap()).unwrap(),
        longest
    );
    let proof = vec![hash; MAX_HASHES + 1];
    assert_eq!(refused(Answer::Consistency { proof }), "message-shape");
    let proof = vec![ByteBuf::from(vec![0; 31])];
    assert_eq!(refused(Answer::Consistency { proof }), "field-length");
    let long = "x".repeat(MAX_COSIGNATURES + 1);
    let signatures = long.clone();
    assert_eq!(refused(Answer::Cosigned { signatures }), "field-length");
    let note = long.clone();
    assert_eq!(refused(Answer::Seen { note }), "field-length");
    let item = EvidenceItem {
        kind: "forked".into(),
        seen: long[1..].to_owned(),
        shown: long[1..].to_owned(),
        time_ms: u64::MAX,
    };
    let findings = vec![item.clone(); MAX_FINDINGS];
    let longest = Answer::Evidence { findings }.to_bytes().unwrap();
    assert!(longest.len() <= Request::Evidence {}.longest_answer());
    let findings = vec![item.clone(); MAX_FINDINGS + 1];
    assert_eq!(refused(Answer::Evidence { findings }), "message-shape");
    let findings = vec![EvidenceItem {
        kind: "Not a code".into(),
        ..item
    }];
    assert_eq!(refused(Answer::Evidence { findings }), "field-text");
}

#[test]
fn every_message_reads_back() {
    for (name, request) in requests() {
        assert_eq!(
            Request::from_bytes(&request.to_bytes().unwrap()).unwrap(),
            request,
            "{name}"
        );
    }
    for (name, answer) in answers() {
        assert_eq!(
            Answer::from_bytes(&answer.to_bytes().unwrap()).unwrap(),
            answer,
            "{name}"
        );
    }
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    for (name, request) in requests() {
        let bytes = request.to_bytes().unwrap();
        for cut in 0..bytes.len() {
            assert!(
                Request::from_bytes(&bytes[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(
            Request::from_bytes(&longer),
            Err(WireError::NotCanonical),
            "{name} with a tail"
        );
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal.replace(' ', "")).unwrap()
}

#[test]
fn other_encodings_of_the_same_message_are_refused() {
    let canonical = Request::Audit { from: 1, limit: 2 }.to_bytes().unwrap();
    assert_eq!(
        hex::encode(&canonical),
        "a1656175646974a26466726f6d01656c696d697402"
    );
    for (what, encoding) in [
        (
            "a length longer than needed",
            "a1656175646974a26466726f6d1801656c696d697402",
        ),
        (
            "an indefinite map",
            "bf656175646974a26466726f6d01656c696d697402ff",
        ),
        (
            "an indefinite inner map",
            "a1656175646974bf6466726f6d01656c696d697402ff",
        ),
        (
            "fields in another order",
            "a1656175646974a2656c696d6974026466726f6d01",
        ),
        ("a tag", "c1a1656175646974a26466726f6d01656c696d697402"),
        (
            "a float for an integer",
            "a1656175646974a26466726f6df93c00656c696d697402",
        ),
        (
            "a field twice",
            "a1656175646974a36466726f6d016466726f6d01656c696d697402",
        ),
        (
            "an unknown field",
            "a1656175646974a36466726f6d01656c696d6974026178f6",
        ),
        ("a missing field", "a1656175646974a16466726f6d01"),
        (
            "an unknown message",
            "a1656175646975a26466726f6d01656c696d697402",
        ),
        (
            "two messages in one map",
            "a2656175646974a26466726f6d01656c696d697402 66737461747573a0",
        ),
        ("a bare name", "66737461747573"),
        ("an array for the fields", "a1656175646974820102"),
        (
            "a negative number",
            "a1656175646974a26466726f6d20656c696d697402",
        ),
        ("nothing", ""),
        ("null", "f6"),
    ] {
        assert!(
            Request::from_bytes(&bytes(encoding)).is_err(),
            "{what} must be refused"
        );
    }
    let null = bytes(
        "a1 6772656675736564 a3 64636f6465 6162 676d657373616765 6161 6e72657472795f61667465725f6d73 f6",
    );
    assert!(
        Answer::from_bytes(&null).is_err(),
        "null for an absent field must be refused"
    );
}

#[test]
fn text_for_bytes_and_numbers_for_bytes_are_refused() {
    let key = "a1636b6579a16a7075626c69635f6b6579";
    let numbers = format!("{key}9820{}", "01".repeat(32));
    let text = format!("{key}7820{}", "61".repeat(32));
    let short = format!("{key}581f{}", "61".repeat(31));
    assert!(Request::from_bytes(&bytes(&format!("{key}5820{}", "61".repeat(32)))).is_ok());
    for encoding in [numbers, text, short] {
        assert!(
            Request::from_bytes(&bytes(&encoding)).is_err(),
            "{encoding}"
        );
    }
}

#[test]
fn fields_have_their_bounds() {
    let is_about = |error: &WireError, name| matches!(error, WireError::FieldLength { field, .. } if *field == name);
    assert!(is_about(
        &reencrypt(vec![], vec![0; MAX_WRAPPED_KEY + 1])
            .to_bytes()
            .unwrap_err(),
        "wrapped_key"
    ));
    let approval = vec![0; certs::MAX_CERTIFICATE + 1];
    assert!(is_about(
        &reencrypt(vec![approval], vec![]).to_bytes().unwrap_err(),
        "approvals"
    ));
    assert!(
        reencrypt(vec![vec![]; MAX_APPROVALS + 1], vec![])
            .to_bytes()
            .is_err()
    );
    let longest = reencrypt(
        vec![vec![0; certs::MAX_CERTIFICATE]; MAX_APPROVALS],
        vec![0; MAX_WRAPPED_KEY],
    );
    let encoding = longest.to_bytes().unwrap();
    assert!(encoding.len() <= MAX_REQUEST && Request::from_bytes(&encoding).unwrap() == longest);
    assert!(
        Answer::Share {
            share: ByteBuf::from(vec![0; SHARE + 1]),
            newest: None,
        }
        .to_bytes()
        .is_err()
    );
    let refused = |code: &str, message: String| Answer::Refused {
        code: code.into(),
        message,
        retry_after_ms: None,
    };
    assert!(
        refused("busy", "x".repeat(MAX_MESSAGE + 1))
            .to_bytes()
            .is_err()
    );
    for (code, message) in [
        ("Busy", "x"),
        ("", "x"),
        ("a b", "x"),
        ("busy", "\u{1b}[31mred"),
        ("busy", "a\nb"),
    ] {
        let refused = refused(code, message.into()).to_bytes();
        assert!(refused.is_err(), "{code} {message:?}");
    }
}

#[test]
fn decoding_checks_the_bounds_too() {
    // The encoder would refuse these; they are put together by hand.
    let reencrypt = "a1 697265656e6372797074 a3 69617070726f76616c73";
    let mut long = bytes(&format!(
        "{reencrypt} 80 6b777261707065645f6b6579 5908f6 {}",
        "00".repeat(0x08f6)
    ));
    long.extend(bytes(&format!(
        "6d657068656d6572616c5f6b6579 58a0 {}",
        "00".repeat(160)
    )));
    let error = Request::from_bytes(&long).unwrap_err();
    assert!(
        matches!(
            error,
            WireError::FieldLength {
                field: "wrapped_key",
                length: 0x08f6,
                ..
            }
        ),
        "{error}"
    );

    let many = bytes(&format!("{reencrypt} 99ffff {}", "40".repeat(0xffff)));
    let error = Request::from_bytes(&many).unwrap_err();
    assert!(
        matches!(&error, WireError::Shape { reason } if reason.contains("more than 64")),
        "{error}"
    );
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // A byte string that claims 2^62 bytes, an array that claims 2^62 items, in a few bytes each.
    for encoding in [
        "a1 68636572656d6f6e79 a1 676d657373616765 5b4000000000000000",
        "a1 697265656e6372797074 a3 69617070726f76616c73 9b4000000000000000",
    ] {
        assert_eq!(
            Request::from_bytes(&bytes(encoding)),
            Err(WireError::Truncated)
        );
    }
    assert!(Request::from_bytes(&vec![0x81; 100_000]).is_err());
}

#[test]
fn only_ceremony_messages_may_be_long() {
    let ceremony = Request::Ceremony {
        message: ByteBuf::from(vec![0; MAX_REQUEST]),
    };
    assert_eq!(
        Request::from_bytes(&ceremony.to_bytes().unwrap()).unwrap(),
        ceremony
    );
    assert!(
        Request::Ceremony {
            message: ByteBuf::from(vec![0; MAX_CEREMONY_MESSAGE + 1])
        }
        .to_bytes()
        .is_err()
    );
    assert_eq!(
        Request::from_bytes(&vec![0; MAX_MEMBER_REQUEST + 1]),
        Err(WireError::TooLong {
            limit: MAX_MEMBER_REQUEST
        })
    );
}

#[test]
fn shown_text_is_cut_at_characters_and_has_no_controls() {
    assert_eq!(presentable("a\u{1b}b\n", 10), "a b ");
    assert_eq!(presentable("ääää", 5), "ää");
}

fn any_request() -> impl Strategy<Value = Request> {
    let some = |longest: usize| proptest::collection::vec(any::<u8>(), 0..longest);
    prop_oneof![
        (proptest::collection::vec(some(300), 0..6), some(600))
            .prop_map(|(all, wrapped)| reencrypt(all, wrapped)),
        any::<[u8; 32]>().prop_map(|public_key| Request::Key { public_key }),
        some(5_000).prop_map(|message| Request::Ceremony {
            message: ByteBuf::from(message)
        }),
        (any::<u64>(), any::<u32>()).prop_map(|(from, limit)| Request::Audit { from, limit }),
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Request::from_bytes(&bytes);
        let _ = Answer::from_bytes(&bytes);
    }

    #[test]
    fn what_decodes_is_the_one_encoding(request in any_request(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = request.to_bytes().unwrap();
        prop_assert_eq!(&Request::from_bytes(&bytes).unwrap(), &request);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Request::from_bytes(&bytes) {
            prop_assert_eq!(other.to_bytes().unwrap(), bytes);
            prop_assert_ne!(other, request);
        }
    }
}
