//! Whom four organisations' peers approve, each of its own.

use crate::federation::Federation;
use crate::hospital::Hospital;
use coordinator::peer::PeerProcessError;
use coordinator::record::TransactionId;
use coordinator::record::wire::Submitted;

pub(crate) async fn approval(
    federation: &Federation,
    peer: usize,
    read: &TransactionId,
) -> Result<Vec<u8>, String> {
    loop {
        match federation.asked(peer).approve(read).await {
            Ok(certificate) => return Ok(certificate),
            // It has refused nothing: it says when it is where the others are.
            Err(PeerProcessError::Refused { code, .. }) if code == "peer-catching-up" => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            Err(PeerProcessError::Refused { code, .. }) => return Err(code),
            Err(other) => panic!("{other}"),
        }
    }
}

fn height(submitted: &Submitted) -> u64 {
    match submitted {
        Submitted::Recorded { height, .. } => *height,
        Submitted::Refused { message, .. } => panic!("{message}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_was_removed_gets_no_approval_from_any_peer_also_for_a_read_of_before() {
    let federation = Federation::start(4);
    let hospital = Hospital::open(&federation).await;
    let key = hospital.let_in_eve(&federation).await;
    let first = hospital.eves_read(&federation, &key);
    height(&federation.submit(2, &first).await);
    let given = approval(&federation, 0, &first.id()).await.unwrap();

    // Her second read is on the record, and nobody was asked about it yet.
    let second = hospital.eves_read(&federation, &key);
    let before = height(&federation.submit(3, &second).await);
    federation.agree(&[0, 1, 2, 3], before).await;
    hospital.put_eve_out(&federation, 1).await;
    federation.agree(&[0, 1, 2, 3], before + 1).await;
    for peer in 0..4 {
        let refused = approval(&federation, peer, &second.id()).await;
        assert_eq!(refused, Err("not-permitted".to_owned()));
    }
    // Who had approved the first gives nothing again, and her next read is not recorded at any of them.
    assert!(!given.is_empty());
    let again = approval(&federation, 0, &first.id()).await;
    assert_eq!(again, Err("not-permitted".to_owned()));
    let third = hospital.eves_read(&federation, &key);
    for peer in 0..4 {
        let refused = federation.submit(peer, &third).await;
        assert!(
            matches!(&refused, Submitted::Refused { code, .. } if code == "not-permitted"),
            "{refused:?}"
        );
    }
}
