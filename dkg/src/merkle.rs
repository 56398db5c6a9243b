//! Merkle tree over a deal's ciphertexts, as RFC 9162 section 2.1 builds it.
//!
//! A dealer signs one root over all its ciphertexts, so that member j checks its own against the root with a path of
//! ⌈log2 n⌉ hashes and need not see the others. Leaves and nodes are hashed under different prefixes, so that a node
//! cannot be passed off as a leaf; the path's shape follows from the leaf's index and the number of leaves alone.

use sha2::{Digest, Sha256};

/// SHA-256.
pub(crate) type Hash = [u8; 32];

fn leaf(bytes: &[u8; 32]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(bytes)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// All levels of a tree, leaves first.
pub(crate) struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over `leaves`, in their order. An odd node at the end of a level is carried up unchanged, which is the
    /// tree of RFC 9162 (left subtrees full).
    pub(crate) fn new(leaves: &[[u8; 32]]) -> Self {
        let mut level: Vec<Hash> = leaves.iter().map(leaf).collect();
        let mut levels = Vec::new();
        while level.len() > 1 {
            let above = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    [last] => *last,
                    _ => [0; 32],
                })
                .collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// The root; SHA-256 of nothing for no leaves.
    pub(crate) fn root(&self) -> Hash {
        self.levels
            .last()
            .and_then(|level| level.first())
            .copied()
            .unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The siblings of leaf `index` (from 0) on the way up.
    pub(crate) fn path(&self, index: usize) -> Vec<Hash> {
        let mut position = index;
        let mut path = Vec::new();
        for level in &self.levels {
            // The carried node at the end of a level has no sibling there.
            if let Some(sibling) = level.get(position ^ 1) {
                path.push(*sibling);
            }
            position /= 2;
        }
        path
    }
}

/// Whether `path` leads from `leaf_bytes` at `index` (from 0) of `size` leaves to `root`.
pub(crate) fn verify_path(
    root: &Hash,
    leaf_bytes: &[u8; 32],
    index: usize,
    size: usize,
    path: &[Hash],
) -> bool {
    if index >= size {
        return false;
    }
    let mut hash = leaf(leaf_bytes);
    let (mut position, mut last) = (index, size - 1);
    let mut siblings = path.iter();
    while last > 0 {
        if position % 2 == 1 {
            let Some(sibling) = siblings.next() else {
                return false;
            };
            hash = node(sibling, &hash);
        } else if position < last {
            let Some(sibling) = siblings.next() else {
                return false;
            };
            hash = node(&hash, sibling);
        }
        position /= 2;
        last /= 2;
    }
    siblings.next().is_none() && hash == *root
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    /// RFC 9162 section 2.1.1, word for word: the recursion on the largest power of two below n.
    fn root_by_definition(leaves: &[[u8; 32]]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf(one),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(
                    &root_by_definition(&leaves[..split]),
                    &root_by_definition(&leaves[split..]),
                )
            }
        }
    }

    #[test]
    fn root_and_paths_for_every_size() {
        for size in 0..70usize {
            let leaves: Vec<[u8; 32]> = (0..size).map(|i| [i as u8; 32]).collect();
            let tree = Tree::new(&leaves);
            assert_eq!(tree.root(), root_by_definition(&leaves), "{size} leaves");
            for (index, leaf) in leaves.iter().enumerate() {
                let path = tree.path(index);
                assert!(verify_path(&tree.root(), leaf, index, size, &path));
                assert!(!verify_path(&tree.root(), &[255; 32], index, size, &path));
                assert!(!verify_path(&tree.root(), leaf, index + 1, size, &path));
                let longer = [path.clone(), vec![[0; 32]]].concat();
                assert!(!verify_path(&tree.root(), leaf, index, size, &longer));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!verify_path(&tree.root(), leaf, index, size, shorter));
                }
            }
        }
    }
}
