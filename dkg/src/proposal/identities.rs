//! Identities that a node has decoded before.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;

use crate::signature;

/// Identities that have been decoded once: those of the members that a node's configuration names. Of a proposal that lists them, as nearly every
/// one does, nothing is decoded again; what is not among them is. Whether a proposal is valid does not depend on them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KnownIdentities(Arc<BTreeMap<[u8; 32], VerifyingKey>>);

impl KnownIdentities {
    /// Decodes identities; what is none is left out.
    pub fn of<'a>(identities: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let decoded = identities
            .into_iter()
            .filter_map(|bytes| Some((*bytes, signature::identity_key(bytes)?)));
        Self(Arc::new(decoded.collect()))
    }

    /// The key with these bytes; decoded now, if it is not known.
    pub(crate) fn key(&self, bytes: &[u8; 32]) -> Option<VerifyingKey> {
        let known = self.0.get(bytes).copied();
        known.or_else(|| signature::identity_key(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    #[test]
    fn what_is_known_is_what_would_be_decoded() {
        let good = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        let other = ed25519_dalek::SigningKey::from_bytes(&[2; 32]).verifying_key();
        // Of small order, and no point at all.
        let (mut weak, none) = ([0; 32], [2; 32]);
        weak[0] = 1;
        assert!(VerifyingKey::from_bytes(&weak).is_ok());
        let known = KnownIdentities::of([good.as_bytes(), &weak, &none]);
        assert_eq!(known.0.len(), 1);
        for key in [&good, &other] {
            assert_eq!(known.key(key.as_bytes()).unwrap(), *key);
        }
        assert_eq!((known.key(&weak), known.key(&none)), (None, None));
    }
}
