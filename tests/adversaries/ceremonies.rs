//! A dealer and leader that cheats real nodes in a ceremony over QUIC.
//!
//! The complaint oracle: a complaint publishes n_j·N_i, by which everybody decrypts what members i and j dealt to each other. If a
//! cheating dealer could take part with N_i = c·N_k, made of an honest member k's, and deal wrong shares, the honest members' own
//! complaints would open what k dealt to them. The proof of knowledge of n_i is what stops it: a deal without it is
//! void, and nobody complains about it.
//!
//! Afterwards a member that signs the key's certificate is asked twice with the same nonces.

use std::collections::BTreeMap;

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, Fault, Message, NonceCommitments, SigningError};
use reencrypt::SecretScalar;

use crate::dealer::{Dealer, acceptance, excerpt, relay, sums};
use crate::impostor::{Impostor, Outcome, Step};

/// A deal of the impostor's own making, from its own polynomial.
fn dealer(impostor: &Impostor) -> Dealer {
    let seed = rand::random();
    Dealer::new(
        &impostor.proposal,
        &impostor.acceptances,
        impostor.index(),
        impostor.secret.unwrap(),
        seed,
    )
}

/// Everyone is asked to deal; a victim gets `forge` in place of the impostor's deal. Gives its answer.
async fn relayed(name: &str, forge: impl Fn(&Impostor) -> Deal) -> Message {
    let mut impostor = Impostor::among_three(name).await;
    let victim = impostor.others()[0];
    let (mut forged, mut verdict) = (None, None);
    let outcome = impostor
        .lead(|impostor, step| match step {
            Step::Question(index, Message::Deals { deals, .. }) if index == victim => {
                let forged = forged.get_or_insert_with(|| forge(impostor));
                deals[usize::from(impostor.index()) - 1] = excerpt(forged, victim);
            }
            // The whole deals, when it calls for them.
            Step::Question(index, Message::WholeDeals { deals, .. }) if index == victim => {
                let forged = forged.get_or_insert_with(|| forge(impostor));
                deals[usize::from(impostor.index()) - 1] = relay(forged, victim);
            }
            Step::Answer(
                index,
                answer @ (Message::Refused { .. } | Message::Complained { .. }),
            ) if index == victim => {
                verdict.get_or_insert_with(|| answer.clone());
            }
            _ => {}
        })
        .await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    for index in impostor.others() {
        assert!(impostor.keys_of(index).await.is_empty(), "member {index}");
    }
    verdict.unwrap()
}

