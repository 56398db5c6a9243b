//! A wrapped key of somebody else's document, reused word for word.
//!
//! Alice writes under the cluster's key. Mallory, who may write into a dataset of her own, takes Alice's wrapped key from
//! the record and tries to have it opened as if it were hers.

use coordinator::record::audit::verify_export;
use coordinator::record::{KeyWrapping, VersionName};

use crate::asking::Read;
use crate::cluster::Scene;

/// Alice's wrapped key, as every organisation's auditor can see it.
pub(crate) async fn alices_key(scene: &Scene, document: &str) -> Vec<u8> {
    let file = scene.site.layout().root().join(format!("{document}.txt"));
    std::fs::write(&file, "what only bob may know").unwrap();
    scene.exchange.write(document, &file).await.unwrap();
    let export = scene.site.layout().root().join(format!("{document}.jsonl"));
    scene.exchange.export(&export).await.unwrap();
    let keys: Vec<_> = std::fs::read_to_string(scene.site.layout().verifiers())
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.parse().unwrap())
        .collect();
    let record = verify_export(&export, &keys).unwrap();
    let name = VersionName {
        tenant: "main".parse().unwrap(),
        dataset: "demo".parse().unwrap(),
        document: document.parse().unwrap(),
        version: 1,
    };
    let version = record.state.version(&name).unwrap();
    match &version.content.as_ref().unwrap().key {
        KeyWrapping::Threshold { wrapped_key } => wrapped_key.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrapped_key_reused_word_for_word_is_not_opened_with_approvals_for_ones_own() {
    Scene::run(async |scene| {
        let stolen = alices_key(scene, "reused-at-the-nodes").await;
        // Mallory's own document and her approvals for it, with Alice's wrapped key in its place. Her ephemeral key's
        // proof is made for Alice's key, which anybody can do.
        let mallory = Read::new(scene);
        let victim = reencrypt::WrappedKey::parse(&stolen)
            .unwrap()
            .verify(&mut rand::rng())
            .unwrap();
        let ephemeral = reencrypt::EphemeralSecret::new(&victim, &mut rand::rng());
        let mut asked = mallory.asked(scene);
        asked.wrapped_key = stolen;
        asked.ephemeral_key = ephemeral.public().as_bytes().to_vec();
        asked.approvals = crate::asking::approve(
            &scene.organisations.iter().take(2).collect::<Vec<_>>(),
            mallory.wrapped.as_bytes(),
            ephemeral.public().point().as_bytes(),
            mallory.client.spki(),
        );
        let why = "approval-other-write-id";
        mallory
            .client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        let asked = mallory.asked(scene);
        mallory.assert_opens(scene, &asked).await;
        // And Bob reads it.
        let into = scene.site.layout().root().join("read-by-bob");
        let read = scene.exchange.read("reused-at-the-nodes", &into).await;
        read.unwrap();
        let content = std::fs::read_to_string(into).unwrap();
        assert_eq!(content, "what only bob may know");
    });
}

/// And the organisations' own peers approve nothing for whom the record does not let in.
#[test]
fn a_stranger_to_the_record_gets_no_approvals_of_it() {
    Scene::run(async |scene| {
        let _ = alices_key(scene, "not-for-strangers").await;
        let into = scene.site.layout().root().join("read-by-mallory");
        let read = scene
            .exchange
            .read_as_stranger("not-for-strangers", &into)
            .await;
        let error = read.unwrap_err().to_string();
        assert!(error.contains("not-permitted"), "{error}");
        assert!(!into.exists());
    });
}
