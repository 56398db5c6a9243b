//! All that a user owns: the documents that are not erased, of those of its tenant's datasets that it is an owner of.

use super::Platform;
use crate::record::{DatasetName, DocumentName, Identifier, Role, UserName};

/// Documents that are looked at without letting go of the record.
const AT_ONCE: usize = 1000;

/// What a user owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The first of them, by name.
    pub first: Vec<DocumentName>,
    /// How many there are in all.
    pub count: u64,
}

impl Platform {
    /// What a user owns, and the names of the first `limit` of it.
    pub fn owned(&self, user: &UserName, limit: usize) -> Owned {
        let mut owned = Owned {
            first: Vec::new(),
            count: 0,
        };
        let mut after = None;
        while let Some(dataset) = self.next_owned(user, after.as_ref()) {
            self.present_in(&dataset, |document| {
                owned.count += 1;
                if owned.first.len() < limit {
                    owned.first.push(document);
                }
            });
            after = Some(dataset.dataset);
        }
        owned
    }

    fn next_owned(&self, user: &UserName, after: Option<&Identifier>) -> Option<DatasetName> {
        self.record.with_state(|state| {
            let mut datasets = state.datasets(&user.tenant, after).map(|(name, _)| name);
            let owned = datasets.find(|name| state.allows(user, name, Role::Owner));
            owned.cloned()
        })
    }

    fn present_in(&self, dataset: &DatasetName, mut take: impl FnMut(DocumentName)) {
        let mut after = None;
        loop {
            let part: Vec<(DocumentName, bool)> = self.record.with_state(|state| {
                let documents = state.documents(dataset, after.as_ref()).take(AT_ONCE);
                documents
                    .map(|(name, document)| (name.clone(), document.erased))
                    .collect()
            });
            let Some((last, _)) = part.last() else {
                return;
            };
            after = Some(last.document.clone());
            for (name, erased) in part {
                if !erased {
                    take(name);
                }
            }
        }
    }
}
