"""Merkle trees and signed notes against published examples, and against themselves for every small size."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peer.transparency import (
    Checkpoint,
    InvalidNote,
    InvalidProof,
    NoteKey,
    SignedNote,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    sign,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)

# The eight entries, and the roots of their first 1 to 8, that the implementations of Certificate Transparency share.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]

# The example of golang.org/x/mod/sumdb/note, where signed notes come from.
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\N{EM DASH} PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots(size: int) -> None:
    assert root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_root_of_nothing() -> None:
    assert root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


LARGEST = 20
MANY = [leaf_hash(bytes([i])) for i in range(LARGEST)]


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_inclusion(size: int) -> None:
    leaves = MANY[:size]
    for index in range(size):
        proof = inclusion_proof(index, leaves)
        verify_inclusion(leaves[index], index, size, proof, root(leaves))
        refused = [
            (leaves[index], index, size, [*proof, bytes(32)], root(leaves)),
            (leaf_hash(b"another"), index, size, proof, root(leaves)),
            (leaves[index], size, size, proof, root(leaves)),
            (leaves[index], index, size, proof, bytes(32)),
        ]
        if proof:
            refused.append((leaves[index], index, size, proof[:-1], root(leaves)))
        for case in refused:
            with pytest.raises(InvalidProof):
                verify_inclusion(*case)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_consistency(size: int) -> None:
    new = root(MANY[:size])
    for old_size in range(1, size + 1):
        old = root(MANY[:old_size])
        proof = consistency_proof(old_size, MANY[:size])
        verify_consistency(old_size, old, size, new, proof)
        for case in (
            (old_size, bytes(32), size, new, proof),
            (old_size, old, size, bytes(32), proof),
            (old_size, old, size, new, [*proof, bytes(32)]),
            (0, old, size, new, proof),
            (size + 1, old, size, new, proof),
        ):
            with pytest.raises(InvalidProof):
                verify_consistency(*case)


def test_published_note_verifies() -> None:
    key = NoteKey.parse(KEY)
    assert str(key) == KEY
    assert SignedNote.parse(NOTE).verify([key]) == [key]


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("problem,", "problem."),
        NOTE.replace("x08go/Z", "x08go/Y"),
        NOTE[:-1],
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\N{EM DASH}", "-"),
        NOTE.replace("AM=", "AN="),
        NOTE.replace("you think", "you\tthink"),
        NOTE + NOTE.rpartition("\n\n")[2],
        "",
    ],
    ids=["text", "signature", "cut", "no empty line", "hyphen", "base64", "control", "signed twice", "empty"],
)
def test_altered_note_is_refused(note: str) -> None:
    with pytest.raises(InvalidNote):
        SignedNote.parse(note).verify([NoteKey.parse(KEY)])


@pytest.mark.parametrize("key", [KEY.replace("c74f20a3", "c74f20a4"), KEY.replace("Peter", "Paul"), KEY[:-4], "x"])
def test_altered_note_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidNote):
        NoteKey.parse(key)


def test_checkpoint_needs_distinct_signers() -> None:
    signers = [Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in range(3)]
    keys = [NoteKey(f"peer-{i}", key.public_key().public_bytes_raw()) for i, key in enumerate(signers)]
    checkpoint = Checkpoint("example.org/log", 8, bytes.fromhex(ROOTS[-1]))
    text = str(checkpoint)
    note = f"{text}\n{sign(text, 'peer-0', signers[0])}{sign(text, 'peer-1', signers[1])}"
    assert verify_checkpoint(note, keys, 2) == checkpoint
    with pytest.raises(InvalidNote):
        verify_checkpoint(note, keys, 3)
    one_key_two_names = [keys[0], NoteKey("again", keys[0].public_key)]
    note = f"{text}\n{sign(text, 'peer-0', signers[0])}{sign(text, 'again', signers[0])}"
    with pytest.raises(InvalidNote):
        verify_checkpoint(note, one_key_two_names, 2)


@pytest.mark.parametrize("text", ["log\n08\nAAAA\n", "log\n-1\nAAAA\n", "\n1\nAAAA\n", "log\n1\nAAAA\n", "log\n1\n"])
def test_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        Checkpoint.parse(text)
