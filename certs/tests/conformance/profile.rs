//! The profile's extensions: what must be there, in which form, and what must not.

use crate::forge::{
    BASIC_CONSTRAINTS, EPHEMERAL_POINT, EXT_KEY_USAGE, KEY_USAGE, NAME_CONSTRAINTS, WRITE_ID,
    World, arc, critical, extension, sequence, tlv,
};
use certs::{CertificateError, Refusal};

#[test]
fn an_unknown_critical_extension_is_refused() {
    let world = World::new();
    for oid in [
        NAME_CONSTRAINTS,
        &arc(1, 4),
        &arc(2, 1),
        &[0x55, 0x1d, 0x0e],
    ] {
        let parts = world
            .a
            .approval_parts()
            .and_extension(critical(oid, &[0x30, 0]));
        let refusal = world.refusal(&world.a.sign(&parts));
        assert_eq!(
            refusal.code(),
            "approval-unknown-critical-extension",
            "{refusal}"
        );
    }
    let parts = world
        .a
        .approval_parts()
        .and_extension(extension(&arc(1, 4), None, &[5, 0]));
    assert!(world.verify(1, &[&world.a.sign(&parts)]).is_ok());
}

#[test]
fn a_repeated_extension_is_refused() {
    let world = World::new();
    let good = world.a.approval_parts();
    for (oid, encoded) in [
        // A second write_id, before or after the first; a repetition of an extension nobody reads.
        (arc(1, 1), critical(&arc(1, 1), &tlv(0x04, [9; 32]))),
        (arc(1, 2), critical(&arc(1, 2), &tlv(0x04, EPHEMERAL_POINT))),
        (
            arc(1, 3),
            extension(&arc(1, 3), None, &tlv(0x0c, "another")),
        ),
        (
            KEY_USAGE.to_vec(),
            extension(KEY_USAGE, None, &[3, 2, 7, 0x80]),
        ),
    ] {
        let after = good.clone().and_extension(encoded.clone());
        let mut before = good.clone();
        before.extensions.insert(0, encoded);
        for parts in [before, after] {
            let Refusal::Certificate(CertificateError::RepeatedExtension { oid: named }) =
                world.refusal(&world.a.sign(&parts))
            else {
                panic!("accepted or refused for something else");
            };
            assert_eq!(
                named,
                certs::oid::Oid::from_contents(&oid).unwrap().to_string()
            );
        }
    }
    let odd = extension(&arc(9, 9), None, &[5, 0]);
    let parts = good.and_extension(odd.clone()).and_extension(odd);
    assert_eq!(
        world.refusal(&world.a.sign(&parts)).code(),
        "certificate-repeated-extension"
    );
}

#[test]
fn a_leaf_that_is_itself_an_authority_is_refused() {
    let world = World::new();
    for value in [
        [0x30u8, 3, 1, 1, 0xff].as_slice(),
        &[0x30, 6, 1, 1, 0xff, 2, 1, 0],
    ] {
        let parts = world
            .a
            .approval_parts()
            .with_extension(BASIC_CONSTRAINTS, critical(BASIC_CONSTRAINTS, value));
        assert_eq!(world.refusal(&world.a.sign(&parts)), Refusal::IsAuthority);
    }
    // An issuer's own certificate, presented as an approval.
    assert_eq!(world.refusal(&world.a.certificate), Refusal::IsAuthority);
}

