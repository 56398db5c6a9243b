//! Members and a leader that say different things to different people, or what is not true.

use dkg::{Acceptance, Acknowledgement, Complaint, Complaints, Fault, MemberStage, Message};
use ed25519_dalek::{Signer, SigningKey};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::equality::{EqualityProof, Statement};
use reencrypt::{Point, SecretScalar, hash};
use serde_bytes::ByteBuf;

use crate::cluster::{Cluster, Step};
use crate::dealer::{Dealer, encryption_secret, excerpt, sums};
use crate::encryption_keys::acceptance;

/// 0-based: the member that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

fn dealer(cluster: &Cluster, acceptances: &[Acceptance], place: usize) -> Dealer {
    Dealer::new(
        &cluster.proposal,
        acceptances,
        index(place),
        encryption_secret(cluster.nodes[place].state()),
        1000 + place as u64,
    )
}

#[test]
fn a_leader_that_alters_a_relayed_deal_is_found_out_and_no_dealer_blamed() {
    type Alter = fn(&mut Message);
    fn of_excerpt(message: &mut Message) -> &mut dkg::DealExcerpt {
        match message {
            Message::Deals { deals, .. } => &mut deals[CHEAT],
            other => panic!("{other:?}"),
        }
    }
    fn of_whole(message: &mut Message) -> &mut dkg::RelayedDeal {
        match message {
            Message::WholeDeals { deals, .. } => &mut deals[CHEAT],
            other => panic!("{other:?}"),
        }
    }
    let cases: [(bool, Alter); 7] = [
        (false, |deals| of_excerpt(deals).ciphertext[0] ^= 1),
        (false, |deals| of_excerpt(deals).header.proof[3] ^= 1),
        (false, |deals| of_excerpt(deals).path[3] ^= 1),
        (true, |deals| of_whole(deals).ciphertext[0] ^= 1),
        (true, |deals| of_whole(deals).commitments[3] ^= 1),
        (true, |deals| of_whole(deals).header.proof[3] ^= 1),
        (true, |deals| of_whole(deals).path[3] ^= 1),
    ];
    let expected = "relay-altered";
    for (whole, alter) in cases {
        let mut cluster = Cluster::new(3, 5, 8);
        if whole {
            cluster = cluster.with_whole_deals();
        }
        let mut verdict = None;
        cluster.run_with(|_, step| match step {
            Step::Question(
                VICTIM,
                message @ (Message::Deals { .. } | Message::WholeDeals { .. }),
            ) => alter(message),
            Step::Answer(VICTIM, Message::Refused { code, culprit, .. }) => {
                verdict.get_or_insert((code.clone(), *culprit));
            }
            _ => {}
        });
        assert_eq!(verdict, Some((expected.to_owned(), 0)));
    }
}

/// The victim answers with evidence and changes nothing; what the evidence proves.
pub fn evidence_of(
    cluster: &mut Cluster,
    from: &[u8; 32],
    question: Message,
    rng: &mut StdRng,
) -> Fault {
    let output = cluster.nodes[VICTIM]
        .member
        .handle(from, question, cluster.now, rng)
        .unwrap();
    assert!(output.persist.is_none());
    let Message::Notice { excluded, .. } = output.reply else {
        panic!("{:?}", output.reply)
    };
    excluded[0].verify(&cluster.proposal).unwrap().unwrap()
}

