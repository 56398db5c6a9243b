#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod cluster;
mod forgetful;
mod versions;

use dkg::{Leader, Message};

use self::cluster::{Node, cluster, drive, policy, restart, until, wish};
use super::*;

const QUICK: &str = "patience_s = 1\noverlap_s = 1\nask_every_s = 1\nremember_s = 0\n";
/// Quick, but nobody takes over: the only leader is the proposal's.
const PATIENT: &str = "patience_s = 1000\noverlap_s = 1\nask_every_s = 1\nremember_s = 0\n";
/// Nothing is forgotten, and nobody loses patience.
const STEADY: &str = "patience_s = 1000\noverlap_s = 1000\nask_every_s = 1000\n";

fn id(view: &CeremonyView) -> CeremonyId {
    hex::decode(&view.id).unwrap().try_into().unwrap()
}

fn open_for(seconds: u64, threshold: u16) -> Wish {
    Wish {
        open_for_s: Some(seconds),
        ..wish(threshold)
    }
}

fn reshare(threshold: Option<u16>) -> Wish {
    Wish {
        threshold,
        reshare: Some(String::new()),
        ..wish(1)
    }
}

async fn signed(nodes: &[Node]) {
    until("the key's certificate is known to all", || {
        nodes.iter().all(|node| {
            let entries = node.ceremonies.around.keyring.entries();
            entries.iter().all(|entry| entry.state().newest.is_some()) && !entries.is_empty()
        })
    })
    .await;
}

/// Makes a key by hand, with its certificate.
async fn key_by_hand(nodes: &[Node], threshold: u16) {
    let wish = Wish {
        allow_few_members: true,
        ..wish(threshold)
    };
    let mut leader = nodes[0].leader(&wish);
    let ceremony = leader.ceremony();
    let (certificate, _) = drive(nodes, &nodes[0], &mut leader, None);
    for node in nodes {
        show(node, &nodes[0], ceremony, &certificate);
    }
    nodes[0].ceremonies.certify(ceremony);
    signed(nodes).await;
}

