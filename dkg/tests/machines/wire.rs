//! Messages: one encoding, bounded, and nothing that is sent can make a machine panic.

use dkg::{Acknowledgement, Fault, MAX_MESSAGE, Member, MemberStage, Message, WireError};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, NOW, Step};
use crate::world::{Event, World};

/// Every message between the leader and member 2 in a ceremony of three, the sums being false, so that the whole deals are sent too.
fn traffic() -> (Cluster, Vec<Message>) {
    let mut cluster = Cluster::new(2, 3, 1);
    let mut messages = Vec::new();
    cluster.run_with(|_, step| match step {
        Step::Question(1, message) => {
            make_sums_false(message);
            messages.push(message.clone());
        }
        Step::Answer(1, message) => messages.push(message.clone()),
        _ => {}
    });
    cluster.assert_completed();
    (cluster, messages)
}

/// Swaps the first two sums.
fn make_sums_false(message: &mut Message) {
    if let Message::Deals { sums, .. } = message {
        sums[..64].rotate_left(32);
    }
}

#[test]
fn every_message_has_one_encoding() {
    let (_, messages) = traffic();
    assert_eq!(messages.len(), 12);
    for message in messages {
        let bytes = message.to_bytes();
        assert_eq!(Message::from_bytes(&bytes).unwrap(), message);
        assert_eq!(bytes[0], dkg::wire_v1::WIRE_VERSION);
        for length in (0..bytes.len()).step_by(13) {
            assert!(Message::from_bytes(&bytes[..length]).is_err());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Message::from_bytes(&longer).is_err());
    }
    assert_eq!(Message::from_bytes(&[]), Err(WireError::Empty));
    let long = vec![1; MAX_MESSAGE + 2];
    assert!(matches!(
        Message::from_bytes(&long),
        Err(WireError::TooLong { .. })
    ));
}

#[test]
fn announced_lengths_reserve_nothing() {
    // A map with one key, whose value announces 2^60 bytes, or as many elements.
    for head in [0x5b, 0x9b, 0xbb, 0x7b] {
        let mut bytes = vec![1, 0xa1, 0x65];
        bytes.extend_from_slice(b"deals");
        bytes.push(head);
        bytes.extend_from_slice(&(1u64 << 60).to_be_bytes());
        assert!(Message::from_bytes(&bytes).is_err());
    }
    let nested = [vec![1], vec![0x81; 100_000]].concat();
    assert!(Message::from_bytes(&nested).is_err());
}

#[test]
fn no_altered_byte_of_a_question_changes_the_result() {
    // Each question to member 2, with one bit of each byte flipped: refused, or the whole deals are asked for.
    for whole_too in [false, true] {
        flip_every_byte(whole_too);
    }
}

fn flip_every_byte(whole_too: bool) {
    let mut cluster = Cluster::new(2, 3, 2);
    let rng = &mut StdRng::seed_from_u64(5);
    cluster.run_with(|cluster, step| {
        let Step::Question(1, message) = step else {
            return;
        };
        if whole_too {
            make_sums_false(message);
            if !matches!(message, Message::WholeDeals { .. }) {
                return;
            }
        }
        let (bytes, from) = (message.to_bytes(), cluster.leader_id());
        let state = cluster.nodes[1].disk.clone();
        let machine = || match &state {
            Some(state) => Member::restore(cluster.nodes[1].local.clone(), state).unwrap(),
            None => Member::new(cluster.nodes[1].local.clone()),
        };
        let answered = machine().handle(&from, message.clone(), NOW, rng);
        let answered = answered.unwrap().reply;
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << (place % 8);
            let Ok(altered) = Message::from_bytes(&altered) else {
                continue;
            };
            let mut member = machine();
            let altered_attempt = altered.attempt();
            let same_sets = acknowledged(&altered) == acknowledged(message);
            match member.handle(&from, altered, NOW, rng) {
                Err(fault) => assert!(!fault.code().is_empty() && !fault.to_string().is_empty()),
                // Another number is another attempt.
                Ok(_) if altered_attempt != message.attempt() => {}
                // A `begin` of this number that is not this attempt's is answered with the one that is.
                Ok(output) if matches!(output.reply, Message::Begun { .. }) => {
                    assert!(output.persist.is_none());
                }
                // Nobody has signed the sums; the whole deals will tell.
                Ok(output) if matches!(output.reply, Message::DealsWanted { .. }) => {}
                // The signature of a deal is looked at when something else is wrong: what is acknowledged are the same deals.
                Ok(output)
                    if matches!(output.reply, Message::Acknowledged { .. })
                        && output.reply == answered => {}
                // Nor is the signature of another's acknowledgement, before somebody is blamed: everybody confirms the same set.
                Ok(output) if matches!(output.reply, Message::Confirmed { .. }) && same_sets => {}
                // Nothing else of a question may be altered and yet be answered.
                Ok(output) => panic!(
                    "byte {place} of `{}` altered, and answered `{}`",
                    message.name(),
                    output.reply.name()
                ),
            }
        }
    });
    cluster.assert_completed();
}

