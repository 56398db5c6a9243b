//! Certificates of a company's own authority, by which users and clients are bound, and those that are shown in a handshake: any bytes, and a valid one taken
//! apart, changed field by field and signed again by its real authority. A general X.509 parser is the second opinion.

use std::sync::LazyLock;

use certs::chain::{PkiAuthority, verify_authority, verify_chain};
use certs::subject_public_key_info;
use cryptonode::tls::{certificate_key, ed25519_spki};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificates::{AUTHORITY, NOW};
use crate::der::{Content, Element, changed_and_signed_again, signed_again};
use crate::{Target, Verdict};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "company_certificate",
            run: company_certificate,
            seeds: || {
                let authority = AUTHORITY.issuer.certificate_der().to_vec();
                vec![
                    ("ok".to_owned(), HOLDER.clone()),
                    ("an-authority".to_owned(), authority),
                    ("an-approval".to_owned(), AUTHORITY.approval.clone()),
                ]
            },
        },
        Target {
            name: "tls_certificate",
            run: tls_certificate,
            seeds: || {
                let authority = AUTHORITY.issuer.certificate_der().to_vec();
                let mut seeds = vec![
                    ("ok-authority".to_owned(), authority),
                    ("ok-holder".to_owned(), HOLDER.clone()),
                    ("an-approval".to_owned(), AUTHORITY.approval.clone()),
                    ("ok-signed-again".to_owned(), b"-".to_vec()),
                ];
                for what in 0..9 {
                    seeds.push((format!("change-{what}"), vec![b'-', what, 16, 7]));
                }
                seeds
            },
        },
        Target {
            name: "company_fields",
            run: company_fields,
            seeds: || {
                let mut seeds = vec![("ok".to_owned(), Vec::new())];
                for what in 0..9 {
                    for place in [9, 20, 30] {
                        seeds.push((format!("change-{what}-{place}"), vec![what, place, 7]));
                    }
                }
                seeds
            },
        },
    ]
}

static ANCHORS: LazyLock<Vec<PkiAuthority>> = LazyLock::new(|| {
    let anchor = PkiAuthority::from_der(AUTHORITY.issuer.certificate_der());
    vec![anchor.unwrap()]
});

/// keyUsage, basicConstraints, authorityKeyIdentifier: what is left of an approval when all is taken out that makes it one.
const PLAIN: [&[u8]; 3] = [
    &[0x55, 0x1d, 0x0f],
    &[0x55, 0x1d, 0x13],
    &[0x55, 0x1d, 0x23],
];

static HOLDER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    signed_again(&AUTHORITY.approval, &AUTHORITY.key, |part| {
        let Content::Elements(fields) = &mut part.content else {
            unreachable!("a certificate has fields")
        };
        let Some(Content::Elements(outer)) = fields.last_mut().map(|it| &mut it.content) else {
            unreachable!("its extensions come last")
        };
        let Content::Elements(extensions) = &mut outer[0].content else {
            unreachable!("they are a sequence")
        };
        extensions.retain(is_plain);
    })
});

fn is_plain(extension: &Element) -> bool {
    let Content::Elements(parts) = &extension.content else {
        return false;
    };
    matches!(&parts[0].content, Content::Bytes(oid) if PLAIN.contains(&oid.as_slice()))
}

/// Holds what is accepted against the general parser's reading.
fn judge(bytes: &[u8]) -> Verdict {
    let chain = verify_chain(&[bytes], &ANCHORS, NOW).map_err(|error| error.to_string())?;
    let (rest, read) = X509Certificate::from_der(bytes).expect("x509-parser reads it");
    assert!(rest.is_empty() && !read.is_ca());
    let [link] = chain.links() else {
        panic!("{} links of one certificate", chain.links().len());
    };
    assert_eq!(link.serial, read.raw_serial());
    assert_eq!(link.issuer, ANCHORS[0].key_hash());
    assert_eq!(chain.subject(), read.subject().as_raw());
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    assert_eq!(chain.fingerprint(), digest);
    let (now, validity) = (NOW as i64, read.validity());
    assert!(validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp());
    assert_eq!(validity.not_after.timestamp(), link.not_after as i64);
    assert!(
        !chain.is_signed(b"a statement", &[0; 64]),
        "nobody signed that"
    );
    // Who may hold a certificate may not issue one.
    assert!(verify_authority(&[bytes], &ANCHORS, NOW).is_err());
    Ok(())
}

/// Any bytes as a certificate, and as an authority's.
fn company_certificate(bytes: &[u8]) -> Verdict {
    if let Ok(authority) = PkiAuthority::from_der(bytes) {
        let (rest, read) = X509Certificate::from_der(bytes).expect("x509-parser reads it");
        assert!(rest.is_empty() && read.is_ca());
        let key: [u8; 32] = Sha256::digest(read.public_key().raw).into();
        assert_eq!(authority.key_hash(), key);
    }
    let verdict = judge(bytes);
    // The signature covers all that is not refused for its form.
    assert_eq!(verdict.is_ok(), bytes == *HOLDER);
    verdict
}

/// What a stranger shows in a handshake, and a file with a member's certificate: any bytes, or (behind a `-`) a certificate changed field by field. Whatever key the
/// handshake takes it for, an approval is held against the same.
fn tls_certificate(bytes: &[u8]) -> Verdict {
    let changed;
    let bytes = match bytes.split_first() {
        Some((b'-', changes)) => {
            changed = changed_and_signed_again(&HOLDER, changes, &AUTHORITY.key);
            changed.as_slice()
        }
        _ => bytes,
    };
    let bound = subject_public_key_info(bytes);
    let shown = certificate_key(bytes).map_err(|_| "certificate".to_owned())?;
    assert_eq!(bound, Ok(ed25519_spki(&shown).as_slice()));
    if let Ok((_, read)) = X509Certificate::from_der(bytes) {
        assert_eq!(read.public_key().raw, ed25519_spki(&shown));
    }
    Ok(())
}

/// A valid certificate with some of its fields changed, signed again by its authority.
fn company_fields(changes: &[u8]) -> Verdict {
    judge(&changed_and_signed_again(&HOLDER, changes, &AUTHORITY.key))
}
