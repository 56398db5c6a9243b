//! Attempts that go on without somebody: cheats with evidence, the silent, the undecided, and leaders that leave out whom they like.

use curve25519_dalek::Scalar;
use dkg::{
    Acceptance, Exclusion, Fault, Grounds, MemberStage, Message, Proposal, ProposalError, Terms,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, NOW, Outcome, Step, terms};
use crate::dealer::{Dealer, encryption_secret};

/// 0-based: the member that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

/// A deal with a wrong share for the victim.
fn wrong_share(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index(CHEAT), secret, 1);
    let wrong = dealer.share(index(VICTIM)) + Scalar::ONE;
    dealer.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

/// A deal whose dealer does not know the constant term.
fn rogue_constant(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index(CHEAT), secret, 1);
    dealer.commitments[0] = dealer.commitments[1];
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

/// Deals whose commitments are too few, too many, or not all of them points that count.
fn with_commitments(
    cluster: &Cluster,
    acceptances: &[Acceptance],
    change: impl FnOnce(&mut Vec<[u8; 32]>),
) -> dkg::Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index(CHEAT), secret, 1);
    change(&mut dealer.commitments);
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

fn one_commitment_too_few(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    with_commitments(cluster, acceptances, |commitments| {
        commitments.pop();
    })
}

fn many_commitments_too_many(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    with_commitments(cluster, acceptances, |commitments| {
        let again = commitments[1];
        // The constant term is not counted here.
        commitments.resize(dkg::MAX_MEMBERS + 1, again);
    })
}

fn identity_commitment(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    with_commitments(cluster, acceptances, |commitments| commitments[2] = [0; 32])
}

pub type Cheat = fn(&Cluster, &[Acceptance]) -> dkg::Deal;

/// The cheat deals falsely in the first attempt; `ready` sees every `begin`.
pub fn cheat_once(cluster: &mut Cluster, cheat: Cheat, mut begun: impl FnMut(&mut Message, usize)) {
    let mut acceptances = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(place, message @ Message::Begin { .. }) => {
            if let Message::Begin {
                acceptances: all,
                attempt: 1,
                ..
            } = message
            {
                acceptances.clone_from(all);
            }
            begun(message, place);
        }
        Step::Answer(
            CHEAT,
            Message::Dealt {
                deal, attempt: 1, ..
            },
        ) => {
            **deal = cheat(cluster, &acceptances);
        }
        // The cheat itself finds its own deal in order.
        Step::Answer(CHEAT, reply @ Message::Refused { .. }) => {
            *reply = Message::Pending {
                ceremony: cluster.proposal.id(),
            };
        }
        _ => {}
    });
}

#[test]
fn a_cheat_is_left_out_with_evidence_that_every_member_has_checked() {
    let cases: [(Cheat, &str, &str); 5] = [
        (wrong_share, "complaint", "deal-share"),
        (rogue_constant, "void-deal", "deal-proof"),
        (one_commitment_too_few, "void-deal", "deal-commitment-count"),
        (
            many_commitments_too_many,
            "void-deal",
            "deal-commitment-count",
        ),
        (identity_commitment, "void-deal", "deal-commitment"),
    ];
    for (cheat, grounds, code) in cases {
        let mut cluster = Cluster::with_absent(3, 5, 1, 300);
        cheat_once(&mut cluster, cheat, |_, _| {});
        cluster.assert_completed_without(&[CHEAT]);
        for place in [0, 2, 3, 4] {
            let member = &cluster.nodes[place].member;
            let [exclusion] = member.exclusions() else {
                panic!("{:?}", member.exclusions())
            };
            assert_eq!(
                (exclusion.member, exclusion.grounds.code()),
                (index(CHEAT), grounds)
            );
            let fault = exclusion.verify(&cluster.proposal).unwrap().unwrap();
            assert_eq!(fault.code(), code);
            assert_eq!(member.attempt(), Some(2));
        }
        assert_eq!(cluster.nodes[0].key.as_ref().unwrap().package.members(), 4);
        assert_eq!(cluster.leader.exclusions().len(), 1);
    }
}

