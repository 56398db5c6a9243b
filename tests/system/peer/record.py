"""The golden record, verified offline (`docs/protocol/golden-record.md`).

Whoever knows a ledger's id has its genesis, and with it the founding organisations' keys. From there everything
follows: users' keys from the transactions that registered them, each transaction's signature from its author's key
of that moment, the order from the chain of headers, and the organisations' word for all of it from their signatures
under the head. The state is executed too (`record_state.py`), and its root held against every header.

What is not repeated here are the rules: that a transaction was permitted is what the organisations' peers sign for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from . import cbor
from .record_state import State, quorum, statement, tagged_hash
from .transparency import Checkpoint, InvalidNote, NoteKey, SignedNote, leaf_hash, root

MAX_GENESIS = 4 * 1024 * 1024
MAX_TRANSACTION = 96 * 1024
MAX_HEADER = 256
MAX_BLOCK_TRANSACTIONS = 1024
FORMATS = ("coordinator-record-export/1", "coordinator-record-export/2")
"""The second has the heads after changes of the organisations, as those before signed them."""

User = tuple[str, str]
"""Tenant and user."""
VersionName = tuple[str, str, str, int]
"""Tenant, dataset, document and version."""


class RecordRefused(ValueError):
    """The record is not what its organisations and authors signed."""


def wrapped_key_label(version: VersionName, writer: User) -> bytes:
    """The label that a wrapped key must have to be taken for this very write."""
    return tagged_hash("coordinator/v1/wrapped-key-label", [*version, *writer])


def _verify(public_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature as error:
        raise RecordRefused(f"{what} is not signed by its author") from error


@dataclass(frozen=True)
class Organisation:
    """An organisation: the keys of its operator and of its peer's heads, and its approval authorities."""

    name: str
    operator_key: bytes
    head_key: bytes
    issuers: tuple[x509.Certificate, ...]

    @classmethod
    def parse(cls, item: Any) -> Organisation:
        item = cbor.fields(item, name=str, issuers=list, head_key=bytes, operator_key=bytes)
        issuers = tuple(x509.load_der_x509_certificate(der) for der in item["issuers"])
        return cls(item["name"], item["operator_key"], item["head_key"], issuers)


@dataclass(frozen=True)
class Genesis:
    """The beginning of a ledger; its hash is the ledger's id."""

    name: str
    time_ms: int
    organisations: dict[str, Organisation]
    ledger: bytes
    rows: list[dict[str, Any]]
    """The organisations as they stand in the genesis."""

    @classmethod
    def parse(cls, data: bytes) -> Genesis:
        item = cbor.decode(data, MAX_GENESIS)
        cbor.fields(item, name=str, nonce=bytes, time_ms=int, organisations=list)
        organisations = [Organisation.parse(each) for each in item["organisations"]]
        names = [organisation.name for organisation in organisations]
        if names != sorted(set(names)) or not names:
            raise RecordRefused("the founding organisations do not stand in order, each once")
        ledger = tagged_hash("coordinator/v1/genesis", item)
        founders = dict(zip(names, organisations, strict=True))
        return cls(item["name"], item["time_ms"], founders, ledger, item["organisations"])

    @property
    def origin(self) -> str:
        return f"{self.name}/{self.ledger.hex()}"


@dataclass(frozen=True)
class Header:
    """A block's header."""

    size: int
    height: int
    parent: bytes
    time_ms: int
    state_root: bytes
    transactions_root: bytes
    hash: bytes

    @classmethod
    def parse(cls, data: bytes) -> Header:
        item = cbor.fields(
            cbor.decode(data, MAX_HEADER),
            size=int,
            height=int,
            parent=bytes,
            time_ms=int,
            state_root=bytes,
            transactions_root=bytes,
        )
        return cls(**item, hash=tagged_hash("coordinator/v1/block", item))


@dataclass(frozen=True)
class Transaction:
    """A transaction that is on the record: who signed it, what it asks, and when it came."""

    id: bytes
    author: str | User
    kind: str
    body: dict[str, Any]
    time_ms: int
    content: dict[str, Any]
    signature: bytes
    managed: bool = False
    """Whether a platform keeps the author's key, as the author is named."""

    @classmethod
    def parse(cls, data: bytes, time_ms: int) -> Transaction:
        """Reads a transaction's one encoding, which is the leaf of the tree. Its signature is not checked here."""
        item = cbor.fields(cbor.decode(data, MAX_TRANSACTION), content=dict, signature=bytes)
        content = cbor.fields(item["content"], nonce=bytes, author=dict, ledger=bytes, expires_ms=int, transaction=dict)
        [(author_kind, name)] = content["author"].items()
        if author_kind in ("user", "managed"):
            name = cbor.fields(name, user=str, tenant=str)
            author: str | User = (name["tenant"], name["user"])
        elif author_kind == "organisation" and isinstance(name, str):
            author = name
        else:
            raise RecordRefused(f"an author of the kind {author_kind}")
        [(kind, body)] = content["transaction"].items()
        identifier = tagged_hash("coordinator/v1/transaction", content)
        return cls(identifier, author, kind, body, time_ms, content, item["signature"], author_kind == "managed")

    @property
    def version(self) -> VersionName:
        """Which version of which document a write or a read is about."""
        return self.body["tenant"], self.body["dataset"], self.body["document"], self.body["version"]


