//! What the issuer makes, and what it refuses to.

use crate::forge::{
    EPHEMERAL_POINT, Key, NOW, WRITE_ID, World, authority_parts, client, critical, name, tlv,
    verify,
};
use certs::{
    Algorithm, Approval, Issuer, IssuerError, Organisation, Policy, UnverifiedApproval,
    subject_public_key_info,
};

pub(crate) fn approval() -> Approval {
    Approval {
        write_id: WRITE_ID,
        ephemeral_point: EPHEMERAL_POINT,
        approval_id: "read-42".into(),
        client_spki: client().spki(),
        not_before: NOW - 5,
        not_after: NOW + 120,
    }
}

pub(crate) fn policy_of(issuer: &Issuer) -> Policy {
    let mut config = World::new().config(1);
    config.organisations = vec![Organisation {
        name: "x".into(),
        issuers: vec![issuer.certificate_der().to_vec()],
    }];
    Policy::new(config).unwrap()
}

#[test]
fn what_is_issued_is_counted_and_says_what_was_asked() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let issuer = Issuer::generate("Charité", algorithm, NOW - 100, NOW + 100_000).unwrap();
        assert_eq!(issuer.algorithm(), algorithm);
        let (first, second) = (
            issuer.issue(&approval()).unwrap(),
            issuer.issue(&approval()).unwrap(),
        );
        assert_ne!(first, second, "serial numbers are random");
        assert!(first.len() < 800, "{}", first.len());
        let parsed = UnverifiedApproval::parse(&first).unwrap();
        assert_eq!(
            (parsed.write_id(), parsed.ephemeral_point()),
            (&WRITE_ID, &EPHEMERAL_POINT)
        );
        assert_eq!(
            (parsed.not_before(), parsed.not_after()),
            (NOW - 5, NOW + 120)
        );
        assert_eq!(
            (parsed.approval_id(), parsed.client_spki()),
            ("read-42", client().spki().as_slice())
        );
        let approved = verify(&policy_of(&issuer), &[&first], NOW).unwrap();
        assert_eq!(approved.counted[0].approval_id, "read-42");
    }
}

#[test]
fn clients_keys_of_other_kinds_are_certified_in_their_very_bytes() {
    let issuer = Issuer::generate("a", Algorithm::Ed25519, NOW - 100, NOW + 100_000).unwrap();
    let spki = Key::p256().spki();
    let issued = issuer
        .issue(&Approval {
            client_spki: spki.clone(),
            ..approval()
        })
        .unwrap();
    assert_eq!(subject_public_key_info(&issued).unwrap(), spki);
    for bad in [
        vec![],
        vec![0x30, 0],
        [spki.as_slice(), &[0]].concat(),
        spki[..90].to_vec(),
    ] {
        let refused = issuer.issue(&Approval {
            client_spki: bad,
            ..approval()
        });
        assert_eq!(refused.unwrap_err(), IssuerError::ClientKey);
    }
}

#[test]
fn the_longest_id_fits() {
    let issuer = Issuer::generate(
        &"組".repeat(64),
        Algorithm::EcdsaP256,
        NOW - 100,
        NOW + 100_000,
    )
    .unwrap();
    let longest = "識".repeat(128);
    let issued = issuer
        .issue(&Approval {
            approval_id: longest.clone(),
            ..approval()
        })
        .unwrap();
    assert_eq!(
        verify(&policy_of(&issuer), &[&issued], NOW)
            .unwrap()
            .counted[0]
            .approval_id,
        longest
    );
    for bad in [String::new(), "識".repeat(129), "a\nb".into()] {
        let refused = issuer
            .issue(&Approval {
                approval_id: bad,
                ..approval()
            })
            .unwrap_err();
        assert_eq!(
            (refused.code(), refused),
            ("approval-id", IssuerError::ApprovalId)
        );
    }
}

