//! Round trips, independent vectors, and one test for each kind of tampering.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::convert::Infallible;

use aws_lc_rs::digest;
use proptest::prelude::*;
use rand_core::{TryCryptoRng, TryRng};

use super::*;
use crate::record::{Identifier, VersionName};

/// Gives out prepared bytes, so that vectors are reproduced byte for byte.
struct Prepared(Vec<u8>);

impl TryRng for Prepared {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("the envelope draws whole byte strings only")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("the envelope draws whole byte strings only")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Prepared {}

fn version_name(tenant: &str, dataset: &str, document: &str, version: u64) -> VersionName {
    let id = |name: &str| Identifier::new(name).unwrap();
    VersionName {
        tenant: id(tenant),
        dataset: id(dataset),
        document: id(document),
        version,
    }
}

fn name(version: u64) -> VersionName {
    version_name("acme", "designs", "bridge", version)
}

fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .unwrap()
}

fn seal(key: &BodyKey, name: &VersionName, plaintext: &[u8], step: usize) -> (Vec<u8>, SealedBody) {
    let mut out = Vec::new();
    let mut sealer = BodySealer::new(key, name, &mut rand::rng(), &mut out).unwrap();
    for part in plaintext.chunks(step.max(1)) {
        sealer.push(part, &mut out).unwrap();
    }
    let body = sealer.finish(&mut out).unwrap();
    (out, body)
}

fn copy(key: &BodyKey) -> BodyKey {
    BodyKey::from_slice(key.expose()).unwrap()
}

/// What was released, and how it ended.
fn open(
    key: &BodyKey,
    name: &VersionName,
    sealed: &[u8],
    length: u64,
    step: usize,
) -> (Vec<u8>, Result<(), EnvelopeError>) {
    let mut out = Vec::new();
    let mut reader = BodyReader::new(copy(key), name.clone(), length);
    for part in sealed.chunks(step.max(1)) {
        if let Err(e) = reader.push(part, &mut out) {
            return (out, Err(e));
        }
    }
    (out, reader.finish())
}

#[test]
fn vectors_of_an_independent_implementation() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/envelope.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let text = |field: &str| case[field].as_str().unwrap().to_owned();
        let bytes = |field: &str| hex::decode(case[field].as_str().unwrap()).unwrap();
        let version = case["version"].as_u64().unwrap();
        let name = version_name(
            &text("tenant"),
            &text("dataset"),
            &text("document"),
            version,
        );
        let length = case["length"].as_u64().unwrap();
        let body_key = BodyKey::from_slice(&bytes("body_key")).unwrap();
        let document_key = DocumentKey::from_slice(&bytes("document_key")).unwrap();

        let mut sealed = Vec::new();
        let mut sealer = BodySealer::new(
            &body_key,
            &name,
            &mut Prepared(bytes("nonce_prefix")),
            &mut sealed,
        )
        .unwrap();
        sealer
            .push(&plaintext(length as usize), &mut sealed)
            .unwrap();
        let body = sealer.finish(&mut sealed).unwrap();
        assert_eq!(
            body,
            SealedBody {
                checksum: bytes("checksum").try_into().unwrap(),
                length
            }
        );
        assert_eq!(
            sealed.len() as u64,
            case["encrypted_length"].as_u64().unwrap()
        );
        assert_eq!(sealed.len() as u64, encrypted_length(length));
        if let Some(expected) = case["encrypted_body"].as_str() {
            assert_eq!(hex::encode(&sealed), expected);
        }

        let mut rng = Prepared(bytes("wrap_nonce"));
        let wrapped = document_key
            .wrap_body_key(&body_key, &name, &body, &bytes("metadata"), &mut rng)
            .unwrap();
        assert_eq!(wrapped, bytes("wrapped_body_key"));
        let unwrapped = document_key
            .unwrap_body_key(&wrapped, &name, &body)
            .unwrap();
        assert!(unwrapped.body_key == body_key);
        assert_eq!(unwrapped.metadata, bytes("metadata"));

        let mut rng = Prepared(bytes("pointer_nonce"));
        let pointer = document_key
            .seal_pointer(&bytes("pointer"), &name, &body, &mut rng)
            .unwrap();
        assert_eq!(pointer, bytes("sealed_pointer"));
        assert_eq!(
            document_key.open_pointer(&pointer, &name, &body).unwrap(),
            bytes("pointer")
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_sealed_opens_however_it_is_cut(
        length in prop_oneof![0..70usize, 65_500..65_600usize, 131_000..131_200usize, 0..300_000usize],
        write_step in prop_oneof![Just(1_000_000usize), 1..200_000usize],
        read_step in prop_oneof![Just(1_000_000usize), 1..200_000usize],
    ) {
        let (key, name, plain) = (BodyKey::generate(&mut rand::rng()), name(1), plaintext(length));
        let (sealed, body) = seal(&key, &name, &plain, write_step.max(length / 64));
        prop_assert_eq!(body, SealedBody { checksum: sha256(&sealed), length: length as u64 });
        prop_assert_eq!(sealed.len() as u64, encrypted_length(length as u64));
        let (opened, end) = open(&key, &name, &sealed, body.length, read_step.max(length / 64));
        prop_assert_eq!(end, Ok(()));
        prop_assert!(opened == plain);
    }

    #[test]
    fn one_flipped_bit_releases_nothing_of_its_block(length in 0..200_000usize, at: prop::sample::Index, bit in 0..8u8) {
        let (key, name, plain) = (BodyKey::generate(&mut rand::rng()), name(1), plaintext(length));
        let (mut sealed, body) = seal(&key, &name, &plain, 65_536);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let (released, end) = open(&key, &name, &sealed, body.length, 50_000);
        prop_assert!(end.is_err());
        let intact = at.saturating_sub(HEADER_SIZE) / (BLOCK_SIZE + TAG_SIZE) * BLOCK_SIZE;
        prop_assert_eq!(&released[..], &plain[..intact]);
    }
}

