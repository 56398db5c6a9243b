//! Approvals as one peer decides on them, whatever drives it: time, keys, and blocks that are not those of the quorum.

use crate::ledger::*;
use coordinator::record::{
    ApprovalTerms, Body, Encryption, Role, Storage, Transaction, TransactionId, UserExpire, Write,
    peer::{Peer, Proposal},
    rotate_key,
};
use tempfile::TempDir;

const DAY_MS: u64 = 86_400_000;

/// Some peers of one record, each told by hand what to do.
pub struct Bench {
    pub founders: Founders,
    pub folder: TempDir,
    pub now_ms: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            founders: Founders::four(),
            folder: tempfile::tempdir().unwrap(),
            now_ms: GENESIS_MS + 1000,
        }
    }

    pub fn open(&self, name: &str, terms: ApprovalTerms) -> Result<Peer, String> {
        let path = self.folder.path().join(name);
        let keys = self.founders.peer(name);
        Peer::open(&path, &self.founders.genesis, keys, terms).map_err(|error| error.to_string())
    }

    pub fn peers<const N: usize>(&self, names: [&str; N]) -> [Peer; N] {
        names.map(|name| self.open(name, ApprovalTerms::default()).unwrap())
    }

    /// A block of one transaction at these peers, all of them alike; its id. Final only when somebody says so.
    pub fn execute(
        &self,
        peers: &mut [&mut Peer],
        author: &str,
        transaction: Transaction,
    ) -> TransactionId {
        let ledger = self.founders.genesis.id();
        let candidate = signed(&ledger, author, transaction, self.now_ms);
        let id = candidate.id();
        for peer in peers {
            let (height, parent, _) = peer.tip();
            let proposal = Proposal {
                height: height + 1,
                parent,
                time_ms: self.now_ms,
                candidates: vec![candidate.clone()],
            };
            let outcome = peer.execute(&proposal).unwrap().outcomes.remove(0);
            outcome.unwrap_or_else(|rejection| panic!("{rejection}"));
        }
        id
    }

    /// The users, `acme/data`, its document, and a read of it by eve; all of it final.
    pub fn with_read(&self, peers: &mut [&mut Peer]) -> TransactionId {
        for (transaction, author) in founding() {
            self.execute(peers, author, transaction);
        }
        let write = threshold_write("acme/data/doc", 1, "acme/ann", &cluster("Y"));
        for transaction in [
            dataset_create("acme/data", threshold("Y"), Storage::OffChain),
            grant("acme/data", Role::Reader, "acme/eve"),
            Transaction::Write(write),
        ] {
            self.execute(peers, "acme/ann", transaction);
        }
        self.read(peers)
    }

    pub fn read(&self, peers: &mut [&mut Peer]) -> TransactionId {
        let read = peers[0].replica().with_state(|state| {
            threshold_read(state, &version("acme/data/doc", 1), &spki("client")).0
        });
        let id = self.execute(peers, "acme/eve", Transaction::Read(read));
        finalise(peers);
        id
    }
}

pub fn finalise(peers: &mut [&mut Peer]) {
    for peer in peers {
        let (height, hash, _) = peer.tip();
        peer.finalise(height, &hash);
    }
}

pub fn code(peer: &mut Peer, read: TransactionId, now_ms: u64) -> String {
    match peer.approve(&[read], now_ms).remove(0) {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.code().to_owned(),
    }
}

#[test]
fn a_read_is_approved_near_its_time_and_neither_later_nor_earlier() {
    let bench = Bench::new();
    let [mut alpha] = bench.peers(["alpha"]);
    let read = bench.with_read(&mut [&mut alpha]);
    let window_ms = ApprovalTerms::default().window_ms;
    let now_ms = bench.now_ms;
    assert_eq!(
        code(&mut alpha, read, now_ms + window_ms + 1),
        "read-too-old"
    );
    assert_eq!(code(&mut alpha, read, now_ms + DAY_MS), "read-too-old");
    // An orderer whose clock is ahead must not make reads that can be approved for as long as it is ahead.
    assert_eq!(
        code(&mut alpha, read, now_ms - window_ms - 1),
        "read-in-future"
    );
    assert_eq!(code(&mut alpha, read, now_ms - DAY_MS), "read-in-future");
    assert_eq!(code(&mut alpha, read, now_ms + window_ms), "ok");
}

#[test]
fn a_peer_without_the_final_block_approves_nothing() {
    let bench = Bench::new();
    let [mut alpha, mut beta, mut gamma] = bench.peers(["alpha", "beta", "gamma"]);
    let read = bench.with_read(&mut [&mut alpha, &mut beta, &mut gamma]);
    assert_eq!(code(&mut beta, read, bench.now_ms), "ok");

    // The quorum, and alpha with it, removes the reader; beta was given another block, gamma none.
    bench.execute(
        &mut [&mut alpha],
        "acme/ann",
        revoke("acme/data", Role::Reader, "acme/eve"),
    );
    bench.execute(&mut [&mut beta], "alpha", tenant_register("other"));
    let (height, hash, _) = alpha.tip();
    for peer in [&mut alpha, &mut beta, &mut gamma] {
        peer.finalise(height, &hash);
    }
    assert_eq!(code(&mut alpha, read, bench.now_ms), "not-permitted");
    assert_eq!(code(&mut beta, read, bench.now_ms), "peer-unavailable");
    assert_eq!(code(&mut gamma, read, bench.now_ms), "peer-unavailable");
}

