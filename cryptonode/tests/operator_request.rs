//! `cryptonode request`: a cluster asked from the shell, as the documentation has it.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]
#![allow(dead_code, unreachable_pub)] // the harness is shared by several test programs

mod operator_harness;
// The example of the library's documentation.
#[path = "../examples/read.rs"]
mod read;

use std::path::Path;
use std::process::Command;

use operator_harness::{Running, Site, cryptonode, json, mode, refused, write_private};
use serde_json::Value;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const DATA_KEY: &[u8; 32] = b"the key of a letter, 32 bytes ok";

/// Three nodes that share a key of which two open, its description, the issuer's files, and a key to wrap.
fn started() -> (Site, Vec<Running>, String) {
    let site = Site::new();
    site.cluster(&NAMES);
    let nodes = NAMES.iter().map(|name| site.run(name)).collect();
    let public_key = site.make_key("n1", 2);
    std::fs::write(site.path("hospital.pem"), site.issuer.certificate_pem()).unwrap();
    write_private(&site.path("hospital.key"), &site.issuer.key_pem());
    std::fs::write(site.path("data.key"), DATA_KEY).unwrap();
    json(
        site.on("n1", &["key", "export"])
            .arg("--out")
            .arg(site.path("cluster.json")),
    );
    (site, nodes, public_key)
}

/// `cryptonode request …` in the site's folder.
fn request(site: &Site, words: &str) -> Command {
    let mut command = cryptonode();
    command
        .arg("request")
        .args(words.split_whitespace())
        .current_dir(site.dir.path());
    command
}

/// Everything up to the approval, in files named after `name`.
fn prepared(site: &Site, name: &str) {
    for words in [
        format!(
            "wrap --cluster cluster.json --label {name} --secret data.key --out {name}.wrapped"
        ),
        format!(
            "prepare --wrapped-key {name}.wrapped --client-key client.pem --ephemeral-secret {name}.secret --ephemeral-key {name}.x --out {name}.json"
        ),
        format!(
            "approve --read {name}.json --issuer hospital.pem --issuer-key hospital.key --out {name}.approval"
        ),
    ] {
        json(&mut request(site, &words));
    }
}

fn send(site: &Site, name: &str, more: &str) -> Command {
    let words = format!(
        "send --wrapped-key {name}.wrapped --client-key client.pem --approval {name}.approval {more}"
    );
    request(site, &words)
}

/// The commands of a section of a page and what is printed below each, up to the next command.
fn documented(section: &str) -> Vec<(String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, section) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut continued = false;
        for line in block.lines() {
            if continued {
                let (command, _) = commands.last_mut().unwrap();
                command.push('\n');
                command.push_str(line);
            } else if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), Vec::new()));
            } else {
                commands.last_mut().unwrap().1.push(line.to_owned());
                continue;
            }
            continued = line.ends_with('\\');
        }
    }
    commands
}