#[test]
fn a_dealer_that_signs_two_deals_is_convicted_by_them() {
    let mut cluster = Cluster::new(2, 3, 9);
    let (mut acceptances, mut shown, mut tried) = (Vec::new(), None, false);
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            VICTIM,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Question(VICTIM, message @ Message::Deals { .. }) => shown = Some(message.clone()),
        Step::Question(VICTIM, message @ Message::Acknowledgements { .. }) => {
            // The victim has acknowledged. Now the leader brings another deal of the cheat.
            let other =
                dealer(cluster, &acceptances, CHEAT).finish(&cluster.nodes[CHEAT].local.identity);
            let (ceremony, from) = (message.ceremony().unwrap(), cluster.leader_id());
            let mut rng = StdRng::seed_from_u64(0);
            let Some(Message::Deals {
                deals: shown, sums, ..
            }) = shown.clone()
            else {
                panic!()
            };
            let mut deals = shown.clone();
            deals[CHEAT] = excerpt(&other, index(VICTIM));
            let question = Message::Deals {
                ceremony,
                attempt: 1,
                deals,
                sums,
            };
            let fault = evidence_of(cluster, &from, question, &mut rng);
            let Fault::TwoDeals { dealer, evidence } = fault else {
                panic!("{fault:?}")
            };
            assert_eq!((dealer, &evidence.0), (index(CHEAT), &shown[CHEAT].header));
            assert_ne!(evidence.0, evidence.1);
            tried = true;
        }
        _ => {}
    });
    assert!(tried);
    cluster.assert_completed();
}

#[test]
fn members_that_were_shown_different_deals_do_not_confirm() {
    let mut cluster = Cluster::new(2, 3, 10);
    let (mut acceptances, mut verdict, mut dealt) = (Vec::new(), None, Vec::new());
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            VICTIM,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(_, Message::Dealt { deal, .. }) => dealt.push((**deal).clone()),
        // Cheat and leader together: the victim gets another deal than the rest.
        Step::Question(
            VICTIM,
            Message::Deals {
                deals, sums: told, ..
            },
        ) => {
            let other =
                dealer(cluster, &acceptances, CHEAT).finish(&cluster.nodes[CHEAT].local.identity);
            deals[CHEAT] = excerpt(&other, index(VICTIM));
            dealt.sort_by_key(|deal| deal.header.index);
            dealt[CHEAT] = other;
            *told = sums(&dealt);
        }
        Step::Answer(VICTIM, reply @ Message::Acknowledged { .. }) => verdict = Some(reply.clone()),
        _ => {}
    });
    assert!(verdict.is_some(), "each set is in order by itself");
    cluster.assert_failed_by(VICTIM, "other-deals");
    // A leader that goes on regardless gets no confirmation.
    let Some(Message::Acknowledged {
        acknowledgement: other,
        ..
    }) = verdict
    else {
        panic!()
    };
    let mut cluster = Cluster::new(2, 3, 10);
    let mut refused = None;
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            0,
            Message::Acknowledgements {
                acknowledgements, ..
            },
        ) => {
            let params = crate::dealer::params(&cluster.proposal, 1, &acceptances);
            let signed = hash(
                "cryptonode/v1/dkg-acknowledge",
                &[&params, &index(VICTIM).to_le_bytes(), &other.set],
            );
            let signature = cluster.nodes[VICTIM]
                .local
                .identity
                .sign(&signed)
                .to_bytes();
            acknowledgements[VICTIM] = Acknowledgement {
                index: index(VICTIM),
                set: other.set,
                signature,
            };
        }
        Step::Answer(0, Message::Refused { code, culprit, .. }) => {
            refused.get_or_insert((code.clone(), *culprit));
        }
        _ => {}
    });
    assert_eq!(refused, Some(("other-deals".to_owned(), index(VICTIM))));
}

/// A member complains of an honest dealer, opening its share truly or falsely.
pub fn complain(seed: u64, truly: bool, may_be_absent: u16) -> Cluster {
    complain_of(seed, truly, may_be_absent, |complaint| vec![complaint])
}

