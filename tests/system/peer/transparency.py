"""Merkle trees (RFC 9162, section 2.1) and their signed heads (C2SP signed-note and tlog-checkpoint).

The golden record and every node's audit log are append-only lists. A checkpoint is a short text that names a log, its
size and its Merkle root, with one signature line for each signer. Who holds a checkpoint can check that an entry is in
the list (inclusion) and that a later list continues an earlier one (consistency), without trusting whoever serves it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE = 64 * 1024
ED25519 = b"\x01"
"""The signature type of a plain Ed25519 note key."""


class InvalidProof(ValueError):
    """A Merkle proof that does not lead to the root."""


class InvalidNote(ValueError):
    """A text that is no signed note, no checkpoint, or not signed by whom it must be."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two smaller than size."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH of section 2.1.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return node_hash(root(leaves[:k]), root(leaves[k:]))


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(index, leaves[:k]), root(leaves[k:])]
    return [*inclusion_proof(index - k, leaves[k:]), root(leaves[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Section 2.1.3.2."""
    if index >= size:
        raise InvalidProof("the index is not in the tree")
    fn, sn, computed = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise InvalidProof("the proof is too long")
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            computed = node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or computed != expected:
        raise InvalidProof("the proof does not lead to the root")


def consistency_proof(old_size: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF of section 2.1.4.1, for 0 < old_size ≤ len(leaves)."""

    def subproof(m: int, part: Sequence[bytes], complete: bool) -> list[bytes]:
        if m == len(part):
            return [] if complete else [root(part)]
        k = _split(len(part))
        if m <= k:
            return [*subproof(m, part[:k], complete), root(part[k:])]
        return [*subproof(m - k, part[k:], False), root(part[:k])]

    return subproof(old_size, leaves, True)


def verify_consistency(old_size: int, old_root: bytes, size: int, expected: bytes, proof: Sequence[bytes]) -> None:
    """Section 2.1.4.2, for 0 < old_size ≤ size."""
    if not 0 < old_size <= size:
        raise InvalidProof("no consistency proof exists for these sizes")
    if old_size == size:
        if proof or old_root != expected:
            raise InvalidProof("trees of one size have one root, and need no proof")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise InvalidProof("the proof is empty")
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise InvalidProof("the proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(sibling, fr), node_hash(sibling, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or fr != old_root or sr != expected:
        raise InvalidProof("the proof does not lead from the old root to the new one")


def _unbase64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidNote(f"{what} is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise InvalidNote(f"{what} is not canonical base64")
    return data


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise InvalidNote(f"{name!r} is no key name")


@dataclass(frozen=True)
class NoteKey:
    """An Ed25519 key that signs notes, under a name."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """`name+hash+base64(0x01 ‖ key)`."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise InvalidNote("a note key is name+hash+key")
        name, key_id, encoded = parts
        _check_name(name)
        data = _unbase64(encoded, "the note key")
        if len(data) != 33 or data[:1] != ED25519:
            raise InvalidNote("not an Ed25519 note key")
        key = cls(name, data[1:])
        if key.key_id.hex() != key_id:
            raise InvalidNote("the note key's hash is not that of its name and key")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public_key).decode()}"


@dataclass(frozen=True)
class SignedNote:
    """A text, which ends in a newline, and its signatures: (name, key id, signature)."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, note: str) -> SignedNote:
        if len(note.encode()) > MAX_NOTE:
            raise InvalidNote(f"a note of more than {MAX_NOTE} bytes")
        if any(ord(character) < 0x20 and character != "\n" for character in note):
            raise InvalidNote("a control character in a note")
        head, separator, tail = note.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise InvalidNote("a note is a text, an empty line, and signature lines")
        signatures = []
        for line in tail[:-1].split("\n"):
            fields = line.split(" ")
            if len(fields) != 3 or fields[0] != "\N{EM DASH}":
                raise InvalidNote(f"not a signature line: {line!r}")
            _check_name(fields[1])
            data = _unbase64(fields[2], "a signature")
            if len(data) <= 4:
                raise InvalidNote("a signature that is too short")
            signatures.append((fields[1], data[:4], data[4:]))
        return cls(head + "\n", tuple(signatures))

    def verify(self, keys: Iterable[NoteKey]) -> list[NoteKey]:
        """Those of the keys that signed. A signature that claims one of the keys and is false spoils the note."""
        known = {(key.name, key.key_id): key for key in keys}
        signers: list[NoteKey] = []
        for name, key_id, signature in self.signatures:
            key = known.get((name, key_id))
            if key is None:
                continue
            if key in signers:
                raise InvalidNote(f"{name} has signed twice")
            try:
                Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, self.text.encode())
            except InvalidSignature as error:
                raise InvalidNote(f"the signature of {name} is false") from error
            signers.append(key)
        return signers


def sign(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """A signature line for a note's text."""
    public = NoteKey(name, key.public_key().public_bytes_raw())
    return f"\N{EM DASH} {name} {base64.b64encode(public.key_id + key.sign(text.encode())).decode()}\n"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: whose, how many entries, and the Merkle root over them."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise InvalidNote("a checkpoint is three lines: origin, size, root")
        origin, size, encoded = lines[:3]
        if not origin:
            raise InvalidNote("a checkpoint without an origin")
        if not (size.isascii() and size.isdigit()) or (size.startswith("0") and size != "0"):
            raise InvalidNote(f"{size!r} is no size")
        digest = _unbase64(encoded, "the root")
        if len(digest) != 32:
            raise InvalidNote("a root has 32 bytes")
        return cls(origin, int(size), digest)

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def verify_checkpoint(note: str, keys: Iterable[NoteKey], needed: int) -> Checkpoint:
    """The checkpoint, if at least `needed` distinct keys of those given have signed it."""
    signed = SignedNote.parse(note)
    signers = signed.verify(keys)
    if len({key.public_key for key in signers}) < needed:
        raise InvalidNote(f"signed by {len(signers)} of the {needed} signers that are needed")
    return Checkpoint.parse(signed.text)
