//! Signing a key's statement under Y: whole sessions, crashes between the rounds, false shares, used nonces.

use std::collections::VecDeque;

use dkg::{
    CertifiedKey, Fault, KeyCertificate, KeyCertificateError, Message, Signer, SigningEffect,
    SigningError, SigningSession, verify_certificate,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, NOW};

struct Signers {
    cluster: Cluster,
    key: CertifiedKey,
    signers: Vec<Signer>,
    /// What each has been given, by the protocol's last message.
    kept: Vec<Option<Vec<u8>>>,
    rng: StdRng,
}

impl Signers {
    fn new(threshold: u16, members: usize, seed: u64) -> Self {
        let mut cluster = Cluster::new(threshold, members, seed);
        cluster.run();
        cluster.assert_completed();
        Self::of(cluster)
    }

    fn of(cluster: Cluster) -> Self {
        let pinned: Vec<[u8; 32]> = cluster
            .nodes
            .iter()
            .map(|node| node.card.identity)
            .collect();
        let certificate = &cluster.nodes[0].key.as_ref().unwrap().certificate;
        Self {
            key: verify_certificate(certificate, &pinned).unwrap(),
            signers: pinned.iter().map(|_| Signer::new()).collect(),
            kept: vec![None; pinned.len()],
            rng: StdRng::seed_from_u64(7),
            cluster,
        }
    }

    fn answer(&mut self, place: usize, from: usize, message: &Message) -> Result<Message, Fault> {
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        let share = &self.cluster.nodes[place].key.as_ref().unwrap().share;
        let from = self.cluster.nodes[from].card.identity;
        let kept = self.kept[place].as_deref();
        let answer =
            self.signers[place].handle(&from, &message, share, &self.key, kept, &mut self.rng)?;
        Ok(Message::from_bytes(&answer.to_bytes()).unwrap())
    }

    /// Runs a session of member `from`; `intercept` may crash members, or change or lose their answers.
    fn sign(
        &mut self,
        from: usize,
        mut intercept: impl FnMut(&mut Self, usize, &Message, Option<Message>) -> Option<Message>,
    ) -> (Vec<u8>, SigningSession) {
        let mut session = SigningSession::new(self.key.clone(), &mut self.rng);
        let mut now = NOW;
        let mut queue: VecDeque<_> = session.poll(now, &mut self.rng).into();
        for _ in 0..1_000 {
            let Some(effect) = queue.pop_front() else {
                now = session.next_poll().unwrap().max(now);
                queue.extend(session.poll(now, &mut self.rng));
                continue;
            };
            match effect {
                SigningEffect::Send { to, message } => {
                    let place = self.cluster.index_of(&to);
                    let answer = match self.answer(place, from, &message) {
                        Ok(answer) => answer,
                        Err(fault) => Message::refusal(message.about(), &fault),
                    };
                    let more = match intercept(self, place, &message, Some(answer)) {
                        Some(answer) => {
                            session.handle_reply(&to, &message, &answer, now, &mut self.rng)
                        }
                        None => session.unreachable(&to, &message, now, &mut self.rng),
                    };
                    queue.extend(more);
                }
                SigningEffect::Signed { certificate } => return (certificate, session),
            }
        }
        panic!("no certificate");
    }
}

#[test]
fn y_alone_verifies_members_epoch_and_public_shares() {
    for (threshold, members) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 5), (7, 10)] {
        let mut signers = Signers::new(threshold, members, 900 + u64::from(threshold));
        let (bytes, session) = signers.sign(members - 1, |_, _, _, answer| answer);
        assert!(session.is_done() && session.culprits().is_empty());
        let public_key = *signers.key.public_key().as_bytes();
        let certificate = KeyCertificate::verify(&bytes, &public_key).unwrap();
        assert_eq!(certificate.package(), signers.key.package());
        assert_eq!(certificate.version(), (0, 1));
        assert_eq!(*certificate.policy_hash(), crate::cluster::POLICY);
        assert_eq!(*certificate.result_hash(), signers.key.result_hash());
        for (member, node) in certificate.members().iter().zip(&signers.cluster.nodes) {
            assert_eq!(
                (&member.name, member.identity),
                (&node.card.name, node.card.identity)
            );
        }
    }
}

