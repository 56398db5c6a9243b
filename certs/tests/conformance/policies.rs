//! A policy is refused when it is made, not when it is used.

use crate::forge::{
    Authority, BASIC_CONSTRAINTS, KEY_USAGE, Key, NAME_CONSTRAINTS, NOW, Parts, World,
    authority_parts, bit_string, critical, extension, p256_spki, sequence, time, verify,
};
use certs::{IssuerDefect, KeyDefect, Organisation, Policy, PolicyConfig, PolicyError};

fn error(config: PolicyConfig) -> PolicyError {
    let error = Policy::new(config).unwrap_err();
    assert!(!error.code().is_empty() && !error.to_string().is_empty());
    error
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let world = World::new();
    assert_eq!(error(world.config(0)), PolicyError::NoApprovalsNeeded);
    assert_eq!(
        error(world.config(4)),
        PolicyError::TooManyNeeded {
            needed: 4,
            organisations: 3
        }
    );
    assert_eq!(
        error(world.config(u16::MAX)).code(),
        "policy-too-many-needed"
    );
    let mut config = world.config(1);
    config.organisations.clear();
    assert_eq!(
        error(config),
        PolicyError::TooManyNeeded {
            needed: 1,
            organisations: 0
        }
    );
}

#[test]
fn lifetimes_and_tolerances_without_bound_are_refused() {
    let with = |max_lifetime_s, tolerance_s| PolicyConfig {
        max_lifetime_s,
        tolerance_s,
        ..World::new().config(1)
    };
    assert_eq!(error(with(0, 30)), PolicyError::Lifetime { seconds: 0 });
    assert_eq!(
        error(with(u32::MAX, 30)),
        PolicyError::Lifetime { seconds: u32::MAX }
    );
    assert_eq!(
        error(with(300, 3601)),
        PolicyError::Tolerance { seconds: 3601 }
    );
    assert!(Policy::new(with(86_400, 3600)).is_ok());
    assert!(Policy::new(with(1, 0)).is_ok());
}

#[test]
fn names_are_distinct_and_printable() {
    let named = |first: &str, second: &str| {
        let mut config = World::new().config(1);
        config.organisations[0].name = first.into();
        config.organisations[1].name = second.into();
        config
    };
    assert_eq!(
        error(named("x", "x")),
        PolicyError::DuplicateName { name: "x".into() }
    );
    assert_eq!(
        error(named("Clinic", "cLINIC")),
        PolicyError::DuplicateName {
            name: "cLINIC".into()
        }
    );
    for bad in ["", " x", "x\n", "x\u{200b}", &"x".repeat(65)] {
        assert_eq!(
            error(named("x", bad)),
            PolicyError::Name { index: 1 },
            "{bad:?}"
        );
    }
    assert!(Policy::new(named("Charité", &"é".repeat(64))).is_ok());
}

#[test]
fn one_issuer_listed_twice_is_refused() {
    let world = World::new();
    let mut config = world.config(1);
    config.organisations[1]
        .issuers
        .push(world.b.certificate.clone());
    assert_eq!(
        error(config),
        PolicyError::DuplicateIssuer {
            organisation: "b".into(),
            index: 1
        }
    );
    let mut config = world.config(1);
    config.organisations[1].issuers.clear();
    assert_eq!(
        error(config),
        PolicyError::NoIssuer {
            organisation: "b".into()
        }
    );
    let mut config = world.config(1);
    config.organisations[1].issuers = vec![world.b.certificate.clone(); 9];
    assert_eq!(
        error(config),
        PolicyError::TooManyIssuers {
            organisation: "b".into(),
            count: 9
        }
    );
}

#[test]
fn one_key_in_two_organisations_is_refused() {
    let world = World::new();
    let shared = |first: &str, second: &str| PolicyError::SharedKey {
        first: first.into(),
        second: second.into(),
    };
    // The same certificate, or another one with the same key.
    let mut config = world.config(2);
    config.organisations[2].issuers = vec![world.a.certificate.clone()];
    assert_eq!(error(config), shared("a", "c"));
    for authority in [&world.a, &world.b] {
        let mut parts = authority_parts(&authority.key, &crate::forge::name("another name"));
        parts.not_after = time(NOW + 77);
        let mut config = world.config(2);
        config.organisations[2]
            .issuers
            .push(parts.signed_by(&authority.key));
        assert_eq!(error(config), shared(authority.organisation, "c"));
    }
}

