//! What compromised parties can do together, and what not: the rows of `docs/threat-model.md` that no other test shows.

use certs::Issuer;
use reencrypt::{EphemeralSecret, Opening, Progress, WrappedKey};

use crate::asking::{Asked, Client, Read, Said, approve};
use crate::cluster::{APPROVALS, Scene, THRESHOLD};
use crate::documents::alices_key;

fn organisations(scene: &Scene, count: u16) -> Vec<&Issuer> {
    scene.organisations.iter().take(count.into()).collect()
}

/// t − 1 nodes give out their shares without asking anybody (here: with good approvals, which comes to the same), and m − 1
/// organisations approve whatever they are asked to. The honest nodes give nothing for that, and what there is does not open.
#[test]
fn fewer_nodes_and_fewer_organisations_than_needed_open_nothing_together() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let good = read.asked(scene);
        let mut shares = Vec::new();
        for place in 0..usize::from(THRESHOLD) - 1 {
            match read.client.ask(scene, place, &good).await {
                Said::Share(share) => shares.push((scene.cluster.members()[place].index, share)),
                refused @ Said::Refused { .. } => panic!("{refused:?}"),
            }
        }
        let few = approve(
            &organisations(scene, APPROVALS - 1),
            &good.wrapped_key,
            &read.x(),
            read.client.spki(),
        );
        let asked = Asked {
            approvals: few,
            ..good.clone()
        };
        for place in usize::from(THRESHOLD) - 1..scene.cluster.members().len() {
            match read.client.ask(scene, place, &asked).await {
                Said::Refused { code, .. } => assert_eq!(code, "not-enough-approvals"),
                Said::Share(_) => panic!("node {place} gave a share"),
            }
        }
        let package = scene.cluster.package().clone();
        let mut opening = Opening::new(read.wrapped, read.ephemeral, package).unwrap();
        for (index, share) in &shares {
            // The same share again does not make two.
            for _ in 0..2 {
                assert!(matches!(opening.add(*index, share), Progress::Need(1)));
            }
        }
        assert!(opening.culprits().is_empty());
    });
}

/// What the threshold of approvals means: m organisations that conspire let in whom they like, without the record. Every
/// node that took part has it in its log, with their names.
#[test]
fn enough_organisations_let_in_whom_they_like_and_are_in_the_log() {
    Scene::run(async |scene| {
        let key = alices_key(scene, "opened-by-conspirators").await;
        let rng = &mut rand::rng();
        let wrapped = WrappedKey::parse(&key).unwrap().verify(rng).unwrap();
        let (ephemeral, client) = (EphemeralSecret::new(&wrapped, rng), Client::new());
        let x = *ephemeral.public().point().as_bytes();
        let asked = Asked {
            approvals: approve(&organisations(scene, APPROVALS), &key, &x, client.spki()),
            ephemeral_key: ephemeral.public().as_bytes().to_vec(),
            wrapped_key: key,
        };
        let package = scene.cluster.package().clone();
        let mut opening = Opening::new(wrapped, ephemeral, package).unwrap();
        let mut opened = false;
        for place in 0..usize::from(THRESHOLD) {
            let Said::Share(share) = client.ask(scene, place, &asked).await else {
                panic!("node {place} refused")
            };
            let index = scene.cluster.members()[place].index;
            opened = matches!(opening.add(index, &share), Progress::Opened(_));
            let record = client.logged(scene, place, &asked).await.unwrap();
            let mut names: Vec<&str> = record
                .approvals
                .iter()
                .map(|approval| approval.organisation.as_str())
                .collect();
            names.sort_unstable();
            assert_eq!(names, ["oak", "pine"]);
        }
        assert!(opened);
    });
}
