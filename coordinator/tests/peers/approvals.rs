//! Whom four organisations' peers approve, each of its own.

use crate::federation::Federation;
use crate::hospital::Hospital;
use coordinator::folder::Folder;
use coordinator::peer::{PeerProcessError, settings::PeerSettings};
use coordinator::record::TransactionId;
use coordinator::record::wire::Submitted;
use std::time::{Duration, Instant};

/// How long a peer may be behind the others.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);

pub(crate) async fn approval(
    federation: &Federation,
    peer: usize,
    read: &TransactionId,
) -> Result<Vec<u8>, String> {
    let begun = std::time::Instant::now();
    loop {
        match federation.asked(peer).approve(read).await {
            Ok(certificate) => return Ok(certificate),
            // It has refused nothing: it says when it is where the others are, and the read may be in a block that it has not executed yet.
            Err(PeerProcessError::Refused { code, .. })
                if ["peer-catching-up", "unknown-read"].contains(&code.as_str())
                    && begun.elapsed() < PATIENCE =>
            {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lost_all_that_it_had_approves_no_read_of_before_again() {
    let mut federation = Federation::start(4);
    let hospital = Hospital::open(&federation).await;
    let read = hospital.read(&federation, 0).await;
    assert!(approval(&federation, 0, &read).await.is_ok());
    federation.kill(0);
    // Its votes it has, or the others may find that it votes twice.
    let record = federation.peers[0].dir.join("record");
    for entry in std::fs::read_dir(record).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("alder.") {
            std::fs::remove_file(&path).unwrap();
        }
    }
    federation.run(0);
    let height = federation.status(1).await.height;
    federation.agree(&[0, 1, 2, 3], height).await;
    let again = approval(&federation, 0, &read).await;
    assert_eq!(again, Err("peer-set-back".to_owned()));
    // For good, and the others go on.
    federation.stop(0);
    federation.run(0);
    let again = approval(&federation, 0, &read).await;
    assert_eq!(again, Err("peer-set-back".to_owned()));
    assert!(approval(&federation, 1, &read).await.is_ok());
}

/// Everything between this peer and the others goes by way of what is returned, and stops when that is dropped.
async fn by_way_of(federation: &Federation, peer: usize) -> tokio::task::JoinSet<()> {
    let name = federation.peers[peer].name.clone();
    let mut ways = tokio::task::JoinSet::new();
    for (other, process) in federation.peers.iter().enumerate() {
        if other == peer {
            continue;
        }
        // The others do not know where it is: it calls them.
        let folder = Folder::open_peer(&process.dir).unwrap();
        let mut settings = PeerSettings::read(&folder).unwrap();
        settings.members.remove(&name);
        let target = settings.listen;
        settings.write(&folder).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = Folder::open_peer(&federation.peers[peer].dir).unwrap();
        let mut settings = PeerSettings::read(&folder).unwrap();
        let front = listener.local_addr().unwrap();
        settings.members.insert(process.name.clone(), front);
        settings.write(&folder).unwrap();
        ways.spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                calls.spawn(async move {
                    if let Ok(mut far) = tokio::net::TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
    }
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_cut_off_from_the_order_approves_nothing_from_what_it_knew() {
    const CUT_OFF: usize = 3;
    let mut federation = Federation::found(4);
    let ways = by_way_of(&federation, CUT_OFF).await;
    for peer in 0..4 {
        federation.run(peer);
    }
    let hospital = Hospital::open(&federation).await;
    let key = hospital.let_in_eve(&federation).await;
    let eves = hospital.eves_read(&federation, &key);
    height(&federation.submit(1, &eves).await);
    let other = hospital.read(&federation, 0).await;
    let all = federation.status(0).await.height;
    federation.agree(&[0, 1, 2, 3], all).await;
    assert!(approval(&federation, CUT_OFF, &other).await.is_ok());

    // Cut off in the midst of its work; the others put eve out. Its software reaches it as before.
    drop(ways);
    hospital.put_eve_out(&federation, 1).await;
    federation.agree(&[0, 1, 2], all + 1).await;
    let started = Instant::now();
    loop {
        match federation.asked(CUT_OFF).approve(&other).await {
            Err(PeerProcessError::Refused { code, .. }) => {
                assert_eq!(code, "peer-catching-up");
                break;
            }
            Err(unexpected) => panic!("{unexpected}"),
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it goes on approving, though it hears nothing"
        );
    }
    assert_eq!(federation.status(CUT_OFF).await.height, all);
    let refused = federation.asked(CUT_OFF).approve(&eves.id()).await;
    assert!(
        matches!(&refused, Err(PeerProcessError::Refused { code, .. }) if code == "peer-catching-up"),
        "{refused:?}"
    );
}

#[test]
fn fewer_approvals_than_a_majority_are_taken_only_if_it_is_said_to_be_meant() {
    let federation = Federation::found(4);
    let base = federation.base.path();
    let found = |out: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coordinator"));
        command.args(["--json", "peer", "found"]).args(arguments);
        command.arg("--out").arg(base.join(out));
        let files = federation.peers.iter();
        command.args(files.map(|it| it.dir.join("organisation.json")));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    };
    let (done, said) = found("minority", &["--approvals", "2"]);
    assert!(!done && said.contains("approvals-minority"), "{said}");
    assert!(said.contains("--minority-may-approve"), "{said}");
    assert!(!base.join("minority").exists());
    for (out, arguments) in [
        ("majority", &["--approvals", "3"][..]),
        ("meant", &["--approvals", "2", "--minority-may-approve"][..]),
    ] {
        let (done, said) = found(out, arguments);
        assert!(done, "{said}");
    }
    let (done, said) = found("none", &["--approvals", "0", "--minority-may-approve"]);
    assert!(!done && said.contains("approvals-impossible"), "{said}");
}
