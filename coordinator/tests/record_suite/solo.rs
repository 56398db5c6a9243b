//! The record in use: four organisations' peers in one process.

use crate::ledger::*;
use certs::Binding;
use coordinator::record::{
    ApprovalOutcome, ApprovalTerms, DatasetConfigure, Receipt, RecordError, RecordHandle, Rewrap,
    Role, Solo, SoloOptions, Storage, Transaction, TransactionId, UserExpire, VersionName,
    head::SignedHead,
};
use reencrypt::EphemeralKey;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A record that runs, under a clock that the test sets.
pub struct Site {
    pub founders: Founders,
    pub folder: tempfile::TempDir,
    pub now_ms: Arc<AtomicU64>,
    pub record: RecordHandle,
}

impl Site {
    pub async fn four() -> Self {
        let founders = Founders::four();
        let folder = tempfile::tempdir().unwrap();
        let now_ms = Arc::new(AtomicU64::new(GENESIS_MS + 1000));
        let record = open(folder.path(), &founders, &now_ms).await;
        Self {
            founders,
            folder,
            now_ms,
            record,
        }
    }

    /// With users, the dataset `acme/data` under the cluster key `Y`, and `acme/data/doc` in one version.
    pub async fn with_document() -> Self {
        let site = Self::four().await;
        for (transaction, author) in founding() {
            site.submit(author, transaction).await.unwrap();
        }
        site.submit(
            "acme/ann",
            dataset_create("acme/data", threshold("Y"), Storage::OffChain),
        )
        .await
        .unwrap();
        site.submit("acme/ann", grant("acme/data", Role::Writer, "acme/bob"))
            .await
            .unwrap();
        site.submit("acme/ann", grant("acme/data", Role::Reader, "acme/eve"))
            .await
            .unwrap();
        let write = threshold_write("acme/data/doc", 1, "acme/bob", &cluster("Y"));
        site.submit("acme/bob", Transaction::Write(write))
            .await
            .unwrap();
        site
    }

    /// A rewrap of the document's first version under this cluster key.
    pub fn rewrap(&self, y: &str) -> Transaction {
        let name = document();
        let replaces = self.record.with_state(|state| {
            let content = state.version(&name).unwrap().content.as_ref().unwrap();
            content.key.digest().unwrap()
        });
        Transaction::Rewrap(Rewrap {
            replaces,
            wrapped_key: wrapped(&cluster(y), &name, "acme/bob").as_bytes().to_vec(),
            tenant: name.tenant,
            dataset: name.dataset,
            document: name.document,
            version: name.version,
        })
    }

