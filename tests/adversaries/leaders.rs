//! What the leader of a ceremony does that it should not, word by word of the one vocabulary, to real nodes over QUIC. The others get no two keys
//! of it, and make theirs with another leader.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dkg::{Exclusion, Grounds, Message};
use testkit::misbehaviour::Misbehaviour;

use crate::impostor::{Impostor, Step};
use crate::members::{all_have, leads, make_key};

/// How long a leader goes on after its first lie.
const LIES_FOR: Duration = Duration::from_secs(6);
/// How long it may take to come to lie.
const LIES_WITHIN: Duration = Duration::from_secs(90);

/// What the impostor sends in place of what its honest leader's machine would.
fn lead_falsely(word: Misbehaviour, index: u16, own: u16, message: &mut Message) {
    if index == own {
        return;
    }
    let stall = |message: &Message| Message::Leading {
        waiting: Vec::new(),
        attempt: message.attempt().unwrap_or(1),
        ceremony: message.ceremony().unwrap(),
    };
    let is_certificate = matches!(message, Message::Certificate { .. });
    let is_late = matches!(
        message,
        Message::Deals { .. } | Message::WholeDeals { .. } | Message::Acknowledgements { .. }
    );
    match word {
        Misbehaviour::Exclusion => {
            if let Message::Begin {
                acceptances,
                excluded,
                ..
            } = message
                && let Some(at) = acceptances
                    .iter()
                    .position(|one| one.index != own && one.index != index)
            {
                let member = acceptances.remove(at).index;
                let grounds = Grounds::Silent;
                *excluded = vec![Exclusion { member, grounds }];
            }
        }
        Misbehaviour::FalseSums => {
            if let Message::Deals { sums, .. } = message {
                sums.reverse();
            }
        }
        Misbehaviour::WithheldCertificate if is_certificate => *message = stall(message),
        Misbehaviour::Stalling if is_late => *message = stall(message),
        // Silent for longer than anybody's patience, and then it calls all back.
        Misbehaviour::CallingBack if is_late => {
            std::thread::sleep(Duration::from_secs(3));
            *message = stall(message);
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_misbehaviour_of_a_leader_keeps_the_others_from_a_key() {
    let mut impostor = Impostor::among_three("leaders").await;
    let mut played = 0;
    for word in Misbehaviour::all().filter(|word| leads(*word)) {
        impostor.proposes_anew(1);
        let (begun, first_lie) = (Instant::now(), Cell::new(None));
        let over = || match first_lie.get() {
            Some(lied) => Instant::now() > lied + LIES_FOR,
            None => begun.elapsed() > LIES_WITHIN,
        };
        impostor
            .lead_until(over, |impostor, step| {
                if let Step::Question(index, message) = step {
                    let honest = message.clone();
                    lead_falsely(word, index, impostor.index(), message);
                    if honest != *message && first_lie.get().is_none() {
                        first_lie.set(Some(Instant::now()));
                    }
                }
            })
            .await;
        assert!(first_lie.get().is_some(), "{word} has not come to lie");
        // Another one leads, without the impostor.
        let made = make_key(&impostor.site, 1, Some(&[1, 2, 3])).await;
        assert_eq!(made["outcome"], "activated", "{word}: {made}");
        let key = made["public_key"].as_str().unwrap();
        all_have(&impostor.site, &[1, 2, 3], key, word).await;
        played += 1;
    }
    assert_eq!(played, 5);
}
