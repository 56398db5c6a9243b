//! Keys that are handed on by real nodes while clients read without a pause.
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

use cryptonode::client::{ClientIdentity, Dialer, PeerOptions};
use cryptonode::wire::v1::{Answer, ByteBuf, Request, ResultVersion};
use operator_harness::load::{Approve, Load, SECRET, approve, descriptor, new_client, read};
use operator_harness::{Running, Site, json, refused};
use reencrypt::{EphemeralSecret, wrap};
use serde_json::Value;

const FIVE: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// The one organisation of the site approves.
fn approvals(site: &Arc<Site>) -> Approve {
    let site = Arc::clone(site);
    Arc::new(move |approval| vec![site.issuer.issue(approval).unwrap()])
}

/// Makes a key of these members, led by the first; gives Y in hexadecimal.
fn make_key(site: &Site, threshold: &str, members: &[&str]) -> String {
    let members = members.join(",");
    let words = [
        "ceremony",
        "propose",
        "--threshold",
        threshold,
        "--members",
        &members,
        "--wait",
    ];
    let made = json(&mut site.on("n1", &words));
    assert_eq!(made["outcome"], "activated", "{made}");
    let signed = |shown: &Value| shown["key_certificate"].is_string();
    site.until("n1", &["key", "show"], signed);
    made["public_key"].as_str().unwrap().to_owned()
}

/// Hands the key on, led by n1, and waits until all have it.
fn reshare(site: &Site, key: &str, options: &[&str]) -> Value {
    let words = [
        &["ceremony", "propose", "--reshare", &key[..8], "--wait"],
        options,
    ]
    .concat();
    let made = json(&mut site.on("n1", &words));
    assert_eq!(made["outcome"], "activated", "{made}");
    assert_eq!(made["public_key"], key);
    made
}

/// Names in a list, in alphabetical order.
fn names(list: &Value) -> Vec<String> {
    let mut names: Vec<String> = serde_json::from_value(list.clone()).unwrap();
    names.sort();
    names
}

/// Waits until a node serves this epoch and nothing else, with one share on its disk.
fn settled(site: &Site, name: &str, epoch: u64) {
    let shown = site.until(name, &["key", "show"], |shown| {
        shown["key"]["state"] == "serving"
            && shown["key"]["epochs_held"] == serde_json::json!([epoch])
    });
    assert_eq!(shown["key"]["epoch"], epoch, "{shown}");
    assert_eq!(share_files(site, name), 1, "{name}");
}

/// The keys without which the records of shares open no more.
fn share_files(site: &Site, name: &str) -> usize {
    let entries = std::fs::read_dir(site.path(name).join("erasable")).unwrap();
    // Ceremonies have names of 16 bytes.
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.len() > 40).count()
}

/// What a node answers to a read of a result of the key.
fn refusal_of(site: &Arc<Site>, node: &Value, key: &str, result: ResultVersion) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let identity = ClientIdentity::generate().unwrap();
        let spki = identity.spki().to_vec();
        let dialer = Dialer::new(identity, PeerOptions::default());
        let bytes = |text: &str| -> [u8; 32] { hex::decode(text).unwrap().try_into().unwrap() };
        let pinned = bytes(node["identity"].as_str().unwrap());
        let peer = dialer
            .peer(node["listen"].as_str().unwrap(), &pinned)
            .unwrap();
        let public_key = reencrypt::Point::from_bytes(&bytes(key)).unwrap();
        let mut rng = rand::rng();
        let wrapped = wrap(&public_key, b"label", SECRET, &mut rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        let approvals = approve(
            &approvals(site),
            &spki,
            &wrapped.write_id(),
            ephemeral.public(),
        );
        let request = Request::Reencrypt {
            result: Some(result),
            approvals: approvals.into_iter().map(ByteBuf::from).collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.public().as_bytes().as_slice()),
        };
        match peer.call(&request).await.unwrap() {
            Answer::Refused { code, .. } => code,
            other => panic!("{other:?}"),
        }
    })
}

