//! Points and proofs of a request that are forged, moved, or chosen to open something else.
//!
//! The approvals are good, and for the very bytes that are sent: only the arithmetic is left to refuse them.

use curve25519_dalek::Scalar;
use reencrypt::{Point, SecretScalar};
use sha2::{Digest, Sha256};

use crate::asking::{Asked, Read, Said, approve, point_u};
use crate::cluster::Scene;
use crate::forging;

/// Approvals of two organisations for exactly this wrapped key and this ephemeral key.
fn approved(scene: &Scene, read: &Read, wrapped_key: Vec<u8>, ephemeral_key: Vec<u8>) -> Asked {
    let by: Vec<_> = scene.organisations.iter().take(2).collect();
    let x = ephemeral_key[..32].try_into().unwrap();
    Asked {
        approvals: approve(&by, &wrapped_key, &x, read.client.spki()),
        wrapped_key,
        ephemeral_key,
    }
}

fn y(scene: &Scene) -> Point {
    scene.cluster.package().public_key()
}

#[test]
fn an_honest_request_made_by_hand_is_answered_by_every_node() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
    // And so is one whose points and proofs were made by the forger's own code, as long as they are true.
    Scene::run(async |scene| {
        let mut read = Read::new(scene);
        let (y, body) = (y(scene), vec![7; 80]);
        let r = SecretScalar::random(&mut rand::rng());
        let points = forging::honest(&r, "wrapped-key", &[y.as_bytes(), b"mine", &body]);
        let wrapped = forging::wrapped_key(&y, &points, b"mine", &body);
        read.wrapped = reencrypt::WrappedKey::parse(&wrapped)
            .unwrap()
            .verify(&mut rand::rng())
            .unwrap();
        let x_c = SecretScalar::random(&mut rand::rng());
        let context: [&[u8]; 2] = [y.as_bytes(), &read.wrapped.write_id()];
        let ephemeral = forging::honest(&x_c, "ephemeral-key", &context);
        let asked = approved(scene, &read, wrapped, ephemeral);
        for place in 0..scene.cluster.members().len() {
            let said = read.client.ask(scene, place, &asked).await;
            assert!(matches!(said, Said::Share(_)), "{said:?}");
        }
    });
}

