//! What holds for every transaction, and tenants and users.

use crate::ledger::*;
use coordinator::record::{
    Author, Encryption, Event, MAX_TRANSACTION_LIFETIME_MS, Role, SignedTransaction, Storage,
    Transaction, UnsignedTransaction, UserExpire, UserRegister, UserRole, UserRotateKey,
    rotate_key,
};

fn content(ledger: &Ledger, author: &str) -> UnsignedTransaction {
    let transaction = dataset_create("acme/data", Encryption::None, Storage::OffChain);
    ledger.sign(author, transaction).content().clone()
}

#[test]
fn a_transaction_is_for_one_ledger_once_and_for_a_while() {
    let mut ledger = Ledger::with_users();
    let mut of = |change: &dyn Fn(&mut UnsignedTransaction)| {
        let mut content = content(&ledger, "acme/ann");
        change(&mut content);
        let signed = content.sign(&key("acme/ann"));
        ledger
            .apply_signed(&signed)
            .map_err(|rejection| rejection.code())
    };
    assert_eq!(of(&|content| content.ledger[0] ^= 1), Err("wrong-ledger"));
    assert_eq!(of(&|content| content.expires_ms -= 60_000), Err("expired"));
    assert_eq!(
        of(&|content| content.expires_ms += MAX_TRANSACTION_LIFETIME_MS),
        Err("expires-too-late")
    );
    assert_eq!(
        of(&|content| content.author = Author::User(user("acme/bob"))),
        Err("signature")
    );
    assert_eq!(
        of(&|content| content.author = Author::User(user("acme/nobody"))),
        Err("unknown-user")
    );
    assert_eq!(
        of(&|content| content.author = Author::Organisation(id("nobody"))),
        Err("unknown-organisation")
    );
    assert_eq!(
        of(&|content| content.author = Author::Organisation(id("alpha"))),
        Err("signature")
    );

    let signed = content(&ledger, "acme/ann").sign(&key("acme/ann"));
    assert!(ledger.apply_signed(&signed).is_ok());
    assert_eq!(ledger.apply_signed(&signed).unwrap_err().code(), "replayed");
}

#[test]
fn nothing_of_a_signed_transaction_can_be_altered() {
    let mut ledger = Ledger::with_users();
    let signed = content(&ledger, "acme/ann").sign(&key("acme/ann"));
    let bytes = signed.as_bytes().to_vec();
    let block = ledger.block;
    for position in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut altered = bytes.clone();
            altered[position] ^= flip;
            // Many do not even decode; those that do are refused, for the signature or sooner.
            if let Ok(altered) = coordinator::record::SignedTransaction::from_bytes(&altered) {
                ledger.block = block;
                assert!(ledger.apply_signed(&altered).is_err(), "byte {position}");
            }
        }
    }
    ledger.block = block;
    assert!(ledger.apply_signed(&signed).is_ok());
}

#[test]
fn organisations_register_tenants() {
    let mut ledger = Ledger::new();
    let events = ledger.accept("alpha", tenant_register("acme"));
    assert!(events.contains(&Event::TenantRegistered { tenant: id("acme") }));
    assert_eq!(
        ledger.state.tenant(&id("acme")).unwrap().organisation,
        id("alpha")
    );
    assert_eq!(
        ledger.state.user(&user("acme/root")).unwrap().role,
        UserRole::Administrator
    );
    assert_eq!(
        ledger.refuse("beta", tenant_register("acme")),
        "tenant-exists"
    );
    assert_eq!(
        ledger.refuse("acme/root", tenant_register("other")),
        "wrong-author"
    );

    let Transaction::TenantRegister(mut weak) = tenant_register("other") else {
        unreachable!()
    };
    weak.public_key = [0; 32];
    weak.public_key[0] = 1; // the identity, which signs everything
    assert_eq!(
        ledger.refuse("beta", Transaction::TenantRegister(weak)),
        "public-key"
    );
}

#[test]
fn administrators_and_the_tenants_organisation_register_users() {
    let mut ledger = Ledger::with_users();
    ledger.accept(
        "acme/root",
        user_register("acme/second", UserRole::Administrator),
    );
    ledger.accept(
        "alpha",
        user_register("acme/third", UserRole::Administrator),
    );
    assert_eq!(
        ledger.refuse("acme/root", user_register("acme/ann", UserRole::Member)),
        "user-exists"
    );
    for author in ["acme/ann", "rival/root", "beta"] {
        assert_eq!(
            ledger.refuse(author, user_register("acme/new", UserRole::Member)),
            "not-administrator"
        );
    }
    assert_eq!(
        ledger.refuse("acme/root", user_register("nowhere/new", UserRole::Member)),
        "unknown-tenant"
    );
    let Transaction::UserRegister(new) = user_register("acme/new", UserRole::Member) else {
        unreachable!()
    };
    let weak = UserRegister {
        public_key: [0; 32],
        ..new
    };
    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserRegister(weak)),
        "public-key"
    );
}

