"""A node's audit log, held against the checkpoint that the node signed (`docs/protocol/audit-log.md`).

The node remembers each share that it gave away in a record, and signs a Merkle tree over the records' bytes.
Whoever has the records, the checkpoint and the node's identity can check that nothing was left out, put in or
altered since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import cbor
from .scheme import le64
from .transparency import Checkpoint, InvalidNote, NoteKey, leaf_hash, root, verify_checkpoint

MAX_RECORD = 64 * 1024
MAGIC = b"cnaudit1"


class AuditRefused(ValueError):
    """The log is not the one that the node signed, or no log at all."""


@dataclass(frozen=True)
class Approval:
    """An approval that counted for a share."""

    approval_id: str
    organisation: str
    issuer_fingerprint: bytes


@dataclass(frozen=True)
class Record:
    """One share that a node gave: what it was asked, by whom, and who approved."""

    time_ms: int
    client: bytes
    public_key: bytes
    epoch: int
    write_id: bytes
    ephemeral_point: bytes
    approvals: tuple[Approval, ...]

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Reads a record's one encoding; these bytes are the leaf of the tree."""
        item = cbor.fields(
            cbor.decode(data, MAX_RECORD),
            epoch=int,
            client=bytes,
            time_ms=int,
            write_id=bytes,
            approvals=list,
            public_key=bytes,
            ephemeral_point=bytes,
        )
        approvals = []
        for each in item["approvals"]:
            entry = cbor.fields(each, approval_id=str, organisation=str, issuer_fingerprint=bytes)
            approvals.append(Approval(**entry))
        record = cls(**{**item, "approvals": tuple(approvals)})
        hashes = (record.client, record.public_key, record.write_id, record.ephemeral_point)
        if any(len(value) != 32 for value in (*hashes, *(a.issuer_fingerprint for a in approvals))):
            raise AuditRefused("a hash or a point in an audit record has 32 bytes")
        return record


@dataclass(frozen=True)
class OperatorRecord:
    """Something that the node's operator did: a key or a document suspended or resumed, another policy proposed or accepted."""

    action: str
    reason: str
    subject: bytes
    time_ms: int

    @classmethod
    def parse(cls, data: bytes) -> OperatorRecord:
        """Reads a record's one encoding; these bytes are the leaf of the tree."""
        item = cbor.fields(cbor.decode(data, MAX_RECORD), action=str, reason=str, subject=bytes, time_ms=int)
        record = cls(**item)
        if len(record.subject) != 32 or len(record.reason.encode()) > 1024:
            raise AuditRefused("an operator's record names 32 bytes, and gives a short reason")
        return record


def is_operators(leaf: bytes) -> bool:
    """Whether a leaf is an operator's record: the map's first key tells."""
    return leaf[1:8] == b"\x66action"


def origin_of(name: str, identity: bytes) -> str:
    """The origin of a node's log, which is also the name that its checkpoints are signed under."""
    return f"cryptonode/{name}/{identity.hex()[:16]}"


def verify_log(leaves: list[bytes], note: str, name: str, identity: bytes) -> tuple[Checkpoint, list[Record]]:
    """Checks the records' bytes against the node's signed checkpoint.

    Records behind the checkpoint's size are durable, and not signed yet: the caller compares the two numbers.
    """
    key = NoteKey(origin_of(name, identity), identity)
    try:
        head = verify_checkpoint(note, [key], 1)
    except InvalidNote as error:
        raise AuditRefused(str(error)) from error
    if head.origin != key.name:
        raise AuditRefused(f"a checkpoint of {head.origin}, not of {key.name}")
    if head.size > len(leaves):
        raise AuditRefused(f"{len(leaves)} records, and the checkpoint is over {head.size}")
    if root([leaf_hash(leaf) for leaf in leaves[: head.size]]) != head.root:
        raise AuditRefused("the records are not those that the node signed")
    for leaf in filter(is_operators, leaves):
        OperatorRecord.parse(leaf)
    return head, [Record.parse(leaf) for leaf in leaves if not is_operators(leaf)]


def verify_export(lines: Iterable[str], name: str, identity: bytes) -> tuple[Checkpoint, list[Record]]:
    """Reads what `cryptonode audit export` writes: one JSON object a record, and the checkpoint as the last one."""
    *entries, last = [json.loads(line) for line in lines]
    leaves = []
    for position, entry in enumerate(entries):
        if entry["index"] != position:
            raise AuditRefused(f"record {entry['index']} stands where record {position} belongs")
        leaves.append(bytes.fromhex(entry["leaf"]))
    return verify_log(leaves, last["checkpoint"], name, identity)


def _frames(segment: bytes, first: int) -> list[bytes]:
    """The records of one segment, which begins with record number `first`."""
    if segment[:16] != MAGIC + le64(first):
        raise AuditRefused("not a segment of an audit log, or not the one that its name says")
    records: list[bytes] = []
    position, batch = 16, 0
    # Zeros lie behind the last frame of a segment that was not closed.
    end = len(segment.rstrip(b"\0"))
    while position < end:
        head, stored = segment[position : position + 20], segment[position + 20 : position + 28]
        length, index = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:12], "little")
        record = segment[position + 28 : position + 28 + length]
        if not 1 <= length <= MAX_RECORD or len(record) != length:
            raise AuditRefused(f"the frame of record {first + len(records)} is cut off")
        if hashlib.sha256(head + record).digest()[:8] != stored or index != first + len(records):
            raise AuditRefused(f"the frame of record {first + len(records)} is damaged")
        if not batch <= int.from_bytes(head[12:], "little") <= index:
            raise AuditRefused(f"record {index} belongs to no batch")
        batch = int.from_bytes(head[12:], "little")
        records.append(record)
        position += 28 + length
    return records


def verify_folder(folder: Path, name: str, identity: bytes) -> tuple[Checkpoint, list[Record]]:
    """Reads the segments and the checkpoint of a node that has been stopped."""
    leaves: list[bytes] = []
    for path in sorted(folder.glob("*.log")):
        if path.name != f"{len(leaves):020}.log":
            raise AuditRefused(f"{path.name} does not continue {len(leaves)} records")
        leaves += _frames(path.read_bytes(), len(leaves))
    return verify_log(leaves, (folder / "checkpoint").read_text(), name, identity)
