"""What the record's state has about companies' own certificates (`docs/protocol/golden-record.md`, sections 3 and 4)."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Row = dict[str, Any]


def key_hash(certificate: x509.Certificate) -> bytes:
    """By which an authority is known: SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def key_of(der: bytes) -> bytes:
    """The same of a certificate's bytes."""
    return key_hash(x509.load_der_x509_certificate(der))


def integer(number: int) -> bytes:
    """The contents of a positive number's DER INTEGER."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def not_after(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())


def authorities(certificates: list[bytes]) -> list[Row]:
    rows = []
    for der in certificates:
        certificate = x509.load_der_x509_certificate(der)
        rows.append({"certificate": der, "key": key_hash(certificate), "not_after_s": not_after(certificate)})
    return rows


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def bound(chain: list[bytes], registered: list[Row], time_ms: int) -> Row:
    """The certificate that a user or a client is bound to, from a chain that the record has accepted."""
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    anchors = [x509.load_der_x509_certificate(row["certificate"]) for row in registered]
    links = []
    for index, certificate in enumerate(certificates):
        above = certificates[index + 1 : index + 2] or [it for it in anchors if issued(certificate, it)]
        links.append(
            {
                "issuer": key_hash(above[0]),
                "serial": integer(certificate.serial_number),
                "not_after_s": not_after(certificate),
            }
        )
    return {
        "fingerprint": hashlib.sha256(chain[0]).digest(),
        "subject": certificates[0].subject.public_bytes(),
        "links": links,
        "bound_ms": time_ms,
    }


def revocations(chain: list[bytes], der: bytes, registered: list[Row]) -> tuple[bytes, Row]:
    """Whose list it is, and what it says."""
    revoked = x509.load_der_x509_crl(der)
    candidates = chain[:1] or [row["certificate"] for row in registered]
    signers = [x509.load_der_x509_certificate(each) for each in candidates]
    signer = next(each for each in signers if revoked.is_signature_valid(each.public_key()))
    try:
        number = revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    row = {
        "this_update_s": int(revoked.last_update_utc.timestamp()),
        "next_update_s": int(revoked.next_update_utc.timestamp()),
        "number": number.to_bytes((number.bit_length() + 7) // 8, "big"),
        "revoked": sorted(integer(each.serial_number) for each in revoked),
    }
    return key_hash(signer), row
