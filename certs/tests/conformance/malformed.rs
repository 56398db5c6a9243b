//! One encoding for each certificate, and no panic on any bytes.

use std::sync::LazyLock;

use crate::forge::{
    BASIC_CONSTRAINTS, ECDSA_SHA256, ED25519, NOW, Parts, World, arc, bit_string, client, critical,
    extension, sequence, time, tlv, verify,
};
use certs::{
    CertificateError, Issuer, Policy, Refusal, UnverifiedApproval, subject_public_key_info,
};
use proptest::prelude::*;

fn malformed(part: &'static str) -> Refusal {
    CertificateError::Malformed { part }.into()
}

fn changed(world: &World, change: impl FnOnce(&mut Parts)) -> Refusal {
    let mut parts = world.a.approval_parts();
    change(&mut parts);
    world.refusal(&world.a.sign(&parts))
}

#[test]
fn versions_other_than_3_are_refused() {
    let world = World::new();
    for version in [
        vec![],
        vec![0xa0, 3, 2, 1, 0],
        vec![0xa0, 3, 2, 1, 1],
        vec![0xa0, 3, 2, 1, 3],
        vec![0xa0, 4, 2, 2, 0, 2],
    ] {
        assert_eq!(
            changed(&world, |p| p.version = version),
            CertificateError::Version.into()
        );
    }
}

#[test]
fn serial_numbers_are_positive_minimal_and_short() {
    let world = World::new();
    let long = tlv(2, [&[1u8][..], &[0; 20]].concat());
    for serial in [
        vec![2, 0],
        vec![2, 1, 0],
        vec![2, 1, 0x80],
        vec![2, 2, 0, 1],
        long,
    ] {
        assert_eq!(
            changed(&world, |p| p.serial = serial.clone()),
            malformed("serialNumber"),
            "{serial:02x?}"
        );
    }
    for serial in [vec![2, 2, 0, 0x80], tlv(2, [1; 20])] {
        let mut parts = world.a.approval_parts();
        parts.serial = serial;
        assert!(world.verify(1, &[&world.a.sign(&parts)]).is_ok());
    }
}

#[test]
fn both_algorithm_identifiers_are_one_of_two() {
    let world = World::new();
    assert_eq!(
        changed(&world, |p| p.outer_algorithm = ECDSA_SHA256.into()),
        CertificateError::AlgorithmMismatch.into()
    );
    assert_eq!(
        changed(&world, |p| p.inner_algorithm = ECDSA_SHA256.into()),
        CertificateError::AlgorithmMismatch.into()
    );
    let null = sequence(&[&ED25519[2..], &[5, 0]]);
    let sha1 = sequence(&[&[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]]);
    let sha384 = sequence(&[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]]);
    let rsa = sequence(&[
        &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11],
        &[5, 0],
    ]);
    for other in [null, sha1, sha384, rsa] {
        let both =
            |p: &mut Parts| (p.inner_algorithm, p.outer_algorithm) = (other.clone(), other.clone());
        assert_eq!(changed(&world, both), Refusal::SignatureAlgorithm);
    }
    // An Ed25519 signature that calls itself ECDSA is tried against no Ed25519 key.
    let ecdsa = |p: &mut Parts| {
        (p.inner_algorithm, p.outer_algorithm) = (ECDSA_SHA256.into(), ECDSA_SHA256.into())
    };
    assert_eq!(changed(&world, ecdsa), Refusal::UnknownIssuer);
}

#[test]
fn times_have_the_forms_of_rfc_5280() {
    let world = World::new();
    for bad in [
        tlv(0x17, "2701150800Z"),         // no seconds
        tlv(0x17, "270115080000+0000"),   // no Zulu
        tlv(0x18, "20270115080000Z"),     // GeneralizedTime before 2050
        tlv(0x18, "20510115080000.5Z"),   // fractions
        tlv(0x17, "271315080000Z"),       // month 13
        tlv(0x17, "270230080000Z"),       // 30 February
        tlv(0x17, "270115080060Z"),       // second 60
        tlv(0x17, "27011508000\u{661}Z"), // not ASCII
        tlv(0x0c, "270115080000Z"),
    ] {
        assert_eq!(
            changed(&world, |p| p.not_after = bad.clone()),
            malformed("notAfter"),
            "{bad:02x?}"
        );
        assert_eq!(
            changed(&world, |p| p.not_before = bad.clone()),
            malformed("notBefore"),
            "{bad:02x?}"
        );
    }
}

