//! A record that was made once, with every kind of transaction, and must be verified for ever: if its bytes or the rules change,
//! records that exist are lost. Its reader in another language is `tests/system/peer/record.py`.

use crate::{certificates::*, ledger::*, solo::Site};
use coordinator::record::{
    AccessDecision, AccessRequest, Author, Body, DatasetConfigure, Encryption, Erase, KeyWrapping,
    Link, MAX_TRANSACTION_LIFETIME_MS, OrganisationChange, OrganisationEndorse,
    OrganisationWithdraw, PermissionSet, Role, Storage, Transaction, UnsignedTransaction,
    UserExpire, UserRole, Write, audit::verify_export, rotate_key,
};
use sha2::{Digest as _, Sha256};
use std::path::Path;

const VECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/record.jsonl");

#[test]
fn a_record_of_old_is_still_true() {
    let keys = ORGANISATIONS.map(|name| {
        let key = key(&format!("head {name}")).verifying_key();
        certs::note::NoteKey::new(name, key).unwrap()
    });
    let verified = verify_export(Path::new(VECTOR), &keys).unwrap();
    let report = verified.report;
    assert_eq!(
        report.kinds.len(),
        20,
        "every kind of transaction: {:?}",
        report.kinds
    );
    // Delta has another operator key since, so its peer was to be started again.
    assert_eq!(report.signed_by, ["alpha", "beta", "gamma"]);
}

const CERTIFICATES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/record-certificates.jsonl"
);

