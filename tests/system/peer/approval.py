"""Approval certificates and the policy that counts them (`docs/protocol/approval-certificate.md`).

An approval is an X.509 v3 certificate by which an organisation of a key's policy says: this client may have this
wrapped key re-encrypted to this ephemeral key, now. `cryptography` (on OpenSSL) reads the certificate and checks
signatures; what makes a certificate an approval is checked here, and counted by distinct organisations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier, SignatureAlgorithmOID

from .scheme import le16

MAX_CERTIFICATE = 4096
MAX_APPROVAL_ID = 128

ARC = "1.3.6.1.4.1.32473.1"
WRITE_ID = ObjectIdentifier(f"{ARC}.1.1")
EPHEMERAL_POINT = ObjectIdentifier(f"{ARC}.1.2")
APPROVAL_ID = ObjectIdentifier(f"{ARC}.1.3")
APPROVAL_USAGE = ObjectIdentifier(f"{ARC}.2.1")

STANDARD_EXTENSIONS = (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE)
OWN_EXTENSIONS = (WRITE_ID, EPHEMERAL_POINT, APPROVAL_ID)

DIGITAL_SIGNATURE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


class NotCounted(ValueError):
    """Why a certificate does not count as an approval."""


class NotEnough(ValueError):
    """Fewer organisations approved than the policy needs; the reasons of those that do not count are in it."""


def spki_of(certificate: x509.Certificate) -> bytes:
    """The DER SubjectPublicKeyInfo: what a client is known by."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sha256(data: bytes) -> bytes:
    digest = Hash(SHA256())
    digest.update(data)
    return digest.finalize()


def _load(der: bytes) -> tuple[x509.Certificate, x509.Extensions]:
    if len(der) > MAX_CERTIFICATE:
        raise NotCounted(f"{len(der)} bytes are more than the {MAX_CERTIFICATE} of a certificate")
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        canonical = certificate.public_bytes(Encoding.DER)
        version = certificate.version
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise NotCounted(f"not a certificate: {error}") from error
    if version != x509.Version.v3 or canonical != der:
        raise NotCounted("not the DER of a version 3 certificate")
    return certificate, extensions


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the signature; names play no part in it."""
    key = issuer.public_key()
    algorithm = certificate.signature_algorithm_oid
    try:
        if isinstance(key, Ed25519PublicKey) and algorithm == SignatureAlgorithmOID.ED25519:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes)
        elif (
            isinstance(key, EllipticCurvePublicKey)
            and isinstance(key.curve, SECP256R1)
            and algorithm == SignatureAlgorithmOID.ECDSA_WITH_SHA256
        ):
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, ECDSA(SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def der(tag: int, contents: bytes) -> bytes:
    """One DER element, its length in the shortest form."""
    length = len(contents)
    if length < 128:
        return bytes([tag, length]) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(octets)]) + octets + contents


def _contents(value: bytes, tag: int, what: str) -> bytes:
    """The contents of the one DER element that fills an extension's value."""
    for head in (2, 3, 4):
        if value == der(tag, value[head:]):
            return value[head:]
    raise NotCounted(f"{what} is not in the DER that the profile has")


@dataclass(frozen=True)
class Approval:
    """What a certificate says, once its form is that of an approval. Its signature is not checked yet."""

    certificate: x509.Certificate
    write_id: bytes
    ephemeral_point: bytes
    approval_id: str

    @classmethod
    def parse(cls, der: bytes) -> Approval:
        certificate, extensions = _load(der)
        by_oid = {extension.oid: extension for extension in extensions}
        for extension in extensions:
            if extension.critical and extension.oid not in (*STANDARD_EXTENSIONS, *OWN_EXTENSIONS):
                raise NotCounted(f"unknown critical extension {extension.oid.dotted_string}")
        for oid in (*STANDARD_EXTENSIONS, *OWN_EXTENSIONS):
            if oid not in by_oid:
                raise NotCounted(f"extension {oid.dotted_string} is missing")
        for oid in (ExtensionOID.EXTENDED_KEY_USAGE, *OWN_EXTENSIONS):
            if not by_oid[oid].critical:
                raise NotCounted(f"extension {oid.dotted_string} is not critical")
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise NotCounted("a certificate authority is no approval")
        if extensions.get_extension_for_class(x509.KeyUsage).value != DIGITAL_SIGNATURE:
            raise NotCounted("the key usage is not digitalSignature alone")
        if list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) != [APPROVAL_USAGE]:
            raise NotCounted("the extended key usage is not exactly that of an approval")

        def own(oid: ObjectIdentifier, tag: int) -> bytes:
            value = by_oid[oid].value
            assert isinstance(value, x509.UnrecognizedExtension)
            return _contents(value.value, tag, f"extension {oid.dotted_string}")

        write_id, point = own(WRITE_ID, 0x04), own(EPHEMERAL_POINT, 0x04)
        if len(write_id) != 32 or len(point) != 32:
            raise NotCounted("write_id and X have 32 bytes each")
        try:
            approval_id = own(APPROVAL_ID, 0x0C).decode()
        except UnicodeDecodeError as error:
            raise NotCounted("the approval id is not UTF-8") from error
        if not 1 <= len(approval_id) <= MAX_APPROVAL_ID:
            raise NotCounted("the approval id is empty or too long")
        return cls(certificate, write_id, point, approval_id)

    @property
    def spki(self) -> bytes:
        return spki_of(self.certificate)

    @property
    def lifetime(self) -> float:
        """notAfter − notBefore, in seconds."""
        return self.certificate.not_valid_after_utc.timestamp() - self.certificate.not_valid_before_utc.timestamp()


