//! A peer at fault in the order, with everything in it that looks right: one that runs twice under one key, and one that proposes what nobody signed.

use super::federation::{Federation, id};
use super::order::recorded;
use bytes::Bytes;
use coordinator::folder::Folder;
use coordinator::peer::settings::PeerSettings;
use coordinator::platform::now_ms;
use coordinator::record::SignedTransaction;
use futures_util::future::join_all;
use ordering::{Judge, Ordering, Settings, Timing};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use zeroize::Zeroizing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

fn change(federation: &Federation, peer: usize, change: impl FnOnce(&mut PeerSettings)) {
    let folder = Folder::open_peer(&federation.peers[peer].dir).unwrap();
    let mut settings = PeerSettings::read(&folder).unwrap();
    change(&mut settings);
    settings.write(&folder).unwrap();
}

/// Both of them are right in all that they say to whom they talk: alder and birch talk to the one, cedar to the other. In every view in which dogwood leads
/// the two halves are shown different batches, and all that is in either holds.
#[tokio::test]
async fn a_peer_that_shows_each_half_a_batch_of_its_own_is_named_and_changes_nothing() {
    let mut federation = Federation::found(4);
    let dogwood = 3;
    let (twin, twins_address) = federation.twin(dogwood);
    change(&federation, 2, |cedar| {
        cedar.members.insert(id("dogwood"), twins_address);
    });
    change(&federation, dogwood, |one| {
        one.members.remove(&id("cedar"));
    });
    change(&federation, twin, |other| {
        other.members.retain(|name, _| *name == id("cedar"));
    });
    for peer in 0..5 {
        federation.run(peer);
    }

    // Each twin is given transactions of its own to propose; they hold, and so does what the others submit.
    let honest = [0, 1, 2];
    let mut tenants = 0;
    let mut height = 0;
    let accused = |views: &[coordinator::record::wire::PeerStatusView]| {
        let names = views.iter().flat_map(|it| &it.accused);
        let names: Vec<_> = names.map(|it| it.organisation.clone()).collect();
        assert!(names.iter().all(|it| *it == id("dogwood")), "{names:?}");
        !names.is_empty()
    };
    let started = std::time::Instant::now();
    loop {
        let at_twins = [dogwood, twin].map(|peer| {
            let tenant = format!("of-a-twin-{tenants}-{peer}");
            (peer, federation.registration(0, &tenant))
        });
        for (peer, transaction) in at_twins {
            // A twin whom nobody believes any more has no answer to give.
            let asked = federation.asked(peer);
            tokio::spawn(async move { asked.submit(&transaction).await });
        }
        let transactions = honest.map(|peer| {
            let tenant = format!("honest-{tenants}-{peer}");
            (peer, federation.registration(peer, &tenant))
        });
        let submitted = transactions
            .iter()
            .map(|(peer, transaction)| federation.submit(*peer, transaction));
        let heights = join_all(submitted).await;
        height = heights.iter().map(recorded).max().unwrap().max(height);
        tenants += 1;
        let views = join_all(honest.map(|peer| federation.status(peer))).await;
        if accused(&views) {
            break;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "nobody says who it is; {}",
            federation.logs()
        );
    }
    federation.agree(&honest, height).await;
    let after = federation.registration(1, "after");
    let height = recorded(&federation.submit(2, &after).await);
    federation.agree(&honest, height).await;
}

/// Takes anything for well-formed, and so proposes it.
struct Anything;

impl Judge for Anything {
    fn well_formed(&self, _: &[u8]) -> bool {
        true
    }

    fn admissible(&self, _: &[u8]) -> bool {
        true
    }
}

/// The order alone, with a peer's key: it proposes what it is given. What came out of it is received.
pub(crate) fn order_as(federation: &Federation, peer: usize) -> (Ordering, mpsc::Receiver<Bytes>) {
    let process = &federation.peers[peer];
    let folder = Folder::open_peer(&process.dir).unwrap();
    let own = PeerSettings::read(&folder).unwrap();
    let member = |it: &coordinator::record::Organisation| ordering::Member {
        key: it.head_key,
        address: own.members.get(&it.name).copied(),
    };
    let members: Vec<_> = federation
        .genesis
        .organisations
        .iter()
        .map(member)
        .collect();
    let ledger = hex::encode(federation.genesis.id());
    let settings = Settings {
        namespace: format!(
            "coordinator/v1/the order of the golden record among its peers, of the ledger with the id {ledger}"
        )
        .into_bytes(),
        genesis_ms: federation.genesis.time_ms,
        epoch_length: NonZeroU64::new(512).unwrap(),
        members: BTreeMap::from([(0, members.clone())]),
        coming: members.clone(),
        helpers: Vec::new(),
        listen: own.listen,
        folder: process.dir.join("record/order"),
        never_voted: folder.never_voted(),
        delivered: 0,
        timing: Timing::default(),
    };
    let secret = Zeroizing::new(process.key("head").to_bytes());
    let started = ordering::start(settings, secret, Arc::new(Anything), Arc::new(now_ms));
    let (ordering, mut deliveries) = started.unwrap();
    let (out, came) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(delivery) = deliveries.blocking_recv() {
            for item in &delivery.items {
                let _ = out.send(item.clone());
            }
            delivery.done(&members);
        }
    });
    (ordering, came)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_signed_is_in_a_final_batch_and_not_on_the_record() {
    let mut federation = Federation::found(4);
    for peer in 0..3 {
        federation.run(peer);
    }
    let (forger, came) = order_as(&federation, 3);
    // In alder's name, with a signature that is not alder's: another transaction's.
    let right = federation.registration(0, "stolen");
    let other = federation.registration(0, "other");
    let forged = forged(&right, &other);
    forger.submit(forged.clone()).unwrap();

    // It becomes final, for what is in a batch is judged afterwards, by all alike.
    let started = std::time::Instant::now();
    while came.recv_timeout(PATIENCE).unwrap() != forged {
        assert!(started.elapsed() < PATIENCE);
    }
    let honest = federation.registration(1, "honest");
    let height = recorded(&federation.submit(1, &honest).await);
    let head = federation.agree(&[0, 1, 2], height).await;
    assert!(head.contains("\n1\n"), "{head}");
    // The name is free: what its owner signed is taken.
    let height = recorded(&federation.submit(2, &right).await);
    federation.agree(&[0, 1, 2], height).await;
    forger.close();
}

/// The right transaction's content, with a signature that is not its author's.
fn forged(right: &SignedTransaction, other: &SignedTransaction) -> Bytes {
    let forged = SignedTransaction::from_parts(right.content().clone(), *other.signature());
    Bytes::copy_from_slice(forged.as_bytes())
}
