//! Key generation: messages, documents, and the machines that take them (protocol section 8).
//!
//! The machines are put before every step of an honest ceremony as they were there, from what their driver had written, and
//! are then told something else: any bytes, or the honest message with edits. Whatever that does, it must not keep
//! the honest message from being answered when it comes, unless the machine took the other one.

use std::collections::HashSet;
use std::sync::LazyLock;

use dkg::custody::{self, CustodyPiece};
use dkg::{
    Leader, LocalNode, Member, MemberStage, Message, Proposal, RecoveryPhrase, verify_certificate,
};

use crate::cluster::{Cluster, NOW, Step};
use crate::keys::rng;
use crate::moments::{Reply, at_each, instead, leader_hears, member_hears};
use crate::{Target, Verdict, refused, reshares, signing, text};

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
                    .chain(signing::messages())
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

fn ask(member: &mut Member, message: Message) -> Reply {
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
    let (moment, other) = instead(&CEREMONY.questions, |moment| &moment.bytes, bytes)?;
    let local = &CEREMONY.nodes[moment.place];
    member_hears(local, moment.disk.as_deref(), (&moment.message, other), ask)
}

/// A leader at some step of a ceremony gets another answer than the honest member's.
fn leader(bytes: &[u8]) -> Verdict {
    let (moment, answer) = instead(&CEREMONY.answers, |moment| &moment.bytes, bytes)?;
    let from = CEREMONY.identities[moment.place];
    leader_hears(moment.disk.as_deref(), from, &answer)
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