#[test]
fn a_key_has_one_form() {
    // Compressed P-256 points could bring a key in a second time.
    let world = World::new();
    let Key::P256(pair) = &world.b.key else {
        unreachable!()
    };
    let point = aws_lc_rs::signature::KeyPair::public_key(pair).as_ref();
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let mut parts = authority_parts(&world.b.key, &world.b.subject);
    parts.spki = p256_spki(&compressed);
    assert_eq!(
        defect(&world, &parts),
        IssuerDefect::Key(KeyDefect::Unsupported)
    );
    // So could an Ed25519 key whose y is not reduced: y = p + 3 decodes to the point with y = 3.
    let mut encoded = [0xff; 32];
    encoded[31] = 0x7f;
    for low in 0xed..=0xff {
        encoded[0] = low;
        parts.spki = ed25519_spki(&encoded);
        let defect = defect(&world, &parts);
        assert!(
            matches!(
                defect,
                IssuerDefect::Key(KeyDefect::Invalid | KeyDefect::Weak)
            ),
            "{defect}"
        );
    }
}

fn ed25519_spki(key: &[u8; 32]) -> Vec<u8> {
    sequence(&[crate::forge::ED25519, &bit_string(key)])
}

/// What a policy has against an issuer with these parts.
fn defect(world: &World, parts: &Parts) -> IssuerDefect {
    let mut config = world.config(1);
    config.organisations[0].issuers.push(world.a.sign(parts));
    match error(config) {
        PolicyError::Issuer {
            organisation,
            index: 1,
            defect,
        } if organisation == "a" => {
            assert!(!defect.code().is_empty());
            defect
        }
        other => panic!("{other}"),
    }
}

#[test]
fn only_authorities_are_issuers() {
    let world = World::new();
    let good = authority_parts(&Key::ed25519(40), &world.a.subject);
    let with = |oid: &[u8], value: &[u8]| good.clone().with_extension(oid, critical(oid, value));
    for parts in [
        good.clone().without_extension(BASIC_CONSTRAINTS),
        with(BASIC_CONSTRAINTS, &[0x30, 0]),
        with(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0]),
        with(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 1]),
    ] {
        assert_eq!(defect(&world, &parts), IssuerDefect::NotAuthority);
    }
    for parts in [
        good.clone().without_extension(KEY_USAGE),
        with(KEY_USAGE, &[3, 2, 7, 0x80]),
        with(KEY_USAGE, &[3, 1, 0]),
    ] {
        assert_eq!(defect(&world, &parts), IssuerDefect::NoCertificateSigning);
    }
    let constrained = good
        .clone()
        .and_extension(critical(NAME_CONSTRAINTS, &[0x30, 0]));
    assert_eq!(
        defect(&world, &constrained),
        IssuerDefect::UnknownCriticalExtension {
            oid: "2.5.29.30".into()
        }
    );
    let mut reversed = good.clone();
    std::mem::swap(&mut reversed.not_before, &mut reversed.not_after);
    assert_eq!(defect(&world, &reversed), IssuerDefect::ReversedValidity);
    // Older tools do not mark these extensions critical, and bound the path.
    let mut lenient = good.with_extension(
        BASIC_CONSTRAINTS,
        extension(BASIC_CONSTRAINTS, None, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]),
    );
    lenient.not_after = time(3_000_000_000);
    let mut config = world.config(1);
    config.organisations[0].issuers.push(world.a.sign(&lenient));
    assert!(Policy::new(config).is_ok());
}

#[test]
fn keys_that_anybody_could_sign_for_are_refused() {
    let world = World::new();
    let mut parts = authority_parts(&Key::ed25519(40), &world.a.subject);
    let mut identity = [0; 32];
    identity[0] = 1;
    parts.spki = ed25519_spki(&identity);
    assert_eq!(defect(&world, &parts), IssuerDefect::Key(KeyDefect::Weak));
    parts.spki = ed25519_spki(&[0; 32]); // order 4
    assert_eq!(defect(&world, &parts), IssuerDefect::Key(KeyDefect::Weak));
    parts.spki = ed25519_spki(&[2; 32]);
    assert!(matches!(defect(&world, &parts), IssuerDefect::Key(_)));
    // Not on the curve; the point at infinity; RSA.
    parts.spki = p256_spki(&[[4].as_slice(), &[1; 64]].concat());
    assert_eq!(
        defect(&world, &parts),
        IssuerDefect::Key(KeyDefect::Invalid)
    );
    parts.spki = p256_spki(&[0]);
    assert_eq!(
        defect(&world, &parts),
        IssuerDefect::Key(KeyDefect::Unsupported)
    );
    let rsa = sequence(&[
        &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1],
        &[5, 0],
    ]);
    parts.spki = sequence(&[&rsa, &bit_string(&sequence(&[&[2, 1, 15], &[2, 1, 3]]))]);
    assert_eq!(
        defect(&world, &parts),
        IssuerDefect::Key(KeyDefect::Unsupported)
    );
}

#[test]
fn garbage_is_no_issuer() {
    let mut config = World::new().config(1);
    config.organisations[0].issuers.push(b"garbage".to_vec());
    assert_eq!(error(config).code(), "certificate-malformed");
    let mut config = World::new().config(1);
    config.organisations[0].issuers.push(vec![0x30; 5000]);
    assert_eq!(error(config).code(), "certificate-too-long");
}

