//! Reshares: members and the leader at every step of an honest one, and the certificates that come out of it (protocol
//! section 8).
//!
//! Of three members two leave, and two others join. The machines are put before every step as they were there and are told
//! something else, as in `ceremonies`.

use std::collections::{HashSet, VecDeque};
use std::sync::LazyLock;

use dkg::{
    Holding, KeyCertificate, LocalNode, Member, MemberStage, Message, ResultName, verify_reshare,
};
use reencrypt::KeyShare;

use crate::cluster::NOW;
use crate::keys::rng;
use crate::moments::{Reply, at_each, instead, leader_hears, member_hears};
use crate::world::{Run, World};
use crate::{Target, Verdict};

/// What a machine was asked, and what it stood on.
struct Moment {
    /// The driver's disk before the message came.
    disk: Option<Vec<u8>>,
    /// The node that the leader speaks with.
    node: String,
    /// What that node had besides: the newest result that it knew, and the highest attempt that it had confirmed.
    newest: Option<ResultName>,
    confirmed: u32,
    message: Message,
    bytes: Vec<u8>,
}

pub(crate) struct Reshare {
    world: World,
    base: ResultName,
    leader: [u8; 32],
    public_key: [u8; 32],
    questions: Vec<Moment>,
    answers: Vec<Moment>,
    /// The ceremony's certificate, and those that the members signed under Y before and after.
    certificate: Vec<u8>,
    signed: [Vec<u8>; 2],
}

pub(crate) static RESHARE: LazyLock<Reshare> = LazyLock::new(Reshare::play);

impl Reshare {
    fn play() -> Self {
        let mut world = World::new(78);
        let base = world.create(2, &["a", "b", "c"]);
        let terms = world.reshare(&base, 2, &["a", "x", "y"]);
        let before = terms.base.as_ref().unwrap().certificate.clone();
        let mut run = world.propose(terms);
        let (mut questions, mut answers) = (Vec::new(), Vec::new());
        let effects = run.leader.poll(world.now);
        let mut queue: VecDeque<_> = run.carry_out(effects).into();
        while !run.is_over() {
            let Some((to, message)) = queue.pop_front() else {
                world.now = run.leader.next_poll().unwrap().max(world.now);
                let effects = run.leader.poll(world.now);
                queue.extend(run.carry_out(effects));
                continue;
            };
            let node = world.name_of(&to);
            let disk = world.nodes[&node].disks.get(&run.id()).cloned();
            questions.push(Moment::of(&world, &base, &node, disk, message.clone()));
            let reply = world.ask(&run.proposal, &node, &message);
            let disk = run.disk.clone();
            answers.push(Moment::of(&world, &base, &node, disk, reply.clone()));
            let effects = run.leader.handle_reply(&to, &reply, world.now);
            queue.extend(run.carry_out(effects));
        }
        let after = world.certified(&run).name();
        Self {
            base,
            leader: *run.proposal.leader(),
            public_key: *world.certified(&run).public_key().as_bytes(),
            questions,
            answers,
            certificate: certificate_of(&run),
            signed: [before, world.certify(&after)],
            world,
        }
    }

    fn local(&self, moment: &Moment) -> LocalNode {
        self.world.nodes[&moment.node].local.clone()
    }

    fn share(&self, moment: &Moment) -> Option<&KeyShare> {
        let keys = &self.world.nodes[&moment.node].keys;
        keys.get(&self.base).map(|key| &key.share)
    }
}

fn certificate_of(run: &Run) -> Vec<u8> {
    run.certificate.clone().expect("a reshare that completed")
}

impl Moment {
    fn of(
        world: &World,
        base: &ResultName,
        node: &str,
        disk: Option<Vec<u8>>,
        message: Message,
    ) -> Self {
        let confirmed = world.nodes[node].records.get(&base.hash).copied();
        Self {
            disk,
            node: node.to_owned(),
            newest: world.nodes[node].newest,
            confirmed: confirmed.unwrap_or_default(),
            bytes: message.to_bytes(),
            message,
        }
    }
}

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "reshare_member",
            run: member,
            seeds: || at_each(RESHARE.questions.len()),
        },
        Target {
            name: "reshare_leader",
            run: leader,
            seeds: || at_each(RESHARE.answers.len()),
        },
        Target {
            name: "reshare_certificate",
            run: reshare_certificate,
            seeds: || vec![("ok".to_owned(), RESHARE.certificate.clone())],
        },
        Target {
            name: "key_certificate",
            run: key_certificate,
            seeds: || {
                let [before, after] = RESHARE.signed.clone();
                vec![
                    ("ok".to_owned(), before),
                    ("ok-reshared".to_owned(), after),
                    ("foreign".to_owned(), RESHARE.certificate.clone()),
                ]
            },
        },
    ]
}

