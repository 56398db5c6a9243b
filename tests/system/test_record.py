"""The reader of golden records, on a small record made here: what was forged, left out or exchanged is found."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from harness.issuing import Organisation
from peer import cbor
from peer.record import Genesis, Ledger, RecordRefused, verify_export
from peer.record_state import State, quorum, statement, tagged_hash
from peer.transparency import Checkpoint, leaf_hash, root, sign

TIME_MS = 1_800_000_000_000
NAMES = ["alder", "birch", "cedar", "dogwood"]


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


OPERATORS = {name: Ed25519PrivateKey.generate() for name in NAMES}
HEADS = {name: Ed25519PrivateKey.generate() for name in NAMES}
ALICE, BOB, NEW = (Ed25519PrivateKey.generate() for _ in range(3))


def genesis() -> bytes:
    organisations = []
    for name in NAMES:
        authority = Organisation(name, TIME_MS / 1000, TIME_MS / 1000 + 86_400)
        organisation = {
            "name": name,
            "operator_key": public(OPERATORS[name]),
            "head_key": public(HEADS[name]),
            "issuers": [authority.certificate.public_bytes(Encoding.DER)],
        }
        organisations.append(organisation)
    return cbor.encode({"name": "ledger", "nonce": bytes(32), "time_ms": TIME_MS, "organisations": organisations})


GENESIS = genesis()
LEDGER = Genesis.parse(GENESIS).ledger


def transaction(author: dict[str, Any], key: Ed25519PrivateKey, kind: str, body: Any, **changes: Any) -> bytes:
    """A signed transaction; the changes are made to it after that."""
    content = {
        "ledger": LEDGER,
        "author": author,
        "nonce": hashlib.sha256(cbor.encode([kind, body])).digest()[:16],
        "expires_ms": TIME_MS + 60_000,
        "transaction": {kind: body},
    }
    signature = key.sign(statement("coordinator/v1/transaction", content))
    return cbor.encode({"content": {**content, **changes}, "signature": signature})


def user(name: str) -> dict[str, Any]:
    return {"user": {"tenant": "clinic", "user": name}}


REGISTER_TENANT = transaction(
    {"organisation": "alder"},
    OPERATORS["alder"],
    "tenant-register",
    {"tenant": "clinic", "administrator": "alice", "public_key": public(ALICE)},
)
REGISTER_BOB = transaction(
    user("alice"),
    ALICE,
    "user-register",
    {"tenant": "clinic", "user": "bob", "public_key": public(BOB), "role": "member"},
)
ROTATE_BOB = transaction(
    user("bob"),
    BOB,
    "user-rotate-key",
    {
        "public_key": public(NEW),
        "proof": NEW.sign(statement("coordinator/v1/key-rotation", [LEDGER, "clinic", "bob", public(NEW)])),
    },
)
CREATE = {"tenant": "clinic", "dataset": "scans", "encryption": "platform", "storage": "ledger"}
CREATE_BY_BOB = transaction(user("bob"), NEW, "dataset-create", CREATE)


@dataclass
class Record:
    """Blocks with their headers, made honestly of whatever transactions are given."""

    blocks: list[tuple[dict[str, Any], list[bytes]]] = field(default_factory=list)
    state: State = field(default_factory=lambda: State(Genesis.parse(GENESIS).rows))

    def add(self, *transactions: bytes) -> Record:
        leaves = [leaf_hash(each) for _, earlier in self.blocks for each in earlier]
        leaves += [leaf_hash(each) for each in transactions]
        last = self.blocks[-1][0] if self.blocks else None
        parent = LEDGER if last is None else tagged_hash("coordinator/v1/block", last)
        height, time_ms = len(self.blocks) + 1, TIME_MS + len(self.blocks)
        for each in transactions:
            content = cbor2.loads(each)["content"]
            self.state.apply(tagged_hash("coordinator/v1/transaction", content), content, height, time_ms)
        header = {
            "height": height,
            "parent": parent,
            "time_ms": time_ms,
            "size": len(leaves),
            "transactions_root": root(leaves),
            "state_root": self.state.finish_block(height, time_ms, parent),
        }
        self.blocks.append((header, list(transactions)))
        return self

    def verify(self) -> Ledger:
        ledger = Ledger.founded(Genesis.parse(GENESIS))
        for header, transactions in self.blocks:
            ledger.extend(cbor.encode(header), transactions)
        return ledger

    def head(self, *signers: str, **changes: Any) -> str:
        header = {**self.blocks[-1][0], **changes}
        origin = f"ledger/{LEDGER.hex()}"
        text = str(Checkpoint(origin, header["size"], header["transactions_root"]))
        text += f"state {base64.b64encode(header['state_root']).decode()}\n"
        return f"{text}\n" + "".join(sign(text, name, HEADS[name]) for name in signers)


def good() -> Record:
    return Record().add(REGISTER_TENANT).add(REGISTER_BOB, ROTATE_BOB).add(CREATE_BY_BOB)


def test_record_and_head_belong_together() -> None:
    record = good()
    ledger = record.verify()
    assert [each.kind for each in ledger.transactions] == [
        "tenant-register",
        "user-register",
        "user-rotate-key",
        "dataset-create",
    ]
    assert ledger.verify_head(record.head(*NAMES)) == NAMES
    assert ledger.verify_head(record.head(*NAMES[1:])) == NAMES[1:]


def test_quorum() -> None:
    assert [quorum(n) for n in range(1, 8)] == [1, 2, 3, 3, 4, 5, 5]


def test_head_of_too_few_or_of_another_record() -> None:
    record = good()
    ledger = record.verify()
    with pytest.raises(RecordRefused, match="only"):
        ledger.verify_head(record.head(*NAMES[:2]))
    for change in ({"size": 3}, {"transactions_root": bytes(32)}, {"state_root": bytes(32)}):
        with pytest.raises(RecordRefused, match="another record"):
            ledger.verify_head(record.head(*NAMES, **change))
    with pytest.raises(RecordRefused, match="only"):
        ledger.verify_head(record.head(*NAMES[:3]).replace(" birch ", " dogwood "))


FORGED = {
    "signed with the key before the rotation": transaction(user("bob"), BOB, "dataset-create", CREATE),
    "signed by a stranger": transaction(user("bob"), ALICE, "dataset-create", CREATE),
    "nobody's": transaction(user("eve"), ALICE, "dataset-create", CREATE),
    "changed after signing": transaction(user("bob"), NEW, "dataset-create", CREATE, expires_ms=TIME_MS),
    "of another ledger": transaction(user("bob"), NEW, "dataset-create", CREATE, ledger=bytes(32)),
    "a second time": REGISTER_BOB,
    "bob registered anew": transaction(
        user("alice"),
        ALICE,
        "user-register",
        {"tenant": "clinic", "user": "bob", "public_key": public(ALICE), "role": "member"},
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_transaction_is_found(case: str) -> None:
    with pytest.raises(RecordRefused):
        Record().add(REGISTER_TENANT).add(REGISTER_BOB, ROTATE_BOB).add(FORGED[case]).verify()


def test_blocks_have_one_order() -> None:
    for change in ("exchange", "leave out", "rewrite", "older", "empty", "another state"):
        record = copy.deepcopy(good())
        match change:
            case "exchange":
                record.blocks[1], record.blocks[2] = record.blocks[2], record.blocks[1]
            case "leave out":
                del record.blocks[1]
            case "rewrite":
                record.blocks[1][1].pop()
            case "empty":
                record.add()
            case "another state":
                record.blocks[2][0]["state_root"] = bytes(32)
            case "older":
                record.blocks[2][0]["time_ms"] = TIME_MS - 1
        with pytest.raises(RecordRefused):
            record.verify()


def newcomer() -> dict[str, Any]:
    authority = Organisation("elm", TIME_MS / 1000, TIME_MS / 1000 + 86_400)
    issuers = [authority.certificate.public_bytes(Encoding.DER)]
    return {"name": "elm", "operator_key": public(ALICE), "head_key": public(BOB), "issuers": issuers}


def endorse(name: str, change: dict[str, Any]) -> bytes:
    return transaction({"organisation": name}, OPERATORS[name], "organisation-endorse", {"change": change})


def test_organisations_change_by_quorum() -> None:
    admit, remove = {"admit": newcomer()}, {"remove": "dogwood"}
    record = Record().add(*(endorse(name, admit) for name in NAMES[:2]))
    assert "elm" not in record.verify().organisations
    record.add(endorse("cedar", admit))
    assert "elm" in record.verify().organisations
    # Of five, four decide.
    record.add(*(endorse(name, remove) for name in NAMES[:3]))
    assert "dogwood" in record.verify().organisations
    record.add(endorse("dogwood", remove))
    ledger = record.verify()
    assert sorted(ledger.organisations) == ["alder", "birch", "cedar", "elm"]
    assert ledger.verify_head(record.head(*NAMES)) == NAMES[:3]


def test_departure_decides_what_enough_have_endorsed() -> None:
    admit, remove = {"admit": newcomer()}, {"remove": "dogwood"}
    rekey = {"rekey": {**Genesis.parse(GENESIS).rows[2], "operator_key": public(NEW)}}
    record = Record().add(*(endorse(name, admit) for name in NAMES[:3]))
    record.add(*(endorse(name, rekey) for name in NAMES[:3]), *(endorse(name, remove) for name in NAMES[:3]))
    assert record.verify().organisations["cedar"].operator_key == public(OPERATORS["cedar"])
    record.add(endorse("dogwood", remove))
    ledger = record.verify()
    assert sorted(ledger.organisations) == ["alder", "birch", "cedar", "elm"]
    assert ledger.organisations["cedar"].operator_key == public(NEW)
    # What is not possible when it has enough stays.
    record = Record().add(*(endorse(name, admit) for name in NAMES[:3]))
    late = {"rekey": {**Genesis.parse(GENESIS).rows[3], "operator_key": public(NEW)}}
    record.add(*(endorse(name, late) for name in NAMES[:3]), *(endorse(name, remove) for name in NAMES))
    ledger = record.verify()
    assert sorted(ledger.organisations) == ["alder", "birch", "cedar", "elm"]
    assert len(ledger.state.tables["pending-changes"]) == 1


def test_withdrawn_endorsement_does_not_count() -> None:
    change = {"remove": "dogwood"}
    withdraw = {"change": tagged_hash("coordinator/v1/organisation-change", change)}
    record = Record().add(endorse("alder", change), endorse("birch", change))
    record.add(transaction({"organisation": "alder"}, OPERATORS["alder"], "organisation-withdraw", withdraw))
    record.add(endorse("cedar", change))
    assert "dogwood" in record.verify().organisations


def test_export() -> None:
    record = good()
    lines: list[Any] = [{"format": "coordinator-record-export/1", "genesis": GENESIS.hex()}]
    lines += [{"header": cbor.encode(h).hex(), "transactions": [t.hex() for t in ts]} for h, ts in record.blocks]
    lines += [{"signed_head": record.head(*NAMES)}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    ledger, signers = verify_export(text, LEDGER)
    assert (len(ledger.transactions), signers) == (4, NAMES)
    with pytest.raises(RecordRefused, match="another ledger"):
        verify_export(text, bytes(32))
    with pytest.raises(RecordRefused, match="another record"):
        cut = "".join(f"{json.dumps(line)}\n" for line in (*lines[:-2], lines[-1]))
        verify_export(cut, LEDGER)


def test_export_over_a_change_of_the_organisations() -> None:
    record = good().add(*(endorse(each, {"remove": "dogwood"}) for each in NAMES[:3]))
    lines: list[Any] = [{"format": "coordinator-record-export/2", "genesis": GENESIS.hex()}]
    lines += [{"header": cbor.encode(h).hex(), "transactions": [t.hex() for t in ts]} for h, ts in record.blocks]

    def export(*signers: str) -> str:
        handover = {"handover": record.head(*signers)}
        return "".join(f"{json.dumps(line)}\n" for line in (*lines, handover, {"signed_head": record.head(*NAMES)}))

    # Dogwood is one of those before, and none of those after.
    ledger, signers = verify_export(export("alder", "birch", "dogwood"), LEDGER)
    assert ("dogwood" in ledger.organisations, signers) == (False, NAMES[:3])
    with pytest.raises(RecordRefused, match="only alder, birch signed"):
        verify_export(export("alder", "birch"), LEDGER)


VECTORS = Path(__file__).parents[2] / "coordinator/tests/vectors"
"""Records with every kind of transaction, made once by the platform."""


def of_vector(name: str) -> tuple[Ledger, list[str], set[str]]:
    text = (VECTORS / name).read_text()
    opening = json.loads(text.splitlines()[0])
    record, signers = verify_export(text, Genesis.parse(bytes.fromhex(opening["genesis"])).ledger)
    return record, signers, {table for table, rows in record.state.tables.items() if rows}


def test_states_of_another_implementation() -> None:
    """Every header's state root comes out here as it did there."""
    record, signers, tables = of_vector("record.jsonl")
    assert len({transaction.kind for transaction in record.transactions}) == 20
    assert signers == ["alpha", "beta", "gamma"]
    assert len(tables) == 15


