"""The reader of nodes' audit logs, on logs made here: what was changed after the signature is found."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peer import cbor
from peer.node_audit import AuditRefused, OperatorRecord, Record, origin_of, verify_export
from peer.transparency import Checkpoint, leaf_hash, root, sign

NODE = Ed25519PrivateKey.generate()
IDENTITY = NODE.public_key().public_bytes_raw()


def leaf(number: int) -> bytes:
    approval = {"approval_id": f"read-{number}", "organisation": "north", "issuer_fingerprint": bytes(32)}
    record = {
        "time_ms": 1_800_000_000_000 + number,
        "client": bytes([1]) * 32,
        "public_key": bytes([2]) * 32,
        "epoch": 0,
        "write_id": bytes([3]) * 32,
        "ephemeral_point": bytes([4]) * 32,
        "approvals": [approval],
    }
    return cbor.encode(record)


def export(leaves: list[bytes], signer: Ed25519PrivateKey = NODE, name: str = "node-1") -> list[str]:
    origin = origin_of(name, IDENTITY)
    text = str(Checkpoint(origin, len(leaves), root([leaf_hash(each) for each in leaves])))
    lines = [{"index": index, "leaf": each.hex()} for index, each in enumerate(leaves)]
    return [json.dumps(line) for line in (*lines, {"checkpoint": f"{text}\n{sign(text, origin, signer)}"})]


LEAVES = [leaf(number) for number in range(5)]


def test_log_and_checkpoint_belong_together() -> None:
    head, records = verify_export(export(LEAVES), "node-1", IDENTITY)
    assert head.size == len(records) == 5
    assert [record.approvals[0].approval_id for record in records] == [f"read-{number}" for number in range(5)]


def test_records_that_are_not_signed_yet_are_told_apart() -> None:
    head, records = verify_export([*export(LEAVES)[:-1], export(LEAVES[:4])[-1]], "node-1", IDENTITY)
    assert (head.size, len(records)) == (4, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace(LEAVES[0].hex(), LEAVES[1].hex()), *lines[1:]],
        lambda lines: [*lines[:-1], export([*LEAVES, leaf(5)])[-1]],
        lambda lines: [*lines[:-1], export(LEAVES, signer=Ed25519PrivateKey.generate())[-1]],
        lambda lines: [*lines[:-1], export(LEAVES, name="node-2")[-1]],
    ],
    ids=["first left out", "one left out", "exchanged", "replaced", "cut short", "another signer", "another node"],
)
def test_changed_log_is_found(change: Callable[[list[str]], list[str]]) -> None:
    with pytest.raises(AuditRefused):
        verify_export(change(export(LEAVES)), "node-1", IDENTITY)


def test_records_have_one_encoding() -> None:
    item = cbor.decode(LEAVES[0], 4096)
    assert Record.parse(LEAVES[0]).epoch == 0
    for wrong in ({**item, "more": 1}, {k: v for k, v in item.items() if k != "epoch"}, {**item, "epoch": "0"}):
        with pytest.raises(cbor.NotCanonical):
            Record.parse(cbor.encode(wrong))
    for damaged in (LEAVES[0] + b"\x00", LEAVES[0][:-1]):
        with pytest.raises(cbor.NotCanonical):
            Record.parse(damaged)
    with pytest.raises(AuditRefused):
        Record.parse(cbor.encode({**item, "client": bytes(31)}))


def test_words_of_the_operator_stand_between_the_shares() -> None:
    reason = "ceremony 65e78b5b for the key 0e082b40, in place of 2189250b"
    words = [
        cbor.encode({"action": action, "reason": reason, "subject": bytes([9]) * 32, "time_ms": 1_800_000_000_000})
        for action in ("propose-policy", "accept-policy", "suspend-key")
    ]
    leaves = [LEAVES[0], *words, LEAVES[1]]
    head, records = verify_export(export(leaves), "node-1", IDENTITY)
    assert (head.size, len(records)) == (5, 2)
    assert OperatorRecord.parse(words[1]).action == "accept-policy"
    with pytest.raises(AuditRefused):
        verify_export([line.replace("accept-policy".encode().hex(), "reject-policy".encode().hex()) for line in export(leaves)], "node-1", IDENTITY)
    with pytest.raises(AuditRefused):
        OperatorRecord.parse(cbor.encode({"action": "accept-policy", "reason": "x" * 1025, "subject": bytes(32), "time_ms": 1}))
