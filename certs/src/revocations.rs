//! Revocation lists held against approvals.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::certificate::Certificate;
use crate::policy::{IssuerCertificate, IssuerKey};
use crate::refusal::Refusal;
use crate::revocation::{Authority, RevocationList};
use crate::signature::Algorithm;

/// The most authorities that lists are held of.
pub const MAX_AUTHORITIES: usize = 256;

/// What a verifier holds against approvals: for each authority the newest list, and until when it is good.
#[derive(Debug, Default)]
pub struct Revocations {
    entries: Vec<Entry>,
    /// Whether an authority signed an issuer's certificate, by the authority's place and the certificate's fingerprint. Bounded by
    /// the policies that are verified with.
    signed: Mutex<BTreeMap<(usize, [u8; 32]), bool>>,
}

#[derive(Debug)]
struct Entry {
    authority: Authority,
    /// The list, and the moment from which it is stale.
    list: Option<(RevocationList, u64)>,
}

impl Revocations {
    /// Adds an authority with its list, if there is one. What it covers counts until `max_stale_s` seconds after the
    /// list's nextUpdate, and not at all without a list. Beyond [`MAX_AUTHORITIES`] nothing is added, and `false` returned.
    pub fn add(
        &mut self,
        authority: Authority,
        list: Option<RevocationList>,
        max_stale_s: u64,
    ) -> bool {
        if self.entries.len() >= MAX_AUTHORITIES {
            return false;
        }
        self.entries.push(Entry {
            authority,
            list: list.map(|list| {
                let until = list.next_update().saturating_add(max_stale_s);
                (list, until)
            }),
        });
        true
    }

    /// Whether an approval with this serial number, by this certificate of this key, counts as far as the lists go.
    pub(crate) fn check(
        &self,
        organisation: &str,
        key: &IssuerKey,
        issuer: &IssuerCertificate,
        serial: &[u8],
        now: u64,
    ) -> Result<(), Refusal> {
        for (place, entry) in self.entries.iter().enumerate() {
            let own = entry.authority.spki == key.spki;
            let over = self.has_signed(place, entry, issuer);
            if !own && !over {
                continue;
            }
            let list = match &entry.list {
                Some((list, until)) if now <= *until => list,
                _ => {
                    return Err(Refusal::RevocationStale {
                        organisation: organisation.to_owned(),
                    });
                }
            };
            if over && list.revoked.contains(issuer.serial.as_slice()) {
                return Err(Refusal::IssuerRevoked {
                    organisation: organisation.to_owned(),
                });
            }
            if own && list.revoked.contains(serial) {
                return Err(Refusal::Revoked {
                    organisation: organisation.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn has_signed(&self, place: usize, entry: &Entry, issuer: &IssuerCertificate) -> bool {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        *signed
            .entry((place, issuer.fingerprint))
            .or_insert_with(|| {
                Certificate::read(&issuer.der).is_ok_and(|certificate| {
                    certificate.issuer == entry.authority.subject
                        && Algorithm::from_identifier(certificate.algorithm)
                            == Some(entry.authority.key.algorithm())
                        && entry
                            .authority
                            .key
                            .verifies_vartime(certificate.signed_part, certificate.signature)
                })
            })
    }
}