def test_states_with_companies_certificates() -> None:
    record, _, tables = of_vector("record-certificates.jsonl")
    kinds = {transaction.kind for transaction in record.transactions}
    assert kinds >= {"tenant-authorities", "user-certify", "revocations-publish"}
    assert tables >= {"authorities", "revocations"}


def test_states_with_bound_clients_and_departures() -> None:
    record, signers, tables = of_vector("record-clients.jsonl")
    kinds = [transaction.kind for transaction in record.transactions]
    assert (kinds.count("client-certify"), kinds.count("organisation-endorse")) == (3, 10)
    assert tables >= {"clients"} and "pending-changes" not in tables
    assert sorted(record.organisations) == ["alpha", "beta", "delta", "gamma"]
    assert len(signers) >= 3


def test_states_with_managed_users() -> None:
    record, _, _ = of_vector("record-managed.jsonl")
    carol = ("acme", "carol")
    signed = [transaction.managed for transaction in record.transactions if transaction.author == carol]
    assert signed == [True] * 6 + [False] * 2 + [True]
    assert record.managed == {carol}


def test_states_with_rewraps() -> None:
    record, _, _ = of_vector("record-rewraps.jsonl")
    assert [transaction.kind for transaction in record.transactions].count("rewrap") == 2


def test_handovers_of_another_implementation() -> None:
    """Four changes of the organisations, each signed by a quorum of those before."""
    record, signers, _ = of_vector("record-handovers.jsonl")
    assert sorted(signers) == ["alpha", "epsilon", "gamma"] == sorted(record.organisations)


def test_one_encoding() -> None:
    with pytest.raises(cbor.NotCanonical):
        Record().add(REGISTER_TENANT + b"\x00").verify()
    with pytest.raises(cbor.NotCanonical):
        Genesis.parse(GENESIS + b"\x00")
