//! Approvals that a true authority signed and that are not of the profile: each with one thing wrong, signed again, and sent to real nodes.

use certs::Issuer;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;

use crate::asking::Read;
use crate::cluster::Scene;
use crate::der::{Content, Element, signed_again};

/// `ARC.1.1`: the write_id.
const WRITE_ID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1, 1, 1];
/// `ARC.1.9`: of no meaning.
const UNKNOWN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1, 1, 9];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// cA = TRUE.
const AUTHORITY: &[u8] = &[0x30, 3, 1, 1, 0xff];

fn elements(of: &mut Element) -> &mut Vec<Element> {
    match &mut of.content {
        Content::Elements(elements) => elements,
        Content::Bytes(_) => panic!("no sequence"),
    }
}

fn extensions(part: &mut Element) -> &mut Vec<Element> {
    let outer = elements(part).last_mut().unwrap();
    elements(&mut elements(outer)[0])
}

fn place(list: &[Element], oid: &[u8]) -> usize {
    let has = |extension: &Element| match &extension.content {
        Content::Elements(parts) => {
            matches!(&parts[0].content, Content::Bytes(found) if found == oid)
        }
        Content::Bytes(_) => false,
    };
    list.iter().position(has).unwrap()
}

/// The extension with this name: object identifier, whether it is critical, and value.
fn parts<'e>(part: &'e mut Element, oid: &[u8]) -> &'e mut Vec<Element> {
    let list = extensions(part);
    let at = place(list, oid);
    elements(&mut list[at])
}

/// The extension of the write_id once more, under this name and with this value.
fn another(part: &mut Element, oid: &[u8], critical: bool, value: &[u8]) {
    let list = extensions(part);
    let at = place(list, WRITE_ID);
    let mut one = list[at].clone();
    let fields = elements(&mut one);
    fields[0].content = Content::Bytes(oid.to_vec());
    fields[2].content = Content::Bytes(value.to_vec());
    if !critical {
        fields.remove(1);
    }
    list.push(one);
}

fn signed(issuer: &Issuer, approval: &[u8], change: impl FnOnce(&mut Element)) -> Vec<u8> {
    let key = SigningKey::from_pkcs8_pem(&issuer.key_pem()).unwrap();
    signed_again(approval, &key, change)
}

#[test]
fn approvals_that_are_not_of_the_profile_do_not_count() {
    type Change = fn(&mut Element);
    let wrong: [(&str, Change); 6] = [
        ("certificate-repeated-extension", |part| {
            another(part, WRITE_ID, true, &[&[4, 32][..], &[9; 32]].concat());
        }),
        ("approval-unknown-critical-extension", |part| {
            another(part, UNKNOWN, true, &[5, 0]);
        }),
        ("approval-is-authority", |part| {
            parts(part, BASIC_CONSTRAINTS).last_mut().unwrap().content =
                Content::Bytes(AUTHORITY.to_vec());
        }),
        ("approval-missing-extension", |part| {
            let list = extensions(part);
            let at = place(list, WRITE_ID);
            list.remove(at);
        }),
        ("approval-extension-not-critical", |part| {
            parts(part, WRITE_ID).remove(1);
        }),
        ("approval-extension-value", |part| {
            parts(part, WRITE_ID)[2].content = Content::Bytes(vec![4, 3, 1, 2, 3]);
        }),
    ];
    Scene::run(async |scene| {
        let read = Read::new(scene);
        let asked = read.asked(scene);
        let oak = &scene.organisations[0];
        let code = "not-enough-approvals";
        for (why, change) in wrong {
            let mut bad = asked.clone();
            bad.approvals[0] = signed(oak, &asked.approvals[0], change);
            read.client.assert_refused(scene, &bad, code, why).await;
        }
        let mut trailing = asked.clone();
        trailing.approvals[0].push(0);
        let why = "certificate-trailing-bytes";
        read.client
            .assert_refused(scene, &trailing, code, why)
            .await;
        // What is said beside the profile and is not critical is passed over.
        let mut fine = asked.clone();
        fine.approvals[0] = signed(oak, &asked.approvals[0], |part| {
            another(part, UNKNOWN, false, &[5, 0]);
        });
        assert_ne!(fine.approvals[0], asked.approvals[0]);
        read.assert_opens(scene, &fine).await;
    });
}
