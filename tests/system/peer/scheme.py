"""Threshold re-encryption, sections 1 to 6 of the protocol.

A *wrapped key* holds a secret under the cluster key Y. A reader makes an *ephemeral key* for one read of it. Node i
answers with a *share* D_i = x_i·(U + X). Any t shares combine to D = x·(U + X), from which whoever knows x_c takes
S = D - x_c·Y, the point that the wrapped key's cipher is keyed with.

Everything that comes in is parsed strictly (one encoding for each value) and verified before it is used.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .ristretto import (
    GENERATOR,
    IDENTITY,
    ORDER,
    Element,
    InvalidElement,
    decode_element,
    decode_scalar,
    encode_scalar,
    lagrange_at,
    one_way_map,
)

PROOF_SIZE = 96
EPHEMERAL_KEY_SIZE = 32 + 32 + PROOF_SIZE
SHARE_SIZE = 2 + 8 + 32 + PROOF_SIZE
MAX_LABEL = 1024
MIN_BODY, MAX_BODY = 64, 1072


class Refused(ValueError):
    """Bytes that the protocol refuses, with the reason."""


def le16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def le64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def hash_items(tag: str, *items: bytes) -> bytes:
    """H of section 1: SHA-512 over the tag and the items, each behind its length."""
    digest = hashlib.sha512()
    for item in (tag.encode(), *items):
        digest.update(le64(len(item)) + item)
    return digest.digest()


def hash_to_scalar(tag: str, *items: bytes) -> int:
    """Hs of section 1."""
    return int.from_bytes(hash_items(tag, *items), "little") % ORDER


SHADOW_GENERATOR = one_way_map(hash_items("cryptonode/v1/shadow-generator"))


def _element(data: bytes, what: str) -> Element:
    try:
        return decode_element(data)
    except InvalidElement as error:
        raise Refused(f"{what}: {error}") from error


@dataclass(frozen=True)
class Statement:
    """Section 2: that points = s·bases for one s, for a purpose and in a context."""

    purpose: str
    context: tuple[bytes, ...]
    bases: tuple[Element, Element]
    points: tuple[Element, Element]

    def challenge(self, commitments: tuple[Element, Element]) -> int:
        elements = (*self.bases, *self.points, *commitments)
        return hash_to_scalar(
            "cryptonode/v1/dleq", self.purpose.encode(), *self.context, *(element.encode() for element in elements)
        )


@dataclass(frozen=True)
class EqualityProof:
    """Section 2: W1 ‖ W2 ‖ f."""

    commitments: tuple[Element, Element]
    response: int

    @classmethod
    def parse(cls, data: bytes) -> EqualityProof:
        if len(data) != PROOF_SIZE:
            raise Refused(f"a proof has {PROOF_SIZE} bytes, not {len(data)}")
        commitments = (_element(data[:32], "proof's W1"), _element(data[32:64], "proof's W2"))
        try:
            return cls(commitments, decode_scalar(data[64:]))
        except InvalidElement as error:
            raise Refused(f"proof's response: {error}") from error

    @classmethod
    def prove(cls, statement: Statement, secret: int, nonce: int) -> EqualityProof:
        commitments = (nonce * statement.bases[0], nonce * statement.bases[1])
        return cls(commitments, (nonce + statement.challenge(commitments) * secret) % ORDER)

    def encode(self) -> bytes:
        return b"".join(w.encode() for w in self.commitments) + encode_scalar(self.response)

    def verify(self, statement: Statement) -> None:
        """Both equations, each for itself: one weight for both would let a false proof through."""
        e = statement.challenge(self.commitments)
        for base, point, commitment in zip(statement.bases, statement.points, self.commitments, strict=True):
            if self.response * base != commitment + e * point:
                raise Refused(f"the {statement.purpose} proof is false")


def _keys(shared: Element, public_key: bytes, u: bytes) -> tuple[bytes, bytes]:
    """Section 3: the cipher's key, and the commitment to it that stands in front of the ciphertext."""
    okm = HKDF(SHA512(), 64, salt=b"cryptonode/v1/wrap", info=public_key + u).derive(shared.encode())
    return okm[:32], okm[32:]


