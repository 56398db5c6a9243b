//! Merkle trees against the reference vectors of Certificate Transparency and against the definition of RFC 9162.

use certs::merkle::{
    Hash, ProofError, RangeError, Tree, empty_root, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;

/// The eight leaves of the reference implementation's tests, and the roots over the first n of them.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hash(hex: &str) -> Hash {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn reference() -> Tree {
    LEAVES
        .iter()
        .map(|leaf| leaf_hash(&hex::decode(leaf).unwrap()))
        .collect()
}

#[test]
fn reference_roots() {
    assert_eq!(
        empty_root(),
        hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    assert_eq!(Tree::new().root(), empty_root());
    let tree = reference();
    for (index, root) in ROOTS.iter().enumerate() {
        assert_eq!(
            tree.root_at(index as u64 + 1).unwrap(),
            hash(root),
            "{} leaves",
            index + 1
        );
    }
    assert_eq!(
        (tree.root_at(0).unwrap(), tree.root()),
        (empty_root(), hash(ROOTS[7]))
    );
}

#[test]
fn reference_inclusion_proofs() {
    // (leaf counting from 1, size, path), from the reference implementation's tests.
    for (leaf, size, path) in [
        (1, 1, vec![]),
        (
            1,
            8,
            vec![
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            vec![
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            3,
            3,
            vec!["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            2,
            5,
            vec![
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let path: Vec<Hash> = path.into_iter().map(hash).collect();
        let tree = reference();
        assert_eq!(
            tree.inclusion_proof(leaf - 1, size).unwrap(),
            path,
            "leaf {leaf} of {size}"
        );
        let leaf_hash = tree.leaf(leaf - 1).unwrap();
        verify_inclusion(
            &leaf_hash,
            leaf - 1,
            size,
            &path,
            &tree.root_at(size).unwrap(),
        )
        .unwrap();
    }
}

#[test]
fn reference_consistency_proofs() {
    for (old, new, path) in [
        (1, 1, vec![]),
        (
            1,
            8,
            vec![
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            vec![
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            vec![
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let path: Vec<Hash> = path.into_iter().map(hash).collect();
        let tree = reference();
        assert_eq!(
            tree.consistency_proof(old, new).unwrap(),
            path,
            "{old} to {new}"
        );
        verify_consistency(
            old,
            new,
            &path,
            &tree.root_at(old).unwrap(),
            &tree.root_at(new).unwrap(),
        )
        .unwrap();
    }
}

/// MTH of RFC 9162 section 2.1.1, word for word.
fn definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&definition(&leaves[..k]), &definition(&leaves[k..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect()
}

#[test]
fn every_proof_of_small_trees_verifies_and_no_other_does() {
    let all = leaves(36);
    let tree: Tree = all.iter().copied().collect();
    for size in 0..=36u64 {
        let root = tree.root_at(size).unwrap();
        assert_eq!(root, definition(&all[..size as usize]));
        for index in 0..size {
            let proof = tree.inclusion_proof(index, size).unwrap();
            verify_inclusion(&all[index as usize], index, size, &proof, &root).unwrap();
            for other in (0..size).filter(|other| *other != index) {
                assert!(
                    verify_inclusion(&all[index as usize], other, size, &proof, &root).is_err()
                );
            }
        }
        for old in 0..=size {
            let old_root = tree.root_at(old).unwrap();
            let proof = tree.consistency_proof(old, size).unwrap();
            verify_consistency(old, size, &proof, &old_root, &root).unwrap();
            if old > 0 {
                let rewritten = [7; 32];
                let forked = verify_consistency(old, size, &proof, &rewritten, &root);
                // A complete old tree is a node of the new one: its false root then leads to a false new root.
                let expected = if old.is_power_of_two() && old < size {
                    ProofError::Root
                } else {
                    ProofError::OldRoot
                };
                assert_eq!(forked, Err(expected), "{old} to {size}");
            }
        }
    }
}

#[test]
fn ranges_that_do_not_exist_are_refused() {
    let tree = reference();
    assert_eq!(
        tree.root_at(9),
        Err(RangeError::BeyondSize { asked: 9, size: 8 })
    );
    assert_eq!(
        tree.inclusion_proof(0, 9),
        Err(RangeError::BeyondSize { asked: 9, size: 8 })
    );
    assert_eq!(
        tree.inclusion_proof(4, 4),
        Err(RangeError::NoSuchLeaf { index: 4, size: 4 })
    );
    assert_eq!(
        tree.consistency_proof(5, 4),
        Err(RangeError::Reversed { old: 5, new: 4 })
    );
    assert_eq!(
        tree.consistency_proof(5, u64::MAX).unwrap_err(),
        RangeError::BeyondSize {
            asked: u64::MAX,
            size: 8
        }
    );
    let (root, none) = (tree.root(), RangeError::NoSuchLeaf { index: 8, size: 8 });
    assert_eq!(verify_inclusion(&root, 8, 8, &[], &root), Err(none.into()));
    assert!(verify_inclusion(&root, u64::MAX, u64::MAX, &[], &root).is_err());
    assert_eq!(
        verify_inclusion(&root, 0, u64::MAX, &vec![root; 64], &root),
        Err(ProofError::Root)
    );
    assert_eq!(
        verify_inclusion(&root, 0, u64::MAX, &vec![root; 65], &root),
        Err(ProofError::Length { given: 65 })
    );
    assert_eq!(
        verify_consistency(5, 4, &[], &root, &root)
            .unwrap_err()
            .code(),
        "proof-range"
    );
    assert!(verify_consistency(u64::MAX - 1, u64::MAX, &vec![root; 64], &root, &root).is_err());
    assert_eq!(
        verify_consistency(0, 8, &[root], &empty_root(), &root),
        Err(ProofError::Length { given: 1 })
    );
    assert_eq!(
        verify_consistency(0, 8, &[], &root, &root),
        Err(ProofError::OldRoot)
    );
    verify_consistency(0, 8, &[], &empty_root(), &root).unwrap();
}

/// Alters a proof in one of the ways there are.
fn altered(proof: &[Hash], at: usize, how: u8) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    match how {
        0 if !proof.is_empty() => {
            let at = at % proof.len();
            proof[at][at % 32] ^= 1;
        }
        1 if !proof.is_empty() => {
            proof.remove(at % proof.len());
        }
        2 if proof.len() > 1 => {
            let at = at % (proof.len() - 1);
            proof.swap(at, at + 1);
        }
        _ => proof.insert(at % (proof.len() + 1), [0x55; 32]),
    }
    proof
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn proofs_of_large_trees_verify_and_altered_ones_do_not(
        count in 1..2000u64, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(),
        at in any::<usize>(), how in 0..4u8,
    ) {
        let all = leaves(count);
        let tree: Tree = all.iter().copied().collect();
        let size = a.index(count as usize) as u64 + 1;
        let root = tree.root_at(size).unwrap();
        prop_assert_eq!(root, definition(&all[..size as usize]));

        let index = b.index(size as usize) as u64;
        let leaf = all[index as usize];
        let proof = tree.inclusion_proof(index, size).unwrap();
        prop_assert!(proof.len() as u32 <= size.next_power_of_two().ilog2());
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
        prop_assert!(verify_inclusion(&leaf, index, size, &altered(&proof, at, how), &root).is_err());
        prop_assert!(verify_inclusion(&leaf_hash(b"another"), index, size, &proof, &root).is_err());

        let old = b.index(size as usize + 1) as u64;
        let old_root = tree.root_at(old).unwrap();
        let proof = tree.consistency_proof(old, size).unwrap();
        prop_assert_eq!(verify_consistency(old, size, &proof, &old_root, &root), Ok(()));
        prop_assert!(verify_consistency(old, size, &altered(&proof, at, how), &old_root, &root).is_err());
        if old < size && old > 0 {
            prop_assert!(verify_consistency(old, size, &proof, &old_root, &leaf_hash(b"another")).is_err());
        }
    }
}
