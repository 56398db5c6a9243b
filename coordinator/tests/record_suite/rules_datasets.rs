//! Datasets, permissions, requests for access.

use crate::ledger::*;
use coordinator::record::{
    AccessDecision, AccessRequest, AccessStatus, DatasetConfigure, Encryption, Event,
    MAX_ROLE_USERS, PermissionSet, Role, Storage, Transaction, UserName, UserRole,
};

fn plain() -> Ledger {
    Ledger::with_dataset(Encryption::None, Storage::OffChain)
}

fn set(version: u64, role: Role, users: &[&str]) -> Transaction {
    let users = users.iter().map(|name| user(name)).collect();
    Transaction::PermissionSet(PermissionSet {
        tenant: id("acme"),
        dataset: id("data"),
        version,
        role,
        users,
    })
}

#[test]
fn any_user_creates_datasets_in_its_own_tenant() {
    let mut ledger = Ledger::with_users();
    let create = |name| dataset_create(name, Encryption::None, Storage::OffChain);
    ledger.accept("acme/ann", create("acme/data"));
    let permissions = ledger.state.permissions(&dataset("acme/data")).unwrap();
    assert_eq!((permissions.version, permissions.owners.len()), (1, 1));
    assert_eq!(
        ledger.refuse("acme/bob", create("acme/data")),
        "dataset-exists"
    );
    assert_eq!(
        ledger.refuse("rival/mallory", create("acme/more")),
        "other-tenant"
    );
    assert_eq!(ledger.refuse("alpha", create("acme/more")), "wrong-author");
    for bad in [[0; 32], [0xff; 32]] {
        let encryption = Encryption::Threshold { public_key: bad };
        assert_eq!(
            ledger.refuse(
                "acme/ann",
                dataset_create("acme/bad", encryption, Storage::Ledger)
            ),
            "cluster-key"
        );
    }
}

#[test]
fn owners_configure_for_later_writes() {
    let mut ledger = plain();
    let configure = |version, encryption| {
        let (tenant, dataset, storage) = (id("acme"), id("data"), Storage::OffChain);
        Transaction::DatasetConfigure(DatasetConfigure {
            tenant,
            dataset,
            version,
            encryption,
            storage,
        })
    };
    assert_eq!(
        ledger.refuse("acme/ann", configure(1, threshold("Y"))),
        "version"
    );
    assert_eq!(
        ledger.refuse("acme/ann", configure(3, threshold("Y"))),
        "version"
    );
    assert_eq!(
        ledger.refuse("acme/bob", configure(2, threshold("Y"))),
        "not-permitted"
    );
    let bad = Encryption::Threshold {
        public_key: [0; 32],
    };
    assert_eq!(ledger.refuse("acme/ann", configure(2, bad)), "cluster-key");
    ledger.accept(
        "acme/bob",
        Transaction::Write(plain_write("acme/data/doc", 1)),
    );
    ledger.accept("acme/ann", configure(2, threshold("Y")));
    assert_eq!(
        ledger.refuse(
            "acme/bob",
            Transaction::Write(plain_write("acme/data/doc", 2))
        ),
        "encryption-mismatch"
    );
    ledger.accept(
        "acme/eve",
        Transaction::Read(plain_read(&version("acme/data/doc", 1))),
    );
}

#[test]
fn every_change_of_permissions_is_a_version_with_its_author() {
    let mut ledger = plain();
    let at = |ledger: &Ledger| {
        ledger
            .state
            .permissions(&dataset("acme/data"))
            .unwrap()
            .clone()
    };
    assert_eq!(at(&ledger).version, 3);
    ledger.accept("acme/ann", grant("acme/data", Role::Owner, "acme/bob"));
    ledger.accept(
        "acme/bob",
        grant("acme/data", Role::Reader, "rival/mallory"),
    );
    let permissions = at(&ledger);
    assert_eq!(permissions.version, 5);
    assert_eq!(permissions.changed_by.to_string(), "user acme/bob");
    assert_eq!(permissions.changed_ms, ledger.block.time_ms);
    assert_eq!(
        ledger.refuse(
            "acme/ann",
            grant("acme/data", Role::Reader, "rival/mallory")
        ),
        "permission-unchanged"
    );
    assert_eq!(
        ledger.refuse(
            "acme/ann",
            revoke("acme/data", Role::Writer, "rival/mallory")
        ),
        "permission-unchanged"
    );
    ledger.accept(
        "acme/ann",
        revoke("acme/data", Role::Reader, "rival/mallory"),
    );
    assert_eq!(
        ledger.refuse("acme/ann", grant("acme/data", Role::Reader, "acme/nobody")),
        "unknown-user"
    );
    assert_eq!(
        ledger.refuse("acme/ann", grant("acme/nothing", Role::Reader, "acme/eve")),
        "unknown-dataset"
    );
    for author in ["acme/eve", "acme/root", "rival/mallory"] {
        assert_eq!(
            ledger.refuse(author, grant("acme/data", Role::Reader, author)),
            "not-permitted"
        );
    }
    assert_eq!(
        ledger.refuse("alpha", grant("acme/data", Role::Reader, "acme/bob")),
        "wrong-author"
    );
}

