//! Certificates of companies: paths that hold, and every way in which they do not.

use std::process::Command;

use certs::chain::{
    ChainError, PkiAuthority, certificates_from_pem, sign_statement, verify_authority, verify_chain,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose as Extended, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

const NOW: u64 = 1_800_000_000;
const STATEMENT: &[u8] = b"I am she";

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap()
}

fn key(seed: &'static rcgen::SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(seed).unwrap()
}

fn parameters(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(NOW - 1000);
    params.not_after = at(NOW + 1000);
    params
}

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str, above: Option<&Self>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = parameters(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let key = key(&rcgen::PKCS_ECDSA_P384_SHA384);
        let certificate = match above {
            Some(above) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        Self {
            der: certificate.unwrap().der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    fn anchor(&self) -> PkiAuthority {
        PkiAuthority::from_der(&self.der).unwrap()
    }
}

/// A holder's certificate and key.
fn holder(above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, KeyPair) {
    let mut params = parameters("alice");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![Extended::ClientAuth];
    change(&mut params);
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let certificate = params.signed_by(&key, &above.issuer).unwrap();
    (certificate.der().to_vec(), key)
}

fn outcome(chain: &[&[u8]], anchors: &[PkiAuthority]) -> String {
    match verify_chain(chain, anchors, NOW) {
        Ok(_) => "holds".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_path_leads_from_the_holder_to_an_anchor_and_has_what_lists_name() {
    let root = Ca::new("root", None, |_| {});
    let people = Ca::new("people", Some(&root), |_| {});
    let (alice, key) = holder(&people, |params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x7f, 1, 2]));
    });
    let chain: [&[u8]; 2] = [&alice, &people.der];
    let verified = verify_chain(&chain, &[root.anchor()], NOW).unwrap();
    assert_eq!(verified.links().len(), 2);
    assert_eq!(verified.links()[0].serial, [0x7f, 1, 2]);
    assert_eq!(verified.links()[0].issuer, people.anchor().key_hash());
    assert_eq!(verified.links()[1].issuer, root.anchor().key_hash());
    assert_eq!(verified.links()[0].not_after, NOW + 1000);

    let proof = sign_statement(&key.serialize_pem(), STATEMENT).unwrap();
    assert!(verified.is_signed(STATEMENT, &proof));
    assert!(!verified.is_signed(b"I am he", &proof));
    assert!(!verified.is_signed(STATEMENT, &proof[1..]));

    // The one between may be an anchor itself; and the root may stand in the chain.
    assert_eq!(outcome(&[&alice], &[people.anchor()]), "holds");
    let with_root: [&[u8]; 3] = [&alice, &people.der, &root.der];
    assert_eq!(outcome(&with_root, &[root.anchor()]), "holds");
}

