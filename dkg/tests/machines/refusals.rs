//! Members that cannot take part in what is proposed: all are named, and nothing starts.

use dkg::{Fault, Member, MemberStage, Message};

use crate::cluster::{Cluster, NOW};

/// Two of another policy and one of another version, among five: the operator hears of all at once, and so do the members that could have gone on.
#[test]
fn all_members_that_cannot_take_part_are_named_before_anything_starts() {
    for absent in [0, 1] {
        let mut cluster = Cluster::with_absent(2, 5, absent, 12);
        for place in [1, 3] {
            cluster.nodes[place].local.policy_hash = [8; 32];
            cluster.nodes[place].member = Member::new(cluster.nodes[place].local.clone());
        }
        let mut begun = false;
        cluster.run_lossy(|_, place, message, reply| {
            begun |= message.name() == "begin";
            match (place, message) {
                // It cannot even read the question.
                (2, Message::Propose { .. }) => {
                    let unreadable = dkg::WireError::Version { ours: 2, theirs: 1 };
                    let about = dkg::About::default();
                    Some(Message::refusal(about, &Fault::Wire(unreadable)))
                }
                _ => Some(reply),
            }
        });
        assert!(!begun, "nothing has started");
        let mut told: Vec<(String, String)> = cluster
            .culprits()
            .into_iter()
            .map(|(name, fault)| match fault {
                Fault::Refused { code, .. } | Fault::Recorded { code, .. } => (name, code),
                other => panic!("{other:?}"),
            })
            .collect();
        told.sort();
        let named = |place: usize, code: &str| {
            let card = &cluster.nodes[place].card;
            (card.name.clone(), code.to_owned())
        };
        let mut expected = vec![
            named(1, "other-policy"),
            named(2, "other-version"),
            named(3, "other-policy"),
        ];
        expected.sort();
        assert_eq!(told, expected);
        for place in [0, 4] {
            let member = &cluster.nodes[place].member;
            assert_eq!(member.stage(), MemberStage::Closed);
            let accused: Vec<_> = member
                .accused()
                .iter()
                .map(|told| (told.member, told.grounds.code().to_owned()))
                .collect();
            let expected = [
                (2, "other-policy"),
                (3, "other-version"),
                (4, "other-policy"),
            ];
            let expected = expected.map(|(member, code)| (member, code.to_owned()));
            assert_eq!(accused, expected[usize::from(absent)..]);
        }
    }
}

/// One that is away is waited for a while, and one that is put right meanwhile is asked again.
#[test]
fn a_refusal_does_not_wait_for_the_absent_for_ever_and_can_be_taken_back() {
    let refuse = |message: &Message| {
        let fault = Fault::OtherPolicy {
            ours: [8; 32],
            theirs: [7; 32],
        };
        Some(Message::refusal(message.about(), &fault))
    };
    let mut cluster = Cluster::new(2, 3, 13);
    cluster.run_lossy(|_, place, message, reply| match (place, message) {
        (1, Message::Propose { .. }) => refuse(message),
        (2, _) => None,
        _ => Some(reply),
    });
    cluster.assert_failed_by(1, "refused");
    assert!(
        (NOW + 60..NOW + 70).contains(&cluster.now),
        "{}",
        cluster.now
    );

    let (mut cluster, mut times, mut put_right) = (Cluster::new(2, 3, 14), 0, false);
    cluster.run_lossy(|_, place, message, reply| match (place, message) {
        (1, Message::Propose { .. }) if times < 3 => {
            times += 1;
            refuse(message)
        }
        (2, Message::Propose { .. }) if !put_right => None,
        _ => {
            put_right |= place == 1;
            Some(reply)
        }
    });
    cluster.assert_completed();
    assert_eq!(times, 3);
}
