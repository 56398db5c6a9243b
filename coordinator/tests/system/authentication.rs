//! Every route of the OpenAPI file refuses whoever has no key, a bad key, another tenant's key, or a key without the scope.

use coordinator::api::auth::Scope;
use coordinator::client::profile::Profile;
use serde_json::Value;

use crate::site::Site;

const SOME_ID: &str = "01890000-0000-7000-8000-000000000000";

fn path(template: &str, tenant: &str) -> String {
    template
        .replace("{tenant}", tenant)
        .replace("{dataset}", "designs")
        .replace("{document}", "bridge")
        .replace("{id}", SOME_ID)
        .replace("{key}", "0011223344556677")
        .replace("{link}", "of-plan")
        .replace("{user}", "admin")
        .replace("{of_tenant}", "main")
        .replace("{role}", "reader")
        .replace("{client}", &"72".repeat(32))
        .replace("{request}", &"5a".repeat(32))
        .replace("{version}", "1")
        .replace("{read}", &"5a".repeat(32))
}

/// A route of the OpenAPI file: method, path, and the scopes of which a key must have one.
struct Route {
    method: reqwest::Method,
    template: String,
    needs: Vec<Scope>,
}

/// The routes that need a key, and the paths of those that need none, out of what the platform itself serves.
async fn routes(site: &Site) -> (Vec<Route>, Vec<String>) {
    let url = format!("{}/v1/openapi.json", site.url);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(
        text == include_str!("../../openapi.json"),
        "what is served is what is committed"
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    let (mut routes, mut open) = (Vec::new(), Vec::new());
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            if security.is_empty() {
                open.push(format!("{method} {template}"));
                continue;
            }
            let scopes = security
                .iter()
                .flat_map(|it| it["api-key"].as_array().unwrap());
            let mut needs: Vec<Scope> = scopes
                .map(|it| serde_json::from_value(it.clone()).unwrap())
                .collect();
            if needs.is_empty() {
                needs = Scope::ALL.into();
            }
            let method = method.to_uppercase().parse().unwrap();
            let template = template.clone();
            routes.push(Route {
                method,
                template,
                needs,
            });
        }
    }
    (routes, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_whoever_has_no_right_to_it() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "none"]);
    let ada = site.file("ada.pem");
    let other = success_of_tenant(&site, ada.to_str().unwrap());
    let profile = Profile::read(&site.profile()).unwrap();
    let (own, operator) = (profile.api_key.unwrap(), profile.operator_key.unwrap());
    let (own, operator) = (own.expose(), operator.expose());
    let flipped = {
        let mut key = own.to_owned();
        let last = key.pop().unwrap();
        key.push(if last == '0' { '1' } else { '0' });
        key
    };
    let http = reqwest::Client::new();
    let (table, open) = routes(&site).await;
    assert_eq!(
        open,
        [
            "get /healthz",
            "get /problems/{code}",
            "get /v1/openapi.json"
        ]
    );
    assert!(table.len() >= 19);
    for Route {
        method,
        template,
        needs,
    } in table
    {
        let is_operators = !template.contains("{tenant}");
        let url = format!("{}{}", site.url, path(&template, "main"));
        let ask = async |key: Option<&str>| {
            let mut request = http.request(method.clone(), &url).body(vec![7; 10_000]);
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            assert!(headers.contains_key("x-request-id"));
            let body = response.bytes().await.unwrap();
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            if status >= 400 {
                assert_eq!(
                    headers["content-type"], "application/problem+json",
                    "{method} {template}"
                );
                assert_eq!(
                    problem["type"],
                    format!("/problems/{}", problem["code"].as_str().unwrap())
                );
                assert_eq!(
                    problem["request_id"],
                    headers["x-request-id"].to_str().unwrap()
                );
            }
            (
                status,
                problem["code"].as_str().unwrap_or_default().to_owned(),
                headers,
            )
        };
        let (status, code, headers) = ask(None).await;
        assert_eq!(
            (status, code.as_str()),
            (401, "api-key-missing"),
            "{method} {template}"
        );
        assert_eq!(headers["www-authenticate"], "Bearer");
        for bad in [
            &flipped,
            "nonsense",
            "main.00.00",
            &own.replace("main", "mainx"),
        ] {
            let (status, code, _) = ask(Some(bad)).await;
            assert_eq!(
                (status, code.as_str()),
                (401, "api-key-invalid"),
                "{method} {template}"
            );
        }
        let (status, code, _) = ask(Some(&other)).await;
        assert_eq!(
            (status, code.as_str()),
            (404, "not-found"),
            "{method} {template}"
        );
        let wrong_kind = if is_operators { own } else { operator };
        let (status, code, _) = ask(Some(wrong_kind)).await;
        assert_eq!(
            (status, code.as_str()),
            (404, "not-found"),
            "{method} {template}"
        );
        // A key with every scope but those that the route takes.
        let others: Vec<Scope> = Scope::ALL
            .into_iter()
            .filter(|scope| !needs.contains(scope))
            .collect();
        if !others.is_empty() {
            let limited = limited_key(&site, is_operators, &others);
            let (status, code, _) = ask(Some(&limited)).await;
            assert_eq!(
                (status, code.as_str()),
                (403, "api-key-scope"),
                "{method} {template}"
            );
        }
        // The right key gets past the door.
        let (status, code, _) = ask(Some(if is_operators { operator } else { own })).await;
        assert_ne!(status, 401, "{method} {template}");
        assert_ne!(code, "api-key-scope", "{method} {template}");
    }
    // And what no route is there for.
    let response = http
        .get(format!("{}/v1/elsewhere", site.url))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    let response = http
        .put(format!("{}/v1/tenants/main/status", site.url))
        .bearer_auth(own)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 405);
    let health: Value = http
        .get(format!("{}/healthz", site.url))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "ok");
}

