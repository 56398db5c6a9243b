//! Organisations that come, change their keys, and go, with their peers.

use crate::{
    ledger::*,
    solo::{Site, codes, document, options},
};
use coordinator::record::{
    OrganisationChange, OrganisationEndorse, PeerKeys, RecordHandle, Solo, Transaction,
    audit::verify_export,
};

fn endorse(change: &OrganisationChange) -> Transaction {
    Transaction::OrganisationEndorse(OrganisationEndorse {
        change: change.clone(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organisations_come_change_keys_and_go() {
    let site = Site::with_document().await;
    let genesis = || site.founders.genesis.clone();
    let now_ms = site.now();
    let decide = |record: RecordHandle, change: OrganisationChange, by: &'static [&'static str]| async move {
        for organisation in by {
            let signed = signed(&record.ledger(), organisation, endorse(&change), now_ms);
            record.submit(signed).await.unwrap();
        }
    };
    let unavailable = |record: &RecordHandle| {
        let faulty = record
            .peers()
            .into_iter()
            .filter(|peer| peer.fault.is_some());
        faulty
            .map(|peer| peer.organisation.to_string())
            .collect::<Vec<_>>()
    };

    // A newcomer has no peer yet; it starts with the next opening, without a store, and has everything then.
    let authority = Authority::new("epsilon");
    let admit = OrganisationChange::Admit(organisation("epsilon", &authority));
    decide(site.record.clone(), admit, &["alpha", "beta", "gamma"]).await;
    site.record.close().await;
    let newcomer = || PeerKeys {
        organisation: id("epsilon"),
        head_key: key("head epsilon"),
        issuer: authority.issuer(),
    };
    let with_newcomer = || {
        let mut peers = site.founders.peers();
        peers.push(newcomer());
        peers
    };
    let open = |peers| Solo::open(site.folder.path(), genesis(), peers, options(&site.now_ms));
    let record = open(with_newcomer()).await.unwrap();
    let heights: Vec<_> = record
        .peers()
        .into_iter()
        .map(|peer| (peer.height, peer.fault))
        .collect();
    assert!(
        heights.len() == 5 && heights.iter().all(|it| *it == heights[0]),
        "{heights:?}"
    );

    // New keys: the peer with the old ones has no say any more, also not after a restart.
    let mut new_alpha = site.founders.genesis.organisations[0].clone();
    new_alpha.head_key = public("alpha's second head");
    let rekey = OrganisationChange::Rekey(new_alpha);
    decide(record.clone(), rekey, &["alpha", "beta", "gamma", "delta"]).await;
    assert_eq!(unavailable(&record), ["alpha"]);
    record.close().await;
    assert_eq!(
        open(with_newcomer()).await.unwrap_err().code(),
        "record-keys"
    );
    let rekeyed = || {
        let mut peers = with_newcomer();
        peers[0].head_key = key("alpha's second head");
        peers
    };
    let record = open(rekeyed()).await.unwrap();
    assert!(unavailable(&record).is_empty());

    // Who leaves approves nothing, counts for nothing, and is not started again.
    let remove = OrganisationChange::Remove(id("delta"));
    decide(
        record.clone(),
        remove,
        &["alpha", "beta", "gamma", "epsilon"],
    )
    .await;
    assert_eq!(unavailable(&record), ["delta"]);
    let read = record.with_state(|state| threshold_read(state, &document(), &spki("client")).0);
    let read = signed(
        &record.ledger(),
        "acme/eve",
        Transaction::Read(read),
        site.now(),
    );
    record.submit(read.clone()).await.unwrap();
    assert_eq!(
        codes(&record.approvals(read.id()).await),
        ["ok", "ok", "peer-unavailable", "ok", "ok"]
    );
    let path = site.folder.path().join("export.jsonl");
    record.export(&path).await.unwrap();
    record.close().await;
    let record = open(rekeyed()).await.unwrap();
    assert_eq!(unavailable(&record), ["delta"]);
    record.close().await;

    // The auditor pins those that are on the record now: alpha's new key, and epsilon's.
    let keys = [
        ("alpha", "alpha's second head"),
        ("beta", "head beta"),
        ("gamma", "head gamma"),
        ("epsilon", "head epsilon"),
    ]
    .map(|(name, seed)| certs::note::NoteKey::new(name, key(seed).verifying_key()).unwrap());
    let verified = verify_export(&path, &keys).unwrap();
    assert_eq!(verified.report.signed_by.len(), 4);
    assert_eq!(
        verified.issuers.len(),
        5,
        "delta's certificates were on the record"
    );
    // Who pinned the founders is led to them.
    let followed = verify_export(&path, &site.founders.head_keys()).unwrap();
    assert_eq!(followed.report.signed_by, verified.report.signed_by);
}
