"""Organisations for tests: authorities and the approvals that they issue, made with `cryptography`.

The arguments allow everything that an approval must not be, so that the tests can show each of it refused.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from peer import approval

SigningKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature, False, False, False, False, key_cert_sign, False, False, False)


@dataclass
class Request:
    """An approval to issue: what it binds, and what is out of the ordinary about it."""

    binding: approval.Binding
    client: Any
    begin: float
    end: float
    approval_id: str = "read-1"
    authority: bool = False
    usages: tuple[ObjectIdentifier, ...] = (approval.APPROVAL_USAGE,)
    critical: bool = True
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    without: tuple[ObjectIdentifier, ...] = ()


@dataclass
class Organisation:
    """One organisation and its certificate authority."""

    title: str
    begin: float
    end: float
    key: SigningKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(self.title))
            .issuer_name(name(self.title))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment(self.begin))
            .not_valid_after(moment(self.end))
            .add_extension(x509.BasicConstraints(True, 0), True)
            .add_extension(key_usage(key_cert_sign=True), True)
        )
        self.certificate = builder.sign(self.key, self._digest())

    def _digest(self) -> SHA256 | None:
        return None if isinstance(self.key, ed25519.Ed25519PrivateKey) else SHA256()

    def issue(self, request: Request) -> bytes:
        """The approval, DER."""
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(request.authority, None), True),
            (key_usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage(request.usages), request.critical),
        ]
        own = {
            approval.WRITE_ID: approval.der(0x04, request.binding.write_id),
            approval.EPHEMERAL_POINT: approval.der(0x04, request.binding.ephemeral_point),
            approval.APPROVAL_ID: approval.der(0x0C, request.approval_id.encode()),
        }
        extensions += [(x509.UnrecognizedExtension(oid, value), request.critical) for oid, value in own.items()]
        builder = (
            x509.CertificateBuilder()
            .subject_name(name("approval"))
            .issuer_name(name(self.title))
            .public_key(request.client)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment(request.begin))
            .not_valid_after(moment(request.end))
        )
        for extension, critical in (*extensions, *request.extra):
            if extension.oid not in request.without:
                builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, self._digest()).public_bytes(Encoding.DER)


def found_organisations() -> list[Organisation]:
    """Three organisations with authorities of both algorithms, valid now."""
    begin, end = time.time() - 3_600, time.time() + 86_400
    p256 = ec.generate_private_key(ec.SECP256R1())
    return [
        Organisation("north", begin, end),
        Organisation("east", begin, end, p256),
        Organisation("south", begin, end),
    ]


def pem_issuers(organisations: list[Organisation]) -> dict[str, list[str]]:
    """Each organisation's issuers, as a policy file has them."""
    return {each.title: [each.certificate.public_bytes(Encoding.PEM).decode()] for each in organisations}