fn epoch(epoch: u64, attempt: u32) -> ResultVersion {
    ResultVersion { epoch, attempt }
}

#[test]
fn no_read_fails_while_shares_are_refreshed_and_handed_to_seven() {
    let site = Arc::new(Site::new());
    let all = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    site.cluster(&all);
    all.iter().for_each(|name| site.hurry(name, 3));
    let nodes: Vec<Running> = all.iter().map(|name| site.run(name)).collect();
    let key = make_key(&site, "3", &FIVE);
    let first = descriptor(&site, "n1");
    assert_eq!(first.public_key, *hex::decode(&key).unwrap());
    let load = Load::start(approvals(&site), &first);
    load.goes_on();

    // The same members, new shares.
    let made = reshare(&site, &key, &[]);
    assert!(names(&made["reshare"]["leaving"]).is_empty());
    load.goes_on();
    FIVE.iter().for_each(|name| settled(&site, name, 1));
    load.goes_on();
    let signed = |shown: &Value| shown["key_certificate"].is_string();
    site.until("n1", &["key", "show"], signed);

    // One leaves, three machines come, and four answer a read from now on.
    let seven = "n1,n2,n3,n4,n6,n7,n8";
    let made = reshare(&site, &key, &["--members", seven, "--threshold", "4"]);
    assert_eq!(names(&made["reshare"]["leaving"]), ["n5"]);
    assert_eq!(names(&made["reshare"]["joining"]), ["n6", "n7", "n8"]);
    load.goes_on();
    seven.split(',').for_each(|name| settled(&site, name, 2));
    let gone = site.until("n5", &["key", "show"], |shown| {
        shown["key"]["state"] == "retired" && shown["key"]["epochs_held"] == serde_json::json!([])
    });
    assert!(
        gone["key"]["sentence"]
            .as_str()
            .unwrap()
            .starts_with("key-retired")
    );
    assert_eq!(share_files(&site, "n5"), 0);
    assert_eq!(
        refusal_of(&site, &nodes[4].ready, &key, epoch(1, 1)),
        "key-retired"
    );
    assert_eq!(
        refusal_of(&site, &nodes[0].ready, &key, epoch(1, 1)),
        "epoch-superseded"
    );
    load.goes_on();

    // A restart: one share, one epoch, as before.
    let (reads, client) = load.finish(&first);
    assert!(reads > 10);
    assert_eq!(client.cluster().package().threshold(), 4);
    drop(nodes);
    let _nodes: Vec<Running> = all.iter().map(|name| site.run(name)).collect();
    let shown = json(&mut site.on("n1", &["key", "show"]));
    let epochs = shown["key"]["history"].as_array().unwrap();
    assert_eq!(epochs.len(), 3);
    assert!(
        epochs[0]["erased"].is_u64() && epochs[1]["erased"].is_u64(),
        "{shown}"
    );
    let late = new_client(&first);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(read(&approvals(&site), &late)), Ok(()));
    assert_eq!(late.cluster().descriptor().epoch, 2);
}

