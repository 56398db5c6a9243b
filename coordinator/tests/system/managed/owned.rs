//! Erasure of all that a user owns, over HTTP: for a user whose key the platform keeps, and for one that signs itself.

use coordinator::api::{ErasuresView, OwnedView};
use coordinator::record::{Erase, Transaction, UnsignedTransaction};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Plain, site};
use crate::site::id;

/// Datasets of these users, with so many documents each.
async fn datasets(admin: &Plain, all: &[(&str, &str, usize)]) {
    for (dataset, owner, documents) in all {
        let new = json!({ "dataset": dataset, "encryption": "platform", "storage": "off-chain" });
        let path = format!("datasets?author={owner}");
        admin.done(Method::POST, &path, new).await;
        for number in 0..*documents {
            let path = format!("datasets/{dataset}/documents/d{number}/content?author={owner}");
            assert_eq!(admin.put(&path, b"a document").await.status, 201);
        }
    }
}

async fn users(admin: &Plain) {
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        admin.done(Method::POST, "users?author=admin", new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_managed_user_owns_is_erased_some_at_a_time() {
    let (mut site, admin) = site();
    users(&admin).await;
    let all = [("a", "carol", 3), ("b", "dave", 2), ("c", "carol", 4)];
    datasets(&admin, &all).await;
    // A reader or writer owns nothing.
    let writer = "datasets/b/permissions/writer/main/carol?author=dave";
    admin.done(Method::PUT, writer, Value::Null).await;
    let new = json!({ "name": "app", "scopes": ["read", "write"], "user": "carol" });
    let issued = admin.done(Method::POST, "keys", new).await;
    let carol = admin.with_key(&issued["api_key"]);
    assert_eq!(site.bodies().len(), 9);

    let owned: OwnedView =
        serde_json::from_value(carol.get("users/carol/owned?limit=2").await.json()).unwrap();
    assert_eq!((owned.count, owned.documents.len()), (7, 2));
    assert_eq!(owned.documents[0].dataset, id("a"));
    // Nobody else's, and nobody's who is not there.
    let erase = |user: &str, limit: usize| format!("users/{user}/owned/erase?limit={limit}");
    let refused = carol.post(&erase("dave", 9), Value::Null).await;
    assert_eq!(refused.problem(), (403, "api-key-user".into()));
    let refused = admin.post(&erase("nobody", 9), Value::Null).await;
    assert_eq!(refused.problem(), (404, "unknown-user".into()));

    let part = carol
        .done(Method::POST, &erase("carol", 3), Value::Null)
        .await;
    assert_eq!(
        (
            part["remaining"].as_u64(),
            part["not_erased"].as_array().map(Vec::len)
        ),
        (Some(4), Some(0))
    );
    assert_eq!(part["erased"].as_array().unwrap().len(), 3);
    // Broken off, it goes on.
    site.kill();
    site.run();
    let (carol, admin) = (Plain::of(&site, &carol.key), Plain::of(&site, &admin.key));
    let mut remaining = vec![];
    while remaining.last() != Some(&0) {
        let part = carol
            .done(Method::POST, &erase("carol", 3), Value::Null)
            .await;
        remaining.push(part["remaining"].as_u64().unwrap());
    }
    assert_eq!(remaining, [1, 0]);
    let gone = carol.get("datasets/c/documents/d3/content").await;
    assert_eq!(gone.problem(), (410, "erased".into()));
    let left = admin
        .get("datasets/b/documents/d1/content?reader=dave")
        .await;
    assert_eq!(left.body, b"a document");
    assert_eq!(site.bodies().len(), 2);
    let none = carol
        .done(Method::POST, &erase("carol", 3), Value::Null)
        .await;
    assert_eq!(
        none,
        json!({ "erased": [], "not_erased": [], "remaining": 0 })
    );

    // What the record refuses is said, and nothing is lost of it.
    let suspend = "users/dave/suspend?author=admin";
    admin.done(Method::POST, suspend, Value::Null).await;
    let refused = admin.post(&erase("dave", 9), Value::Null).await;
    assert_eq!(refused.problem(), (403, "user-suspended".into()));
    assert_eq!(site.bodies().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_itself_gets_the_erasures_to_sign() {
    let (site, admin) = site();
    users(&admin).await;
    datasets(&admin, &[("a", "carol", 5), ("b", "dave", 1)]).await;
    site.keeps_its_own_key("carol");
    let client = site.client("carol");
    let mut rounds = 0;
    loop {
        let path = "users/carol/owned/erase?limit=2";
        let answer = admin.post(path, Value::Null).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        let view: ErasuresView = serde_json::from_value(answer.json()).unwrap();
        assert_eq!(view.remaining, 5_u64.saturating_sub(2 * rounds));
        if view.remaining == 0 {
            break;
        }
        for erasure in view.erasures {
            // It is what it says that it is, and nothing has happened yet.
            let prepared = UnsignedTransaction::from_bytes(&erasure.change.transaction).unwrap();
            let meant = Transaction::Erase(Erase {
                tenant: id("main"),
                dataset: erasure.dataset,
                document: erasure.document,
                version: None,
            });
            assert_eq!(prepared.transaction, meant);
            client.submit(prepared.transaction).await.unwrap();
        }
        rounds += 1;
    }
    assert_eq!(rounds, 3);
    assert_eq!(site.bodies().len(), 1);
    let none = admin.get("users/carol/owned").await.json();
    assert_eq!(none, json!({ "documents": [], "count": 0 }));
}
