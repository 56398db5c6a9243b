//! Orphans: objects in the store that nothing here speaks of. There should be none; there are some when the list of bodies, or of uploads in
//! parts, was lost or set back.
//!
//! The store is listed first and the lists are read afterwards, so what is written meanwhile is in one of them: a note or a row is durable
//! before its object is. Whoever shares a bucket with another platform, under the same prefix, sees that one's bodies as orphans.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as ObjectPath;
use serde::Serialize;

use super::{BodyStore, BodyStoreError, Pointer};

/// Bodies of the list that are read at once.
const AT_ONCE: u32 = 10_000;

/// An object that nothing speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// Its name in the store.
    pub object: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What the store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Objects in all.
    pub objects: u64,
    /// Those that nothing speaks of, and that are old enough.
    pub orphans: Vec<Orphan>,
}

impl BodyStore {
    /// Lists the store, and what of it nothing speaks of and is older than `age`. `pieces` are read when the store was listed.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`]
    pub async fn orphans<E: From<BodyStoreError>>(
        &self,
        age: Duration,
        pieces: impl FnOnce() -> Result<HashSet<Pointer>, E>,
    ) -> Result<Orphans, E> {
        let listed = self.store.list(None).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(BodyStoreError::from)?;
        let mut known = pieces()?;
        known.extend(self.notes()?.iter().map(|note| note.pointer));
        let mut after = None;
        loop {
            let bodies = self.indexed(after, AT_ONCE).await?;
            let Some(last) = bodies.last() else {
                break;
            };
            after = Some(last.name.clone());
            known.extend(bodies.iter().map(|body| body.pointer));
        }
        let now = SystemTime::now();
        let old = |at: SystemTime| now.duration_since(at).is_ok_and(|passed| passed >= age);
        let orphan = listed.iter().filter(|object| {
            let pointer = pointer_of(&object.location);
            // What is no body was put there by somebody else.
            pointer.is_some_and(|pointer| !known.contains(&pointer))
                && old(object.last_modified.into())
        });
        let orphans = orphan.map(|object| Orphan {
            object: object.location.to_string(),
            bytes: object.size,
        });
        Ok(Orphans {
            objects: listed.len() as u64,
            orphans: orphans.collect(),
        })
    }

    /// Removes an orphan.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`]
    pub async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), BodyStoreError> {
        match self
            .store
            .delete(&ObjectPath::from(orphan.object.as_str()))
            .await
        {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// The pointer of an object that has the name of a body.
fn pointer_of(object: &ObjectPath) -> Option<Pointer> {
    let mut parts = object.parts();
    let (tenant, name) = (parts.next()?, parts.next()?);
    let bytes = hex::decode(name.as_ref()).ok()?;
    (parts.next().is_none() && hex::decode(tenant.as_ref()).ok()?.len() == 32)
        .then(|| Pointer::from_slice(&bytes))?
}
