//! `cluster.json`: what a client takes for a cluster, and what it does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use cryptonode::client::{ClusterDescriptor, DescriptorError, MemberDescriptor};
use reencrypt::{Point, Scalar, SecretScalar};

fn descriptor() -> ClusterDescriptor {
    let coefficients = [11_u64, 22, 33].map(Scalar::from);
    let public = |scalar: Scalar| {
        *SecretScalar::from_scalar(scalar)
            .unwrap()
            .public()
            .as_bytes()
    };
    let share = |index: u16| {
        let index = Scalar::from(index);
        coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, a| sum * index + a)
    };
    let member = |index: u16| MemberDescriptor {
        index,
        name: format!("node{index}"),
        identity: [index as u8; 32],
        address: format!("node{index}.example:7700"),
        public_share: public(share(index)),
    };
    ClusterDescriptor {
        version: 1,
        public_key: public(coefficients[0]),
        epoch: 4,
        attempt: 1,
        threshold: 3,
        members: (1..=5).map(member).collect(),
        policy_hash: [9; 32],
    }
}

fn refused(change: impl FnOnce(&mut ClusterDescriptor)) -> &'static str {
    let mut changed = descriptor();
    change(&mut changed);
    changed.check().unwrap_err().code()
}

#[test]
fn a_good_descriptor_is_taken_and_reads_back() {
    let text = descriptor().to_json();
    assert!(text.contains("\"policy_hash\": \"0909"));
    let cluster = ClusterDescriptor::from_json(&text)
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(cluster.descriptor(), &descriptor());
    assert_eq!(
        (cluster.package().threshold(), cluster.package().epoch()),
        (3, 4)
    );
}

#[test]
fn each_defect_is_named() {
    assert_eq!(refused(|d| d.version = 2), "descriptor-version");
    assert_eq!(refused(|d| d.members.clear()), "descriptor-members");
    assert_eq!(refused(|d| d.members.swap(0, 1)), "descriptor-order");
    assert_eq!(
        refused(|d| d.members[1].identity = d.members[0].identity),
        "descriptor-twice"
    );
    assert_eq!(
        refused(|d| d.members[1].name = "node1".into()),
        "descriptor-twice"
    );
    assert_eq!(
        refused(|d| d.members[1].name = "\u{1b}[2J".into()),
        "descriptor-name"
    );
    for address in ["host", ":7700", "host:", "host:70000", "host:0"] {
        assert_eq!(
            refused(|d| d.members[2].address = address.into()),
            "descriptor-address",
            "{address}"
        );
    }
    assert_eq!(refused(|d| d.public_key = [0; 32]), "descriptor-point");
    assert_eq!(
        refused(|d| d.members[3].public_share = [0xff; 32]),
        "descriptor-point"
    );
    let other = *Point::generator().as_bytes();
    assert_eq!(
        refused(|d| d.members[3].public_share = other),
        "descriptor-inconsistent"
    );
    assert_eq!(refused(|d| d.public_key = other), "descriptor-inconsistent");
    assert_eq!(refused(|d| d.threshold = 0), "descriptor-inconsistent");
    assert_eq!(refused(|d| d.threshold = 6), "descriptor-inconsistent");
    assert_eq!(refused(|d| d.threshold = 2), "descriptor-inconsistent");
}

#[test]
fn text_of_another_form_is_not_read() {
    let unknown = descriptor()
        .to_json()
        .replace("\"epoch\"", "\"surprise\": 1, \"epoch\"");
    for text in ["", "{}", "[]", "null", unknown.as_str()] {
        let error = ClusterDescriptor::from_json(text).unwrap_err();
        assert!(
            matches!(error, DescriptorError::Unreadable { .. }),
            "{text}"
        );
    }
}