#[test]
fn key_usages_beyond_the_profile_are_refused() {
    let world = World::new();
    let usage = |oid: &[u8], value: &[u8]| {
        world
            .a
            .approval_parts()
            .with_extension(oid, critical(oid, value))
    };
    // digitalSignature with keyCertSign; nothing; padded; nonRepudiation instead.
    for value in [
        [0x03u8, 2, 2, 0x84].as_slice(),
        &[3, 1, 0],
        &[3, 2, 0, 0x80],
        &[3, 3, 7, 0x80, 0],
        &[3, 2, 6, 0x40],
    ] {
        let refusal = world.refusal(&world.a.sign(&usage(KEY_USAGE, value)));
        assert_eq!(
            refusal,
            Refusal::ExtensionValue {
                extension: "keyUsage"
            },
            "{value:02x?}"
        );
    }
    let ours = tlv(0x06, arc(2, 1));
    let server = tlv(0x06, [0x2b, 6, 1, 5, 5, 7, 3, 1]);
    let any = tlv(0x06, [0x55, 0x1d, 0x25, 0]);
    let both = sequence(&[&ours, &server]);
    let twice = sequence(&[&ours, &ours]);
    for value in [
        sequence(&[&server]),
        sequence(&[&any]),
        both,
        twice,
        sequence(&[]),
        ours.clone(),
    ] {
        let refusal = world.refusal(&world.a.sign(&usage(EXT_KEY_USAGE, &value)));
        assert_eq!(
            refusal,
            Refusal::ExtensionValue {
                extension: "extKeyUsage"
            },
            "{value:02x?}"
        );
    }
}

#[test]
fn what_must_be_critical_and_what_must_be_there() {
    let world = World::new();
    let good = world.a.approval_parts();
    let values = [
        (
            EXT_KEY_USAGE.to_vec(),
            sequence(&[&tlv(0x06, arc(2, 1))]),
            "extKeyUsage",
        ),
        (arc(1, 1), tlv(0x04, WRITE_ID), "write_id"),
        (arc(1, 2), tlv(0x04, EPHEMERAL_POINT), "ephemeral point"),
        (arc(1, 3), tlv(0x0c, "read"), "approval id"),
    ];
    for (oid, value, name) in &values {
        let parts = good
            .clone()
            .with_extension(oid, extension(oid, None, value));
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            Refusal::NotCritical { extension: name }
        );
        let parts = good.clone().without_extension(oid);
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            Refusal::MissingExtension { extension: name }
        );
    }
    for (oid, value, name) in [
        (
            BASIC_CONSTRAINTS,
            [0x30u8, 0].as_slice(),
            "basicConstraints",
        ),
        (KEY_USAGE, &[3, 2, 7, 0x80], "keyUsage"),
    ] {
        let parts = good
            .clone()
            .with_extension(oid, extension(oid, None, value));
        assert!(
            world.verify(1, &[&world.a.sign(&parts)]).is_ok(),
            "{name} may be critical or not"
        );
        let parts = good.clone().without_extension(oid);
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            Refusal::MissingExtension { extension: name }
        );
    }
}

#[test]
fn approval_ids_that_would_forge_a_log_are_refused() {
    let world = World::new();
    let id = |id: &str| {
        world
            .a
            .approval_parts()
            .with_extension(&arc(1, 3), critical(&arc(1, 3), &tlv(0x0c, id)))
    };
    for bad in [
        "",
        "a\nb",
        "a\r",
        "\u{1b}[31m",
        "x\u{202e}y",
        " padded ",
        &"x".repeat(129),
    ] {
        assert_eq!(
            world.refusal(&world.a.sign(&id(bad))),
            Refusal::ApprovalId,
            "{bad:?}"
        );
    }
    let longest = "é".repeat(128);
    let approved = world.verify(1, &[&world.a.sign(&id(&longest))]).unwrap();
    assert_eq!(approved.counted[0].approval_id, longest);
    for value in [
        tlv(0x13, "printable"),
        tlv(0x0c, [0xff, 0xfe]),
        [tlv(0x0c, "a"), vec![0]].concat(),
        vec![0x0c, 0x81, 1, 0x61],
    ] {
        let parts = world
            .a
            .approval_parts()
            .with_extension(&arc(1, 3), critical(&arc(1, 3), &value));
        let expected = Refusal::ExtensionValue {
            extension: "approval id",
        };
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            expected,
            "{value:02x?}"
        );
    }
}
