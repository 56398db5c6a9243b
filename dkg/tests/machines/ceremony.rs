//! Whole ceremonies on a perfect network, and what can be done with their results.

use curve25519_dalek::Scalar;
use dkg::{
    CertificateError, DEFAULT_LIFETIME_S, Fault, Member, MemberStage, Message, Proposal,
    ProposalError,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{
    EphemeralKey, EphemeralSecret, Opening, Progress, WrappedKey, verify_request, wrap,
};
use vsss_rs::{DefaultShare, IdentifierPrimeField, ReadableShareSet, Share};

use crate::cluster::{Cluster, NOW, Node, POLICY, Step, propose, terms};

const SIZES: [(u16, usize); 9] = [
    (1, 1),
    (1, 2),
    (2, 2),
    (2, 3),
    (3, 5),
    (5, 5),
    (4, 7),
    (7, 10),
    (1, 4),
];

#[test]
fn shares_open_what_is_wrapped_under_the_key() {
    for (threshold, members) in SIZES {
        let mut cluster = Cluster::new(threshold, members, u64::from(threshold));
        cluster.run();
        cluster.assert_completed();
        let rng = &mut StdRng::seed_from_u64(1);
        let package = cluster.nodes[0].key.as_ref().unwrap().package.clone();
        assert_eq!((package.epoch(), package.threshold()), (0, threshold));
        let wrapped = wrap(&package.public_key(), b"label", &[9; 32], rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, rng);
        let request = *ephemeral.public().as_bytes();
        let bytes = wrapped.as_bytes().to_vec();
        let mut opening = Opening::new(wrapped, ephemeral, package).unwrap();
        // The last t members: any t do.
        let chosen = members - usize::from(threshold)..members;
        for place in chosen.clone() {
            let key = cluster.nodes[place].key.as_ref().unwrap();
            let (wrapped, ephemeral) = verify_request(
                &WrappedKey::parse(&bytes).unwrap(),
                &EphemeralKey::parse(&request).unwrap(),
                rng,
            )
            .unwrap();
            let share = key.share.reencrypt(&wrapped, &ephemeral, rng).unwrap();
            match opening.add(key.share.index(), &share.to_bytes()) {
                Progress::Opened(secret) if place + 1 == chosen.end => {
                    assert_eq!(secret.expose(), [9; 32])
                }
                Progress::Need(more) => assert_eq!(more, chosen.end - place - 1),
                other => panic!("{threshold} of {members}: {other:?}"),
            }
        }
    }
}

#[test]
fn an_independent_library_combines_the_shares_to_the_secret_of_the_key() {
    type OracleShare = DefaultShare<IdentifierPrimeField<Scalar>, IdentifierPrimeField<Scalar>>;
    for (threshold, members) in SIZES {
        if threshold < 2 {
            continue; // vsss-rs shares among two and more.
        }
        let mut cluster = Cluster::new(threshold, members, 100 + u64::from(threshold));
        cluster.run();
        let shares: Vec<OracleShare> = cluster
            .nodes
            .iter()
            .map(|node| {
                let share = &node.key.as_ref().unwrap().share;
                OracleShare::with_identifier_and_value(
                    IdentifierPrimeField(Scalar::from(share.index())),
                    IdentifierPrimeField(*share.secret().expose()),
                )
            })
            .collect();
        let public_key = cluster.nodes[0].key.as_ref().unwrap().package.public_key();
        let t = usize::from(threshold);
        for start in 0..=members - t {
            let secret = shares[start..start + t].to_vec().combine().unwrap().0;
            assert_eq!(
                curve25519_dalek::RistrettoPoint::mul_base(&secret),
                *public_key.as_ristretto()
            );
        }
        if t > 2 {
            let too_few = shares[..t - 1].to_vec().combine().unwrap().0;
            assert_ne!(
                curve25519_dalek::RistrettoPoint::mul_base(&too_few),
                *public_key.as_ristretto()
            );
        }
    }
}

#[test]
fn the_certificate_verifies_offline_and_restores_shares() {
    let mut cluster = Cluster::new(3, 5, 3);
    cluster.run();
    let key = cluster.nodes[2].key.as_ref().unwrap();
    let pinned: Vec<[u8; 32]> = cluster
        .nodes
        .iter()
        .rev()
        .map(|node| node.card.identity)
        .collect();
    let certified = dkg::verify_certificate(&key.certificate, &pinned).unwrap();
    assert_eq!(certified.public_key(), key.package.public_key());
    assert_eq!(certified.policy_hash(), &POLICY);
    assert_eq!(certified.members(), key.members);
    for node in &cluster.nodes {
        assert_eq!(node.key.as_ref().unwrap().certificate, key.certificate);
        let restored = certified.recover_share(&node.phrase).unwrap();
        assert_eq!(
            restored.public_share(),
            node.key.as_ref().unwrap().share.public_share()
        );
    }
    let stranger = Node::new("stranger", 99);
    assert_eq!(
        certified.recover_share(&stranger.phrase).unwrap_err(),
        CertificateError::NotAMember
    );
    assert_eq!(
        dkg::verify_certificate(&key.certificate, &pinned[1..]).unwrap_err(),
        CertificateError::OtherMembers
    );
    let mut swapped = pinned.clone();
    swapped[0] = stranger.card.identity;
    assert_eq!(
        dkg::verify_certificate(&key.certificate, &swapped).unwrap_err(),
        CertificateError::OtherMembers
    );
}

#[test]
fn no_altered_certificate_verifies() {
    let mut cluster = Cluster::new(2, 3, 4);
    cluster.run();
    let certificate = cluster.nodes[0].key.as_ref().unwrap().certificate.clone();
    let pinned: Vec<[u8; 32]> = cluster
        .nodes
        .iter()
        .map(|node| node.card.identity)
        .collect();
    assert!(dkg::verify_certificate(&certificate, &pinned).is_ok());
    for place in 0..certificate.len() {
        let mut altered = certificate.clone();
        altered[place] ^= 1 << (place % 8);
        assert!(
            dkg::verify_certificate(&altered, &pinned).is_err(),
            "byte {place}"
        );
    }
    for length in (0..certificate.len()).step_by(7) {
        assert!(dkg::verify_certificate(&certificate[..length], &pinned).is_err());
    }
}

#[test]
fn the_operator_decides_and_the_leader_asks_again() {
    let mut cluster = Cluster::new(2, 3, 5);
    let mut rng = StdRng::seed_from_u64(0);
    let effects = cluster.leader.poll(NOW);
    let sends = cluster.carry_out(effects);
    assert_eq!(sends.len(), 3);
    let leader_id = cluster.leader_id();
    for (to, message) in sends {
        let place = cluster.index_of(&to);
        let output = cluster.nodes[place]
            .member
            .handle(&leader_id, message.clone(), NOW, &mut rng)
            .unwrap();
        assert!(matches!(output.reply, Message::Pending { .. }) && output.persist.is_some());
        let again = cluster.nodes[place]
            .member
            .handle(&leader_id, message, NOW, &mut rng)
            .unwrap();
        assert!(again.persist.is_none() && again.reply == output.reply);
        assert!(
            cluster
                .leader
                .handle_reply(&to, &output.reply, NOW)
                .is_empty()
        );
    }
    let waiting = cluster.leader.progress().waiting;
    assert_eq!(waiting.len(), 3);
    assert!(
        waiting
            .iter()
            .all(|waiting| waiting.waiting_for == dkg::WaitingFor::Decision)
    );
    assert!(cluster.leader.poll(NOW).is_empty());
    cluster.now = cluster.leader.next_poll().unwrap();
    // From here on the nodes accept.
    for node in &mut cluster.nodes {
        node.member.accept(NOW, &mut rng).unwrap();
    }
    cluster.run();
    cluster.assert_completed();
}

#[test]
fn a_rejection_fails_the_ceremony_by_name_and_everybody_erases() {
    let mut cluster = Cluster::new(2, 3, 6);
    cluster.run_with(|cluster, step| {
        if let Step::Answer(2, reply @ Message::Accepted { .. }) = step {
            *reply = cluster.nodes[2]
                .member
                .reject("not this week")
                .unwrap()
                .reply;
        }
    });
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!(name, cluster.nodes[2].card.name);
    assert_eq!(
        fault,
        Fault::Rejected {
            member: 3,
            reason: "not this week".to_owned()
        }
    );
    assert!(
        cluster
            .nodes
            .iter()
            .all(|node| node.member.stage() == MemberStage::Closed)
    );
}

#[test]
fn a_silent_member_is_named_when_the_proposal_expires() {
    let mut cluster = Cluster::new(2, 3, 7);
    let effects = cluster.leader.poll(NOW);
    for (to, message) in cluster.carry_out(effects) {
        let place = cluster.index_of(&to);
        if place == 1 {
            cluster.leader.unreachable(&to, NOW);
        } else {
            let reply = cluster.nodes[place].serve(
                &cluster.proposal.leader().clone(),
                message,
                &mut cluster.rng,
            );
            cluster.leader.handle_reply(&to, &reply, NOW);
        }
    }
    let effects = cluster.leader.poll(NOW + 3600);
    cluster.carry_out(effects);
    let culprits = cluster.culprits();
    assert_eq!(culprits.len(), 1);
    assert_eq!(culprits[0].0, cluster.nodes[1].card.name);
    assert_eq!(culprits[0].1.code(), "silent");
    for node in &mut cluster.nodes {
        let closed = node.member.expire(NOW + 3600);
        assert_eq!(closed.is_some(), node.disk.is_some());
        assert!(node.member.expire(NOW + 3601).is_none());
    }
}

#[test]
fn a_member_that_confirmed_keeps_its_share_whatever_happens() {
    let mut cluster = Cluster::new(2, 3, 8);
    let mut kept = None;
    cluster.run_with(|_, step| match step {
        Step::Question(_, message @ Message::Certificate { .. }) => {
            // The certificate is lost for now.
            kept = Some(message.clone());
            *message = Message::Activated {
                ceremony: message.ceremony().unwrap(),
            };
        }
        Step::Answer(_, reply @ Message::Refused { .. }) => {
            *reply = Message::Activated {
                ceremony: reply.ceremony().unwrap(),
            };
        }
        _ => {}
    });
    let from = cluster.leader_id();
    for node in &mut cluster.nodes {
        assert_eq!(node.member.stage(), MemberStage::Confirmed);
        // All but the share goes: nothing else is dealt or opened.
        let state = node.member.expire(NOW + 1_000_000).unwrap();
        assert_eq!(state[1], 2, "x_j, and not n_j");
        node.disk = Some(state.to_vec());
        assert!(node.member.expire(NOW + 1_000_000).is_none());
        assert!(matches!(
            node.member.reject("too late"),
            Err(Fault::AlreadyConfirmed)
        ));
        node.crash();
        let late = node
            .member
            .handle(
                &from,
                kept.clone().unwrap(),
                NOW + 1_000_000,
                &mut cluster.rng,
            )
            .unwrap();
        assert!(late.activated.is_some());
        let again = node
            .member
            .handle(
                &from,
                kept.clone().unwrap(),
                NOW + 1_000_000,
                &mut cluster.rng,
            )
            .unwrap();
        assert!(again.activated.is_none() && again.persist.is_none() && again.reply == late.reply);
    }
}

#[test]
fn the_leader_calls_it_off_and_members_erase() {
    let mut cluster = Cluster::new(2, 3, 9);
    let effects = cluster.leader.poll(NOW);
    let sends = cluster.carry_out(effects);
    let leader_id = cluster.leader_id();
    for (to, message) in sends {
        let place = cluster.index_of(&to);
        cluster.nodes[place].serve(&leader_id, message, &mut cluster.rng);
        cluster.leader.unreachable(&to, NOW);
    }
    let effects = cluster.leader.abort(NOW);
    for (to, message) in cluster.carry_out(effects) {
        let place = cluster.index_of(&to);
        assert!(matches!(message, Message::Abandon { .. }));
        let forged = Message::Abandon {
            ceremony: cluster.proposal.id(),
            excluded: Vec::new(),
            signature: [1; 64],
        };
        let refused = cluster.nodes[place].serve(&leader_id, forged, &mut cluster.rng);
        assert!(matches!(refused, Message::Refused { code, .. } if code == "abandon-signature"));
        let reply = cluster.nodes[place].serve(&leader_id, message, &mut cluster.rng);
        assert!(matches!(reply, Message::Abandoned { .. }));
        assert_eq!(cluster.nodes[place].member.stage(), MemberStage::Closed);
        cluster.leader.handle_reply(&to, &reply, NOW);
    }
    assert!(cluster.culprits().is_empty());
    assert!(cluster.leader.next_poll().is_none());
}

#[test]
fn another_policy_or_version_or_card_is_refused_by_name_before_anything_starts() {
    let mut cluster = Cluster::new(2, 3, 10);
    cluster.nodes[1].local.policy_hash = [8; 32];
    cluster.nodes[1].member = Member::new(cluster.nodes[1].local.clone());
    cluster.run();
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!(name, cluster.nodes[1].card.name);
    assert!(matches!(fault, Fault::Refused { member: 2, code, .. } if code == "other-policy"));
    assert!(cluster.nodes[1].disk.is_none());

    let other_version = [2, 0xa0];
    assert!(matches!(
        Message::from_bytes(&other_version),
        Err(dkg::WireError::Version { ours: 1, theirs: 2 })
    ));

    let mut cluster = Cluster::new(2, 3, 11);
    cluster.nodes[2].local.recovery_public = cluster.nodes[0].local.recovery_public;
    cluster.nodes[2].member = Member::new(cluster.nodes[2].local.clone());
    cluster.run();
    let (_, fault) = cluster.culprits().remove(0);
    assert!(matches!(fault, Fault::Refused { member: 3, code, .. } if code == "not-listed"));
}

#[test]
fn proposals_that_make_no_sense_are_refused() {
    let nodes: Vec<Node> = (0..3)
        .map(|place| Node::new(&format!("n{place}"), place))
        .collect();
    let mut rng = StdRng::seed_from_u64(0);
    let mut refused = |change: &dyn Fn(&mut dkg::Terms)| {
        let mut terms = terms(2, &nodes);
        change(&mut terms);
        Proposal::new(terms, &mut rng).unwrap_err()
    };
    assert!(matches!(
        refused(&|terms| terms.threshold = 0),
        ProposalError::Threshold { .. }
    ));
    assert!(matches!(
        refused(&|terms| terms.threshold = 4),
        ProposalError::Threshold { .. }
    ));
    assert!(matches!(
        refused(&|terms| terms.members.clear()),
        ProposalError::MemberCount(0)
    ));
    assert!(matches!(
        refused(&|terms| {
            terms.threshold = 3;
            terms.allow_few_members = false;
        }),
        ProposalError::FewMembers {
            threshold: 3,
            members: 3,
            needed: 5
        }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[1] = terms.members[0].clone()),
        ProposalError::Duplicate {
            what: "identity",
            ..
        }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[1].recovery_public = terms.members[0].recovery_public),
        ProposalError::Duplicate {
            what: "recovery key",
            ..
        }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[1].name = terms.members[0].name.clone()),
        ProposalError::Duplicate { what: "name", .. }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[1].recovery_public = [0; 32]),
        ProposalError::Key {
            what: "recovery key",
            ..
        }
    ));
    assert!(matches!(
        refused(&|terms| {
            // The neutral element: of small order.
            terms.members[1].identity = [0; 32];
            terms.members[1].identity[0] = 1;
        }),
        ProposalError::Key {
            what: "identity",
            ..
        }
    ));
    assert!(matches!(
        refused(&|terms| terms.leader = [3; 32]),
        ProposalError::Leader
    ));
    assert!(matches!(
        refused(&|terms| terms.expires = terms.created),
        ProposalError::Lifetime { .. }
    ));
    assert!(matches!(
        refused(&|terms| terms.expires = terms.created + 40 * DEFAULT_LIFETIME_S),
        ProposalError::Lifetime { .. }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[0].name = "a\nb".to_owned()),
        ProposalError::Text { what: "name" }
    ));
    assert!(matches!(
        refused(&|terms| terms.members[0].address = "a".repeat(256)),
        ProposalError::Text { what: "address" }
    ));
    let proposal = propose(2, &nodes, &mut rng);
    assert!(matches!(
        dkg::Leader::new(proposal.clone(), &nodes[0].local.identity, NOW + 3600),
        Err(Fault::Expired { .. })
    ));
    assert!(proposal.sign(&nodes[1].local.identity).is_err());
}

/// The largest cluster that the summed path is measured for in one process: every message crosses the wire's encoding.
#[test]
fn a_ceremony_of_128_members_completes() {
    let mut cluster = Cluster::new(86, 128, 128);
    let mut longest = 0;
    cluster.run_with(|_, step| {
        if let Step::Question(1, message) = step {
            longest = longest.max(message.to_bytes().len());
        }
    });
    cluster.assert_completed();
    // O(n log n + t) bytes: the whole deals would be 128·86·32 bytes of commitments alone.
    assert!(longest < 120_000, "{longest} bytes");
}