#[test]
fn nothing_stands_between_or_after_the_fields() {
    let world = World::new();
    assert_eq!(
        changed(&world, |p| p.after_signature = vec![5, 0]),
        malformed("Certificate")
    );
    assert_eq!(
        changed(&world, |p| p.after_extensions = vec![5, 0]),
        malformed("tbsCertificate")
    );
    assert_eq!(
        changed(&world, |p| p.unique_identifiers = vec![0x81, 2, 0, 1]),
        malformed("extensions")
    );
    assert_eq!(
        changed(&world, |p| p.unique_identifiers = vec![0x82, 2, 0, 1]),
        malformed("extensions")
    );
    let mut trailing = world.a.approval();
    trailing.extend([0, 0]);
    assert_eq!(
        world.refusal(&trailing),
        CertificateError::TrailingBytes { count: 2 }.into()
    );
}

#[test]
fn names_are_read_for_their_form() {
    let world = World::new();
    let attribute = |value: &[u8]| tlv(0x30, tlv(0x31, sequence(&[&[0x06, 3, 0x55, 4, 3], value])));
    for bad in [
        tlv(0x30, tlv(0x31, [])),
        attribute(&tlv(0x0c, [0xff])),
        attribute(&tlv(0x13, [0xff])),
        attribute(&[5, 0]),
        attribute(&[tlv(0x0c, "a"), vec![5, 0]].concat()),
        tlv(0x31, []),
        tlv(0x0c, "name"),
    ] {
        assert_eq!(
            changed(&world, |p| p.subject = bad.clone()),
            malformed("subject"),
            "{bad:02x?}"
        );
        assert_eq!(
            changed(&world, |p| p.issuer = bad.clone()),
            malformed("issuer"),
            "{bad:02x?}"
        );
    }
}

#[test]
fn extensions_are_der() {
    let world = World::new();
    let good = world.a.approval_parts();
    let mut without = good.clone();
    without.extensions.clear();
    assert_eq!(
        world.refusal(&world.a.sign(&without)),
        malformed("extensions")
    );
    // FALSE written out, TRUE as 01, a boolean of two bytes, nothing after the boolean, no OCTET STRING, more after it.
    let odd = |value: &[u8]| sequence(&[&tlv(6, arc(7, 7)), value]);
    for bad in [
        extension(&arc(7, 7), Some(0), &[5, 0]),
        extension(&arc(7, 7), Some(1), &[5, 0]),
        odd(&[1, 2, 0xff, 0xff, 4, 0]),
        odd(&[1, 1, 0xff]),
        odd(&[5, 0]),
        odd(&[4, 0, 5, 0]),
        odd(&[]),
        sequence(&[&[6, 2, 0x2b, 0x81], &[4, 0]]),
        sequence(&[&[6, 3, 0x2b, 0x80, 1], &[4, 0]]),
    ] {
        let parts = good.clone().and_extension(bad.clone());
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            malformed("extensions"),
            "{bad:02x?}"
        );
    }
    let mut many = good.clone();
    for i in 0..32 {
        many = many.and_extension(extension(&arc(8, i), None, &[]));
    }
    assert_eq!(
        world.refusal(&world.a.sign(&many)),
        CertificateError::TooManyExtensions.into()
    );
}