fn show(node: &Node, from: &Node, ceremony: CeremonyId, certificate: &[u8]) -> &'static str {
    let message = Message::Certificate {
        ceremony,
        certificate: serde_bytes::ByteBuf::from(certificate),
        public_shares: serde_bytes::ByteBuf::new(),
    };
    node.tell(from, message).name()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_confirmed_asks_until_it_knows_though_nobody_answers_when_the_proposal_ends() {
    let nodes = cluster(&["n1", "n2", "n3"], QUICK);
    nodes.iter().for_each(Node::start);
    let [n1, n2, n3] = nodes.as_slice() else {
        panic!()
    };
    // n3 neither hears of the end nor is heard when it asks.
    n3.shut(&["certificate"]);
    for node in [n1, n2] {
        lock(&node.door.deaf_to).insert(n3.own.identity);
    }
    let view = n1.ceremonies.propose(open_for(10, 2)).await.unwrap();
    let ceremony = id(&view);
    until("n1 and n2 serve", || {
        !n1.serves().is_empty() && !n2.serves().is_empty()
    })
    .await;
    assert_eq!(n3.stage(&ceremony), Some(MemberStage::Confirmed));
    // The leader never comes back, and n2 cannot be reached when the proposal ends.
    n1.stop().await;
    until("n3 has asked in vain", || {
        let led = lock(&n3.ceremonies.led).get(&ceremony).cloned();
        led.is_some_and(|led| led.has_ended_unknowing() && clock_s() >= led.expires())
    })
    .await;
    // n2 has forgotten the ceremony by now, and has the key.
    until("n2 has forgotten", || n2.stage(&ceremony).is_none()).await;
    assert_eq!(n3.stage(&ceremony), Some(MemberStage::Confirmed));
    lock(&n2.door.deaf_to).clear();
    n3.shut(&[]);
    until("n3 serves", || !n3.serves().is_empty()).await;
    until("n3 has forgotten", || n3.records(Table::Leading) == 0).await;
    assert_eq!(n3.held(), n2.held());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_decided_ceremony_stays_but_its_key() {
    let mut nodes = cluster(&["n1", "n2", "n3"], QUICK);
    nodes.iter().for_each(|node| node.remember(1_000));
    nodes.iter().for_each(Node::start);
    let made = nodes[0].ceremonies.propose(open_for(8, 2)).await.unwrap();
    signed(&nodes).await;
    // One that comes to nothing.
    // Whoever leads, its own member alone begins.
    nodes.iter().for_each(|node| node.shut(&["begin"]));
    let given_up = nodes[1].ceremonies.propose(open_for(8, 2)).await.unwrap();
    until("all have heard of it", || {
        nodes
            .iter()
            .all(|node| node.stage(&id(&given_up)).is_some())
    })
    .await;
    // On a slow machine it has expired by now, which comes to the same.
    let _ = nodes[1].ceremonies.abort(&given_up.id).await;
    for node in &nodes {
        until("it is closed", || {
            node.stage(&id(&given_up)) == Some(MemberStage::Closed)
        })
        .await;
        assert_eq!(node.records(Table::Decided), 2);
        assert_eq!(node.records(Table::Policy), 1);
    }
    let proposal = {
        let led = lock(&nodes[0].ceremonies.led)[&id(&made)].proposal();
        let signed = led.sign(&nodes[0].ceremonies.around.signing).unwrap();
        Message::Propose { proposal: signed }
    };
    for node in &nodes {
        node.remember(0);
        until("everything is forgotten", || {
            node.ceremonies.list().is_empty()
                && [
                    Table::Decided,
                    Table::Ceremony,
                    Table::Leading,
                    Table::Policy,
                ]
                .into_iter()
                .all(|table| node.records(table) == 0)
        })
        .await;
        assert!(lock(&node.ceremonies.arrived).is_empty());
        // The key and its certificate stay.
        assert_eq!(
            (node.serves(), node.records(Table::KeyCertificate)),
            (vec![(0, 1)], 1)
        );
        // The same proposal is not played again, and leaves nothing.
        let replayed = node.tell(&nodes[0], proposal.clone());
        assert!(
            matches!(&replayed, Message::Refused { code, .. } if code == "expired"),
            "{replayed:?}"
        );
        assert!(lock(&node.ceremonies.seats).is_empty());
        // Whoever was there and does not know the end is told; a stranger to the ceremony is not.
        let notice = Message::Notice {
            ceremony: id(&made),
            excluded: Vec::new(),
        };
        assert_eq!(node.tell(&nodes[1], notice.clone()).name(), "certificate");
        let stranger = node.ceremonies.answer_message(&[9; 32], notice).unwrap();
        assert_eq!(stranger.name(), "refused");
    }
    let again = restart(nodes.remove(0)).await;
    assert_eq!(again.serves(), [(0, 1)]);
    assert!(again.ceremonies.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_was_overtaken_is_erased_when_the_overlap_is_over() {
    let nodes = cluster(&["n1", "n2", "n3"], PATIENT);
    nodes.iter().for_each(Node::start);
    let [n1, _, n3] = nodes.as_slice() else {
        panic!()
    };
    n1.ceremonies.propose(wish(2)).await.unwrap();
    signed(&nodes).await;
    // All confirm, and the leader never hears of one of them: the result may exist, and nobody has its certificate.
    n3.mute(&["acknowledgements"]);
    let first = Wish {
        open_for_s: Some(8),
        ..reshare(None)
    };
    let first = id(&n1.ceremonies.propose(first).await.unwrap());
    until("all have confirmed", || {
        nodes
            .iter()
            .all(|node| node.stage(&first) == Some(MemberStage::Confirmed))
    })
    .await;
    until("it is over for its leader", || {
        let led = lock(&n1.ceremonies.led)[&first].clone();
        led.has_failed()
    })
    .await;
    n3.mute(&[]);
    for node in &nodes {
        assert_eq!(node.stage(&first), Some(MemberStage::Confirmed));
        assert_eq!(node.records(Table::Ceremony), 1);
    }
    let second = Wish {
        open_for_s: Some(60),
        ..reshare(None)
    };
    n1.ceremonies.propose(second).await.unwrap();
    for node in &nodes {
        until("the new shares are there alone", || node.held() == [(1, 2)]).await;
        until("the overtaken one is gone", || {
            node.stage(&first).is_none() && node.records(Table::Ceremony) == 0
        })
        .await;
        assert_eq!(lock(&node.ceremonies.made).len(), 1);
        until("so is the certificate of the first epoch", || {
            node.records(Table::KeyCertificate) <= 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_later_attempt_is_made_up_for_after_an_earlier_one_was_activated() {
    let nodes = cluster(&["n1", "n2", "n3", "n4"], STEADY);
    let [n1, n2, n3, _] = nodes.as_slice() else {
        panic!()
    };
    key_by_hand(&nodes, 1).await;
    let wish = Wish {
        absent: vec!["n4".to_owned()],
        members: Some(nodes.iter().map(|node| node.own.name.clone()).collect()),
        may_be_absent: 1,
        ..reshare(None)
    };
    let mut leader = n1.leader(&wish);
    let ceremony = leader.ceremony();
    let (first, states) = drive(&nodes, n1, &mut leader, None);
    // The leader forgets that it came so far, and goes on without n4.
    let mut leader = Leader::restore(&states[0]).unwrap().with_patience(1);
    let (second, _) = drive(&nodes, n1, &mut leader, Some(("n4", "begin")));
    assert_eq!(show(n3, n1, ceremony, &first), "activated");
    assert_eq!(show(n2, n1, ceremony, &second), "activated");
    assert_eq!(
        (n3.serves(), n2.serves()),
        (vec![(1, 1), (0, 1)], vec![(1, 2), (0, 1)])
    );
    n2.ceremonies.certify(ceremony);
    signed_newest(n2, 2).await;
    n3.ceremonies.ask_fellows().await.unwrap();
    assert_eq!(n3.serves(), [(1, 2), (1, 1), (0, 1)]);
}

async fn signed_newest(node: &Node, attempt: u32) {
    until("the newest result is signed", || {
        let entries = node.ceremonies.around.keyring.entries();
        let newest = entries[0].state().newest.as_ref();
        newest.is_some_and(|newest| newest.certificate.name().attempt == attempt)
    })
    .await;
}

#[test]
fn the_stages_from_which_an_end_can_be_made_up_for() {
    use super::forgetting::may_be_made_up_for as may;
    for stage in [
        MemberStage::Dealt,
        MemberStage::DealsWanted,
        MemberStage::Acknowledged,
        MemberStage::Complained,
        MemberStage::Confirmed,
    ] {
        assert!(may(stage, true) && may(stage, false), "{stage:?}");
    }
    assert!(may(MemberStage::Activated, true) && !may(MemberStage::Activated, false));
    assert!(!may(MemberStage::Closed, true) && !may(MemberStage::Proposed, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_as_many_epochs_as_it_may_serve_takes_part_in_no_further_reshare() {
    let nodes = cluster(&["n1", "n2"], STEADY);
    nodes.iter().for_each(Node::start);
    nodes[0].ceremonies.propose(wish(1)).await.unwrap();
    for epoch in 1..=3 {
        signed(&nodes).await;
        until("it can be handed on", || {
            let entries = nodes[0].ceremonies.around.keyring.entries();
            let newest = entries[0].state().newest.as_ref();
            newest.is_some_and(|newest| newest.certificate.name().epoch == epoch - 1)
        })
        .await;
        nodes[0].ceremonies.propose(reshare(None)).await.unwrap();
        until("all have it", || {
            nodes
                .iter()
                .all(|node| node.serves().len() as u64 == epoch + 1)
        })
        .await;
    }
    let refused = nodes[0].ceremonies.propose(reshare(None)).await;
    assert_eq!(refused.unwrap_err().code(), "epochs-full");
    assert_eq!(nodes[1].serves(), [(3, 1), (2, 1), (1, 1), (0, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_needs_the_consent_of_each_operator_to_that_very_policy() {
    let mut nodes = cluster(&["n1", "n2", "n3"], STEADY);
    nodes.iter().for_each(Node::start);
    nodes[0].ceremonies.propose(wish(2)).await.unwrap();
    signed(&nodes).await;
    let other = policy(&["Hospital", "Clinic"]);
    let change = Wish {
        policy: Some(other.clone()),
        ..reshare(None)
    };
    let view = nodes[0].ceremonies.propose(change).await.unwrap();
    assert!(view.changes_policy());
    // All accept n1's proposals by themselves, and not this one. What is proposed has come with it.
    for node in &nodes[1..] {
        until("it waits for its operator", || {
            node.stage(&id(&view)) == Some(MemberStage::Proposed)
        })
        .await;
        let report = node.ceremonies.policy_report(Some(""), None).await.unwrap();
        assert_eq!(report.proposed.unwrap().hash(), other.hash());
        let refused = node.ceremonies.accept(&view.id, None).await;
        assert_eq!(refused.unwrap_err().code(), "changes-policy");
        let refused = node.ceremonies.accept(&view.id, Some([7; 32])).await;
        assert_eq!(refused.unwrap_err().code(), "other-policy");
        assert_eq!(node.stage(&id(&view)), Some(MemberStage::Proposed));
    }
    let accepted = nodes[1]
        .ceremonies
        .accept(&view.id, Some(other.hash()))
        .await;
    assert_eq!(accepted.unwrap().step, "accepted");
    // A node that is started again knows what it is asked, and by whom.
    let n3 = restart(nodes.pop().unwrap()).await;
    n3.start();
    assert_eq!(n3.serves(), [(0, 1)]);
    n3.ceremonies
        .accept(&view.id, Some(other.hash()))
        .await
        .unwrap();
    for node in nodes.iter().chain([&n3]) {
        until("the new policy governs both epochs", || {
            let entries = node.ceremonies.around.keyring.entries();
            let governs = |epoch| {
                let asked = crate::wire::v1::ResultVersion { epoch, attempt: 1 };
                let chosen = entries[0].choose(Some(asked));
                chosen.is_ok_and(|chosen| chosen.policy().hash() == other.hash())
            };
            governs(0) && governs(1)
        })
        .await;
    }
    // It stays the key's, whatever is configured.
    signed_newest_epoch(&nodes[0], 1).await;
    let (proposal, policy) = nodes[0].ceremonies.proposal_for(&reshare(None)).unwrap();
    assert_eq!(*proposal.policy_hash(), other.hash());
    let same = Wish {
        policy: Some(policy),
        ..reshare(None)
    };
    let refused = nodes[0].ceremonies.propose(same).await;
    assert_eq!(refused.unwrap_err().code(), "same-policy");
}

async fn signed_newest_epoch(node: &Node, epoch: u64) {
    until("the newest epoch is signed", || {
        let entries = node.ceremonies.around.keyring.entries();
        let newest = entries[0].state().newest.as_ref();
        newest.is_some_and(|newest| newest.certificate.name().epoch == epoch)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_another_version_are_named_before_anything_starts() {
    let nodes = cluster(&["n1", "old", "n3"], STEADY);
    nodes.iter().for_each(Node::start);
    // While one member has not heard of it, nothing starts.
    nodes[2].shut(&["propose"]);
    let view = nodes[0].ceremonies.propose(wish(2)).await.unwrap();
    until("the other version is named", || {
        let view = nodes[0].ceremonies.view(Some(&view.id)).unwrap();
        let named: Vec<_> = view.other_versions.iter().collect();
        view.step == "accepting"
            && matches!(named.as_slice(), [one] if one.member == "old" && one.software == "cryptonode 0.0.1")
    })
    .await;
    nodes[2].shut(&[]);
    until("it is made all the same", || {
        nodes.iter().all(|node| node.serves() == [(0, 1)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_of_another_version_or_policy_are_named_before_anything_starts() {
    let names = ["n1", "old-1", "other-1", "n4", "other-2", "old-2"];
    let nodes = cluster(&names, STEADY);
    nodes.iter().for_each(Node::start);
    // What the slowest has to say is waited for.
    nodes[4].shut(&["propose"]);
    let view = nodes[0].ceremonies.propose(wish(2)).await.unwrap();
    let of_other_versions = |view: &CeremonyView| {
        let named = view.other_versions.iter();
        let mut named: Vec<_> = named.map(|one| one.member.clone()).collect();
        named.sort();
        named
    };
    until("the first refusal is shown", || {
        let view = nodes[0].ceremonies.view(Some(&view.id)).unwrap();
        let refuses =
            |one: &Waiting| one.member == "other-1" && one.heard.starts_with("other-policy");
        view.step == "accepting"
            && of_other_versions(&view) == ["old-1", "old-2"]
            && view.waiting_for.iter().any(refuses)
    })
    .await;
    nodes[4].shut(&[]);
    until("it has failed", || {
        nodes[0].ceremonies.view(Some(&view.id)).unwrap().decided
    })
    .await;
    let failed = nodes[0].ceremonies.view(Some(&view.id)).unwrap();
    assert_eq!(failed.outcome.as_deref(), Some("failed"));
    let mut culprits = failed.culprits.clone();
    culprits.sort();
    assert_eq!(culprits, ["other-1", "other-2"]);
    assert_eq!(of_other_versions(&failed), ["old-1", "old-2"]);
    assert!(nodes.iter().all(|node| node.serves().is_empty()));
    // A member that has accepted hears of both as well.
    until("the others are told", || {
        let Ok(told) = nodes[3].ceremonies.view(Some(&view.id)) else {
            return false;
        };
        let mut named: Vec<_> = told
            .excluded
            .iter()
            .map(|one| (one.member.clone(), one.code.clone()))
            .collect();
        named.sort();
        let expected =
            ["other-1", "other-2"].map(|name| (name.to_owned(), "other-policy".to_owned()));
        told.decided && named == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proposer_cannot_have_a_node_remember_any_number_of_ceremonies() {
    let nodes = cluster(&["n1", "n2"], STEADY);
    let [n1, n2] = nodes.as_slice() else { panic!() };
    let propose = || {
        let (proposal, _) = n2.ceremonies.proposal_for(&open_for(1000, 1)).unwrap();
        let id = proposal.id();
        let proposal = proposal.sign(&n2.ceremonies.around.signing).unwrap();
        (id, n1.tell(n2, Message::Propose { proposal }))
    };
    for _ in 0..256 {
        let (id, answer) = propose();
        assert_eq!(answer.name(), "accepted");
        n1.ceremonies.reject(&hex::encode(id), "no").await.unwrap();
    }
    let (_, answer) = propose();
    assert!(
        matches!(&answer, Message::Refused { code, .. } if code == "too-many-ceremonies"),
        "{answer:?}"
    );
    assert_eq!(lock(&n1.ceremonies.seats).len(), 256);
    // Others, its own operator among them, still can.
    let own = n1.ceremonies.propose(wish(1)).await.unwrap();
    until("it has a place", || n1.stage(&id(&own)).is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_only_if_it_can_be_carried_out() {
    let nodes = cluster(&["n1", "n2", "n3", "n4"], STEADY);
    let own = nodes[0].own.identity;
    let told = |wish: &Wish, gone: &[usize]| {
        let (proposal, _) = nodes[0].ceremonies.proposal_for(wish).unwrap();
        let gone = gone.iter().map(|place| nodes[*place].own.identity);
        let words = propose_again::without(&proposal, &gone.collect(), &own)?;
        Some(words.join(" "))
    };
    for gone in [&[][..], &[0], &[0, 1], &[1, 2, 3]] {
        assert_eq!(told(&wish(2), gone), None, "{gone:?}");
    }
    let one = told(&wish(2), &[3]).unwrap();
    assert!(one.starts_with("ceremony propose --threshold 2 --members n"));
    assert!(
        !one.contains("n4") && !one.contains("--allow-few-members"),
        "{one}"
    );
    let two = told(&wish(2), &[3, 1]).unwrap();
    assert!(two.ends_with(" --allow-few-members"), "{two}");
    let spare = Wish {
        may_be_absent: 3,
        ..wish(1)
    };
    let spare = told(&spare, &[3]).unwrap();
    assert!(spare.ends_with(" --may-be-absent 2"), "{spare}");
    // A key that takes three of its four members to be handed on.
    key_by_hand(&nodes, 3).await;
    let few = Wish {
        allow_few_members: true,
        ..reshare(Some(2))
    };
    assert!(told(&few, &[3]).unwrap().contains(" --absent n4 "));
    assert_eq!(told(&few, &[3, 2]), None);
    let other_policy = Wish {
        policy: Some(policy(&["Clinic"])),
        ..few
    };
    assert_eq!(told(&other_policy, &[3]), None);
    // Who cannot be reached is to be proposed without, unless it will be left out anyway.
    nodes[3].shut(&["*"]);
    for may_be_absent in [1, 0] {
        let wish = Wish {
            may_be_absent,
            ..wish(2)
        };
        let id = nodes[0].ceremonies.propose(wish).await.unwrap().id;
        let view = || nodes[0].ceremonies.view(Some(&id)).unwrap();
        until("it is tried", || {
            let view = view();
            let mut waiting = view.waiting_for.iter();
            waiting.any(|one| one.member == "n4" && !one.heard.is_empty())
        })
        .await;
        assert_eq!(view().propose_again.is_some(), may_be_absent == 0);
    }
}
