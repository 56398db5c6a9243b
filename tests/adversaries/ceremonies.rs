//! A dealer and leader that cheats real nodes in a ceremony over QUIC.
//!
//! The complaint oracle: a complaint publishes n_j·E_i, by which everybody decrypts what dealer i sent to member j. If a
//! cheating dealer could deal with E_i = c·E_k, made of an honest dealer k's, and wrong shares, the honest members' own
//! complaints would open the shares that dealer k sent them. The proof of knowledge of e_i is what stops it: such a deal is
//! void, and nobody complains about it.

use std::collections::BTreeMap;

use dkg::{Deal, Fault, Message};

use crate::dealer::{Dealer, excerpt, relay};
use crate::impostor::{Impostor, Outcome, Step};

/// A deal of the impostor's own making, from its own polynomial.
fn dealer(impostor: &Impostor) -> Dealer {
    let seed = rand::random();
    Dealer::new(
        &impostor.proposal,
        &impostor.acceptances,
        impostor.index(),
        seed,
    )
}

/// Everyone is asked to deal; `victim` gets `forge(honest deals)` in place of the impostor's deal. Gives its answer.
async fn relayed(
    name: &str,
    forge: impl Fn(&Impostor, &[(u16, Box<Deal>)]) -> Deal,
) -> (u16, Message) {
    let mut impostor = Impostor::among_three(name).await;
    let victim = impostor.others()[0];
    let (mut dealt, mut forged, mut verdict) = (Vec::new(), None, None);
    let outcome = impostor
        .lead(|impostor, step| match step {
            Step::Answer(index, Message::Dealt { deal, .. }) => dealt.push((index, deal.clone())),
            Step::Question(index, Message::Deals { deals, .. }) if index == victim => {
                let forged = forged.get_or_insert_with(|| forge(impostor, &dealt));
                deals[usize::from(impostor.index()) - 1] = excerpt(forged, victim);
            }
            // The whole deals, when it calls for them.
            Step::Question(index, Message::WholeDeals { deals, .. }) if index == victim => {
                let forged = forged.get_or_insert_with(|| forge(impostor, &dealt));
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
    (impostor.index(), verdict.unwrap())
}

/// Another dealer's deal among those that were dealt to the leader.
fn honest_dealer(impostor: &Impostor, dealt: &[(u16, Box<Deal>)]) -> Box<Deal> {
    let of_another = |(index, _): &&(u16, Box<Deal>)| *index == impostor.others()[1];
    dealt.iter().find(of_another).unwrap().1.clone()
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
    // E and its proof as they stand in the honest dealer's deal.
    let (cheat, answer) = relayed("ceremony-oracle", |impostor, dealt| {
        let honest = honest_dealer(impostor, dealt);
        let mut dealer = dealer(impostor);
        dealer.ephemeral = honest.header.ephemeral;
        // What is sent to the victim is what the honest dealer sent it: a complaint would open just that.
        dealer.ciphertexts = honest.ciphertexts.as_chunks::<32>().0.to_vec();
        let (known, constant) = (dealer.polynomial[0], dealer.commitments[0]);
        let constant = dealer.proof("cryptonode/v1/dkg-proof-constant", known, &constant);
        dealer.finish_with(
            &impostor.local.identity,
            constant,
            honest.header.ephemeral_proof,
        )
    })
    .await;
    match answer {
        Message::Refused { code, culprit, .. } => {
            assert_eq!((code.as_str(), culprit), ("deal-ephemeral-proof", cheat));
        }
        other => panic!("the victim opened n_j·E_k: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiple_of_an_honest_dealers_key_is_no_way_round() {
    // E = 3·E_k, and a proof by the dealer's own e, which it is not made of.
    let (cheat, answer) = relayed("ceremony-multiple", |impostor, dealt| {
        let honest = honest_dealer(impostor, dealt);
        let mut dealer = dealer(impostor);
        let copied = curve25519_dalek::ristretto::CompressedRistretto(honest.header.ephemeral)
            .decompress()
            .unwrap();
        dealer.ephemeral = (copied * curve25519_dalek::Scalar::from(3u8))
            .compress()
            .to_bytes();
        dealer.finish(&impostor.local.identity)
    })
    .await;
    match answer {
        Message::Refused { code, culprit, .. } => {
            assert_eq!((code.as_str(), culprit), ("deal-ephemeral-proof", cheat));
        }
        other => panic!("the victim opened n_j·E_k: {other:?}"),
    }
}

/// The twin: a dealer that knows its e, and deals a wrong share. That is complained of, and the complaint opens nothing
/// but the cheat's own words.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_share_under_a_key_of_ones_own_is_complained_of() {
    let answer = relayed("ceremony-wrong-share", |impostor, _| {
        let victim = impostor.others()[0];
        let mut dealer = dealer(impostor);
        let wrong = dealer.share(victim) + curve25519_dalek::Scalar::ONE;
        let key = impostor.acceptances[usize::from(victim) - 1].encryption_key;
        dealer.encrypt(victim, wrong, &key);
        dealer.finish(&impostor.local.identity)
    })
    .await;
    assert!(matches!(answer.1, Message::Complained { .. }), "{answer:?}");
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
