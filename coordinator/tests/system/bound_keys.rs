//! An API key that is bound to a user is for nobody else, on whatever way and whoever signs.

use coordinator::client::profile::Profile;
use coordinator::record::{
    Author, Erase, SignedTransaction, Transaction, UnsignedTransaction, UserName,
};
use ed25519_dalek::SigningKey;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::Site;

const DOCUMENT: &str = "datasets/designs/documents/bridge";

/// Something that a user of the tenant has signed, rightly or not: whose it is comes before everything else.
fn signed_by(user: &str) -> Vec<u8> {
    let transaction = Transaction::Erase(Erase {
        tenant: "main".parse().unwrap(),
        dataset: "designs".parse().unwrap(),
        document: "bridge".parse().unwrap(),
        version: None,
    });
    let author = UserName {
        tenant: "main".parse().unwrap(),
        user: user.parse().unwrap(),
    };
    let unsigned = UnsignedTransaction {
        ledger: [7; 32],
        author: Author::User(author),
        nonce: [1; 16],
        expires_ms: 1_795_000_000_000,
        transaction,
    };
    let signed: SignedTransaction = unsigned.sign(&SigningKey::from_bytes(&[9; 32]));
    signed.as_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_prepares_and_sends_nothing_of_another_user() {
    let mut site = Site::init_with(&["--managed-administrator"]);
    site.run();
    let profile = Profile::read(&site.profile()).unwrap();
    let admin = profile.api_key.unwrap().expose().to_owned();
    let http = reqwest::Client::new();
    let request = |method: Method, key: &str, path: &str| -> RequestBuilder {
        let url = format!("{}/v1/tenants/main/{path}", site.url);
        http.request(method, url).bearer_auth(key)
    };
    let made = async |path: &str, body: Value| -> Value {
        let answer = request(Method::POST, &admin, path).body(body.to_string());
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{path}");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        made("users?author=admin", new).await;
    }
    let new = json!({ "dataset": "designs", "encryption": "none", "storage": "off-chain" });
    made("datasets?author=carol", new).await;
    let scopes = ["read", "write", "manage"];
    let new = json!({ "name": "app", "scopes": scopes, "user": "carol" });
    let carols = made("keys", new).await["api_key"].clone();
    let carols = carols.as_str().unwrap();
    let code = async |request: RequestBuilder| -> String {
        let answer = request.send().await.unwrap();
        let answer = answer.bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        answer["code"].as_str().unwrap_or("none").to_owned()
    };

    // What dave has signed goes by no way, and what carol has signed is looked at.
    let id = Uuid::now_v7();
    for path in [
        "transactions".to_owned(),
        format!("uploads/{id}"),
        format!("reads/{id}"),
        format!("reads/{id}/shares"),
        format!("rewraps/{id}"),
    ] {
        let send = |user| request(Method::POST, carols, &path).body(signed_by(user));
        assert_eq!(code(send("dave")).await, "api-key-user", "{path}");
        assert_ne!(code(send("carol")).await, "api-key-user", "{path}");
    }
    // Nothing is prepared for dave.
    for (path, body) in [
        ("parts", json!({ "author": "dave" })),
        ("rewraps", json!({ "author": "dave", "version": 1 })),
        ("reads", json!({ "reader": "dave" })),
        ("uploads?author=dave", json!({})),
    ] {
        let path = format!("{DOCUMENT}/{path}");
        let sent = request(Method::POST, carols, &path).body(body.to_string());
        assert_eq!(code(sent).await, "api-key-user", "{path}");
    }
    // Nor does the key see what is open to him. Whom it is bound to need not be named.
    let shared = format!("shared/main/{DOCUMENT}");
    for path in [
        "shared/main/datasets/designs/documents".to_owned(),
        shared.clone(),
        format!("{shared}/versions/latest/proof"),
    ] {
        let asked = request(Method::GET, carols, &format!("{path}?reader=dave"));
        assert_eq!(code(asked).await, "api-key-user", "{path}");
        let own = code(request(Method::GET, carols, &path)).await;
        assert!(["none", "not-found"].contains(&own.as_str()), "{own}");
    }
    let begun = request(Method::POST, carols, &format!("{DOCUMENT}/parts")).body("{}");
    assert_eq!(begun.send().await.unwrap().status(), StatusCode::CREATED);
}