/// The kinds that came later, which the record above does not have.
#[test]
fn a_record_of_old_with_certificates_is_still_true() {
    let keys = ORGANISATIONS.map(|name| {
        let key = key(&format!("head {name}")).verifying_key();
        certs::note::NoteKey::new(name, key).unwrap()
    });
    let verified = verify_export(Path::new(CERTIFICATES), &keys).unwrap();
    let kinds = &verified.report.kinds;
    assert_eq!(kinds["tenant-authorities"], 3);
    assert_eq!(kinds["user-certify"], 4);
    assert_eq!(kinds["revocations-publish"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector_of_certificates() {
    let site = Site::with_document().await;
    let submit = async |author: &str, transaction: Transaction| {
        site.pass(700);
        site.submit(author, transaction).await.unwrap();
    };
    let ledger = site.record.ledger();
    let now_s = GENESIS_MS / 1000;
    let root = Company::new("root", None);
    let people = Company::new("people", Some((&root, 300)));
    let other = Company::new("other", None);
    submit("alpha", authorities("acme", &[&other])).await;
    submit("acme/root", authorities("acme", &[&root, &other])).await;
    let above: [&[u8]; 1] = [&people.certificate];
    let eve = people.certify("eve", 200, 30);
    let bind = eve.bind(&ledger, "acme/eve", "acme/eve", &above);
    submit("acme/eve", bind).await;
    let bob = other.certify("bob", 5, 30);
    let bind = bob.bind(&ledger, "acme/bob", "acme/bob", &[]);
    submit("acme/root", bind).await;
    site.read("acme/eve").await;
    let list = people.list(&[200, 70_000], 1000, now_s);
    submit("acme/root", publish("acme", &above, list)).await;
    let list = root.list(&[], 1, now_s);
    submit("alpha", publish("acme", &[], list)).await;
    let eve = people.certify("eve", 201, 30);
    let bind = eve.bind(&ledger, "acme/eve", "acme/eve", &above);
    submit("acme/root", bind).await;
    submit("acme/root", certify("acme/bob", None)).await;
    submit("rival/root", authorities("rival", &[])).await;
    site.record.export(Path::new(CERTIFICATES)).await.unwrap();
}

const CLIENTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/record-clients.jsonl"
);

/// Bound clients and administrators, and a change that happened with a departure, which the records above do not have.
#[test]
fn a_record_of_old_with_clients_and_departures_is_still_true() {
    let keys = ORGANISATIONS.map(|name| {
        let key = key(&format!("head {name}")).verifying_key();
        certs::note::NoteKey::new(name, key).unwrap()
    });
    let verified = verify_export(Path::new(CLIENTS), &keys).unwrap();
    let kinds = &verified.report.kinds;
    assert_eq!(kinds["client-certify"], 3);
    assert_eq!(kinds["organisation-endorse"], 10);
    assert_eq!(verified.state.clients(&id("acme"), None).count(), 1);
    assert!(
        verified
            .state
            .authorities(&id("acme"))
            .unwrap()
            .bound_clients
    );
    let second = verified.state.user(&user("acme/second")).unwrap();
    assert!(second.must_be_bound && second.certificate.is_some());
    assert_eq!(verified.state.pending_changes().count(), 0);
    let carol = verified.state.permissions(&dataset("acme/carols")).unwrap();
    assert_eq!(carol.changed_by, Author::Managed(user("acme/carol")));
    let left = verified.state.organisations();
    let left: Vec<_> = left.map(|it| it.name.to_string()).collect();
    assert_eq!(left, ["alpha", "beta", "delta", "gamma"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector_of_clients() {
    let site = Site::with_document().await;
    let submit = async |author: &str, transaction: Transaction| {
        site.pass(700);
        site.submit(author, transaction).await.unwrap();
    };
    let ledger = site.record.ledger();
    let company = Company::new("company", None);
    let strict = authorities_and("acme", &[&company], true);
    submit("acme/root", strict).await;
    let machine = company.certify("machine", 7, 30);
    for spki in [spki("client"), spki("another")] {
        let bind = machine.bind_client(&ledger, &client("acme", &spki));
        submit("acme/root", bind).await;
    }
    let another = client("acme", &spki("another"));
    submit("acme/root", certify_client(&another, None)).await;
    site.read("acme/eve").await;
    let root = company.certify("root", 8, 30);
    let bind = root.bind(&ledger, "acme/root", "acme/root", &[]);
    submit("acme/root", bind).await;
    let second = user_register("acme/second", UserRole::Administrator);
    submit("acme/root", second).await;
    let holder = company.certify("second", 9, 30);
    let bind = holder.bind(&ledger, "acme/second", "acme/second", &[]);
    submit("acme/root", bind).await;

    let Transaction::UserRegister(mut carol) = user_register("acme/carol", UserRole::Member) else {
        unreachable!()
    };
    carol.managed = true;
    submit("acme/second", Transaction::UserRegister(carol)).await;
    let create = dataset_create("acme/carols", Encryption::None, Storage::Ledger);
    for transaction in [create, grant("acme/carols", Role::Reader, "acme/eve")] {
        site.pass(700);
        let mut content = content_of(&site, "acme/carol", transaction);
        content.author = Author::Managed(user("acme/carol"));
        let signed = content.sign(&key("acme/carol"));
        site.record.submit(signed).await.unwrap();
    }

    // A fifth organisation comes; what three of five have endorsed happens when it leaves.
    let fifth = organisation("epsilon", &Authority::new("epsilon"));
    for name in ["alpha", "beta", "gamma"] {
        submit(name, endorse(&OrganisationChange::Admit(fifth.clone()))).await;
    }
    let mut delta = site.founders.genesis.organisations[2].clone();
    delta.operator_key = public("operator delta, second");
    for name in ["alpha", "beta", "gamma"] {
        submit(name, endorse(&OrganisationChange::Rekey(delta.clone()))).await;
    }
    let leave = OrganisationChange::Remove(id("epsilon"));
    for name in ORGANISATIONS {
        submit(name, endorse(&leave)).await;
    }
    site.record.export(Path::new(CLIENTS)).await.unwrap();
}

const MANAGED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/record-managed.jsonl"
);

/// Authors whose keys a platform keeps, which the records above do not have.
#[test]
fn a_record_of_old_with_managed_users_is_still_true() {
    let keys = ORGANISATIONS.map(|name| {
        let key = key(&format!("head {name}")).verifying_key();
        certs::note::NoteKey::new(name, key).unwrap()
    });
    let verified = verify_export(Path::new(MANAGED), &keys).unwrap();
    let kinds = &verified.report.kinds;
    assert_eq!(kinds["user-rotate-key"], 3);
    let carol = verified.state.user(&user("acme/carol")).unwrap();
    assert!(carol.managed && carol.key_version == 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector_of_managed_users() {
    let site = Site::with_document().await;
    // The author's name, whether a platform keeps the key, and the name of the key.
    let submit = async |author: &str, managed: bool, by: &str, transaction: Transaction| {
        site.pass(700);
        let mut content = content_of(&site, author, transaction);
        if managed {
            content.author = Author::Managed(user(author));
        }
        site.record.submit(content.sign(&key(by))).await.unwrap();
    };
    let rotation = |to: &str, managed: bool| {
        let name = user("acme/carol");
        let mut rotation = rotate_key(&site.record.ledger(), &name, &key(to));
        if let Transaction::UserRotateKey(rotation) = &mut rotation {
            rotation.managed = managed;
        }
        rotation
    };
    let Transaction::UserRegister(mut carol) = user_register("acme/carol", UserRole::Member) else {
        unreachable!()
    };
    carol.managed = true;
    let (carol, one) = (Transaction::UserRegister(carol), "acme/carol");
    submit("acme/root", false, "acme/root", carol).await;
    let create = dataset_create("acme/plain", Encryption::None, Storage::Ledger);
    submit(one, true, one, create).await;
    submit(one, true, one, on_ledger(1, KeyWrapping::None, vec![])).await;
    submit(
        one,
        true,
        one,
        grant("acme/plain", Role::Reader, "acme/eve"),
    )
    .await;
    let read = Transaction::Read(plain_read(&version("acme/plain/note", 1)));
    submit(one, true, one, read).await;
    submit(one, true, one, rotation("the second", true)).await;
    submit(one, true, "the second", rotation("her own", false)).await;
    submit(
        one,
        false,
        "her own",
        on_ledger(2, KeyWrapping::None, vec![]),
    )
    .await;
    submit(one, false, "her own", rotation("the third", true)).await;
    submit(one, true, "the third", erase("acme/plain/note", None)).await;
    site.record.export(Path::new(MANAGED)).await.unwrap();
}

const REWRAPS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/record-rewraps.jsonl"
);

#[test]
fn a_record_of_old_with_rewraps_is_still_true() {
    let keys = ORGANISATIONS.map(|name| {
        let key = key(&format!("head {name}")).verifying_key();
        certs::note::NoteKey::new(name, key).unwrap()
    });
    let verified = verify_export(Path::new(REWRAPS), &keys).unwrap();
    assert_eq!(verified.report.kinds["rewrap"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector_of_rewraps() {
    let site = Site::with_document().await;
    let submit = async |author: &str, transaction: Transaction| {
        site.pass(700);
        site.submit(author, transaction).await.unwrap();
    };
    site.read("acme/eve").await;
    for (number, y) in [(2, "another Y"), (3, "Y")] {
        let configure = Transaction::DatasetConfigure(DatasetConfigure {
            tenant: id("acme"),
            dataset: id("data"),
            version: number,
            encryption: threshold(y),
            storage: Storage::OffChain,
        });
        submit("acme/ann", configure).await;
        submit("acme/ann", site.rewrap(y)).await;
        site.read("acme/eve").await;
    }
    site.record.export(Path::new(REWRAPS)).await.unwrap();
}

fn content_of(site: &Site, author: &str, transaction: Transaction) -> UnsignedTransaction {
    let now_ms = site.now();
    let signed = signed(&site.record.ledger(), author, transaction, now_ms);
    signed.content().clone()
}

/// With the key that mallory has rotated to.
async fn by_mallory(site: &Site, transaction: Transaction) -> [u8; 32] {
    let content = content_of(site, "rival/mallory", transaction);
    assert!(matches!(content.author, Author::User(_)));
    let signed = content.sign(&key("mallory's new key"));
    site.record.submit(signed).await.unwrap().transaction_id
}

fn on_ledger(version: u64, key: KeyWrapping, wrapped_dek1: Vec<u8>) -> Transaction {
    let bytes = vec![version as u8; 40];
    Transaction::Write(Write {
        checksum: Sha256::digest(&bytes).into(),
        length: 40,
        content_type: None,
        body: Body::OnLedger(bytes),
        key,
        wrapped_dek1,
        ..plain_write("acme/plain/note", version)
    })
}

fn erase(document: &str, number: Option<u64>) -> Transaction {
    let name = version(document, 1);
    Transaction::Erase(Erase {
        tenant: name.tenant,
        dataset: name.dataset,
        document: name.document,
        version: number,
    })
}

fn link(number: u64, relation: &str) -> Transaction {
    Transaction::Link(Link {
        tenant: id("acme"),
        dataset: id("data"),
        link: id("origin"),
        version: number,
        from: version("acme/plain/note", 2),
        to: version("acme/data/doc", 1),
        relation: id(relation),
    })
}

fn endorse(change: &OrganisationChange) -> Transaction {
    let change = change.clone();
    Transaction::OrganisationEndorse(OrganisationEndorse { change })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes the vector anew, after a deliberate change of the format"]
async fn make_the_vector() {
    let site = Site::with_document().await;
    let submit = async |author: &str, transaction: Transaction| {
        site.pass(700);
        site.submit(author, transaction)
            .await
            .unwrap()
            .transaction_id
    };
    site.read("acme/eve").await;

    // Organisations: one comes and goes, with what it had endorsed.
    let admit = OrganisationChange::Admit(organisation("echo", &Authority::new("echo")));
    let remove = |name| OrganisationChange::Remove(id(name));
    submit("alpha", endorse(&remove("delta"))).await;
    let change = remove("delta").id();
    let withdraw = Transaction::OrganisationWithdraw(OrganisationWithdraw { change });
    submit("alpha", withdraw).await;
    submit("beta", endorse(&remove("delta"))).await;
    for name in ["alpha", "beta", "gamma"] {
        submit(name, endorse(&admit)).await;
    }
    submit("echo", endorse(&remove("delta"))).await;
    submit("echo", endorse(&remove("gamma"))).await;
    for name in ORGANISATIONS {
        submit(name, endorse(&remove("echo"))).await;
    }

    let mut delta = site.founders.genesis.organisations[2].clone();
    assert_eq!(delta.name, id("delta"));
    delta.operator_key = public("operator delta, second");
    let rekey = OrganisationChange::Rekey(delta);
    submit("delta", endorse(&remove("beta"))).await;
    for name in ["alpha", "beta", "gamma"] {
        submit(name, endorse(&rekey)).await;
    }

    // Users.
    let eve = user("acme/eve");
    submit("acme/root", Transaction::UserSuspend(eve.clone())).await;
    submit("alpha", Transaction::UserResume(eve)).await;
    for expires_ms in [Some(1), None, Some(site.now() + 86_400_000)] {
        let (tenant, user) = (id("acme"), id("bob"));
        let expire = UserExpire {
            tenant,
            user,
            expires_ms,
        };
        submit("acme/root", Transaction::UserExpire(expire)).await;
    }
    let mallory = user("rival/mallory");
    let new_key = key("mallory's new key");
    let rotation = rotate_key(&site.record.ledger(), &mallory, &new_key);
    submit("rival/mallory", rotation).await;

    // By now the first transactions have expired, and many more after this.
    site.pass(MAX_TRANSACTION_LIFETIME_MS / 2);

    // A dataset in all its configurations.
    let plain = dataset_create("acme/plain", Encryption::None, Storage::Ledger);
    submit("acme/ann", plain).await;
    submit("acme/ann", on_ledger(1, KeyWrapping::None, vec![])).await;
    let name = dataset("acme/plain");
    let configure = Transaction::DatasetConfigure(DatasetConfigure {
        tenant: name.tenant.clone(),
        dataset: name.dataset.clone(),
        version: 2,
        encryption: Encryption::Platform,
        storage: Storage::Ledger,
    });
    submit("acme/ann", configure).await;
    let wrapped_key = vec![9; 60];
    let platform = KeyWrapping::Platform { wrapped_key };
    submit("acme/ann", on_ledger(2, platform, vec![8; 50])).await;
    let read = Transaction::Read(plain_read(&version("acme/plain/note", 2)));
    submit("acme/ann", read).await;

    // Permissions.
    let set = Transaction::PermissionSet(PermissionSet {
        tenant: name.tenant.clone(),
        dataset: name.dataset.clone(),
        version: 2,
        role: Role::Reader,
        users: vec![user("acme/bob"), user("acme/eve"), mallory.clone()],
    });
    submit("acme/ann", set).await;
    submit("acme/ann", revoke("acme/plain", Role::Reader, "acme/eve")).await;
    for (role, grant) in [
        (Role::Writer, true),
        (Role::Owner, false),
        (Role::Owner, true),
    ] {
        let (tenant, dataset) = (name.tenant.clone(), name.dataset.clone());
        let asked = AccessRequest {
            tenant,
            dataset,
            role,
        };
        let request = by_mallory(&site, Transaction::AccessRequest(asked)).await;
        let decision = AccessDecision {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            role,
            user: mallory.clone(),
            request,
        };
        let decide = if grant {
            Transaction::AccessGrant(decision)
        } else {
            Transaction::AccessDecline(decision)
        };
        submit("acme/ann", decide).await;
    }

    // Documents, links, reads, erasures.
    submit("acme/ann", link(1, "derived-from")).await;
    submit("acme/ann", link(2, "copied-from")).await;
    let second = threshold_write("acme/data/doc", 2, "acme/ann", &cluster("Y"));
    submit("acme/ann", Transaction::Write(second)).await;
    site.read("acme/ann").await;
    submit("acme/ann", erase("acme/data/doc", Some(1))).await;
    submit("acme/ann", erase("acme/plain/note", None)).await;
    site.record.export(Path::new(VECTOR)).await.unwrap();
}
