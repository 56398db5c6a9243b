//! Merkle trees of RFC 9162 section 2.1 (the trees of Certificate Transparency), with SHA-256.
//!
//! One implementation for the record and for the nodes' audit logs. A log appends leaves and publishes its root; an
//! *inclusion proof* shows that a leaf is in the tree of a given size, a *consistency proof* that the tree of a later
//! size begins with all of an earlier one, so that a log which rewrites its history is caught by whoever kept an old root.
//!
//! [`Tree`] keeps the hash of every complete, aligned subtree: 2n hashes of 32 bytes. Appending costs one hash on
//! average and at most log n; roots and proofs, at any past size, cost log n hashes. Verification needs no tree.
//!
//! Leaves and inner nodes are hashed with different prefixes (00 and 01), so neither can pass for the other.

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Hash of a leaf: SHA-256(00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(data)
        .finalize()
        .into()
}

/// Hash of an inner node: SHA-256(01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Root of the tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// What was asked of a tree that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A size beyond the tree's.
    #[error("the tree has {size} leaves; there is no tree of {asked} yet")]
    BeyondSize {
        /// The size asked for.
        asked: u64,
        /// The tree's.
        size: u64,
    },
    /// An index that is not below the size.
    #[error("a tree of {size} leaves has no leaf {index} (counting from 0)")]
    NoSuchLeaf {
        /// The index asked for.
        index: u64,
        /// The size asked for.
        size: u64,
    },
    /// An old size beyond the new one.
    #[error("a tree of {new} leaves cannot be held against an older one of {old}")]
    Reversed {
        /// The old size.
        old: u64,
        /// The new size.
        new: u64,
    },
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The sizes or the index make no sense.
    #[error("{0}")]
    Range(#[from] RangeError),
    /// More or fewer hashes than such a proof has.
    #[error("the proof has {given} hashes, which is not what a proof between these sizes has")]
    Length {
        /// How many it has.
        given: usize,
    },
    /// The leaf is not in the tree of that root, or the proof is another leaf's.
    #[error("the proof does not lead to the root")]
    Root,
    /// The older root is not the one that the newer tree contains.
    #[error(
        "the proof does not lead to the older root: the log was rewritten, or the proof is another's"
    )]
    OldRoot,
}

impl ProofError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Range(_) => "proof-range",
            Self::Length { .. } => "proof-length",
            Self::Root => "proof-root",
            Self::OldRoot => "proof-old-root",
        }
    }
}

/// An append-only tree in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[k][i]`: root of the complete subtree over the leaves i·2^k to (i+1)·2^k − 1.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the hash of a leaf; returns its index, counting from 0.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size();
        let mut hash = leaf;
        for depth in 0.. {
            if self.levels.len() == depth {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(depth) else {
                break;
            };
            level.push(hash);
            if !level.len().is_multiple_of(2) {
                break;
            }
            let [.., left, right] = level.as_slice() else {
                break;
            };
            hash = node_hash(left, right);
        }
        index
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The hash of a leaf.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.levels
            .first()?
            .get(usize::try_from(index).ok()?)
            .copied()
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.subtree(0, self.size())
    }

    /// The root over the first `size` leaves.
    ///
    /// # Errors
    /// A size beyond the tree's.
    pub fn root_at(&self, size: u64) -> Result<Hash, RangeError> {
        self.check_size(size)?;
        Ok(self.subtree(0, size))
    }

    /// Proof that leaf `index` is in the tree over the first `size` leaves (RFC 9162 section 2.1.3.1): the siblings on
    /// the way from the leaf to the root, lowest first.
    ///
    /// # Errors
    /// An index that is not below `size`, or a size beyond the tree's.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, RangeError> {
        self.check_size(size)?;
        if index >= size {
            return Err(RangeError::NoSuchLeaf { index, size });
        }
        let (mut start, mut end) = (0, size);
        let mut proof = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                proof.push(self.subtree(middle, end));
                end = middle;
            } else {
                proof.push(self.subtree(start, middle));
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// Proof that the tree over the first `new` leaves begins with the tree over the first `old` (RFC 9162 section
    /// 2.1.4.1). Empty if the sizes are equal, or if `old` is 0: everything begins with nothing.
    ///
    /// # Errors
    /// `old` beyond `new`, or `new` beyond the tree's size.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, RangeError> {
        self.check_size(new)?;
        if old > new {
            return Err(RangeError::Reversed { old, new });
        }
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let (mut start, mut end) = (0, new);
        let mut proof = Vec::new();
        // Down to the subtree that ends where the old tree ends; `start` is where the known part of it begins.
        while end != old {
            let middle = start + split(end - start);
            if old <= middle {
                proof.push(self.subtree(middle, end));
                end = middle;
            } else {
                proof.push(self.subtree(start, middle));
                start = middle;
            }
        }
        // If the old tree is that subtree, its root is known to the verifier, and not repeated.
        if start != 0 {
            proof.push(self.subtree(start, end));
        }
        proof.reverse();
        Ok(proof)
    }

    fn check_size(&self, asked: u64) -> Result<(), RangeError> {
        let size = self.size();
        if asked <= size {
            Ok(())
        } else {
            Err(RangeError::BeyondSize { asked, size })
        }
    }

    /// MTH over the leaves `start..end`, where `start` is a multiple of the largest power of two that is not above the
    /// range's length: every range that splitting a prefix of the leaves leads to. Its left parts are complete and stored.
    fn subtree(&self, start: u64, end: u64) -> Hash {
        let mut lefts = Vec::new();
        let mut start = start;
        while start < end {
            let depth = (end - start).ilog2();
            lefts.extend(self.complete(depth, start >> depth));
            start += 1 << depth;
        }
        lefts
            .into_iter()
            .rev()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }

    fn complete(&self, depth: u32, index: u64) -> Option<Hash> {
        self.levels
            .get(usize::try_from(depth).ok()?)?
            .get(usize::try_from(index).ok()?)
            .copied()
    }
}

impl Extend<Hash> for Tree {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<T: IntoIterator<Item = Hash>>(leaves: T) -> Self {
        let mut tree = Self::new();
        tree.extend(leaves);
        tree
    }
}

/// The largest power of two below `length`, which is at least 2: where RFC 9162 splits a tree.
fn split(length: u64) -> u64 {
    1 << (length - 1).ilog2()
}

/// Verifies an inclusion proof (RFC 9162 section 2.1.3.2): that the leaf with this hash is number `index` in the tree of
/// `size` leaves with this root.
///
/// # Errors
/// [`ProofError`]
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(RangeError::NoSuchLeaf { index, size }.into());
    }
    let length = ProofError::Length { given: proof.len() };
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A node without a right sibling moves up as it is, until it is a right child.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Verifies a consistency proof (RFC 9162 section 2.1.4.2): that the tree of `new` leaves with `new_root` begins with the
/// tree of `old` leaves with `old_root`.
///
/// # Errors
/// [`ProofError`]
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(RangeError::Reversed { old, new }.into());
    }
    let length = ProofError::Length { given: proof.len() };
    if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(length);
        }
        if old == 0 && *old_root != empty_root() || old == new && old_root != new_root {
            return Err(ProofError::OldRoot);
        }
        return Ok(());
    }

    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A complete old tree is itself a node of the new one, and its root begins the way up.
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(length)?
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(length);
    }
    if old_hash != *old_root {
        return Err(ProofError::OldRoot);
    }
    if new_hash == *new_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}
