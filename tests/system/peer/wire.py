"""A client of one crypto node: `cryptonode/1` over QUIC (section 9 of the protocol).

One request per bidirectional stream: the client sends one CBOR item and finishes, the node answers with one and
finishes. Both sides present a certificate. The node's is pinned by its Ed25519 key; the client's may be any, and
its key is the one that approvals are issued to. QUIC and TLS are those of aioquic, which shares no code with the
node's.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
from dataclasses import dataclass, field
from typing import Any

from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from . import cbor

ALPN = "cryptonode/1"
MAX_ANSWER = 4 * 1024 * 1024
"""Longest answer to anything that a client which is no member asks."""
PATIENCE_S = 20.0


class NodeRefused(Exception):
    """The node answered, and said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class OtherNode(Exception):
    """Whoever answers at the address does not hold the node's key."""


@dataclass
class ClientIdentity:
    """A client's key, and a certificate that carries it."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "independent client")])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self.key, None)
        )

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Node:
    """Where a node is, and the key that it is known by."""

    address: str
    identity: bytes

    def exchange(self, client: ClientIdentity, message: bytes, timeout: float = PATIENCE_S) -> bytes:
        """Sends bytes on a stream of a new connection, and returns what comes back."""
        return asyncio.run(asyncio.wait_for(self._exchange(client, message), timeout))

    def call(self, client: ClientIdentity, name: str, timeout: float = PATIENCE_S, **arguments: Any) -> dict[str, Any]:
        """Asks, and returns the fields of the answer, which must be of the kind that the request asks for."""
        expected = {"reencrypt": "share", "cosigned_checkpoint": "checkpoint"}.get(name, name)
        answer = cbor.decode(self.exchange(client, cbor.encode({name: arguments}), timeout), MAX_ANSWER)
        if not isinstance(answer, dict) or len(answer) != 1:
            raise cbor.NotCanonical("an answer is a map with one entry")
        [(kind, fields)] = answer.items()
        if kind == "refused":
            raise NodeRefused(fields["code"], fields["message"])
        if kind != expected:
            raise cbor.NotCanonical(f"{kind} is no answer to {name}")
        return dict(fields)

    async def _exchange(self, client: ClientIdentity, message: bytes) -> bytes:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
        configuration.certificate = client.certificate
        configuration.private_key = client.key
        host, port = self.address.rsplit(":", 1)
        async with connect(host, int(port), configuration=configuration) as connection:
            # The handshake has verified a signature by this certificate's key; aioquic has no public name for it.
            certificate = connection._quic.tls._peer_certificate
            key = certificate.public_key() if certificate else None
            if not isinstance(key, Ed25519PublicKey) or key.public_bytes_raw() != self.identity:
                raise OtherNode(self.address)
            reader, writer = await connection.create_stream()
            writer.write(message)
            writer.write_eof()
            answer = await reader.read(MAX_ANSWER + 1)
            while not reader.at_eof():
                answer += await reader.read(MAX_ANSWER + 1)
            return answer
