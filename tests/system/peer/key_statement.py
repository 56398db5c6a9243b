"""What the members of a key sign under the key itself: who they are (`docs/protocol/key-generation.md`, section 11).

Whoever knows the 32 bytes of Y verifies with it the newest members of a key that was reshared any number of times.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from . import cbor
from .key_certificate import CertificateRefused
from .ristretto import GENERATOR, IDENTITY, ORDER, Element, decode_element, decode_scalar
from .scheme import PublicKeyPackage, hash_items

MAX_CERTIFICATE = 512 << 10
CONTEXT = b"FROST-RISTRETTO255-SHA512-v1"


@dataclass(frozen=True)
class Statement:
    """A verified statement."""

    package: PublicKeyPackage
    attempt: int
    result: bytes
    identities: list[bytes]
    policy_hash: bytes

    @classmethod
    def verify(cls, certificate: bytes, public_key: Element) -> Statement:
        """Verifies a certificate under Y; raises if anything in it is not as it must be."""
        try:
            signed = cbor.decode(certificate, MAX_CERTIFICATE)
            signature, bytes_ = signed["signature"], signed["statement"]
            item = cbor.decode(bytes_, MAX_CERTIFICATE)
            members = item["members"]
            message = hash_items("cryptonode/v1/key-certificate", bytes_)
            if len(signature) != 64 or set(signed) != {"signature", "statement"}:
                raise CertificateRefused("no certificate of a key")
            if item["version"] != 1 or item["public_key"] != public_key.encode():
                raise CertificateRefused("the certificate is another key's")
            if not _signature_holds(public_key, message, signature):
                raise CertificateRefused("the certificate is not signed under the key")
            shares = tuple(decode_element(member["public_share"]) for member in members)
            package = PublicKeyPackage(public_key, item["epoch"], item["threshold"], shares)
            package.check()
            identities = [bytes(member["identity"]) for member in members]
            return cls(package, item["attempt"], item["result"], identities, item["policy_hash"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CertificateRefused(str(error)) from error


def _signature_holds(public_key: Element, message: bytes, signature: bytes) -> bool:
    """RFC 9591, section 6.2: z·G = R + c·Y."""
    commitment, z = decode_element(signature[:32]), decode_scalar(signature[32:])
    if commitment == IDENTITY:
        return False
    hashed = hashlib.sha512(CONTEXT + b"chal" + signature[:32] + public_key.encode() + message).digest()
    challenge = int.from_bytes(hashed, "little") % ORDER
    return bool(z * GENERATOR == commitment + challenge * public_key)