#[test]
fn blocks_are_read_at_random() {
    let (key, name, plain) = (
        BodyKey::generate(&mut rand::rng()),
        name(1),
        plaintext(200_000),
    );
    let (sealed, body) = seal(&key, &name, &plain, 65_536);
    let header = sealed[..HEADER_SIZE].try_into().unwrap();
    let opener = BodyOpener::new(&key, &name, header, body.length).unwrap();
    assert_eq!(block_count(body.length), 4);
    for index in [3, 0, 2, 1] {
        let range = block_range(index, body.length).unwrap();
        let block = &sealed[range.start as usize..range.end as usize];
        let mut out = Vec::new();
        opener.open_block(index, block, &mut out).unwrap();
        let start = index as usize * BLOCK_SIZE;
        assert!(out == plain[start..(start + BLOCK_SIZE).min(plain.len())]);
        // The same block in any other place is refused, and leaves nothing behind.
        for other in (0..5).filter(|i| *i != index) {
            let mut out = b"before".to_vec();
            assert_eq!(
                opener.open_block(other, block, &mut out),
                Err(EnvelopeError::Block { index: other })
            );
            assert_eq!(out, b"before");
        }
    }
    assert_eq!(block_range(4, body.length), None);
}

#[test]
fn reordered_repeated_and_foreign_blocks_are_refused() {
    let (key, name, plain) = (
        BodyKey::generate(&mut rand::rng()),
        name(1),
        plaintext(4 * BLOCK_SIZE),
    );
    let (sealed, body) = seal(&key, &name, &plain, BLOCK_SIZE);
    let block = |i: usize| {
        let range = block_range(i as u64, body.length).unwrap();
        sealed[range.start as usize..range.end as usize].to_vec()
    };
    let header = &sealed[..HEADER_SIZE];
    let with = |blocks: [Vec<u8>; 4]| [header.to_vec(), blocks.concat()].concat();
    let refused_at = |sealed: &[u8], index: u64| {
        let (released, end) = open(&key, &name, sealed, body.length, 100_000);
        assert_eq!(end, Err(EnvelopeError::Block { index }));
        assert!(released == plain[..index as usize * BLOCK_SIZE]);
    };
    refused_at(&with([block(0), block(2), block(1), block(3)]), 1);
    refused_at(&with([block(0), block(1), block(1), block(3)]), 2);
    refused_at(&with([block(0), block(1), block(3), block(2)]), 2);
    // The same plaintext, key, name and position, but another body: its header differs.
    let (other, _) = seal(&key, &name, &plain, BLOCK_SIZE);
    let range = block_range(2, body.length).unwrap();
    let foreign = other[range.start as usize..range.end as usize].to_vec();
    refused_at(&with([block(0), block(1), foreign, block(3)]), 2);
}

#[test]
fn a_body_cut_off_or_extended_anywhere_is_refused() {
    let (key, name, plain) = (
        BodyKey::generate(&mut rand::rng()),
        name(1),
        plaintext(3 * BLOCK_SIZE),
    );
    let (sealed, body) = seal(&key, &name, &plain, BLOCK_SIZE);
    let expected = encrypted_length(body.length);
    let boundaries = (0..3).map(|i| block_range(i, body.length).unwrap().start as usize);
    for end in boundaries.chain([0, 5, HEADER_SIZE + 1, sealed.len() - 1]) {
        let (released, result) = open(&key, &name, &sealed[..end], body.length, 70_000);
        assert_eq!(
            result,
            Err(EnvelopeError::Size {
                expected,
                found: end as u64
            })
        );
        assert!(plain.starts_with(&released));
    }
    let longer = [&sealed[..], &[0]].concat();
    let (_, result) = open(&key, &name, &longer, body.length, 70_000);
    assert_eq!(
        result,
        Err(EnvelopeError::Size {
            expected,
            found: expected + 1
        })
    );
    // Cut off at a block, with the length on the record made to fit: the new last block does not say that it is last.
    let two = block_range(2, body.length).unwrap().start as usize;
    let (released, result) = open(&key, &name, &sealed[..two], 2 * BLOCK_SIZE as u64, 70_000);
    assert_eq!(result, Err(EnvelopeError::Block { index: 1 }));
    assert_eq!(released.len(), BLOCK_SIZE);
}