/// What a question says that the members have acknowledged, without the signatures of all but member 2.
fn acknowledged(question: &Message) -> Option<Vec<Acknowledgement>> {
    let Message::Acknowledgements {
        acknowledgements, ..
    } = question
    else {
        return None;
    };
    let mut said = acknowledgements.clone();
    for other in said.iter_mut().filter(|one| one.index != 2) {
        other.signature = [0; 64];
    }
    Some(said)
}

#[test]
fn strangers_and_other_ceremonies_are_refused() {
    let mut first = Cluster::new(2, 3, 3);
    let mut second = Cluster::new(2, 3, 3);
    // The same nodes, two proposals.
    let mut rng = StdRng::seed_from_u64(9);
    second.proposal = crate::cluster::propose(2, &second.nodes, &mut rng);
    second.leader = dkg::Leader::new(
        second.proposal.clone(),
        &second.nodes[0].local.identity,
        NOW,
    )
    .unwrap();
    let mut recorded = Vec::new();
    first.run_with(|_, step| {
        if let Step::Question(1, message) = step {
            recorded.push(message.clone());
        }
    });
    let from = second.leader_id();
    second.run_with(|cluster, step| {
        let Step::Question(1, _) = step else { return };
        if cluster.nodes[1].disk.is_none() {
            return;
        }
        for message in &recorded {
            let fault = cluster.nodes[1]
                .member
                .handle(&from, message.clone(), NOW, &mut rng)
                .err()
                .unwrap();
            if matches!(message, Message::Propose { .. }) {
                assert_eq!(fault, Fault::OtherProposal);
            } else {
                assert_eq!(fault, Fault::OtherCeremony);
                // And under this ceremony's name. Who has activated says so to whoever asks.
                let renamed = rename(message.clone(), cluster.proposal.id());
                let activated = cluster.nodes[1].member.stage() == MemberStage::Activated;
                if !(activated && matches!(renamed, Message::Certificate { .. })) {
                    let answer = cluster.nodes[1]
                        .member
                        .handle(&from, renamed, NOW, &mut rng);
                    // Refused, or answered with what the member is in.
                    assert!(
                        answer.is_err()
                            || matches!(
                                answer.unwrap(),
                                dkg::MemberOutput {
                                    persist: None,
                                    reply: Message::Begun { .. } | Message::Certificate { .. },
                                    ..
                                }
                            )
                    );
                }
            }
            let fault = cluster.nodes[1]
                .member
                .handle(&[5; 32], message.clone(), NOW, &mut rng)
                .err()
                .unwrap();
            assert!(matches!(
                fault,
                Fault::Stranger { .. } | Fault::OtherCeremony
            ));
        }
    });
    second.assert_completed();
}

fn rename(message: Message, id: [u8; 16]) -> Message {
    match message {
        Message::Begin {
            attempt,
            acceptances,
            ..
        } => Message::Begin {
            ceremony: id,
            attempt,
            excluded: Vec::new(),
            acceptances,
        },
        Message::Deals {
            attempt,
            deals,
            sums,
            ..
        } => Message::Deals {
            ceremony: id,
            attempt,
            deals,
            sums,
        },
        Message::WholeDeals { attempt, deals, .. } => Message::WholeDeals {
            ceremony: id,
            attempt,
            deals,
        },
        Message::Acknowledgements {
            attempt,
            acknowledgements,
            ..
        } => Message::Acknowledgements {
            ceremony: id,
            attempt,
            acknowledgements,
        },
        Message::Certificate {
            certificate,
            public_shares,
            ..
        } => Message::Certificate {
            ceremony: id,
            certificate,
            public_shares,
        },
        other => other,
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Message::from_bytes(&bytes);
        let _ = dkg::verify_certificate(&bytes, &[]);
        let _ = dkg::Proposal::from_bytes(&bytes);
        let _ = dkg::Leader::restore(&bytes);
        let versioned = [&[1u8][..], &bytes].concat();
        let _ = Message::from_bytes(&versioned);
        let _ = dkg::Leader::restore(&versioned);
    }
}