#[test]
fn the_encoding_is_canonical_and_does_not_depend_on_order() {
    let world = World::new();
    let branch = Authority::new("a", Key::ed25519(9));
    let mut config = world.config(2);
    config.organisations[0]
        .issuers
        .push(branch.certificate.clone());
    let policy = Policy::new(config.clone()).unwrap();

    config.organisations.reverse();
    config.organisations[2].issuers.reverse();
    let reordered = Policy::new(config.clone()).unwrap();
    assert_eq!(
        (policy.hash(), policy.to_bytes()),
        (reordered.hash(), reordered.to_bytes())
    );
    assert_eq!(policy, reordered);
    // Reordering moves no key to another organisation.
    let approvals = [world.c.approval(), branch.approval()];
    let approved = verify(&reordered, &[&approvals[0], &approvals[1]], NOW).unwrap();
    assert_eq!(
        approved
            .counted
            .iter()
            .map(|c| c.organisation.as_str())
            .collect::<Vec<_>>(),
        ["c", "a"]
    );

    let bytes = policy.to_bytes();
    assert_eq!(Policy::from_bytes(&bytes).unwrap(), policy);
    for (change, other) in [
        (
            "m",
            PolicyConfig {
                approvals_needed: 1,
                ..config.clone()
            },
        ),
        (
            "lifetime",
            PolicyConfig {
                max_lifetime_s: 301,
                ..config.clone()
            },
        ),
        (
            "tolerance",
            PolicyConfig {
                tolerance_s: 31,
                ..config.clone()
            },
        ),
        (
            "organisations",
            PolicyConfig {
                organisations: config.organisations[..2].to_vec(),
                ..config.clone()
            },
        ),
    ] {
        assert_ne!(
            Policy::new(other).unwrap().hash(),
            policy.hash(),
            "{change} is under the hash"
        );
    }
    for cut in 0..bytes.len() {
        assert_eq!(
            Policy::from_bytes(&bytes[..cut]).unwrap_err(),
            PolicyError::Encoding
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        Policy::from_bytes(&longer).unwrap_err(),
        PolicyError::Encoding
    );
}

#[test]
fn the_encoding_has_the_documented_bytes() {
    let world = World::new();
    let mut config = world.config(1);
    config.organisations = vec![
        Organisation {
            name: "b".into(),
            issuers: vec![world.b.certificate.clone()],
        },
        Organisation {
            name: "a".into(),
            issuers: vec![world.a.certificate.clone()],
        },
    ];
    let mut expected =
        b"cryptonode/v1/policy\x01\x01\x00\x2c\x01\x00\x00\x1e\x00\x00\x00\x02\x00".to_vec();
    for (name, certificate) in [(b'a', &world.a.certificate), (b'b', &world.b.certificate)] {
        expected.extend([1, 0, name, 1, 0]);
        expected.extend(u16::try_from(certificate.len()).unwrap().to_le_bytes());
        expected.extend(certificate);
    }
    let policy = Policy::new(config).unwrap();
    assert_eq!(policy.to_bytes(), expected);
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&expected).into();
    assert_eq!(policy.hash(), hash);

    // The same policy in another order is not its encoding.
    let mut swapped = expected[..33].to_vec();
    for (name, certificate) in [(b'b', &world.b.certificate), (b'a', &world.a.certificate)] {
        swapped.extend([1, 0, name, 1, 0]);
        swapped.extend(u16::try_from(certificate.len()).unwrap().to_le_bytes());
        swapped.extend(certificate);
    }
    assert_eq!(
        Policy::from_bytes(&swapped).unwrap_err(),
        PolicyError::Encoding
    );
}

#[test]
fn issuers_come_from_pem_as_configuration_files_hold_them() {
    let world = World::new();
    let block = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
    let both = format!(
        "{}\n{}",
        block(&world.a.certificate),
        block(&world.c.certificate)
    );
    let organisation = Organisation::from_pem("x", &[both, block(&world.b.certificate)]).unwrap();
    assert_eq!(
        organisation.issuers,
        [&world.a, &world.c, &world.b].map(|a| a.certificate.clone())
    );
    for bad in [
        "",
        "no PEM",
        &pem::encode(&pem::Pem::new("PRIVATE KEY", [1, 2, 3])),
    ] {
        let error = PolicyError::Pem {
            organisation: "x".into(),
            index: 0,
        };
        assert_eq!(Organisation::from_pem("x", &[bad]).unwrap_err(), error);
    }
}

#[test]
fn issuers_can_be_watched_for_expiry() {
    let policy = World::new().policy(1);
    let issuers: Vec<_> = policy.issuers().collect();
    assert_eq!(issuers.len(), 3);
    assert!(
        issuers
            .iter()
            .any(|i| i.organisation == "b" && i.algorithm == certs::Algorithm::EcdsaP256)
    );
    assert!(issuers.iter().all(|i| i.not_after == NOW + 1_000_000));
}
