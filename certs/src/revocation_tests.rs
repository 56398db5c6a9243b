#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use super::*;
use crate::{
    Approval, Binding, Organisation, Policy, PolicyConfig, Revocations, subject_public_key_info,
};

const NOW: u64 = 1_800_000_000;

struct Site {
    issuer: Issuer,
    policy: Policy,
    approval: Vec<u8>,
    spki: Vec<u8>,
}

fn site(algorithm: Algorithm) -> Site {
    let issuer = Issuer::generate("Hospital", algorithm, NOW - 60, NOW + 86_400 * 365).unwrap();
    let policy = policy(&[issuer.certificate_der().to_vec()]);
    let spki = subject_public_key_info(issuer.certificate_der())
        .unwrap()
        .to_vec();
    let approval = approval(&issuer, &spki);
    Site {
        issuer,
        policy,
        approval,
        spki,
    }
}

fn policy(issuers: &[Vec<u8>]) -> Policy {
    Policy::new(PolicyConfig {
        approvals_needed: 1,
        organisations: vec![Organisation {
            name: "Hospital".to_owned(),
            issuers: issuers.to_vec(),
        }],
        max_lifetime_s: 300,
        tolerance_s: 30,
    })
    .unwrap()
}

fn approval(issuer: &Issuer, spki: &[u8]) -> Vec<u8> {
    issuer
        .issue(&Approval {
            write_id: [1; 32],
            ephemeral_point: [2; 32],
            approval_id: "read-7".to_owned(),
            client_spki: spki.to_vec(),
            not_before: NOW,
            not_after: NOW + 120,
        })
        .unwrap()
}

impl Site {
    fn authority(&self) -> Authority {
        Authority::from_der(self.issuer.certificate_der()).unwrap()
    }

    fn list(&self, serials: &[&[u8]], number: u64, at: u64) -> RevocationList {
        let der = self
            .issuer
            .revocation_list(serials, number, at, at + 3_600)
            .unwrap();
        RevocationList::verify(&der, &self.authority()).unwrap()
    }

    /// `share`-worthy, or the code of the one refusal.
    fn outcome(&self, revocations: &Revocations, now: u64) -> &'static str {
        let binding = Binding {
            write_id: [1; 32],
            ephemeral_point: [2; 32],
            client_spki: &self.spki,
        };
        let approvals = [self.approval.as_slice()];
        match self
            .policy
            .verify_unrevoked(&approvals, &binding, now, revocations)
        {
            Ok(_) => "counted",
            Err(refused) => refused.reasons[0].1.code(),
        }
    }

    fn with(&self, list: Option<RevocationList>, max_stale_s: u64) -> Revocations {
        let mut revocations = Revocations::default();
        assert!(revocations.add(self.authority(), list, max_stale_s));
        revocations
    }
}

#[test]
fn approvals_and_issuers_are_revoked_by_their_serial_numbers() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let site = site(algorithm);
        let approval = serial_number(&site.approval).unwrap();
        let issuer = serial_number(site.issuer.certificate_der()).unwrap();
        let now = NOW + 5;
        for (serials, outcome) in [
            (vec![], "counted"),
            (vec![[9; 16].as_slice()], "counted"),
            (vec![approval], "approval-revoked"),
            (vec![issuer], "issuer-revoked"),
        ] {
            let list = site.list(&serials, 1, NOW);
            assert_eq!(list.len(), serials.len());
            assert_eq!(site.outcome(&site.with(Some(list), 0), now), outcome);
        }
        assert_eq!(site.outcome(&Revocations::default(), now), "counted");
    }
}

#[test]
fn without_a_list_of_today_nothing_counts() {
    let site = site(Algorithm::Ed25519);
    assert_eq!(
        site.outcome(&site.with(None, 86_400), NOW + 5),
        "revocation-stale"
    );
    let old = site.list(&[], 1, NOW - 7_200);
    assert_eq!(old.next_update(), NOW - 3_600);
    let late = site.with(Some(old.clone()), 3_600);
    assert_eq!(site.outcome(&late, NOW), "counted");
    assert_eq!(site.outcome(&late, NOW + 1), "revocation-stale");
    // Another organisation's authority covers nothing of this one.
    let other = Issuer::generate("Other", Algorithm::Ed25519, NOW - 60, NOW + 86_400).unwrap();
    let mut revocations = Revocations::default();
    let other = Authority::from_der(other.certificate_der()).unwrap();
    assert!(revocations.add(other, None, 0));
    assert_eq!(site.outcome(&revocations, NOW + 5), "counted");
}

