#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use certs::{Algorithm, Issuer, Organisation, PolicyConfig};

use super::*;
use crate::config::{policy_text, read_policy};

fn issuer(name: &str) -> Vec<u8> {
    let made = Issuer::generate(name, Algorithm::Ed25519, 1_700_000_000, 1_800_000_000).unwrap();
    made.certificate_der().to_vec()
}

fn policy(needed: u16, organisations: &[(&str, &[&Vec<u8>])]) -> Policy {
    let organisations = organisations.iter().map(|(name, issuers)| Organisation {
        name: (*name).to_owned(),
        issuers: issuers.iter().map(|der| (*der).clone()).collect(),
    });
    let config = PolicyConfig {
        approvals_needed: needed,
        organisations: organisations.collect(),
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    Policy::new(config).unwrap()
}

fn words(from: &Policy, to: &Policy) -> Vec<String> {
    let changes = PolicyView::of(from).changes_to(&PolicyView::of(to));
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_change_is_said_and_nothing_else() {
    let (one, two, three) = (issuer("one"), issuer("two"), issuer("three"));
    let from = policy(1, &[("Hospital", &[&one]), ("Lab", &[&two])]);
    assert!(words(&from, &from).is_empty());

    let to = policy(
        2,
        &[
            ("Hospital", &[&one, &three]),
            ("Clinic", &[&issuer("clinic")]),
        ],
    );
    let said = words(&from, &to);
    assert_eq!(said.len(), 4, "{said:?}");
    assert_eq!(
        said[0],
        "a read needs approvals of 2 of 2 organisations, and needed 1 of 2"
    );
    assert!(said[1].starts_with("Clinic comes in and may approve, with the issuer SHA-256 "));
    assert!(said[1].ends_with("valid until 2027-01-15"), "{said:?}");
    assert!(said[2].starts_with("Hospital gets another issuer: SHA-256 "));
    assert_eq!(said[3], "Lab goes and may approve no more");

    let back = words(&to, &from);
    assert!(
        back[3].starts_with("Hospital loses an issuer, "),
        "{back:?}"
    );
    // An issuer that changes hands is two changes, though the set of certificates stays the same.
    let swapped = policy(1, &[("Hospital", &[&two]), ("Lab", &[&one])]);
    assert_eq!(words(&from, &swapped).len(), 4);
}

#[test]
fn two_policies_that_differ_have_a_change() {
    let one = issuer("one");
    let from = policy(1, &[("Hospital", &[&one])]);
    let with = |max_lifetime_s, tolerance_s| {
        let config = PolicyConfig {
            approvals_needed: 1,
            organisations: from.organisations().to_vec(),
            max_lifetime_s,
            tolerance_s,
        };
        Policy::new(config).unwrap()
    };
    assert_eq!(
        words(&from, &with(600, 30)),
        ["an approval is valid for 600 s at most, and was for 300 s"]
    );
    assert_eq!(
        words(&from, &with(300, 60)),
        ["clocks may differ by 60 s, and might by 30 s"]
    );
}

#[test]
fn a_policy_that_was_written_out_reads_back_as_the_same() {
    let (one, two) = (issuer("one"), issuer("two"));
    let policy = policy(
        2,
        &[("Hos \"pital\"", &[&one, &two]), ("Lab", &[&issuer("lab")])],
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), policy_text(&policy)).unwrap();
    assert_eq!(read_policy(file.path()).unwrap().hash(), policy.hash());
}