@dataclass(frozen=True)
class WrappedKey:
    """Section 3, parsed and verified."""

    encoding: bytes
    public_key: Element
    u: Element
    label: bytes
    body: bytes

    @property
    def write_id(self) -> bytes:
        return hashlib.sha256(self.encoding).digest()

    @classmethod
    def parse(cls, data: bytes) -> WrappedKey:
        """Reads the one encoding, and verifies the proof."""
        if len(data) < 1 + 3 * 32 + PROOF_SIZE + 2:
            raise Refused("a wrapped key is longer than that")
        if data[0] != 1:
            raise Refused(f"unknown version {data[0]} of a wrapped key")
        public_key = _element(data[1:33], "public key")
        u = _element(data[33:65], "U")
        shadow = _element(data[65:97], "shadow of U")
        proof = EqualityProof.parse(data[97:193])
        label, rest = _prefixed(data[193:], "label", 0, MAX_LABEL)
        body, rest = _prefixed(rest, "body", MIN_BODY, MAX_BODY)
        if rest:
            raise Refused(f"{len(rest)} bytes behind the wrapped key")
        proof.verify(_wrapped_key_statement(public_key, label, body, u, shadow))
        return cls(data, public_key, u, label, body)

    @classmethod
    def make(cls, public_key: Element, label: bytes, secret: bytes, r: int, nonce: int) -> WrappedKey:
        """Wraps; r and the proof's nonce are arguments, so that vectors can be reproduced."""
        u, shadow, shared = r * GENERATOR, r * SHADOW_GENERATOR, r * public_key
        key, commitment = _keys(shared, public_key.encode(), u.encode())
        body = commitment + ChaCha20Poly1305(key).encrypt(bytes(12), secret, label)
        proof = EqualityProof.prove(_wrapped_key_statement(public_key, label, body, u, shadow), r, nonce)
        points = public_key.encode() + u.encode() + shadow.encode()
        encoding = b"\x01" + points + proof.encode() + le16(len(label)) + label + le16(len(body)) + body
        return cls.parse(encoding)

    def open(self, shared: Element) -> bytes:
        """The secret, from S = r·Y. The commitment to the key is checked before the cipher runs."""
        key, commitment = _keys(shared, self.public_key.encode(), self.u.encode())
        if not hmac.compare_digest(commitment, self.body[:32]):
            raise Refused("the shares do not open this wrapped key")
        try:
            return ChaCha20Poly1305(key).decrypt(bytes(12), self.body[32:], self.label)
        except InvalidTag as error:
            raise Refused("the writer made an invalid wrapped key") from error


def _prefixed(data: bytes, what: str, least: int, most: int) -> tuple[bytes, bytes]:
    """A field behind its LE16 length, and what follows it."""
    length = int.from_bytes(data[:2], "little")
    if len(data) < 2 or not least <= length <= most or len(data) < 2 + length:
        raise Refused(f"the {what}'s length is impossible")
    return data[2 : 2 + length], data[2 + length :]


def _wrapped_key_statement(public_key: Element, label: bytes, body: bytes, u: Element, shadow: Element) -> Statement:
    context = (public_key.encode(), label, body)
    return Statement("wrapped-key", context, (GENERATOR, SHADOW_GENERATOR), (u, shadow))


@dataclass(frozen=True)
class EphemeralKey:
    """Section 4, verified for one cluster key and one wrapped key."""

    encoding: bytes
    x: Element

    @classmethod
    def parse(cls, data: bytes, public_key: Element, write_id: bytes) -> EphemeralKey:
        if len(data) != EPHEMERAL_KEY_SIZE:
            raise Refused(f"an ephemeral key has {EPHEMERAL_KEY_SIZE} bytes, not {len(data)}")
        x, shadow = _element(data[:32], "X"), _element(data[32:64], "shadow of X")
        EqualityProof.parse(data[64:]).verify(_ephemeral_key_statement(public_key, write_id, x, shadow))
        return cls(data, x)

    @classmethod
    def make(cls, public_key: Element, write_id: bytes, secret: int, nonce: int) -> EphemeralKey:
        x, shadow = secret * GENERATOR, secret * SHADOW_GENERATOR
        proof = EqualityProof.prove(_ephemeral_key_statement(public_key, write_id, x, shadow), secret, nonce)
        return cls.parse(x.encode() + shadow.encode() + proof.encode(), public_key, write_id)