def _within_validity(certificate: x509.Certificate, now: float, tolerance: int) -> bool:
    begin = certificate.not_valid_before_utc.timestamp()
    end = certificate.not_valid_after_utc.timestamp()
    return begin - tolerance <= now <= end + tolerance


@dataclass(frozen=True)
class Binding:
    """What an approval must be for: this wrapped key, to this ephemeral key, by this client."""

    write_id: bytes
    ephemeral_point: bytes
    client_spki: bytes


@dataclass(frozen=True)
class Policy:
    """Whose approvals a key needs: m of these organisations, each with its issuers' certificates."""

    approvals_needed: int
    organisations: dict[str, tuple[x509.Certificate, ...]]
    max_lifetime_s: int = 300
    tolerance_s: int = 30

    @classmethod
    def from_toml(cls, document: dict[str, Any]) -> Policy:
        """From the policy file that nodes are configured with (issuers are PEM)."""
        organisations = {
            entry["name"]: tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in entry["issuers"])
            for entry in document["organisations"]
        }
        return cls(
            document["approvals_needed"],
            organisations,
            document.get("max_lifetime_s", 300),
            document.get("tolerance_s", 30),
        )

    def check(self) -> None:
        """What must be true of a policy before anything is verified against it."""
        if not 1 <= self.approvals_needed <= len(self.organisations):
            raise ValueError(f"{self.approvals_needed} approvals of {len(self.organisations)} organisations")
        owners: dict[bytes, str] = {}
        for name, issuers in self.organisations.items():
            if not issuers:
                raise ValueError(f"{name} has no issuer")
            for issuer in issuers:
                if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                    raise ValueError(f"an issuer of {name} is no certificate authority")
                if not issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
                    raise ValueError(f"an issuer of {name} may not sign certificates")
                if owners.setdefault(spki_of(issuer), name) != name:
                    raise ValueError(f"{name} and {owners[spki_of(issuer)]} have one issuer key")

    @property
    def hash(self) -> bytes:
        """SHA-256 over the canonical encoding: what members must agree on before they make a key."""

        def part(data: bytes) -> bytes:
            return le16(len(data)) + data

        numbers = le16(self.approvals_needed) + self.max_lifetime_s.to_bytes(4, "little")
        encoding = b"cryptonode/v1/policy\x01" + numbers + self.tolerance_s.to_bytes(4, "little")
        encoding += le16(len(self.organisations))
        for name, issuers in sorted(self.organisations.items(), key=lambda item: item[0].encode()):
            certificates = sorted(issuer.public_bytes(Encoding.DER) for issuer in issuers)
            encoding += part(name.encode()) + le16(len(certificates)) + b"".join(map(part, certificates))
        return sha256(encoding)

    def issuer_of(self, approval: Approval) -> tuple[str, x509.Certificate] | None:
        """The organisation and the issuer whose key signed."""
        for name, issuers in self.organisations.items():
            for issuer in issuers:
                if signed_by(approval.certificate, issuer):
                    return name, issuer
        return None

    def count(self, der: bytes, binding: Binding, now: float) -> str:
        """The organisation that a certificate counts for."""
        approval = Approval.parse(der)
        if approval.write_id != binding.write_id:
            raise NotCounted("approved for another wrapped key")
        if approval.ephemeral_point != binding.ephemeral_point:
            raise NotCounted("approved for another ephemeral key")
        if approval.spki != binding.client_spki:
            raise NotCounted("issued to another client")
        if not 0 <= approval.lifetime <= self.max_lifetime_s:
            raise NotCounted(f"valid for {approval.lifetime:.0f} s, more than the policy's {self.max_lifetime_s}")
        if not _within_validity(approval.certificate, now, self.tolerance_s):
            raise NotCounted("not valid at this moment")
        issuer = self.issuer_of(approval)
        if issuer is None:
            raise NotCounted("signed by no issuer of the policy")
        if not _within_validity(issuer[1], now, self.tolerance_s):
            raise NotCounted(f"the issuer of {issuer[0]} is not valid at this moment")
        return issuer[0]

    def verify(self, approvals: Sequence[bytes] | Iterable[bytes], binding: Binding, now: float) -> set[str]:
        """The distinct organisations that approve, if they are enough."""
        organisations: set[str] = set()
        reasons: list[str] = []
        for position, der in enumerate(approvals):
            try:
                organisations.add(self.count(der, binding, now))
            except NotCounted as reason:
                reasons.append(f"approval {position}: {reason}")
        if len(organisations) < self.approvals_needed:
            counted = f"{len(organisations)} organisations approve of the {self.approvals_needed} that are needed"
            raise NotEnough("; ".join([counted, *reasons]))
        return organisations
