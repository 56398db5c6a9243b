//! Order, finality, and catching up.

use super::federation::Federation;
use coordinator::record::wire::Submitted;
use futures_util::future::join_all;

pub(crate) fn recorded(submitted: &Submitted) -> u64 {
    match submitted {
        Submitted::Recorded { height, .. } => *height,
        Submitted::Refused { message, .. } => panic!("{message}"),
    }
}

#[tokio::test]
async fn four_peers_order_what_is_submitted_at_any_of_them() {
    let federation = Federation::start(4);
    let all = [0, 1, 2, 3];
    let transactions: Vec<_> = (0..24)
        .map(|number| federation.registration(number % 4, &format!("tenant{number}")))
        .collect();
    let submitted = transactions
        .iter()
        .enumerate()
        .map(|(number, it)| federation.submit((number + 1) % 4, it));
    let heights: Vec<u64> = join_all(submitted).await.iter().map(recorded).collect();
    let last = *heights.iter().max().unwrap();
    let head = federation.agree(&all, last).await;
    assert!(head.contains("\n24\n"), "{head}");

    // What is on the record already is found there, wherever it is asked for.
    let again = federation.submit(3, &transactions[0]).await;
    assert_eq!(recorded(&again), heights[0]);
    // The rules hold everywhere: a tenant's name is used once. Nothing of it is on the record.
    let twice = federation.registration(1, "tenant0");
    let refused = join_all(all.map(|peer| federation.submit(peer, &twice))).await;
    for refusal in refused {
        assert!(
            matches!(&refusal, Submitted::Refused { code, .. } if code == "tenant-exists"),
            "{refusal:?}"
        );
    }
    assert_eq!(federation.agree(&all, last).await, head);
}

#[tokio::test]
async fn three_of_four_go_on_and_the_fourth_catches_up_also_without_its_disk() {
    let mut federation = Federation::start(4);
    let first = federation.registration(0, "first");
    let height = recorded(&federation.submit(0, &first).await);
    let before = federation.agree(&[0, 1, 2, 3], height).await;

    // One dies. The others go on without it.
    federation.kill(3);
    let mut last = height;
    for number in 0..6 {
        let transaction = federation.registration(number % 3, &format!("without{number}"));
        last = recorded(&federation.submit((number + 1) % 3, &transaction).await);
    }
    let three = federation.agree(&[0, 1, 2], last).await;
    assert_ne!(three, before);
    // It comes back, and has what it missed.
    federation.run(3);
    assert_eq!(federation.agree(&[0, 1, 2, 3], last).await, three);

    // It dies and loses its disk: all but the keys.
    federation.kill(3);
    std::fs::remove_dir_all(federation.peers[3].dir.join("record")).unwrap();
    let alone = federation.registration(1, "alone");
    last = recorded(&federation.submit(1, &alone).await);
    federation.run(3);
    let four = federation.agree(&[0, 1, 2, 3], last).await;
    // It does not know how it voted, and votes when that is over. Then another may be away: the one that came back takes part, and nobody blames it.
    let back = federation.until(3, |it| it.votes).await;
    assert!(!back.votes_lost);
    for peer in 0..3 {
        assert_eq!(federation.status(peer).await.accused, []);
    }
    federation.stop(0);
    let part = federation.registration(2, "part");
    last = recorded(&federation.submit(3, &part).await);
    assert_ne!(federation.agree(&[1, 2, 3], last).await, four);

    // All stop in order and start again: nothing is lost, and it goes on.
    for peer in 1..4 {
        federation.stop(peer);
    }
    for peer in 0..4 {
        federation.run(peer);
    }
    let end = federation.registration(0, "end");
    last = recorded(&federation.submit(0, &end).await);
    federation.agree(&[0, 1, 2, 3], last).await;
}

#[tokio::test]
async fn two_of_four_that_lost_their_votes_wait_until_their_operators_decide() {
    let mut federation = Federation::start(4);
    let first = federation.registration(0, "first");
    let height = recorded(&federation.submit(0, &first).await);
    let before = federation.agree(&[0, 1, 2, 3], height).await;
    // All stop, so that no other remembers a vote of theirs that is not final.
    for peer in 0..4 {
        federation.kill(peer);
    }
    for peer in [2, 3] {
        std::fs::remove_dir_all(federation.peers[peer].dir.join("record")).unwrap();
    }
    for peer in 0..4 {
        federation.run(peer);
    }
    // What is final already they get, and no more becomes final.
    assert_eq!(federation.agree(&[0, 1, 2, 3], height).await, before);
    for peer in [2, 3] {
        let waits = federation.status(peer).await;
        assert!(waits.votes_lost && !waits.votes, "{waits:?}");
        federation.stop(peer);
        federation.vote_anew(peer);
        federation.run(peer);
        assert!(!federation.status(peer).await.votes_lost);
    }
    let again = federation.registration(1, "again");
    let last = recorded(&federation.submit(2, &again).await);
    assert_ne!(federation.agree(&[0, 1, 2, 3], last).await, before);
}