#[test]
fn an_authority_above_takes_an_issuer_back() {
    // A root that signs the issuer's certificate, as an organisation with a public-key infrastructure has it.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "root");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let root_certificate = root.self_signed(&key).unwrap().der().to_vec();
    let root = rcgen::Issuer::new(root, key);
    let issuer_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut issuer = rcgen::CertificateParams::new(Vec::new()).unwrap();
    issuer
        .distinguished_name
        .push(rcgen::DnType::CommonName, "approvals");
    issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    issuer.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let issuer_certificate = issuer.signed_by(&issuer_key, &root).unwrap();
    let issuer = Issuer::from_pem(&issuer_certificate.pem(), &issuer_key.serialize_pem()).unwrap();
    let spki = subject_public_key_info(issuer.certificate_der())
        .unwrap()
        .to_vec();
    let site = Site {
        policy: policy(&[issuer.certificate_der().to_vec()]),
        approval: approval(&issuer, &spki),
        issuer,
        spki,
    };
    // The issuer may not sign lists itself.
    assert_eq!(
        Authority::from_der(site.issuer.certificate_der()).unwrap_err(),
        RevocationError::NoListSigning
    );
    let authority = Authority::from_der(&root_certificate).unwrap();
    let list = |serial: &[u8]| {
        let at = |seconds: u64| OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap();
        let list = CertificateRevocationListParams {
            this_update: at(NOW),
            next_update: at(NOW + 3_600),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: at(NOW),
                reason_code: Some(rcgen::RevocationReason::KeyCompromise),
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let der = list.signed_by(&root).unwrap();
        RevocationList::verify(der.der(), &authority).unwrap()
    };
    let issuer_serial = serial_number(site.issuer.certificate_der()).unwrap();
    for (serial, outcome) in [
        (issuer_serial, "issuer-revoked"),
        (serial_number(&site.approval).unwrap(), "counted"),
    ] {
        let mut revocations = Revocations::default();
        assert!(revocations.add(authority.clone(), Some(list(serial)), 0));
        assert_eq!(site.outcome(&revocations, NOW + 5), outcome);
    }
}

#[test]
fn lists_that_are_not_the_authoritys_are_refused() {
    let (site, other) = (site(Algorithm::EcdsaP256), site(Algorithm::EcdsaP256));
    let der = site
        .issuer
        .revocation_list(&[&[5]], 7, NOW, NOW + 60)
        .unwrap();
    assert!(RevocationList::verify(&der, &site.authority()).is_ok());
    assert_eq!(
        RevocationList::verify(&der, &other.authority()),
        Err(RevocationError::Signature)
    );
    // Every byte is under the signature, or under the strict reading.
    for position in 0..der.len() {
        let mut altered = der.clone();
        altered[position] ^= 1;
        assert!(
            RevocationList::verify(&altered, &site.authority()).is_err(),
            "byte {position} may be altered"
        );
        assert!(RevocationList::verify(&der[..position], &site.authority()).is_err());
    }
    let longer = [der.as_slice(), &[0]].concat();
    assert!(RevocationList::verify(&longer, &site.authority()).is_err());
}

#[test]
fn an_older_list_takes_no_newer_ones_place() {
    let site = site(Algorithm::Ed25519);
    let held = site.list(&[&[5]], 7, NOW);
    let replace = |number, at, now| {
        let list = site.list(&[], number, at);
        list.may_replace(Some(&held), now, 30)
            .map_err(|error| error.code())
    };
    assert_eq!(replace(8, NOW + 1, NOW + 1), Ok(()));
    assert_eq!(replace(7, NOW, NOW), Ok(()));
    assert_eq!(replace(8, NOW - 1, NOW), Err("revocation-list-older"));
    assert_eq!(replace(6, NOW + 1, NOW + 1), Err("revocation-list-older"));
    assert_eq!(replace(8, NOW + 31, NOW), Err("revocation-list-future"));
}

#[test]
fn partial_lists_are_refused() {
    let site = site(Algorithm::Ed25519);
    let at = |seconds: u64| OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap();
    let list = CertificateRevocationListParams {
        this_update: at(NOW),
        next_update: at(NOW + 60),
        crl_number: 1_u64.into(),
        issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://ca.example/crl".to_owned()],
            },
            scope: Some(rcgen::CrlScope::CaCertsOnly),
        }),
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let der = list.signed_by(&site.issuer.authority).unwrap();
    assert_eq!(
        RevocationList::verify(der.der(), &site.authority())
            .unwrap_err()
            .code(),
        "revocation-list-critical-extension"
    );
}