#[test]
fn two_dead_of_five_are_replaced_and_who_comes_back_does_not_serve() {
    let site = Arc::new(Site::new());
    let all = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    site.cluster(&all);
    all.iter().for_each(|name| site.hurry(name, 2));
    let mut nodes: Vec<Running> = all.iter().map(|name| site.run(name)).collect();
    let key = make_key(&site, "3", &FIVE);
    let first = descriptor(&site, "n1");
    let load = Load::start(approvals(&site), &first);
    load.goes_on();
    let five = nodes.remove(4);
    nodes.remove(3).kill();
    five.kill();
    load.goes_on();

    // Too few of the old members would be left.
    let words = [
        "ceremony",
        "propose",
        "--reshare",
        &key[..8],
        "--absent",
        "n3,n4,n5",
    ];
    refused(&mut site.on("n1", &words), 1);
    let options = [
        "--absent",
        "n4,n5",
        "--members",
        "n1,n2,n3,n6,n7",
        "--patience-s",
        "3",
    ];
    let made = reshare(&site, &key, &options);
    assert_eq!(names(&made["reshare"]["may_be_absent"]), ["n4", "n5"]);
    for name in ["n1", "n2", "n3", "n6", "n7"] {
        settled(&site, name, 1);
    }
    load.goes_on();

    // n5 was away. It finds out at its start, says so, and gives nothing; its share is erased.
    let n5 = site.run("n5");
    let status = site.until("n5", &["status"], |status| status["ready"] == false);
    let why = status["not_ready"].to_string();
    assert!(why.contains("epoch-missed"), "{why}");
    assert_eq!(
        refusal_of(&site, &n5.ready, &key, epoch(0, 1)),
        "epoch-missed"
    );
    let listed = json(&mut site.on("n5", &["key", "list"]));
    assert_eq!(listed[0]["state"], "missed");
    site.until("n5", &["key", "show"], |shown| {
        shown["key"]["epochs_held"] == serde_json::json!([])
    });
    assert_eq!(share_files(&site, "n5"), 0);
    load.goes_on();

    // The next reshare brings it back.
    site.until("n1", &["key", "show"], |shown| {
        shown["key_certificate"].is_string()
    });
    reshare(&site, &key, &["--members", "n1,n2,n3,n5,n6"]);
    settled(&site, "n5", 2);
    assert_eq!(json(&mut site.on("n5", &["status"]))["ready"], true);
    load.goes_on();
    let (reads, client) = load.finish(&first);
    assert!(reads > 10);
    assert_eq!(client.cluster().descriptor().epoch, 2);
}

#[test]
fn whoever_leads_is_told_how_to_propose_without_a_member_that_is_away() {
    let site = Site::new();
    let four = ["n1", "n2", "n3", "n4"];
    site.cluster(&four);
    four.iter().for_each(|name| site.hurry(name, 1));
    let mut nodes: Vec<Running> = four.iter().map(|name| site.run(name)).collect();
    let key = make_key(&site, "2", &four);
    nodes.pop().unwrap().kill();
    let again = |view: &Value| -> Vec<String> {
        serde_json::from_value(view["propose_again"].clone()).unwrap()
    };
    let words = |again: &[String]| -> Vec<String> {
        let more = ["--patience-s", "2", "--wait"].map(str::to_owned);
        again.iter().cloned().chain(more).collect()
    };
    let run = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        json(&mut site.on("n1", &words))
    };

    // While it waits; the command calls the one off that would wait for ever.
    let proposed = ["ceremony", "propose", "--reshare", &key[..8]];
    json(&mut site.on("n1", &proposed));
    let view = site.follow("n1", |view| !view["propose_again"].is_null());
    let told = again(&view);
    assert_eq!(&told[..4], ["ceremony", "propose", "--reshare", &key]);
    let shown = site.on("n1", &["ceremony", "status"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let without = shown
        .lines()
        .find(|line| line.starts_with("without them: "));
    let without = without.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        without.contains("cryptonode ceremony abort") && without.contains("--absent n4"),
        "{without}"
    );
    let id = view["id"].as_str().unwrap();
    json(&mut site.on("n1", &["ceremony", "abort", id]));
    let made = run(&words(&told));
    assert_eq!(made["outcome"], "activated", "{made}");
    assert_eq!(made["public_key"], key);
    for name in ["n1", "n2", "n3"] {
        settled(&site, name, 1);
    }

    // When it has come to nothing: the sentence has the command, with the folder.
    let members = ["--members", "n1,n2,n3,n4"];
    let mut create = site.on("n1", &["ceremony", "propose", "--threshold", "2", "--wait"]);
    let failed = create.args(members).args(["--open-for-s", "15"]);
    let sentence = refused(failed, 8);
    let command =
        "to propose it without them: cryptonode ceremony propose --threshold 2 --members ";
    let (_, command) = sentence
        .split_once(command)
        .unwrap_or_else(|| panic!("{sentence}"));
    let (members, folder) = command.split_once(" --dir ").unwrap();
    assert!(
        !members.contains("n4") && !members.contains(' '),
        "{command}"
    );
    assert!(folder.contains("n1"), "{command}");
    let output = site
        .on("n1", &["ceremony", "status", "--json"])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let view: Value = serde_json::from_str(output.lines().next().unwrap()).unwrap();
    let made = run(&words(&again(&view)));
    assert_eq!(made["outcome"], "activated", "{made}");
    assert_eq!(names(&made["members"]), ["n1", "n2", "n3"]);
}