#[test]
fn users_rotate_their_own_keys() {
    let mut ledger = Ledger::with_users();
    let ann = user("acme/ann");
    let new = key("ann's second key");
    let rotation = rotate_key(&ledger.id, &ann, &new);
    let Transaction::UserRotateKey(UserRotateKey {
        public_key, proof, ..
    }) = rotation.clone()
    else {
        unreachable!()
    };

    // Made for somebody else, or signed by nobody: not a proof.
    assert_eq!(
        ledger.refuse("acme/bob", rotation.clone()),
        "rotation-proof"
    );
    let mut bad = proof;
    bad[3] ^= 1;
    let bad = Transaction::UserRotateKey(UserRotateKey {
        public_key,
        proof: bad,
        managed: false,
    });
    assert_eq!(ledger.refuse("acme/ann", bad), "rotation-proof");
    let same = rotate_key(&ledger.id, &ann, &key("acme/ann"));
    assert_eq!(ledger.refuse("acme/ann", same), "key-unchanged");
    let weak = Transaction::UserRotateKey(UserRotateKey {
        public_key: [0; 32],
        proof,
        managed: false,
    });
    assert_eq!(ledger.refuse("acme/ann", weak), "public-key");
    assert_eq!(ledger.refuse("alpha", rotation.clone()), "wrong-author");

    let event = Event::UserKeyRotated {
        user: ann,
        key_version: 2,
    };
    assert_eq!(ledger.accept("acme/ann", rotation), [event]);
    let create = || dataset_create("acme/data", Encryption::None, Storage::OffChain);
    assert_eq!(ledger.refuse("acme/ann", create()), "signature");
    let signed = ledger
        .sign("acme/ann", create())
        .content()
        .clone()
        .sign(&new);
    assert!(ledger.apply_signed(&signed).is_ok());
}

#[test]
fn users_are_suspended_resumed_and_expired() {
    let mut ledger = Ledger::with_users();
    let ann = || user("acme/ann");
    let create = |name: &str| dataset_create(name, Encryption::None, Storage::OffChain);

    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserResume(ann())),
        "user-not-suspended"
    );
    ledger.accept("acme/root", Transaction::UserSuspend(ann()));
    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserSuspend(ann())),
        "user-suspended"
    );
    assert_eq!(
        ledger.refuse("acme/ann", create("acme/one")),
        "user-suspended"
    );
    ledger.accept("acme/root", Transaction::UserResume(ann()));
    ledger.accept("acme/ann", create("acme/one"));

    let now = ledger.block.time_ms;
    let expire = |expires_ms| {
        Transaction::UserExpire(UserExpire {
            tenant: id("acme"),
            user: id("ann"),
            expires_ms,
        })
    };
    ledger.accept("acme/root", expire(Some(now + 2000)));
    // The block after is at now + 2000, and that is too late.
    assert_eq!(
        ledger.refuse("acme/ann", create("acme/two")),
        "user-expired"
    );
    ledger.accept("acme/root", expire(None));
    ledger.accept("acme/ann", create("acme/two"));

    for transaction in [
        Transaction::UserSuspend(ann()),
        Transaction::UserResume(ann()),
        expire(None),
    ] {
        assert_eq!(
            ledger.refuse("acme/bob", transaction.clone()),
            "not-administrator"
        );
        assert_eq!(
            ledger.refuse("rival/root", transaction),
            "not-administrator"
        );
    }
    let root = || user("acme/root");
    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserSuspend(root())),
        "own-account"
    );
    let own = UserExpire {
        tenant: id("acme"),
        user: id("root"),
        expires_ms: Some(1),
    };
    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserExpire(own)),
        "own-account"
    );
    assert_eq!(
        ledger.refuse("acme/root", Transaction::UserSuspend(user("acme/nobody"))),
        "unknown-user"
    );
    ledger.accept("alpha", Transaction::UserSuspend(root()));
    assert_eq!(
        ledger.refuse("acme/root", create("acme/three")),
        "user-suspended"
    );
}

#[test]
fn a_key_has_one_encoding() {
    let mut ledger = Ledger::with_users();
    // The 19 values from p up to 2^255: the y of a point, written a second way.
    for above in 0..19 {
        let mut public_key = [0xff; 32];
        public_key[0] = 0xed + above;
        for sign in [0x7f, 0xff] {
            public_key[31] = sign;
            let register = Transaction::UserRegister(UserRegister {
                tenant: id("acme"),
                user: id("twice"),
                public_key,
                role: UserRole::Member,
                expires_ms: None,
                managed: false,
            });
            assert_eq!(ledger.refuse("acme/root", register), "public-key");
        }
    }
}

