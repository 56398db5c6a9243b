//! The invariants of section 10 of `docs/protocol/key-generation.md`, over as many histories as one likes.
//!
//! `HISTORIES=2000 cargo test -p dkg --test machines invariants` plays 2,000 of each kind instead of a few dozen. A history that breaks an
//! invariant is printed with its seed; `SEED=1234` plays only that one.

use std::collections::BTreeMap;

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Member, MemberStage, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::misbehaviour::Misbehaviour;

use crate::cluster::NOW;
use crate::simulation::secrecy::Pool;
use crate::simulation::{CHEATS, ENDLESS, PATIENCE, Plant, Weather, World};

const FAIR: Weather = Weather {
    lost: 30,
    doubled: 50,
    crash_before_writing: 8,
    crash_before_sending: 8,
    away: 30,
    partitions: 0,
    leader_dies: false,
    cheats: [None, None],
    reshare: false,
    planted: None,
};

impl World {
    /// *One result*: no two honest members activate different results of one attempt. *Evidence is true*: what honest members hold
    /// to be proved is proved of cheats alone. And nobody makes an honest member keep more than the ceremony has to say. That fewer than t open
    /// nothing is looked at where something is learned (`simulation/secrecy.rs`).
    pub fn check(&mut self) {
        let mut results: BTreeMap<[u8; 64], _> = BTreeMap::new();
        let mut judged = Vec::new();
        for (place, player) in self.players.iter().enumerate() {
            if !self.is_honest(place) {
                continue;
            }
            for (params, key) in &player.keys {
                let result = results.entry(*params).or_insert(&key.package);
                if *result != &key.package {
                    self.fail("two results of one attempt");
                }
            }
            let disks = [&player.node.disk, player.leader_disk()];
            if disks
                .into_iter()
                .flatten()
                .any(|disk| disk.len() >= ENDLESS)
            {
                self.fail(&format!("member {place} keeps what has no end"));
            }
            let member = &player.node.member;
            for told in member.exclusions().iter().chain(member.accused()) {
                if self.judged.contains(told) {
                    continue;
                }
                judged.push(told.clone());
                let proved = told.verify(&self.proposal).ok().flatten().is_some();
                if proved && self.is_honest(usize::from(told.member) - 1) {
                    self.fail("an honest member was convicted");
                }
            }
        }
        self.judged.extend(judged);
    }

    /// *Every honest member holds its share*, from what its disk has: the key stays usable by t honest members, and no fewer than t open it.
    /// *Nobody is stuck*: who has no key when all is over has erased what it held, or has confirmed what no honest node can show a certificate of.
    pub fn check_end(&mut self) {
        self.check_secrets();
        let from = *self.proposal.leader();
        let threshold = usize::from(self.proposal.threshold());
        for certificate in self.certificates.clone() {
            let members: Vec<[u8; 32]> = self
                .players
                .iter()
                .flat_map(|player| player.keys.values())
                .find(|key| key.certificate == certificate)
                .map(|key| key.members.iter().map(|member| member.identity).collect())
                .unwrap();
            let mut holders = 0;
            for place in 0..self.players.len() {
                let node = &self.players[place].node;
                if !self.is_honest(place) || !members.contains(&node.card.identity) {
                    continue;
                }
                let Some(disk) = &node.disk else {
                    self.fail("a member of a key has nothing on its disk")
                };
                let mut member = Member::restore(node.local.clone(), disk).unwrap();
                let question = Message::Certificate {
                    ceremony: self.proposal.id(),
                    public_shares: serde_bytes::ByteBuf::new(),
                    certificate: serde_bytes::ByteBuf::from(certificate.clone()),
                };
                let rng = &mut StdRng::seed_from_u64(0);
                let now = NOW + 100_000;
                let answer = self.players[place].ask(&mut member, &from, question, now, rng);
                let has_it = self.players[place]
                    .keys
                    .values()
                    .any(|key| key.certificate == certificate);
                match answer {
                    Ok(output) if has_it || output.activated.is_some() => holders += 1,
                    Ok(_) => self.fail(&format!("member {place} has lost its share")),
                    Err(fault) => {
                        self.fail(&format!("member {place} has lost its share: {fault}"));
                    }
                }
            }
            if holders < threshold {
                self.fail("fewer than t honest members hold a share");
            }
        }
        let known = !self.certificates.is_empty()
            && self.players.iter().enumerate().any(|(place, player)| {
                self.is_honest(place) && !player.dead && !player.keys.is_empty()
            });
        let over = self.now >= NOW + crate::simulation::LIFETIME;
        for (place, player) in self.players.iter().enumerate() {
            if !self.is_honest(place) || player.dead {
                continue;
            }
            match player.node.member.stage() {
                MemberStage::Activated | MemberStage::Closed | MemberStage::New => {}
                MemberStage::Confirmed => {
                    let listed = player.node.member.attempt_params().is_some_and(|params| {
                        self.players.iter().enumerate().any(|(other, at)| {
                            self.is_honest(other) && !at.dead && at.keys.contains_key(params)
                        })
                    });
                    if over && known && listed {
                        self.fail(&format!("member {place} waits for what others have"));
                    }
                }
                stage if over => self.fail(&format!("member {place} is stuck: {stage:?}")),
                _ => {}
            }
        }
    }