#[test]
fn a_certificate_that_is_altered_anywhere_is_refused() {
    let mut signers = Signers::new(2, 3, 910);
    let (bytes, _) = signers.sign(0, |_, _, _, answer| answer);
    let public_key = *signers.key.public_key().as_bytes();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1 << (place % 8);
        assert!(
            KeyCertificate::verify(&altered, &public_key).is_err(),
            "byte {place}"
        );
        assert!(KeyCertificate::verify(&bytes[..place], &public_key).is_err());
    }
    assert!(KeyCertificate::verify(&[bytes.as_slice(), &[0]].concat(), &public_key).is_err());
    let other = Signers::new(2, 3, 911);
    assert!(matches!(
        KeyCertificate::verify(&bytes, other.key.public_key().as_bytes()),
        Err(KeyCertificateError::OtherKey { found }) if found == public_key
    ));
    assert!(dkg::check_key_certificate(&bytes, &signers.key).is_ok());
    assert_eq!(
        dkg::check_key_certificate(&bytes, &other.key).unwrap_err(),
        SigningError::Certificate
    );
}

#[test]
fn a_signer_that_crashes_between_the_rounds_costs_a_new_session() {
    let mut signers = Signers::new(3, 4, 920);
    let mut crashes = 0;
    let (bytes, session) = signers.sign(0, |signers, place, message, answer| {
        // Everybody forgets its nonces once.
        if matches!(message, Message::Commit { .. }) && crashes < 6 {
            crashes += 1;
            signers.signers[place] = Signer::new();
        }
        answer
    });
    assert!(session.culprits().is_empty());
    KeyCertificate::verify(&bytes, signers.key.public_key().as_bytes()).unwrap();
}

#[test]
fn any_t_members_are_enough_when_the_others_are_silent() {
    let mut signers = Signers::new(3, 5, 930);
    for silent in [[0, 1], [1, 3], [3, 4]] {
        let (bytes, _) = signers.sign(2, |_, place, _, answer| {
            answer.filter(|_| !silent.contains(&place))
        });
        KeyCertificate::verify(&bytes, signers.key.public_key().as_bytes()).unwrap();
        // Silent only once they have committed.
        let (bytes, _) = signers.sign(2, |_, place, message, answer| {
            answer.filter(|_| !silent.contains(&place) || matches!(message, Message::Commit { .. }))
        });
        KeyCertificate::verify(&bytes, signers.key.public_key().as_bytes()).unwrap();
    }
}

#[test]
fn a_false_share_or_false_commitments_name_their_author_and_others_sign() {
    let mut signers = Signers::new(3, 5, 940);
    let (bytes, session) = signers.sign(0, |_, place, _, answer| match answer {
        Some(Message::Signed {
            mut share,
            session,
            ceremony,
        }) if place == 1 => {
            share[0] ^= 1;
            Some(Message::Signed {
                share,
                session,
                ceremony,
            })
        }
        Some(Message::Committed {
            session,
            ceremony,
            mut commitments,
        }) if place == 2 => {
            commitments.binding = [255; 32];
            Some(Message::Committed {
                session,
                ceremony,
                commitments,
            })
        }
        answer => answer,
    });
    KeyCertificate::verify(&bytes, signers.key.public_key().as_bytes()).unwrap();
    assert!(session.culprits().contains_key(&2));
    assert!(
        session
            .culprits()
            .keys()
            .all(|index| [2, 3].contains(index))
    );
}

#[test]
fn nonces_are_used_once_whatever_they_are_asked_for() {
    let mut signers = Signers::new(2, 3, 950);
    let ceremony = signers.key.proposal().id();
    let session = [5; 16];
    let result = signers.key.result_hash();
    let commit = Message::Commit {
        result,
        session,
        ceremony,
    };
    let mut commitments = Vec::new();
    for place in 0..2 {
        let first = signers.answer(place, 2, &commit).unwrap();
        assert_eq!(
            signers.answer(place, 2, &commit).unwrap(),
            first,
            "the same until used"
        );
        let Message::Committed {
            commitments: own, ..
        } = first
        else {
            panic!()
        };
        commitments.push(own);
    }
    // Another member's session of the same name is another session.
    let Ok(Message::Committed {
        commitments: others,
        ..
    }) = signers.answer(0, 1, &commit)
    else {
        panic!()
    };
    assert_ne!(others, commitments[0]);
    let sign = |commitments: &[dkg::NonceCommitments]| Message::Sign {
        result,
        session,
        ceremony,
        commitments: commitments.to_vec(),
    };
    let used = Fault::Signing(SigningError::NoSession);
    assert!(matches!(
        signers.answer(0, 2, &sign(&commitments)).unwrap(),
        Message::Signed { .. }
    ));
    assert_eq!(signers.answer(0, 2, &sign(&commitments)).unwrap_err(), used);
    // A false question costs the nonces too.
    let wrong: [Vec<_>; 4] = [
        vec![commitments[0].clone()],
        vec![commitments[1].clone(); 2],
        vec![],
        vec![
            commitments[0].clone(),
            dkg::NonceCommitments {
                index: 9,
                ..commitments[1].clone()
            },
        ],
    ];
    for wrong in wrong {
        signers.answer(1, 2, &commit).unwrap();
        let refused = signers.answer(1, 2, &sign(&wrong)).unwrap_err();
        assert_eq!(refused, Fault::Signing(SigningError::Commitments));
        assert_eq!(signers.answer(1, 2, &sign(&wrong)).unwrap_err(), used);
    }
    // Fresh nonces never repeat.
    let fresh = signers.answer(1, 2, &commit).unwrap();
    assert!(
        matches!(fresh, Message::Committed { commitments: fresh, .. } if fresh != commitments[1])
    );
}

