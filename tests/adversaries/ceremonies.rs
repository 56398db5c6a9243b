//! A dealer and leader that cheats real nodes in a ceremony over QUIC.
//!
//! The complaint oracle: a complaint publishes n_j·N_i, by which everybody decrypts what members i and j dealt to each other. If a
//! cheating dealer could take part with N_i = c·N_k, made of an honest member k's, and deal wrong shares, the honest members' own
//! complaints would open what k dealt to them. The proof of knowledge of n_i is what stops it: such an acceptance is
//! void, nobody deals under it, and there is nothing to complain about.

use std::collections::BTreeMap;

use curve25519_dalek::Scalar;
use curve25519_dalek::ristretto::CompressedRistretto;
use dkg::{Acceptance, Deal, Fault, Message};

use crate::dealer::{Dealer, acceptance, excerpt, relay, sign_acceptance};
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

/// The impostor leads, and tells everybody that it accepted with `forge(an honest member's acceptance)`. Gives the first answer to that,
/// and how many dealt.
async fn begun(
    name: &str,
    forge: impl Fn(&Impostor, &Acceptance) -> Acceptance,
) -> (u16, Message, usize) {
    let mut impostor = Impostor::among_three(name).await;
    let (own, others) = (impostor.index(), impostor.others());
    let (mut verdict, mut dealt) = (None, 0);
    let outcome = impostor
        .lead(|impostor, step| match step {
            Step::Question(index, Message::Begin { acceptances, .. }) if index != own => {
                let honest = acceptances[usize::from(others[1]) - 1].clone();
                acceptances[usize::from(own) - 1] = forge(impostor, &honest);
            }
            Step::Answer(index, answer @ Message::Refused { .. }) if index != own => {
                verdict.get_or_insert_with(|| answer.clone());
            }
            Step::Answer(index, Message::Dealt { .. }) if index != own => dealt += 1,
            _ => {}
        })
        .await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    for index in others {
        assert!(impostor.keys_of(index).await.is_empty(), "member {index}");
    }
    (own, verdict.unwrap(), dealt)
}

fn assert_void((cheat, answer, dealt): (u16, Message, usize)) {
    match answer {
        Message::Refused { code, culprit, .. } => {
            assert_eq!((code.as_str(), culprit), ("acceptance-invalid", cheat));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(dealt, 0, "nothing was dealt under the key");
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
    // N and its proof as they stand in the honest member's acceptance.
    let answer = begun("ceremony-oracle", |impostor, honest| {
        let (index, identity) = (impostor.index(), &impostor.local.identity);
        let (key, proof) = (honest.encryption_key, honest.proof);
        sign_acceptance(&impostor.proposal, index, key, proof, identity)
    });
    assert_void(answer.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiple_of_an_honest_dealers_key_is_no_way_round() {
    // N = 3·N_k, and a proof by the factor, which is all that the impostor knows of it.
    let answer = begun("ceremony-multiple", |impostor, honest| {
        let (index, identity) = (impostor.index(), &impostor.local.identity);
        let copied = CompressedRistretto(honest.encryption_key);
        let factor = Scalar::from(3u8);
        let key = (copied.decompress().unwrap() * factor).compress();
        acceptance(&impostor.proposal, index, key.to_bytes(), factor, identity)
    });
    assert_void(answer.await);
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
