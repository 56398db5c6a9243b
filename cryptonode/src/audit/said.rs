//! What the log says of the node itself, apart from the shares: a store that knows less is an older one.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::OperatorRecord;
use super::record::epoch_and_key;

/// What a log's records say of the state that the node must have had when it wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The highest epoch in which a share of each key was given.
    pub epochs: BTreeMap<[u8; 32], u64>,
    /// The keys that the operator's last word suspended.
    pub suspended_keys: BTreeSet<[u8; 32]>,
    /// Likewise the documents.
    pub suspended_documents: BTreeSet<[u8; 32]>,
}

impl Said {
    /// Takes notice of the next record. Every record of the log passes here at every start, so that those of shares are not decoded.
    pub(super) fn note(&mut self, record: &[u8]) {
        if let Some((epoch, key)) = epoch_and_key(record) {
            let highest = self.epochs.entry(key).or_default();
            *highest = epoch.max(*highest);
            return;
        }
        let Ok(word) = OperatorRecord::from_bytes(record) else {
            return;
        };
        match word.action.as_str() {
            "suspend-key" => drop(self.suspended_keys.insert(word.subject)),
            "resume-key" => drop(self.suspended_keys.remove(&word.subject)),
            "suspend-document" => drop(self.suspended_documents.insert(word.subject)),
            "resume-document" => drop(self.suspended_documents.remove(&word.subject)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::audit::AuditRecord;

    fn share(epoch: u64, key: u8) -> Vec<u8> {
        let record = AuditRecord {
            epoch,
            client: [1; 32],
            time_ms: 1_800_000_000_000,
            write_id: [2; 32],
            approvals: Vec::new(),
            public_key: [key; 32],
            ephemeral_point: [4; 32],
        };
        record.to_bytes().unwrap()
    }

    fn word(action: &str, subject: u8) -> Vec<u8> {
        let record = OperatorRecord {
            action: action.to_owned(),
            reason: String::new(),
            subject: [subject; 32],
            time_ms: 1_800_000_000_000,
        };
        record.to_bytes().unwrap()
    }

    #[test]
    fn the_last_word_and_the_highest_epoch_count() {
        let mut said = Said::default();
        for record in [
            share(0, 3),
            // Epochs whose encodings have other lengths.
            share(70_000, 3),
            share(24, 3),
            share(300, 5),
            word("suspend-key", 3),
            word("suspend-key", 5),
            word("resume-key", 3),
            word("suspend-document", 9),
            word("accept-policy", 7),
        ] {
            said.note(&record);
        }
        assert_eq!(
            said.epochs,
            BTreeMap::from([([3; 32], 70_000), ([5; 32], 300)])
        );
        assert_eq!(said.suspended_keys, BTreeSet::from([[5; 32]]));
        assert_eq!(said.suspended_documents, BTreeSet::from([[9; 32]]));
    }
}
