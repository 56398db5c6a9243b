//! Signing under Y: the member that signs and the one that asks, each told something else than an honest one says (protocol
//! section 8, the certificate of the members under Y).
//!
//! Three members hold the key, two sign. The first asks; where a member lies, it is the second.

use std::collections::VecDeque;
use std::sync::LazyLock;

use dkg::{CertifiedKey, Fault, Message, Signer, SigningEffect, SigningSession};
use rand::rngs::StdRng;

use crate::cluster::{Cluster, NOW, Node};
use crate::keys::rng;
use crate::{Target, Verdict, edits, refused};

/// Who lies.
const LIAR: usize = 1;
/// Messages after which an honest session has long ended.
const MOST: usize = 400;

struct Key {
    nodes: Vec<Node>,
    certified: CertifiedKey,
}

static KEY: LazyLock<Key> = LazyLock::new(|| {
    let mut cluster = Cluster::new(2, 3, 79);
    cluster.run_with(|_, _| {});
    let identities: Vec<_> = cluster.nodes.iter().map(|it| it.card.identity).collect();
    let certificate = &cluster.nodes[0].key.as_ref().unwrap().certificate;
    let certified = dkg::verify_certificate(certificate, &identities).unwrap();
    Key {
        nodes: cluster.nodes,
        certified,
    }
});

/// Two sessions' worth of honest messages: what is asked, and what is answered.
static HONEST: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let mut said = Vec::new();
    let (_, culprits) = play(|_, question, answer| {
        said.extend([question.clone(), answer.clone()]);
        Some(answer)
    });
    assert!(culprits.is_empty());
    said
});

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "signer",
            run: signer,
            seeds: || seeds(2),
        },
        Target {
            name: "signing_session",
            run: session,
            seeds: || seeds(2),
        },
    ]
}

/// The messages of a session, one of each kind, with names.
pub(crate) fn messages() -> Vec<(String, Vec<u8>)> {
    let mut seen = std::collections::BTreeSet::new();
    let new = HONEST.iter().filter(|it| seen.insert(it.name()));
    new.map(|it| (format!("ok-signing-{}", it.name()), it.to_bytes()))
        .collect()
}

/// For each of so many messages the honest one, and one with each kind of edit.
fn seeds(messages: u8) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for which in 0..messages {
        seeds.push((format!("ok-{which}"), vec![which, 0]));
        for what in 0..8 {
            let edit = vec![which, 0, what, 40 + 11 * what, 0, 1, what];
            seeds.push((format!("edited-{which}-{what}"), edit));
        }
    }
    seeds
}

/// What comes in the place of an honest message; `None` for what is no message.
fn instead(honest: &Message, how: u8, rest: &[u8]) -> Option<Message> {
    let bytes = if how & 1 == 0 {
        let others: Vec<Vec<u8>> = HONEST.iter().map(Message::to_bytes).collect();
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        edits::apply(&honest.to_bytes(), rest, &others)
    } else {
        rest.to_vec()
    };
    Message::from_bytes(&bytes).ok()
}

fn ask(
    signer: &mut Signer,
    place: usize,
    message: &Message,
    rng: &mut StdRng,
) -> Result<Message, Fault> {
    let from = &KEY.nodes[0].card.identity;
    let share = &KEY.nodes[place].key.as_ref().unwrap().share;
    signer.handle(from, message, share, &KEY.certified, None, rng)
}

