"""Proof files and cosignatures, made and read here; that the node's own agree is in test_nodes and test_differential."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peer.log_proof import WitnessKey, cosign, cosigners, verify_consistency_file, verify_inclusion_file
from peer.transparency import (
    Checkpoint,
    InvalidNote,
    InvalidProof,
    NoteKey,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    sign,
)

LOG, WITNESS = (Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2))
KEY = NoteKey("log.example/a", LOG.public_key().public_bytes_raw())
COSIGNER = WitnessKey("w.example", WITNESS.public_key().public_bytes_raw())
RECORDS = [f"record {i}".encode() for i in range(7)]
LEAVES = [leaf_hash(record) for record in RECORDS]


def head(size: int) -> Checkpoint:
    return Checkpoint(KEY.name, size, root(LEAVES[:size]))


def note(size: int, *cosignatures: str) -> str:
    text = str(head(size))
    return f"{text}\n{sign(text, KEY.name, LOG)}{''.join(cosignatures)}"


def lines(hashes: list[bytes]) -> str:
    return "".join(f"{base64.b64encode(each).decode()}\n" for each in hashes)


def included(index: int, size: int = 7) -> str:
    record = base64.b64encode(RECORDS[index]).decode()
    proof = lines(inclusion_proof(index, LEAVES[:size]))
    return f"c2sp.org/tlog-proof@v1\nextra {record}\nindex {index}\n{proof}\n{note(size)}"


def continued(old: int, size: int = 7) -> str:
    return f"old {old}\n{lines(consistency_proof(old, LEAVES[:size]))}\n{note(size)}"


def test_a_published_witness_key() -> None:
    """Of a public witness, as the tests of transparency-dev/formats have it."""
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    name, _, key = text.split("+", 2)
    assert str(WitnessKey(name, base64.b64decode(key)[1:])) == text


@pytest.mark.parametrize("index", range(7))
def test_inclusion(index: int) -> None:
    text = included(index)
    assert verify_inclusion_file(text, KEY)[:2] == (index, RECORDS[index])
    other = base64.b64encode(RECORDS[index - 1]).decode()
    for wrong in (
        text.replace(f"index {index}\n", f"index {(index + 1) % 7}\n"),
        text.replace(base64.b64encode(RECORDS[index]).decode(), other),
        text.replace("tlog-proof@v1", "tlog-proof@v2"),
        text.replace("\n\n", f"\n{lines([bytes(32)])}\n", 1),
        text.replace(note(7), note(6)),
    ):
        with pytest.raises((InvalidProof, InvalidNote)):
            verify_inclusion_file(wrong, KEY)


@pytest.mark.parametrize("old", range(1, 8))
def test_consistency(old: int) -> None:
    assert verify_consistency_file(continued(old), KEY, head(old))[0] == head(7)
    with pytest.raises(InvalidProof):
        verify_consistency_file(continued(old), KEY, Checkpoint(KEY.name, old, bytes(32)))
    with pytest.raises(InvalidProof):
        verify_consistency_file(continued(old), KEY, head(old % 7 + 1))


def test_cosignatures() -> None:
    text = str(head(5))
    line = cosign(text, COSIGNER.name, WITNESS, 1_679_315_147)
    assert cosigners(note(5, line), [COSIGNER]) == {"w.example": 1_679_315_147}
    assert cosigners(note(5), [COSIGNER]) == {}
    data = bytearray(base64.b64decode(line.split(" ")[2]))
    data[11] ^= 1
    dated = f"\N{EM DASH} w.example {base64.b64encode(data).decode()}\n"
    for wrong in (dated, cosign(str(head(6)), COSIGNER.name, WITNESS, 5)):
        with pytest.raises(InvalidNote):
            cosigners(note(5, wrong), [COSIGNER])
