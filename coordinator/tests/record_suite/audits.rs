//! Audits: rows about something in some time, and their proofs, which need nobody.

use crate::{
    ledger::*,
    solo::{Site, document},
};
use coordinator::record::{
    Link, OrganisationChange, OrganisationEndorse, OrganisationWithdraw, Role, Transaction,
    audit::{AuditView, Query, Subject, verify_proof, whole_answer},
    wire::HexBytes,
};

/// With a read, a link, and a reader who was removed; five seconds between each.
async fn site() -> Site {
    let site = Site::with_document().await;
    site.pass(5000);
    site.read("acme/eve").await;
    site.pass(5000);
    let write = threshold_write("acme/data/other", 1, "acme/bob", &cluster("Y"));
    site.submit("acme/bob", Transaction::Write(write))
        .await
        .unwrap();
    let link = Transaction::Link(Link {
        tenant: id("acme"),
        dataset: id("data"),
        link: id("origin"),
        version: 1,
        from: version("acme/data/other", 1),
        to: document(),
        relation: id("derived-from"),
    });
    site.submit("acme/bob", link).await.unwrap();
    site.pass(5000);
    site.submit("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"))
        .await
        .unwrap();
    site
}

fn about(subject: &str) -> Query {
    Query {
        subject: Some(subject.parse().unwrap()),
        ..Query::default()
    }
}

async fn view(site: &Site, query: Query) -> AuditView {
    site.record.audit(query, None).await.unwrap().into()
}

