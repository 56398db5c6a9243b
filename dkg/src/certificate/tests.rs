#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]
use std::collections::HashMap;

use super::*;
use crate::signature::tests::sign_oddly;
use crate::{Leader, LeaderEffect, LocalNode, Member, Message, Terms};

const NOW: u64 = 1_800_000_000;

/// What is left of a ceremony of three: the certificate, and everybody as it was when it came.
struct Made {
    phrases: Vec<RecoveryPhrase>,
    leader: [u8; 32],
    certificate: Message,
    states: HashMap<[u8; 32], Vec<u8>>,
}

fn local(phrase: &RecoveryPhrase) -> LocalNode {
    let keys = phrase.node_keys();
    LocalNode {
        identity: keys.identity.into(),
        recovery_public: keys.recovery_public,
        policy_hash: [7; 32],
    }
}

fn ceremony() -> Made {
    let rng = &mut rand::rng();
    let mut phrases: Vec<RecoveryPhrase> = (0..3).map(|_| RecoveryPhrase::generate(rng)).collect();
    let identity = |phrase: &RecoveryPhrase| local(phrase).identity.verifying_key().to_bytes();
    phrases.sort_by_key(identity);
    let cards = phrases.iter().map(|phrase| MemberIdentity {
        name: hex::encode(&identity(phrase)[..8]),
        identity: identity(phrase),
        recovery_public: *local(phrase).recovery_public.as_bytes(),
        address: format!("{}.example:7700", hex::encode(identity(phrase))),
    });
    let leader_id = identity(&phrases[0]);
    let terms = Terms {
        threshold: 2,
        policy_hash: [7; 32],
        members: cards.collect(),
        leader: leader_id,
        created: NOW,
        expires: NOW + 3600,
        may_be_absent: 0,
        allow_few_members: false,
        software: "test".to_owned(),
        base: None,
    };
    let proposal = Proposal::new(terms, rng).unwrap();
    let mut leader = Leader::new(proposal, &local(&phrases[0]).identity, NOW).unwrap();
    let mut members: HashMap<[u8; 32], Member> = phrases
        .iter()
        .map(|phrase| (identity(phrase), Member::new(local(phrase))))
        .collect();
    let (mut states, mut certificate) = (HashMap::new(), None);
    let mut queue = std::collections::VecDeque::from(leader.poll(NOW));
    while let Some(effect) = queue.pop_front() {
        let LeaderEffect::Send { to, message } = effect else {
            continue;
        };
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        if matches!(message, Message::Certificate { .. }) {
            certificate = Some(message);
            continue;
        }
        let member = members.get_mut(&to).unwrap();
        let mut output = member.handle(&leader_id, message, NOW, rng).unwrap();
        if matches!(output.reply, Message::Pending { .. }) {
            output = member.accept(NOW, rng).unwrap();
        }
        states.insert(to, output.persist.unwrap().to_vec());
        queue.extend(leader.handle_reply(&to, &output.reply, NOW));
    }
    Made {
        phrases,
        leader: leader_id,
        certificate: certificate.unwrap(),
        states,
    }
}

/// The last member has signed its confirmation anew as `sign` does, and the leader, that is false, has passed it on.
fn altered(bytes: &[u8], author: &RecoveryPhrase, sign: Sign) -> Vec<u8> {
    let key = CertifiedKey::verify_unpinned(bytes).unwrap();
    let mut fields: Fields = wire_v1::decode(bytes, MAX_CERTIFICATE).unwrap();
    let last = fields.confirmations.last_mut().unwrap();
    let (index, hash) = (last.index.to_le_bytes(), key.result_hash());
    let items = last.signed_items(&key.result.params, &index, &hash);
    last.signature = sign(&local(author).identity, tags::CONFIRM, &items);
    wire_v1::encode(&fields)
}

type Sign = fn(&ed25519_dalek::SigningKey, &str, &[&[u8]]) -> [u8; 64];

#[test]
fn an_odd_confirmation_costs_third_parties_the_certificate_and_no_member_its_key() {
    let made = ceremony();
    let Message::Certificate {
        certificate: bytes,
        public_shares,
        ceremony,
    } = &made.certificate
    else {
        panic!("no certificate");
    };
    let pinned: Vec<[u8; 32]> = made.states.keys().copied().collect();
    let plain = verify_certificate(bytes, &pinned).unwrap();
    let author = &made.phrases[2];
    let wrong = CertificateError::Confirmation { member: 3 };

    // One try in eight passes the members' check; the others pass nowhere.
    let odd = std::iter::repeat_with(|| altered(bytes, author, sign_oddly))
        .inspect(|odd| assert_eq!(verify_certificate(odd, &pinned).unwrap_err(), wrong))
        .find(|odd| match read_own_certificate(odd, &pinned) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, wrong);
                false
            }
        })
        .unwrap();
    let same = read_own_certificate(&odd, &pinned).unwrap();
    assert_eq!(same.result_hash(), plain.result_hash());
    assert_eq!(same.package(), plain.package());
    for phrase in &made.phrases[..2] {
        let node = local(phrase);
        let state = &made.states[&node.identity.verifying_key().to_bytes()];
        let mut member = Member::restore(node, state).unwrap();
        let message = Message::Certificate {
            certificate: ByteBuf::from(odd.clone()),
            public_shares: public_shares.clone(),
            ceremony: *ceremony,
        };
        let output = member
            .handle(&made.leader, message, NOW, &mut rand::rng())
            .unwrap();
        let key = output.activated.unwrap();
        assert_eq!(key.package, *plain.package());
        // What it has activated it restores from.
        let restored = restore_key(&key.certificate, phrase).unwrap();
        assert_eq!(restored.share.index(), key.share.index());
        assert!(restored.share.check(plain.package()).is_ok());
    }

    // A confirmation that its author has not signed passes nowhere.
    let foreign: Sign = |_, tag, items| {
        let other = RecoveryPhrase::generate(&mut rand::rng());
        signature::sign(&local(&other).identity, tag, items)
    };
    let forged = altered(bytes, author, foreign);
    assert_eq!(verify_certificate(&forged, &pinned).unwrap_err(), wrong);
    assert_eq!(read_own_certificate(&forged, &pinned).unwrap_err(), wrong);
    assert_eq!(restore_key(&forged, author).unwrap_err(), wrong);
}