#[test]
fn finality_of_an_earlier_block_is_news_too() {
    let bench = Bench::new();
    let [mut alpha] = bench.peers(["alpha"]);
    let read = bench.with_read(&mut [&mut alpha]);
    bench.execute(&mut [&mut alpha], "alpha", tenant_register("one"));
    let (height, hash, _) = alpha.tip();
    bench.execute(&mut [&mut alpha], "alpha", tenant_register("two"));
    alpha.finalise(height, &hash);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "ok");
    alpha.finalise(height, &[7; 32]);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-unavailable");
}

#[test]
fn a_key_that_was_rotated_away_gets_no_approval_for_what_it_signed() {
    let bench = Bench::new();
    let [mut alpha] = bench.peers(["alpha"]);
    let asked = bench.with_read(&mut [&mut alpha]);
    let waiting = bench.read(&mut [&mut alpha]);
    assert_eq!(code(&mut alpha, asked, bench.now_ms), "ok");
    let rotation = rotate_key(
        &bench.founders.genesis.id(),
        &user("acme/eve"),
        &key("eve's new key"),
    );
    bench.execute(&mut [&mut alpha], "acme/eve", rotation);
    finalise(&mut [&mut alpha]);
    for read in [asked, waiting] {
        assert_eq!(code(&mut alpha, read, bench.now_ms), "reader-key-rotated");
    }
}

#[test]
fn no_approval_outlives_its_reader() {
    let bench = Bench::new();
    let [mut alpha] = bench.peers(["alpha"]);
    let read = bench.with_read(&mut [&mut alpha]);
    let expires_ms = bench.now_ms + 7_500;
    let expire = Transaction::UserExpire(UserExpire {
        tenant: id("acme"),
        user: id("eve"),
        expires_ms: Some(expires_ms),
    });
    bench.execute(&mut [&mut alpha], "acme/root", expire);
    finalise(&mut [&mut alpha]);
    let certificate = alpha.approve(&[read], bench.now_ms).remove(0).unwrap();
    let approval = certs::UnverifiedApproval::parse(&certificate).unwrap();
    assert_eq!(approval.not_after(), expires_ms / 1000);
    assert_eq!(code(&mut alpha, read, expires_ms), "user-expired");

    // In its last second there is no certificate short enough.
    let read = bench.read(&mut [&mut alpha]);
    assert_eq!(code(&mut alpha, read, expires_ms - 100), "user-expired");
}

#[test]
fn an_approval_is_not_given_again_when_it_would_outlive_its_reader() {
    let bench = Bench::new();
    let [mut alpha] = bench.peers(["alpha"]);
    let read = bench.with_read(&mut [&mut alpha]);
    let certificate = alpha.approve(&[read], bench.now_ms).remove(0).unwrap();
    let approval = certs::UnverifiedApproval::parse(&certificate).unwrap();
    let end_ms = approval.not_after() * 1000;
    for (expires_ms, expected) in [
        (Some(end_ms - 1), "approval-expired"),
        (Some(end_ms), "ok"),
        (Some(bench.now_ms + 5000), "approval-expired"),
        (None, "ok"),
    ] {
        let expire = Transaction::UserExpire(UserExpire {
            tenant: id("acme"),
            user: id("eve"),
            expires_ms,
        });
        bench.execute(&mut [&mut alpha], "acme/root", expire);
        finalise(&mut [&mut alpha]);
        assert_eq!(code(&mut alpha, read, bench.now_ms), expected);
    }
}

#[test]
fn terms_that_no_policy_of_ours_has_are_refused() {
    let bench = Bench::new();
    let good = ApprovalTerms::default();
    for (lifetime_s, window_ms) in [
        (0, good.window_ms),
        (ApprovalTerms::MAX_LIFETIME_S + 1, good.window_ms),
        (u32::MAX, good.window_ms),
        (good.lifetime_s, ApprovalTerms::MAX_WINDOW_MS + 1),
        (good.lifetime_s, u64::MAX),
    ] {
        let terms = ApprovalTerms {
            lifetime_s,
            window_ms,
        };
        let refused = bench.open("alpha", terms).unwrap_err();
        assert!(refused.contains("seconds"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_larger_than_a_block_is_refused_and_hurts_nobody() {
    let site = crate::solo::Site::with_document().await;
    let create = dataset_create("acme/plain", Encryption::None, Storage::Ledger);
    site.submit("acme/ann", create).await.unwrap();
    let write = Write {
        body: Body::OnLedger(vec![0; 5 * 1024 * 1024]),
        ..plain_write("acme/plain/doc", 1)
    };
    let refused = site.submit("acme/ann", Transaction::Write(write)).await;
    assert_eq!(refused.unwrap_err().code(), "too-large");
    assert!(site.record.peers().iter().all(|peer| peer.fault.is_none()));
    site.read("acme/eve").await;
}

#[test]
fn a_peer_that_was_away_has_not_refused() {
    use coordinator::record::ApprovalRefusal as Refusal;
    let elsewhere = |code: &str| Refusal::Elsewhere {
        code: code.to_owned(),
        message: String::new(),
    };
    let away = [
        Refusal::Unavailable("alpha".to_owned()),
        Refusal::CatchingUp,
        Refusal::NotFinal,
        elsewhere("unknown-read"),
        elsewhere("peer-catching-up"),
    ];
    assert!(away.iter().all(Refusal::is_transient));
    let refused = [
        Refusal::NotNeeded,
        Refusal::Expired,
        elsewhere("not-permitted"),
        elsewhere("user-suspended"),
        elsewhere("a-code-of-tomorrow"),
    ];
    assert!(!refused.iter().any(Refusal::is_transient));
}