#[test]
fn without_leave_the_attempt_fails_by_name_as_before() {
    let mut cluster = Cluster::with_absent(3, 5, 0, 301);
    cheat_once(&mut cluster, wrong_share, |_, _| {});
    cluster.assert_failed_by(CHEAT, "deal-share");
    // Two cheats where one may be absent.
    let mut cluster = Cluster::with_absent(2, 5, 1, 302);
    let mut acceptances = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            _,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(place @ (1 | 3), Message::Dealt { deal, .. }) => {
            let own: Vec<Acceptance> = acceptances.clone();
            if place == 1 && own.len() == 5 {
                **deal = rogue_constant(cluster, &own);
            } else {
                deal.header.proof[40] ^= 1;
            }
        }
        _ => {}
    });
    let (name, _) = cluster.culprits().remove(0);
    assert_eq!(name, cluster.nodes[3].card.name);
    assert!(cluster.nodes.iter().all(|node| node.key.is_none()));
}

#[test]
fn a_false_complaint_leaves_its_author_out() {
    for truly in [true, false] {
        let cluster = crate::false_words::complain(303, truly, 1);
        cluster.assert_completed_without(&[CHEAT]);
        let [exclusion] = cluster.nodes[VICTIM].member.exclusions() else {
            panic!()
        };
        assert_eq!(exclusion.member, index(CHEAT));
        let fault = exclusion.verify(&cluster.proposal).unwrap().unwrap();
        assert_eq!(fault.code(), "false-complaint");
    }
}

#[test]
fn who_falls_silent_at_any_step_is_left_out() {
    let steps = ["begin", "deals", "acknowledgements"];
    for step in steps {
        let mut cluster = Cluster::with_absent(2, 4, 1, 304);
        let mut dead = false;
        cluster.run_lossy(|_, place, message, reply| {
            dead |= place == 3 && message.name() == step;
            (place != 3 || !dead).then_some(reply)
        });
        // The silent one may have confirmed; what it then holds is a share of nothing that anybody has.
        assert!(
            matches!(cluster.outcome, Some(Outcome::Completed)),
            "{step}: {:?}",
            cluster.outcome
        );
        cluster.assert_completed_without(&[3]);
        assert!(cluster.now >= NOW + u64::from(dkg::DEFAULT_PATIENCE_S));
        for exclusion in cluster.nodes[1].member.exclusions() {
            assert_eq!(
                (exclusion.member, &exclusion.grounds),
                (4, &Grounds::Silent)
            );
        }
    }
}

#[test]
fn operators_that_decline_or_sleep_do_not_stop_the_rest() {
    let mut cluster = Cluster::with_absent(2, 5, 2, 305);
    cluster.run_lossy(|cluster, place, message, reply| match (place, message) {
        (2, Message::Propose { .. }) => {
            let _ = cluster.nodes[2].member.reject("no");
            Some(Message::Rejected {
                ceremony: cluster.proposal.id(),
                reason: "no".to_owned(),
            })
        }
        (4, Message::Propose { .. }) => Some(Message::Pending {
            ceremony: cluster.proposal.id(),
        }),
        _ => Some(reply),
    });
    cluster.assert_completed_without(&[2, 4]);
    let grounds: Vec<_> = cluster.nodes[0]
        .member
        .exclusions()
        .iter()
        .map(|one| one.grounds.code())
        .collect();
    assert_eq!(grounds, ["rejected", "silent"]);
    assert_eq!(
        cluster.nodes[0].member.attempt(),
        Some(1),
        "no attempt was lost"
    );
}

