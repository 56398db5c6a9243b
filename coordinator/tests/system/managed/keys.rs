//! How the keys that the platform keeps are made, exchanged, suspended, destroyed, and change hands.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BRIDGE, kept, site};
use crate::site::{Site, plaintext};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_suspended_and_destroyed() {
    let (site, admin) = site();
    let new = json!({ "user": "carol", "managed": true, "role": "member" });
    admin.done(Method::POST, "users?author=admin", new).await;
    let new = json!({ "dataset": "designs", "encryption": "none", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=carol", new).await;
    let write = format!("{BRIDGE}?author=carol");
    assert_eq!(admin.put(&write, b"one").await.status, 201);

    // The key before is destroyed as soon as the record has the next one.
    let rotate = json!({ "managed": true });
    admin.done(Method::POST, "users/carol/rotate", rotate).await;
    let row = admin.get("users/carol").await.json();
    assert_eq!(
        (&row["managed"], &row["key_version"]),
        (&json!(true), &json!(2))
    );
    assert_eq!(kept(&site, "carol"), 1);
    assert_eq!(admin.put(&write, b"two").await.status, 201);

    // Suspended, it signs nothing and is kept; resumed, it signs again.
    admin
        .done(
            Method::POST,
            "users/carol/suspend?author=admin",
            Value::Null,
        )
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (403, "user-suspended".into())
    );
    assert_eq!(kept(&site, "carol"), 1);
    admin
        .done(Method::POST, "users/carol/resume?author=admin", Value::Null)
        .await;
    assert_eq!(admin.put(&write, b"three").await.status, 201);

    // With a time of its own it goes on until then; when that is over, the key is gone, and no later time brings it back.
    let later = json!({ "expires_ms": 4_000_000_000_000_u64 });
    admin
        .done(
            Method::PUT,
            "users/carol/expiry?author=admin",
            later.clone(),
        )
        .await;
    assert_eq!(admin.put(&write, b"four").await.status, 201);
    admin
        .done(Method::DELETE, "users/carol?author=admin", Value::Null)
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (403, "user-expired".into())
    );
    assert_eq!(kept(&site, "carol"), 0);
    admin
        .done(Method::PUT, "users/carol/expiry?author=admin", later)
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (422, "managed-key-missing".into())
    );
    let own = admin.delete("users/admin?author=admin").await;
    assert_eq!(own.problem(), (422, "own-account".into()));
}

#[test]
fn a_key_goes_into_the_platforms_hands_and_out_of_them() {
    let site = Site::start();
    let added = site.cli(&["user", "add", "carol", "--managed"]);
    assert_eq!(added["managed"], true);
    site.add_user("alice");
    let as_carol = |arguments: &[&str]| {
        let mut all = vec!["--user", "carol"];
        all.extend(arguments);
        site.try_cli(&all)
    };
    let done = |output| crate::site::success(output);
    // The same commands, without a key.
    done(as_carol(&[
        "dataset",
        "create",
        "designs",
        "--encryption",
        "platform",
    ]));
    let (plan, copy) = (site.file("plan"), site.file("copy"));
    std::fs::write(&plan, plaintext(70_000)).unwrap();
    let (plan, copy) = (plan.to_str().unwrap(), copy.to_str().unwrap());
    done(as_carol(&["put", "designs", "bridge", plan]));
    let got = done(as_carol(&["get", "designs", "bridge", "--out", copy]));
    assert_eq!(got["got"]["report"]["outcome"], "complete");
    assert_eq!(std::fs::read(copy).unwrap(), plaintext(70_000));
    done(as_carol(&["grant", "designs", "reader", "alice"]));

    // Whoever has a key of her own is not signed for.
    let alone = [
        "--user",
        "alice",
        "dataset",
        "create",
        "x",
        "--encryption",
        "none",
    ];
    let (status, said, json) = site.fails(&alone);
    assert_eq!(
        (status, &json["error"]["code"]),
        (8, &json!("user-not-managed"))
    );
    assert!(said.contains("--key"), "{said}");

    // She takes the key, and the platform has none any more.
    let own = site.file("carol.pem");
    let own = own.to_str().unwrap();
    let taken = done(as_carol(&["user", "rotate", "--new-key", own]));
    assert_eq!(taken["managed"], false);
    let shown = site.cli(&["user", "show", "carol"]);
    assert_eq!(
        (&shown["managed"], &shown["public_key"]),
        (&json!(false), &taken["public_key"])
    );
    assert_eq!(kept(&site, "carol"), 0);
    let (_, _, json) = crate::site::failure(as_carol(&["get", "designs", "bridge", "--out", copy]));
    assert_eq!(json["error"]["code"], "user-not-managed");
    done(as_carol(&["--key", own, "put", "designs", "bridge", plan]));
    // She gives it back, and her file is of no use.
    done(as_carol(&["--key", own, "user", "rotate", "--managed"]));
    done(as_carol(&["put", "designs", "bridge", plan]));
    let late = ["--key", own, "put", "designs", "bridge", plan];
    let (_, _, json) = crate::site::failure(as_carol(&late));
    assert_eq!(
        json["error"]["code"], "not-what-was-meant",
        "what the platform is to sign, she does not"
    );

    // The record shows who held the key, version by version.
    let rows = site.cli(&["audit", "document", "designs", "bridge"]);
    let authors: Vec<&str> = rows["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "write")
        .map(|row| row["author"].as_str().unwrap())
        .collect();
    let (managed, herself) = ("managed user main/carol", "user main/carol");
    assert_eq!(authors, [managed, herself, managed]);

    // And a user ends.
    site.cli(&["user", "expire", "alice", "--days", "3"]);
    site.cli(&["user", "expire", "alice", "--never"]);
    site.cli(&["user", "remove", "carol"]);
    assert_eq!(kept(&site, "carol"), 0);
    let (_, _, json) = crate::site::failure(as_carol(&["put", "designs", "bridge", plan]));
    assert_eq!(json["error"]["code"], "user-expired");
}
