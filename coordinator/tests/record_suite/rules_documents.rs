//! Writes, links, erasures.

use crate::ledger::*;
use coordinator::record::{
    Body, DatasetConfigure, Encryption, Erase, Event, KeyWrapping, Link, MAX_LEDGER_BODY,
    MAX_PLATFORM_KEY, MAX_POINTER, MAX_WRAPPED_DEK1, MAX_WRAPPED_KEY, Role, Storage, Transaction,
    Write,
};
use sha2::{Digest as _, Sha256};

fn write(it: Write) -> Transaction {
    Transaction::Write(it)
}

fn erase(document: &str, number: Option<u64>) -> Transaction {
    let name = version(document, 1);
    let (tenant, dataset, document) = (name.tenant, name.dataset, name.document);
    Transaction::Erase(Erase {
        tenant,
        dataset,
        document,
        version: number,
    })
}

#[test]
fn versions_follow_one_another() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::OffChain);
    for wrong in [0, 2, u64::MAX] {
        assert_eq!(
            ledger.refuse("acme/bob", write(plain_write("acme/data/doc", wrong))),
            "version"
        );
    }
    ledger.accept("acme/bob", write(plain_write("acme/data/doc", 1)));
    assert_eq!(
        ledger.refuse("acme/bob", write(plain_write("acme/data/doc", 1))),
        "version"
    );
    assert_eq!(
        ledger.refuse("acme/bob", write(plain_write("acme/data/doc", 3))),
        "version"
    );
    let events = ledger.accept("acme/bob", write(plain_write("acme/data/doc", 2)));
    assert_eq!(
        events,
        [Event::Written {
            version: version("acme/data/doc", 2)
        }]
    );
    let document = ledger
        .state
        .document(&version("acme/data/doc", 1).document_name())
        .unwrap();
    assert_eq!((document.latest, document.erased), (2, false));
    assert_eq!(
        ledger.refuse("acme/bob", write(plain_write("acme/nothing/doc", 1))),
        "unknown-dataset"
    );
    assert_eq!(
        ledger.refuse("alpha", write(plain_write("acme/data/doc", 3))),
        "wrong-author"
    );
}

#[test]
fn sizes_and_forms_are_bounded() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::OffChain);
    let plain = || plain_write("acme/data/doc", 1);
    let pointer = |length| Body::OffChain {
        pointer: vec![1; length],
    };
    let cases = [
        (
            Write {
                body: pointer(MAX_POINTER + 1),
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                body: pointer(0),
                ..plain()
            },
            "presence",
        ),
        (
            Write {
                body: Body::OnLedger(vec![0; MAX_LEDGER_BODY + 1]),
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                body: Body::OnLedger(vec![]),
                ..plain()
            },
            "storage-mismatch",
        ),
        (
            Write {
                wrapped_dek1: vec![1; MAX_WRAPPED_DEK1 + 1],
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                wrapped_dek1: vec![1],
                ..plain()
            },
            "presence",
        ),
        (
            Write {
                content_type: Some("x".repeat(129)),
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                content_type: Some(String::new()),
                ..plain()
            },
            "content-type",
        ),
        (
            Write {
                content_type: Some(" text/plain".into()),
                ..plain()
            },
            "content-type",
        ),
        (
            Write {
                content_type: Some("text\nplain".into()),
                ..plain()
            },
            "content-type",
        ),
        (
            Write {
                content_type: Some("tèxt".into()),
                ..plain()
            },
            "content-type",
        ),
        (
            Write {
                key: KeyWrapping::Platform {
                    wrapped_key: vec![1; MAX_PLATFORM_KEY + 1],
                },
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                key: KeyWrapping::Threshold {
                    wrapped_key: vec![1; MAX_WRAPPED_KEY + 1],
                },
                ..plain()
            },
            "too-large",
        ),
        (
            Write {
                key: KeyWrapping::Platform {
                    wrapped_key: vec![1],
                },
                ..plain()
            },
            "encryption-mismatch",
        ),
        (
            threshold_write("acme/data/doc", 1, "acme/bob", &cluster("Y")),
            "encryption-mismatch",
        ),
    ];
    for (case, code) in cases {
        assert_eq!(
            ledger.refuse("acme/bob", write(case.clone())),
            code,
            "{case:?}"
        );
    }
    ledger.accept(
        "acme/bob",
        write(Write {
            body: pointer(MAX_POINTER),
            content_type: None,
            ..plain()
        }),
    );
}

#[test]
fn bodies_on_the_ledger_are_what_the_checksum_says() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::Ledger);
    let bytes = vec![9; MAX_LEDGER_BODY];
    let good = Write {
        length: bytes.len() as u64,
        checksum: Sha256::digest(&bytes).into(),
        body: Body::OnLedger(bytes),
        ..plain_write("acme/data/doc", 1)
    };
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                checksum: [0; 32],
                ..good.clone()
            })
        ),
        "checksum"
    );
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                length: 7,
                ..good.clone()
            })
        ),
        "length"
    );
    let elsewhere = Body::OffChain { pointer: vec![1] };
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                body: elsewhere,
                ..good.clone()
            })
        ),
        "storage-mismatch"
    );
    ledger.accept("acme/bob", write(good));
}

