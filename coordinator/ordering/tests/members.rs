//! Members over TCP on loopback, one of them at fault: the others agree, and go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use bytes::Bytes;
use commonware_codec::{Copying, Decode as _, DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Certificate, Notarize, Proposal, Vote};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_consensus::{Epochable as _, Viewable as _};
use commonware_cryptography::{
    ChaCha20Poly1305, Hasher as _, Sha256, Signer as _,
    certificate::Verifier as _,
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_p2p::{
    Address, AddressableManager as _, Receiver as _, Recipients, Sender as _,
    authenticated::lookup::{self, Network},
    utils::mux,
};
use commonware_runtime::{Quota, Runner as _, Supervisor as _, tokio as runtime};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::ordered::{Map, Set};
use ordering::{Clock, Judge, Member, Ordering, Settings, Timing, start};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(90);
const TIMING: Timing = Timing {
    leader: Duration::from_millis(1_000),
    certification: Duration::from_millis(2_000),
    idle: Duration::from_millis(300),
    ahead: Duration::from_secs(1),
};

/// Items begin with a word that all honest members know.
struct Honest;

impl Judge for Honest {
    fn well_formed(&self, item: &[u8]) -> bool {
        item.starts_with(b"item ")
    }

    fn admissible(&self, _: &[u8]) -> bool {
        true
    }
}

/// Takes anything for well-formed, and so proposes it.
struct Careless;

impl Judge for Careless {
    fn well_formed(&self, _: &[u8]) -> bool {
        true
    }

    fn admissible(&self, _: &[u8]) -> bool {
        true
    }
}

fn seed(member: usize) -> [u8; 32] {
    [u8::try_from(member).unwrap() + 1; 32]
}

fn key(member: usize) -> PrivateKey {
    PrivateKey::decode(Copying(&seed(member))).unwrap()
}

fn public(member: usize) -> [u8; 32] {
    key(member).public_key().as_ref().try_into().unwrap()
}

fn namespace() -> Vec<u8> {
    vec![b'n'; 128]
}

fn clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.unwrap().as_millis()).unwrap()
    })
}

fn never_voted(folder: &std::path::Path, member: usize) -> std::path::PathBuf {
    folder.join(format!("{member}-never-voted"))
}

struct Site {
    folder: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
}

/// A member and what came out of it.
struct Running {
    ordering: Ordering,
    delivered: mpsc::Receiver<(u64, Bytes)>,
}

