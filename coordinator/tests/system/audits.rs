//! Audits by the command line, of a platform that runs; and what outsiders verify of them when it has ended.

use coordinator::record::audit::AuditQuery;
use serde_json::Value;

use crate::site::{Site, bare, failure, success};

fn kinds(answer: &Value) -> Vec<&str> {
    let rows = answer["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn what_happened_is_asked_by_anything_and_each_row_is_proven_without_the_platform() {
    let mut site = Site::start();
    site.add_user("alice");
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let text = site.file("text");
    std::fs::write(&text, "what was written").unwrap();
    site.cli(&["put", "designs", "bridge", text.to_str().unwrap()]);
    site.cli(&["grant", "designs", "reader", "alice"]);
    let copy = site.file("copy");
    let key = site.file("alice.pem");
    site.cli(&[
        "--user",
        "alice",
        "--key",
        key.to_str().unwrap(),
        "get",
        "designs",
        "bridge",
        "-o",
        copy.to_str().unwrap(),
    ]);
    site.cli(&["revoke", "designs", "reader", "alice"]);

    let verifiers = site.dir().join("verifiers.txt");
    let keys = ["--keys", verifiers.to_str().unwrap()];
    let ask = |arguments: &[&str]| site.cli(&[&["audit"], arguments, &keys].concat());
    let document = ask(&["document", "designs", "bridge"]);
    assert_eq!(kinds(&document), ["write", "read"]);
    assert_eq!(document["signed_by"].as_array().unwrap().len(), 3);
    let permission = ask(&["permission", "designs"]);
    let changes = ["dataset-create", "permission-add", "permission-remove"];
    assert_eq!(kinds(&permission), changes);
    let alice = [
        "user-register",
        "permission-add",
        "read",
        "permission-remove",
    ];
    assert_eq!(kinds(&ask(&["user", "alice"])), alice);
    assert_eq!(kinds(&ask(&["dataset", "designs"])).len(), 5);
    assert_eq!(kinds(&ask(&["tenant"])).len(), 7);
    assert!(kinds(&ask(&["link", "designs", "none"])).is_empty());
    let only = ask(&["tenant", "--kind", "read", "--kind", "write"]);
    assert_eq!(kinds(&only), ["write", "read"]);

    // By time: from the read on, and up to it.
    let read_ms = document["rows"][1]["time_ms"].as_u64().unwrap().to_string();
    let from = ask(&["dataset", "designs", "--from", &read_ms]);
    assert!(kinds(&from).ends_with(&["read", "permission-remove"]));
    let to = ask(&["dataset", "designs", "--to", &read_ms]);
    assert!(kinds(&to).contains(&"read"));
    assert!(kinds(&ask(&["tenant", "--to", "2020-01-01"])).is_empty());

    // Each row as a file, under a head that the organisations signed.
    let proofs = site.file("proofs");
    let written = site.cli(&[
        "audit",
        "document",
        "designs",
        "bridge",
        "--proofs",
        proofs.to_str().unwrap(),
    ]);
    let files: Vec<String> = serde_json::from_value(written["proofs"].clone()).unwrap();
    assert_eq!(files.len(), 2);

    // Other tenants' things do not exist, and neither does what belongs to none; what is mistyped is said to be.
    let client = site.administrator();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (subject, code) in [
        ("tenant:other", "not-found"),
        ("document:other/designs/bridge", "not-found"),
        ("organisation:alder", "not-found"),
        ("designs", "bad-request"),
    ] {
        let query = AuditQuery {
            subject: Some(subject.to_owned()),
            ..AuditQuery::default()
        };
        let refused = runtime.block_on(client.audit(&query, 10)).unwrap_err();
        assert_eq!(refused.code(), code, "{subject}");
    }
    let (status, said, _) = site.fails(&["audit", "tenant", "--from", "soon"]);
    assert_eq!((status, said.contains("2026-11-21")), (2, true), "{said}");

    // The platform has ended: keys and a file are all that is needed.
    site.stop();
    for (file, kind) in files.iter().zip(["write", "read"]) {
        let verify = [
            "--json", "audit", "verify", "--proof", file, keys[0], keys[1],
        ];
        let proven = success(bare(&verify));
        assert_eq!(proven["kind"], kind);
        assert_eq!(proven["signed_by"].as_array().unwrap().len(), 3);
        let about = proven["about"].to_string();
        assert!(about.contains("document:main/designs/bridge"), "{about}");
    }
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let index = text
        .lines()
        .find(|line| line.starts_with("index "))
        .unwrap();
    let altered = site.file("altered");
    std::fs::write(&altered, text.replace(index, "index 1")).unwrap();
    let altered = altered.to_str().unwrap();
    let verify = ["audit", "verify", "--proof", altered, keys[0], keys[1]];
    let (status, said, _) = failure(bare(&verify));
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("the proof does not hold"), "{said}");
}