#[test]
fn a_leader_that_leaves_out_whom_it_likes_is_refused() {
    type Alter = fn(&mut Message);
    let cases: [(&str, Alter); 6] = [
        ("false-evidence", |message| {
            let Message::Begin { excluded, .. } = message else {
                return;
            };
            if let Some(Exclusion {
                grounds: Grounds::Complaint { complaints, .. },
                ..
            }) = excluded.first_mut()
            {
                complaints.complaints[0].proof[80] ^= 1;
            }
        }),
        ("false-evidence", |message| {
            let Message::Begin { excluded, .. } = message else {
                return;
            };
            if let Some(Exclusion {
                grounds: Grounds::Complaint { accused, .. },
                ..
            }) = excluded.first_mut()
            {
                accused.header.proof[3] ^= 1;
            }
        }),
        ("exclusion-count", |message| {
            let Message::Begin { excluded, .. } = message else {
                return;
            };
            excluded.clear();
        }),
        ("exclusion-count", |message| {
            let Message::Begin { excluded, .. } = message else {
                return;
            };
            excluded.extend(excluded.clone());
        }),
        ("acceptance-count", |message| {
            let Message::Begin {
                acceptances,
                excluded,
                ..
            } = message
            else {
                return;
            };
            let member = acceptances.pop().unwrap().index;
            excluded.push(Exclusion {
                member,
                grounds: Grounds::Silent,
            });
        }),
        ("exclusion-count", |message| {
            let Message::Begin { attempt, .. } = message else {
                return;
            };
            *attempt = 40;
        }),
    ];
    for (expected, alter) in cases {
        let mut cluster = Cluster::with_absent(3, 5, 1, 307);
        let mut refused = None;
        let mut acceptances = Vec::new();
        cluster.run_with(|cluster, step| match step {
            Step::Question(place, message @ Message::Begin { .. }) => match message {
                Message::Begin {
                    acceptances: all,
                    attempt: 1,
                    ..
                } => acceptances.clone_from(all),
                message if place == VICTIM => alter(message),
                _ => {}
            },
            Step::Answer(
                CHEAT,
                Message::Dealt {
                    deal, attempt: 1, ..
                },
            ) => {
                **deal = wrong_share(cluster, &acceptances);
            }
            Step::Answer(CHEAT, reply @ Message::Refused { .. }) => {
                *reply = Message::Pending {
                    ceremony: cluster.proposal.id(),
                };
            }
            Step::Answer(VICTIM, Message::Refused { code, .. }) => {
                refused.get_or_insert_with(|| code.clone());
            }
            _ => {}
        });
        assert_eq!(refused.as_deref(), Some(expected));
        assert!(cluster.nodes.iter().all(|node| node.key.is_none()));
    }
}

#[test]
fn only_the_leader_begins_another_attempt() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 308);
    let mut tried = false;
    let mut acceptances = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            _,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Question(VICTIM, Message::Acknowledgements { .. }) => {
            let excluded = vec![Exclusion {
                member: 5,
                grounds: Grounds::Silent,
            }];
            let question = Message::Begin {
                attempt: 2,
                ceremony: cluster.proposal.id(),
                excluded,
                acceptances: acceptances[..4].to_vec(),
            };
            let from = cluster.nodes[CHEAT].card.identity;
            let mut rng = StdRng::seed_from_u64(1);
            let fault = cluster.nodes[VICTIM]
                .member
                .handle(&from, question, NOW, &mut rng)
                .err()
                .unwrap();
            assert_eq!(fault, Fault::NotLeader);
            tried = true;
        }
        _ => {}
    });
    assert!(tried);
    cluster.assert_completed();
}

#[test]
fn a_proposal_leaves_enough_members_in() {
    let cluster = Cluster::new(3, 5, 309);
    let propose = |may_be_absent, allow_few_members| {
        let terms = Terms {
            may_be_absent,
            allow_few_members,
            ..terms(3, &cluster.nodes)
        };
        Proposal::new(terms, &mut StdRng::seed_from_u64(1))
    };
    assert!(matches!(
        propose(1, false),
        Err(ProposalError::Absence {
            absent: 1,
            members: 5,
            threshold: 3
        })
    ));
    assert!(propose(0, false).is_ok() && propose(2, true).is_ok());
    assert!(matches!(
        propose(3, true),
        Err(ProposalError::Absence { .. })
    ));
    assert!(matches!(
        propose(u16::MAX, true),
        Err(ProposalError::Absence { .. })
    ));
}