/// A line without what differs from run to run: digits and hexadecimal names.
fn shape(line: &str) -> String {
    let word = |word: &str| {
        let digits = word.trim_matches(|c: char| "()…,".contains(c));
        let varies = digits.contains(|c: char| c.is_ascii_digit())
            && digits.chars().all(|c| c.is_ascii_hexdigit() || c == '.')
            && !matches!(digits, "32" | "240");
        if varies {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_documented_example_runs_and_prints_what_it_says() {
    let (site, _nodes, _) = started();
    for file in ["data.key", "cluster.json"] {
        std::fs::remove_file(site.path(file)).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_cryptonode"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let commands = documented("Asking a cluster from the shell");
    assert!(commands.len() >= 8, "{commands:?}");
    for (command, printed) in commands {
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(site.dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let (out, said) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert!(output.status.success(), "{command}: {out}{said}");
        // With --nocapture, what the page is to show.
        println!("$ {command}\n{out}{said}");
        // Which two of the nodes answer first is chance.
        let node = |line: &&str| {
            NAMES
                .iter()
                .any(|name| line.starts_with(&format!("{name} ")))
        };
        let nodes: Vec<&str> = out.lines().filter(node).collect();
        if printed.iter().any(|line| node(&line.as_str())) {
            assert_eq!(nodes.len(), NAMES.len(), "{out}");
            let answered = nodes.iter().filter(|line| line.contains(" answered ("));
            assert!(answered.count() >= 2, "{out}");
        }
        let rest = |text: &mut dyn Iterator<Item = &str>| -> Vec<String> {
            text.filter(|line| !node(line)).map(shape).collect()
        };
        let found = rest(&mut out.lines().chain(said.lines()));
        let wanted = rest(&mut printed.iter().map(String::as_str));
        assert_eq!(found, wanted, "{command}");
    }
}

#[test]
fn a_key_is_opened_with_and_without_verifying_and_by_the_certificate_alone() {
    let (site, nodes, public_key) = started();
    prepared(&site, "a");
    let opened = |more: &str, out: &str| -> Value {
        let done = json(&mut send(&site, "a", &format!("{more} --out {out}")));
        assert_eq!(std::fs::read(site.path(out)).unwrap(), DATA_KEY, "{done}");
        assert_eq!(mode(&site.path(out)), 0o600);
        assert_eq!(done["result"], "opened");
        done
    };
    let done = opened("--cluster cluster.json --ephemeral-secret a.secret", "one");
    let answered = |done: &Value| {
        let nodes = done["nodes"].as_array().unwrap();
        nodes
            .iter()
            .filter(|node| node["what"] == "answered")
            .count()
    };
    assert_eq!(answered(&done), 2, "{done}");
    opened(
        "--cluster cluster.json --ephemeral-secret a.secret --verify --no-hedging",
        "two",
    );

    // Whoever knows Y needs the certificate, which anybody may hand out, and addresses.
    let signed = |shown: &Value| shown["key_certificate"].is_string();
    site.until("n2", &["key", "show"], signed);
    json(
        site.on("n2", &["key", "export"])
            .arg("--out")
            .arg(site.path("other.json"))
            .arg("--key-certificate")
            .arg(site.path("key.cert")),
    );
    let certificate = format!("--key-certificate key.cert --public-key {public_key}");
    let place = |number: usize| nodes[number].ready["listen"].as_str().unwrap().to_owned();
    let nowhere = format!("{certificate} --ephemeral-secret a.secret --out never");
    let sentence = refused(&mut send(&site, "a", &nowhere), 2);
    assert!(sentence.contains("--node NAME=HOST:PORT"), "{sentence}");
    let places = format!(
        "{certificate} --node n1={} --node n3={}",
        place(0),
        place(2)
    );
    opened(&format!("{places} --ephemeral-secret a.secret"), "three");
    let wrong = format!(
        "{certificate} --node n9={} --ephemeral-secret a.secret --out never",
        place(0)
    );
    let sentence = refused(&mut send(&site, "a", &wrong), 2);
    assert!(
        ["n1", "n2", "n3"]
            .iter()
            .all(|name| sentence.contains(name)),
        "it names the members: {sentence}"
    );

    // Somebody else sends, and learns nothing; the reader opens what came.
    let done = json(&mut send(
        &site,
        "a",
        "--cluster cluster.json --ephemeral-key a.x --out a.shares",
    ));
    assert_eq!(done["result"], "re-encrypted");
    let open = "open --cluster cluster.json --wrapped-key a.wrapped --ephemeral-secret a.secret --shares a.shares --out four";
    json(&mut request(&site, open));
    assert_eq!(std::fs::read(site.path("four")).unwrap(), DATA_KEY);

    // What is there is not overwritten, and nobody is asked for it.
    let again = send(
        &site,
        "a",
        "--cluster cluster.json --ephemeral-secret a.secret --out four",
    );
    assert!(refused(&mut { again }, 1).contains("it exists already"));
    // The secret of one read opens no other.
    prepared(&site, "b");
    let other = send(
        &site,
        "b",
        "--cluster cluster.json --ephemeral-secret a.secret --out five",
    );
    assert!(refused(&mut { other }, 1).contains("a.secret"));
    // Nor do its shares, and no node is blamed for that.
    let mixed = "open --cluster cluster.json --wrapped-key b.wrapped --ephemeral-secret b.secret --shares a.shares --out five";
    let sentence = refused(&mut request(&site, mixed), 1);
    assert!(
        sentence.contains("a.shares") && sentence.contains("of another read"),
        "{sentence}"
    );
    let shares = std::fs::read_to_string(site.path("a.shares")).unwrap();
    let newer = shares.replacen("\"version\": 1", "\"version\": 2", 1);
    assert_ne!(newer, shares);
    std::fs::write(site.path("newer.shares"), newer).unwrap();
    let newer = open
        .replace("a.shares", "newer.shares")
        .replace("four", "five");
    let sentence = refused(&mut request(&site, &newer), 1);
    assert!(sentence.contains("its version is 2, not 1"), "{sentence}");
}

#[test]
fn a_failure_says_of_each_node_why_and_what_to_do() {
    let (site, mut nodes, _) = started();
    prepared(&site, "a");
    // The approvals of another read.
    prepared(&site, "b");
    std::fs::copy(site.path("b.approval"), site.path("a.approval")).unwrap();
    let (found, _) = failing(&site, "a", "");
    assert_eq!(found["error"]["code"], "too-few-answers", "{found}");
    for node in found["nodes"].as_array().unwrap() {
        assert_eq!(
            (&node["what"], &node["code"]),
            (&"refused".into(), &"not-enough-approvals".into())
        );
        assert!(
            node["advice"].as_str().unwrap().contains("organisations"),
            "{node}"
        );
    }
    // Two of three are away.
    for node in nodes.drain(1..) {
        node.kill();
    }
    let (found, text) = failing(&site, "b", "--connect-timeout-ms 500");
    let message = found["error"]["message"].as_str().unwrap();
    assert_eq!(message, "1 of 3 nodes answered, 2 are needed");
    let by_name = |name: &str| {
        let nodes = found["nodes"].as_array().unwrap();
        nodes
            .iter()
            .find(|node| node["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(by_name("n1")["what"], "answered");
    for name in ["n2", "n3"] {
        assert_eq!(by_name(name)["what"], "unreachable", "{found}");
        assert!(by_name(name)["advice"].as_str().unwrap().contains("UDP"));
        assert!(text.contains(&format!("{name} is unreachable")), "{text}");
    }
    assert!(!site.path("out").exists());
}

/// A `send` that gets no result: what it says as JSON, and as text.
fn failing(site: &Site, name: &str, more: &str) -> (Value, String) {
    let more = format!("--cluster cluster.json --ephemeral-secret {name}.secret --out out {more}");
    let run = |json: bool| {
        let mut command = send(site, name, &more);
        if json {
            command.arg("--json");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(10), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let document = run(true);
    assert_eq!(document.lines().count(), 1, "one document: {document}");
    (serde_json::from_str(&document).unwrap(), run(false))
}

#[test]
fn the_example_of_the_library_reads_from_real_nodes() {
    let (site, nodes, _) = started();
    let wrap = "wrap --cluster cluster.json --label letter --secret data.key --out letter.wrapped";
    json(&mut request(&site, wrap));
    let cluster = std::fs::read_to_string(site.path("cluster.json")).unwrap();
    let wrapped = std::fs::read(site.path("letter.wrapped")).unwrap();
    let key = cryptonode::client::ClientIdentity::generate().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = read::connect(&cluster, key.to_pem()).unwrap();
        let approve = async |approval| Ok(vec![site.issuer.issue(&approval)?]);
        let done = read::read(&client, &wrapped, approve).await.unwrap();
        assert_eq!(done.secret.unwrap().expose(), DATA_KEY);
        assert_eq!(done.nodes.len(), 3);
        // Without an approval it says of each node why not.
        let none = async |_| Ok(Vec::new());
        let done = read::read(&client, &wrapped, none).await.unwrap();
        let error = done.secret.unwrap_err();
        assert_eq!(error.code(), "too-few-answers");
        let told = error.to_string();
        assert_eq!(told.matches("not-enough-approvals").count(), 3, "{told}");
        // One node away: the others are enough.
        let mut nodes = nodes;
        nodes.remove(0).kill();
        let done = read::read(&client, &wrapped, approve).await.unwrap();
        assert_eq!(done.secret.unwrap().expose(), DATA_KEY);
        client.close().await;
    });
}
