#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fmt::Debug;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::super::canonical::{decode, decode_generally, encode};
use super::super::{MAX_MESSAGE, Message};
use super::*;
use crate::acknowledge::Acknowledgement;
use crate::attempt::Acceptance;
use crate::deal::DealExcerpt;
use crate::exclusion::tests::header;
use crate::exclusion::{Exclusion, Grounds};

/// Every form that the reader knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything {
    n: u64,
    on: bool,
    one: Kind,
    text: String,
    bytes: ByteBuf,
    #[serde(with = "serde_bytes")]
    fixed: [u8; 5],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    omitted: Option<Few>,
    written: Option<Few>,
    many: Vec<Kind>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Few {
    a: u16,
    b: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Kind {
    Plain,
    Wrapped(Few),
    Pair(u8, bool),
    Named { list: Vec<u16>, text: String },
}

fn everything(rng: &mut StdRng) -> Everything {
    let number = |rng: &mut StdRng| rng.next_u64() >> (rng.next_u32() % 64);
    let few = |rng: &mut StdRng| Few {
        a: number(rng) as u16,
        b: number(rng) as u32,
    };
    let text = |rng: &mut StdRng| "häßlich ".repeat(rng.next_u32() as usize % 5);
    let kind = |rng: &mut StdRng| match rng.next_u32() % 4 {
        0 => Kind::Plain,
        1 => Kind::Wrapped(few(rng)),
        2 => Kind::Pair(rng.next_u32() as u8, true),
        _ => Kind::Named {
            list: (0..rng.next_u32() % 30).map(|k| k as u16 * 99).collect(),
            text: text(rng),
        },
    };
    let is = |rng: &mut StdRng| rng.next_u32().is_multiple_of(2);
    Everything {
        n: number(rng),
        on: is(rng),
        one: kind(rng),
        text: text(rng),
        bytes: ByteBuf::from(vec![7; rng.next_u32() as usize % 300]),
        fixed: [0xa1; 5],
        omitted: is(rng).then(|| few(rng)),
        written: is(rng).then(|| few(rng)),
        many: (0..rng.next_u32() % 5).map(|_| kind(rng)).collect(),
    }
}

/// One or two changes, of the kind that make another encoding of the same or something else.
fn alter(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..=rng.next_u32() % 2 {
        let place = rng.next_u32() as usize % bytes.len();
        match rng.next_u32() % 7 {
            0 => bytes[place] ^= 1 << (rng.next_u32() % 8),
            1 => bytes[place] = rng.next_u32() as u8,
            2 => {
                let _ = bytes.remove(place);
            }
            3 => bytes.insert(place, rng.next_u32() as u8),
            // The length in a byte of its own, a tag, an open end.
            4 => {
                let small = bytes[place];
                bytes[place] = small & 0xe0 | 24;
                bytes.insert(place + 1, small & 0x1f);
            }
            5 => bytes.insert(place, 0xc0),
            _ => bytes[place] |= 0x1f,
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// What is read quickly is read in the same way, or not at all.
fn same<T: Debug + PartialEq + Serialize + DeserializeOwned>(bytes: &[u8]) -> bool {
    let read = read::<T>(bytes);
    if let Some(Read::Whole(value)) = &read {
        assert_eq!(encode(value), bytes);
    }
    assert_eq!(decode::<T>(bytes, MAX_MESSAGE), decode_generally(bytes));
    read.is_some()
}

#[test]
fn altered_bytes_are_read_as_by_the_general_reader() {
    let rng = &mut StdRng::seed_from_u64(17);
    let (mut simple, mut taken) = (0, 0);
    for _ in 0..400 {
        let value = everything(rng);
        let bytes = encode(&value);
        let read = read::<Everything>(&bytes);
        match (&value.omitted, &value.written) {
            (Some(_), Some(_)) => assert_eq!(read, Some(Read::Whole(value))),
            (None, Some(_)) => assert_eq!(read, Some(Read::WithoutSome(value))),
            (_, None) => assert_eq!(read, None),
        }
        for _ in 0..50 {
            let mut altered = bytes.clone();
            alter(&mut altered, rng);
            simple += usize::from(same::<Everything>(&altered));
            taken += usize::from(decode::<Everything>(&altered, MAX_MESSAGE).is_ok());
        }
    }
    // Both are met: other contents, and what the quick reader does not take.
    assert!(simple > 100 && taken > simple, "{simple}, {taken}");
}

/// What a member is told at length.
fn messages() -> Vec<Message> {
    let (ceremony, attempt) = ([3; 16], 70_000);
    let acceptance = |index| Acceptance {
        index,
        signature: [1; 64],
        encryption_key: [2; 32],
    };
    let acknowledgement = |index| Acknowledgement {
        set: [4; 64],
        index,
        signature: [5; 64],
    };
    let excerpt = |length| DealExcerpt {
        path: ByteBuf::from(vec![6; length]),
        header: header(),
        ciphertext: [7; 32],
    };
    let exclusions = [
        Grounds::Silent,
        Grounds::Claimed {
            code: "code".to_owned(),
        },
    ];
    let exclusions = exclusions
        .into_iter()
        .map(|grounds| Exclusion { member: 9, grounds });
    vec![
        Message::Begin {
            attempt,
            ceremony,
            excluded: exclusions.collect(),
            acceptances: [1, 23, 24, 255, 256].map(acceptance).to_vec(),
        },
        Message::Deals {
            sums: ByteBuf::from(vec![8; 96]),
            deals: [0, 32, 256].map(excerpt).to_vec(),
            attempt,
            ceremony,
        },
        Message::Acknowledgements {
            attempt,
            ceremony,
            acknowledgements: [1, 1000].map(acknowledgement).to_vec(),
        },
        Message::Certificate {
            ceremony,
            certificate: ByteBuf::from(vec![9; 70_000]),
            public_shares: ByteBuf::new(),
        },
    ]
}

#[test]
fn messages_are_read_quickly_and_altered_ones_as_by_the_general_reader() {
    let rng = &mut StdRng::seed_from_u64(18);
    for message in messages() {
        let bytes = encode(&message);
        assert_eq!(read(&bytes), Some(Read::Whole(message)));
        for place in 0..bytes.len().min(3_000) {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << (place % 8);
            same::<Message>(&altered);
        }
        for _ in 0..500 {
            let mut altered = bytes.clone();
            alter(&mut altered, rng);
            same::<Message>(&altered);
        }
    }
}

#[test]
fn lengths_beyond_the_input_reserve_nothing() {
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        let bytes = [&[head][..], &(1u64 << 60).to_be_bytes()].concat();
        assert!(read::<ByteBuf>(&bytes).is_none());
        assert!(read::<String>(&bytes).is_none());
        assert!(read::<Vec<Few>>(&bytes).is_none());
        assert!(read::<Few>(&bytes).is_none());
    }
}
