//! The summed path: false sums, errors that cancel in some sums, whole deals that are asked for, withheld, and asked for without end.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{
    Acceptance, Acknowledgement, Confirmation, Deal, DealFault, Fault, Leader, Member, MemberStage,
    Message, SEALED_SHARE,
};
use ed25519_dalek::Signer;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::hash;

use crate::cluster::{Cluster, NOW, Outcome, Step};
use crate::dealer::{self, Dealer};

/// 0-based: two dealers that cheat together, and two members that are cheated. None of them leads.
const CHEATS: [usize; 2] = [1, 3];
const VICTIM: usize = 2;
const OTHER: usize = 4;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

/// S_k + d_k·G for each k.
pub fn shifted(sums: &[u8], by: &[Scalar]) -> Vec<u8> {
    let decode = |bytes: &[u8; 32]| {
        curve25519_dalek::ristretto::CompressedRistretto(*bytes)
            .decompress()
            .unwrap()
    };
    sums.as_chunks::<32>()
        .0
        .iter()
        .zip(by)
        .flat_map(|(sum, d)| {
            (decode(sum) + RistrettoPoint::mul_base(d))
                .compress()
                .to_bytes()
        })
        .collect()
}

/// Changes what the leader says to the victim; counts how often the victim is asked for each form.
fn with_sums(cluster: &mut Cluster, change: impl Fn(&[u8]) -> Vec<u8>) -> (usize, usize) {
    let (mut summed, mut whole) = (0, 0);
    cluster.run_with(|_, step| match step {
        Step::Question(VICTIM, Message::Deals { sums, .. }) => {
            summed += 1;
            *sums = change(sums).into();
        }
        Step::Question(VICTIM, Message::WholeDeals { .. }) => whole += 1,
        _ => {}
    });
    (summed, whole)
}

#[test]
fn nobody_asks_for_whole_deals_when_the_sums_are_true() {
    let mut cluster = Cluster::new(3, 5, 400);
    cluster.run_with(|_, step| {
        let (Step::Question(_, message) | Step::Answer(_, message)) = step;
        assert!(!matches!(
            message,
            Message::WholeDeals { .. } | Message::DealsWanted { .. }
        ));
    });
    cluster.assert_completed();
}

