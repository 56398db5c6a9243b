//! A version's document key, wrapped anew: when the dataset got another cluster key, or a cluster key in place of the platform's.
//!
//! The owner decides by configuring the dataset; this transaction does it for one version. What is wrapped nobody can see here: an owner can
//! make a version unreadable by it, as by an erasure. The wrapped key that was there before stays in its block, and no approval can be had
//! for it any more.

use super::{
    Rules, bounded,
    document::{encryption_name, wrapping_name},
};
use crate::record::{
    event::Event,
    rejection::Rejection,
    state::Key32,
    transaction::{Encryption, KeyWrapping, MAX_WRAPPED_KEY, Rewrap, Role},
};

impl Rules<'_> {
    pub(super) fn rewrap(&mut self, it: &Rewrap) -> Result<Vec<Event>, Rejection> {
        bounded("the wrapped key", it.wrapped_key.len(), MAX_WRAPPED_KEY)?;
        let name = it.name();
        let (_, dataset) = self.permitted(&name.dataset_name(), Role::Owner)?;
        let encryption = dataset.encryption;
        let version = self.state.version(&name).cloned();
        let mut version = version.ok_or_else(|| Rejection::UnknownVersion(name.clone()))?;
        let content = version.content.as_mut();
        let content = content.ok_or_else(|| Rejection::Erased(name.to_string()))?;
        let mismatch = || Rejection::EncryptionMismatch {
            dataset: name.dataset_name(),
            configured: encryption_name(&encryption),
            found: wrapping_name(&content.key),
        };
        let Encryption::Threshold { public_key } = encryption else {
            return Err(mismatch());
        };
        let present = content.key.digest().ok_or_else(mismatch)?;
        if present != it.replaces {
            let (version, found) = (name, it.replaces);
            return Err(Rejection::KeyReplaced { version, found });
        }
        let key = self.check_wrapped_key(&name, &public_key, &it.wrapped_key, &version.writer)?;
        content.key = KeyWrapping::Threshold {
            wrapped_key: it.wrapped_key.clone(),
        };
        content.threshold = Some(key);

        let transaction = self.transaction.id();
        let state = &mut *self.state;
        state
            .write_ids
            .put(&mut state.tree, Key32(key.write_id), Key32(transaction));
        state.versions.put(&mut state.tree, name.clone(), version);
        Ok(vec![Event::Rewrapped {
            version: name,
            public_key: hex::encode(public_key),
        }])
    }
}
