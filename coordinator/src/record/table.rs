//! One table of the state: rows in order, each change of which also changes the state tree.

use super::{
    hash,
    root::{Hash, StateTree},
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

    fn key_hash(&self, key: &K) -> Hash {
        hash::tagged(hash::STATE_KEY, &(self.name, key))
    }
}
