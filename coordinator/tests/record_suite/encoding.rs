//! The bytes: one encoding for each value, frozen where others sign them.

use crate::ledger::*;
use ciborium::Value;
use coordinator::record::{
    Author, DecodeError, Header, MAX_TRANSACTION, Role, SignedTransaction, Transaction,
    UnsignedTransaction, UserExpire, label, rotation_statement,
};
use sha2::{Digest as _, Sha256};

fn example() -> UnsignedTransaction {
    UnsignedTransaction {
        ledger: [1; 32],
        author: Author::User(user("acme/ann")),
        nonce: [2; 16],
        expires_ms: GENESIS_MS,
        transaction: grant("acme/data", Role::Reader, "rival/mallory"),
    }
}

#[test]
fn the_bytes_are_frozen() {
    let expected = "a5656e6f6e6365500202020202020202020202020202020266617574686f72a16475736572a26475736572\
        63616e6e6674656e616e746461636d65666c6564676572582001010101010101010101010101010101010101010101010101\
        010101010101016a657870697265735f6d731b000001a3185c50006b7472616e73616374696f6ea16e7065726d697373696f\
        6e2d616464a464726f6c65667265616465726475736572a26475736572676d616c6c6f72796674656e616e74657269766\
        16c6674656e616e746461636d6567646174617365746464617461";
    let example = example();
    assert_eq!(hex::encode(example.to_bytes()), expected);
    // What is signed: the array of the tag and the same bytes.
    let mut statement =
        hex::decode("82781a636f6f7264696e61746f722f76312f7472616e73616374696f6e").unwrap();
    statement.extend(example.to_bytes());
    assert_eq!(example.statement(), statement);
    assert_eq!(example.id(), <[u8; 32]>::from(Sha256::digest(&statement)));

    let mut label =
        hex::decode("827820636f6f7264696e61746f722f76312f777261707065642d6b65792d6c6162656c")
            .unwrap();
    label.extend(hex::decode("866461636d65646461746163646f63016461636d6563616e6e").unwrap());
    let expected: [u8; 32] = Sha256::digest(&label).into();
    assert_eq!(
        label::wrapped_key_label(&version("acme/data/doc", 1), &user("acme/ann")),
        expected
    );

    let mut rotation =
        hex::decode("82781b636f6f7264696e61746f722f76312f6b65792d726f746174696f6e845820").unwrap();
    rotation.extend([1; 32]);
    rotation.extend(hex::decode("6461636d6563616e6e5820").unwrap());
    rotation.extend([9; 32]);
    assert_eq!(
        rotation_statement(&[1; 32], &user("acme/ann"), &[9; 32]),
        rotation
    );
}

#[test]
fn a_signed_transaction_has_one_encoding() {
    let signed = example().sign(&key("acme/ann"));
    let bytes = signed.as_bytes();
    let decoded = SignedTransaction::from_bytes(bytes).unwrap();
    assert_eq!((decoded.id(), decoded.as_bytes()), (signed.id(), bytes));
    assert!(decoded.is_signed_by(&key("acme/ann").verifying_key()));
    assert!(!decoded.is_signed_by(&key("acme/bob").verifying_key()));
    let parts = SignedTransaction::from_parts(signed.content().clone(), *signed.signature());
    assert!(parts == signed);

    let long = [bytes, &[0]].concat();
    assert!(SignedTransaction::from_bytes(&long).is_err());
    assert!(SignedTransaction::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    let huge = vec![0; MAX_TRANSACTION + 1];
    assert!(matches!(
        SignedTransaction::from_bytes(&huge),
        Err(DecodeError::TooLong { .. })
    ));
    // An absent optional field written as null is another encoding of the same value.
    let expire = UserExpire {
        tenant: id("a"),
        user: id("b"),
        expires_ms: None,
    };
    let unsigned = UnsignedTransaction {
        transaction: Transaction::UserExpire(expire),
        ..example()
    };
    let text = hex::encode(unsigned.to_bytes());
    let with_null = text.replace(
        "a264757365726162",
        "a36475736572616 2".replace(' ', "").as_str(),
    ) + "6a657870697265735f6d73f6";
    assert!(UnsignedTransaction::from_bytes(&hex::decode(with_null).unwrap()).is_err());
    assert!(UnsignedTransaction::from_bytes(&hex::decode(text).unwrap()).is_ok());
}

#[test]
fn deep_nesting_is_refused_before_it_costs_anything() {
    let mut nested = vec![0x81; 50_000];
    nested.push(0);
    assert!(SignedTransaction::from_bytes(&nested).is_err());
    // A byte string that claims to be huge.
    let claim = [
        0xa1, 0x67, b'c', b'o', b'n', b't', b'e', b'n', b't', 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff,
    ];
    assert!(SignedTransaction::from_bytes(&claim).is_err());
}

/// A map or array of CBOR, put together by hand.
fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn tagged(tag: &str, value: Value) -> [u8; 32] {
    Sha256::digest(cbor(&Value::Array(vec![Value::from(tag), value]))).into()
}

#[test]
fn ids_hashes_and_roots_are_what_the_document_says() {
    let founders = Founders::new(&["alpha"]);
    let genesis = &founders.genesis;
    let alpha = &genesis.organisations[0];
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let map = |entries: Vec<(&str, Value)>| {
        Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect(),
        )
    };
    let organisation = map(vec![
        ("name", Value::from("alpha")),
        ("issuers", Value::Array(vec![bytes(&alpha.issuers[0])])),
        ("head_key", bytes(&alpha.head_key)),
        ("operator_key", bytes(&alpha.operator_key)),
    ]);
    let whole = map(vec![
        ("name", Value::from("test")),
        ("nonce", bytes(&[7; 32])),
        ("time_ms", Value::from(GENESIS_MS)),
        ("organisations", Value::Array(vec![organisation.clone()])),
    ]);
    assert_eq!(genesis.to_bytes(), cbor(&whole));
    assert_eq!(genesis.id(), tagged("coordinator/v1/genesis", whole));
    assert_eq!(
        genesis.origin(),
        format!("test/{}", hex::encode(genesis.id()))
    );

    let row = Value::Array(vec![Value::from("organisations"), Value::from("alpha")]);
    let key_hash = tagged("coordinator/v1/state-key", row);
    let value_hash = tagged("coordinator/v1/state-value", organisation);
    let leaf: [u8; 32] = Sha256::digest([&[0], &key_hash[..], &value_hash[..]].concat()).into();
    assert_eq!(genesis.state().unwrap().root(), leaf);

    let header = Header {
        height: 1,
        parent: [1; 32],
        time_ms: 2,
        size: 3,
        transactions_root: [4; 32],
        state_root: [5; 32],
    };
    let fields = map(vec![
        ("size", Value::from(3)),
        ("height", Value::from(1)),
        ("parent", bytes(&[1; 32])),
        ("time_ms", Value::from(2)),
        ("state_root", bytes(&[5; 32])),
        ("transactions_root", bytes(&[4; 32])),
    ]);
    assert_eq!(header.to_bytes(), cbor(&fields));
    assert_eq!(Header::from_bytes(&header.to_bytes()).unwrap(), header);
    assert_eq!(header.hash(), tagged("coordinator/v1/block", fields));
}