    /// Without its leader a ceremony goes on, if anybody has heard of it and the leader may be absent.
    fn check_without_the_leader(&mut self) {
        let first = &self.players[self.first].node.card.identity;
        let known = self.players.iter().any(|player| {
            player.node.card.identity != *first && player.node.member.stage() != MemberStage::New
        });
        let allowed = self.proposal.may_be_absent() > 0;
        if known && allowed && self.certificates.is_empty() && !self.somebody_well_was_left_out() {
            self.fail("no key, although all but the leader are well");
        }
    }

    fn somebody_well_was_left_out(&self) -> bool {
        self.players.iter().any(|player| {
            let told = player.node.member.exclusions().iter();
            let led = player.leader.iter().flat_map(|leader| leader.exclusions());
            told.chain(led)
                .any(|told| !self.players[usize::from(told.member) - 1].dead)
        })
    }
}

/// Runs a history, and prints its seed if it fails.
fn history(seed: u64, weather: Weather, then: impl FnOnce(&mut World)) -> World {
    let members = 3 + usize::try_from(seed % 3).unwrap();
    let threshold = if members == 5 && seed.is_multiple_of(2) {
        3
    } else {
        2
    };
    history_of(seed, (threshold, members), weather, then)
}

/// The same, of so many.
fn history_of(
    seed: u64,
    (threshold, members): (u16, usize),
    weather: Weather,
    then: impl FnOnce(&mut World),
) -> World {
    struct Seed(u64, Weather);
    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("SEED={} breaks it, under {:?}", self.0, self.1);
            }
        }
    }
    let _told = Seed(seed, weather);
    let absent = u16::try_from(members + 1).unwrap() - 2 * threshold;
    let mut world = World::new(seed, threshold, members, absent, weather);
    world.run();
    world.check_end();
    then(&mut world);
    world
}

/// The most histories of a kind: each has its seeds.
const MOST: u64 = 100_000;

fn from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("SEED and HISTORIES are numbers"))
}

/// The seeds of one kind of history: `usual` of them unless told otherwise.
fn seeds(kind: u64, usual: u64) -> Vec<u64> {
    let all = kind * MOST..(kind + 1) * MOST;
    match from_env("SEED") {
        Some(seed) => all.contains(&seed).then_some(seed).into_iter().collect(),
        None => all
            .take(usize::try_from(from_env("HISTORIES").unwrap_or(usual)).unwrap())
            .collect(),
    }
}

/// Something comes about in so many of all histories, unless only one is played.
fn assert_often(what: &str, times: usize, seeds: &[u64], of_ten: usize) {
    if from_env("SEED").is_none() {
        assert!(
            times * 10 > seeds.len() * of_ten,
            "{what}: {times} of {}",
            seeds.len()
        );
    }
}

#[test]
fn one_result_and_no_lost_share_in_fair_weather() {
    for seed in seeds(0, 20) {
        history(seed, FAIR, |world| {
            if world.certificates.is_empty() && !world.somebody_well_was_left_out() {
                world.fail("no key, although all are well");
            }
        });
    }
}

