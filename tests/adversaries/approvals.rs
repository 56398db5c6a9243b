//! Approvals that are stolen, foreign, doubled, or for something else.

use certs::{Algorithm, Issuer};
use threshold_exchange::site::{SiteError, Tool};

use crate::asking::{Client, Read, approve, terms};
use crate::cluster::{Scene, entry, found, now};

fn organisations<'s>(scene: &'s Scene, places: &[usize]) -> Vec<&'s Issuer> {
    let all = &scene.organisations;
    places.iter().map(|place| &all[*place]).collect()
}

#[test]
fn approvals_for_different_ephemeral_keys_do_not_add_up() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        // The same client, the same document, another ephemeral key of its own.
        let second = reencrypt::EphemeralSecret::new(&read.wrapped, &mut rand::rng());
        let mut asked = read.asked(scene);
        let (wrapped, spki) = (read.wrapped.as_bytes(), read.client.spki());
        let for_second = approve(
            &organisations(scene, &[1]),
            wrapped,
            second.public().point().as_bytes(),
            spki,
        );
        let for_first = approve(&organisations(scene, &[0]), wrapped, &read.x(), spki);
        asked.approvals = [for_first, for_second.clone()].concat();
        let why = "approval-other-ephemeral-key";
        read.client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        // In the other order too: no certificate decides what the others are held against.
        asked.approvals.reverse();
        read.client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

/// Everything as it was approved, word for word, over the thief's own connection.
#[test]
fn a_stolen_approval_is_of_no_use_to_another_client() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let asked = read.asked(scene);
        let thief = Client::new();
        let why = "approval-other-client";
        thief
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        read.assert_opens(scene, &asked).await;
    });
}

#[test]
fn approvals_for_another_wrapped_key_are_of_no_use() {
    Scene::run(async |scene| {
        let (other, read) = (Read::new(scene), Read::new(scene));
        let mut asked = read.asked(scene);
        let by = organisations(scene, &[0, 1]);
        asked.approvals = approve(&by, other.wrapped.as_bytes(), &read.x(), read.client.spki());
        let why = "approval-other-write-id";
        read.client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

#[test]
fn one_organisation_counts_once() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let mut asked = read.asked(scene);
        let (wrapped, spki) = (read.wrapped.as_bytes(), read.client.spki());
        // Two certificates of one authority, with approval ids of their own.
        asked.approvals = approve(&organisations(scene, &[0, 0]), wrapped, &read.x(), spki);
        assert_ne!(asked.approvals[0], asked.approvals[1]);
        let why = "organisation-counted-already";
        read.client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        asked.approvals[1] = asked.approvals[0].clone();
        let why = "duplicate-approval";
        read.client
            .assert_refused(scene, &asked, "not-enough-approvals", why)
            .await;
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

/// Eve's certificates stand before Bob's: they neither count nor decide which ephemeral key is meant.
#[test]
fn a_foreign_authority_counts_for_nothing() {
    Scene::run(async |scene| {
        let (eve, read) = (Client::new(), Read::new(scene));
        // Named as the real one is: names are only a hint.
        let foreign = [
            found("oak", Algorithm::Ed25519),
            found("pine", Algorithm::EcdsaP256),
        ];
        let foreign: Vec<&Issuer> = foreign.iter().collect();
        let (wrapped, own) = (read.wrapped.as_bytes(), read.asked(scene));
        let mut asked = own.clone();
        asked.approvals = approve(&foreign, wrapped, &read.x(), read.client.spki());
        read.client
            .assert_refused(
                scene,
                &asked,
                "not-enough-approvals",
                "approval-unknown-issuer",
            )
            .await;
        // Bob's approvals behind Eve's, who asks for herself.
        let x: [u8; 32] = rand::random();
        asked.approvals = approve(&foreign, wrapped, &x, eve.spki());
        asked.approvals.extend(own.approvals.iter().cloned());
        eve.assert_refused(
            scene,
            &asked,
            "not-enough-approvals",
            "approval-other-client",
        )
        .await;
        // For Bob himself they are no hindrance.
        read.assert_opens(scene, &asked).await;
    });
}

#[test]
fn approvals_outside_their_time_do_not_count() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let (asked, now) = (read.asked(scene), now());
        let issue = |times: (u64, u64)| {
            let terms = terms(
                read.wrapped.as_bytes(),
                &read.x(),
                read.client.spki(),
                9,
                times,
            );
            scene.organisations[1].issue(&terms).unwrap()
        };
        for (times, why) in [
            ((now - 900, now - 620), "approval-expired"),
            ((now + 600, now + 800), "approval-not-yet-valid"),
            ((now - 5, now + 10 * 365 * 86_400), "approval-lifetime"),
        ] {
            let mut late = asked.clone();
            late.approvals[1] = issue(times);
            read.client
                .assert_refused(scene, &late, "not-enough-approvals", why)
                .await;
        }
        let mut exact = asked.clone();
        exact.approvals[1] = issue((now - 5, now + 295));
        read.assert_opens(scene, &exact).await;
    });
}

/// Two organisations with one key would let one of them approve for both: no operator can set such a policy.
#[test]
fn two_organisations_with_one_key_are_no_policy() {
    Scene::run(async |scene| {
        let (layout, program) = (scene.site.layout(), scene.site.program());
        let folder = layout.root().join("spare").display().to_string();
        let passphrase = layout.make_passphrase("spare").unwrap();
        let phrase = layout.secrets().join("spare.phrase");
        let init = [
            "init",
            "--dir",
            &folder,
            "--name",
            "spare",
            "--listen",
            "127.0.0.1:9",
            "--passphrase-file",
            &passphrase.display().to_string(),
            "--phrase-out",
            &phrase.display().to_string(),
        ];
        program.run(Tool::Cryptonode, &init).await.unwrap();
        let (oak, ash) = (
            found("oak", Algorithm::Ed25519),
            found("ash", Algorithm::Ed25519),
        );
        let set = async |organisations: String| {
            let file = layout.root().join("spare-policy.toml");
            std::fs::write(&file, format!("approvals_needed = 2\n{organisations}")).unwrap();
            let file = file.display().to_string();
            let arguments = ["policy", "set", "--dir", &folder, &file];
            program.run(Tool::Cryptonode, &arguments).await
        };
        match set(entry("oak", &oak) + &entry("ash", &oak)).await {
            Err(SiteError::Command { said, .. }) => {
                assert!(said.contains("oak") && said.contains("ash"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        set(entry("oak", &oak) + &entry("ash", &ash)).await.unwrap();
    });
}
