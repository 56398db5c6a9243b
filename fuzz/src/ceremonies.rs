//! Key generation: messages, documents, and the machines that take them (protocol section 8).
//!
//! The machines are put before every step of an honest ceremony as they were there, from what their driver had written, and
//! are then told something else: any bytes, or the honest message with edits. Whatever that does, it must not keep
//! the honest message from being answered when it comes, unless the machine took the other one.

use std::collections::HashSet;
use std::sync::LazyLock;

use dkg::custody::{self, CustodyPiece};
use dkg::{
    Leader, LeaderEffect, LocalNode, Member, MemberStage, Message, Proposal, RecoveryPhrase,
    verify_certificate,
};

use crate::cluster::{Cluster, NOW, Step};
use crate::keys::rng;
use crate::{Target, Verdict, edits, refused, reshares, text};

/// What a machine was asked in an honest ceremony, and what it stood on.
struct Moment {
    /// The driver's disk before the message came.
    disk: Option<Vec<u8>>,
    /// Who takes part in the conversation besides the leader.
    place: usize,
    message: Message,
    bytes: Vec<u8>,
}

struct Ceremony {
    nodes: Vec<LocalNode>,
    identities: Vec<[u8; 32]>,
    phrase: RecoveryPhrase,
    proposal: Proposal,
    questions: Vec<Moment>,
    answers: Vec<Moment>,
    certificate: Vec<u8>,
    public_key: [u8; 32],
    first_leader: Vec<u8>,
}

static CEREMONY: LazyLock<Ceremony> = LazyLock::new(|| {
    let mut cluster = Cluster::new(2, 3, 77);
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    let moment = |disk: &Option<Vec<u8>>, place: usize, message: &Message| Moment {
        disk: disk.clone(),
        place,
        bytes: message.to_bytes(),
        message: message.clone(),
    };
    cluster.run_with(|cluster, step| match step {
        Step::Question(place, message) => {
            questions.push(moment(&cluster.nodes[place].disk, place, message));
        }
        Step::Answer(place, message) => {
            answers.push(moment(&cluster.leader_disk, place, message));
        }
    });
    let node = &cluster.nodes[0];
    let key = node.key.as_ref().unwrap();
    Ceremony {
        nodes: cluster
            .nodes
            .iter()
            .map(|node| node.local.clone())
            .collect(),
        identities: cluster
            .nodes
            .iter()
            .map(|node| node.card.identity)
            .collect(),
        phrase: RecoveryPhrase::parse(&node.phrase.words()).unwrap(),
        proposal: cluster.proposal.clone(),
        certificate: key.certificate.clone(),
        public_key: *key.share.public_key().as_bytes(),
        first_leader: answers
            .iter()
            .find_map(|moment| moment.disk.clone())
            .unwrap(),
        questions,
        answers,
    }
});

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "message",
            run: message,
            seeds: || {
                let moments = CEREMONY.questions.iter().chain(&CEREMONY.answers);
                let mut seen = HashSet::new();
                moments
                    .filter(|moment| seen.insert(moment.message.name()))
                    .map(|moment| {
                        (
                            format!("ok-{}", moment.message.name()),
                            moment.bytes.clone(),
                        )
                    })
                    .chain(reshares::messages())
                    .collect()
            },
        },
        Target {
            name: "member",
            run: member,
            seeds: || at_each(CEREMONY.questions.len()),
        },
        Target {
            name: "leader",
            run: leader,
            seeds: || at_each(CEREMONY.answers.len()),
        },
        Target {
            name: "proposal",
            run: proposal,
            seeds: || vec![("ok".to_owned(), CEREMONY.proposal.to_bytes())],
        },
        Target {
            name: "certificate",
            run: certificate,
            seeds: || vec![("ok".to_owned(), CEREMONY.certificate.clone())],
        },
        Target {
            name: "ceremony_state",
            run: ceremony_state,
            seeds: || {
                let states = CEREMONY.questions.iter().filter_map(|m| m.disk.clone());
                let mut seeds: Vec<_> = (0..)
                    .map(|number| format!("member-{number}"))
                    .zip(states.map(|state| [vec![0], state].concat()))
                    .collect();
                seeds.push((
                    "leader".to_owned(),
                    [vec![1], CEREMONY.first_leader.clone()].concat(),
                ));
                seeds.extend(reshares::states());
                seeds
            },
        },
        Target {
            name: "custody_piece",
            run: custody_piece,
            seeds: || {
                let pieces = custody::split(&CEREMONY.phrase, 2, 3, &mut rng(4)).unwrap();
                (1..)
                    .zip(&pieces)
                    .map(|(number, piece)| (format!("ok-{number}"), piece.to_bytes().to_vec()))
                    .collect()
            },
        },
        Target {
            name: "phrase",
            run: phrase,
            seeds: || {
                let words = CEREMONY.phrase.words();
                vec![("ok".to_owned(), words.as_bytes().to_vec())]
            },
        },
    ]
}

