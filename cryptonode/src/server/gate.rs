//! What the operator has forbidden or bounded, all of it changeable while the node serves.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use certs::Revocations;

use super::clients::Clients;
use super::refusal::Refusal;

/// The operator's word on who is served and what. The default forbids nothing.
#[derive(Debug, Default)]
pub struct Gate {
    /// Clients by their keys.
    pub clients: Clients,
    revocations: RwLock<Arc<Revocations>>,
    suspended: RwLock<Suspended>,
}

/// What is given no shares until the operator says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspended {
    /// Keys, by Y.
    pub keys: BTreeSet<[u8; 32]>,
    /// Documents, by the SHA-256 of their wrapped keys.
    pub documents: BTreeSet<[u8; 32]>,
}

impl Gate {
    /// A gate with rules for clients.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self {
            clients,
            ..Self::default()
        }
    }

    /// What authorities have taken back, as far as the node knows.
    #[must_use]
    pub fn revocations(&self) -> Arc<Revocations> {
        Arc::clone(
            &self
                .revocations
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Puts newer lists in place of those that hold.
    pub fn set_revocations(&self, revocations: Revocations) {
        *self
            .revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(revocations);
    }

    /// Changes what is suspended. It holds for every share that is not on its way yet.
    pub fn suspend(&self, change: impl FnOnce(&mut Suspended)) {
        change(
            &mut self
                .suspended
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// What is suspended now.
    #[must_use]
    pub fn suspended(&self) -> Suspended {
        self.suspended
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether shares of this key for this document may be given.
    pub(super) fn admit(&self, public_key: &[u8; 32], write_id: &[u8; 32]) -> Result<(), Refusal> {
        let suspended = self
            .suspended
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if suspended.keys.contains(public_key) {
            return Err(Refusal::KeySuspended);
        }
        if suspended.documents.contains(write_id) {
            return Err(Refusal::DocumentSuspended);
        }
        Ok(())
    }
}