/// X = U' − U: the nodes would compute x_i·U', and so open U' under an approval for U.
#[test]
fn x_chosen_as_the_difference_of_two_documents_is_refused() {
    Scene::run(async |scene| {
        let (victim, read) = (Read::new(scene), Read::new(scene));
        let difference = point_u(victim.wrapped.as_bytes()).as_ristretto()
            - point_u(read.wrapped.as_bytes()).as_ristretto();
        let x = Point::from_ristretto(difference).unwrap();
        let wrapped = read.wrapped.as_bytes().to_vec();
        let (y, write_id) = (y(scene), read.wrapped.write_id());
        let context = [y.as_bytes().as_slice(), &write_id];
        let copied = [
            x.as_bytes().as_slice(),
            &read.ephemeral.public().as_bytes()[32..],
        ]
        .concat();
        let forged = forging::for_one_weight(&x, "ephemeral-key", &context);
        for ephemeral in [copied, forged] {
            let asked = approved(scene, &read, wrapped.clone(), ephemeral);
            let client = &read.client;
            client
                .assert_refused(scene, &asked, "ephemeral-key-proof", "proof")
                .await;
        }
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

/// Who wrote U knows x·U = r·Y. With X = U' the nodes would give him x·(U + U'), and with it x·U'.
#[test]
fn another_documents_point_and_proof_are_no_ephemeral_key() {
    Scene::run(async |scene| {
        let (victim, read) = (Read::new(scene), Read::new(scene));
        // U' ‖ Ū' ‖ proof stand together in the victim's wrapped key, and have an ephemeral key's length.
        let moved = victim.wrapped.as_bytes()[33..193].to_vec();
        let asked = approved(scene, &read, read.wrapped.as_bytes().to_vec(), moved);
        read.client
            .assert_refused(scene, &asked, "ephemeral-key-proof", "proof")
            .await;
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

/// One weight for both equations of a proof would let pass Ū = s·(G + Ḡ) − U for anybody's U.
#[test]
fn proofs_forged_for_one_weight_are_refused() {
    Scene::run(async |scene| {
        let (victim, read) = (Read::new(scene), Read::new(scene));
        let (y, u) = (y(scene), point_u(victim.wrapped.as_bytes()));
        // The victim's U under a label and a body of the thief's own.
        let body = vec![9; 80];
        let context: [&[u8]; 3] = [y.as_bytes(), b"mine", &body];
        for _ in 0..4 {
            let points = forging::for_one_weight(&u, "wrapped-key", &context);
            let wrapped = forging::wrapped_key(&y, &points, b"mine", &body);
            let x_c = SecretScalar::random(&mut rand::rng());
            let context: [&[u8]; 2] = [y.as_bytes(), &Sha256::digest(&wrapped)];
            let ephemeral = forging::honest(&x_c, "ephemeral-key", &context);
            let asked = approved(scene, &read, wrapped, ephemeral);
            read.client
                .assert_refused(scene, &asked, "wrapped-key-proof", "proof")
                .await;
        }
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

#[test]
fn proofs_moved_to_another_statement_are_refused() {
    Scene::run(async |scene| {
        let (other, read) = (Read::new(scene), Read::new(scene));
        let (y, own) = (y(scene), read.wrapped.as_bytes().to_vec());
        let refused = async |wrapped: Vec<u8>, ephemeral: Vec<u8>, code: &str| {
            let asked = approved(scene, &read, wrapped, ephemeral);
            read.client
                .assert_refused(scene, &asked, code, "proof")
                .await;
        };
        let ephemeral = read.ephemeral.public().as_bytes().to_vec();

        // An ephemeral key and its proof, made for another wrapped key by its own holder.
        let for_other = other.ephemeral.public().as_bytes().to_vec();
        refused(own.clone(), for_other, "ephemeral-key-proof").await;
        // The proof of this very ephemeral key, under a point that was negated together with its shadow.
        let mut negated = ephemeral.clone();
        for at in [0, 32] {
            let point = Point::from_slice(&negated[at..at + 32]).unwrap();
            let minus = Point::from_ristretto(-point.as_ristretto()).unwrap();
            negated[at..at + 32].copy_from_slice(minus.as_bytes());
        }
        refused(own.clone(), negated, "ephemeral-key-proof").await;

        // A wrapped key's proof moved under another body, another label, another key's points, another purpose.
        let mut other_body = own.clone();
        *other_body.last_mut().unwrap() ^= 1;
        refused(other_body, ephemeral.clone(), "wrapped-key-proof").await;
        let mut other_label = own.clone();
        other_label[195] ^= 1;
        refused(other_label, ephemeral.clone(), "wrapped-key-proof").await;
        let mut other_proof = own.clone();
        other_proof[97..193].copy_from_slice(&other.wrapped.as_bytes()[97..193]);
        refused(other_proof, ephemeral.clone(), "wrapped-key-proof").await;
        let wrapped = forging::wrapped_key(&y, &ephemeral, b"a label", &own[own.len() - 80..]);
        refused(wrapped, ephemeral, "wrapped-key-proof").await;

        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}

/// With x_c = −r, which only the writer can choose, U + X is the identity.
#[test]
fn an_identity_base_is_refused() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let (y, body) = (y(scene), vec![3; 64]);
        let r = SecretScalar::random(&mut rand::rng());
        let points = forging::honest(&r, "wrapped-key", &[y.as_bytes(), b"", &body]);
        let wrapped = forging::wrapped_key(&y, &points, b"", &body);
        let write_id = Sha256::digest(&wrapped);
        let minus = SecretScalar::from_scalar(-r.expose()).unwrap();
        let ephemeral = forging::honest(&minus, "ephemeral-key", &[y.as_bytes(), &write_id]);
        let asked = approved(scene, &read, wrapped.clone(), ephemeral);
        read.client
            .assert_refused(scene, &asked, "request-identity-base", "")
            .await;
        // Any other x_c is answered.
        let twin = SecretScalar::from_scalar(Scalar::ONE - r.expose()).unwrap();
        let ephemeral = forging::honest(&twin, "ephemeral-key", &[y.as_bytes(), &write_id]);
        let asked = approved(scene, &read, wrapped, ephemeral);
        let said = read.client.ask(scene, 0, &asked).await;
        assert!(matches!(said, Said::Share(_)), "{said:?}");
    });
}

#[test]
fn points_that_are_none_are_refused() {
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let own = read.wrapped.as_bytes().to_vec();
        let ephemeral = read.ephemeral.public().as_bytes().to_vec();
        // The identity; a field element that is not reduced; a point of edwards25519 with torsion is no encoding either.
        let mut above = [0xff; 32];
        (above[0], above[31]) = (0xed, 0x7f);
        for bad in [[0; 32], above, [0xff; 32]] {
            for (at, code) in [
                (33, "wrapped-key-point"),
                (65, "wrapped-key-shadow"),
                (97, "wrapped-key-proof-encoding"),
                (129, "wrapped-key-proof-encoding"),
            ] {
                let mut wrapped = own.clone();
                wrapped[at..at + 32].copy_from_slice(&bad);
                let asked = approved(scene, &read, wrapped, ephemeral.clone());
                read.client.assert_refused(scene, &asked, code, "").await;
            }
            for (at, code) in [
                (32, "ephemeral-key-shadow"),
                (64, "ephemeral-key-proof-encoding"),
            ] {
                let mut key = ephemeral.clone();
                key[at..at + 32].copy_from_slice(&bad);
                let asked = approved(scene, &read, own.clone(), key);
                read.client.assert_refused(scene, &asked, code, "").await;
            }
        }
        let asked = read.asked(scene);
        read.assert_opens(scene, &asked).await;
    });
}