#[test]
fn what_does_not_hold_is_refused_by_name() {
    let root = Ca::new("root", None, |_| {});
    let people = Ca::new("people", Some(&root), |_| {});
    let (alice, _) = holder(&people, |_| {});
    let anchors = [root.anchor()];
    let refused = |chain: &[&[u8]], why: &str| {
        let said = outcome(chain, &anchors);
        assert!(said.contains(why), "{said}, not {why}");
    };
    refused(&[], "0 certificates");
    refused(&[alice.as_slice(); 5], "5 certificates");
    refused(&[&alice], "by none of the registered");
    refused(&[&people.der, &alice], "an authority's, not a holder's");
    refused(&[&alice, &root.der], "not issued by the one behind");
    refused(&[&alice, &alice], "certificate 1 is no authority's");
    refused(&[&alice[1..], &people.der], "certificate 0");
    // Another authority of the same name.
    let other = Ca::new("people", Some(&root), |_| {});
    refused(&[&alice, &other.der], "not issued by the one behind");
    let stranger = Ca::new("root", None, |_| {});
    assert!(outcome(&[&alice, &people.der], &[stranger.anchor()]).contains("by none"));
    assert!(outcome(&[&alice, &people.der], &[]).contains("by none"));

    // Every byte of a chain is under a signature, or under the strict reading.
    for at in 0..alice.len() {
        let mut altered = alice.clone();
        altered[at] ^= 1;
        assert_ne!(outcome(&[&altered, &people.der], &anchors), "holds", "{at}");
    }

    let of_holder = |change: fn(&mut CertificateParams), why: &str| {
        let (der, _) = holder(&people, change);
        refused(&[&der, &people.der], why);
    };
    of_holder(|it| it.not_after = at(NOW - 1), "is valid from");
    of_holder(|it| it.not_before = at(NOW + 1), "is valid from");
    of_holder(
        |it| it.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
        "may not sign",
    );
    of_holder(
        |it| it.extended_key_usages = vec![Extended::ServerAuth],
        "not for clients",
    );
    of_holder(
        |it| {
            let mut unknown = CustomExtension::from_oid_content(&[2, 5, 29, 99], vec![5, 0]);
            unknown.set_criticality(true);
            it.custom_extensions = vec![unknown];
        },
        "2.5.29.99",
    );
    let ed25519 = |change: fn(&mut CertificateParams)| holder(&people, change).0;
    let any = ed25519(|it| it.extended_key_usages = vec![Extended::Any, Extended::ServerAuth]);
    let none = ed25519(|it| {
        it.extended_key_usages.clear();
        it.key_usages.clear();
    });
    for der in [any, none] {
        assert_eq!(outcome(&[&der, &people.der], &anchors), "holds");
    }

    let of_authority = |change: fn(&mut CertificateParams), why: &str| {
        let people = Ca::new("people", Some(&root), change);
        let (alice, _) = holder(&people, |_| {});
        refused(&[&alice, &people.der], why);
    };
    of_authority(|it| it.is_ca = IsCa::ExplicitNoCa, "is no authority's");
    of_authority(
        |it| it.key_usages = vec![KeyUsagePurpose::CrlSign],
        "may not issue certificates",
    );
    of_authority(|it| it.not_after = at(NOW - 1), "certificate 1 is valid");
    of_authority(
        |it| {
            it.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("a.example".into())],
                excluded_subtrees: Vec::new(),
            });
        },
        "2.5.29.30",
    );
    of_authority(
        |it| it.extended_key_usages = vec![Extended::CodeSigning],
        "may not issue to clients",
    );
}

#[test]
fn a_path_is_no_longer_than_its_authorities_let_it_be() {
    let constrained = |length| {
        move |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
        }
    };
    for (root_length, people_length, holds) in
        [(1, 0, true), (0, 0, false), (2, 1, true), (1, 5, true)]
    {
        let root = Ca::new("root", None, constrained(root_length));
        let people = Ca::new("people", Some(&root), constrained(people_length));
        let (alice, _) = holder(&people, |_| {});
        let said = outcome(&[&alice, &people.der], &[root.anchor()]);
        assert_eq!(
            said == "holds",
            holds,
            "{root_length} {people_length}: {said}"
        );
    }
    let root = Ca::new("root", None, |_| {});
    let people = Ca::new("people", Some(&root), constrained(0));
    let below = Ca::new("below", Some(&people), |_| {});
    let (alice, _) = holder(&below, |_| {});
    let chain: [&[u8]; 3] = [&alice, &below.der, &people.der];
    assert!(outcome(&chain, &[root.anchor()]).contains("does not reach"));
    let authority = verify_authority(&[&below.der, &people.der], &[root.anchor()], NOW);
    assert!(
        authority
            .unwrap_err()
            .to_string()
            .contains("does not reach")
    );
}

#[test]
fn anchors_count_while_they_are_valid() {
    let root = Ca::new("root", None, |it| it.not_after = at(NOW + 10));
    let (alice, _) = holder(&root, |_| {});
    let when = |now| verify_chain(&[&alice], &[root.anchor()], now).map(|_| ());
    assert_eq!(when(NOW + 10), Ok(()));
    assert_eq!(when(NOW + 11), Err(ChainError::NoAnchor));
}

