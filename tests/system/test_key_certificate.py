"""Certificates of keys, made here as the members of a ceremony would, and what must not verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mnemonic import Mnemonic

from peer import cbor
from peer.key_certificate import CertificateRefused, CertifiedKey, Phrase, Proposal
from peer.ristretto import GENERATOR, ORDER, decode_element, encode_scalar
from peer.scheme import hash_items, le16, le64

THRESHOLD = 2


@dataclasses.dataclass
class Maker:
    """A member that makes its part of a certificate."""

    phrase: Phrase
    name: str

    def __post_init__(self) -> None:
        seed = HKDF(SHA512(), 32, salt=b"cryptonode/v1/recovery-phrase", info=b"cryptonode/v1/identity")
        self.key = Ed25519PrivateKey.from_private_bytes(seed.derive(self.phrase.entropy))
        self.recovery_public = (self.phrase.recovery_secret * GENERATOR).encode()

    def card(self) -> dict[str, Any]:
        identity = self.phrase.identity
        address = f"{self.name}.example:7700"
        return {
            "name": self.name,
            "identity": identity,
            "recovery_public": self.recovery_public,
            "address": address,
        }

    def confirm(self, index: int, share: int, params: bytes, result: bytes, deals: bytes) -> dict[str, Any]:
        ephemeral = 1_000 + index
        point = (ephemeral * GENERATOR).encode()
        info = params + le16(index) + self.phrase.identity + self.recovery_public + deals + point
        shared = (ephemeral * decode_element(self.recovery_public)).encode()
        key = HKDF(SHA512(), 32, salt=b"cryptonode/v1/dkg-sealed-share", info=info).derive(shared)
        sealed = point + ChaCha20Poly1305(key).encrypt(bytes(12), encode_scalar(share), info)
        message = hash_items("cryptonode/v1/dkg-confirm", params, le16(index), result, sealed)
        return {"index": index, "sealed_share": sealed, "signature": self.key.sign(message)}


MAKERS = sorted(
    (Maker(Phrase(bytes([i]) * 32), f"node-{i}") for i in range(1, 4)), key=lambda maker: maker.phrase.identity
)
PINNED = {maker.phrase.identity for maker in MAKERS}
POLYNOMIAL = [1234567, 7654321]


def certificate(change: Callable[[dict[str, Any]], None] = lambda fields: None) -> bytes:
    """A certificate, its fields changed after everybody has signed."""
    proposal = cbor.encode(
        {
            "version": 1,
            "id": bytes(16),
            "kind": "create",
            "threshold": THRESHOLD,
            "policy_hash": bytes([9]) * 32,
            "members": [maker.card() for maker in MAKERS],
            "may_be_absent": 0,
            "leader": MAKERS[0].phrase.identity,
            "created": 1_800_000_000,
            "expires": 1_800_086_400,
            "allow_few_members": False,
            "software": "test",
        }
    )
    keys = [((100 + i) * GENERATOR).encode() for i in range(len(MAKERS))]
    params, deals = Proposal.parse(proposal).params(1, keys), bytes([7]) * 64
    sums = [(coefficient * GENERATOR).encode() for coefficient in POLYNOMIAL]
    complaints = hash_items("cryptonode/v1/dkg-complaint-set", params)
    qualified = list(range(1, len(MAKERS) + 1))
    dealers = b"".join(map(le16, qualified))
    result = hash_items("cryptonode/v1/dkg-result", params, le64(0), deals, complaints, dealers, *sums)
    shares = {i: sum(c * i**k for k, c in enumerate(POLYNOMIAL)) % ORDER for i in qualified}
    fields = {
        "version": 1,
        "proposal": proposal,
        "attempt": 1,
        "epoch": 0,
        "absent": [],
        "encryption_keys": b"".join(keys),
        "set": deals,
        "qualified": qualified,
        "sums": b"".join(sums),
        "confirmations": [
            maker.confirm(i, shares[i], params, result, deals) for i, maker in enumerate(MAKERS, start=1)
        ],
    }
    change(fields)
    return cbor.encode(fields)


def test_certificate_names_key_and_shares() -> None:
    certified = CertifiedKey.verify(certificate(), PINNED)
    assert certified.package.public_key == POLYNOMIAL[0] * GENERATOR
    assert certified.package.threshold == THRESHOLD
    for position, maker in enumerate(MAKERS, start=1):
        index, share = certified.recover_share(maker.phrase)
        assert (index, share) == (position, POLYNOMIAL[0] + position * POLYNOMIAL[1])


def _flip(field: str) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        value = bytearray(fields[field])
        value[-1] ^= 1
        fields[field] = bytes(value)

    return change


def _reorder(fields: dict[str, Any]) -> None:
    fields["confirmations"].reverse()


def _drop(fields: dict[str, Any]) -> None:
    fields["confirmations"].pop()


def _other_sums(fields: dict[str, Any]) -> None:
    fields["sums"] = fields["sums"][32:] + fields["sums"][:32]


def _exchange_shares(fields: dict[str, Any]) -> None:
    first, second, *_ = fields["confirmations"]
    first["sealed_share"], second["sealed_share"] = second["sealed_share"], first["sealed_share"]


@pytest.mark.parametrize(
    "change",
    [_flip("set"), _flip("encryption_keys"), _reorder, _drop, _other_sums, _exchange_shares],
    ids=["set", "encryption key", "order", "one missing", "sums", "shares exchanged"],
)
def test_what_was_changed_after_signing_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(CertificateRefused):
        CertifiedKey.verify(certificate(change), PINNED)


def test_members_are_pinned() -> None:
    with pytest.raises(CertificateRefused):
        CertifiedKey.verify(certificate(), {*list(PINNED)[1:], bytes(32)})
    with pytest.raises(CertificateRefused):
        CertifiedKey.verify(certificate(), PINNED | {bytes(32)})


def test_one_encoding() -> None:
    with pytest.raises(cbor.NotCanonical):
        CertifiedKey.verify(certificate() + b"\x00", PINNED)
    with pytest.raises(cbor.NotCanonical):
        CertifiedKey.verify(certificate(lambda fields: fields.update(more=1)), PINNED)


def test_phrase_of_the_standard() -> None:
    """BIP-39's vector for 32 zero bytes, and the keys that the document gives for it."""
    words = "abandon " * 23 + "art"
    phrase = Phrase.parse(words)
    assert phrase.entropy == bytes(32)
    assert encode_scalar(phrase.recovery_secret).hex() == (
        "a540e790e122310c77710e9bb00d462dd2bd1a78e967f0d8ae3dd1abf50df90c"
    )
    seed = "8713b5d63d0f823eaa011706ee2d7e2fbe430485dd681fc91de68d297749a3af"
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    assert phrase.identity == key.public_key().public_bytes_raw()
    assert Phrase.parse(Mnemonic("english").to_mnemonic(bytes(range(32)))).entropy == bytes(range(32))
    with pytest.raises(ValueError):
        Phrase.parse("abandon " * 24)
