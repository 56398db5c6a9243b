//! Revocation lists: bytes that a file or a server gave. Valid ones are also taken apart, changed field by field, and signed again by
//! their real authority; a general X.509 parser is the second opinion.

use std::sync::LazyLock;

use certs::{Authority, RevocationList, revocation_list_from_pem};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::certificates::{AUTHORITY, NOW};
use crate::der::changed_and_signed_again;
use crate::{Target, Verdict};

static LISTING: LazyLock<(Authority, Vec<u8>)> = LazyLock::new(|| {
    let issuer = &AUTHORITY.issuer;
    let authority = Authority::from_der(issuer.certificate_der()).unwrap();
    let serials: [&[u8]; 3] = [&[1; 16], &[2; 16], &[0x7f; 20]];
    let list = issuer.revocation_list(&serials, 7, NOW - 60, NOW + 3_600);
    (authority, list.unwrap())
});

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "revocation_list",
            run: revocation_list,
            seeds: || vec![("ok".to_owned(), LISTING.1.clone())],
        },
        Target {
            name: "revocation_fields",
            run: revocation_fields,
            seeds: || {
                let mut seeds = vec![("ok".to_owned(), Vec::new())];
                for what in 0..9 {
                    seeds.push((format!("change-{what}"), vec![what, 10 + what * 3, 7]));
                }
                seeds
            },
        },
    ]
}

/// Reads a list, and holds what it says against the general parser's reading.
fn judge(bytes: &[u8]) -> Verdict {
    let list = RevocationList::verify(bytes, &LISTING.0).map_err(|it| it.code().to_owned())?;
    let (rest, read) = CertificateRevocationList::from_der(bytes).expect("x509-parser reads it");
    assert!(rest.is_empty());
    let mut serials: Vec<&[u8]> = read
        .iter_revoked_certificates()
        .map(|one| one.raw_serial())
        .collect();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), list.len());
    let seconds = |time: u64| i64::try_from(time).unwrap();
    assert_eq!(read.last_update().timestamp(), seconds(list.this_update()));
    let next = read.next_update().expect("it has one");
    assert_eq!(next.timestamp(), seconds(list.next_update()));
    Ok(())
}

/// Any bytes as a list, and as what an authority and a file of a list may be.
fn revocation_list(bytes: &[u8]) -> Verdict {
    let _ = (Authority::from_der(bytes), revocation_list_from_pem(bytes));
    let verdict = judge(bytes);
    // The signature covers all that is not refused for its form.
    assert_eq!(verdict.is_ok(), bytes == LISTING.1);
    verdict
}

/// A valid list with some of its fields changed, signed again by its authority.
fn revocation_fields(changes: &[u8]) -> Verdict {
    judge(&changed_and_signed_again(
        &LISTING.1,
        changes,
        &AUTHORITY.key,
    ))
}
