//! Revocations that one peer knows of, and the record perhaps not yet.

use crate::record::{root::Hash, state::BoundCertificate};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

/// Certificates that authorities have revoked, by the hash of the authority's key. For this peer's approvals alone: no state depends on it.
#[derive(Debug, Default)]
pub struct FresherLists {
    revoked: RwLock<BTreeMap<Hash, BTreeSet<Vec<u8>>>>,
}

impl FresherLists {
    /// Takes an authority's list in place of the one before.
    pub fn put(&self, authority: Hash, serials: Vec<Vec<u8>>) {
        self.revoked
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(authority, serials.into_iter().collect());
    }

    /// Whether one of the certificates is revoked.
    pub(super) fn revoke(&self, certificate: &BoundCertificate) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        certificate.links.iter().any(|link| {
            revoked
                .get(&link.issuer)
                .is_some_and(|serials| serials.contains(&link.serial))
        })
    }
}
