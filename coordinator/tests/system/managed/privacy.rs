//! What the ledger tells of people.

use reqwest::Method;
use serde_json::json;

use super::site;
use crate::site::files_in;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_person_is_on_the_ledger_but_the_names_that_were_chosen() {
    let (mut site, admin) = site();
    let new = json!({ "user": "u-7f3a", "managed": true, "role": "member" });
    admin.done(Method::POST, "users?author=admin", new).await;
    let new = json!({ "name": "Zebedee's laptop", "scopes": ["read", "write"], "user": "u-7f3a" });
    let key = admin.done(Method::POST, "keys", new).await;
    let new = json!({ "dataset": "notes", "encryption": "platform", "storage": "ledger" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let new = json!({ "dataset": "files", "encryption": "platform", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let body = b"Zebedee lives at 1 Magic Roundabout";
    let headers = [("user-agent", "Zebedee"), ("x-request-id", "Zebedee")];
    for dataset in ["notes", "files"] {
        let path = format!("datasets/{dataset}/documents/d1/content?author=admin");
        let key = format!("Zebedee-{dataset}");
        let headers = [&headers[..], &[("idempotency-key", &key)]].concat();
        let written = admin
            .send(Method::PUT, &path, body.to_vec(), &headers)
            .await;
        assert_eq!(written.status, 201, "{}", written.json());
        let path = format!("datasets/{dataset}/documents/d1/content?reader=admin");
        assert_eq!(admin.get(&path).await.body, body);
    }
    site.stop();
    let found = |folder: &str, needle: &[u8]| {
        files_in(site.dir().join(folder)).iter().any(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(needle.len()).any(|it| it == needle)
        })
    };
    assert!(
        found("record", b"u-7f3a"),
        "the name that was chosen is there"
    );
    let key = key["api_key"].as_str().unwrap();
    let (id, mac) = key.rsplit_once('.').unwrap();
    let id = id.rsplit('.').next().unwrap();
    for secret in [
        b"Zebedee".as_slice(),
        b"Roundabout",
        id.as_bytes(),
        mac.as_bytes(),
    ] {
        assert!(
            !found("record", secret),
            "{}",
            String::from_utf8_lossy(secret)
        );
    }
    assert!(!found("bodies", b"Roundabout"));
}