#[test]
fn platform_encryption_needs_both_keys() {
    let mut ledger = Ledger::with_dataset(Encryption::Platform, Storage::OffChain);
    let key = |length| KeyWrapping::Platform {
        wrapped_key: vec![1; length],
    };
    let plain = || plain_write("acme/data/doc", 1);
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                key: key(0),
                wrapped_dek1: vec![1],
                ..plain()
            })
        ),
        "presence"
    );
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                key: key(60),
                ..plain()
            })
        ),
        "presence"
    );
    assert_eq!(
        ledger.refuse("acme/bob", write(plain())),
        "encryption-mismatch"
    );
    ledger.accept(
        "acme/bob",
        write(Write {
            key: key(60),
            wrapped_dek1: vec![1],
            ..plain()
        }),
    );
}

#[test]
fn a_wrapped_key_must_be_made_for_this_very_write() {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    ledger.accept(
        "acme/ann",
        grant("acme/data", Role::Writer, "rival/mallory"),
    );
    ledger.accept(
        "rival/mallory",
        dataset_create("rival/data", threshold("Y"), Storage::OffChain),
    );
    let y = cluster("Y");
    let first = threshold_write("acme/data/doc", 1, "acme/bob", &y);
    let copied = |into: &str, number| Write {
        key: first.key.clone(),
        ..threshold_write(into, number, "acme/bob", &y)
    };

    // Copied word for word, before and after the original is on the record: into another document, dataset, tenant,
    // version, or by another writer.
    for _ in 0..2 {
        assert_eq!(
            ledger.refuse("rival/mallory", write(copied("rival/data/doc", 1))),
            "wrapped-key-label"
        );
        assert_eq!(
            ledger.refuse("acme/bob", write(copied("acme/data/other", 1))),
            "wrapped-key-label"
        );
        let next = ledger
            .state
            .document(&version("acme/data/doc", 1).document_name())
            .map_or(1, |doc| doc.latest + 1);
        let by_another = ledger.refuse("rival/mallory", write(copied("acme/data/doc", next)));
        assert_eq!(by_another, "wrapped-key-label");
        if next == 1 {
            ledger.accept("acme/bob", write(first.clone()));
        }
    }
    assert_eq!(
        ledger.refuse("acme/bob", write(copied("acme/data/doc", 2))),
        "wrapped-key-label"
    );
    ledger.accept(
        "acme/bob",
        write(threshold_write("acme/data/doc", 2, "acme/bob", &y)),
    );
}

#[test]
fn a_wrapped_key_must_hold() {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    let y = cluster("Y");
    let good = threshold_write("acme/data/doc", 1, "acme/bob", &y);
    let KeyWrapping::Threshold { wrapped_key } = good.key.clone() else {
        unreachable!()
    };
    let with = |wrapped_key: Vec<u8>| {
        write(Write {
            key: KeyWrapping::Threshold { wrapped_key },
            ..good.clone()
        })
    };

    let other = threshold_write("acme/data/doc", 1, "acme/bob", &cluster("another Y"));
    assert_eq!(
        ledger.refuse("acme/bob", write(other)),
        "wrapped-key-cluster"
    );
    assert_eq!(ledger.refuse("acme/bob", with(vec![])), "wrapped-key");
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            with(wrapped_key[..wrapped_key.len() - 1].to_vec())
        ),
        "wrapped-key"
    );
    let mut altered = wrapped_key.clone();
    *altered.last_mut().unwrap() ^= 1; // in the body: everything decodes, and the proof is of other bytes
    assert_eq!(
        ledger.refuse("acme/bob", with(altered)),
        "wrapped-key-proof"
    );
    // No single byte can be altered.
    for position in 0..wrapped_key.len() {
        let mut altered = wrapped_key.clone();
        altered[position] ^= 0x10;
        let code = ledger.refuse("acme/bob", with(altered));
        assert!(code.starts_with("wrapped-key"), "byte {position}: {code}");
    }
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(Write {
                wrapped_dek1: vec![],
                ..good.clone()
            })
        ),
        "presence"
    );
    ledger.accept("acme/bob", write(good));
}