/// The messages of a reshare, one of each kind, with names.
pub(crate) fn messages() -> Vec<(String, Vec<u8>)> {
    let mut seen = HashSet::new();
    let moments = RESHARE.questions.iter().chain(&RESHARE.answers);
    moments
        .filter(|moment| seen.insert(moment.message.name()))
        .map(|moment| {
            let name = format!("ok-reshare-{}", moment.message.name());
            (name, moment.bytes.clone())
        })
        .collect()
}

/// What the drivers had written in a reshare, as the target `ceremony_state` takes it, with names.
pub(crate) fn states() -> Vec<(String, Vec<u8>)> {
    let kinds = [(2, &RESHARE.questions), (1, &RESHARE.answers)];
    let mut seen = HashSet::new();
    let mut states = Vec::new();
    for (kind, moments) in kinds {
        let of_a = moments
            .iter()
            .filter(|moment| kind == 1 || moment.node == "a");
        for state in of_a.filter_map(|moment| moment.disk.as_ref()) {
            if seen.insert(state.clone()) {
                let name = format!("ok-reshare-{}", states.len());
                states.push((name, [vec![kind], state.clone()].concat()));
            }
        }
    }
    states
}

/// The node whose members' states `states` gives.
pub(crate) fn local() -> LocalNode {
    RESHARE.world.nodes["a"].local.clone()
}

/// A driver's turn, as the key generation's own simulated world has it.
fn ask(member: &mut Member, moment: &Moment, message: Message) -> Reply {
    let (leader, rng) = (&RESHARE.leader, &mut rng(8));
    let output = match member.base_of(&message) {
        None => member.handle(leader, message, NOW, rng),
        Some(base) => {
            let holding = Holding {
                share: RESHARE
                    .share(moment)
                    .filter(|_| base.result == RESHARE.base),
                newest: moment.newest,
                confirmed: moment.confirmed,
            };
            member.handle_reshare(leader, message, &holding, NOW, rng)
        }
    };
    let output = match member.stage() {
        MemberStage::Proposed => member.accept(NOW, rng),
        _ => output,
    };
    let output = output.map_err(|fault| fault.code().to_owned())?;
    let persist = output.persist.as_ref().map(|state| state.to_vec());
    Ok((output.reply, persist))
}

/// A member, old or new or both, at some step of a reshare is told something else than the honest leader says.
fn member(bytes: &[u8]) -> Verdict {
    let (moment, other) = instead(&RESHARE.questions, |moment| &moment.bytes, bytes)?;
    let said = (&moment.message, other);
    let ask = |machine: &mut Member, message| ask(machine, moment, message);
    member_hears(&RESHARE.local(moment), moment.disk.as_deref(), said, ask)
}

/// A leader at some step of a reshare gets another answer than the honest member's.
fn leader(bytes: &[u8]) -> Verdict {
    let (moment, answer) = instead(&RESHARE.answers, |moment| &moment.bytes, bytes)?;
    let from = RESHARE.world.nodes[&moment.node].identity();
    leader_hears(moment.disk.as_deref(), from, &answer)
}

/// Any bytes as the certificate of a reshare of the one key, for somebody who knows only that.
fn reshare_certificate(bytes: &[u8]) -> Verdict {
    let key =
        verify_reshare(bytes, &RESHARE.public_key).map_err(|error| error.code().to_owned())?;
    assert_eq!(key.public_key().as_bytes(), &RESHARE.public_key);
    Ok(())
}

/// Any bytes as the key's certificate under Y.
fn key_certificate(bytes: &[u8]) -> Verdict {
    let certificate = KeyCertificate::verify(bytes, &RESHARE.public_key)
        .map_err(|error| error.code().to_owned())?;
    assert_eq!(certificate.as_bytes(), bytes, "one encoding");
    Ok(())
}