#[test]
fn lists_are_their_authoritys() {
    let root = Ca::new("root", None, |_| {});
    let people = Ca::new("people", Some(&root), |_| {});
    let list = |by: &Ca| {
        let params = CertificateRevocationListParams {
            this_update: at(NOW),
            next_update: at(NOW + 60),
            crl_number: 300_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(&[9, 9]),
                revocation_time: at(NOW),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&by.issuer).unwrap().der().to_vec()
    };
    let found = verify_authority(&[&people.der], &[root.anchor()], NOW).unwrap();
    assert_eq!(found.key_hash(), people.anchor().key_hash());
    let taken = found.revocation_list(&list(&people)).unwrap();
    assert_eq!(taken.serials().collect::<Vec<_>>(), [&[9, 9]]);
    assert_eq!(taken.number(), [1, 44]);
    let code = |by: &Ca| found.revocation_list(&list(by)).unwrap_err().code();
    assert_eq!(code(&root), "revocation-list-signature");
    let mute = Ca::new("mute", None, |it| {
        it.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let refused = mute.anchor().revocation_list(&list(&root)).unwrap_err();
    assert_eq!(refused.code(), "revocation-authority-may-not-sign");
}

/// A company's PKI as companies have it: RSA roots, made by somebody else's tool.
#[test]
fn openssl_makes_paths_that_hold_with_every_kind_of_key() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("these tests need the openssl command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    };
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let extensions = "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
        [holder]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
    std::fs::write(folder.path().join("ext"), extensions).unwrap();
    let kinds: [&[&str]; 4] = [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-algorithm", "ed25519"],
    ];
    // What each kind signs with; Ed25519 has its own.
    let digests = ["-sha512", "-sha256", "-sha384", "-sha256"];
    for (number, kind) in kinds.iter().enumerate() {
        openssl(&[&["genpkey", "-out", "key"], *kind].concat());
        openssl(&[
            "req",
            "-new",
            "-key",
            "key",
            "-subj",
            "/O=Company/CN=root",
            "-out",
            "csr",
        ]);
        let ca = [
            "x509", "-req", "-in", "csr", "-signkey", "key", "-days", "30", "-extfile", "ext",
        ];
        openssl(
            &[
                &ca[..],
                &["-extensions", "ca", "-out", "root.pem", digests[number]],
            ]
            .concat(),
        );
        for holder in kinds {
            openssl(&[&["genpkey", "-out", "alice.key"], holder].concat());
            let csr = ["-subj", "/O=Company/CN=alice", "-out", "alice.csr"];
            openssl(&[&["req", "-new", "-key", "alice.key"], &csr[..]].concat());
            let sign = [
                "x509",
                "-req",
                "-in",
                "alice.csr",
                "-CA",
                "root.pem",
                "-CAkey",
                "key",
            ];
            let how = [
                "-days",
                "10",
                "-extfile",
                "ext",
                "-extensions",
                "holder",
                "-out",
                "alice.pem",
            ];
            openssl(&[&sign[..], &how[..], &[digests[number]]].concat());
            let root = &certificates_from_pem(&read("root.pem")).unwrap()[0];
            let alice = &certificates_from_pem(&read("alice.pem")).unwrap()[0];
            let anchor = PkiAuthority::from_der(root).unwrap();
            let now = OffsetDateTime::now_utc().unix_timestamp() as u64;
            let verified = verify_chain(&[alice], &[anchor], now).unwrap();
            let pem = String::from_utf8(read("alice.key")).unwrap();
            let proof = sign_statement(&pem, STATEMENT).unwrap();
            assert!(verified.is_signed(STATEMENT, &proof), "{kind:?} {holder:?}");
            // The same from the tool, as a key on a card would have it.
            std::fs::write(folder.path().join("statement"), STATEMENT).unwrap();
            match holder {
                ["-algorithm", "ed25519"] => openssl(&[
                    "pkeyutl",
                    "-sign",
                    "-rawin",
                    "-inkey",
                    "alice.key",
                    "-in",
                    "statement",
                    "-out",
                    "proof",
                ]),
                _ => {
                    let digest = if holder.contains(&"ec_paramgen_curve:P-384") {
                        "-sha384"
                    } else {
                        "-sha256"
                    };
                    openssl(&[
                        "dgst",
                        digest,
                        "-sign",
                        "alice.key",
                        "-out",
                        "proof",
                        "statement",
                    ]);
                }
            }
            assert!(verified.is_signed(STATEMENT, &read("proof")));
        }
    }
}