/// Random losses, crashes and a member that dies for good at a random moment. Invariants, after every event: one result for each
/// attempt, and whoever has a key has a share that fits it. In the end: the key is made without the dead one, or with it.
#[test]
fn any_schedule_with_a_death_ends_in_a_key_of_the_living() {
    for seed in 0..120 {
        let mut chance = StdRng::seed_from_u64(seed);
        let members = 3 + (chance.next_u64() % 3) as usize;
        let mut cluster = Cluster::with_absent(2, members, 1, 7_000 + seed);
        let victim = 1 + (chance.next_u64() % (members as u64 - 1)) as usize;
        let mut left = 5 + (chance.next_u64() % 30) as i32;
        let mut storm = 60;
        cluster.run_lossy(|cluster, place, _, reply| {
            left -= 1;
            storm -= i32::from(storm > 0);
            if storm > 0 {
                match chance.next_u64() % 20 {
                    0 => cluster.nodes[(chance.next_u64() % members as u64) as usize].crash(),
                    1 => return None,
                    _ => {}
                }
            }
            cluster.assert_one_result();
            if place == victim && left < 0 {
                // The dead one is heard again once the key exists: else the leader would wait for its activation for ever.
                let exists = cluster.leader.attempt().is_none();
                return exists.then_some(reply);
            }
            Some(reply)
        });
        let out: Vec<usize> = cluster
            .leader
            .exclusions()
            .iter()
            .map(|one| usize::from(one.member) - 1)
            .collect();
        assert!(out.is_empty() || out == [victim], "seed {seed}: {out:?}");
        cluster.assert_completed_without(&out);
    }
}

#[test]
fn members_and_leader_killed_at_any_turn_of_a_second_attempt_go_on() {
    for turn in 0..60 {
        let mut cluster = Cluster::with_absent(2, 4, 1, 310);
        let mut count = 0;
        let mut acceptances = Vec::new();
        cluster.run_lossy(|cluster, place, message, mut reply| {
            if let Message::Begin {
                acceptances: all,
                attempt: 1,
                ..
            } = message
            {
                acceptances.clone_from(all);
            }
            if let (
                CHEAT,
                Message::Dealt {
                    deal, attempt: 1, ..
                },
            ) = (place, &mut reply)
            {
                **deal = rogue_constant(cluster, &acceptances);
            }
            count += 1;
            if count == turn {
                cluster.nodes[place].crash();
                return None;
            }
            if count == turn + 1 {
                cluster.crash_leader();
                for node in 0..4 {
                    let identity = cluster.nodes[node].card.identity;
                    cluster.leader.unreachable(&identity, cluster.now);
                }
                return None;
            }
            Some(reply)
        });
        cluster.assert_completed_without(&[CHEAT]);
        assert_eq!(cluster.nodes[CHEAT].member.stage(), MemberStage::Dealt);
    }
}

#[test]
fn a_leader_whose_own_member_is_silent_waits_without_spinning() {
    let mut cluster = Cluster::with_absent(2, 4, 1, 311);
    let mut polls = 0;
    cluster.run_lossy(|_, place, message, reply| {
        polls += 1;
        assert!(polls < 1_000, "asked at growing intervals only");
        (place != 0 || message.name() != "deals").then_some(reply)
    });
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!(
        (name, fault.code()),
        (cluster.nodes[0].card.name.clone(), "silent")
    );
    assert_eq!(cluster.now, cluster.proposal.expires());
    assert!(cluster.leader.exclusions().is_empty());
}
