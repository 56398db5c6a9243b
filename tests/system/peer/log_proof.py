"""Proofs about a log as files, and what witnesses say of its heads: C2SP tlog-proof, tlog-witness and tlog-cosignature.

Whoever has a log's key, and not the log, checks with these that a record is in it, and that it continues a head that was
kept from earlier. A witness's cosignature says that the head is the newest that it has seen, at that time.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .node_audit import origin_of
from .transparency import (
    Checkpoint,
    InvalidNote,
    InvalidProof,
    NoteKey,
    SignedNote,
    leaf_hash,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)

COSIGNATURE = b"\x04"
"""The signature type of an Ed25519 cosignature."""
MAX_HASHES = 63
MAX_RECORD = 64 * 1024


@dataclass(frozen=True)
class WitnessKey:
    """A witness's Ed25519 key, under its name."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE + self.public_key).digest()[:4]

    @classmethod
    def of_node(cls, name: str, identity: bytes) -> WitnessKey:
        return cls(origin_of(name, identity), identity)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.public_key).decode()}"


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosign(text: str, witness: str, key: Ed25519PrivateKey, time_s: int) -> str:
    """A witness's signature line for a checkpoint's text."""
    public = WitnessKey(witness, key.public_key().public_bytes_raw())
    data = public.key_id + time_s.to_bytes(8, "big") + key.sign(_message(text, time_s))
    return f"\N{EM DASH} {witness} {base64.b64encode(data).decode()}\n"


def cosigners(note: str, witnesses: Iterable[WitnessKey]) -> dict[str, int]:
    """Who of the witnesses has cosigned, and when. One that claims to be a witness's and is false spoils the note."""
    signed = SignedNote.parse(note)
    known = {(key.name, key.key_id): key for key in witnesses}
    found: dict[str, int] = {}
    for name, key_id, data in signed.signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        time_s = int.from_bytes(data[:8], "big")
        if len(data) != 72 or time_s >= 1 << 63:
            raise InvalidNote(f"the cosignature of {name} has another form")
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(data[8:], _message(signed.text, time_s))
        except InvalidSignature as error:
            raise InvalidNote(f"the cosignature of {name} is false") from error
        found[name] = max(found.get(name, 0), time_s)
    return found


def verify_head(note: str, log: NoteKey) -> Checkpoint:
    """The head, if its log signed it."""
    head = verify_checkpoint(note, [log], 1)
    if head.origin != log.name:
        raise InvalidNote(f"a checkpoint of {head.origin}, not of {log.name}")
    return head


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidProof("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise InvalidProof("base64 has one form")
    return data


def _number(line: str, name: str) -> int:
    digits = line.removeprefix(name)
    if digits == line or not (digits.isascii() and digits.isdigit()) or str(int(digits)) != digits:
        raise InvalidProof(f"no line with {name}")
    if int(digits) >= 1 << 64:
        raise InvalidProof("a number of more than 64 bits")
    return int(digits)


def _hashes(lines: list[str]) -> list[bytes]:
    hashes = [_unbase64(line) for line in lines]
    if len(hashes) > MAX_HASHES or any(len(each) != 32 for each in hashes):
        raise InvalidProof("a proof is at most 63 hashes of 32 bytes")
    return hashes


def _parts(text: str) -> tuple[list[str], str]:
    head, separator, note = text.partition("\n\n")
    if not separator:
        raise InvalidProof("no empty line in front of a checkpoint")
    return head.split("\n"), note


def verify_inclusion_file(text: str, log: NoteKey) -> tuple[int, bytes, str]:
    """Number and bytes of the record that a tlog-proof proves, and the checkpoint's note."""
    lines, note = _parts(text)
    if lines[0] != "c2sp.org/tlog-proof@v1":
        raise InvalidProof("not a tlog-proof")
    lines = lines[1:]
    if not lines or not lines[0].startswith("extra "):
        raise InvalidProof("the proof has no record in it")
    record = _unbase64(lines[0].removeprefix("extra "))
    if not 0 < len(record) <= MAX_RECORD or len(lines) < 2:
        raise InvalidProof("no record, or too long a one")
    index = _number(lines[1], "index ")
    head = verify_head(note, log)
    verify_inclusion(leaf_hash(record), index, head.size, _hashes(lines[2:]), head.root)
    return index, record, note


def verify_consistency_file(text: str, log: NoteKey, old: Checkpoint) -> tuple[Checkpoint, str]:
    """The head that continues `old`, and its note."""
    lines, note = _parts(text)
    size = _number(lines[0], "old ")
    hashes = _hashes(lines[1:])
    head = verify_head(note, log)
    if size != old.size or head.origin != old.origin:
        raise InvalidProof("a proof from another head")
    verify_consistency(old.size, old.root, head.size, head.root, hashes)
    return head, note
