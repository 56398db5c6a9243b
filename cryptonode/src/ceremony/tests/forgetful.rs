//! Nodes that have forgotten what they promised: they are asked to confirm again, and refuse.

use super::cluster::{Node, cluster, restore, until, wish};
use super::{PATIENT, id, reshare, signed};
use crate::audit::AuditEntry;
use crate::ceremony::*;
use crate::keyring::ActiveKey;
use crate::wire::v1::{Answer, Request};

/// The node's share of the key's first epoch.
fn first(node: &Node) -> Arc<ActiveKey> {
    let entries = node.ceremonies.around.keyring.entries();
    let mut held = entries.iter().flat_map(|entry| entry.held());
    Arc::clone(held.find(|key| key.result.epoch == 0).unwrap())
}

fn code(answer: &dkg::Message) -> &str {
    match answer {
        dkg::Message::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restored_from_its_phrase_is_asked_to_confirm_again_and_refuses() {
    let mut nodes = cluster(&["n1", "n2", "n3"], PATIENT);
    nodes.iter().for_each(Node::start);
    nodes[0].ceremonies.propose(wish(2)).await.unwrap();
    signed(&nodes).await;
    // n3 confirms new shares, n2 does not yet, and so there is no certificate.
    nodes[1].shut(&["acknowledgements"]);
    lock(&nodes[2].door.heard).clear();
    let view = nodes[0].ceremonies.propose(reshare(None)).await.unwrap();
    let ceremony = id(&view);
    until("n3 has confirmed", || {
        nodes[2].stage(&ceremony) == Some(MemberStage::Confirmed)
    })
    .await;
    let base = first(&nodes[0]);
    let entry = |node: &Node| {
        let key = base.package.public_key();
        node.ceremonies
            .around
            .keyring
            .entry(key.as_bytes())
            .unwrap()
    };
    assert_eq!(entry(&nodes[2]).confirmed(&base.result), 1);
    let promised = nodes[2].ceremonies.around.store.opened().unwrap();
    assert_eq!(promised, 2, "the key and its reshare were counted");

    // Its disk is gone. The share comes back, and not what it has promised.
    let n3 = restore(nodes.remove(2), base.certificate.clone()).await;
    n3.start();
    assert_eq!(n3.serves(), [(0, 1)]);
    assert_eq!(entry(&n3).confirmed(&base.result), 0);
    // Each question that it was asked before, confirming among them, is asked again by the one who asked it.
    let questions = lock(&n3.door.heard).clone();
    for kind in ["propose", "begin", "deals", "acknowledgements"] {
        assert!(
            questions
                .iter()
                .any(|(_, question)| question.name() == kind),
            "{kind}"
        );
    }
    for (from, question) in questions {
        let answer = n3.ceremonies.answer_message(&from, question).unwrap();
        assert_eq!(code(&answer), "restored-node");
    }
    assert!(n3.stage(&ceremony).is_none());
    assert_eq!(n3.records(Table::Ceremony), 0);
    assert_eq!(entry(&n3).confirmed(&base.result), 0);
    let refused = n3.ceremonies.propose(wish(1)).await;
    assert_eq!(refused.unwrap_err().code(), "restored-node");

    // The others come to an end with what it confirmed when it knew; the leader names it, and why.
    nodes[1].shut(&[]);
    for node in &nodes {
        until("the others serve the new epoch", || {
            node.serves() == [(1, 1), (0, 1)]
        })
        .await;
    }
    until("the leader names it", || {
        let view = nodes[0].ceremonies.view(Some(&view.id)).unwrap();
        view.waiting_for
            .iter()
            .any(|one| one.member == "n3" && one.heard.contains("restored-node"))
    })
    .await;
    assert_eq!(n3.held(), [(0, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_shown_that_it_was_set_back_confirms_nothing() {
    let nodes = cluster(&["n1", "n2", "n3"], PATIENT);
    nodes.iter().for_each(Node::start);
    let [n1, _, n3] = nodes.as_slice() else {
        panic!()
    };
    n1.ceremonies.propose(wish(2)).await.unwrap();
    signed(&nodes).await;
    n3.shut(&["acknowledgements"]);
    let view = n1.ceremonies.propose(reshare(None)).await.unwrap();
    until("n3 has acknowledged", || {
        n3.stage(&id(&view)) == Some(MemberStage::Acknowledged)
    })
    .await;
    // What a witness shows it: a head of its own that is longer than its log.
    let audit = &n3.ceremonies.around.audit;
    let head = certs::checkpoint::Checkpoint {
        size: audit.size() + 1,
        ..audit.head()
    };
    assert_eq!(
        audit.hold_against(&head).unwrap_err().code(),
        "audit-rolled-back"
    );
    n3.shut(&[]);
    until("the ceremony ends by its name", || {
        let view = n1.ceremonies.view(Some(&view.id)).unwrap();
        view.culprits == ["n3"] && view.sentence.unwrap_or_default().contains("set-back")
    })
    .await;
    assert_ne!(n3.stage(&id(&view)), Some(MemberStage::Confirmed));
    let refused = n3.ceremonies.propose(reshare(None)).await;
    assert_eq!(refused.unwrap_err().code(), "set-back");
    // The others are told how to go on.
    let view = n1.ceremonies.view(Some(&view.id)).unwrap();
    let again = view.propose_again.unwrap();
    let at = again.iter().position(|word| word == "--absent").unwrap();
    assert_eq!(again[at + 1], "n3");
    assert!(
        again.contains(&"--allow-few-members".to_owned()),
        "{again:?}"
    );
}

/// The words in a node's log, each with what it is about.
fn words(node: &Node) -> Vec<(String, [u8; 32])> {
    let audit = &node.ceremonies.around.audit;
    let records = audit.read(0, 100, 1 << 20).unwrap();
    let entries = records
        .iter()
        .map(|record| AuditEntry::from_bytes(record).unwrap());
    entries
        .map(|entry| match entry {
            AuditEntry::Operator(word) => (word.action, word.subject),
            AuditEntry::Share(_) => panic!("nobody has read"),
        })
        .collect()
}

/// Whatever copy of the folder is put back afterwards, its log is shorter than the one that the others have seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_is_in_the_log_before_it_is_made_and_without_the_log_there_is_none() {
    let nodes = cluster(&["n1", "n2", "n3"], PATIENT);
    nodes.iter().for_each(Node::start);
    let [n1, n2, n3] = nodes.as_slice() else {
        panic!()
    };
    n1.ceremonies.propose(wish(2)).await.unwrap();
    signed(&nodes).await;
    // A key's making leaves nothing in it: nobody who has forgotten that can make a second result of the same base.
    nodes.iter().for_each(|node| assert_eq!(words(node), []));
    let base = first(n1);
    let key = *base.package.public_key().as_bytes();

    n2.shut(&["acknowledgements"]);
    let view = n1.ceremonies.propose(reshare(None)).await.unwrap();
    until("n3 has confirmed", || {
        n3.stage(&id(&view)) == Some(MemberStage::Confirmed)
    })
    .await;
    assert_eq!(words(n3), [("confirm-reshare".to_owned(), key)]);
    assert_eq!(words(n2), []);
    // n2's log takes nothing more: it can confirm nothing.
    n2.ceremonies.around.audit.close();
    lock(&n2.door.heard).clear();
    n2.shut(&[]);
    until("n2 was asked", || {
        let heard = lock(&n2.door.heard);
        let asked = heard
            .iter()
            .filter(|(_, question)| question.name() == "acknowledgements");
        asked.count() > 1
    })
    .await;
    let entry = n2.ceremonies.around.keyring.entry(&key).unwrap();
    assert_eq!(entry.confirmed(&base.result), 0);
    assert_ne!(n2.stage(&id(&view)), Some(MemberStage::Confirmed));
}

/// Its witnesses are about to be shown its log: if its folder was set back, they will say so.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_just_started_promises_nothing_until_its_log_was_shown() {
    let nodes = cluster(&["n1", "n2"], PATIENT);
    let [n1, n2] = nodes.as_slice() else { panic!() };
    n2.shown.send_replace(false);
    nodes.iter().for_each(Node::start);
    let view = n1.ceremonies.propose(wish(1)).await.unwrap();
    until("n2 was asked", || !lock(&n2.door.heard).is_empty()).await;
    assert_eq!(n2.stage(&id(&view)), None);
    // It answers everybody else meanwhile.
    let identity = crate::tls::TlsIdentity::generate().unwrap();
    let request = Request::Status {};
    let asked = crate::client::call(
        identity,
        &n2.own.address,
        &n2.own.identity,
        &request,
        PeerOptions::default(),
    );
    assert!(matches!(asked.await, Ok(Answer::Status { .. })));
    assert_eq!(n2.stage(&id(&view)), None);
    n2.shown.send_replace(true);
    signed(&nodes).await;
}