/// A key with these scopes, made in the folder while the platform runs.
fn limited_key(site: &Site, operators: bool, scopes: &[Scope]) -> String {
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let mut arguments = vec!["key", "create", "limited", "--dir", dir.to_str().unwrap()];
    arguments.extend(["--passphrase-file", passphrase.to_str().unwrap()]);
    arguments.extend(match operators {
        true => vec!["--operator"],
        false => vec!["--for-tenant", "main"],
    });
    for scope in scopes {
        arguments.extend(["--scope", scope.name()]);
    }
    site.cli(&arguments)["api_key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_rotated_and_revoked_over_the_api() {
    let site = Site::start();
    let use_key = |key: &str, arguments: &[&str]| {
        let file = site.file("some.key");
        coordinator::folder::write_private(&file, key.as_bytes()).unwrap();
        let mut all = vec!["--api-key-file", file.to_str().unwrap()];
        all.extend(arguments);
        site.try_cli(&all)
    };
    let code = |outcome| crate::site::failure(outcome).2["error"]["code"].clone();
    let first = site.cli(&[
        "key", "create", "reports", "--scope", "read", "--days", "30",
    ]);
    let first_key = first["api_key"].as_str().unwrap();
    assert_eq!(first["scopes"], serde_json::json!(["read"]));
    crate::site::success(use_key(first_key, &["ls"]));
    // It only reads, whoever signs.
    let refused = ["dataset", "create", "designs", "--encryption", "none"];
    assert_eq!(code(use_key(first_key, &refused)), "api-key-scope");
    assert_eq!(code(use_key(first_key, &["key", "ls"])), "api-key-scope");
    // A key gives no more than it has.
    let manager = site.cli(&["key", "create", "manager", "--scope", "keys"]);
    let manager_key = manager["api_key"].as_str().unwrap();
    let more = ["key", "create", "more", "--scope", "read"];
    assert_eq!(code(use_key(manager_key, &more)), "api-key-scope");
    let first_id = first["id"].as_str().unwrap();
    let rotate = ["key", "rotate", first_id];
    assert_eq!(code(use_key(manager_key, &rotate)), "api-key-scope");

    // Rotated without a grace, the old one is over and the new one is as it was.
    let second = site.cli(&["key", "rotate", first_id, "--grace-s", "0"]);
    let second_key = second["api_key"].as_str().unwrap();
    assert_eq!(second["scopes"], first["scopes"]);
    crate::site::success(use_key(second_key, &["ls"]));
    assert_eq!(code(use_key(first_key, &["ls"])), "api-key-expired");
    // With one, both work.
    let second_id = second["id"].as_str().unwrap();
    let third = site.cli(&["key", "rotate", second_id]);
    crate::site::success(use_key(second_key, &["ls"]));
    crate::site::success(use_key(third["api_key"].as_str().unwrap(), &["ls"]));
    site.cli(&["key", "revoke", second_id]);
    assert_eq!(code(use_key(second_key, &["ls"])), "api-key-revoked");

    let list = site.cli(&["key", "ls"]);
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["init", "reports", "manager", "reports", "reports"]);
    assert_eq!(list[1]["replaced_by"], second["id"]);
    assert!(list[3]["revoked_ms"].is_u64());
    assert!(!list.to_string().contains("api_key"), "shown once");
    let (_, _, unknown) = site.fails(&["key", "revoke", "0011223344556677"]);
    assert_eq!(unknown["error"]["code"], "api-key-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expires_rotates_none_beyond_its_own_end() {
    let site = Site::start();
    let own = Profile::read(&site.profile()).unwrap().api_key.unwrap();
    let http = reqwest::Client::new();
    let post = async |key: &str, path: &str, body: Value| -> Value {
        let url = format!("{}/v1/tenants/main/keys{path}", site.url);
        let sent = http.post(url).bearer_auth(key).body(body.to_string());
        let answer = sent.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{path}");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let new =
        serde_json::json!({ "name": "an hour", "scopes": ["keys", "read"], "expires_in_s": 3600 });
    let short = post(own.expose(), "", new).await;
    let new = serde_json::json!({ "name": "for ever", "scopes": ["read"] });
    let lasting = post(own.expose(), "", new).await;
    let rotate = async |key: &str, of: &Value| {
        let path = format!("/{}/rotate", of["id"].as_str().unwrap());
        post(key, &path, serde_json::json!({ "grace_s": 60 })).await
    };
    let (key, end) = (short["api_key"].as_str().unwrap(), &short["expires_ms"]);
    let second = rotate(key, &lasting).await;
    assert_eq!(&second["expires_ms"], end, "another's");
    assert_eq!(&rotate(key, &short).await["expires_ms"], end, "its own");
    // Whoever has no end gives as long a life as the old one had.
    let new = serde_json::json!({ "name": "for ever", "scopes": ["read"] });
    let lasting = post(own.expose(), "", new).await;
    let third = rotate(own.expose(), &lasting).await;
    assert!(third["expires_ms"].is_null(), "{third}");
}

/// Registers another tenant; its API key.
pub(crate) fn success_of_tenant(site: &Site, key: &str) -> String {
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let made = site.cli(&[
        "tenant",
        "create",
        "umbra",
        "--organisation",
        "birch",
        "--administrator",
        "ada",
        "--new-key",
        key,
        "--dir",
        dir.to_str().unwrap(),
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ]);
    made["api_key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_own_tenant_and_signatures_decide_inside() {
    let site = Site::start();
    let ada = site.file("ada.pem");
    let key_file = site.file("umbra.key");
    let key = success_of_tenant(&site, ada.to_str().unwrap());
    coordinator::folder::write_private(&key_file, key.as_bytes()).unwrap();
    let as_ada = [
        "--tenant",
        "umbra",
        "--api-key-file",
        key_file.to_str().unwrap(),
        "--user",
        "ada",
        "--key",
    ];
    let as_ada = |arguments: &[&str]| {
        let mut all = as_ada.to_vec();
        all.push(ada.to_str().unwrap());
        all.extend(arguments);
        site.try_cli(&all)
    };
    crate::site::success(as_ada(&[
        "dataset",
        "create",
        "secrets",
        "--encryption",
        "platform",
    ]));
    // Another tenant's dataset does not exist, whatever key signs.
    let (_, _, json) = site.fails(&["ls", "secrets"]);
    assert_eq!(json["error"]["code"], "not-found");
    // A user of one tenant signs nothing for another one through its door.
    let (_, _, json) = site.fails(&[
        "--tenant",
        "umbra",
        "dataset",
        "create",
        "x",
        "--encryption",
        "none",
    ]);
    assert_eq!(json["error"]["code"], "not-found");
    // Somebody else's signature is refused by the record.
    site.add_user("mallory");
    let mallory = site.file("mallory.pem");
    let forged = [
        "--user",
        "admin",
        "--key",
        mallory.to_str().unwrap(),
        "dataset",
        "create",
        "x",
        "--encryption",
        "none",
    ];
    let (status, _, json) = site.fails(&forged);
    assert_eq!(
        (status, json["error"]["code"].as_str()),
        (8, Some("signature"))
    );
}
