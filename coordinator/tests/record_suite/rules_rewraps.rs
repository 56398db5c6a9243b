//! Document keys that are wrapped anew.

use crate::ledger::*;
use coordinator::record::{
    DatasetConfigure, Encryption, Erase, Event, KeyWrapping, Rewrap, Storage, Transaction, Write,
};
use reencrypt::Point;

const DOCUMENT: &str = "acme/data/doc";

fn configure(number: u64, encryption: Encryption) -> Transaction {
    Transaction::DatasetConfigure(DatasetConfigure {
        tenant: id("acme"),
        dataset: id("data"),
        version: number,
        encryption,
        storage: Storage::OffChain,
    })
}

/// What the version has now, named as a rewrap names it.
fn present(ledger: &Ledger, number: u64) -> [u8; 32] {
    let version = ledger.state.version(&version(DOCUMENT, number)).unwrap();
    version.content.as_ref().unwrap().key.digest().unwrap()
}

fn rewrap(ledger: &Ledger, number: u64, writer: &str, y: &Point) -> Rewrap {
    let name = version(DOCUMENT, number);
    Rewrap {
        replaces: present(ledger, number),
        wrapped_key: wrapped(y, &name, writer).as_bytes().to_vec(),
        tenant: name.tenant,
        dataset: name.dataset,
        document: name.document,
        version: number,
    }
}

#[test]
fn an_owner_wraps_a_version_under_the_cluster_key_that_the_dataset_has_now() {
    let (old, new) = (cluster("Y"), cluster("another Y"));
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    let write = threshold_write(DOCUMENT, 1, "acme/bob", &old);
    ledger.accept("acme/bob", Transaction::Write(write));
    let before = ledger.state.version(&version(DOCUMENT, 1)).unwrap().clone();

    // As long as the dataset is under the old key, nothing goes under another.
    let early = rewrap(&ledger, 1, "acme/bob", &new);
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(early));
    assert_eq!(code, "wrapped-key-cluster");
    ledger.accept("acme/ann", configure(2, threshold("another Y")));

    let good = rewrap(&ledger, 1, "acme/bob", &new);
    let cases = [
        ("acme/bob", good.clone(), "not-permitted"),
        ("acme/eve", good.clone(), "not-permitted"),
        ("alpha", good.clone(), "wrong-author"),
        (
            "acme/ann",
            Rewrap {
                version: 2,
                ..good.clone()
            },
            "unknown-version",
        ),
        (
            "acme/ann",
            Rewrap {
                replaces: [7; 32],
                ..good.clone()
            },
            "key-replaced",
        ),
        (
            "acme/ann",
            rewrap(&ledger, 1, "acme/bob", &old),
            "wrapped-key-cluster",
        ),
        // The label names who wrote it, and this version.
        (
            "acme/ann",
            rewrap(&ledger, 1, "acme/ann", &new),
            "wrapped-key-label",
        ),
        (
            "acme/ann",
            Rewrap {
                wrapped_key: vec![1; 9],
                ..good.clone()
            },
            "wrapped-key",
        ),
        (
            "acme/ann",
            Rewrap {
                wrapped_key: vec![1; 5000],
                ..good.clone()
            },
            "too-large",
        ),
    ];
    for (who, rewrap, expected) in cases {
        assert_eq!(ledger.refuse(who, Transaction::Rewrap(rewrap)), expected);
    }
    let mut altered = good.clone();
    *altered.wrapped_key.last_mut().unwrap() ^= 1;
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(altered));
    assert_eq!(code, "wrapped-key-proof");

    let events = ledger.accept("acme/ann", Transaction::Rewrap(good.clone()));
    let public_key = hex::encode(new.as_bytes());
    let rewrapped = Event::Rewrapped {
        version: version(DOCUMENT, 1),
        public_key,
    };
    assert_eq!(events, [rewrapped]);
    let after = ledger.state.version(&version(DOCUMENT, 1)).unwrap().clone();
    let content = after.content.clone().unwrap();
    assert_eq!(content.threshold.unwrap().public_key, *new.as_bytes());
    // Nothing else has changed.
    let mut expected = before;
    let old_content = expected.content.as_mut().unwrap();
    old_content.key = content.key.clone();
    old_content.threshold = content.threshold;
    assert_eq!(after, expected);

    // The same again, the old wrapped key again, and the new one for another version: none is taken.
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(good.clone()));
    assert_eq!(code, "key-replaced");
    let replaces = present(&ledger, 1);
    let again = Rewrap {
        replaces,
        ..good.clone()
    };
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(again));
    assert_eq!(code, "write-id-known");
    let next = Write {
        key: KeyWrapping::Threshold {
            wrapped_key: good.wrapped_key,
        },
        ..threshold_write(DOCUMENT, 2, "acme/bob", &new)
    };
    let code = ledger.refuse("acme/bob", Transaction::Write(next));
    assert_eq!(code, "wrapped-key-label");

    // A read names the new wrapped key.
    let (read, _) = threshold_read(&ledger.state, &version(DOCUMENT, 1), b"\x30\x00");
    assert_eq!(read.reencryption.as_ref().unwrap().write_id, replaces);
    ledger.accept("acme/ann", Transaction::Read(read));

    let name = version(DOCUMENT, 1);
    let late = rewrap(&ledger, 1, "acme/bob", &new);
    let erase = Erase {
        tenant: name.tenant,
        dataset: name.dataset,
        document: name.document,
        version: Some(1),
    };
    ledger.accept("acme/ann", Transaction::Erase(erase));
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(late));
    assert_eq!(code, "erased");
}

#[test]
fn what_is_under_the_platform_goes_under_a_cluster_and_not_back() {
    let y = cluster("Y");
    let mut ledger = Ledger::with_dataset(Encryption::Platform, Storage::OffChain);
    let write = Write {
        key: KeyWrapping::Platform {
            wrapped_key: vec![9; 89],
        },
        wrapped_dek1: vec![1; 60],
        ..plain_write(DOCUMENT, 1)
    };
    ledger.accept("acme/bob", Transaction::Write(write));
    let rewrapped = rewrap(&ledger, 1, "acme/bob", &y);
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(rewrapped.clone()));
    assert_eq!(code, "encryption-mismatch");
    ledger.accept("acme/ann", configure(2, threshold("Y")));
    ledger.accept("acme/ann", Transaction::Rewrap(rewrapped));
    ledger.accept("acme/ann", configure(3, Encryption::Platform));
    let back = rewrap(&ledger, 1, "acme/bob", &y);
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(back));
    assert_eq!(code, "encryption-mismatch");

    // What has no key gets none.
    ledger.accept("acme/ann", configure(4, Encryption::None));
    ledger.accept("acme/bob", Transaction::Write(plain_write(DOCUMENT, 2)));
    ledger.accept("acme/ann", configure(5, threshold("Y")));
    let name = version(DOCUMENT, 2);
    let none = Rewrap {
        replaces: [0; 32],
        wrapped_key: wrapped(&y, &name, "acme/bob").as_bytes().to_vec(),
        tenant: name.tenant,
        dataset: name.dataset,
        document: name.document,
        version: 2,
    };
    let code = ledger.refuse("acme/ann", Transaction::Rewrap(none));
    assert_eq!(code, "encryption-mismatch");
}