/// The same, with as many complaints as are made of it.
pub fn complain_of(
    seed: u64,
    truly: bool,
    may_be_absent: u16,
    make: impl Fn(Complaint) -> Vec<Complaint>,
) -> Cluster {
    let mut cluster = Cluster::with_absent(2, 3, may_be_absent, seed).with_whole_deals();
    let rng = &mut StdRng::seed_from_u64(seed);
    let secret = SecretScalar::random(rng);
    let mut acceptances: Vec<Acceptance> = Vec::new();
    let mut question = None;
    cluster.run_with(|cluster, step| match step {
        Step::Answer(
            CHEAT,
            Message::Accepted {
                acceptance: own, ..
            },
        ) => *own = acceptance(cluster, CHEAT, &secret),
        Step::Question(
            CHEAT,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Question(CHEAT, Message::WholeDeals { deals, .. }) => question = Some(deals.clone()),
        Step::Answer(CHEAT, reply) => {
            let ceremony = cluster.proposal.id();
            if let Some(deals) = question.take() {
                let params = crate::dealer::params(&cluster.proposal, 1, &acceptances);
                let author = Complainant {
                    index: index(CHEAT),
                    identity: &cluster.nodes[CHEAT].local.identity,
                    encryption_key: secret.public(),
                };
                let used = if truly {
                    SecretScalar::from_scalar(*secret.expose()).unwrap()
                } else {
                    SecretScalar::random(rng)
                };
                let known = (deals.as_slice(), acceptances.as_slice());
                let one = complaint(&params, known, VICTIM, &author, &used, rng);
                let complaints = sign_complaints(&params, &deals, make(one), &author);
                *reply = Message::Complained {
                    ceremony,
                    attempt: 1,
                    complaints,
                };
            } else if !acceptances.is_empty() && matches!(reply, Message::Refused { .. }) {
                let (proposal, known) = (&cluster.proposal, *secret.expose());
                let deal = Dealer::new(proposal, &acceptances, index(CHEAT), known, 1001)
                    .finish(&cluster.nodes[CHEAT].local.identity);
                *reply = Message::Dealt {
                    ceremony,
                    attempt: 1,
                    deal: Box::new(deal),
                };
            }
        }
        _ => {}
    });
    cluster
}

/// Who complains.
pub struct Complainant<'a> {
    pub index: u16,
    pub identity: &'a SigningKey,
    /// N_j.
    pub encryption_key: Point,
}

/// A complaint of the deal at this place, which opens it with this secret.
pub fn complaint(
    params: &[u8],
    (deals, acceptances): (&[dkg::RelayedDeal], &[Acceptance]),
    victim: usize,
    author: &Complainant<'_>,
    used: &SecretScalar,
    rng: &mut StdRng,
) -> Complaint {
    let accused = &deals[victim];
    let header = &accused.header;
    let digests = digests(params, deals);
    let dealer = &acceptances[usize::from(header.index) - 1];
    let dealer_key = Point::from_bytes(&dealer.encryption_key).unwrap();
    let opening = Point::from_bytes(&used.diffie_hellman(&dealer_key)).unwrap();
    let (dealer, member) = (header.index.to_le_bytes(), author.index.to_le_bytes());
    let statement = Statement {
        purpose: "complaint",
        context: &[params, &dealer, &member, &digests[victim]],
        bases: (Point::generator(), dealer_key),
        points: (author.encryption_key, opening),
    };
    let proof = EqualityProof::prove(&statement, used, rng).to_bytes();
    Complaint {
        dealer: header.index,
        ciphertext: accused.ciphertext,
        path: ByteBuf::from(accused.path.to_vec()),
        opening: *opening.as_bytes(),
        proof,
    }
}

fn digests(params: &[u8], deals: &[dkg::RelayedDeal]) -> Vec<[u8; 64]> {
    deals
        .iter()
        .map(|deal| {
            let header = &deal.header;
            let index = header.index.to_le_bytes();
            let items: [&[u8]; 5] = [
                params,
                &index,
                &header.constant,
                &header.commitments_hash,
                &header.ciphertexts_root,
            ];
            hash("cryptonode/v1/dkg-deal", &items)
        })
        .collect()
}

