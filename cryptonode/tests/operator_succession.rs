//! Leaders that are killed for good, and nodes that are killed at every step: real processes, SIGKILL.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]
#![allow(dead_code, unreachable_pub)] // the harness is shared by several test programs

mod operator_harness;

use operator_harness::{Site, json, refused};
use serde_json::Value;

const FOUR: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// A cluster whose members wait for their leader for so many seconds.
fn site(names: &[&str], patience_s: u32) -> Site {
    let site = Site::new();
    site.cluster(names);
    for name in names {
        let config = site.path(name).join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let patient = text.replace(
            "\npatience_s = 300",
            &format!("\npatience_s = {patience_s}"),
        );
        assert!(patient.contains(&format!("\npatience_s = {patience_s}")));
        std::fs::write(&config, patient).unwrap();
    }
    site
}

fn propose(site: &Site, absent: &str) -> String {
    let words = ["ceremony", "propose", "--threshold", "2"];
    let view = json(
        site.on("n1", &words)
            .args(["--may-be-absent", absent, "--open-for-s", "80"]),
    );
    view["id"].as_str().unwrap().to_owned()
}

fn accepted(view: &Value) -> bool {
    view["step"] != "proposed"
}

#[test]
fn a_leader_killed_for_good_is_succeeded_and_left_out() {
    // When its proposal has just been told (its own acceptance is then waited for until half of the time has passed), and when deals
    // are under way.
    for step in ["accepted", "dealt"] {
        let site = site(&FOUR, 4);
        let n1 = site.run("n1");
        let mut others: Vec<_> = FOUR[1..3].iter().map(|name| site.run(name)).collect();
        let id = propose(&site, "1");
        for name in &FOUR[1..3] {
            site.follow_one(name, &id, accepted);
        }
        if step == "accepted" {
            // The last member has not even heard of it.
            n1.kill();
            others.push(site.run("n4"));
        } else {
            others.push(site.run("n4"));
            site.follow_one("n4", &id, |view| {
                accepted(view) && view["step"] != "accepted"
            });
            n1.kill();
        }
        let mut keys = Vec::new();
        for name in &FOUR[1..] {
            let done = site.follow_one(name, &id, |view| {
                view["decided"] == true || view["step"] == "signing"
            });
            assert_ne!(
                done["public_key"],
                Value::Null,
                "{step}: {done}\n{}",
                site.log(name)
            );
            assert_ne!(done["leader"], "n1");
            assert_eq!(done["proposed_by"], "n1");
            keys.push(done["public_key"].clone());
        }
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        // A key that existed before the leader died is its own too; else it was left out by name.
        let shown = json(&mut site.on("n2", &["ceremony", "show", &id]));
        let left_out = shown["excluded"].as_array().unwrap();
        if step == "accepted" {
            assert_eq!(
                (&left_out[0]["member"], &left_out[0]["code"]),
                (&"n1".into(), &"silent".into())
            );
        }
        // Back again, it learns how it stands, and holds no key unless it was a member.
        let _n1 = site.run("n1");
        let listed = json(&mut site.on("n1", &["key", "list"]));
        assert_eq!(listed.as_array().unwrap().is_empty(), !left_out.is_empty());
        // It may not be called off by its proposer any more, nor by anybody else.
        refused(&mut site.on("n2", &["ceremony", "abort", &id]), 1);
    }
}

/// Every node, the leader among them, is killed as soon as it is seen at a step, and comes back.
#[test]
fn any_node_killed_at_any_step_comes_back_and_no_share_is_lost_or_doubled() {
    let names = ["n1", "n2", "n3"];
    let site = site(&names, 60);
    let mut running: Vec<_> = names.iter().map(|name| Some(site.run(name))).collect();
    let member = [
        "accepted",
        "dealt",
        "acknowledged",
        "confirmed",
        "activated",
    ];
    let leader = [
        "accepting",
        "dealing",
        "acknowledging",
        "confirming",
        "activating",
    ];
    let mut keys = 0;
    for (place, name) in names.iter().enumerate() {
        for step in if place == 0 { leader } else { member } {
            let words = ["ceremony", "propose", "--threshold", "2"];
            let proposed = json(&mut site.on("n1", &words));
            let id = proposed["id"].as_str().unwrap();
            // Steps go by fast: one that was not seen counts when a later one is.
            let steps: Vec<&str> = member.iter().chain(&leader).copied().collect();
            site.follow_one(name, id, |view| {
                let at = view["step"].as_str().unwrap();
                let order = |step: &str| {
                    steps
                        .iter()
                        .position(|other| *other == step)
                        .map(|at| at % 5)
                };
                view["decided"] == true || order(at).is_none_or(|at| Some(at) >= order(step))
            });
            running[place].take().unwrap().kill();
            running[place] = Some(site.run(name));
            let done = json(&mut site.on("n1", &["ceremony", "status", "--wait", id]));
            assert_eq!(
                done["outcome"], "activated",
                "{name} killed when {step}: {done}"
            );
            keys += 1;
            for name in names {
                let listed = json(&mut site.on(name, &["key", "list"]));
                let listed = listed.as_array().unwrap();
                assert_eq!(listed.len(), keys, "{name} has one share of each key");
                assert!(
                    listed
                        .iter()
                        .any(|key| key["public_key"] == done["public_key"])
                );
            }
        }
    }
}

#[test]
fn operators_compare_words_before_they_accept() {
    let names = ["n1", "n2", "n3"];
    let site = site(&names, 300);
    let _nodes: Vec<_> = names.iter().map(|name| site.run(name)).collect();
    let words = ["ceremony", "propose", "--threshold", "2"];
    let proposed = json(&mut site.on("n2", &words));
    let (id, words) = (
        proposed["id"].as_str().unwrap(),
        proposed["words"].as_str().unwrap(),
    );
    assert_eq!(words.split(' ').count(), 6);
    site.follow_one("n1", id, |_| true);
    let shown = json(&mut site.on("n1", &["ceremony", "show", id]));
    assert_eq!(
        (&shown["words"], &shown["proposed_by"]),
        (&proposed["words"], &"n2".into())
    );
    let text = site.on("n1", &["ceremony", "list"]).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains(words));
    let mut turned: Vec<&str> = words.split(' ').collect();
    turned.reverse();
    let told = refused(
        site.on("n1", &["ceremony", "accept", id])
            .args(["--words", &turned.join(" ")]),
        1,
    );
    assert!(told.contains(words), "{told}");
    assert_eq!(
        json(&mut site.on("n1", &["ceremony", "show", id]))["step"],
        "proposed"
    );
    json(
        site.on("n1", &["ceremony", "accept", &id[..6]])
            .args(["--words", &words.to_uppercase()]),
    );
    site.follow_one("n3", id, |_| true);
    json(&mut site.on("n3", &["ceremony", "accept", id]));
    let done = json(&mut site.on("n2", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
}
