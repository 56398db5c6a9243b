"""One read, end to end, by the independent implementation: wrapping, approving, asking the nodes, opening."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from peer import scheme
from peer.approval import Binding
from peer.ristretto import ORDER
from peer.scheme import EphemeralKey, WrappedKey
from peer.wire import PATIENCE_S, ClientIdentity, Node

from .cluster import Description
from .issuing import Organisation, Request


def random_scalar() -> int:
    return secrets.randbelow(ORDER - 1) + 1


@dataclass
class Read:
    """What was wrapped, to whom it shall go, and who approves it."""

    description: Description
    organisations: list[Organisation]
    client: ClientIdentity = field(default_factory=ClientIdentity)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    x_c: int = field(default_factory=random_scalar)

    def __post_init__(self) -> None:
        public_key = self.description.package.public_key
        self.wrapped = WrappedKey.make(public_key, b"a document", self.secret, random_scalar(), random_scalar())
        self.ephemeral = EphemeralKey.make(public_key, self.wrapped.write_id, self.x_c, random_scalar())
        self.approvals = self.approve(self.wrapped.write_id, self.ephemeral.x.encode())

    def approve(self, write_id: bytes, ephemeral_point: bytes) -> list[bytes]:
        """Every organisation's approval for this client, of whatever it is asked to approve."""
        binding, now = Binding(write_id, ephemeral_point, self.client.spki), time.time()
        request = Request(binding, self.client.key.public_key(), now - 5, now + 200, approval_id=secrets.token_hex(8))
        return [organisation.issue(request) for organisation in self.organisations]

    def ask(self, node: Node, timeout: float = PATIENCE_S, **instead: Any) -> bytes:
        """The node's share, from a request with some of its fields exchanged."""
        arguments: dict[str, object] = {
            "wrapped_key": self.wrapped.encoding,
            "ephemeral_key": self.ephemeral.encoding,
            "approvals": self.approvals,
        }
        answer = node.call(self.client, "reencrypt", timeout, **{**arguments, **instead})
        share: bytes = answer["share"]
        return share

    def open(self, shares: list[bytes]) -> bytes:
        return scheme.open_with_shares(shares, self.description.package, self.wrapped, self.ephemeral, self.x_c)
