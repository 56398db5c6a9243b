//! An API key that is bound to a user is for nobody else, on whatever way and whoever signs.

use coordinator::api::auth::Scopes;
use coordinator::client::GetOptions;
use coordinator::client::profile::Profile;
use coordinator::record::{
    Author, Erase, SignedTransaction, Transaction, UnsignedTransaction, UserName,
};
use ed25519_dalek::SigningKey;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::{exchange, reader_at};
use crate::site::{Site, id};

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

/// A platform with carol and dave, managed, and carol's `designs`; its administrator's key and one for each of them.
struct Two {
    site: Site,
    http: reqwest::Client,
    admin: String,
    carol: String,
    dave: String,
}

impl Two {
    async fn start() -> Self {
        let mut site = Site::init_with(&["--managed-administrator"]);
        site.run();
        let profile = Profile::read(&site.profile()).unwrap();
        let mut two = Self {
            site,
            http: reqwest::Client::new(),
            admin: profile.api_key.unwrap().expose().to_owned(),
            carol: String::new(),
            dave: String::new(),
        };
        for user in ["carol", "dave"] {
            let new = json!({ "user": user, "managed": true, "role": "member" });
            two.made(Method::POST, "users?author=admin", new).await;
        }
        let new = json!({ "dataset": "designs", "encryption": "none", "storage": "ledger" });
        two.made(Method::POST, "datasets?author=carol", new).await;
        two.carol = two.key_for("carol").await;
        two.dave = two.key_for("dave").await;
        two
    }

    async fn key_for(&self, user: &str) -> String {
        let new = json!({ "name": user, "scopes": ["read", "write", "manage"], "user": user });
        let made = self.made(Method::POST, "keys", new).await;
        made["api_key"].as_str().unwrap().to_owned()
    }

    async fn role(&self, role: &str, user: &str) {
        let path = format!("datasets/designs/permissions/{role}/main/{user}?author=carol");
        self.made(Method::PUT, &path, Value::Null).await;
    }

    fn request(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v1/tenants/main/{path}", self.site.url);
        self.http.request(method, url).bearer_auth(key)
    }

    async fn made(&self, method: Method, path: &str, body: Value) -> Value {
        let sent = self.request(&self.admin, method, path);
        let answer = sent.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{path}");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    async fn status(&self, key: &str, method: Method, path: &str, body: &str) -> u16 {
        let sent = self.request(key, method, path).body(body.to_owned());
        sent.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_has_no_power_over_another_users_uploads_and_reads() {
    let two = Two::start().await;
    two.role("writer", "dave").await;
    two.role("reader", "dave").await;
    // An upload in parts of dave's: to carol's key there is none, whatever is asked.
    let path = format!("{DOCUMENT}/parts");
    let begun = two.made(Method::POST, &path, json!({ "author": "dave" }));
    let part = format!("parts/{}", begun.await["id"].as_str().unwrap());
    let whole = json!({ "length": 1, "sha256": "00".repeat(32) }).to_string();
    for (method, path, body) in [
        (Method::GET, part.clone(), ""),
        (Method::PUT, format!("{part}?offset=0"), "of somebody else"),
        (Method::POST, format!("{part}/complete"), whole.as_str()),
        (Method::DELETE, part.clone(), ""),
    ] {
        let status = two.status(&two.carol, method.clone(), &path, body).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    for (key, seen) in [(&two.carol, 0), (&two.dave, 1), (&two.admin, 1)] {
        let listed = two.request(key, Method::GET, "parts").send().await.unwrap();
        let listed: Value = listed.json().await.unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), seen);
    }
    let status = two.request(&two.dave, Method::GET, &part).send().await;
    let status: Value = status.unwrap().json().await.unwrap();
    assert_eq!(status["offset"], 0, "nobody sent to it");
    // So with an upload that waits for his signature.
    let path = format!("{DOCUMENT}/uploads?author=dave");
    let prepared = two.made(Method::POST, &path, json!({})).await;
    let upload = format!("uploads/{}", prepared["id"].as_str().unwrap());
    for (key, status) in [(&two.carol, 404), (&two.dave, 204)] {
        let found = two.status(key, Method::DELETE, &upload, "").await;
        assert_eq!(found, status);
    }
    // And with what is told of his reads.
    let content = format!("{DOCUMENT}/content");
    let written = two.status(&two.dave, Method::PUT, &content, "a plan").await;
    assert_eq!(written, 201);
    let read = two.request(&two.dave, Method::GET, &content).send().await;
    let read = read.unwrap().headers()["x-read-id"].clone();
    let read = format!("reads/{}", read.to_str().unwrap());
    for (key, status) in [(&two.carol, 404), (&two.dave, 200), (&two.admin, 200)] {
        assert_eq!(two.status(key, Method::GET, &read, "").await, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_gets_no_proof_that_has_a_body_its_user_may_not_read() {
    let two = Two::start().await;
    let content = format!("{DOCUMENT}/content");
    let written = two
        .status(&two.carol, Method::PUT, &content, "a plan")
        .await;
    assert_eq!(written, 201);
    let proof = format!("{DOCUMENT}/versions/1/proof");
    for (key, status) in [(&two.dave, 404), (&two.carol, 200), (&two.admin, 200)] {
        assert_eq!(two.status(key, Method::GET, &proof, "").await, status);
    }
    two.role("reader", "dave").await;
    assert_eq!(two.status(&two.dave, Method::GET, &proof, "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_fetches_no_sealed_body_of_another_users_read() {
    let (site, _cluster) = exchange().await;
    let reader = reader_at(&site, &site.url);
    let (designs, document, mut out) = (id("designs"), id("bridge"), Vec::new());
    let got = reader.get_end_to_end(&designs, &document, GetOptions::default(), &mut out);
    let read = got.await.unwrap().report.unwrap().transaction_id;
    let url = format!("{}/v1/tenants/main/recorded-reads/{read}/body", site.url);
    // The read is hers: what is missing is the pointer alone.
    for (user, status) in [("admin", 404), ("reader", 400)] {
        let (scopes, user) = (Scopes::all(), id(user));
        let made = site.administrator();
        let made = made.create_key("app", scopes, None, Some(&user)).await;
        let key = made.unwrap().api_key;
        let asked = reqwest::Client::new().get(&url).bearer_auth(key.expose());
        assert_eq!(asked.send().await.unwrap().status(), status, "{user}");
    }
}
