//! A platform's export over a join, an exchange of keys and two departures: of the founders' keys one is left, and they lead to those of now.

use super::federation::Federation;
use super::order::recorded;
use super::platform::Platform;
use std::time::Instant;

/// Batches in an epoch: few, so that the next one is near.
const EPOCH: u32 = 6;
const BIRCH: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_who_pinned_the_founders_follows_the_epochs_of_an_export() {
    let mut federation = Federation::found_with(4, EPOCH);
    let elm = federation.newcomer();
    let new_birch = federation.successor(BIRCH);
    for peer in 0..=new_birch {
        federation.run(peer);
    }
    let platform = Platform::start(&federation);
    let file = |federation: &Federation, peer: usize| {
        let file = federation.peers[peer].dir.join("organisation.json");
        file.to_str().unwrap().to_owned()
    };
    let admit = file(&federation, elm);
    federation.endorse(&[0, 1, 2], &["--admit", &admit]);
    federation.until(elm, |it| it.votes).await;
    let rekey = file(&federation, new_birch);
    federation.endorse(&[0, 2, 3, elm], &["--rekey", &rekey]);
    federation.until(new_birch, |it| it.votes).await;
    federation.endorse(&[2, 3, elm, new_birch], &["--remove", "alder"]);
    federation.endorse(&[3, elm, new_birch], &["--remove", "cedar"]);
    let last = federation.registration(elm, "last");
    let height = recorded(&federation.submit(elm, &last).await);
    federation.agree(&[3, elm, new_birch], height).await;

    let export = federation.base.path().join("changed.export");
    let founders = federation.base.path().join("exchange/verifiers.txt");
    let now = federation.base.path().join("now.txt");
    let [export, founders, now] = [&export, &founders, &now].map(|it| it.to_str().unwrap());
    let started = Instant::now();
    let report = loop {
        platform.cli(&["audit", "export", "--out", export]);
        let verify = ["audit", "verify", export, "--keys", founders];
        let report = platform.cli(&[&verify[..], &["--keys-out", now]].concat());
        if report["blocks"] == height {
            break report;
        }
        assert!(started.elapsed().as_secs() < 60, "{report}");
    };
    assert_eq!(report["signed_by"].as_array().unwrap().len(), 3, "{report}");
    let handovers = report["handovers"].as_array().unwrap();
    let sizes: Vec<usize> = handovers
        .iter()
        .map(|it| it["verifiers"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [5, 5, 4, 3], "{report}");

    // With the keys of now the same is verified, and rows are; with the founders' no row is.
    platform.cli(&["audit", "verify", export, "--keys", now]);
    let rows = platform.cli(&["audit", "organisation", "elm", "--keys", now]);
    assert!(!rows["rows"].as_array().unwrap().is_empty(), "{rows}");
    let mut ask = platform.command(&["audit", "organisation", "elm", "--keys", founders]);
    let refused = ask.output().unwrap();
    assert_eq!(refused.status.code(), Some(7));
}