    pub fn now(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    pub fn pass(&self, milliseconds: u64) {
        self.now_ms.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub async fn submit(
        &self,
        author: &str,
        transaction: Transaction,
    ) -> Result<Receipt, RecordError> {
        self.record
            .submit(signed(
                &self.record.ledger(),
                author,
                transaction,
                self.now(),
            ))
            .await
    }

    /// Reads `acme/data/doc` and returns the read's id with what approvals are bound to.
    pub async fn read(&self, author: &str) -> (TransactionId, [u8; 32], [u8; 32]) {
        let read = self
            .record
            .with_state(|state| threshold_read(state, &document(), &spki("client")).0);
        let asked = read.reencryption.clone().unwrap();
        let receipt = self.submit(author, Transaction::Read(read)).await.unwrap();
        let point = EphemeralKey::parse(&asked.ephemeral_key).unwrap().point();
        (receipt.transaction_id, asked.write_id, *point.as_bytes())
    }

    pub async fn codes(&self, read: TransactionId) -> Vec<String> {
        codes(&self.record.approvals(read).await)
    }

    /// Closes the record, does something to its folder, and opens it again.
    pub async fn reopen(&mut self, between: impl FnOnce(&Path)) {
        self.record.close().await;
        between(self.folder.path());
        self.record = open(self.folder.path(), &self.founders, &self.now_ms).await;
    }
}

pub fn document() -> VersionName {
    version("acme/data/doc", 1)
}

pub fn options(now_ms: &Arc<AtomicU64>) -> SoloOptions {
    let now_ms = now_ms.clone();
    SoloOptions {
        clock: Arc::new(move || now_ms.load(Ordering::SeqCst)),
        ..SoloOptions::default()
    }
}

async fn open(folder: &Path, founders: &Founders, now_ms: &Arc<AtomicU64>) -> RecordHandle {
    Solo::open(
        folder,
        founders.genesis.clone(),
        founders.peers(),
        options(now_ms),
    )
    .await
    .unwrap()
}

pub fn codes(outcomes: &[ApprovalOutcome]) -> Vec<String> {
    outcomes
        .iter()
        .map(|outcome| {
            outcome
                .result
                .as_ref()
                .map_or_else(|refusal| refusal.code(), |_| "ok")
                .to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_organisation_approves_what_the_record_permits() {
    let site = Site::with_document().await;
    let (read, write_id, ephemeral_point) = site.read("acme/eve").await;
    let outcomes = site.record.approvals(read).await;
    assert_eq!(codes(&outcomes), ["ok"; 4]);
    let approvals: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.result.clone().unwrap())
        .collect();
    let presented: Vec<&[u8]> = approvals.iter().map(Vec::as_slice).collect();

    let client_spki = spki("client");
    let binding = Binding {
        write_id,
        ephemeral_point,
        client_spki: &client_spki,
    };
    let now = site.now() / 1000;
    let policy = site.founders.policy(4);
    let approved = policy.verify(&presented, &binding, now + 5).unwrap();
    assert_eq!(approved.counted.len(), 4);
    assert!(
        approved
            .counted
            .iter()
            .all(|counted| counted.approval_id == hex::encode(read))
    );
    assert!(
        policy.verify(&presented, &binding, now + 120 + 31).is_err(),
        "120 seconds and the tolerance"
    );

    // Asked again: the very same.
    let again: Vec<_> = site
        .record
        .approvals(read)
        .await
        .into_iter()
        .map(|it| it.result.unwrap())
        .collect();
    assert_eq!(again, approvals);
    assert_eq!(site.codes([9; 32]).await, ["unknown-read"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_a_key_that_was_wrapped_anew_gets_no_approval() {
    let site = Site::with_document().await;
    let (approved, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(approved).await, ["ok"; 4]);
    let (before, ..) = site.read("acme/eve").await;
    let configure = Transaction::DatasetConfigure(DatasetConfigure {
        tenant: id("acme"),
        dataset: id("data"),
        version: 2,
        encryption: threshold("another Y"),
        storage: Storage::OffChain,
    });
    site.submit("acme/ann", configure).await.unwrap();
    site.submit("acme/ann", site.rewrap("another Y"))
        .await
        .unwrap();
    // Neither one that was final before, nor again one that was approved.
    for read in [before, approved] {
        assert_eq!(site.codes(read).await, ["write-id"; 4]);
    }
    let (after, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(after).await, ["ok"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_reader_gets_no_approval_from_anybody() {
    let site = Site::with_document().await;
    let (approved, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(approved).await, ["ok"; 4]);
    let (not_yet, ..) = site.read("acme/eve").await;
    site.submit("acme/ann", revoke("acme/data", Role::Reader, "acme/eve"))
        .await
        .unwrap();

    // Neither for a new read, nor for one that was final before and not approved, nor again for one that was.
    let read = site
        .record
        .with_state(|state| threshold_read(state, &document(), &spki("client")).0);
    let refused = site
        .submit("acme/eve", Transaction::Read(read))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "not-permitted");
    assert_eq!(site.codes(not_yet).await, ["not-permitted"; 4]);
    assert_eq!(site.codes(approved).await, ["not-permitted"; 4]);

    site.submit("acme/ann", grant("acme/data", Role::Reader, "acme/eve"))
        .await
        .unwrap();
    assert_eq!(site.codes(not_yet).await, ["ok"; 4]);
    site.submit("acme/root", Transaction::UserSuspend(user("acme/eve")))
        .await
        .unwrap();
    assert_eq!(site.codes(approved).await, ["user-suspended"; 4]);
    site.submit("acme/root", Transaction::UserResume(user("acme/eve")))
        .await
        .unwrap();
    let name = document();
    let (tenant, dataset, document) = (name.tenant, name.dataset, name.document);
    let erase = coordinator::record::Erase {
        tenant,
        dataset,
        document,
        version: None,
    };
    site.submit("acme/ann", Transaction::Erase(erase))
        .await
        .unwrap();
    assert_eq!(site.codes(approved).await, ["erased"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_are_for_recent_reads_and_end() {
    let site = Site::with_document().await;
    let (read, ..) = site.read("acme/eve").await;
    let (late, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(read).await, ["ok"; 4]);
    site.pass(122_000);
    assert_eq!(
        site.codes(read).await,
        ["approval-expired"; 4],
        "and no second one"
    );
    assert_eq!(site.codes(late).await, ["ok"; 4]);
    site.pass(ApprovalTerms::default().window_ms);
    assert_eq!(site.codes(late).await, ["read-too-old"; 4]);

    // Each peer's own clock says when a user has expired, without a block that says so.
    let (read, ..) = site.read("acme/eve").await;
    let expires_ms = Some(site.now() + 5000);
    let expire = UserExpire {
        tenant: id("acme"),
        user: id("eve"),
        expires_ms,
    };
    site.submit("acme/root", Transaction::UserExpire(expire))
        .await
        .unwrap();
    assert_eq!(site.codes(read).await, ["ok"; 4]);
    site.pass(5000);
    assert_eq!(site.codes(read).await, ["user-expired"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_blocks_and_each_gets_its_receipt() {
    let site = Site::with_document().await;
    let before = site.record.peers()[0].height;
    let reads = (0..200).map(|_| site.read("acme/eve"));
    let reads = futures_util::future::join_all(reads).await;
    let blocks = site.record.peers()[0].height - before;
    assert!(blocks < 100, "{blocks} blocks for 200 transactions");
    let approvals = reads.iter().map(|(read, ..)| site.codes(*read));
    for codes in futures_util::future::join_all(approvals).await {
        assert_eq!(codes, ["ok"; 4]);
    }
    let mut positions = Vec::new();
    for (read, ..) in &reads {
        let (position, signed) = site.record.transaction(read).unwrap().unwrap();
        assert_eq!(signed.id(), *read);
        positions.push(position);
    }
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_refused_also_within_one_block_and_after_a_restart() {
    let mut site = Site::with_document().await;
    let transaction = dataset_create("acme/twice", threshold("Y"), Storage::OffChain);
    let signed = signed(&site.record.ledger(), "acme/ann", transaction, site.now());
    let (a, b) = tokio::join!(
        site.record.submit(signed.clone()),
        site.record.submit(signed.clone())
    );
    let refused: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].code(), "replayed");
    site.reopen(|_| {}).await;
    assert_eq!(
        site.record.submit(signed).await.unwrap_err().code(),
        "replayed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_changes_nothing() {
    let mut site = Site::with_document().await;
    let (read, ..) = site.read("acme/eve").await;
    let first: Vec<_> = site
        .record
        .approvals(read)
        .await
        .into_iter()
        .map(|it| it.result.unwrap())
        .collect();
    let (waiting, ..) = site.read("acme/eve").await;
    let head = site.record.checkpoint().await.unwrap();
    site.reopen(|_| {}).await;
    assert_eq!(
        site.record.checkpoint().await.unwrap(),
        head,
        "the same head, signed by the same"
    );
    let again: Vec<_> = site
        .record
        .approvals(read)
        .await
        .into_iter()
        .map(|it| it.result.unwrap())
        .collect();
    assert_eq!(again, first, "no second certificate");
    assert_eq!(site.codes(waiting).await, ["ok"; 4]);
    assert_eq!(
        site.submit("rival/mallory", Transaction::Read(plain_read(&document())))
            .await
            .unwrap_err()
            .code(),
        "not-permitted"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_signed_by_all_and_prove_what_is_below() {
    let site = Site::four().await;
    let empty = SignedHead::parse(&site.record.checkpoint().await.unwrap()).unwrap();
    let keys = site.founders.head_keys();
    assert_eq!(empty.verify(&keys, 4).unwrap().checkpoint.size, 0);

    let receipt = site.submit("alpha", tenant_register("acme")).await.unwrap();
    let old = SignedHead::parse(&site.record.checkpoint().await.unwrap())
        .unwrap()
        .verify(&keys, 4)
        .unwrap();
    site.submit("beta", tenant_register("rival")).await.unwrap();
    let new = SignedHead::parse(&site.record.checkpoint().await.unwrap())
        .unwrap()
        .verify(&keys, 4)
        .unwrap();
    assert_eq!((old.checkpoint.size, new.checkpoint.size), (1, 2));
    assert_eq!(new.checkpoint.origin, site.founders.genesis.origin());
    assert_ne!(old.state_root, new.state_root);

    let (_, transaction) = site
        .record
        .transaction(&receipt.transaction_id)
        .unwrap()
        .unwrap();
    let proof = site
        .record
        .prove_inclusion(&receipt.transaction_id, None)
        .unwrap();
    proof.verify(&transaction, &new.checkpoint.root).unwrap();
    assert!(proof.verify(&transaction, &old.checkpoint.root).is_err());
    let proof = site
        .record
        .prove_inclusion(&receipt.transaction_id, Some(1))
        .unwrap();
    proof.verify(&transaction, &old.checkpoint.root).unwrap();
    let path = site.record.prove_consistency(1, 2).unwrap();
    certs::merkle::verify_consistency(1, 2, &path, &old.checkpoint.root, &new.checkpoint.root)
        .unwrap();
    assert!(site.record.prove_consistency(1, 3).is_err());
    assert!(site.record.prove_inclusion(&[0; 32], None).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_its_disk_while_running_is_named_and_the_others_go_on() {
    let mut site = Site::with_document().await;
    let disk = rusqlite::Connection::open(site.folder.path().join("beta.sqlite")).unwrap();
    disk.execute_batch("DROP TABLE subjects").unwrap();
    site.submit(
        "acme/ann",
        grant("acme/data", Role::Reader, "rival/mallory"),
    )
    .await
    .unwrap();
    // The next block is proposed when everybody has reported of the last.
    site.submit(
        "acme/ann",
        revoke("acme/data", Role::Reader, "rival/mallory"),
    )
    .await
    .unwrap();
    let faulty: Vec<_> = site
        .record
        .peers()
        .into_iter()
        .filter(|peer| peer.fault.is_some())
        .collect();
    assert_eq!(faulty.len(), 1);
    assert_eq!(faulty[0].organisation, id("beta"));
    let (read, ..) = site.read("acme/eve").await;
    assert_eq!(
        site.codes(read).await,
        ["ok", "peer-unavailable", "ok", "ok"]
    );
    let head = SignedHead::parse(&site.record.checkpoint().await.unwrap()).unwrap();
    assert_eq!(head.signers(&site.founders.head_keys()).unwrap().len(), 3);

    // A second one, and there is no quorum: nothing becomes final, and that is said.
    let disk = rusqlite::Connection::open(site.folder.path().join("gamma.sqlite")).unwrap();
    disk.execute_batch("DROP TABLE subjects").unwrap();
    let error = site
        .submit(
            "acme/ann",
            grant("acme/data", Role::Reader, "rival/mallory"),
        )
        .await
        .unwrap_err();
    assert_eq!(error.code(), "record-halted");
    let error = site
        .submit("acme/ann", grant("acme/data", Role::Reader, "acme/bob"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "record-halted");

    // Their stores lost, they get everything from the others, also what was durable on two and answered to nobody.
    site.reopen(|folder| {
        for name in ["beta", "gamma"] {
            for suffix in ["", "-wal", "-shm"] {
                drop(std::fs::remove_file(
                    folder.join(format!("{name}.sqlite{suffix}")),
                ));
            }
        }
    })
    .await;
    assert!(site.record.peers().iter().all(|peer| peer.fault.is_none()));
    assert!(site.record.with_state(|state| {
        state.allows(&user("rival/mallory"), &dataset("acme/data"), Role::Reader)
    }));
    // Gamma, which had approved shortly before, does not know what any more, and approves nothing of that time.
    let (read, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(read).await, ["ok", "ok", "ok", "peer-set-back"]);
    site.pass(120_001);
    let (read, ..) = site.read("acme/eve").await;
    assert_eq!(site.codes(read).await, ["ok"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_at_a_time_and_keys_of_the_record() {
    let site = Site::four().await;
    let open = |peers| {
        Solo::open(
            site.folder.path(),
            site.founders.genesis.clone(),
            peers,
            options(&site.now_ms),
        )
    };
    assert_eq!(
        open(site.founders.peers()).await.unwrap_err().code(),
        "record-in-use"
    );
    site.record.close().await;
    assert_eq!(
        site.submit("alpha", tenant_register("acme"))
            .await
            .unwrap_err()
            .code(),
        "record-closing"
    );

    let two = site.founders.peers().into_iter().take(2).collect();
    assert_eq!(open(two).await.unwrap_err().code(), "record-too-few-peers");
    let mut wrong = site.founders.peers();
    wrong[1].head_key = key("somebody else");
    assert_eq!(open(wrong).await.unwrap_err().code(), "record-keys");
    let mut twice = site.founders.peers();
    twice.push(site.founders.peer("alpha"));
    assert_eq!(open(twice).await.unwrap_err().code(), "record-peer-twice");
    let other = Founders::four();
    let opened = Solo::open(
        site.folder.path(),
        other.genesis.clone(),
        other.peers(),
        options(&site.now_ms),
    )
    .await;
    assert_eq!(opened.unwrap_err().code(), "record-store-other");
    let three = site.founders.peers().into_iter().take(3).collect();
    let record = open(three).await.unwrap();
    let signed = signed(
        &record.ledger(),
        "alpha",
        tenant_register("acme"),
        site.now(),
    );
    record.submit(signed).await.unwrap();
    record.close().await;
}

/// Not a test of correctness: how long one read and its approvals take, one after the other. `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn latency_of_a_read() {
    let site = Site::with_document().await;
    let mut submits = Vec::new();
    let mut approvals = Vec::new();
    for _ in 0..200 {
        let read = site
            .record
            .with_state(|state| threshold_read(state, &document(), &spki("client")).0);
        let signed = signed(
            &site.record.ledger(),
            "acme/eve",
            Transaction::Read(read),
            site.now(),
        );
        let id = signed.id();
        let start = std::time::Instant::now();
        site.record.submit(signed).await.unwrap();
        submits.push(start.elapsed());
        let start = std::time::Instant::now();
        assert_eq!(site.codes(id).await, ["ok"; 4]);
        approvals.push(start.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    // Read by people, with --nocapture.
    eprintln!(
        "submit {:?}, approvals {:?}",
        median(&mut submits),
        median(&mut approvals)
    );
}