#[test]
fn strangers_and_other_ceremonies_get_nothing_signed() {
    let mut signers = Signers::new(2, 3, 960);
    let ceremony = signers.key.proposal().id();
    let result = signers.key.result_hash();
    let commit = Message::Commit {
        result,
        session: [1; 16],
        ceremony,
    };
    let share = &signers.cluster.nodes[0].key.as_ref().unwrap().share;
    let fault = signers.signers[0]
        .handle(
            &[9; 32],
            &commit,
            share,
            &signers.key,
            None,
            &mut signers.rng,
        )
        .unwrap_err();
    assert_eq!(fault, Fault::Stranger { from: [9; 32] });
    // Another ceremony, and another result of the same one.
    for (ceremony, result) in [([0; 16], result), (ceremony, [0; 64])] {
        let other = Message::Commit {
            result,
            session: [1; 16],
            ceremony,
        };
        assert_eq!(
            signers.answer(0, 1, &other).unwrap_err(),
            Fault::OtherCeremony
        );
    }
    // A share of another result signs nothing under this one.
    let foreign = Signers::new(2, 3, 961);
    let share = &foreign.cluster.nodes[0].key.as_ref().unwrap().share;
    let from = signers.cluster.nodes[1].card.identity;
    let Ok(Message::Committed { commitments, .. }) =
        signers.signers[0].handle(&from, &commit, share, &signers.key, None, &mut signers.rng)
    else {
        panic!()
    };
    let sign = Message::Sign {
        result,
        session: [1; 16],
        ceremony,
        commitments: vec![
            commitments.clone(),
            dkg::NonceCommitments {
                index: 2,
                ..commitments
            },
        ],
    };
    let refused =
        signers.signers[0].handle(&from, &sign, share, &signers.key, None, &mut signers.rng);
    assert_eq!(
        refused.unwrap_err(),
        Fault::Signing(SigningError::Commitments)
    );
}

#[test]
fn whoever_has_the_certificate_hands_it_out_instead_of_signing_again() {
    let mut signers = Signers::new(2, 3, 970);
    let (first, _) = signers.sign(0, |_, _, _, answer| answer);
    signers.kept[1] = Some(first.clone());
    let (second, _) = signers.sign(2, |_, _, _, answer| answer);
    assert_eq!(second, first);
    // One that states something else is not believed.
    let mut other = Signers::new(2, 3, 971);
    let (foreign, _) = other.sign(0, |_, _, _, answer| answer);
    signers.kept = vec![None, Some(foreign), None];
    let (third, _) = signers.sign(2, |_, _, _, answer| answer);
    KeyCertificate::verify(&third, signers.key.public_key().as_bytes()).unwrap();
}

#[test]
fn any_schedule_of_losses_and_crashes_ends_in_a_certificate() {
    for seed in 0..60 {
        let mut chance = StdRng::seed_from_u64(seed);
        let members = 2 + (chance.next_u64() % 4) as usize;
        let threshold = 1 + (chance.next_u64() % members as u64) as u16;
        let mut signers = Signers::new(threshold, members, 2_000 + seed);
        let mut storm = 40;
        let (bytes, session) = signers.sign(0, |signers, place, _, answer| {
            storm -= i32::from(storm > 0);
            match chance.next_u64() % 10 {
                0 if storm > 0 => None,
                1 if storm > 0 => {
                    signers.signers[place] = Signer::new();
                    answer
                }
                _ => answer,
            }
        });
        assert!(session.culprits().is_empty(), "seed {seed}");
        KeyCertificate::verify(&bytes, signers.key.public_key().as_bytes()).unwrap();
    }
}

#[test]
fn a_member_that_floods_with_sessions_costs_others_nothing() {
    let mut signers = Signers::new(2, 3, 980);
    let ceremony = signers.key.proposal().id();
    let result = signers.key.result_hash();
    let honest = Message::Commit {
        result,
        session: [1; 16],
        ceremony,
    };
    let first = signers.answer(0, 1, &honest).unwrap();
    for session in 0..200u8 {
        let flood = Message::Commit {
            result,
            session: [session; 16],
            ceremony,
        };
        signers.answer(0, 2, &flood).unwrap();
    }
    assert_eq!(signers.answer(0, 1, &honest).unwrap(), first);
}