#[test]
fn both_paths_make_the_same_key() {
    let keys = [false, true].map(|whole| {
        let mut cluster = Cluster::new(3, 5, 401);
        if whole {
            cluster = cluster.with_whole_deals();
        }
        cluster.run();
        cluster.assert_completed();
        let key = cluster.nodes[0].key.as_ref().unwrap();
        key.package.public_key()
    });
    // The machines draw the same randomness up to the deals.
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn false_sums_are_found_out_and_the_whole_deals_decide() {
    type Change = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    let (one, j) = (Scalar::ONE, Scalar::from(index(VICTIM)));
    let cases: [(&str, Change); 8] = [
        (
            "another constant term",
            Box::new(move |sums| shifted(sums, &[one, Scalar::ZERO, Scalar::ZERO])),
        ),
        (
            "another coefficient",
            Box::new(move |sums| shifted(sums, &[Scalar::ZERO, Scalar::ZERO, one])),
        ),
        // Fits the victim's share, but is not 0 at 0: x − j.
        (
            "fits the share, not the constant terms",
            Box::new(move |sums| shifted(sums, &[-j, one, Scalar::ZERO])),
        ),
        ("none", Box::new(|_| Vec::new())),
        ("one too few", Box::new(|sums| sums[32..].to_vec())),
        (
            "one too many",
            Box::new(|sums| [sums, &sums[..32]].concat()),
        ),
        (
            "the identity",
            Box::new(|sums| [&sums[..64], &[0; 32]].concat()),
        ),
        (
            "no point",
            Box::new(|sums| [&sums[..64], &[0xff; 32]].concat()),
        ),
    ];
    for (name, change) in cases {
        let mut cluster = Cluster::new(3, 5, 402);
        assert_eq!(with_sums(&mut cluster, change), (1, 1), "{name}");
        cluster.assert_completed();
    }
}

#[test]
fn the_operator_is_told_of_false_sums_and_they_are_refused_afterwards() {
    let mut cluster = Cluster::new(3, 5, 403);
    let (mut told, mut notice, mut refused_again) = (None, None, Vec::new());
    cluster.run_with(|cluster, step| match step {
        Step::Question(VICTIM, message @ Message::Deals { .. }) => {
            if let Message::Deals { sums, .. } = message {
                sums.reverse();
            }
            told = Some(message.clone());
        }
        Step::Question(VICTIM, message @ Message::WholeDeals { .. }) => {
            // The same machine, beside the cluster's own.
            let state = cluster.nodes[VICTIM].disk.clone().unwrap();
            let local = cluster.nodes[VICTIM].local.clone();
            let mut member = Member::restore(local, &state).unwrap();
            let (from, rng) = (cluster.leader_id(), &mut StdRng::seed_from_u64(1));
            let output = member.handle(&from, message.clone(), NOW, rng).unwrap();
            assert!(matches!(output.reply, Message::Acknowledged { .. }));
            notice = output.notice;
            // Nobody signs sums, so nobody but a leader is heard: a member could undo what others have acknowledged.
            let other = cluster.nodes[(VICTIM + 1) % 5]
                .local
                .identity
                .verifying_key();
            let other = other.to_bytes();
            assert_ne!(other, from);
            let refused = member.handle(&other, told.clone().unwrap(), NOW, rng);
            assert_eq!(
                refused.err().map(|fault| fault.code()),
                Some("not-the-leader")
            );
            assert_eq!(member.stage().name(), "acknowledged");
            // Which sums are true has been seen from the whole deals. That holds also after a crash.
            for _ in 0..2 {
                let again = member.handle(&from, told.clone().unwrap(), NOW, rng);
                refused_again.push(again.err().map(|fault| fault.code()));
                let state = output.persist.as_ref().unwrap();
                let local = cluster.nodes[VICTIM].local.clone();
                member = Member::restore(local, state).unwrap();
            }
        }
        _ => {}
    });
    assert_eq!(notice, Some(Fault::FalseSums));
    assert_eq!(refused_again, [Some("false-sums"); 2]);
    assert_eq!(Fault::FalseSums.code(), "false-sums");
    cluster.assert_completed();
}

/// S + x·(x − j): fits the constant terms and the victim's share. The victim acknowledges, and confirms a result that nobody else does.
#[test]
fn false_sums_that_fit_one_member_make_no_result() {
    let mut cluster = Cluster::new(3, 5, 404);
    let j = Scalar::from(index(VICTIM));
    let asked = with_sums(&mut cluster, |sums| {
        shifted(sums, &[Scalar::ZERO, -j, Scalar::ONE])
    });
    assert_eq!(asked, (1, 0));
    // An honest leader sees it. One that lies has no certificate: nobody else confirms these sums.
    cluster.assert_failed_by(VICTIM, "other-confirmation");
    assert!(cluster.nodes.iter().all(|node| node.key.is_none()));
}

/// The same by a member that does not lead, before the leader asks: it gets everybody's acknowledgements by asking for them.
#[test]
fn a_member_confirms_nothing_that_another_than_its_leader_has_shown_it() {
    let acknowledgements = {
        let (mut cluster, mut all) = (Cluster::new(3, 5, 405), None);
        cluster.run_with(|_, step| {
            if let Step::Question(VICTIM, message @ Message::Acknowledgements { .. }) = step {
                all = Some(message.clone());
            }
        });
        all.unwrap()
    };
    let mut cluster = Cluster::new(3, 5, 405);
    let (j, mut refused) = (Scalar::from(index(VICTIM)), None);
    cluster.run_with(|cluster, step| {
        let Step::Question(VICTIM, told @ Message::Deals { .. }) = step else {
            return;
        };
        if refused.is_some() {
            return;
        }
        let mut lie = told.clone();
        if let Message::Deals { sums, .. } = &mut lie {
            *sums = shifted(sums, &[Scalar::ZERO, -j, Scalar::ONE]).into();
        }
        let cheat = cluster.nodes[(VICTIM + 1) % 5].card.identity;
        assert_ne!(cheat, cluster.leader_id());
        let rng = &mut StdRng::seed_from_u64(1);
        let node = &mut cluster.nodes[VICTIM];
        let mut output = node.member.handle(&cheat, lie, NOW, rng).unwrap();
        assert_eq!(output.reply.name(), "acknowledged");
        node.write(&mut output);
        let asked = acknowledgements.clone();
        let confirmed = node.member.handle(&cheat, asked, NOW, rng);
        refused = Some(confirmed.err().map(|fault| fault.code()));
    });
    assert_eq!(refused, Some(Some("not-the-leader")));
    cluster.assert_completed();
}

/// The deals of both cheats, with these errors for the victim and the other.
fn cheat(
    cluster: &Cluster,
    acceptances: &[Acceptance],
    place: usize,
    errors: [(usize, Scalar); 2],
) -> Deal {
    let mut dealer = Dealer::new(
        &cluster.proposal,
        acceptances,
        index(place),
        dealer::encryption_secret(cluster.nodes[place].state()),
        1000 + place as u64,
    );
    for (to, error) in errors {
        let wrong = dealer.share(index(to)) + error;
        dealer.encrypt(index(to), wrong, &acceptances[to].encryption_key);
    }
    dealer.finish(&cluster.nodes[place].local.identity)
}

/// What two cheats do that go on as if all were well, by the documents alone: their own machines know other deals.
#[derive(Default)]
struct Conspiracy {
    acceptances: Vec<Acceptance>,
    deals: Vec<Deal>,
}

impl Conspiracy {
    fn params(&self, cluster: &Cluster) -> Vec<u8> {
        dealer::params(&cluster.proposal, 1, &self.acceptances)
    }

    fn set(&self, params: &[u8]) -> [u8; 64] {
        let digests: Vec<[u8; 64]> = self
            .deals
            .iter()
            .map(|deal| {
                let header = &deal.header;
                let items: [&[u8]; 5] = [
                    params,
                    &header.index.to_le_bytes(),
                    &header.constant,
                    &header.commitments_hash,
                    &header.ciphertexts_root,
                ];
                hash("cryptonode/v1/dkg-deal", &items)
            })
            .collect();
        let items: Vec<&[u8]> = std::iter::once(params)
            .chain(digests.iter().map(<[u8; 64]>::as_slice))
            .collect();
        hash("cryptonode/v1/dkg-deal-set", &items)
    }

    fn acknowledge(&self, cluster: &Cluster, place: usize) -> Message {
        let params = self.params(cluster);
        let set = self.set(&params);
        let index = index(place);
        let signed = hash(
            "cryptonode/v1/dkg-acknowledge",
            &[&params, &index.to_le_bytes(), &set],
        );
        let signature = cluster.nodes[place].local.identity.sign(&signed).to_bytes();
        Message::Acknowledged {
            attempt: 1,
            ceremony: cluster.proposal.id(),
            acknowledgement: Acknowledgement {
                set,
                index,
                signature,
            },
        }
    }

    fn confirm(&self, cluster: &Cluster, place: usize) -> Message {
        let params = self.params(cluster);
        let qualified: Vec<u8> = (1..=5u16).flat_map(u16::to_le_bytes).collect();
        let sums = dealer::sums(&self.deals);
        let (set, complaints) = (
            self.set(&params),
            hash("cryptonode/v1/dkg-complaint-set", &[&params]),
        );
        let epoch = 0u64.to_le_bytes();
        let mut items: Vec<&[u8]> = vec![&params, &epoch, &set, &complaints, &qualified];
        items.extend(sums.chunks(32));
        let result = hash("cryptonode/v1/dkg-result", &items);
        let (index, sealed_share) = (index(place), [7; SEALED_SHARE]);
        let signed = hash(
            "cryptonode/v1/dkg-confirm",
            &[&params, &index.to_le_bytes(), &result, &sealed_share],
        );
        let signature = cluster.nodes[place].local.identity.sign(&signed).to_bytes();
        Message::Confirmed {
            attempt: 1,
            ceremony: cluster.proposal.id(),
            confirmation: Confirmation {
                index,
                signature,
                sealed_share: serde_bytes::ByteBuf::from(sealed_share.to_vec()),
            },
        }
    }

    /// Replaces the answers of the cheats' own machines in the first attempt.
    fn answer(
        &mut self,
        cluster: &Cluster,
        place: usize,
        asked: &Message,
        reply: &mut Message,
        errors: [(usize, Scalar); 2],
    ) {
        if asked.attempt() != Some(1) && !matches!(asked, Message::Certificate { .. }) {
            return;
        }
        if let Message::Begin { acceptances, .. } = asked {
            self.acceptances.clone_from(acceptances);
        }
        let is_cheat = CHEATS.contains(&place);
        if is_cheat && let Message::Dealt { deal, .. } = reply {
            **deal = cheat(cluster, &self.acceptances, place, errors);
        }
        if let Message::Dealt { deal, .. } = reply {
            self.deals.push((**deal).clone());
            self.deals.sort_by_key(|deal| deal.header.index);
        }
        if !is_cheat {
            return;
        }
        match asked {
            Message::Deals { .. } => *reply = self.acknowledge(cluster, place),
            Message::Acknowledgements { .. } => *reply = self.confirm(cluster, place),
            Message::Certificate { ceremony, .. } => {
                *reply = Message::Activated {
                    ceremony: *ceremony,
                };
            }
            _ => {}
        }
    }
}

/// Wrong shares of two dealers that cancel in the victim's sum leave it with a right share of the sum.
#[test]
fn errors_that_cancel_in_every_sum_do_no_harm() {
    let mut cluster = Cluster::new(3, 5, 405);
    let (mut plot, mut asked) = (Conspiracy::default(), None);
    cluster.run_with(|cluster, step| match step {
        Step::Question(_, message) => asked = Some(message.clone()),
        Step::Answer(place, reply) => {
            let sign = if place == CHEATS[0] {
                Scalar::ONE
            } else {
                -Scalar::ONE
            };
            let errors = [(VICTIM, sign), (OTHER, sign + sign)];
            plot.answer(cluster, place, asked.as_ref().unwrap(), reply, errors);
        }
    });
    assert!(
        matches!(cluster.outcome, Some(Outcome::Completed)),
        "{:?}",
        cluster.outcome
    );
    cluster.assert_one_result();
    // Each honest member's share was checked against its public share when it was activated, and three of them are enough.
    for place in [0, VICTIM, OTHER] {
        assert_eq!(cluster.nodes[place].activations, 1);
    }
}

/// The errors cancel in the victim's sum and not in the other's: the other asks for the whole deals and names both dealers.
#[test]
fn errors_that_cancel_in_one_sum_and_not_in_another_name_both_dealers() {
    for may_be_absent in [0, 2] {
        let mut cluster = Cluster::with_absent(3, 5, may_be_absent, 406);
        let (mut plot, mut asked, mut answers) = (Conspiracy::default(), None, Vec::new());
        cluster.run_with(|cluster, step| match step {
            Step::Question(_, message) => asked = Some(message.clone()),
            Step::Answer(place, reply) => {
                let of_victim = if place == CHEATS[0] {
                    Scalar::ONE
                } else {
                    -Scalar::ONE
                };
                let errors = [(VICTIM, of_victim), (OTHER, Scalar::ONE)];
                plot.answer(cluster, place, asked.as_ref().unwrap(), reply, errors);
                if reply.attempt() == Some(1) && [VICTIM, OTHER].contains(&place) {
                    answers.push((place, reply.name()));
                }
            }
        });
        assert!(answers.contains(&(VICTIM, "acknowledged")));
        assert!(!answers.contains(&(VICTIM, "deals-wanted")));
        assert!(answers.contains(&(OTHER, "deals-wanted")));
        assert!(answers.contains(&(OTHER, "complained")));
        if may_be_absent == 2 {
            cluster.assert_completed_without(&CHEATS);
            continue;
        }
        let faults: Vec<Fault> = cluster
            .culprits()
            .into_iter()
            .map(|(_, fault)| fault)
            .collect();
        let expected = CHEATS.map(|cheat| Fault::BadDeal {
            dealer: index(cheat),
            reason: DealFault::Share { to: index(OTHER) },
        });
        assert_eq!(faults, expected);
    }
}

/// A leader that sends false sums and never the whole deals gets nothing, and the member gives up with its proposal.
#[test]
fn a_leader_that_withholds_the_whole_deals_gets_no_acknowledgement() {
    let mut cluster = Cluster::new(3, 5, 407);
    let mut withheld = None;
    let effects = cluster.leader.poll(cluster.now);
    let mut queue = cluster.carry_out(effects);
    while !cluster.is_over() {
        let Some((to, mut message)) = (!queue.is_empty()).then(|| queue.remove(0)) else {
            cluster.now = cluster.leader.next_poll().unwrap().max(cluster.now);
            let effects = cluster.leader.poll(cluster.now);
            queue = cluster.carry_out(effects);
            continue;
        };
        let place = cluster.index_of(&to);
        if let (VICTIM, Message::Deals { sums, .. }) = (place, &mut message) {
            sums.reverse();
        }
        if matches!(message, Message::WholeDeals { .. }) {
            assert_eq!(place, VICTIM);
            assert_eq!(
                cluster.nodes[VICTIM].member.stage(),
                MemberStage::DealsWanted
            );
            withheld = Some(message);
            cluster.leader.unreachable(&to, cluster.now);
            continue;
        }
        let from = cluster.leader_id();
        let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
        let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
        queue.extend(cluster.carry_out(effects));
    }
    cluster.assert_failed_by(VICTIM, "silent");
    assert!(cluster.now >= cluster.proposal.expires());
    // Whoever brings them later comes too late: nothing is left to check them with.
    let (from, now) = (cluster.leader_id(), cluster.now);
    let victim = &mut cluster.nodes[VICTIM].member;
    assert!(!victim.holds_secrets() || victim.expire(now).is_some());
    assert!(!victim.holds_secrets());
    let late = victim.handle(&from, withheld.unwrap(), now, &mut cluster.rng);
    assert_eq!(late.err().unwrap().code(), "closed");
}

#[test]
fn a_member_that_wants_whole_deals_comes_back_from_a_crash_and_so_does_the_leader() {
    let mut cluster = Cluster::new(3, 5, 408);
    let (mut asked, mut first, mut crashes) = (None, None, 0);
    let rng = &mut StdRng::seed_from_u64(2);
    let effects = cluster.leader.poll(cluster.now);
    let mut queue = cluster.carry_out(effects);
    while !cluster.is_over() {
        let Some((to, mut message)) = (!queue.is_empty()).then(|| queue.remove(0)) else {
            cluster.now = cluster.leader.next_poll().unwrap().max(cluster.now);
            let effects = cluster.leader.poll(cluster.now);
            queue = cluster.carry_out(effects);
            continue;
        };
        let (place, from) = (cluster.index_of(&to), cluster.leader_id());
        if let (VICTIM, Message::Deals { sums, .. }) = (place, &mut message) {
            sums.reverse();
            asked = Some(message.clone());
        }
        let mut reply = cluster.nodes[place].serve(&from, message.clone(), &mut cluster.rng);
        if matches!(reply, Message::DealsWanted { .. }) {
            // The member dies, is asked again, and says the same.
            let before = cluster.nodes[VICTIM].disk.clone();
            cluster.nodes[VICTIM].crash();
            assert_eq!(
                cluster.nodes[VICTIM].member.stage(),
                MemberStage::DealsWanted
            );
            let again = cluster.nodes[VICTIM].serve(&from, asked.clone().unwrap(), rng);
            assert_eq!(
                (again.to_bytes(), &cluster.nodes[VICTIM].disk),
                (reply.to_bytes(), &before)
            );
            if crashes == 0 {
                // The leader dies too, and has forgotten that whole deals were wanted.
                crashes += 1;
                cluster.leader = Leader::restore(cluster.leader_disk.as_ref().unwrap()).unwrap();
                let effects = cluster.leader.poll(cluster.now);
                queue = cluster.carry_out(effects);
                continue;
            }
        }
        if matches!(message, Message::WholeDeals { .. }) && first.is_none() {
            // The answer is lost with both, and the question comes again.
            first = Some(reply.to_bytes());
            cluster.nodes[VICTIM].crash();
            reply = cluster.nodes[VICTIM].serve(&from, message, rng);
            assert_eq!(Some(reply.to_bytes()), first);
        }
        let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
        queue.extend(cluster.carry_out(effects));
    }
    assert!(first.is_some() && crashes == 1);
    cluster.assert_completed();
}

/// Other deals than those that were first shown are evidence, in whichever form they come.
#[test]
fn whole_deals_must_be_those_of_the_excerpts() {
    let mut cluster = Cluster::new(3, 5, 409);
    let (mut acceptances, mut fault) = (Vec::new(), None);
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            VICTIM,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Question(VICTIM, Message::Deals { sums, .. }) => sums.reverse(),
        Step::Question(VICTIM, message @ Message::WholeDeals { .. }) => {
            let none = [(VICTIM, Scalar::ZERO), (OTHER, Scalar::ZERO)];
            let other = cheat(cluster, &acceptances, CHEATS[0], none);
            let mut question = message.clone();
            if let Message::WholeDeals { deals, .. } = &mut question {
                deals[CHEATS[0]] = dealer::relay(&other, index(VICTIM));
            }
            let (from, rng) = (cluster.leader_id(), &mut StdRng::seed_from_u64(3));
            let answer = cluster.nodes[VICTIM]
                .member
                .handle(&from, question, NOW, rng)
                .unwrap();
            if let Message::Notice { excluded, .. } = answer.reply {
                fault = excluded[0].verify(&cluster.proposal).unwrap();
            }
        }
        _ => {}
    });
    assert!(matches!(fault, Some(Fault::TwoDeals { dealer: 2, .. })));
    cluster.assert_completed();
}

/// A member that asks for the whole deals without end costs the leader a message now and then, and is left out as one that is silent.
#[test]
fn a_member_that_never_has_enough_is_left_out() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 410);
    let mut asked = 0;
    cluster.run_with(|cluster, step| match step {
        Step::Question(VICTIM, Message::WholeDeals { .. }) => asked += 1,
        Step::Answer(VICTIM, reply @ Message::Acknowledged { attempt: 1, .. }) => {
            *reply = Message::DealsWanted {
                attempt: 1,
                ceremony: cluster.proposal.id(),
            };
        }
        _ => {}
    });
    cluster.assert_completed_without(&[VICTIM]);
    assert!((2..40).contains(&asked), "{asked} times");
    assert_eq!(cluster.leader.exclusions()[0].grounds.code(), "silent");
}
