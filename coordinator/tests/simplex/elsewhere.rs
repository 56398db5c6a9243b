//! A platform on another machine than the peers: TLS, and each known to the other by a key.

use super::federation::{Federation, success};
use super::order::recorded;
use super::platform::Platform;
use coordinator::client::user_key;
use coordinator::peer::ask::AskedPeer;
use coordinator::record::PeerAccess;
use cryptonode::tls::TlsIdentity;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);

/// The peers' faults as the platform says them, once they are as awaited.
fn faults(platform: &Platform, awaited: impl Fn(&[String]) -> bool) -> Vec<String> {
    let started = Instant::now();
    loop {
        let status = platform.cli(&["status"]);
        let fault = |peer: &Value| peer["fault"].as_str().unwrap_or_default().to_owned();
        let peers = status["peers"].as_array().unwrap();
        let faults: Vec<String> = peers.iter().map(fault).collect();
        if awaited(&faults) {
            return faults;
        }
        assert!(started.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_platform_and_the_peers_know_each_other_by_their_keys() {
    let federation = Federation::start(4);
    let urls: Vec<_> = federation
        .peers
        .iter()
        .map(|it| it.url_tls.clone())
        .collect();
    let mut platform = Platform::start_at(&federation, &urls);

    // Nobody has let it in: each peer says so, and what its operator types.
    let refused = |fault: &String| fault.contains("(peer-client)") && fault.contains("peer allow");
    faults(&platform, |faults| faults.iter().all(refused));
    let certificate = platform.dir.join("peer-client.pem");
    let certificate = certificate.to_str().unwrap();
    for peer in 0..4 {
        let allow = ["allow", "hospital", "--certificate", certificate];
        let allowed = success(&mut federation.peer_command(peer, &allow));
        assert_eq!(allowed["name"], "hospital");
    }
    faults(&platform, |faults| faults.iter().all(String::is_empty));
    platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);

    // One takes it back, which counts from the next request on; the others are enough.
    success(&mut federation.peer_command(3, &["disallow", "hospital"]));
    let found = faults(&platform, |faults| refused(&faults[3]));
    assert!(found[..3].iter().all(String::is_empty), "{found:?}");
    platform.cli(&["dataset", "create", "drawings", "--encryption", "platform"]);

    // Somebody else answers where alder's peer did: nothing is said to it.
    platform.stop();
    let settings = platform.dir.join("coordinator.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace(&urls[0], &urls[1])).unwrap();
    success(&mut federation.peer_command(3, &["allow", "hospital", "--certificate", certificate]));
    platform.start_again(&federation);
    let found = faults(&platform, |faults| faults[0].contains("(peer-certificate)"));
    assert!(found[0].contains("another key"), "{found:?}");
    faults(&platform, |faults| faults[1..].iter().all(String::is_empty));
    platform.cli(&["dataset", "create", "plans", "--encryption", "platform"]);

    // A certificate that is not the sealed key's is found before anybody is asked.
    platform.stop();
    let other = TlsIdentity::generate().unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", other.certificate_der()));
    std::fs::write(certificate, pem).unwrap();
    let run = platform.run_command(&federation).output().unwrap();
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert_eq!(run.status.code(), Some(7), "{said}");
    assert!(said.contains("peer-client-certificate"), "{said}");
}

/// Who answers for dogwood has keys that the record does not have yet.
#[test]
fn the_key_that_the_record_has_is_the_one_that_a_platform_asks_for() {
    let mut federation = Federation::found(4);
    let new = federation.successor(3);
    let running = [0, 1, 2, new];
    for peer in running {
        federation.run(peer);
    }
    let urls = running.map(|peer| federation.peers[peer].url_tls.clone());
    let platform = Platform::start_at(&federation, &urls);
    let certificate = platform.dir.join("peer-client.pem");
    for peer in running {
        let allow = [
            "allow",
            "hospital",
            "--certificate",
            certificate.to_str().unwrap(),
        ];
        success(&mut federation.peer_command(peer, &allow));
    }
    faults(&platform, |faults| {
        faults[3].contains("(peer-certificate)") && faults[..3].iter().all(String::is_empty)
    });
    let file = federation.peers[new].dir.join("organisation.json");
    federation.endorse(&[0, 1, 2], &["--rekey", file.to_str().unwrap()]);
    faults(&platform, |faults| faults.iter().all(String::is_empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_no_key_or_an_unknown_one_is_told_nothing_and_an_auditor_with_one_is_answered() {
    let federation = Federation::start(4);
    let tls = federation.peers[0].url_tls.as_str();
    let plain = reqwest::get(tls.replace("https", "http") + "/healthz").await;
    assert!(plain.is_err(), "{plain:?}");
    // No key at all: the handshake fails, whatever is trusted.
    let trusting = reqwest::Client::builder().tls_danger_accept_invalid_certs(true);
    let keyless = trusting.build().unwrap().get(format!("{tls}/healthz"));
    let keyless = keyless.send().await;
    assert!(keyless.is_err(), "{keyless:?}");

    let key = federation.base.path().join("auditor.pem");
    let auditor = user_key::create(&key).unwrap();
    let identity = Arc::new(TlsIdentity::from_signing_key(&auditor).unwrap());
    let head_key = |peer: usize| federation.genesis.organisations[peer].head_key;
    let reached = |peer: usize, known: [u8; 32]| {
        let access = PeerAccess::Keys {
            identity: identity.clone(),
            known: vec![known],
        };
        AskedPeer::reached(federation.peers[peer].url_tls.as_str(), access).unwrap()
    };
    let refused = reached(0, head_key(0)).status().await.unwrap_err();
    assert_eq!(refused.code(), "peer-client");
    let hexadecimal = hex::encode(auditor.verifying_key().to_bytes());
    assert!(refused.to_string().contains(&hexadecimal), "{refused}");
    // The peer is not whom it was taken for.
    let other = reached(0, head_key(1)).status().await.unwrap_err();
    assert_eq!(other.code(), "peer-certificate", "{other}");

    let transaction = federation.registration(0, "hospital");
    let height = recorded(&federation.submit(1, &transaction).await);
    federation.agree(&[0, 1, 2, 3], height).await;
    let keys = federation.base.path().join("exchange/verifiers.txt");
    let mut audit = std::process::Command::new(env!("CARGO_BIN_EXE_coordinator"));
    audit.args(["--json", "--tenant", "hospital", "audit", "tenant"]);
    audit.arg("--keys").arg(keys).arg("--tls-key").arg(&key);
    let started = Instant::now();
    for peer in 0..4 {
        let allow = ["allow", "auditor", "--public-key", &hexadecimal];
        success(&mut federation.peer_command(peer, &allow));
        while let Err(error) = reached(peer, head_key(peer)).status().await {
            assert!(started.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let process = &federation.peers[peer];
        audit.args(["--peer", &format!("{},{}", process.name, process.url_tls)]);
    }
    let answered = success(&mut audit);
    assert_eq!(answered["rows"][0]["kind"], "tenant-register", "{answered}");
    assert_eq!(answered["signed_by"].as_array().unwrap().len(), 4);
}