/// A seed for each moment, with the honest message and with one edit of each kind.
fn at_each(moments: usize) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for moment in 0..moments.min(256) {
        seeds.push((format!("ok-{moment}"), vec![moment as u8, 0]));
        let what = (moment % 8) as u8;
        let edit = vec![moment as u8, 0, what, 60 + what, 0, 1, 0];
        seeds.push((format!("edited-{moment}"), edit));
    }
    seeds
}

/// Any bytes as a message.
fn message(bytes: &[u8]) -> Verdict {
    let message = Message::from_bytes(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(message.to_bytes(), bytes, "one encoding");
    if let Message::Propose { proposal } = &message {
        return proposal
            .verify()
            .map(drop)
            .map_err(|error| error.code().to_owned());
    }
    Ok(())
}

/// Which moment, and what comes in place of its message.
fn instead<'m>(moments: &'m [Moment], bytes: &[u8]) -> Result<(&'m Moment, Message), String> {
    let [which, how, rest @ ..] = bytes else {
        return refused("short");
    };
    let moment = &moments[usize::from(*which) % moments.len()];
    let bytes = if how & 1 == 0 {
        let others: Vec<&[u8]> = moments
            .iter()
            .map(|moment| moment.bytes.as_slice())
            .collect();
        edits::apply(&moment.bytes, rest, &others)
    } else {
        rest.to_vec()
    };
    let message = Message::from_bytes(&bytes).map_err(|error| error.code().to_owned())?;
    Ok((moment, message))
}

fn restored(moment: &Moment) -> Member {
    let local = CEREMONY.nodes[moment.place].clone();
    match &moment.disk {
        Some(state) => Member::restore(local, state).expect("what was written is read again"),
        None => Member::new(local),
    }
}

fn ask(member: &mut Member, message: Message) -> Result<(Message, Option<Vec<u8>>), String> {
    let leader = CEREMONY.proposal.leader();
    let mut output = member.handle(leader, message, NOW, &mut rng(8));
    if member.stage() == MemberStage::Proposed {
        output = member.accept(NOW, &mut rng(9));
    }
    let output = output.map_err(|fault| fault.code().to_owned())?;
    let persist = output.persist.as_ref().map(|state| state.to_vec());
    Ok((output.reply, persist))
}

/// A member at some step of a ceremony is told something else than the honest leader says.
fn member(bytes: &[u8]) -> Verdict {
    let (moment, other) = instead(&CEREMONY.questions, bytes)?;
    let honest = other == moment.message;
    let mut machine = restored(moment);
    let stage = machine.stage();
    match ask(&mut machine, other) {
        Ok((_, persist)) => {
            if let Some(state) = persist {
                let local = CEREMONY.nodes[moment.place].clone();
                let again = Member::restore(local, &state).expect("what is written is read again");
                assert_eq!(again.stage(), machine.stage());
            }
            Ok(())
        }
        Err(code) => {
            assert!(!honest, "the honest message is refused: {code}");
            assert_eq!(machine.stage(), stage, "what is refused has no effect");
            let (reply, _) = ask(&mut machine, moment.message.clone()).unwrap();
            assert!(!matches!(reply, Message::Refused { .. }), "{reply:?}");
            Err(code)
        }
    }
}