#[test]
fn after_a_reshare_the_same_32_bytes_verify_the_new_members_and_epoch() {
    let site = Site::new();
    let four = ["n1", "n2", "n3", "n4"];
    site.cluster(&four);
    four.iter().for_each(|name| site.hurry(name, 1));
    let nodes: Vec<Running> = four.iter().map(|name| site.run(name)).collect();
    let key = make_key(&site, "2", &["n1", "n2", "n3"]);
    let export = |name: &str, file: &str| {
        let mut command = site.on(name, &["key", "export"]);
        let command = command.arg("--key-certificate").arg(site.path(file));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    // The certificate is signed once the key serves.
    let first = |shown: &Value| shown["key_certificate"].is_string();
    site.until("n2", &["key", "show"], first);
    export("n2", "before.cert");
    reshare(
        &site,
        &key,
        &["--members", "n1,n2,n3,n4", "--threshold", "2"],
    );
    // n4 has never held a share of the first epoch.
    let signed = |shown: &Value| shown["key_certificate"].is_string() && shown["key"]["epoch"] == 1;
    site.until("n4", &["key", "show"], signed);
    export("n4", "after.cert");
    let verify = |key: &str, file: &str| {
        let mut command = operator_harness::cryptonode();
        command.args(["key", "verify", key, "--certificate"]);
        command.arg(site.path(file));
        command
    };
    // No node is asked.
    drop(nodes);
    let (before, after) = (
        json(&mut verify(&key, "before.cert")),
        json(&mut verify(&key, "after.cert")),
    );
    assert_eq!((&before["epoch"], &after["epoch"]), (&0.into(), &1.into()));
    assert_eq!(
        (&after["public_key"], &after["threshold"]),
        (&Value::from(key.as_str()), &2.into())
    );
    let of = |verified: &Value, field: &str| -> Vec<String> {
        let members = verified["members"].as_array().unwrap().iter();
        let mut all: Vec<String> = members
            .map(|member| member[field].as_str().unwrap().to_owned())
            .collect();
        all.sort();
        all
    };
    assert_eq!(of(&before, "name"), ["n1", "n2", "n3"]);
    assert_eq!(of(&after, "name"), four);
    // The same identities, and shares of which none is as it was.
    let (old, new) = (of(&before, "identity"), of(&after, "identity"));
    assert!(old.iter().all(|identity| new.contains(identity)));
    let (old, new) = (of(&before, "public_share"), of(&after, "public_share"));
    assert!(old.iter().all(|share| !new.contains(share)));
    let other = format!("{}{}", &key[2..], &key[..2]);
    assert!(refused(&mut verify(&other, "after.cert"), 1).contains("another key"));
    // An epoch that nobody signed.
    let mut bytes = std::fs::read(site.path("after.cert")).unwrap();
    let place = bytes
        .windows(6)
        .position(|window| window == b"\x65epoch")
        .unwrap();
    assert_eq!(bytes[place + 6], 1);
    bytes[place + 6] = 2;
    std::fs::write(site.path("altered.cert"), bytes).unwrap();
    let sentence = refused(&mut verify(&key, "altered.cert"), 1);
    assert!(sentence.contains("not signed by the holders"), "{sentence}");
}
