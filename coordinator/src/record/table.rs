//! One table of the state: rows in order, each change of which also changes the state tree.

use super::{
    hash,
    root::{self, Hash, StateTree},
};
use serde::Serialize;
use std::{collections::BTreeMap, ops::RangeBounds};

/// Rows of one kind. The name of the table is part of what the state tree holds.
#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    name: &'static str,
    rows: BTreeMap<K, V>,
}

impl<K: Ord + Serialize, V: Serialize> Table<K, V> {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.rows.range(range)
    }

    pub(super) fn put(&mut self, tree: &mut StateTree, key: K, value: V) {
        tree.insert(self.key_hash(&key), hash::tagged(hash::STATE_VALUE, &value));
        self.rows.insert(key, value);
    }

    pub(super) fn delete(&mut self, tree: &mut StateTree, key: &K) -> Option<V> {
        tree.remove(&self.key_hash(key));
        self.rows.remove(key)
    }

    /// A row, and the hashes beside its path in the state tree.
    pub(super) fn prove(&self, tree: &StateTree, key: &K) -> Option<(&V, Vec<Hash>)> {
        Some((self.get(key)?, tree.path(&self.key_hash(key))?))
    }

    fn key_hash(&self, key: &K) -> Hash {
        key_hash(self.name, key)
    }
}

fn key_hash<K: Serialize>(table: &str, key: &K) -> Hash {
    hash::tagged(hash::STATE_KEY, &(table, key))
}

/// The root of a state that has this row in this table, with these hashes beside its path.
pub(super) fn root_over<K: Serialize, V: Serialize>(
    table: &str,
    key: &K,
    value: &V,
    beside: &[Hash],
) -> Hash {
    let value = hash::tagged(hash::STATE_VALUE, value);
    root::root_over(&key_hash(table, key), &value, beside)
}