def _ephemeral_key_statement(public_key: Element, write_id: bytes, x: Element, shadow: Element) -> Statement:
    context = (public_key.encode(), write_id)
    return Statement("ephemeral-key", context, (GENERATOR, SHADOW_GENERATOR), (x, shadow))


@dataclass(frozen=True)
class PublicKeyPackage:
    """What is public of a cluster key: Y, its epoch, t, and Y_1 … Y_n in index order."""

    public_key: Element
    epoch: int
    threshold: int
    public_shares: tuple[Element, ...]

    def check(self) -> None:
        """That the public shares lie on one polynomial of degree t - 1 whose value at 0 is Y.

        Y and the first t - 1 shares fix the polynomial; every other share must be its value at that index.
        """
        if not 1 <= self.threshold <= len(self.public_shares) <= 0xFFFF:
            raise Refused(f"t = {self.threshold} does not fit n = {len(self.public_shares)}")
        known = {0: self.public_key}
        known.update(enumerate(self.public_shares[: self.threshold - 1], start=1))
        for index, share in list(enumerate(self.public_shares, start=1))[self.threshold - 1 :]:
            expected = IDENTITY
            for i, weight in lagrange_at(known, index).items():
                expected = expected + weight * known[i]
            if expected != share:
                raise Refused(f"public share {index} does not lie on the polynomial of the others")


@dataclass(frozen=True)
class Share:
    """Section 5, verified against the request that it answers."""

    encoding: bytes
    index: int
    d: Element

    @classmethod
    def parse(cls, data: bytes, package: PublicKeyPackage, wrapped: WrappedKey, ephemeral: EphemeralKey) -> Share:
        if len(data) != SHARE_SIZE:
            raise Refused(f"a share has {SHARE_SIZE} bytes, not {len(data)}")
        index, epoch = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:10], "little")
        if not 1 <= index <= len(package.public_shares):
            raise Refused(f"no member has index {index}")
        if epoch != package.epoch:
            raise Refused(f"a share of epoch {epoch}, not of {package.epoch}")
        d = _element(data[10:42], "D")
        statement = _share_statement(index, epoch, package.public_shares[index - 1], d, wrapped, ephemeral)
        EqualityProof.parse(data[42:]).verify(statement)
        return cls(data, index, d)

    @classmethod
    def make(
        cls, index: int, epoch: int, secret: int, wrapped: WrappedKey, ephemeral: EphemeralKey, nonce: int
    ) -> Share:
        d = secret * _request_point(wrapped, ephemeral)
        statement = _share_statement(index, epoch, secret * GENERATOR, d, wrapped, ephemeral)
        proof = EqualityProof.prove(statement, secret, nonce)
        return cls(le16(index) + le64(epoch) + d.encode() + proof.encode(), index, d)


def _request_point(wrapped: WrappedKey, ephemeral: EphemeralKey) -> Element:
    b = wrapped.u + ephemeral.x
    if b == IDENTITY:
        raise Refused("U + X is the identity")
    return b


def _share_statement(
    index: int, epoch: int, public_share: Element, d: Element, wrapped: WrappedKey, ephemeral: EphemeralKey
) -> Statement:
    context = (
        wrapped.public_key.encode(),
        le64(epoch),
        le16(index),
        wrapped.write_id,
        ephemeral.x.encode(),
    )
    return Statement("share", context, (GENERATOR, _request_point(wrapped, ephemeral)), (public_share, d))


def combine(shares: Sequence[Share]) -> Element:
    """Section 6: D = Σ λ_i·D_i."""
    weights = lagrange_at(share.index for share in shares)
    combined = IDENTITY
    for share in shares:
        combined = combined + weights[share.index] * share.d
    return combined


def open_with_shares(
    encodings: Iterable[bytes], package: PublicKeyPackage, wrapped: WrappedKey, ephemeral: EphemeralKey, x_c: int
) -> bytes:
    """Verifies t shares, combines them, and opens the wrapped key."""
    shares = [Share.parse(data, package, wrapped, ephemeral) for data in encodings][: package.threshold]
    if len(shares) < package.threshold:
        raise Refused(f"{len(shares)} shares of the {package.threshold} that are needed")
    return wrapped.open(combine(shares) - x_c * package.public_key)
