"""The certificate of a key that the members of a ceremony made (`docs/protocol/key-generation.md`).

It carries the proposal, what the attempt computed, and each member's signed confirmation with its share, sealed to the
recovery key of its phrase. Whoever knows the members' identities verifies with it which key was made, by whom and under
which policy; whoever has a member's phrase restores that member's share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mnemonic import Mnemonic

from . import cbor
from .ristretto import GENERATOR, IDENTITY, ORDER, Element, decode_element, decode_scalar
from .scheme import PublicKeyPackage, hash_items, le16, le64

MAX_CERTIFICATE = 2 << 20
MAX_PROPOSAL = 512 << 10
FIRST_ATTEMPT = 1
SEALED_SHARE = 80


class CertificateRefused(ValueError):
    """The certificate is not one that its members made."""


@dataclass(frozen=True)
class MemberIdentity:
    """A node as the proposal names it."""

    name: str
    identity: bytes
    recovery_public: bytes
    address: str

    def verifies(self, signature: bytes, tag: str, *items: bytes) -> bool:
        """Whether the member signed H(tag, items…)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.identity).verify(signature, hash_items(tag, *items))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Phrase:
    """A node's recovery phrase: 24 words of BIP-39, from whose 32 bytes its long-term keys come."""

    entropy: bytes

    @classmethod
    def parse(cls, words: str) -> Phrase:
        entropy = bytes(Mnemonic("english").to_entropy(words.split()))
        if len(entropy) != 32:
            raise ValueError("a recovery phrase has 24 words")
        return cls(entropy)

    def _derive(self, info: bytes, length: int) -> bytes:
        return HKDF(SHA512(), length, salt=b"cryptonode/v1/recovery-phrase", info=info).derive(self.entropy)

    @property
    def identity(self) -> bytes:
        """The node's Ed25519 public key."""
        seed = self._derive(b"cryptonode/v1/identity", 32)
        return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    @property
    def recovery_secret(self) -> int:
        """ρ, which is never on the node's disk."""
        return int.from_bytes(self._derive(b"cryptonode/v1/recovery-key", 64), "little") % ORDER


@dataclass(frozen=True)
class Proposal:
    """What the members agreed to make."""

    members: tuple[MemberIdentity, ...]
    threshold: int
    policy_hash: bytes
    may_be_absent: int
    hash: bytes

    @classmethod
    def parse(cls, data: bytes) -> Proposal:
        item = cbor.fields(
            cbor.decode(data, MAX_PROPOSAL),
            version=int,
            id=bytes,
            kind=str,
            threshold=int,
            policy_hash=bytes,
            members=list,
            may_be_absent=int,
            leader=bytes,
            created=int,
            expires=int,
            allow_few_members=bool,
            software=str,
        )
        if (item["version"], item["kind"]) != (1, "create"):
            raise CertificateRefused("not a proposal to create a key")
        members = tuple(
            MemberIdentity(**cbor.fields(each, name=str, identity=bytes, recovery_public=bytes, address=str))
            for each in item["members"]
        )
        identities = [member.identity for member in members]
        if identities != sorted(set(identities)) or item["leader"] not in identities:
            raise CertificateRefused("the members do not stand in the order of their identities, or the leader is none")
        if not 1 <= item["threshold"] <= len(members):
            raise CertificateRefused("the threshold does not fit the members")
        if len(members) < 2 * item["threshold"] - 1 and not item["allow_few_members"]:
            raise CertificateRefused("fewer members than the threshold asks for")
        if not 0 <= item["may_be_absent"] <= len(members) - item["threshold"]:
            raise CertificateRefused("too few members are left if so many are absent")
        proposal_hash = hash_items("cryptonode/v1/dkg-proposal", data)
        return cls(members, item["threshold"], item["policy_hash"], item["may_be_absent"], proposal_hash)

    def without(self, absent: list[int]) -> Proposal:
        """The proposal as an attempt without these members carries it out, under the same hash."""
        if absent != sorted(set(absent)) or len(absent) > self.may_be_absent:
            raise CertificateRefused("members are left out as the proposal does not allow")
        if any(not 1 <= index <= len(self.members) for index in absent):
            raise CertificateRefused("somebody is left out who is no member")
        present = tuple(member for index, member in enumerate(self.members, 1) if index not in absent)
        return replace(self, members=present)

    def params(self, attempt: int, encryption_keys: list[bytes]) -> bytes:
        """What everything in an attempt is bound to."""
        each = zip(self.members, encryption_keys, strict=True)
        members = [part for member, key in each for part in (member.identity, member.recovery_public, key)]
        return hash_items(
            "cryptonode/v1/dkg-params",
            self.hash,
            attempt.to_bytes(4, "little"),
            b"",
            le16(0),
            le16(0),
            le16(len(self.members)),
            le16(self.threshold),
            *members,
        )