#[test]
fn another_name_version_or_key_opens_nothing() {
    let (key, plain) = (BodyKey::generate(&mut rand::rng()), plaintext(1000));
    let (sealed, body) = seal(&key, &name(1), &plain, BLOCK_SIZE);
    let original = name(1);
    let others = [
        name(2),
        version_name("acm", "edesigns", "bridge", 1),
        version_name("acme", "design", "bridge", 1),
        version_name("acme", "designs", "tunnel", 1),
    ];
    for other in &others {
        assert_eq!(
            open(&key, other, &sealed, body.length, 100),
            (vec![], Err(EnvelopeError::Block { index: 0 }))
        );
    }
    let other_key = BodyKey::generate(&mut rand::rng());
    let result = open(&other_key, &original, &sealed, body.length, 100);
    assert_eq!(result, (vec![], Err(EnvelopeError::Block { index: 0 })));
}

#[test]
fn wrapped_keys_and_pointers_are_bound_to_everything() {
    let mut rng = rand::rng();
    let (body_key, document_key) = (BodyKey::generate(&mut rng), DocumentKey::generate(&mut rng));
    let body = SealedBody {
        checksum: [7; 32],
        length: 99,
    };
    let wrapped = document_key
        .wrap_body_key(&body_key, &name(1), &body, b"meta", &mut rng)
        .unwrap();
    let pointer = document_key
        .seal_pointer(b"where", &name(1), &body, &mut rng)
        .unwrap();
    assert!(
        document_key
            .unwrap_body_key(&wrapped, &name(1), &body)
            .is_ok()
    );
    assert_eq!(
        document_key
            .open_pointer(&pointer, &name(1), &body)
            .unwrap(),
        b"where"
    );

    let refuse = |key: &DocumentKey,
                  wrapped: &[u8],
                  pointer: &[u8],
                  name: &VersionName,
                  body: &SealedBody| {
        assert!(matches!(
            key.unwrap_body_key(wrapped, name, body),
            Err(EnvelopeError::WrappedBodyKey)
        ));
        assert_eq!(
            key.open_pointer(pointer, name, body),
            Err(EnvelopeError::Pointer)
        );
    };
    refuse(
        &DocumentKey::generate(&mut rng),
        &wrapped,
        &pointer,
        &name(1),
        &body,
    );
    refuse(&document_key, &wrapped, &pointer, &name(2), &body);
    refuse(
        &document_key,
        &wrapped,
        &pointer,
        &name(1),
        &SealedBody {
            checksum: [8; 32],
            ..body
        },
    );
    refuse(&document_key, &pointer, &wrapped, &name(1), &body);
    let other_length = SealedBody { length: 98, ..body };
    assert!(
        document_key
            .unwrap_body_key(&wrapped, &name(1), &other_length)
            .is_err()
    );
    for i in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[i] ^= 1;
        assert!(
            document_key
                .unwrap_body_key(&altered, &name(1), &body)
                .is_err(),
            "byte {i}"
        );
        assert!(
            document_key
                .unwrap_body_key(&wrapped[..i], &name(1), &body)
                .is_err(),
            "cut at {i}"
        );
    }
    for i in 0..pointer.len() {
        let mut altered = pointer.clone();
        altered[i] ^= 1;
        assert!(
            document_key
                .open_pointer(&altered, &name(1), &body)
                .is_err(),
            "byte {i}"
        );
        assert!(
            document_key
                .open_pointer(&pointer[..i], &name(1), &body)
                .is_err(),
            "cut at {i}"
        );
    }
    let too_much = vec![0; MAX_METADATA + 1];
    assert!(matches!(
        document_key.wrap_body_key(&body_key, &name(1), &body, &too_much, &mut rng),
        Err(EnvelopeError::TooLarge {
            found: 4097,
            limit: 4096,
            ..
        })
    ));
}

#[test]
fn damaged_headers_are_refused() {
    let key = BodyKey::generate(&mut rand::rng());
    let (sealed, body) = seal(&key, &name(1), b"text", 100);
    for i in 0..HEADER_SIZE {
        let mut altered = sealed.clone();
        altered[i] ^= 1;
        let (released, end) = open(&key, &name(1), &altered, body.length, 1000);
        let in_prefix = (7..14).contains(&i);
        let expected = if in_prefix {
            EnvelopeError::Block { index: 0 }
        } else {
            EnvelopeError::Header
        };
        assert_eq!((released, end), (vec![], Err(expected)), "byte {i}");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let key = DocumentKey::from_slice(&[0xab; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "DocumentKey(redacted)");
}