#[test]
fn links_lead_between_versions_that_exist() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::OffChain);
    ledger.accept(
        "acme/ann",
        dataset_create("acme/other", Encryption::None, Storage::OffChain),
    );
    ledger.accept("acme/bob", write(plain_write("acme/data/one", 1)));
    ledger.accept("acme/bob", write(plain_write("acme/data/two", 1)));
    ledger.accept("acme/ann", write(plain_write("acme/other/three", 1)));
    let link = |number, from: &str, to: &str| {
        let (from, to) = (version(from, 1), version(to, 1));
        let (tenant, dataset, link, relation) =
            (id("acme"), id("data"), id("l"), id("derived-from"));
        Transaction::Link(Link {
            tenant,
            dataset,
            link,
            version: number,
            from,
            to,
            relation,
        })
    };
    let (one, two, three) = ("acme/data/one", "acme/data/two", "acme/other/three");
    assert_eq!(ledger.refuse("acme/bob", link(2, two, one)), "version");
    assert_eq!(
        ledger.refuse("acme/bob", link(1, one, one)),
        "link-to-itself"
    );
    assert_eq!(
        ledger.refuse("acme/bob", link(1, two, "acme/data/none")),
        "unknown-version"
    );
    assert_eq!(
        ledger.refuse("acme/bob", link(1, "acme/none/x", one)),
        "unknown-dataset"
    );
    assert_eq!(
        ledger.refuse("acme/bob", link(1, two, three)),
        "not-permitted"
    );
    assert_eq!(
        ledger.refuse("acme/eve", link(1, two, one)),
        "not-permitted"
    );
    ledger.accept("acme/bob", link(1, two, one));
    ledger.accept("acme/ann", link(2, two, three));
    let name = ledger
        .state
        .links(&dataset("acme/data"), None)
        .next()
        .unwrap()
        .0
        .clone();
    let row = ledger.state.link(&name).unwrap();
    assert_eq!((row.version, &row.author), (2, &user("acme/ann")));
    assert_eq!(ledger.refuse("acme/bob", link(2, two, one)), "version");
}

#[test]
fn erased_is_erased() {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    let y = cluster("Y");
    for number in 1..=3 {
        ledger.accept(
            "acme/bob",
            write(threshold_write("acme/data/doc", number, "acme/bob", &y)),
        );
    }
    assert_eq!(
        ledger.refuse("acme/bob", erase("acme/data/doc", None)),
        "not-permitted"
    );
    assert_eq!(
        ledger.refuse("acme/ann", erase("acme/data/none", None)),
        "unknown-document"
    );
    assert_eq!(
        ledger.refuse("acme/ann", erase("acme/data/doc", Some(4))),
        "unknown-version"
    );
    ledger.accept("acme/ann", erase("acme/data/doc", Some(2)));
    assert_eq!(
        ledger.refuse("acme/ann", erase("acme/data/doc", Some(2))),
        "erased"
    );
    let row = ledger.state.version(&version("acme/data/doc", 2)).unwrap();
    assert!(
        row.is_erased() && row.checksum == [3; 32],
        "the keys are gone, the history is not"
    );
    assert!(
        !ledger
            .state
            .version(&version("acme/data/doc", 3))
            .unwrap()
            .is_erased()
    );
    let read = Transaction::Read(plain_read(&version("acme/data/doc", 2)));
    assert_eq!(ledger.refuse("acme/eve", read), "erased");
    ledger.accept(
        "acme/bob",
        write(threshold_write("acme/data/doc", 4, "acme/bob", &y)),
    );

    ledger.accept("acme/ann", erase("acme/data/doc", None));
    assert!((1..=4).all(|number| {
        ledger
            .state
            .version(&version("acme/data/doc", number))
            .unwrap()
            .is_erased()
    }));
    assert_eq!(
        ledger.refuse("acme/ann", erase("acme/data/doc", None)),
        "erased"
    );
    assert_eq!(
        ledger.refuse("acme/ann", erase("acme/data/doc", Some(1))),
        "erased"
    );
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            write(threshold_write("acme/data/doc", 5, "acme/bob", &y))
        ),
        "erased"
    );
}

#[test]
fn a_dataset_that_changed_its_key_takes_the_new_one_only() {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    ledger.accept(
        "acme/bob",
        write(threshold_write(
            "acme/data/doc",
            1,
            "acme/bob",
            &cluster("Y"),
        )),
    );
    let (tenant, dataset, storage) = (id("acme"), id("data"), Storage::OffChain);
    let configure = DatasetConfigure {
        tenant,
        dataset,
        version: 2,
        encryption: threshold("Z"),
        storage,
    };
    ledger.accept("acme/ann", Transaction::DatasetConfigure(configure));
    let old = threshold_write("acme/data/doc", 2, "acme/bob", &cluster("Y"));
    assert_eq!(ledger.refuse("acme/bob", write(old)), "wrapped-key-cluster");
    ledger.accept(
        "acme/bob",
        write(threshold_write(
            "acme/data/doc",
            2,
            "acme/bob",
            &cluster("Z"),
        )),
    );
    // What is under the old key is read under the old key.
    let (read, _) = threshold_read(&ledger.state, &version("acme/data/doc", 1), &spki("client"));
    ledger.accept("acme/eve", Transaction::Read(read));
}