/// The impostor takes part with N and what it takes for n, made from an honest member's acceptance, and leads by hand. It deals the
/// victim a wrong share under that key. Gives what the victim answers, asked with the sums and with the whole deals.
async fn dealt_under(
    name: &str,
    forge: impl Fn(&Acceptance) -> (RistrettoPoint, Scalar),
) -> (u16, [Message; 2]) {
    let mut impostor = Impostor::among_three(name).await;
    let (own, others) = (impostor.index(), impostor.others());
    let (ceremony, victim) = (impostor.proposal.id(), others[0]);
    let proposal = impostor.proposal.sign(&impostor.local.identity).unwrap();
    let propose = Message::Propose { proposal };
    let mut acceptances: BTreeMap<u16, Acceptance> = BTreeMap::new();
    while acceptances.len() < others.len() {
        for index in others.clone() {
            match impostor.ask(index, &propose).await {
                Message::Accepted { acceptance, .. } => {
                    acceptances.insert(index, acceptance);
                }
                Message::Pending { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let (key, secret) = forge(&acceptances[&others[1]]);
    let key = key.compress().to_bytes();
    let forged = acceptance(&impostor.proposal, own, key, &impostor.local.identity);
    acceptances.insert(own, forged);
    let acceptances: Vec<Acceptance> = acceptances.into_values().collect();
    let begin = Message::Begin {
        attempt: 1,
        ceremony,
        excluded: Vec::new(),
        acceptances: acceptances.clone(),
    };
    let mut deals: BTreeMap<u16, Deal> = BTreeMap::new();
    for index in others.clone() {
        match impostor.ask(index, &begin).await {
            Message::Dealt { deal, .. } => deals.insert(index, *deal),
            other => panic!("{other:?}"),
        };
    }
    let mut cheat = Dealer::new(&impostor.proposal, &acceptances, own, secret, 5);
    cheat.encryption_key = key;
    let wrong = cheat.share(victim) + Scalar::ONE;
    let victims = acceptances[usize::from(victim) - 1].encryption_key;
    cheat.encrypt(victim, wrong, &victims);
    deals.insert(own, cheat.finish(&impostor.local.identity));
    let deals: Vec<Deal> = deals.into_values().collect();
    let summed = Message::Deals {
        sums: sums(&deals),
        deals: deals.iter().map(|deal| excerpt(deal, victim)).collect(),
        attempt: 1,
        ceremony,
    };
    let whole = Message::WholeDeals {
        deals: deals.iter().map(|deal| relay(deal, victim)).collect(),
        attempt: 1,
        ceremony,
    };
    let answers = [
        impostor.ask(victim, &summed).await,
        impostor.ask(victim, &whole).await,
    ];
    (own, answers)
}

fn assert_void((cheat, answers): (u16, [Message; 2])) {
    for answer in answers {
        match answer {
            Message::Refused { code, culprit, .. } => {
                assert_eq!((code.as_str(), culprit), ("deal-proof", cheat));
            }
            other => panic!("the victim opened n_j·N_k: {other:?}"),
        }
    }
}

fn decompress(acceptance: &Acceptance) -> RistrettoPoint {
    let key = CompressedRistretto(acceptance.encryption_key);
    key.decompress().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_member_of_our_own_makes_a_key_with_real_nodes() {
    let mut impostor = Impostor::among_three("ceremony-honest").await;
    match impostor.lead(|_, _| {}).await {
        Outcome::Completed(public_key) => {
            for index in impostor.others() {
                let keys = impostor.keys_of(index).await;
                assert_eq!(keys, [*public_key.as_bytes()], "member {index}");
            }
        }
        failed @ Outcome::Failed(_) => panic!("{failed:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_complaint_oracle_is_shut() {
    // N as it stands in the honest member's acceptance.
    let copied = dealt_under("ceremony-oracle", |honest| {
        (decompress(honest), Scalar::ONE)
    });
    assert_void(copied.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiple_of_an_honest_dealers_key_is_no_way_round() {
    // N = 3·N_k, and a proof by the factor, which is all that the impostor knows of it.
    let factor = Scalar::from(3u8);
    let multiple = dealt_under("ceremony-multiple", |honest| {
        (decompress(honest) * factor, factor)
    });
    assert_void(multiple.await);
}

/// The twin: a dealer that knows its n, and deals a wrong share. That is complained of, and the complaint opens nothing
/// but the cheat's own words.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_share_under_a_key_of_ones_own_is_complained_of() {
    let answer = relayed("ceremony-wrong-share", |impostor| {
        let victim = impostor.others()[0];
        let mut dealer = dealer(impostor);
        let wrong = dealer.share(victim) + Scalar::ONE;
        let key = impostor.acceptances[usize::from(victim) - 1].encryption_key;
        dealer.encrypt(victim, wrong, &key);
        dealer.finish(&impostor.local.identity)
    })
    .await;
    assert!(matches!(answer, Message::Complained { .. }), "{answer:?}");
}

/// Two deals signed by one dealer for one attempt: whoever sees both names it. Here the nodes are shown different ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_dealer_that_tells_each_member_another_story_gets_no_key() {
    let mut impostor = Impostor::among_three("ceremony-two-stories").await;
    let mut stories: BTreeMap<u16, Deal> = BTreeMap::new();
    let outcome = impostor
        .lead(|impostor, step| {
            let Step::Question(index, message) = step else {
                return;
            };
            let place = usize::from(impostor.index()) - 1;
            let mut told = || {
                let story = || dealer(impostor).finish(&impostor.local.identity);
                stories.entry(index).or_insert_with(story).clone()
            };
            match message {
                _ if index == impostor.index() => {}
                Message::Deals { deals, .. } => deals[place] = excerpt(&told(), index),
                Message::WholeDeals { deals, .. } => deals[place] = relay(&told(), index),
                _ => {}
            }
        })
        .await;
    match outcome {
        Outcome::Failed(culprits) => assert!(
            culprits
                .iter()
                .all(|(_, fault)| !matches!(fault, Fault::Expired { .. })),
            "{culprits:?}"
        ),
        completed @ Outcome::Completed(_) => panic!("{completed:?}"),
    }
    for index in impostor.others() {
        assert!(impostor.keys_of(index).await.is_empty(), "member {index}");
    }
}

/// What a signer's nonces have answered once, no second question gets: two answers with them would be the signer's share.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_nodes_nonces_are_for_one_question_about_its_own_result() {
    let mut impostor = Impostor::among_three("ceremony-nonces").await;
    for _ in 0..5 {
        let mut certificate = None;
        let outcome = impostor.lead(|_, step| {
            if let Step::Question(
                _,
                Message::Certificate {
                    certificate: it, ..
                },
            ) = step
            {
                certificate.get_or_insert_with(|| it.to_vec());
            }
        });
        let outcome = outcome.await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        if signs_once(&mut impostor, &certificate.unwrap()).await {
            return;
        }
        // The others were faster, and have signed by themselves.
        impostor.proposes_anew(0);
    }
    panic!("the key's certificate was always signed already");
}

fn refused_as(answer: Message, fault: &Fault) -> bool {
    match answer {
        Message::Refused { code, .. } => {
            assert_eq!(code, fault.code());
            true
        }
        // It needs no share of a signature any more, and gives none.
        Message::KeyCertificate { .. } => false,
        other => panic!("{other:?}"),
    }
}

/// Whether a member was asked to sign, and asked again; it is not if the key's certificate is there.
async fn signs_once(impostor: &mut Impostor, certificate: &[u8]) -> bool {
    let members = impostor.proposal.members();
    let members: Vec<[u8; 32]> = members.iter().map(|member| member.identity).collect();
    let result = dkg::verify_certificate(certificate, &members)
        .unwrap()
        .result_hash();
    let (ceremony, session) = (impostor.proposal.id(), rand::random());
    let (own, signer) = (impostor.index(), impostor.others()[0]);
    let commit = Message::Commit {
        result,
        session,
        ceremony,
    };
    let committed = match impostor.ask(signer, &commit).await {
        Message::Committed { commitments, .. } => commitments,
        Message::KeyCertificate { .. } => return false,
        other => panic!("{other:?}"),
    };
    let point = || {
        let secret = SecretScalar::random(&mut rand::rng());
        *secret.public().as_bytes()
    };
    let sign = |result: [u8; 64]| {
        // Others of the impostor's each time: the challenge is another one.
        let mine = NonceCommitments {
            index: own,
            hiding: point(),
            binding: point(),
        };
        let mut commitments = vec![committed.clone(), mine];
        commitments.sort_by_key(|one| one.index);
        Message::Sign {
            result,
            session,
            ceremony,
            commitments,
        }
    };
    let other = impostor.ask(signer, &sign([7; 64])).await;
    assert!(refused_as(other, &Fault::OtherCeremony));
    match impostor.ask(signer, &sign(result)).await {
        Message::Signed { .. } => {}
        Message::KeyCertificate { .. } => return false,
        other => panic!("{other:?}"),
    }
    let no_session = Fault::Signing(SigningError::NoSession);
    if !refused_as(impostor.ask(signer, &sign(result)).await, &no_session) {
        return false;
    }
    // A session of the same name has nonces of its own.
    match impostor.ask(signer, &commit).await {
        Message::Committed { commitments, .. } => {
            assert_ne!(commitments, committed);
            true
        }
        Message::KeyCertificate { .. } => false,
        other => panic!("{other:?}"),
    }
}
