//! Reads.

use crate::ledger::*;
use coordinator::record::{
    Encryption, Event, MAX_CLIENT_SPKI, Read, Reencryption, Role, Storage, Transaction,
};
use reencrypt::EphemeralSecret;

fn written() -> Ledger {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    for document in ["acme/data/doc", "acme/data/other"] {
        let write = threshold_write(document, 1, "acme/bob", &cluster("Y"));
        ledger.accept("acme/bob", Transaction::Write(write));
    }
    ledger
}

#[test]
fn a_read_names_the_approval_that_it_asks_for() {
    let mut ledger = written();
    let (read, _) = threshold_read(&ledger.state, &version("acme/data/doc", 1), &spki("client"));
    let signed = ledger.sign("acme/eve", Transaction::Read(read));
    let events = ledger.apply_signed(&signed).unwrap();
    let name = version("acme/data/doc", 1);
    assert_eq!(
        events,
        [Event::ReadRecorded {
            version: name.clone(),
            approval_id: hex::encode(signed.id())
        }]
    );
    let row = ledger.state.read(&signed.id()).unwrap();
    assert_eq!((&row.reader, &row.name), (&user("acme/eve"), &name));
}

#[test]
fn a_read_is_of_what_the_record_holds_and_to_a_fresh_key_of_its_own() {
    let mut ledger = written();
    let name = version("acme/data/doc", 1);
    let (good, _) = threshold_read(&ledger.state, &name, &spki("client"));
    let asked = good.reencryption.clone().unwrap();
    let (of_other, _) = threshold_read(
        &ledger.state,
        &version("acme/data/other", 1),
        &spki("client"),
    );
    let of_other = of_other.reencryption.unwrap();
    let with = |asked: Reencryption| {
        Transaction::Read(Read {
            reencryption: Some(asked),
            ..good.clone()
        })
    };

    assert_eq!(
        ledger.refuse("acme/eve", Transaction::Read(plain_read(&name))),
        "reencryption"
    );
    let other_write_id = Reencryption {
        write_id: of_other.write_id,
        ..asked.clone()
    };
    assert_eq!(ledger.refuse("acme/eve", with(other_write_id)), "write-id");
    let other_key = Reencryption {
        ephemeral_key: of_other.ephemeral_key,
        ..asked.clone()
    };
    assert_eq!(
        ledger.refuse("acme/eve", with(other_key)),
        "ephemeral-key-proof"
    );
    for length in [0, 159] {
        let short = Reencryption {
            ephemeral_key: asked.ephemeral_key[..length].to_vec(),
            ..asked.clone()
        };
        assert_eq!(ledger.refuse("acme/eve", with(short)), "ephemeral-key");
    }
    let long = Reencryption {
        ephemeral_key: vec![0; 161],
        ..asked.clone()
    };
    assert_eq!(ledger.refuse("acme/eve", with(long)), "too-large");
    for position in 0..asked.ephemeral_key.len() {
        let mut altered = asked.clone();
        altered.ephemeral_key[position] ^= 0x20;
        let code = ledger.refuse("acme/eve", with(altered));
        assert!(code.starts_with("ephemeral-key"), "byte {position}: {code}");
    }

    let der = spki("client");
    let forms: [(&[u8], &str); 5] = [
        (&[], "client-key"),
        (&der[..der.len() - 1], "client-key"),
        (&[der.as_slice(), &[0]].concat(), "client-key"),
        (b"\x04\x00", "client-key"),
        (&vec![0x30; MAX_CLIENT_SPKI + 1], "too-large"),
    ];
    for (client_spki, code) in forms {
        let client_spki = client_spki.to_vec();
        assert_eq!(
            ledger.refuse(
                "acme/eve",
                with(Reencryption {
                    client_spki,
                    ..asked.clone()
                })
            ),
            code
        );
    }

    for stranger in ["acme/bob", "acme/root", "rival/mallory"] {
        assert_eq!(
            ledger.refuse(stranger, with(asked.clone())),
            "not-permitted"
        );
    }
    assert_eq!(ledger.refuse("alpha", with(asked.clone())), "wrong-author");
    ledger.accept("acme/eve", with(asked.clone()));
    // X was used: also for another client, by another reader.
    assert_eq!(
        ledger.refuse("acme/eve", with(asked.clone())),
        "ephemeral-key-used"
    );
    let for_another = Reencryption {
        client_spki: spki("another"),
        ..asked
    };
    assert_eq!(
        ledger.refuse("acme/ann", with(for_another)),
        "ephemeral-key-used"
    );
}

#[test]
fn reads_end_with_the_permission_and_with_the_user() {
    let mut ledger = written();
    let name = version("acme/data/doc", 1);
    let fresh = |ledger: &Ledger| {
        Transaction::Read(threshold_read(&ledger.state, &name, &spki("client")).0)
    };
    let read = fresh(&ledger);
    ledger.accept("acme/eve", read);
    ledger.accept("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"));
    let read = fresh(&ledger);
    assert_eq!(ledger.refuse("acme/eve", read.clone()), "not-permitted");
    ledger.accept("acme/ann", grant("acme/data", Role::Reader, "acme/eve"));
    ledger.accept("acme/root", Transaction::UserSuspend(user("acme/eve")));
    assert_eq!(ledger.refuse("acme/eve", read.clone()), "user-suspended");
    ledger.accept("acme/root", Transaction::UserResume(user("acme/eve")));
    ledger.accept("acme/eve", read);
    let unknown = Transaction::Read(plain_read(&version("acme/data/doc", 2)));
    assert_eq!(ledger.refuse("acme/eve", unknown), "unknown-version");
    let elsewhere = Transaction::Read(plain_read(&version("acme/nothing/doc", 1)));
    assert_eq!(ledger.refuse("acme/eve", elsewhere), "unknown-dataset");
}

#[test]
fn reads_of_what_is_under_no_cluster_key_name_no_ephemeral_key() {
    let mut ledger = Ledger::with_dataset(Encryption::None, Storage::OffChain);
    ledger.accept(
        "acme/bob",
        Transaction::Write(plain_write("acme/data/doc", 1)),
    );
    let name = version("acme/data/doc", 1);
    let secret = EphemeralSecret::for_write(&cluster("Y"), &[1; 32], &mut rand::rng());
    let ephemeral_key = secret.public().as_bytes().to_vec();
    let asked = Reencryption {
        write_id: [1; 32],
        ephemeral_key,
        client_spki: spki("client"),
    };
    let read = Read {
        reencryption: Some(asked),
        ..plain_read(&name)
    };
    assert_eq!(
        ledger.refuse("acme/eve", Transaction::Read(read)),
        "reencryption"
    );
    ledger.accept("acme/eve", Transaction::Read(plain_read(&name)));
}