#[test]
fn nonsense_is_not_issued() {
    let make = |name: &str, from, to| {
        Issuer::generate(name, Algorithm::Ed25519, from, to)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(make("", NOW, NOW + 1), IssuerError::Name);
    assert_eq!(make("a\u{202e}b", NOW, NOW + 1), IssuerError::Name);
    assert_eq!(make("a", NOW, NOW), IssuerError::Validity);
    assert_eq!(make("a", NOW, u64::MAX), IssuerError::Validity);
    let issuer = Issuer::generate("a", Algorithm::Ed25519, 0, 253_402_300_799).unwrap();
    for (not_before, not_after) in [
        (NOW, NOW),
        (NOW, NOW - 1),
        (NOW, u64::MAX),
        (NOW, 253_402_300_800),
    ] {
        let refused = issuer.issue(&Approval {
            not_before,
            not_after,
            ..approval()
        });
        assert_eq!(refused.unwrap_err(), IssuerError::Validity);
    }
}

#[test]
fn an_issuer_survives_its_files() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let made = Issuer::generate("a", algorithm, NOW - 100, NOW + 100_000).unwrap();
        let loaded = Issuer::from_pem(&made.certificate_pem(), &made.key_pem()).unwrap();
        assert_eq!(loaded.certificate_der(), made.certificate_der());
        assert_eq!(loaded.key_pem(), made.key_pem());
        let issued = loaded.issue(&approval()).unwrap();
        assert!(verify(&policy_of(&made), &[&issued], NOW).is_ok());
        assert!(!format!("{loaded:?}").contains("key"), "{loaded:?}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let load =
        |certificate: &str, key: &str| Issuer::from_pem(certificate, key).map(|_| ()).unwrap_err();
    let a = Issuer::generate("a", Algorithm::Ed25519, NOW, NOW + 1).unwrap();
    let b = Issuer::generate("b", Algorithm::Ed25519, NOW, NOW + 1).unwrap();
    let c = Issuer::generate("c", Algorithm::EcdsaP256, NOW, NOW + 1).unwrap();
    assert_eq!(
        load(&a.certificate_pem(), &b.key_pem()),
        IssuerError::OtherKey
    );
    assert_eq!(
        load(&a.certificate_pem(), &c.key_pem()),
        IssuerError::OtherKey
    );
    assert_eq!(
        load(&a.key_pem(), &a.key_pem()),
        IssuerError::CertificatePem
    );
    assert_eq!(
        load(&a.certificate_pem(), &a.certificate_pem()),
        IssuerError::KeyPem
    );
    assert_eq!(load("", &a.key_pem()), IssuerError::CertificatePem);
    assert_eq!(load(&a.certificate_pem(), ""), IssuerError::KeyPem);
    let encrypted = a.key_pem().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(load(&a.certificate_pem(), &encrypted), IssuerError::KeyPem);
}

#[test]
fn an_authority_that_no_policy_would_take_is_not_loaded() {
    let key = Key::ed25519(5);
    let Key::Ed25519(signing) = &key else {
        unreachable!()
    };
    let key_pem = pem::encode(&pem::Pem::new(
        "PRIVATE KEY",
        [
            hex::decode("302e020100300506032b657004220420").unwrap(),
            signing.to_bytes().to_vec(),
        ]
        .concat(),
    ));
    let load = |parts: &crate::forge::Parts| {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", parts.signed_by(&key)));
        Issuer::from_pem(&pem, &key_pem)
    };
    let good = authority_parts(&key, &name("a"));
    assert!(load(&good).is_ok());
    let leaf = good.clone().with_extension(
        crate::forge::KEY_USAGE,
        critical(crate::forge::KEY_USAGE, &[3, 2, 7, 0x80]),
    );
    assert_eq!(
        load(&leaf).map(|_| ()).unwrap_err().code(),
        "issuer-no-certificate-signing"
    );
    // Two values of one attribute, or two attributes in one set: not reproduced, so refused.
    let attribute =
        |value: &str| crate::forge::sequence(&[&[0x06, 3, 0x55, 4, 11], &tlv(0x0c, value)]);
    let twice = [tlv(0x31, attribute("x")), tlv(0x31, attribute("y"))].concat();
    let joined = tlv(0x31, [attribute("x"), attribute("y")].concat());
    for rdns in [twice, joined] {
        let subject = tlv(0x30, rdns);
        let refused = load(&authority_parts(&key, &subject))
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused, IssuerError::SubjectForm);
    }
}