#[test]
fn the_bound_values_are_octet_strings_of_32_bytes() {
    let world = World::new();
    for value in [
        vec![0x11; 32],
        tlv(0x04, [0x11; 31]),
        tlv(0x04, [0x11; 33]),
        tlv(0x03, [0x11; 32]),
        tlv(0x24, tlv(0x04, [0x11; 30])),
        [tlv(0x04, [0x11; 32]), vec![0]].concat(),
        [&[0x04, 0x81, 0x20][..], &[0x11; 32]].concat(),
        tlv(0x04, tlv(0x04, [0x11; 32])),
        vec![],
    ] {
        for (oid, name) in [(arc(1, 1), "write_id"), (arc(1, 2), "ephemeral point")] {
            let parts = world
                .a
                .approval_parts()
                .with_extension(&oid, critical(&oid, &value));
            assert_eq!(
                world.refusal(&world.a.sign(&parts)),
                Refusal::ExtensionValue { extension: name }
            );
        }
    }
    for value in [
        vec![0x30, 3, 1, 1, 0],
        vec![0x30, 3, 2, 1, 0],
        vec![0x30, 0, 0],
        vec![],
        vec![0x30, 0x81, 0],
    ] {
        let parts = world
            .a
            .approval_parts()
            .with_extension(BASIC_CONSTRAINTS, critical(BASIC_CONSTRAINTS, &value));
        assert_eq!(
            world.refusal(&world.a.sign(&parts)),
            Refusal::ExtensionValue {
                extension: "basicConstraints"
            }
        );
    }
}