/// Plays a session to its end. `says` makes what member `place` answers of its honest answer. The certificate, and who was
/// found to have given false shares.
fn play(mut says: impl FnMut(usize, &Message, Message) -> Option<Message>) -> (Vec<u8>, Vec<u16>) {
    let (mut asks, mut answers) = (rng(5), rng(6));
    let mut signers = [(); 3].map(|()| Signer::new());
    let mut session = SigningSession::new(KEY.certified.clone(), &mut asks);
    let mut now = NOW;
    let mut queue: VecDeque<_> = session.poll(now, &mut asks).into();
    for _ in 0..MOST {
        let Some(effect) = queue.pop_front() else {
            now = session.next_poll().expect("it can go on").max(now);
            queue.extend(session.poll(now, &mut asks));
            continue;
        };
        let (to, question) = match effect {
            SigningEffect::Send { to, message } => (to, message),
            SigningEffect::Signed { certificate } => {
                let culprits = session.culprits().keys().copied().collect();
                return (certificate, culprits);
            }
        };
        let place = KEY.nodes.iter().position(|it| it.card.identity == to);
        let place = place.unwrap();
        let honest = ask(&mut signers[place], place, &question, &mut answers);
        let honest = honest.unwrap_or_else(|fault| Message::refusal(question.about(), &fault));
        queue.extend(match says(place, &question, honest) {
            Some(answer) => session.handle_reply(&to, &question, &answer, now, &mut asks),
            None => session.unreachable(&to, &question, now, &mut asks),
        });
    }
    panic!("two honest members of three have not signed");
}

/// A member's answers are others than the honest ones, whenever it is asked: two are left who sign, and nobody but it is blamed.
fn session(bytes: &[u8]) -> Verdict {
    let [which, how, rest @ ..] = bytes else {
        return refused("short");
    };
    let wanted = ["committed", "signed"][usize::from(which & 1)];
    let mut lied = false;
    let (certificate, culprits) = play(|place, _, honest| {
        if place != LIAR || honest.name() != wanted {
            return Some(honest);
        }
        let other = instead(&honest, *how, rest);
        lied |= other.as_ref() != Some(&honest);
        other
    });
    let index = KEY.certified.index_of(&KEY.nodes[LIAR].card.identity);
    assert!(culprits.iter().all(|culprit| Some(*culprit) == index));
    assert!(lied || culprits.is_empty());
    let signed = dkg::check_key_certificate(&certificate, &KEY.certified);
    assert!(signed.is_ok(), "{signed:?}");
    if culprits.is_empty() {
        Ok(())
    } else {
        refused("false-share")
    }
}

/// A member is asked something else before what is honest, and signs at most once with the nonces that it gave.
fn signer(bytes: &[u8]) -> Verdict {
    let [which, how, rest @ ..] = bytes else {
        return refused("short");
    };
    let rng = &mut rng(7);
    let (mut signer, mut helper) = (Signer::new(), Signer::new());
    let (result, ceremony) = (KEY.certified.result_hash(), KEY.certified.proposal().id());
    let commit = Message::Commit {
        result,
        session: [1; 16],
        ceremony,
    };
    let mut verdict = Ok(());
    let mut told = |signer: &mut Signer, honest: &Message, rng: &mut StdRng| {
        let Some(other) = instead(honest, *how, rest) else {
            verdict = refused("no-message");
            return None;
        };
        let reply = ask(signer, LIAR, &other, rng);
        verdict = reply.as_ref().map(drop).map_err(|it| it.code().to_owned());
        reply.ok()
    };
    if which & 1 == 0 {
        told(&mut signer, &commit, rng);
    }
    let mut commitments = Vec::new();
    for (machine, place) in [(&mut helper, 0), (&mut signer, LIAR)] {
        match ask(machine, place, &commit, rng) {
            Ok(Message::Committed {
                commitments: own, ..
            }) => commitments.push(own),
            other => panic!("an honest commit is answered by {other:?}"),
        }
    }
    commitments.sort_by_key(|it| it.index);
    let sign = Message::Sign {
        result,
        session: [1; 16],
        ceremony,
        commitments,
    };
    let mut signed = 0;
    if which & 1 == 1 {
        let reply = told(&mut signer, &sign, rng);
        signed += usize::from(matches!(reply, Some(Message::Signed { .. })));
    }
    let honest = ask(&mut signer, LIAR, &sign, rng);
    signed += usize::from(matches!(honest, Ok(Message::Signed { .. })));
    assert!(signed <= 1, "two signatures with the same nonces");
    // Only who spoke of this very session can have used it up.
    if which & 1 == 0 {
        let used = instead(&commit, *how, rest).is_some_and(|it| it.name() == "sign");
        assert!(signed == 1 || used, "{honest:?}");
    }
    verdict
}