/// Signs in the name of a user whose key a platform keeps.
fn signed_as_managed(
    ledger: &Ledger,
    author: &str,
    by: &str,
    it: Transaction,
) -> SignedTransaction {
    let mut content = ledger.sign(author, it).content().clone();
    content.author = Author::Managed(user(author));
    content.sign(&key(by))
}

#[test]
fn a_signature_says_who_keeps_the_key() {
    let mut ledger = Ledger::with_users();
    let Transaction::UserRegister(mut carol) = user_register("acme/carol", UserRole::Member) else {
        unreachable!()
    };
    carol.managed = true;
    ledger.accept("acme/root", Transaction::UserRegister(carol));
    let create = |name: &str| dataset_create(name, Encryption::None, Storage::OffChain);

    // Neither in the other's name.
    assert_eq!(
        ledger.refuse("acme/carol", create("acme/one")),
        "key-custody"
    );
    let ann = signed_as_managed(&ledger, "acme/ann", "acme/ann", create("acme/one"));
    assert_eq!(ledger.apply_signed(&ann).unwrap_err().code(), "key-custody");
    let forged = signed_as_managed(&ledger, "acme/carol", "acme/ann", create("acme/one"));
    assert_eq!(
        ledger.apply_signed(&forged).unwrap_err().code(),
        "signature"
    );
    let signed = signed_as_managed(&ledger, "acme/carol", "acme/carol", create("acme/one"));
    assert_eq!(signed.author().to_string(), "managed user acme/carol");
    ledger.apply_signed(&signed).unwrap();
    // The row of the permissions says the same as the transaction.
    let changed_by = |ledger: &Ledger| {
        let row = ledger.state.permissions(&dataset("acme/one")).unwrap();
        (row.version, row.changed_by.clone())
    };
    let (by_platform, by_herself) = (
        Author::Managed(user("acme/carol")),
        Author::User(user("acme/carol")),
    );
    assert_eq!(changed_by(&ledger), (1, by_platform.clone()));
    let open = grant("acme/one", Role::Reader, "acme/ann");
    let open = signed_as_managed(&ledger, "acme/carol", "acme/carol", open);
    ledger.apply_signed(&open).unwrap();
    assert_eq!(changed_by(&ledger), (2, by_platform));

    // She takes her key into her own hands, and what she signs then is her own.
    let own = key("carol's own key");
    let taken = rotate_key(&ledger.id, &user("acme/carol"), &own);
    let taken = signed_as_managed(&ledger, "acme/carol", "acme/carol", taken);
    ledger.apply_signed(&taken).unwrap();
    assert!(!ledger.state.user(&user("acme/carol")).unwrap().managed);
    let late = signed_as_managed(&ledger, "acme/carol", "acme/carol", create("acme/two"));
    assert_eq!(
        ledger.apply_signed(&late).unwrap_err().code(),
        "key-custody"
    );
    let content = ledger
        .sign("acme/carol", create("acme/two"))
        .content()
        .clone();
    ledger.apply_signed(&content.sign(&own)).unwrap();
    let close = revoke("acme/one", Role::Reader, "acme/ann");
    let content = ledger.sign("acme/carol", close).content().clone();
    ledger.apply_signed(&content.sign(&own)).unwrap();
    assert_eq!(changed_by(&ledger), (3, by_herself));

    // And gives one into a platform's.
    let Transaction::UserRotateKey(mut given) =
        rotate_key(&ledger.id, &user("acme/carol"), &key("acme/carol"))
    else {
        unreachable!()
    };
    given.managed = true;
    let given = ledger.sign("acme/carol", Transaction::UserRotateKey(given));
    ledger
        .apply_signed(&given.content().clone().sign(&own))
        .unwrap();
    let row = ledger.state.user(&user("acme/carol")).unwrap();
    assert!(row.managed && row.key_version == 3);
}

#[test]
fn what_is_not_managed_says_nothing_of_it() {
    let ledger = Ledger::with_users();
    let plain = ledger.sign("acme/root", user_register("acme/new", UserRole::Member));
    let text = String::from_utf8_lossy(plain.as_bytes()).into_owned();
    assert!(!text.contains("managed"));
    let managed = signed_as_managed(
        &ledger,
        "acme/root",
        "acme/root",
        user_register("acme/new", UserRole::Member),
    );
    let read = SignedTransaction::from_bytes(managed.as_bytes()).unwrap();
    assert_eq!(read.author(), &Author::Managed(user("acme/root")));
}