#[test]
fn a_role_is_set_as_a_whole_by_who_has_seen_the_last_version() {
    let mut ledger = plain();
    assert_eq!(
        ledger.refuse("acme/ann", set(3, Role::Reader, &["acme/bob"])),
        "version"
    );
    assert_eq!(
        ledger.refuse("acme/ann", set(4, Role::Reader, &["acme/eve", "acme/bob"])),
        "users-not-sorted"
    );
    assert_eq!(
        ledger.refuse("acme/ann", set(4, Role::Reader, &["acme/bob", "acme/bob"])),
        "users-not-sorted"
    );
    assert_eq!(
        ledger.refuse("acme/ann", set(4, Role::Reader, &["acme/nobody"])),
        "unknown-user"
    );
    assert_eq!(
        ledger.refuse("acme/ann", set(4, Role::Owner, &[])),
        "last-owner"
    );
    assert_eq!(
        ledger.refuse("acme/bob", set(4, Role::Reader, &["acme/bob"])),
        "not-permitted"
    );
    ledger.accept(
        "acme/ann",
        set(4, Role::Reader, &["acme/bob", "rival/mallory"]),
    );
    assert!(
        !ledger
            .state
            .allows(&user("acme/eve"), &dataset("acme/data"), Role::Reader)
    );
    assert_eq!(
        ledger.refuse("acme/ann", revoke("acme/data", Role::Owner, "acme/ann")),
        "last-owner"
    );

    let crowd: Vec<_> = (0..=MAX_ROLE_USERS)
        .map(|n| format!("acme/u{n:04}"))
        .collect();
    let names: Vec<&str> = crowd.iter().map(String::as_str).collect();
    assert_eq!(
        ledger.refuse("acme/ann", set(5, Role::Reader, &names)),
        "too-large"
    );
    for name in &names[..MAX_ROLE_USERS] {
        ledger.accept("acme/root", user_register(name, UserRole::Member));
    }
    ledger.accept("acme/ann", set(5, Role::Reader, &names[..MAX_ROLE_USERS]));
    assert_eq!(
        ledger.refuse("acme/ann", grant("acme/data", Role::Reader, "acme/eve")),
        "too-large"
    );
}

#[test]
fn owners_may_what_writers_and_readers_may_and_writers_may_not_read() {
    let mut ledger = plain();
    let read = || Transaction::Read(plain_read(&version("acme/data/doc", 1)));
    ledger.accept(
        "acme/bob",
        Transaction::Write(plain_write("acme/data/doc", 1)),
    );
    assert_eq!(ledger.refuse("acme/bob", read()), "not-permitted");
    ledger.accept("acme/eve", read());
    assert_eq!(
        ledger.refuse(
            "acme/eve",
            Transaction::Write(plain_write("acme/data/doc", 2))
        ),
        "not-permitted"
    );
    ledger.accept("acme/ann", read());
    ledger.accept(
        "acme/ann",
        Transaction::Write(plain_write("acme/data/doc", 2)),
    );
    // Administrators and other tenants have no data by who they are.
    for stranger in ["acme/root", "rival/mallory", "rival/root"] {
        assert_eq!(ledger.refuse(stranger, read()), "not-permitted");
        assert_eq!(
            ledger.refuse(
                stranger,
                Transaction::Write(plain_write("acme/data/doc", 3))
            ),
            "not-permitted"
        );
    }
    ledger.accept(
        "acme/ann",
        grant("acme/data", Role::Reader, "rival/mallory"),
    );
    ledger.accept("rival/mallory", read());
}

#[test]
fn users_ask_for_access_and_owners_decide() {
    let mut ledger = plain();
    let ask = |role| {
        Transaction::AccessRequest(AccessRequest {
            tenant: id("acme"),
            dataset: id("data"),
            role,
        })
    };
    let decision = |who: &UserName, request| {
        let (tenant, dataset, role) = (id("acme"), id("data"), Role::Reader);
        AccessDecision {
            tenant,
            dataset,
            role,
            user: who.clone(),
            request,
        }
    };
    let mallory = user("rival/mallory");
    let request = ledger.sign("rival/mallory", ask(Role::Reader));
    ledger.apply_signed(&request).unwrap();
    assert_eq!(
        ledger.refuse("rival/mallory", ask(Role::Reader)),
        "access-pending"
    );
    assert_eq!(
        ledger.refuse("acme/eve", ask(Role::Reader)),
        "permission-unchanged"
    );
    let elsewhere = AccessRequest {
        tenant: id("acme"),
        dataset: id("nothing"),
        role: Role::Reader,
    };
    assert_eq!(
        ledger.refuse("acme/eve", Transaction::AccessRequest(elsewhere)),
        "unknown-dataset"
    );

    let grant_it = |request| Transaction::AccessGrant(decision(&mallory, request));
    let decline = |request| Transaction::AccessDecline(decision(&mallory, request));
    assert_eq!(
        ledger.refuse("rival/mallory", grant_it(request.id())),
        "not-permitted"
    );
    assert_eq!(
        ledger.refuse("acme/ann", grant_it([0; 32])),
        "unknown-access-request"
    );
    ledger.accept("acme/ann", decline(request.id()));
    assert_eq!(
        ledger.refuse("acme/ann", grant_it(request.id())),
        "unknown-access-request"
    );

    // Declined once, asked again, granted: the decision names the new request.
    let again = ledger.sign("rival/mallory", ask(Role::Reader));
    ledger.apply_signed(&again).unwrap();
    assert_eq!(
        ledger.refuse("acme/ann", grant_it(request.id())),
        "unknown-access-request"
    );
    let events = ledger.accept("acme/ann", grant_it(again.id()));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::PermissionsChanged { version: 4, .. }))
    );
    assert!(
        ledger
            .state
            .allows(&mallory, &dataset("acme/data"), Role::Reader)
    );
    let name = dataset("acme/data");
    let (_, access) = ledger.state.access(&name, None).next().unwrap();
    assert_eq!(access.status, AccessStatus::Granted(user("acme/ann")));
    assert_eq!(
        ledger.refuse("acme/ann", decline(again.id())),
        "unknown-access-request"
    );
}
