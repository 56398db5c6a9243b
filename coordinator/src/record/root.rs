//! The state root: one hash over everything that the state holds, kept up to date change by change.
//!
//! A compressed sparse Merkle tree: a row lies under the path of its key's hash, at the shortest depth where it is alone,
//!
//! ```text
//! leaf   = SHA-256(0x00 ‖ key hash ‖ value hash)
//! branch = SHA-256(0x01 ‖ left ‖ right)         an empty side is 32 zero bytes, and so is the root of an empty state
//! ```
//!
//! The shape depends on the set of rows alone, not on the order in which they came, so peers that hold the same rows have the same
//! root. A change costs the hashes on one path, about log2(rows) of them, however large the state is; they are computed
//! when the root is asked for, so that a block of many changes hashes the upper branches once. The tree lives in memory:
//! about 150 bytes a row.

use sha2::{Digest as _, Sha256};

/// 32 bytes of SHA-256.
pub type Hash = [u8; 32];

/// The root of an empty tree, and the hash of an empty side.
const EMPTY: Hash = [0; 32];

/// The tree over all rows of a state.
#[derive(Debug, Clone, Default)]
pub(super) struct StateTree {
    root: Link,
}

type Link = Option<Box<Node>>;

#[derive(Debug, Clone)]
enum Node {
    Leaf {
        key: Hash,
        value: Hash,
    },
    Branch {
        hash: Option<Hash>,
        left: Link,
        right: Link,
    },
}

impl StateTree {
    /// Puts a row's value hash under its key hash, in place of an older one.
    pub(super) fn insert(&mut self, key: Hash, value: Hash) {
        insert(&mut self.root, 0, key, value);
    }

    /// Takes a row out, if it is there.
    pub(super) fn remove(&mut self, key: &Hash) {
        remove(&mut self.root, 0, key);
    }

    /// The root over all rows.
    pub(super) fn root(&mut self) -> Hash {
        hash(&mut self.root)
    }
}

impl StateTree {
    /// The hashes beside the path of a row, from the root down. None if there is no such row, or if the root was not asked for since
    /// the last change.
    pub(super) fn path(&self, key: &Hash) -> Option<Vec<Hash>> {
        let (mut beside, mut at) = (Vec::new(), self.root.as_deref()?);
        loop {
            match at {
                Node::Leaf { key: found, .. } => return (found == key).then_some(beside),
                Node::Branch { left, right, .. } => {
                    let (way, other) = if goes_right(key, beside.len()) {
                        (right, left)
                    } else {
                        (left, right)
                    };
                    beside.push(known(other)?);
                    at = way.as_deref()?;
                }
            }
        }
    }
}

/// The root of a tree that has this row with these hashes beside its path.
pub(super) fn root_over(key: &Hash, value: &Hash, beside: &[Hash]) -> Hash {
    let leaf = digest(0, key, value);
    let steps = beside.iter().enumerate().rev();
    steps.fold(leaf, |hash, (depth, other)| {
        if goes_right(key, depth) {
            digest(1, other, &hash)
        } else {
            digest(1, &hash, other)
        }
    })
}

fn known(link: &Link) -> Option<Hash> {
    match link.as_deref() {
        None => Some(EMPTY),
        Some(Node::Leaf { key, value }) => Some(digest(0, key, value)),
        Some(Node::Branch { hash, .. }) => *hash,
    }
}

/// Whether the path of `key` goes right at `depth`, which is below 256.
fn goes_right(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8)
        .is_some_and(|byte| byte >> (7 - depth % 8) & 1 == 1)
}

fn insert(link: &mut Link, depth: usize, key: Hash, value: Hash) {
    match link.as_deref_mut() {
        None => *link = Some(Box::new(Node::Leaf { key, value })),
        Some(Node::Leaf {
            key: other,
            value: old,
        }) => {
            if *other == key {
                *old = value;
                return;
            }
            let other_right = goes_right(other, depth);
            let leaf = link.take();
            let (mut left, mut right) = if other_right {
                (None, leaf)
            } else {
                (leaf, None)
            };
            let side = if goes_right(&key, depth) {
                &mut right
            } else {
                &mut left
            };
            insert(side, depth + 1, key, value);
            *link = Some(Box::new(Node::Branch {
                hash: None,
                left,
                right,
            }));
        }
        Some(Node::Branch { hash, left, right }) => {
            *hash = None;
            insert(
                if goes_right(&key, depth) { right } else { left },
                depth + 1,
                key,
                value,
            );
        }
    }
}

fn remove(link: &mut Link, depth: usize, key: &Hash) {
    match link.as_deref_mut() {
        Some(Node::Leaf { key: found, .. }) if found == key => *link = None,
        None | Some(Node::Leaf { .. }) => {}
        Some(Node::Branch { hash, left, right }) => {
            *hash = None;
            remove(
                if goes_right(key, depth) { right } else { left },
                depth + 1,
                key,
            );
            // A leaf left alone moves up, as if the removed row had never been there.
            let alone = match (left.as_deref(), right.as_deref()) {
                (Some(Node::Leaf { .. }), None) => left.take(),
                (None, Some(Node::Leaf { .. })) => right.take(),
                _ => return,
            };
            *link = alone;
        }
    }
}

fn hash(link: &mut Link) -> Hash {
    match link.as_deref_mut() {
        None => EMPTY,
        Some(Node::Leaf { key, value }) => digest(0, key, value),
        Some(Node::Branch {
            hash: Some(known), ..
        }) => *known,
        Some(Node::Branch {
            hash: cached,
            left,
            right,
        }) => {
            let fresh = digest(1, &hash(left), &hash(right));
            *cached = Some(fresh);
            fresh
        }
    }
}

fn digest(kind: u8, left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([kind])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The definition, without any of the bookkeeping.
    fn reference(rows: &[(Hash, Hash)], depth: usize) -> Hash {
        match rows {
            [] => EMPTY,
            [(key, value)] => digest(0, key, value),
            _ => {
                let (right, left): (Vec<_>, Vec<_>) =
                    rows.iter().partition(|(key, _)| goes_right(key, depth));
                digest(
                    1,
                    &reference(&left, depth + 1),
                    &reference(&right, depth + 1),
                )
            }
        }
    }

    /// Few distinct bits, so that long common prefixes occur.
    fn key(seed: u8) -> Hash {
        let mut key = [0; 32];
        key[0] = seed & 0x03;
        key[31] = seed;
        key
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition(changes in prop::collection::vec((0u8..32, prop::option::of(0u8..255)), 0..60)) {
            let (mut tree, mut rows) = (StateTree::default(), BTreeMap::new());
            for (seed, value) in changes {
                match value {
                    Some(value) => {
                        tree.insert(key(seed), [value; 32]);
                        rows.insert(key(seed), [value; 32]);
                    }
                    None => {
                        tree.remove(&key(seed));
                        rows.remove(&key(seed));
                    }
                }
                let listed: Vec<_> = rows.iter().map(|(key, value)| (*key, *value)).collect();
                let root = tree.root();
                prop_assert_eq!(root, reference(&listed, 0));
                for seed in 0..32 {
                    let (path, value) = (tree.path(&key(seed)), rows.get(&key(seed)));
                    prop_assert_eq!(path.is_some(), value.is_some());
                    if let Some((path, value)) = path.zip(value) {
                        prop_assert_eq!(root_over(&key(seed), value, &path), root);
                        prop_assert_ne!(root_over(&key(seed), &[255; 32], &path), root);
                    }
                }
            }
        }
    }
}