/// A leader at some step of a ceremony gets another answer than the honest member's.
fn leader(bytes: &[u8]) -> Verdict {
    let (moment, answer) = instead(&CEREMONY.answers, bytes)?;
    let Some(disk) = &moment.disk else {
        return refused("nothing-written");
    };
    let mut machine = Leader::restore(disk).expect("what was written is read again");
    let from = CEREMONY.identities[moment.place];
    drop(machine.poll(NOW));
    let mut verdict = Ok(());
    for effect in machine.handle_reply(&from, &answer, NOW) {
        match effect {
            LeaderEffect::Failed { culprits } => {
                for (member, fault) in culprits {
                    assert_eq!(member.identity, from, "{fault:?}");
                    verdict = refused(fault.code());
                }
            }
            LeaderEffect::Excluded { member, .. } => assert_eq!(member.identity, from),
            LeaderEffect::Persist(state) => drop(Leader::restore(&state).unwrap()),
            LeaderEffect::Send { message, .. } => {
                assert_eq!(
                    Message::from_bytes(&message.to_bytes()).as_ref(),
                    Ok(&message)
                );
            }
            _ => {}
        }
    }
    verdict
}

/// Any bytes as a proposal.
fn proposal(bytes: &[u8]) -> Verdict {
    let proposal = Proposal::from_bytes(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(proposal.to_bytes(), bytes, "one encoding");
    let (t, n) = (usize::from(proposal.threshold()), proposal.members().len());
    assert!(t >= 1 && t <= n);
    Ok(())
}

/// Any bytes as the certificate of the one key: only the real one is.
fn certificate(bytes: &[u8]) -> Verdict {
    let key =
        verify_certificate(bytes, &CEREMONY.identities).map_err(|error| error.code().to_owned())?;
    assert_eq!(key.public_key().as_bytes(), &CEREMONY.public_key);
    Ok(())
}

/// Any bytes as a machine's written state: a damaged disk must not be a panic.
fn ceremony_state(bytes: &[u8]) -> Verdict {
    match bytes.split_first() {
        Some((0, state)) => {
            let local = CEREMONY.nodes[0].clone();
            let member = Member::restore(local, state).map_err(|error| error.code().to_owned())?;
            let _ = (member.stage(), member.ceremony(), member.exclusions());
            Ok(())
        }
        Some((2, state)) => {
            let member = Member::restore(reshares::local(), state);
            let member = member.map_err(|error| error.code().to_owned())?;
            let _ = (member.stage(), member.ceremony(), member.exclusions());
            Ok(())
        }
        Some((_, state)) => {
            let mut leader = Leader::restore(state).map_err(|error| error.code().to_owned())?;
            drop(leader.poll(NOW));
            let _ = leader.progress();
            Ok(())
        }
        None => refused("empty"),
    }
}

/// Any bytes as a piece of a phrase, joined with an honest one.
fn custody_piece(bytes: &[u8]) -> Verdict {
    let piece = CustodyPiece::from_bytes(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(piece.to_bytes().as_slice(), bytes, "one encoding");
    let honest = custody::split(&CEREMONY.phrase, 2, 3, &mut rng(4)).unwrap();
    let own = honest.into_iter().find(|own| own.index() != piece.index());
    let joined = custody::join(&[piece, own.unwrap()]).map_err(|error| error.code().to_owned())?;
    assert_eq!(
        joined.words().as_bytes(),
        CEREMONY.phrase.words().as_bytes()
    );
    Ok(())
}

/// Any text as a recovery phrase.
fn phrase(bytes: &[u8]) -> Verdict {
    let phrase = RecoveryPhrase::parse(text(bytes)?).map_err(|error| error.code().to_owned())?;
    let again = RecoveryPhrase::parse(&phrase.words()).unwrap();
    assert_eq!(again.words().as_bytes(), phrase.words().as_bytes());
    Ok(())
}