#[test]
fn damaged_messages_never_panic() {
    let (mut cluster, messages) = traffic();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 600,
        ..Default::default()
    });
    let from = cluster.leader_id();
    let node = &mut cluster.nodes[1];
    let strategy = (
        0..messages.len(),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<prop::sample::Index>(),
    );
    let node = std::cell::RefCell::new(node);
    runner
        .run(&strategy, |(which, place, value, cut)| {
            let mut bytes = messages[which].to_bytes();
            let place = place.index(bytes.len());
            bytes[place] = value;
            if value % 3 == 0 {
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            if let Ok(message) = Message::from_bytes(&bytes) {
                let mut rng = StdRng::seed_from_u64(0);
                let _ = node
                    .borrow_mut()
                    .member
                    .handle(&from, message, NOW, &mut rng);
            }
            Ok(())
        })
        .unwrap();
}

/// Keys in the order of their encodings, shortest heads, definite lengths: RFC 8949, section 4.2.1.
fn assert_deterministic(bytes: &[u8]) {
    let value: ciborium::Value = ciborium::from_reader(bytes).unwrap();
    assert_sorted(&value);
    let mut again = Vec::new();
    ciborium::into_writer(&value, &mut again).unwrap();
    assert_eq!(again, bytes);
}

fn assert_sorted(value: &ciborium::Value) {
    match value {
        ciborium::Value::Map(entries) => {
            let keys: Vec<&str> = entries
                .iter()
                .map(|(key, _)| key.as_text().unwrap())
                .collect();
            let mut sorted = keys.clone();
            sorted.sort_by_key(|key| (key.len(), *key));
            assert_eq!(keys, sorted);
            entries.iter().for_each(|(_, value)| assert_sorted(value));
        }
        ciborium::Value::Array(values) => values.iter().for_each(assert_sorted),
        _ => {}
    }
}

#[test]
fn all_encodings_are_core_deterministic() {
    let (cluster, messages) = traffic();
    for message in &messages {
        assert_deterministic(&message.to_bytes()[1..]);
    }
    let other = [
        Message::Abandon {
            ceremony: [1; 16],
            excluded: Vec::new(),
            signature: [2; 64],
        },
        Message::Rejected {
            ceremony: [1; 16],
            reason: "no".to_owned(),
        },
        Message::refusal(messages[0].about(), &Fault::NotListed),
    ];
    for message in &other {
        assert_deterministic(&message.to_bytes()[1..]);
    }
    assert_deterministic(&cluster.proposal.to_bytes());
    assert_deterministic(&cluster.nodes[0].key.as_ref().unwrap().certificate);
}

#[test]
fn every_message_of_a_reshare_has_one_encoding_too() {
    let mut world = World::new(21);
    let base = world.create(2, &["a", "b", "c"]);
    let terms = world.reshare(&base, 2, &["c", "x", "y"]);
    let mut run = world.propose(terms);
    let mut kinds = std::collections::BTreeSet::new();
    let mut check = |message: &Message| {
        kinds.insert(message.name());
        let bytes = message.to_bytes();
        assert_deterministic(&bytes[1..]);
        assert_eq!(Message::from_bytes(&bytes).unwrap(), *message);
    };
    world.run(&mut run, |_, _, event| match event {
        Event::Question(message) => check(message),
        Event::Answer(_, reply) => check(reply.as_ref().unwrap()),
    });
    assert!(kinds.contains("ready") && kinds.contains("hand-over"));
    assert_deterministic(&run.proposal.to_bytes());
    assert_deterministic(run.certificate.as_ref().unwrap());
}

/// The bytes of version 1 are frozen: a change of any of them breaks the members of today.
#[test]
fn the_shape_of_a_message_is_frozen() {
    let bytes = Message::Abandon {
        ceremony: [1; 16],
        excluded: Vec::new(),
        signature: [2; 64],
    }
    .to_bytes();
    let expected = format!(
        "01a1676162616e646f6ea368636572656d6f6e7950{}686578636c7564656480697369676e61747572655840{}",
        "01".repeat(16),
        "02".repeat(64)
    );
    assert_eq!(hex::encode(bytes), expected);
}