/// Signs complaints of the whole set of deals.
pub fn sign_complaints(
    params: &[u8],
    deals: &[dkg::RelayedDeal],
    complaints: Vec<Complaint>,
    author: &Complainant<'_>,
) -> Complaints {
    let digests = digests(params, deals);
    let set_items: Vec<&[u8]> = std::iter::once(params)
        .chain(digests.iter().map(<[u8; 64]>::as_slice))
        .collect();
    let set = hash("cryptonode/v1/dkg-deal-set", &set_items);
    let member = author.index.to_le_bytes();
    let dealers: Vec<[u8; 2]> = complaints
        .iter()
        .map(|complaint| complaint.dealer.to_le_bytes())
        .collect();
    let mut items: Vec<&[u8]> = vec![params, &member, &set];
    for (complaint, dealer) in complaints.iter().zip(&dealers) {
        let parts: [&[u8]; 5] = [
            dealer,
            &complaint.ciphertext,
            &complaint.path,
            &complaint.opening,
            &complaint.proof,
        ];
        items.extend(parts);
    }
    let signed = hash("cryptonode/v1/dkg-complain", &items);
    let signature = author.identity.sign(&signed).to_bytes();
    Complaints {
        index: author.index,
        set,
        complaints,
        signature,
    }
}

#[test]
fn a_false_complaint_marks_its_author() {
    for truly in [true, false] {
        let cluster = complain(13, truly, 0);
        cluster.assert_failed_by(CHEAT, "false-complaint");
        assert!(matches!(
            cluster.culprits()[0].1,
            Fault::FalseComplaint { member, dealer } if (member, dealer) == (index(CHEAT), index(VICTIM))
        ));
    }
}

#[test]
fn a_certificate_with_a_forged_or_missing_confirmation_activates_nobody() {
    let mut cluster = Cluster::new(2, 3, 14);
    let mut tried = 0;
    cluster.run_with(|cluster, step| {
        if let Step::Question(
            place,
            Message::Certificate {
                ceremony,
                certificate,
                public_shares,
            },
        ) = step
        {
            let from = cluster.leader_id();
            let mut rng = StdRng::seed_from_u64(0);
            for at in (0..certificate.len()).step_by(5) {
                let mut forged = certificate.clone();
                forged[at] ^= 1;
                let question = Message::Certificate {
                    ceremony: *ceremony,
                    certificate: forged,
                    public_shares: public_shares.clone(),
                };
                assert!(
                    cluster.nodes[place]
                        .member
                        .handle(&from, question, cluster.now, &mut rng)
                        .is_err()
                );
                tried += 1;
            }
            let shares = public_shares.to_vec();
            let false_ones = [
                [&shares[32..64], &shares[..32], &shares[64..]].concat(),
                shares[32..].to_vec(),
                [&shares[..64], &shares[..32]].concat(),
                [&[0; 32], &shares[32..]].concat(),
            ];
            for public_shares in false_ones.map(serde_bytes::ByteBuf::from) {
                let question = Message::Certificate {
                    ceremony: *ceremony,
                    certificate: certificate.clone(),
                    public_shares,
                };
                let fault = cluster.nodes[place]
                    .member
                    .handle(&from, question, cluster.now, &mut rng)
                    .err()
                    .unwrap();
                assert!(fault.code().starts_with("certificate-"), "{fault}");
            }
            assert_eq!(cluster.nodes[place].member.stage(), MemberStage::Confirmed);
        }
    });
    assert!(tried > 100);
    cluster.assert_completed();
}

#[test]
fn a_member_that_confirms_another_result_is_named() {
    let mut cluster = Cluster::new(2, 3, 15);
    cluster.run_with(|_, step| {
        if let Step::Answer(CHEAT, Message::Confirmed { confirmation, .. }) = step {
            confirmation.sealed_share[50] ^= 1;
        }
    });
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!(
        (name, fault),
        (
            cluster.nodes[CHEAT].card.name.clone(),
            Fault::OtherConfirmation { member: 2 }
        )
    );
    // Members that confirmed keep their pending share: nobody can tell them that there is no certificate.
    assert!(
        cluster
            .nodes
            .iter()
            .all(|node| node.member.stage() == MemberStage::Confirmed)
    );
}