fn kinds(view: &AuditView) -> Vec<&str> {
    view.rows.iter().map(|row| row.kind.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subject_has_its_rows_each_proven_under_a_head_of_a_quorum() {
    let site = site().await;
    let keys = site.founders.head_keys();
    let create = "dataset-create";
    for (subject, expected) in [
        ("document:acme/data/doc", vec!["write", "read", "link"]),
        ("document:acme/data/other", vec!["write", "link"]),
        (
            "dataset:acme/data",
            vec![
                create,
                "permission-add",
                "permission-add",
                "write",
                "read",
                "write",
                "link",
                "permission-remove",
            ],
        ),
        ("link:acme/data/origin", vec!["link"]),
        (
            "permission:acme/data",
            vec![
                create,
                "permission-add",
                "permission-add",
                "permission-remove",
            ],
        ),
        (
            "user:acme/eve",
            vec![
                "user-register",
                "permission-add",
                "read",
                "permission-remove",
            ],
        ),
        ("tenant:rival", vec!["tenant-register", "user-register"]),
        ("organisation:beta", vec!["tenant-register"]),
        ("user:acme/nobody", vec![]),
    ] {
        let view = view(&site, about(subject)).await;
        assert_eq!(kinds(&view), expected, "{subject}");
        let asked: Subject = subject.parse().unwrap();
        let head = view.verify(&keys, Some(&asked)).unwrap();
        assert_eq!(head.signed_by().len(), 4);
        let note = view.signed_head.as_deref().unwrap();
        for row in &view.rows {
            // Alone, with keys and nothing else; three of four are enough, two are not.
            let file = row.proof_file(note);
            let (_, proven) = verify_proof(&file, &keys).unwrap();
            assert_eq!(hex::encode(proven.transaction().id()), row.transaction_id);
            let (after, before) = proven.accepted_between_ms();
            assert!(after < row.time_ms && row.time_ms < before);
            assert!(verify_proof(&file, &keys[..3]).is_ok());
        }
    }
    let all = view(&site, Query::default()).await;
    assert_eq!(all.rows.len() as u64, all.size);
}

/// A withdrawal names its change by a hash: whose matter that is, the change itself says, which comes with the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_back_about_an_organisation_is_among_its_rows() {
    let mut site = Site::with_document().await;
    let keys = site.founders.head_keys();
    let remove = |name| OrganisationChange::Remove(id(name));
    let endorse = |name| {
        let change = remove(name);
        Transaction::OrganisationEndorse(OrganisationEndorse { change })
    };
    let withdraw = |name| {
        let change = remove(name).id();
        Transaction::OrganisationWithdraw(OrganisationWithdraw { change })
    };
    for name in ["gamma", "delta"] {
        site.submit("alpha", endorse(name)).await.unwrap();
    }
    // The one in the same block as the other, or later.
    for name in ["delta", "gamma"] {
        site.submit("alpha", withdraw(name)).await.unwrap();
    }
    let (endorsed, withdrawn) = ("organisation-endorse", "organisation-withdraw");
    let gamma: Subject = "organisation:gamma".parse().unwrap();
    let of = async |site: &Site, about: &str, expected: &[&str]| {
        let view = view(site, self::about(about)).await;
        assert_eq!(kinds(&view), expected, "{about}");
        view.verify(&keys, Some(&about.parse().unwrap())).unwrap();
        view
    };
    let both = [endorsed, withdrawn];
    let found = of(&site, "organisation:gamma", &both).await;
    of(&site, "organisation:delta", &both).await;
    let all = [&["tenant-register"][..], &[endorsed; 2], &[withdrawn; 2]].concat();
    of(&site, "organisation:alpha", &all).await;
    let kinds = vec![withdrawn.to_owned()];
    let alone = view(
        &site,
        Query {
            kinds,
            ..about("organisation:gamma")
        },
    )
    .await;
    assert_eq!(alone.rows.len(), 1);
    alone.verify(&keys, Some(&gamma)).unwrap();

    // Whoever answers makes it of nobody else's.
    let refused = |change: &dyn Fn(&mut AuditView)| {
        let mut changed = found.clone();
        change(&mut changed);
        changed.verify(&keys, Some(&gamma)).unwrap_err().code()
    };
    let other = HexBytes(remove("beta").to_bytes());
    for lie in [None, Some(other.clone()), Some(HexBytes(vec![0xff]))] {
        let code = refused(&|it| it.rows[1].withdrawn = lie.clone());
        assert_eq!(code, "audit-row");
    }
    let code = refused(&|it| it.rows[0].withdrawn = Some(other.clone()));
    assert_eq!(code, "audit-row");

    // Also in an index that is made anew.
    site.reopen(|folder| {
        for name in ORGANISATIONS {
            let file = folder.join(format!("{name}.sqlite"));
            let store = rusqlite::Connection::open(file).unwrap();
            store.execute("DELETE FROM subjects", []).unwrap();
            let old = "UPDATE meta SET value = x'32' WHERE key = 'index'";
            assert_eq!(store.execute(old, []).unwrap(), 1);
        }
    })
    .await;
    let again = of(&site, "organisation:gamma", &both).await;
    assert_eq!(again.rows, found.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_of_time_takes_both_its_ends() {
    let site = site().await;
    let all = view(&site, about("dataset:acme/data")).await;
    let times: Vec<u64> = all.rows.iter().map(|row| row.time_ms).collect();
    for from in times.iter().copied().chain([0, u64::MAX]) {
        for until in times.iter().copied().chain([0, u64::MAX]) {
            let query = Query {
                from_ms: Some(from),
                until_ms: Some(until),
                ..about("dataset:acme/data")
            };
            let found = view(&site, query).await;
            let expected = times.iter().filter(|it| (from..=until).contains(*it));
            assert_eq!(found.rows.len(), expected.count(), "{from} to {until}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_an_answer_are_under_one_head_though_the_record_goes_on() {
    let site = site().await;
    let size = view(&site, Query::default()).await.size;
    let asked = coordinator::record::audit::AuditQuery {
        subject: Some("tenant:acme".to_owned()),
        ..Default::default()
    };
    let parts = std::cell::Cell::new(0);
    let part = async |query: coordinator::record::audit::AuditQuery| {
        parts.set(parts.get() + 1);
        let (mut query, size) = query.query().unwrap();
        query.limit = query.limit.min(3);
        let answer = site.record.audit(query, size).await?;
        site.submit("acme/ann", grant("acme/data", Role::Reader, "acme/eve"))
            .await?;
        site.submit("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"))
            .await?;
        Ok::<_, coordinator::record::RecordError>(AuditView::from(answer))
    };
    let whole = whole_answer(&asked, 1000, part).await.unwrap();
    assert!(parts.get() > 2);
    assert_eq!(whole.size, size);
    assert_eq!(whole.next, None);
    whole
        .verify(
            &site.founders.head_keys(),
            Some(&Subject::Tenant(id("acme"))),
        )
        .unwrap();
    // Positions rise, and none of the tenant's is missing.
    let mut positions: Vec<u64> = whole.rows.iter().map(|row| row.position).collect();
    let count = positions.len();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), count);
    let rival = view(&site, about("tenant:rival")).await;
    assert_eq!(count as u64 + rival.rows.len() as u64, size);

    let few = whole_answer(&asked, 4, part).await.unwrap();
    assert_eq!((few.rows.len(), few.next.is_some()), (4, true));
    let beyond = site.record.audit(Query::default(), Some(1 << 40)).await;
    assert_eq!(beyond.unwrap_err().code(), "beyond-size");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_proof_can_be_altered_and_no_row_exchanged() {
    let site = site().await;
    let keys = site.founders.head_keys();
    let view = view(&site, about("document:acme/data/doc")).await;
    let note = view.signed_head.clone().unwrap();
    let whole = view.rows[1].proof_file(&note);
    let signatures = note.split_once("\n\n").unwrap().1;
    let without = |number: usize| {
        let kept: String = signatures
            .lines()
            .skip(number)
            .map(|line| format!("{line}\n"))
            .collect();
        whole.replace(signatures, &kept)
    };
    // With as many signatures as are needed, so that each of them counts.
    let file = without(1);
    for position in 0..file.len() {
        for flip in [0x01, 0x20] {
            let mut altered = file.clone().into_bytes();
            altered[position] ^= flip;
            let Ok(text) = String::from_utf8(altered) else {
                continue;
            };
            assert!(verify_proof(&text, &keys).is_err(), "byte {position}");
        }
        if file.is_char_boundary(position) {
            assert!(verify_proof(&file[..position], &keys).is_err());
        }
    }
    let code = |text: &str, keys| verify_proof(text, keys).unwrap_err().code();
    assert_eq!(code(&file, &keys[..0]), "proof-no-keys");
    let stranger = certs::note::NoteKey::new("alpha", key("stranger").verifying_key()).unwrap();
    assert_eq!(code(&file, std::slice::from_ref(&stranger)), "proof-head");
    assert!(verify_proof(&without(1), &keys).is_ok());
    assert_eq!(code(&without(2), &keys), "proof-head");

    // What is said beside the transaction, and what was asked for.
    let refused = |change: &dyn Fn(&mut AuditView), subject: &str| {
        let mut changed = view.clone();
        change(&mut changed);
        let subject: Subject = subject.parse().unwrap();
        changed.verify(&keys, Some(&subject)).unwrap_err().code()
    };
    let document = "document:acme/data/doc";
    assert_eq!(
        refused(&|it| it.signed_head = None, document),
        "audit-no-head"
    );
    assert_eq!(
        refused(&|it| it.rows[0].kind = "read".into(), document),
        "audit-row"
    );
    assert_eq!(
        refused(&|it| it.rows[0].author = "x".into(), document),
        "audit-row"
    );
    assert_eq!(
        refused(&|it| it.rows[0].about.clear(), document),
        "audit-row"
    );
    assert_eq!(refused(&|_| {}, "user:acme/eve"), "audit-row");
    assert!(refused(&|it| it.rows[0].position += 1, document).starts_with("proof-"));
    assert!(refused(&|it| it.rows[0].path.truncate(1), document).starts_with("proof-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_an_earlier_release_is_made_anew() {
    let mut site = site().await;
    let before = view(&site, about("permission:acme/data")).await;
    site.reopen(|folder| {
        for name in ORGANISATIONS {
            let file = folder.join(format!("{name}.sqlite"));
            let store = rusqlite::Connection::open(file).unwrap();
            let gone = store
                .execute("DELETE FROM subjects WHERE subject LIKE 'permission:%'", [])
                .unwrap();
            assert_eq!(gone, 4);
            store
                .execute("DELETE FROM meta WHERE key = 'index'", [])
                .unwrap();
        }
    })
    .await;
    let after = view(&site, about("permission:acme/data")).await;
    assert_eq!(after.rows, before.rows);
}
