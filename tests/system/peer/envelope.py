"""Envelope encryption of one version of a document (`docs/protocol/envelope.md`).

A body is encrypted in blocks under its body key, which the document key wraps; the document key also encrypts the
pointer to where the body lies. Whoever has the document key, the version's entry on the record and the stored body
needs nothing but what is here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .scheme import le64

MAGIC = b"DXEB\x01\x01\x10"
"""Name, version, algorithm, and the logarithm of the block size."""
HEADER_SIZE = 16
TAG_SIZE = 16
BLOCK_SIZE = 1 << 16
MAX_METADATA = 4096


class EnvelopeRefused(ValueError):
    """Something of the envelope is not what the record says it is."""


@dataclass(frozen=True)
class Version:
    """The name of one version, its plaintext length, and the checksum of its stored body."""

    tenant: str
    dataset: str
    document: str
    number: int
    length: int
    checksum: bytes

    def bind(self, tag: str, *further: bytes) -> bytes:
        """Section 1: every item behind its length."""
        names = (tag.encode(), self.tenant.encode(), self.dataset.encode(), self.document.encode())
        return b"".join(le64(len(item)) + item for item in (*names, le64(self.number), *further))


def _open(key: bytes, sealed: bytes, context: bytes, what: str) -> bytes:
    """Sections 4 and 5: 0x01 ‖ nonce ‖ ciphertext and tag."""
    if len(sealed) < 1 + 12 + TAG_SIZE or sealed[0] != 1:
        raise EnvelopeRefused(f"{what} has another format")
    try:
        return AESGCM(key).decrypt(sealed[1:13], sealed[13:], context)
    except InvalidTag as error:
        raise EnvelopeRefused(f"{what} was altered or belongs to something else") from error


def unwrap_body_key(document_key: bytes, wrapped: bytes, version: Version) -> tuple[bytes, bytes]:
    """Section 4: the body key and the metadata."""
    context = version.bind("coordinator/v1/wrapped-body-key", version.checksum, le64(version.length))
    plaintext = _open(document_key, wrapped, context, "the wrapped body key")
    if not 32 <= len(plaintext) <= 32 + MAX_METADATA:
        raise EnvelopeRefused("the wrapped body key holds no key")
    return plaintext[:32], plaintext[32:]


def open_pointer(document_key: bytes, sealed: bytes, version: Version) -> bytes:
    """Section 5: the pointer to the stored body."""
    return _open(document_key, sealed, version.bind("coordinator/v1/pointer", version.checksum), "the pointer")


def body_path(tenant: str, pointer: bytes) -> str:
    """Section 7: where in the body store a body lies."""
    items = (b"coordinator/v1/body-path", tenant.encode())
    folder = hashlib.sha256(b"".join(le64(len(item)) + item for item in items)).hexdigest()
    return f"{folder}/{pointer.hex()}"


def _block_count(length: int) -> int:
    return max(1, -(-length // BLOCK_SIZE))


def _associated(header: bytes, version: Version) -> bytes:
    return header + hashlib.sha256(version.bind("coordinator/v1/body")).digest()


def _nonce(prefix: bytes, index: int, blocks: int) -> bytes:
    return prefix + index.to_bytes(4, "big") + (b"\x01" if index == blocks - 1 else b"\x00")


def encrypt_body(body_key: bytes, prefix: bytes, plaintext: bytes, version: Version) -> bytes:
    """Section 3, the writer's side. The version's checksum is not used: it is made of what this returns."""
    header = MAGIC + prefix + b"\0\0"
    associated, blocks, cipher = _associated(header, version), _block_count(len(plaintext)), AESGCM(body_key)
    body = [header]
    for index in range(blocks):
        block = plaintext[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
        body.append(cipher.encrypt(_nonce(prefix, index, blocks), block, associated))
    return b"".join(body)


def decrypt_body(body_key: bytes, body: bytes, version: Version) -> bytes:
    """Section 3: checks the size and the checksum, then every block."""
    blocks = _block_count(version.length)
    if len(body) != HEADER_SIZE + version.length + TAG_SIZE * blocks:
        raise EnvelopeRefused(f"a stored body of {len(body)} bytes is not one of {version.length} bytes of plaintext")
    if hashlib.sha256(body).digest() != version.checksum:
        raise EnvelopeRefused("the stored body's checksum is not that on the record")
    header = body[:HEADER_SIZE]
    if not header.startswith(MAGIC) or not header.endswith(b"\0\0"):
        raise EnvelopeRefused("the stored body has another header")
    prefix, associated, cipher = header[7:14], _associated(header, version), AESGCM(body_key)
    plaintext = bytearray()
    for index in range(blocks):
        start = HEADER_SIZE + index * (BLOCK_SIZE + TAG_SIZE)
        block = body[start : start + BLOCK_SIZE + TAG_SIZE]
        try:
            plaintext += cipher.decrypt(_nonce(prefix, index, blocks), block, associated)
        except InvalidTag as error:
            raise EnvelopeRefused(f"block {index} was altered") from error
    return bytes(plaintext)
