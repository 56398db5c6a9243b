"""A reader that opens documents itself (`docs/protocol/end-to-end-read.md`), over HTTP and with nothing of the project's.

It believes the platform in nothing: what a version is, the organisations' signed head proves; what the crypto nodes
gave, the wrapped key's own commitment shows; and the body is held against the checksum that its author signed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import cbor, envelope, scheme
from .record import Transaction, wrapped_key_label
from .record_state import quorum, statement, tagged_hash
from .ristretto import ORDER, decode_element
from .scheme import EphemeralKey, PublicKeyPackage, WrappedKey
from .transparency import NoteKey, leaf_hash, verify_checkpoint, verify_inclusion
from .wire import ClientIdentity, Node


class ReadRefused(ValueError):
    """The platform gave something else than the record has, or prepared something else than was asked."""


def _scalar() -> int:
    return secrets.randbelow(ORDER - 1) + 1


@dataclass(frozen=True)
class ProvenVersion:
    """Step 1: a version whose write a quorum of the organisations put onto the record."""

    ledger: bytes
    write: Transaction
    wrapped: WrappedKey

    @classmethod
    def verify(
        cls, proof: dict[str, Any], keys: Sequence[NoteKey], document: tuple[str, str, str], version: int | None
    ) -> ProvenVersion:
        data = bytes.fromhex(proof["transaction"])
        head = verify_checkpoint(proof["checkpoint"], keys, quorum(len(keys)))
        path = [bytes.fromhex(each) for each in proof["path"]]
        verify_inclusion(leaf_hash(data), proof["position"], head.size, path, head.root)
        write = Transaction.parse(data, 0)
        ledger = write.content["ledger"]
        if head.origin.rpartition("/")[2] != ledger.hex():
            raise ReadRefused("the head is of another ledger than the write")
        if write.kind != "write" or not isinstance(write.author, tuple) or write.version[:3] != document:
            raise ReadRefused("what is proven is something else")
        name = write.version
        if version is not None and name[3] != version:
            raise ReadRefused("what is proven is another version")
        if write.body["key"] == "none" or "threshold" not in write.body["key"]:
            raise ReadRefused("the version is under no cluster's key")
        wrapped = WrappedKey.parse(write.body["key"]["threshold"]["wrapped_key"])
        if wrapped.label != wrapped_key_label(name, write.author):
            raise ReadRefused("the wrapped key was made for another write")
        return cls(ledger, write, wrapped)

    def check_latest(self, standing: dict[str, Any], read: bytes, keys: Sequence[NoteKey]) -> None:
        """Step 3: that no later version was there when the reader's own read came onto the record."""
        head = verify_checkpoint(standing["checkpoint"], keys, quorum(len(keys)))
        path = [bytes.fromhex(each) for each in standing["path"]]
        verify_inclusion(leaf_hash(read), standing["position"], head.size, path, head.root)
        tenant, dataset, document, version = self.write.version
        key = tagged_hash(
            "coordinator/v1/state-key",
            ["documents", {"tenant": tenant, "dataset": dataset, "document": document}],
        )
        row = {name: standing[name] for name in ("latest", "erased", "changed_ms")}
        computed = hashlib.sha256(b"\0" + key + tagged_hash("coordinator/v1/state-value", row)).digest()
        beside = [bytes.fromhex(each) for each in standing["state_path"]]
        for depth, other in reversed(list(enumerate(beside))):
            right = key[depth // 8] >> (7 - depth % 8) & 1
            pair = other + computed if right else computed + other
            computed = hashlib.sha256(b"\1" + pair).digest()
        state_line = f"state {base64.b64encode(computed).decode()}"
        if standing["checkpoint"].split("\n")[3] != state_line:
            raise ReadRefused("the document does not stand so under that head")
        if row["latest"] != version:
            raise ReadRefused("there is a later version")

    @property
    def envelope(self) -> envelope.Version:
        body = self.write.body
        return envelope.Version(*self.write.version, body["length"], body["checksum"])


@dataclass(frozen=True)
class Reader:
    """A user of a tenant, with its key, the tenant's API key, and the organisations' verifier keys."""

    url: str
    tenant: str
    user: str
    api_key: str
    key: Ed25519PrivateKey
    organisations: Sequence[NoteKey]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/v1/tenants/{self.tenant}/{path}", body, method=method)
        request.add_header("Authorization", f"Bearer {self.api_key}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: bytes = response.read()
            return answer

    def read(self, dataset: str, document: str, version: int | None, *, through_platform: bool = True) -> bytes:
        """Steps 1 to 5; the plaintext, of the latest version if none is named."""
        place = f"datasets/{dataset}/documents/{document}"
        proof = json.loads(self.ask("GET", f"{place}/versions/{version or 'latest'}/proof"))
        proven = ProvenVersion.verify(proof, self.organisations, (self.tenant, dataset, document), version)
        wrapped, x_c = proven.wrapped, _scalar()
        ephemeral = EphemeralKey.make(wrapped.public_key, wrapped.write_id, x_c, _scalar())
        client = None if through_platform else ClientIdentity()

        prepared = json.loads(self.ask("POST", f"{place}/reads", self._wish(proven, ephemeral, client)))
        content = bytes.fromhex(prepared["transaction"])
        self._check(cbor.decode(content, 96 * 1024), proven, ephemeral, client)
        signature = self.key.sign(b"\x82" + cbor.encode("coordinator/v1/transaction") + content)
        signed = b"\xa2" + cbor.encode("content") + content + cbor.encode("signature") + cbor.encode(signature)
        answer = json.loads(self.ask("POST", f"reads/{prepared['id']}/shares", signed))

        if version is None:
            proven.check_latest(answer["standing"], signed, self.organisations)
        package = _package(answer["cluster"])
        if client is None:
            shares = [bytes.fromhex(share) for share in answer["shares"]]
        else:
            assert answer["shares"] == []
            shares = _from_nodes(answer, client, wrapped, ephemeral)
        document_key = scheme.open_with_shares(shares, package, wrapped, ephemeral, x_c)
        return self._body(proven, document_key, answer["receipt"]["transaction_id"])

    def _wish(self, proven: ProvenVersion, ephemeral: EphemeralKey, client: ClientIdentity | None) -> bytes:
        version = proven.write.version[3]
        asked = {"reader": self.user, "version": version, "ephemeral_key": ephemeral.encoding.hex()}
        if client is not None:
            asked["client_spki"] = client.spki.hex()
        return json.dumps(asked).encode()

    def _check(
        self, content: Any, proven: ProvenVersion, ephemeral: EphemeralKey, client: ClientIdentity | None
    ) -> None:
        """Step 2: nothing else is signed than what was asked for."""
        reencryption = content["transaction"]["read"]["reencryption"]
        tenant, dataset, document, version = proven.write.version
        meant = {
            "ledger": proven.ledger,
            "author": {"user": {"tenant": self.tenant, "user": self.user}},
            "nonce": content["nonce"],
            "expires_ms": content["expires_ms"],
            "transaction": {
                "read": {
                    "tenant": tenant,
                    "dataset": dataset,
                    "document": document,
                    "version": version,
                    "reencryption": {
                        "write_id": proven.wrapped.write_id,
                        "ephemeral_key": ephemeral.encoding,
                        "client_spki": reencryption["client_spki"] if client is None else client.spki,
                    },
                }
            },
        }
        if statement("x", meant) != statement("x", content):
            raise ReadRefused("something else was prepared than was asked for")

    def _body(self, proven: ProvenVersion, document_key: bytes, read: str) -> bytes:
        """Steps 4 and 5."""
        version, write = proven.envelope, proven.write.body
        body_key, _ = envelope.unwrap_body_key(document_key, write["wrapped_dek1"], version)
        [(place, what)] = write["body"].items()
        if place == "on-ledger":
            sealed: bytes = what
        else:
            pointer = envelope.open_pointer(document_key, what["pointer"], version)
            sealed = self.ask("GET", f"recorded-reads/{read}/body", Body_Pointer=pointer.hex())
        return envelope.decrypt_body(body_key, sealed, version)


def _package(cluster: dict[str, Any]) -> PublicKeyPackage:
    members = cluster["members"]
    if [member["index"] for member in members] != list(range(1, len(members) + 1)):
        raise ReadRefused("the cluster's members do not stand in order")
    shares = tuple(decode_element(bytes.fromhex(member["public_share"])) for member in members)
    public_key = decode_element(bytes.fromhex(cluster["public_key"]))
    package = PublicKeyPackage(public_key, cluster["epoch"], cluster["threshold"], shares)
    package.check()
    return package


def _from_nodes(
    answer: dict[str, Any], client: ClientIdentity, wrapped: WrappedKey, ephemeral: EphemeralKey
) -> list[bytes]:
    """Step 3, without the platform."""
    cluster = answer["cluster"]
    approvals = [bytes.fromhex(each) for each in answer["approvals"]]
    shares = []
    for member in cluster["members"][: cluster["threshold"]]:
        node = Node(member["address"], bytes.fromhex(member["identity"]))
        request = {"wrapped_key": wrapped.encoding, "ephemeral_key": ephemeral.encoding, "approvals": approvals}
        shares.append(node.call(client, "reencrypt", **request)["share"])
    return shares