#[test]
fn the_leader_vanishes_at_any_moment_and_another_goes_on() {
    let weather = Weather {
        leader_dies: true,
        ..FAIR
    };
    let (mut keys, mut taken) = (0, 0);
    let seeds = seeds(1, 40);
    for seed in &seeds {
        let world = history(*seed, weather, World::check_without_the_leader);
        keys += usize::from(!world.certificates.is_empty());
        taken += usize::from(world.led_by.len() > 1);
    }
    assert_often("keys", keys, &seeds, 5);
    assert_often("successions", taken, &seeds, 3);
}

#[test]
fn an_old_member_that_leaves_vanishes_as_leader_of_a_reshare_and_another_seat_goes_on() {
    let weather = Weather {
        leader_dies: true,
        reshare: true,
        ..FAIR
    };
    let (mut keys, mut taken) = (0, 0);
    let seeds = seeds(2, 20);
    for seed in &seeds {
        let world = history(*seed, weather, World::check_without_the_leader);
        keys += usize::from(!world.certificates.is_empty());
        taken += usize::from(world.led_by.len() > 1);
    }
    assert_often("keys", keys, &seeds, 5);
    assert_often("successions", taken, &seeds, 3);
}

#[test]
fn nobody_is_stuck_after_any_storm() {
    let weather = Weather {
        lost: 200,
        doubled: 150,
        crash_before_writing: 40,
        crash_before_sending: 40,
        away: u64::from(PATIENCE) * 4,
        partitions: 3,
        ..FAIR
    };
    let mut keys = 0;
    let seeds = seeds(3, 24);
    for seed in &seeds {
        let weather = Weather {
            leader_dies: seed.is_multiple_of(4),
            reshare: seed.is_multiple_of(3),
            ..weather
        };
        let world = history(*seed, weather, |_| {});
        keys += usize::from(!world.certificates.is_empty());
    }
    assert_often("keys", keys, &seeds, 5);
}

#[test]
fn a_cheat_breaks_nothing_whatever_it_does() {
    for seed in seeds(4, 72) {
        let kinds = CHEATS.len() as u64;
        let cheat = CHEATS[usize::try_from(seed % kinds).unwrap()];
        let weather = Weather {
            lost: 50,
            partitions: seed % 3,
            leader_dies: seed.is_multiple_of(5),
            cheats: [Some(cheat), None],
            reshare: (seed / kinds).is_multiple_of(2),
            ..FAIR
        };
        history(seed, weather, |_| {});
    }
}

/// Two of a key that three open: dealers, leaders, members that lie, in any pair and any seats; in a reshare old members and new ones.
#[test]
fn two_cheats_together_break_nothing_whatever_they_do() {
    let (mut keys, mut proved) = (0, 0);
    let seeds = seeds(6, 40);
    for seed in &seeds {
        let rng = &mut StdRng::seed_from_u64(*seed);
        let mut draw = |many: usize| usize::try_from(rng.next_u64() % many as u64).unwrap();
        let cheats = [0; 2].map(|_| Some(CHEATS[draw(CHEATS.len())]));
        let weather = Weather {
            lost: 50,
            partitions: draw(3) as u64,
            leader_dies: draw(5) == 0,
            cheats,
            reshare: draw(2) == 0,
            ..FAIR
        };
        let world = history_of(*seed, (3, 5 + draw(3)), weather, |_| {});
        keys += usize::from(!world.certificates.is_empty());
        proved += usize::from(world.players.iter().any(|player| {
            let member = &player.node.member;
            let told = member.exclusions().iter().chain(member.accused());
            told.into_iter().any(|told| {
                told.verify(&world.proposal)
                    .is_ok_and(|fault| fault.is_some())
            })
        }));
    }
    assert_often("keys", keys, &seeds, 4);
    assert_often("convictions", proved, &seeds, 1);
}

