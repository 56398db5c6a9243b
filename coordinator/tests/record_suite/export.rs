//! Exports and queries: what an auditor has in hand.

use crate::{
    ledger::*,
    solo::{Site, document},
};
use coordinator::record::{
    Role,
    audit::{AuditError, Query, Subject, verify_export},
    head::SignedHead,
};
use std::path::PathBuf;

async fn exported() -> (Site, PathBuf) {
    let site = Site::with_document().await;
    site.read("acme/eve").await;
    site.pass(5000);
    site.submit("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"))
        .await
        .unwrap();
    let path = site.folder.path().join("export.jsonl");
    site.record.export(&path).await.unwrap();
    (site, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_verified_with_the_public_keys_alone() {
    let (site, path) = exported().await;
    let keys = site.founders.head_keys();
    let verified = verify_export(&path, &keys).unwrap();
    let report = &verified.report;
    assert_eq!(report.ledger, site.record.ledger());
    assert_eq!(report.signed_by, ["alpha", "beta", "delta", "gamma"]);
    assert_eq!(
        (
            report.kinds["read"],
            report.kinds["write"],
            report.kinds["tenant-register"]
        ),
        (1, 1, 2)
    );
    let head = SignedHead::parse(&site.record.checkpoint().await.unwrap()).unwrap();
    assert_eq!(report.transactions, head.claimed().checkpoint.size);
    assert_eq!(
        verified.root_at(report.transactions),
        Some(head.claimed().checkpoint.root)
    );
    assert_eq!(verified.root_at(report.transactions + 1), None);
    assert!(
        !verified
            .state
            .allows(&user("acme/eve"), &dataset("acme/data"), Role::Reader)
    );

    // Three of four keys are a quorum; two are not, nor are four of which two are somebody else's.
    assert!(verify_export(&path, &keys[..3]).is_ok());
    assert_eq!(
        verify_export(&path, &keys[..2]).unwrap_err().code(),
        "export-signatures"
    );
    let mut foreign = keys.clone();
    for at in [0, 1] {
        foreign[at] =
            certs::note::NoteKey::new("stranger", key(&format!("stranger {at}")).verifying_key())
                .unwrap();
    }
    assert_eq!(
        verify_export(&path, &foreign).unwrap_err().code(),
        "export-signatures"
    );
    assert_eq!(
        verify_export(&path, &[]).unwrap_err().code(),
        "export-signatures"
    );
    assert_eq!(
        verify_export(&path.with_extension("none"), &keys)
            .unwrap_err()
            .code(),
        "export-file"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_an_export_can_be_altered() {
    let (site, path) = exported().await;
    let keys = site.founders.head_keys();
    let bytes = std::fs::read(&path).unwrap();
    let altered = site.folder.path().join("altered.jsonl");
    let mut lines = vec![0];
    lines.extend(
        bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1),
    );
    // The beginning and the end of every line, and every so often in between.
    let ends = lines
        .iter()
        .flat_map(|at| (at.saturating_sub(4)..at + 14).filter(|at| *at < bytes.len()));
    let positions: std::collections::BTreeSet<usize> =
        ends.chain((0..bytes.len()).step_by(211)).collect();
    for position in positions {
        for flip in [0x01, 0x20] {
            let mut changed = bytes.clone();
            changed[position] ^= flip;
            std::fs::write(&altered, &changed).unwrap();
            assert!(
                verify_export(&altered, &keys).is_err(),
                "byte {position} ^ {flip}"
            );
        }
    }
    let refused = |changed: Vec<u8>| {
        std::fs::write(&altered, changed).unwrap();
        verify_export(&altered, &keys).unwrap_err()
    };
    let text = String::from_utf8(bytes.clone()).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| (lines.join("\n") + "\n").into_bytes();
    let without_last_block = [&all[..all.len() - 2], &all[all.len() - 1..]].concat();
    assert_eq!(refused(joined(&without_last_block)), AuditError::Head);
    assert_eq!(refused(joined(&all[..all.len() - 1])).code(), "export-line");
    assert_eq!(
        refused(joined(&[&all[..2], &all[3..]].concat())).code(),
        "export-block"
    );
    assert_eq!(
        refused(joined(&[&all[..3], &all[2..]].concat())).code(),
        "export-block"
    );
    assert_eq!(
        refused(joined(&[&all[..], &all[..1]].concat())).code(),
        "export-line"
    );
    assert_eq!(
        refused(bytes[..bytes.len() - 1].to_vec()).code(),
        "export-line"
    );
    assert_eq!(refused(vec![]).code(), "export-line");
    let spaced = text.replacen("{\"header\"", "{ \"header\"", 1);
    assert_eq!(refused(spaced.into_bytes()).code(), "export-line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_answer_by_subject_kind_and_time_with_proofs() {
    let (site, _) = exported().await;
    let head = SignedHead::parse(&site.record.checkpoint().await.unwrap()).unwrap();
    let head = head.claimed().checkpoint.clone();
    let kinds = |query: Query| {
        let rows = site.record.query(&query).unwrap();
        for row in &rows {
            assert_eq!(row.proof.size, head.size);
            row.proof.verify(&row.transaction, &head.root).unwrap();
        }
        rows.iter()
            .map(|row| row.transaction.transaction().kind())
            .collect::<Vec<_>>()
    };
    let about = |subject| Query {
        subject: Some(subject),
        ..Query::default()
    };
    assert_eq!(kinds(Query::default()).len() as u64, head.size);
    assert_eq!(
        kinds(about(Subject::Document(document().document_name()))),
        ["write", "read"]
    );
    let data = Subject::Dataset(dataset("acme/data"));
    assert_eq!(kinds(about(data.clone())).len(), 6);
    let permissions = vec!["permission-add".to_owned(), "permission-remove".to_owned()];
    let of_permissions = Query {
        kinds: permissions,
        ..about(data.clone())
    };
    assert_eq!(
        kinds(of_permissions.clone()),
        ["permission-add", "permission-add", "permission-remove"]
    );
    assert_eq!(
        kinds(Query {
            limit: 2,
            ..of_permissions
        })
        .len(),
        2
    );
    assert_eq!(
        kinds(about(Subject::User(user("acme/eve")))),
        [
            "user-register",
            "permission-add",
            "read",
            "permission-remove"
        ]
    );
    assert_eq!(
        kinds(about(Subject::Tenant(id("rival")))),
        ["tenant-register", "user-register"]
    );
    assert_eq!(
        kinds(about(Subject::Organisation(id("beta")))),
        ["tenant-register"]
    );
    assert_eq!(kinds(about(Subject::User(user("acme/nobody")))).len(), 0);
    let late = Query {
        from_ms: Some(site.now()),
        ..about(data.clone())
    };
    assert_eq!(kinds(late), ["permission-remove"]);
    let early = Query {
        until_ms: Some(site.now() - 1),
        ..about(data.clone())
    };
    assert_eq!(kinds(early).len(), 5);

    // Page by page.
    let mut from_position = 0;
    let mut seen = 0;
    loop {
        let rows = site
            .record
            .query(&Query {
                from_position,
                limit: 2,
                ..about(data.clone())
            })
            .unwrap();
        let Some(last) = rows.last() else { break };
        from_position = last.proof.position + 1;
        seen += rows.len();
    }
    assert_eq!(seen, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_record_is_exported_too() {
    let site = Site::four().await;
    let path = site.folder.path().join("export.jsonl");
    site.record.export(&path).await.unwrap();
    let verified = verify_export(&path, &site.founders.head_keys()).unwrap();
    assert_eq!(
        (verified.report.blocks, verified.report.transactions),
        (0, 0)
    );
}