@dataclass
class Ledger:
    """A record as far as it has been verified."""

    genesis: Genesis
    organisations: dict[str, Organisation]
    state: State
    users: dict[User, bytes] = field(default_factory=dict)
    managed: set[User] = field(default_factory=set)
    """Users whose key a platform keeps."""
    transactions: list[Transaction] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    state_root: bytes = b""
    height: int = 0
    parent: bytes = b""
    time_ms: int = 0

    @classmethod
    def founded(cls, genesis: Genesis) -> Ledger:
        state = State(genesis.rows)
        return cls(genesis, dict(genesis.organisations), state, parent=genesis.ledger, time_ms=genesis.time_ms)

    def extend(self, header_bytes: bytes, transactions: Iterable[bytes]) -> None:
        """Takes the next block, if its header continues the chain: transactions, signatures, and the state after them."""
        header = Header.parse(header_bytes)
        transactions = list(transactions)
        if not 1 <= len(transactions) <= MAX_BLOCK_TRANSACTIONS:
            raise RecordRefused(f"a block of {len(transactions)} transactions")
        if header.height != self.height + 1 or header.parent != self.parent or header.time_ms < self.time_ms:
            raise RecordRefused(f"block {header.height} does not continue block {self.height}")
        for data in transactions:
            transaction = Transaction.parse(data, header.time_ms)
            self._apply(transaction)
            self.state.apply(transaction.id, transaction.content, header.height, header.time_ms)
            if transaction.kind.startswith("organisation-"):
                rows = self.state.tables["organisations"].values()
                self.organisations = {row["name"]: Organisation.parse(row) for row in rows}
            self.leaves.append(leaf_hash(data))
        if header.size != len(self.leaves) or header.transactions_root != root(self.leaves):
            raise RecordRefused(f"block {header.height} has other transactions than its header says")
        if header.state_root != self.state.finish_block(header.height, header.time_ms, header.parent):
            raise RecordRefused(f"block {header.height} leads to another state than its header says")
        self.height, self.parent, self.time_ms = header.height, header.hash, header.time_ms
        self.state_root = header.state_root

    def _apply(self, transaction: Transaction) -> None:
        """Verifies the author's signature, and follows what a transaction does to keys."""
        if transaction.content["ledger"] != self.genesis.ledger:
            raise RecordRefused("a transaction of another ledger")
        if any(earlier.id == transaction.id for earlier in self.transactions):
            raise RecordRefused("a transaction stands on the record twice")
        author, body = transaction.author, transaction.body
        keys: dict[Any, bytes] = {name: each.operator_key for name, each in self.organisations.items()}
        key = {**keys, **self.users}.get(author)
        if key is None:
            raise RecordRefused(f"{author} is nobody that the record knows")
        if isinstance(author, tuple) and transaction.managed != (author in self.managed):
            raise RecordRefused(f"{author} signs in the name of another keeper of its key")
        message = statement("coordinator/v1/transaction", transaction.content)
        _verify(key, transaction.signature, message, f"a transaction {transaction.kind}")
        match transaction.kind:
            case "tenant-register":
                self._register((body["tenant"], body["administrator"]), body["public_key"])
            case "user-register":
                self._register((body["tenant"], body["user"]), body["public_key"])
                self._keeps((body["tenant"], body["user"]), body)
            case "user-rotate-key":
                assert isinstance(author, tuple)
                proved = [self.genesis.ledger, *author, body["public_key"]]
                message = statement("coordinator/v1/key-rotation", proved)
                _verify(body["public_key"], body["proof"], message, "a new key")
                self.users[author] = body["public_key"]
                self._keeps(author, body)
        self.transactions.append(transaction)

    def _register(self, user: User, public_key: bytes) -> None:
        if user in self.users:
            raise RecordRefused(f"{user} is registered twice")
        self.users[user] = public_key

    def _keeps(self, user: User, body: dict[str, Any]) -> None:
        """Follows who keeps a user's key."""
        if "managed" not in body:
            self.managed.discard(user)
        elif body["managed"] is True:
            self.managed.add(user)
        else:
            raise RecordRefused("what is not managed says nothing of it")

    def verify_head(self, note: str, organisations: dict[str, Organisation] | None = None) -> list[str]:
        """The organisations (of now, or of before) that signed this very head; a quorum of them, or it is refused."""
        organisations = self.organisations if organisations is None else organisations
        names = {NoteKey(name, each.head_key): name for name, each in organisations.items()}
        try:
            signed = SignedNote.parse(note)
            signers = [names[key] for key in signed.verify(names)]
        except InvalidNote as error:
            raise RecordRefused(str(error)) from error
        checkpoint = str(Checkpoint(self.genesis.origin, len(self.leaves), root(self.leaves)))
        if signed.text != f"{checkpoint}state {base64.b64encode(self.state_root).decode()}\n":
            raise RecordRefused("the signed head is that of another record")
        if len(signers) < quorum(len(organisations)):
            raise RecordRefused(f"only {', '.join(signers)} signed the head")
        return signers

    def of_kind(self, kind: str) -> list[Transaction]:
        return [transaction for transaction in self.transactions if transaction.kind == kind]


def verify_export(text: str, ledger: bytes) -> tuple[Ledger, list[str]]:
    """Verifies an exported record for whoever knows the ledger's id: the record, and who signed its head."""
    opening, *lines, closing = (json.loads(line) for line in text.splitlines())
    if opening["format"] not in FORMATS:
        raise RecordRefused(f"an export of the format {opening['format']}")
    genesis = Genesis.parse(bytes.fromhex(opening["genesis"]))
    if genesis.ledger != ledger:
        raise RecordRefused("the export of another ledger")
    record = Ledger.founded(genesis)
    before = dict(record.organisations)
    for line in lines:
        if "handover" in line:
            record.verify_head(line["handover"], before)
            continue
        before = dict(record.organisations)
        transactions = [bytes.fromhex(each) for each in line["transactions"]]
        record.extend(bytes.fromhex(line["header"]), transactions)
    return record, record.verify_head(closing["signed_head"])