impl Site {
    fn new(members: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for member in 0..members {
            std::fs::write(never_voted(folder.path(), member), "").unwrap();
        }
        Self {
            folder,
            addresses: (0..members)
                .map(|_| testkit::ports::tcp().unwrap())
                .collect(),
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |(number, address): (usize, &SocketAddr)| Member {
            key: public(number),
            address: Some(*address),
        };
        self.addresses.iter().enumerate().map(member).collect()
    }

    fn folder_of(&self, member: usize) -> std::path::PathBuf {
        self.folder.path().join(member.to_string())
    }

    fn start(&self, member: usize, judge: Arc<dyn Judge>, clock: Clock) -> Running {
        let settings = Settings {
            namespace: namespace(),
            genesis_ms: 1_000,
            epoch_length: NonZeroU64::new(1 << 62).unwrap(),
            members: BTreeMap::from([(0, self.members())]),
            coming: self.members(),
            helpers: Vec::new(),
            listen: self.addresses[member],
            folder: self.folder_of(member),
            never_voted: never_voted(self.folder.path(), member),
            delivered: 0,
            timing: TIMING,
        };
        let secret = Zeroizing::new(seed(member));
        let (ordering, mut deliveries) = start(settings, secret, judge, clock).unwrap();
        let (out, delivered) = mpsc::channel();
        let members = self.members();
        std::thread::spawn(move || {
            let mut last = (0, 0);
            while let Some(delivery) = deliveries.blocking_recv() {
                assert_eq!(delivery.height, last.0 + 1);
                assert!(delivery.time_ms >= last.1);
                last = (delivery.height, delivery.time_ms);
                for item in &delivery.items {
                    let _ = out.send((delivery.height, item.clone()));
                }
                delivery.done(&members);
            }
        });
        Running {
            ordering,
            delivered,
        }
    }
}

impl Running {
    /// What comes out until all of these have come.
    fn until(&self, awaited: &[Bytes]) -> Vec<(u64, Bytes)> {
        let mut came = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !awaited
            .iter()
            .all(|item| came.iter().any(|(_, it)| it == item))
        {
            let left = deadline.saturating_duration_since(Instant::now());
            came.push(
                self.delivered
                    .recv_timeout(left)
                    .expect("it did not come out"),
            );
        }
        came
    }
}

fn items(label: &str, number: usize) -> Vec<Bytes> {
    (0..number)
        .map(|it| Bytes::from(format!("item {label} {it}")))
        .collect()
}

/// Submits at the members in turn, and holds that what comes out of all is the same.
fn order(members: &[Running], items: &[Bytes]) -> Vec<(u64, Bytes)> {
    for (number, item) in items.iter().enumerate() {
        members[number % members.len()]
            .ordering
            .submit(item.clone())
            .unwrap();
    }
    let came: Vec<_> = members.iter().map(|member| member.until(items)).collect();
    // One may have waited longer than another for its last item.
    let shortest = came.iter().map(Vec::len).min().unwrap();
    for other in &came {
        assert_eq!(other[..shortest], came[0][..shortest]);
    }
    came[0].clone()
}

#[test]
fn a_member_that_proposes_what_is_no_item_is_passed_over() {
    let site = Site::new(4);
    let honest: Vec<_> = (0..3)
        .map(|member| site.start(member, Arc::new(Honest), clock()))
        .collect();
    let careless = site.start(3, Arc::new(Careless), clock());
    let garbage: Vec<_> = (0..3)
        .map(|it| Bytes::from(format!("garbage {it}")))
        .collect();
    for item in &garbage {
        careless.ordering.submit(item.clone()).unwrap();
    }
    let first = order(&honest, &items("first", 12));
    let second = order(&honest, &items("second", 12));
    for (_, item) in first.iter().chain(&second) {
        assert!(item.starts_with(b"item "), "{item:?}");
    }
}

#[test]
fn a_member_whose_clock_is_an_hour_ahead_does_not_set_the_time() {
    let site = Site::new(4);
    let ahead: Clock = {
        let clock = clock();
        Arc::new(move || clock() + 3_600_000)
    };
    let mut members: Vec<_> = (0..3)
        .map(|member| site.start(member, Arc::new(Honest), clock()))
        .collect();
    members.push(site.start(3, Arc::new(Honest), ahead));
    order(&members[..3], &items("on time", 9));
    // The leaders that are on time go on; a batch from the future would have to be waited for, an hour.
    order(&members[..3], &items("still", 9));
}

#[test]
fn who_votes_for_two_batches_in_one_view_is_proven_to_have_done_so() {
    let site = Site::new(4);
    let honest: Vec<_> = (0..3)
        .map(|member| site.start(member, Arc::new(Honest), clock()))
        .collect();
    let members = site.members();
    let listen = site.addresses[3];
    let folder = site.folder.path().join("equivocator");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let equivocator = std::thread::spawn(move || equivocate(3, &members, listen, folder, stopped));

    order(&honest, &items("while it lies", 12));
    let deadline = Instant::now() + PATIENCE;
    let accuses = |member: &Running| {
        let faults = member.ordering.faults();
        faults.iter().any(|fault| fault.member == public(3))
    };
    while !honest.iter().any(accuses) {
        assert!(Instant::now() < deadline, "nobody has proof");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nobody else is accused, and the three go on without it.
    for member in &honest {
        let faults = member.ordering.faults();
        assert!(faults.iter().all(|fault| fault.member == public(3)));
    }
    order(&honest, &items("without it", 12));
    let _ = stop.send(());
    equivocator.join().unwrap();
}

#[test]
fn a_member_that_loses_its_folder_again_and_again_never_votes_twice() {
    let site = Site::new(4);
    let start = |member| site.start(member, Arc::new(Honest), clock());
    let others: Vec<_> = (0..3).map(start).collect();
    let mut fourth = start(3);
    order(&others, &items("before", 8));
    for round in 0..3 {
        // It is gone in the middle of what it votes for, and comes back where others still vote for that.
        for item in items(&format!("round {round}"), 40) {
            others[0].ordering.submit(item).unwrap();
        }
        fourth.ordering.close();
        std::fs::remove_dir_all(site.folder_of(3)).unwrap();
        fourth = start(3);
        let deadline = Instant::now() + PATIENCE;
        while !fourth.ordering.part().votes {
            assert!(Instant::now() < deadline, "it never votes again");
            std::thread::sleep(Duration::from_millis(20));
        }
        for member in &others {
            assert_eq!(member.ordering.faults(), []);
        }
        order(&others, &items(&format!("after round {round}"), 4));
    }
    // Its vote counts: without another one nothing is final but with it.
    let [first, second, third] = <[Running; 3]>::try_from(others).unwrap_or_else(|_| panic!());
    third.ordering.close();
    let awaited = items("with its vote", 6);
    for item in &awaited {
        fourth.ordering.submit(item.clone()).unwrap();
    }
    let came = [first, second, fourth].map(|member| {
        let came = member.until(&awaited).into_iter();
        came.filter(|(_, item)| awaited.contains(item))
            .collect::<Vec<_>>()
    });
    assert_eq!(came[0], came[1]);
    assert_eq!(came[0], came[2]);
}

/// f = 2: one of the two votes for two batches at once, the other one proposes what is no item; then both are gone.
#[test]
fn seven_members_go_on_with_two_at_fault_in_different_ways() {
    let site = Site::new(7);
    let honest: Vec<_> = (0..5)
        .map(|member| site.start(member, Arc::new(Honest), clock()))
        .collect();
    let careless = site.start(5, Arc::new(Careless), clock());
    let members = site.members();
    let listen = site.addresses[6];
    let folder = site.folder.path().join("equivocator");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let equivocator = std::thread::spawn(move || equivocate(6, &members, listen, folder, stopped));
    for number in 0..3 {
        let garbage = Bytes::from(format!("garbage {number}"));
        careless.ordering.submit(garbage).unwrap();
    }
    let came = order(&honest, &items("while they lie", 15));
    assert!(came.iter().all(|(_, item)| item.starts_with(b"item ")));
    let deadline = Instant::now() + PATIENCE;
    let accused = |member: &Running| -> Vec<_> {
        let faults = member.ordering.faults().into_iter();
        faults.map(|fault| fault.member).collect()
    };
    while !honest.iter().any(|it| accused(it).contains(&public(6))) {
        assert!(Instant::now() < deadline, "nobody has proof");
        std::thread::sleep(Duration::from_millis(20));
    }
    for member in &honest {
        assert!(accused(member).iter().all(|it| *it == public(6)));
    }
    careless.ordering.close();
    let _ = stop.send(());
    equivocator.join().unwrap();
    order(&honest, &items("without them", 15));
}

/// Speaks the members' protocol with a member's key, and votes for two batches in every view that it hears of.
fn equivocate(
    own: usize,
    members: &[Member],
    listen: SocketAddr,
    folder: std::path::PathBuf,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let config = runtime::Config::new().with_storage_directory(folder);
    runtime::Runner::new(config).start(|context| async move {
        let public = |it: &Member| PublicKey::decode(Copying(&it.key)).unwrap();
        let keys: Set<PublicKey> = Set::from_iter_dedup(members.iter().map(public));
        let scheme = Scheme::signer(&namespace(), keys, key(own)).unwrap();
        let clocks = Duration::from_secs(60);
        let handshake = Cups::<_, ChaCha20Poly1305>::new(
            Sake {
                signer: key(own),
                synchrony_bound: clocks,
                max_handshake_age: clocks,
                version: sake::Version::V1,
            },
            cups::Version::V1,
        );
        let most = NonZeroUsize::new(members.len()).unwrap();
        let mailbox = NonZeroUsize::new(1024).unwrap();
        let config = lookup::Config::local(handshake, &namespace(), listen, most, 1 << 23, mailbox);
        let (mut network, mut oracle) = Network::new(context.child("network"), config);
        let addresses: Map<PublicKey, Address> = Map::from_iter_dedup(
            members
                .iter()
                .map(|it| (public(it), Address::Symmetric(it.address.unwrap()))),
        );
        let _ = oracle.track(0, addresses);
        let quota = || Quota::per_second(NonZeroU32::new(512).unwrap());
        let (mut votes, _heard) = network.register(0, quota());
        let (_certificates, mut certified) = network.register(1, quota());
        let _others: Vec<_> = (2..6).map(|it| network.register(it, quota())).collect();
        network.start();
        loop {
            let message = tokio::select! {
                _ = &mut stopped => return,
                message = certified.recv() => mux::parse(message.unwrap().1),
            };
            let Ok((0, message)) = message else { continue };
            let known = Certificate::<Scheme, Digest>::decode_cfg(
                message,
                &scheme.certificate_codec_config(),
            );
            let Ok(certificate) = known else { continue };
            assert_eq!(certificate.epoch(), Epoch::zero());
            let view = certificate.view().get();
            for ahead in 1..=2 {
                for payload in [b"one", b"two"] {
                    let round = Round::new(Epoch::zero(), View::new(view + ahead));
                    let proposal = Proposal::new(round, View::new(view), Sha256::hash(&[payload]));
                    let vote = Notarize::sign(&scheme, proposal).unwrap();
                    let vote = Vote::<Scheme, Digest>::Notarize(vote).encode();
                    // Epoch 0, as a varint, is in front of it.
                    let vote: Vec<u8> = [0].into_iter().chain(vote).collect();
                    votes.send(Recipients::All, Bytes::from(vote), true);
                }
            }
        }
    });
}