/// Dealers that deal one polynomial in two attempts: a cheat that has another place in the second learns a second value of it.
#[test]
fn a_dealer_that_deals_its_polynomial_twice_is_found_to_be_opened() {
    let weather = Weather {
        leader_dies: true,
        cheats: [Some(Misbehaviour::FalseRefusal), None],
        planted: Some(Plant::SamePolynomial),
        ..FAIR
    };
    let sound = Weather {
        planted: None,
        ..weather
    };
    let mut found = 0;
    for seed in seeds(7, 12) {
        let play = |weather| {
            let played =
                std::panic::AssertUnwindSafe(|| drop(history_of(seed, (2, 4), weather, |_| {})));
            std::panic::catch_unwind(played).err().map(|panic| {
                let told = panic.downcast_ref::<String>().cloned();
                told.expect("an invariant has a sentence")
            })
        };
        assert_eq!(play(sound), None, "seed {seed}");
        if let Some(told) = play(weather) {
            assert!(told.starts_with("fewer than t open what"), "{told}");
            found += 1;
        }
    }
    assert!(
        found > 0 || from_env("SEED").is_some(),
        "nobody has noticed"
    );
}

/// What is said of shares that are no sharing.
#[test]
fn shares_that_fewer_than_t_open_are_found() {
    let rng = &mut StdRng::seed_from_u64(1);
    let mut random = || {
        let mut wide = [0; 64];
        rng.fill_bytes(&mut wide);
        Scalar::from_bytes_mod_order_wide(&wide)
    };
    let secret = random();
    let at = |coefficients: &[Scalar], index: u16| {
        let ascending = coefficients.iter().rev();
        ascending.fold(Scalar::ZERO, |sum, one| sum * Scalar::from(index) + one)
    };
    // Of three of five, two shares of one epoch and two of the next.
    let found = |first: &[Scalar], then: &[Scalar]| {
        let mut pool = Pool::default();
        pool.guard(&RistrettoPoint::mul_base(&secret).compress().to_bytes());
        let shares = [(first, 1), (first, 2), (then, 4), (then, 5)];
        let mut added = shares
            .into_iter()
            .map(|(coefficients, index)| pool.add((index, at(coefficients, index)), 3));
        added.find_map(|opened| opened)
    };
    let [one, other] = [0; 2].map(|_| [secret, random(), random()]);
    assert_eq!(found(&one, &other), None);
    // A reshare that hands the same polynomial on.
    assert_eq!(found(&one, &one), Some(vec![2, 1, 4]));
    // Polynomials that are too short.
    assert_eq!(found(&one[..2], &other), Some(vec![1, 2]));
    assert_eq!(found(&one, &other[..1]), Some(vec![4]));
}

/// The first leader dies, and the one whose turn it is leads falsely: the others make the key without both.
#[test]
fn a_leader_that_does_not_go_on_does_not_keep_the_lead() {
    const CHEATING: [Misbehaviour; 4] = [
        Misbehaviour::Stalling,
        Misbehaviour::FalseSums,
        Misbehaviour::CallingBack,
        Misbehaviour::FalseRefusal,
    ];
    let (mut keys, mut taken, seeds) = (0, Vec::new(), seeds(5, 48));
    for seed in &seeds {
        let weather = Weather {
            leader_dies: true,
            cheats: [Some(CHEATING[usize::try_from(seed % 4).unwrap()]), None],
            ..FAIR
        };
        // Two of five may be absent.
        let world = history_of(*seed, (2, 5), weather, |_| {});
        // Where the first died in time, and not before anybody had heard of the others' acceptances.
        let first = &world.players[world.first];
        let accepted = world.players.iter().any(|player| {
            let member = &player.node.member;
            member.attempt().is_some() || !player.keys.is_empty()
        });
        if first.dead && first.keys.is_empty() && accepted {
            taken.push(*seed);
            keys += usize::from(!world.certificates.is_empty());
        }
    }
    assert_often("deaths in time", taken.len(), &seeds, 3);
    assert_often("keys", keys, &taken, 9);
}

/// What the cheat does is all that the vocabulary has for members of a ceremony alone.
#[test]
fn every_word_for_misbehaviour_in_ceremonies_is_played() {
    for word in Misbehaviour::all() {
        let concerns = word.concerns();
        if concerns.ceremonies && !concerns.reads && !concerns.clients {
            assert!(CHEATS.contains(&word), "{word}");
        }
    }
}
