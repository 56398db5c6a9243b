//! The record held against the nodes' logs.

use crate::{ledger::*, solo::Site};
use coordinator::record::{
    TransactionId,
    audit::{DiscrepancyKind, VerifiedRecord, reconcile, verify_export},
};
use cryptonode::audit::{AuditApproval, AuditRecord};
use sha2::{Digest as _, Sha256};

/// A record with two reads, and what an honest node would have logged of the first.
async fn prepared() -> (VerifiedRecord, AuditRecord, TransactionId) {
    let site = Site::with_document().await;
    let (read, write_id, ephemeral_point) = site.read("acme/eve").await;
    let (unanswered, ..) = site.read("acme/eve").await;
    let path = site.folder.path().join("export.jsonl");
    site.record.export(&path).await.unwrap();
    let verified = verify_export(&path, &site.founders.head_keys()).unwrap();
    let approvals = ["alpha", "beta", "gamma"].map(|name| AuditApproval {
        approval_id: hex::encode(read),
        organisation: name.to_owned(),
        issuer_fingerprint: Sha256::digest(site.founders.peer(name).issuer.certificate_der())
            .into(),
    });
    let share = AuditRecord {
        time_ms: site.now() + 50,
        client: Sha256::digest(spki("client")).into(),
        public_key: *cluster("Y").as_bytes(),
        epoch: 0,
        write_id,
        ephemeral_point,
        approvals: approvals.to_vec(),
    };
    (verified, share, unanswered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_logs_fit_and_reads_without_shares_are_listed() {
    let (record, share, unanswered) = prepared().await;
    let logs = [
        ("node1".to_owned(), vec![share.clone()]),
        ("node2".to_owned(), vec![share]),
    ];
    let outcome = reconcile(&record, &logs, 3, 30_000);
    assert!(outcome.discrepancies.is_empty(), "{outcome:?}");
    assert_eq!((outcome.shares, outcome.reads), (2, 2));
    assert_eq!(outcome.reads_without_shares, [hex::encode(unanswered)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_share_that_does_not_fit_is_reported_with_the_evidence() {
    let (record, good, unanswered) = prepared().await;
    type Change = Box<dyn Fn(&mut AuditRecord)>;
    let cases: Vec<(&str, Change)> = vec![
        ("no-approval", Box::new(|share| share.approvals.clear())),
        (
            "too-few-approvals",
            Box::new(|share| share.approvals.truncate(2)),
        ),
        (
            "too-few-approvals",
            Box::new(|share| share.approvals[2] = share.approvals[1].clone()),
        ),
        (
            "unknown-read",
            Box::new(|share| share.approvals[0].approval_id = "no such id".into()),
        ),
        (
            "unknown-read",
            Box::new(|share| share.approvals[0].approval_id = hex::encode([7; 32])),
        ),
        (
            "unknown-read",
            Box::new(|share| share.approvals[0].approval_id.make_ascii_uppercase()),
        ),
        (
            "other-read",
            Box::new(move |share| share.approvals[0].approval_id = hex::encode(unanswered)),
        ),
        ("other-read", Box::new(|share| share.write_id[0] ^= 1)),
        (
            "other-read",
            Box::new(|share| share.ephemeral_point[0] ^= 1),
        ),
        ("other-read", Box::new(|share| share.client[0] ^= 1)),
        ("other-read", Box::new(|share| share.public_key[0] ^= 1)),
        ("before-read", Box::new(|share| share.time_ms -= 60_000)),
        (
            "long-after-read",
            Box::new(|share| share.time_ms += 2 * 3_600_000 + 60_000),
        ),
        (
            "unknown-issuer",
            Box::new(|share| share.approvals[1].issuer_fingerprint[0] ^= 1),
        ),
        (
            "unknown-issuer",
            Box::new(|share| share.approvals[1].organisation = "nobody".into()),
        ),
    ];
    for (code, change) in cases {
        let mut share = good.clone();
        change(&mut share);
        let logs = [("node1".to_owned(), vec![good.clone(), share.clone()])];
        let outcome = reconcile(&record, &logs, 3, 30_000);
        let found = outcome
            .discrepancies
            .first()
            .unwrap_or_else(|| panic!("{code} was not found"));
        assert_eq!(
            (found.kind.code(), found.node.as_str(), found.index),
            (code, "node1", 1)
        );
        assert_eq!(found.evidence, share);
        assert!(!found.kind.to_string().is_empty());
        assert!(matches!(found.kind, DiscrepancyKind::OtherRead { .. }) == (code == "other-read"));
    }
}