#[test]
fn the_outer_encoding_cannot_be_varied() {
    let world = World::new();
    let approval = world.a.approval();
    let parsed = x509_parser::parse_x509_certificate(&approval).unwrap().1;
    let (signed_part, signature) = (
        parsed.tbs_certificate.as_ref(),
        parsed.signature_value.data.to_vec(),
    );
    let assemble = |parts: &[&[u8]]| sequence(parts);
    assert_eq!(
        assemble(&[signed_part, ED25519, &bit_string(&signature)]),
        approval
    );
    let unused_bits = tlv(3, [&[1], signature.as_slice()].concat());
    assert_eq!(
        world
            .refusal(&assemble(&[signed_part, ED25519, &unused_bits]))
            .code(),
        "certificate-malformed"
    );
    let longer = bit_string(&[signature.as_slice(), &[0]].concat());
    assert_eq!(
        world.refusal(&assemble(&[signed_part, ED25519, &longer])),
        Refusal::UnknownIssuer
    );
    // Lengths in more bytes than needed, or of no definite value.
    let contents = &approval[4..];
    for header in [
        vec![0x30, 0x83, 0, approval[2], approval[3]],
        vec![0x30, 0x80],
    ] {
        let mut varied = [header.as_slice(), contents].concat();
        if header[1] == 0x80 {
            varied.extend([0, 0]);
        }
        assert_eq!(world.refusal(&varied).code(), "certificate-malformed");
    }
    // s + ℓ is the same s to a careless verifier.
    let mut shifted = signature.clone();
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    for (byte, add) in shifted[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    let refusal = world.refusal(&assemble(&[signed_part, ED25519, &bit_string(&shifted)]));
    assert_eq!(refusal, Refusal::UnknownIssuer);
}

#[test]
fn oversized_certificates_are_refused_unread() {
    let world = World::new();
    let filled = |filler: usize| {
        let parts =
            world
                .a
                .approval_parts()
                .and_extension(extension(&arc(7, 7), None, &vec![0; filler]));
        world.a.sign(&parts)
    };
    let overhead = filled(3000).len() - 3000;
    assert_eq!(filled(4096 - overhead).len(), 4096);
    assert!(world.verify(1, &[&filled(4096 - overhead)]).is_ok());
    let refusal = world.refusal(&filled(4097 - overhead));
    assert_eq!(refusal, CertificateError::TooLong { length: 4097 }.into());
    assert_eq!(
        world.refusal(&vec![0x30; 1 << 20]),
        CertificateError::TooLong { length: 1 << 20 }.into()
    );
}

#[test]
fn garbage_is_refused() {
    let world = World::new();
    for garbage in [
        b"".as_slice(),
        b"\x30",
        b"garbage",
        b"-----BEGIN CERTIFICATE-----",
        &[0xff; 600],
        &[0x30; 600],
        &[0; 600],
    ] {
        let code = world.refusal(garbage).code();
        assert!(
            ["certificate-malformed", "certificate-trailing-bytes"].contains(&code),
            "{code}"
        );
    }
    // Nested as deep as 4 KiB allow.
    let mut nested = Vec::new();
    while nested.len() < 4090 {
        nested = tlv(0x30, nested);
    }
    assert_eq!(world.refusal(&nested).code(), "certificate-malformed");
}

#[test]
fn truncated_at_every_byte_it_is_refused() {
    let world = World::new();
    for approval in [world.a.approval(), world.b.approval()] {
        for cut in 0..approval.len() {
            assert_eq!(
                world.refusal(&approval[..cut]).code(),
                "certificate-malformed",
                "cut at {cut}"
            );
            let _ = subject_public_key_info(&approval[..cut]);
        }
    }
}

#[test]
fn every_bit_of_an_approval_is_covered() {
    let world = World::new();
    let policy = world.policy(1);
    for approval in [world.a.approval(), world.b.approval()] {
        for position in 0..approval.len() {
            for bit in 0..8 {
                let mut flipped = approval.clone();
                flipped[position] ^= 1 << bit;
                assert!(
                    verify(&policy, &[&flipped], NOW).is_err(),
                    "byte {position}, bit {bit}"
                );
            }
        }
    }
}

/// A policy, and approvals as our own issuers make them.
static ISSUED: LazyLock<(Policy, [Vec<u8>; 2])> = LazyLock::new(|| {
    let algorithms = [certs::Algorithm::Ed25519, certs::Algorithm::EcdsaP256];
    let issuers =
        algorithms.map(|algorithm| Issuer::generate("a", algorithm, NOW - 10, NOW + 1000).unwrap());
    let approval = certs::Approval {
        write_id: crate::forge::WRITE_ID,
        ephemeral_point: crate::forge::EPHEMERAL_POINT,
        approval_id: "read-1".into(),
        client_spki: client().spki(),
        not_before: NOW,
        not_after: NOW + 100,
    };
    let mut config = World::new().config(1);
    config.organisations.truncate(1);
    config.organisations[0].issuers = issuers
        .iter()
        .map(|issuer| issuer.certificate_der().to_vec())
        .collect();
    (
        Policy::new(config).unwrap(),
        [0, 1].map(|i: usize| issuers[i].issue(&approval).unwrap()),
    )
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mutated_approvals_are_refused(
        which in 0..2usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4),
    ) {
        let (policy, approvals) = &*ISSUED;
        let mut bytes = approvals[which].clone();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        prop_assume!(bytes != approvals[which]);
        prop_assert!(verify(policy, &[&bytes], NOW).is_err());
        let _ = subject_public_key_info(&bytes);
    }

    /// Whatever we read as an approval, another parser reads alike.
    #[test]
    fn mutated_signed_parts_are_read_as_others_read_them(
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let (_, approvals) = &*ISSUED;
        let mut bytes = approvals[0].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(ours) = UnverifiedApproval::parse(&bytes) {
            let (rest, theirs) = x509_parser::parse_x509_certificate(&bytes).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(theirs.validity().not_after.timestamp(), i64::try_from(ours.not_after()).unwrap());
            prop_assert_eq!(theirs.validity().not_before.timestamp(), i64::try_from(ours.not_before()).unwrap());
            prop_assert_eq!(theirs.public_key().raw, ours.client_spki());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        prop_assert!(UnverifiedApproval::parse(&bytes).is_err());
        let _ = subject_public_key_info(&bytes);
        prop_assert!(Policy::from_bytes(&bytes).is_err());
    }
}

#[test]
fn the_clients_key_is_found_in_any_certificate() {
    let world = World::new();
    assert_eq!(
        subject_public_key_info(&world.a.approval()).unwrap(),
        client().spki()
    );
    // Version 1, whatever else it is.
    let mut parts = world.a.approval_parts();
    parts.version.clear();
    parts.not_after = time(NOW);
    assert_eq!(
        subject_public_key_info(&world.a.sign(&parts)).unwrap(),
        client().spki()
    );
    assert_eq!(
        subject_public_key_info(&world.b.certificate).unwrap(),
        world.b.key.spki()
    );
    assert!(subject_public_key_info(b"garbage").is_err());
}