@dataclass(frozen=True)
class Confirmation:
    """A member's word that it holds its share."""

    index: int
    sealed_share: bytes
    signature: bytes


@dataclass(frozen=True)
class CertifiedKey:
    """A certificate that was verified."""

    proposal: Proposal
    package: PublicKeyPackage
    params: bytes
    deals: bytes
    confirmations: tuple[Confirmation, ...]

    @classmethod
    def verify(cls, data: bytes, pinned: set[bytes]) -> CertifiedKey:
        """Verifies a certificate for whoever knows the members' identities."""
        item = cbor.fields(
            cbor.decode(data, MAX_CERTIFICATE),
            version=int,
            proposal=bytes,
            absent=list,
            attempt=int,
            epoch=int,
            encryption_keys=bytes,
            set=bytes,
            qualified=list,
            sums=bytes,
            confirmations=list,
        )
        proposal = Proposal.parse(item["proposal"]).without(item["absent"])
        n, t = len(proposal.members), proposal.threshold
        if {member.identity for member in proposal.members} != pinned:
            raise CertificateRefused("the members are not those that were pinned")
        everybody = list(range(1, n + 1))
        first = item["attempt"] >= FIRST_ATTEMPT
        if (item["version"], item["epoch"]) != (1, 0) or not first or item["qualified"] != everybody:
            raise CertificateRefused("not the certificate of a new key that all members dealt for")
        if len(item["set"]) != 64:
            raise CertificateRefused("the hash of the set of deals has 64 bytes")
        sums = _chunks(item["sums"], t)
        params = proposal.params(item["attempt"], _chunks(item["encryption_keys"], n))
        result = hash_items(
            "cryptonode/v1/dkg-result",
            params,
            le64(item["epoch"]),
            item["set"],
            hash_items("cryptonode/v1/dkg-complaint-set", params),
            b"".join(le16(index) for index in item["qualified"]),
            *sums,
        )
        confirmations = [_confirmation(each) for each in item["confirmations"]]
        if [confirmation.index for confirmation in confirmations] != everybody:
            raise CertificateRefused("not one confirmation of each member")
        for confirmation, member in zip(confirmations, proposal.members, strict=True):
            items = (params, le16(confirmation.index), result, confirmation.sealed_share)
            if not member.verifies(confirmation.signature, "cryptonode/v1/dkg-confirm", *items):
                raise CertificateRefused(f"{member.name} has not signed its confirmation")
        points = [decode_element(point) for point in sums]
        shares = tuple(_evaluate(points, index) for index in everybody)
        package = PublicKeyPackage(points[0], item["epoch"], t, shares)
        package.check()
        return cls(proposal, package, params, item["set"], tuple(confirmations))

    def recover_share(self, phrase: Phrase) -> tuple[int, int]:
        """The index and the secret share of the member whose phrase it is."""
        [index] = [i for i, member in enumerate(self.proposal.members, 1) if member.identity == phrase.identity]
        member = self.proposal.members[index - 1]
        sealed = self.confirmations[index - 1].sealed_share
        info = self.params + le16(index) + member.identity + member.recovery_public + self.deals + sealed[:32]
        shared = phrase.recovery_secret * decode_element(sealed[:32])
        key = HKDF(SHA512(), 32, salt=b"cryptonode/v1/dkg-sealed-share", info=info).derive(shared.encode())
        try:
            share = decode_scalar(ChaCha20Poly1305(key).decrypt(bytes(12), sealed[32:], info))
        except InvalidTag as error:
            raise CertificateRefused(f"the share of {member.name} is not sealed to its phrase") from error
        if share * GENERATOR != self.package.public_shares[index - 1]:
            raise CertificateRefused(f"{member.name} has sealed something else than its share")
        return index, share


def _confirmation(item: Any) -> Confirmation:
    confirmation = Confirmation(**cbor.fields(item, index=int, sealed_share=bytes, signature=bytes))
    if len(confirmation.sealed_share) != SEALED_SHARE or len(confirmation.signature) != 64:
        raise CertificateRefused("a confirmation's fields have other lengths")
    return confirmation


def _chunks(data: bytes, count: int) -> list[bytes]:
    if len(data) != 32 * count:
        raise CertificateRefused(f"{len(data)} bytes where {count} points belong")
    return [data[32 * i : 32 * (i + 1)] for i in range(count)]


def _evaluate(commitments: list[Element], index: int) -> Element:
    """Y_j = Σ j^k·S_k."""
    value = IDENTITY
    for commitment in reversed(commitments):
        value = index * value + commitment
    return value
