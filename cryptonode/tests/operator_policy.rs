//! The approval policy of a key that is in use, changed by all its operators together, with real nodes.
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

use std::sync::Arc;

use certs::Issuer;
use operator_harness::load::{Approve, Load, descriptor};
use operator_harness::reads::Reader;
use operator_harness::{Running, Site, json, refused};
use serde_json::Value;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn issuer(name: &str) -> Issuer {
    Issuer::generate(
        name,
        certs::Algorithm::Ed25519,
        1_700_000_000,
        4_000_000_000,
    )
    .unwrap()
}

fn write_policy(site: &Site, file: &str, needed: u16, organisations: &[(&str, &Issuer)]) {
    let mut text = format!("approvals_needed = {needed}\n");
    for (name, issuer) in organisations {
        let pem = issuer.certificate_pem();
        text.push_str(&format!(
            "[[organisations]]\nname = \"{name}\"\nissuers = ['''{pem}''']\n"
        ));
    }
    std::fs::write(site.path(file), text).unwrap();
}

fn said(output: std::process::Output) -> String {
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_new_organisation_comes_in_while_reads_go_on() {
    let site = Site::new();
    let (hospital, lab, clinic) = (issuer("Hospital"), issuer("Lab"), issuer("Clinic"));
    let both = [("Hospital", &hospital), ("Lab", &lab)];
    let three = [("Hospital", &hospital), ("Lab", &lab), ("Clinic", &clinic)];
    write_policy(&site, "policy.toml", 2, &both);
    write_policy(&site, "new.toml", 2, &three);
    site.cluster(&THREE);
    THREE.iter().for_each(|name| site.hurry(name, 2));
    let _nodes: Vec<Running> = THREE.iter().map(|name| site.run(name)).collect();
    let key = site.make_key("n1", 2);
    let signed = |shown: &Value| shown["key_certificate"].is_string();
    site.until("n1", &["key", "show"], signed);
    let first = descriptor(&site, "n1");
    let (of_hospital, of_lab) = (Arc::new(hospital), Arc::new(lab));
    let approvers: Approve = {
        let (hospital, lab) = (Arc::clone(&of_hospital), Arc::clone(&of_lab));
        Arc::new(move |approval| {
            [&hospital, &lab]
                .map(|issuer| issuer.issue(approval).unwrap())
                .to_vec()
        })
    };
    let load = Load::start(approvers, &first);
    load.goes_on();
    let reader = Reader::new(&site, "n1");
    let with_clinic = [&*of_hospital, &clinic];
    let all_refuse = || {
        for name in THREE {
            assert_eq!(
                reader.read_by(&with_clinic, name),
                "not-enough-approvals",
                "{name}"
            );
        }
    };
    all_refuse();

    // What it would be, before anybody is asked.
    let file = site.path("new.toml");
    let diff = json(site.on("n1", &["policy", "diff"]).arg("--file").arg(&file));
    assert_eq!(diff["changes"].as_array().unwrap().len(), 2, "{diff}");
    assert_eq!(diff["changes"][1]["change"], "organisation-added");
    assert_eq!(diff["changes"][1]["organisation"], "Clinic");
    let none = refused(&mut site.on("n1", &["policy", "diff"]), 1);
    assert!(none.contains("policy propose"), "{none}");

    let proposed = json(
        site.on("n1", &["policy", "propose", "--key", &key[..8]])
            .arg(&file),
    );
    let (id, words) = (
        proposed["id"].as_str().unwrap(),
        proposed["words"].as_str().unwrap(),
    );
    for name in &THREE[1..] {
        // The proposer is in accept_from, and that is not enough.
        site.follow_one(name, id, |view| view["step"] == "proposed");
        let listed = json(&mut site.on(name, &["policy", "status"]));
        assert_eq!(
            (listed[0]["id"].as_str(), listed[1].is_null()),
            (Some(id), true)
        );
        let told = said(site.on(name, &["policy", "diff"]).output().unwrap());
        assert!(told.contains("Clinic comes in and may approve"), "{told}");
        let told = refused(&mut site.on(name, &["ceremony", "accept", id]), 1);
        assert!(told.contains("changes the approval policy"), "{told}");
        let told = refused(&mut site.on(name, &["policy", "accept", id]), 2);
        assert!(told.contains("--words"), "{told}");
        let wrong = ["policy", "accept", id, "--words", "abandon ability able"];
        refused(&mut site.on(name, &wrong), 1);
    }
    let accept = ["policy", "accept", id, "--words", words];
    assert_eq!(json(&mut site.on("n2", &accept))["step"], "accepted");
    // One operator has not agreed: nothing has changed.
    load.goes_on();
    all_refuse();
    json(&mut site.on("n3", &accept));
    let done = json(&mut site.on("n1", &["policy", "status", id, "--wait"]));
    assert_eq!(
        (&done["outcome"], &done["public_key"]),
        (&"activated".into(), &key.clone().into())
    );
    let new = cryptonode::config::read_policy(&file).unwrap();
    for name in THREE {
        // Each node's log remembers what its operator agreed to, and where.
        let logged = json(&mut site.on(name, &["audit", "show", "--limit", "1000000"]));
        let records = logged["records"].as_array().unwrap().iter();
        let mut words = records
            .map(|entry| &entry["record"])
            .filter(|record| record["action"].is_string());
        let word = words.next().unwrap_or_else(|| panic!("{name}"));
        let action = if name == "n1" {
            "propose-policy"
        } else {
            "accept-policy"
        };
        assert_eq!(word["action"], action, "{name}");
        assert_eq!(word["subject"], hex::encode(new.hash()), "{name}");
        let reason = word["reason"].as_str().unwrap();
        assert!(reason.contains(id) && reason.contains(&key), "{reason}");
        // Only the right words are a consent; what follows is what the node itself promised then.
        let rest: Vec<_> = words.collect();
        assert!(!rest.is_empty(), "{name}");
        for word in rest {
            assert_eq!(word["action"], "confirm-reshare", "{name}");
            assert_eq!(word["subject"], key.as_str(), "{name}");
        }
    }
    for name in THREE {
        assert_eq!(reader.read_by(&with_clinic, name), "share", "{name}");
        let out = site.path(&format!("{name}.of-key.toml"));
        let words = ["policy", "show", "--key", &key[..8]];
        let shown = json(site.on(name, &words).arg("--out").arg(&out));
        let read = cryptonode::config::read_policy(&out).unwrap();
        assert_eq!(shown["policy_hash"], hex::encode(read.hash()));
        assert_eq!(shown["organisations"].as_array().unwrap().len(), 3);
    }
    load.goes_on();

    // Whoever does not agree keeps it as it is, and is named.
    site.until("n2", &["key", "show"], |shown| {
        signed(shown) && shown["key"]["epochs_held"] == serde_json::json!([1])
    });
    let back = site.path("policy.toml");
    let again = json(site.on("n2", &["policy", "propose"]).arg(&back));
    let id = again["id"].as_str().unwrap();
    site.follow_one("n3", id, |view| view["step"] == "proposed");
    let no = ["policy", "reject", id, "--reason", "the clinic stays"];
    json(&mut site.on("n3", &no));
    let told = refused(&mut site.on("n2", &["policy", "status", id, "--wait"]), 8);
    assert!(
        told.contains("n3") && told.contains("the clinic stays"),
        "{told}"
    );
    assert_eq!(reader.read_by(&with_clinic, "n1"), "share");
    let (reads, _) = load.finish(&first);
    assert!(reads > 10);
}
