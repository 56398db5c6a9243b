//! Keys made by real nodes over real connections, and what crashes do to that.
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

use cryptonode::client::ClusterDescriptor;
use operator_harness::{Site, json, refused};
use serde_json::Value;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn propose(site: &Site, leader: &str, threshold: &str) -> Value {
    json(&mut site.on(leader, &["ceremony", "propose", "--threshold", threshold]))
}

fn exported(site: &Site, name: &str) -> ClusterDescriptor {
    let output = site.on(name, &["key", "export"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ClusterDescriptor::from_json(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

#[test]
fn three_nodes_make_a_key_and_keep_it() {
    let site = Site::new();
    site.cluster(&THREE);
    let mut nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    let proposed = propose(&site, "n1", "2");
    assert_eq!(proposed["leader"], "n1");
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    assert_eq!(
        (&done["id"], &done["outcome"]),
        (&proposed["id"], &Value::from("activated")),
        "{done}"
    );
    let key = done["public_key"].as_str().unwrap();
    let descriptors: Vec<_> = THREE.iter().map(|name| exported(&site, name)).collect();
    assert!(
        descriptors
            .iter()
            .all(|descriptor| *descriptor == descriptors[0])
    );
    assert_eq!(hex::encode(descriptors[0].public_key), key);
    let cluster = descriptors[0].clone().check().unwrap();
    assert_eq!(
        (cluster.package().threshold(), cluster.members().len()),
        (2, 3)
    );
    for name in THREE {
        assert_eq!(json(&mut site.on(name, &["status"]))["ready"], true);
        let view = json(&mut site.on(name, &["ceremony", "status"]));
        assert_eq!(
            (&view["outcome"], view["public_key"].as_str()),
            (&Value::from("activated"), Some(key))
        );
    }
    let shown = json(&mut site.on("n2", &["key", "show", &key[..8]]));
    assert_eq!(shown["key"]["organisations"][0], "Hospital");

    // A restart by signal and one by SIGKILL: the key is there again at once.
    let last = nodes.pop().unwrap();
    last.kill();
    let n3 = site.run("n3");
    assert_eq!(n3.ready["keys"][0], key);
    assert_eq!(n3.ready["keys"].as_array().unwrap().len(), 1);
    assert_eq!(nodes.remove(0).terminate(), 0);
    assert_eq!(site.run("n1").ready["keys"][0], key);
    assert_eq!(exported(&site, "n3"), descriptors[0]);
    // Secrets of the ceremony are gone: there is no key left that could open them. The one that is there is the share's.
    let erasable = std::fs::read_dir(site.path("n3").join("erasable"))
        .unwrap()
        .count();
    assert_eq!(erasable, 1);
}

#[test]
fn crashes_at_any_moment_end_in_a_key() {
    let site = Site::new();
    site.cluster(&THREE);
    let n1 = site.run("n1");
    let n2 = site.run("n2");
    propose(&site, "n1", "2");
    // Two have accepted, the third is not there yet: it is named, and both others crash.
    let view = site.follow("n1", |view| {
        let waiting = view["waiting_for"].as_array().unwrap();
        waiting.len() == 1
            && waiting[0]["heard"]
                .as_str()
                .is_some_and(|heard| !heard.is_empty())
    });
    assert_eq!(view["waiting_for"][0]["member"], "n3");
    assert_eq!(view["step"], "accepting");
    n1.kill();
    n2.kill();
    let n1 = site.run("n1");
    let n2 = site.run("n2");
    let n3 = site.run("n3");
    // Again as soon as the members deal, or at whatever step the ceremony is by then.
    site.follow("n1", |view| view["step"] != "accepting");
    n2.kill();
    n1.kill();
    let _n2 = site.run("n2");
    let _n1 = site.run("n1");
    n3.kill();
    let _n3 = site.run("n3");
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    let descriptors: Vec<_> = THREE.iter().map(|name| exported(&site, name)).collect();
    assert!(
        descriptors
            .iter()
            .all(|descriptor| *descriptor == descriptors[0])
    );
}

#[test]
fn operators_accept_and_reject_by_hand() {
    let site = Site::new();
    site.cluster(&THREE);
    let _nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    // Only n1's proposals are accepted by themselves.
    let proposed = propose(&site, "n2", "2");
    let id = proposed["id"].as_str().unwrap();
    site.follow("n2", |view| {
        let waiting = view["waiting_for"].as_array().unwrap();
        waiting
            .iter()
            .filter(|waiting| waiting["waiting_for"] == "its operator's acceptance")
            .count()
            == 2
    });
    let view = json(&mut site.on("n1", &["ceremony", "status"]));
    assert_eq!(
        (&view["step"], &view["leader"]),
        (&Value::from("proposed"), &Value::from("n2"))
    );
    assert!(
        view["sentence"]
            .as_str()
            .unwrap()
            .contains("cryptonode ceremony accept")
    );
    json(&mut site.on("n1", &["ceremony", "accept", &id[..6]]));
    json(&mut site.on("n3", &["ceremony", "accept", id]));
    let done = json(&mut site.on("n2", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");

    let proposed = propose(&site, "n3", "1");
    let id = proposed["id"].as_str().unwrap().to_owned();
    site.follow("n3", |view| {
        view["waiting_for"]
            .as_array()
            .unwrap()
            .iter()
            .any(|w| w["waiting_for"] == "its operator's acceptance" && w["member"] == "n2")
    });
    json(&mut site.on("n2", &["ceremony", "reject", &id, "--reason", "not agreed"]));
    let sentence = refused(
        &mut site.on("n3", &["ceremony", "status", &id, "--wait"]),
        8,
    );
    assert!(
        sentence.contains("n2") && sentence.contains("not agreed"),
        "{sentence}"
    );
    // The others are told.
    let told = site.follow("n1", |view| view["decided"] == true);
    assert_eq!(
        (&told["id"], &told["outcome"]),
        (&Value::from(id.as_str()), &Value::from("abandoned"))
    );
    let list = json(&mut site.on("n1", &["ceremony", "list"]));
    assert_eq!(list.as_array().unwrap().len(), 2);
    let abort = refused(&mut site.on("n1", &["ceremony", "abort", &id]), 1);
    assert!(abort.contains("n3"), "{abort}");
}

#[test]
fn every_member_names_whom_it_waits_for() {
    let site = Site::new();
    site.cluster(&THREE);
    let _n1 = site.run("n1");
    let _n2 = site.run("n2");
    // n3 is away. The leader tells those that have answered whom it waits for.
    let words = [
        "ceremony",
        "propose",
        "--threshold",
        "2",
        "--patience-s",
        "3",
    ];
    let id = json(&mut site.on("n1", &words))["id"].clone();
    let id = id.as_str().unwrap();
    let waits = |view: &Value, name: &str| -> Option<Value> {
        let all = view["waiting_for"].as_array().unwrap().iter();
        let mut fitting = all.filter(|one| one["member"] == name);
        fitting.next().cloned()
    };
    let view = site.follow_one("n2", id, |view| waits(view, "n3").is_some());
    assert_eq!(waits(&view, "n3").unwrap()["heard"], "says n1");
    let leader = waits(&view, "n1").unwrap();
    assert_eq!(leader["waiting_for"], "its next question");
    assert!(
        leader["since"].as_u64() >= view["created"].as_u64(),
        "{leader}"
    );
    assert!(waits(&view, "n2").is_none(), "{view}");
    let shown = site.on("n2", &["ceremony", "show", id]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("waiting for: n3: its answer (says n1)"),
        "{shown}"
    );
    let listed = site.on("n2", &["ceremony", "list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.trim_end().ends_with("waiting for n3"), "{listed}");
    // A member whose operator has not decided names that.
    json(&mut site.on("n1", &["ceremony", "abort", id]));
    let proposed = propose(&site, "n2", "2");
    let id = proposed["id"].as_str().unwrap();
    let view = site.follow_one("n1", id, |_| true);
    let own = waits(&view, "n1").unwrap();
    assert_eq!(own["waiting_for"], "its operator's acceptance");
    assert_eq!(own["since"], view["created"]);
}

#[test]
fn a_ceremony_is_called_off_by_its_leader() {
    let site = Site::new();
    site.cluster(&THREE);
    let _n1 = site.run("n1");
    let id = propose(&site, "n1", "2")["id"].as_str().unwrap().to_owned();
    let view = json(&mut site.on("n1", &["ceremony", "abort", &id]));
    assert_eq!(view["outcome"], "abandoned", "{view}");
    refused(&mut site.on("n1", &["ceremony", "status", &id]), 8);
    let sentence = refused(
        &mut site.on("n1", &["ceremony", "propose", "--threshold", "3"]),
        1,
    );
    assert!(sentence.contains("lower the threshold"), "{sentence}");
    let sentence = refused(
        &mut site.on(
            "n1",
            &["ceremony", "propose", "--threshold", "1", "--members", "n9"],
        ),
        1,
    );
    assert!(sentence.contains("n9"), "{sentence}");
}

#[test]
fn another_policy_fails_by_name() {
    let site = Site::new();
    site.cluster(&THREE);
    let policy = std::fs::read_to_string(site.path("policy.toml")).unwrap();
    std::fs::write(
        site.path("other.toml"),
        format!("max_lifetime_s = 60\n{policy}"),
    )
    .unwrap();
    json(
        site.on("n2", &["policy", "set"])
            .arg(site.path("other.toml")),
    );
    let _nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    propose(&site, "n1", "2");
    let sentence = refused(&mut site.on("n1", &["ceremony", "status", "--wait"]), 8);
    assert!(
        sentence.contains("n2") && sentence.contains("policy"),
        "{sentence}"
    );
    let output = site
        .on("n1", &["ceremony", "status", "--json"])
        .output()
        .unwrap()
        .stdout;
    let view: Value =
        serde_json::from_str(String::from_utf8(output).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(view["culprits"][0], "n2");
}

#[test]
fn a_member_killed_at_any_step_takes_part_to_the_end() {
    let site = Site::new();
    site.cluster(&THREE);
    let _n1 = site.run("n1");
    let mut n2 = site.run("n2");
    for step in [
        "accepted",
        "dealt",
        "acknowledged",
        "confirmed",
        "activated",
    ] {
        let id = propose(&site, "n1", "2")["id"].as_str().unwrap().to_owned();
        // The third member is away, so that the second is seen at its first step.
        site.follow("n1", |view| {
            let waiting = view["waiting_for"].as_array().unwrap();
            waiting.len() == 1 && waiting[0]["member"] == "n3"
        });
        let mut n3 = None;
        let mut killed = None;
        site.follow("n2", |view| {
            assert_eq!(view["id"], id);
            n3.get_or_insert_with(|| site.run("n3"));
            // Steps go by fast: one that was not seen counts when the next one is.
            let reached = view["step"] == step || view["decided"] == true;
            if reached {
                killed = Some(n2.id());
            }
            reached
        });
        assert!(killed.is_some());
        n2.kill();
        n2 = site.run("n2");
        let done = json(&mut site.on("n1", &["ceremony", "status", "--wait", &id]));
        assert_eq!(done["outcome"], "activated", "killed when {step}: {done}");
        let key = done["public_key"].as_str().unwrap();
        for name in THREE {
            json(&mut site.on(name, &["key", "show", key]));
        }
        n3.unwrap().terminate();
    }
    assert_eq!(n2.ready["keys"].as_array().unwrap().len(), 5);
}

#[test]
fn a_key_is_verified_by_its_32_bytes_alone() {
    let site = Site::new();
    site.cluster(&THREE);
    let nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    propose(&site, "n1", "2");
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    let key = done["public_key"].as_str().unwrap();
    // It is told to all: the last of them has it a moment later.
    let (mut tries, file) = (0, site.path("key.cert"));
    loop {
        let shown = json(&mut site.on("n3", &["key", "show"]));
        if shown["key_certificate"].is_string() {
            break;
        }
        tries += 1;
        assert!(tries < 200, "{}", site.log("n3"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let exported = site
        .on("n3", &["key", "export"])
        .arg("--key-certificate")
        .arg(&file)
        .output()
        .unwrap();
    assert!(exported.status.success());
    // No node is asked.
    drop(nodes);
    let verify = |key: &str| {
        let mut command = operator_harness::cryptonode();
        command
            .args(["key", "verify", key, "--certificate"])
            .arg(&file);
        command
    };
    let verified = json(&mut verify(key));
    assert_eq!(
        (&verified["epoch"], &verified["threshold"]),
        (&0.into(), &2.into())
    );
    assert_eq!(verified["public_key"], key);
    let names: Vec<_> = verified["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["name"].as_str().unwrap())
        .collect();
    assert!(THREE.iter().all(|name| names.contains(name)) && names.len() == 3);
    let other = format!("{}{}", &key[2..], &key[..2]);
    assert!(refused(&mut verify(&other), 1).contains("another key"));
    assert!(refused(&mut verify("12"), 2).contains("64 hexadecimal digits"));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(refused(&mut verify(key), 1).contains("not signed by the holders"));
    // It outlives a restart.
    let _n2 = site.run("n2");
    let shown = json(&mut site.on("n2", &["key", "show"]));
    assert!(shown["key_certificate"].is_string());
}

#[test]
fn a_ceremony_goes_on_without_those_that_decline_or_are_gone() {
    let site = Site::new();
    let four = ["n1", "n2", "n3", "n4"];
    site.cluster(&four);
    let mut nodes: Vec<_> = four.iter().map(|name| site.run(name)).collect();
    let propose = |leader: &str, more: &[&str]| {
        let mut command = site.on(leader, &["ceremony", "propose", "--threshold", "2"]);
        json(command.args(["--may-be-absent", "1"]).args(more))
    };
    // n2's proposals are accepted by hand.
    let proposed = propose("n2", &[]);
    let id = proposed["id"].as_str().unwrap().to_owned();
    for name in ["n1", "n3", "n4"] {
        site.follow("n2", |view| {
            let waiting = view["waiting_for"].as_array().unwrap();
            waiting.iter().any(|one| {
                one["member"] == name && one["waiting_for"] == "its operator's acceptance"
            })
        });
        let decision = if name == "n4" { "reject" } else { "accept" };
        json(&mut site.on(name, &["ceremony", decision, &id]));
    }
    let done = json(&mut site.on("n2", &["ceremony", "status", &id, "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    let left_out = &done["excluded"][0];
    assert_eq!(
        (&left_out["member"], &left_out["code"], &left_out["proved"]),
        (&"n4".into(), &"rejected".into(), &false.into())
    );
    assert_eq!(exported(&site, "n1").members.len(), 3);
    assert_eq!(exported(&site, "n3"), exported(&site, "n1"));
    let told = json(&mut site.on("n1", &["ceremony", "status", &id]));
    assert_eq!(told["excluded"][0]["member"], "n4");
    // n4 is gone for good; n1 proposes, and all others accept by themselves.
    nodes.pop().unwrap().kill();
    let proposed = propose("n1", &["--open-for-s", "24", "--patience-s", "4"]);
    let id = proposed["id"].as_str().unwrap().to_owned();
    let done = json(&mut site.on("n1", &["ceremony", "status", &id, "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    assert_eq!(done["excluded"][0]["code"], "silent");
    assert_ne!(done["public_key"], Value::Null);
    assert_eq!(
        json(&mut site.on("n3", &["key", "list"]))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // With --json or without, it is named.
    let text = site
        .on("n1", &["ceremony", "status", &id])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("left out") && text.contains("n4 (not proved)"),
        "{text}"
    );
}

#[test]
fn a_leader_killed_once_the_key_is_active_leaves_the_others_to_sign() {
    let site = Site::new();
    site.cluster(&THREE);
    let mut nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    propose(&site, "n1", "2");
    for name in ["n2", "n3"] {
        loop {
            let listed = json(&mut site.on(name, &["key", "list"]));
            if !listed.as_array().unwrap().is_empty() {
                break;
            }
        }
    }
    nodes.remove(0).kill();
    let certificate = |name: &str| {
        let shown = json(&mut site.on(name, &["key", "show"]));
        shown["key_certificate"].as_str().map(str::to_owned)
    };
    let (mut tries, mut signed) = (0, [None, None]);
    while signed.iter().any(Option::is_none) {
        tries += 1;
        assert!(tries < 600, "{}", site.log("n2"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        signed = [certificate("n2"), certificate("n3")];
    }
    // The leader, back again, gets it too.
    let _n1 = site.run("n1");
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    assert!(certificate("n1").is_some());
}
