"""A client that a generator makes from the OpenAPI file, with nothing of ours in it, writes a document and reads it.

The file is the one that the platform itself serves. What the generator does not make is the signature: the few lines of
canonical CBOR around it stand here, as an application would have them.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import secrets
import subprocess
import sys
import tomllib
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.program import Program

PACKAGE = "coordinator_client"
TAG = "coordinator/v1/transaction"


@dataclass
class Exchange:
    """The generated client of a running platform, and a user who signs."""

    client: Any
    tenant: str
    user: str
    key: Ed25519PrivateKey

    def call(self, module: str, *arguments: Any, **named: Any) -> Any:
        """Calls a generated function; its status must say that it was done."""
        function = importlib.import_module(f"{PACKAGE}.api.{module}").sync_detailed
        response = function(self.tenant, *arguments, client=self.client, **named)
        assert response.status_code < 300, response.content
        return response

    def model(self, name: str, **fields: Any) -> Any:
        return getattr(importlib.import_module(f"{PACKAGE}.models"), name).from_dict(fields)

    def file(self, content: bytes) -> Any:
        return importlib.import_module(f"{PACKAGE}.types").File(payload=io.BytesIO(content))

    def sign(self, transaction: str, kind: str) -> Any:
        """The signed transaction, if it is of the kind that was asked for and in this user's name."""
        content = bytes.fromhex(transaction)
        meant = cbor2.loads(content)
        assert list(meant["transaction"]) == [kind]
        assert meant["author"] == {"user": {"tenant": self.tenant, "user": self.user}}
        # The array [tag, content] is signed; the content's bytes are canonical as they come.
        signature = self.key.sign(b"\x82" + cbor2.dumps(TAG) + content)
        signed = b"\xa2" + cbor2.dumps("content") + content + cbor2.dumps("signature") + cbor2.dumps(signature)
        return self.file(signed)

    def put(self, dataset: str, document: str, content: bytes) -> Any:
        upload = self.call("documents.prepare_upload", dataset, document, body=self.file(content), author=self.user)
        prepared = upload.parsed
        signed = self.sign(prepared.transaction, "write")
        once = uuid.uuid4().hex
        commit = self.call("documents.commit_upload", prepared.id, body=signed, idempotency_key=once)
        signed.payload.seek(0)
        again = self.call("documents.commit_upload", prepared.id, body=signed, idempotency_key=once)
        assert again.parsed == commit.parsed
        return commit.parsed

    def get(self, dataset: str, document: str, **named: Any) -> Any:
        asked = self.model("ReadBody", reader=self.user)
        prepared = self.call("documents.prepare_read", dataset, document, body=asked).parsed
        signed = self.sign(prepared.transaction, "read")
        return prepared, self.call("documents.commit_read", prepared.id, body=signed, **named)


def private_key(pem: str) -> Ed25519PrivateKey:
    """The key in a user's file, by the reader that everybody has."""
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    base, program = tmp_path_factory.mktemp("python-client"), Program.built()
    folder, passphrase = base / "platform", base / "passphrase"
    passphrase.write_text(secrets.token_hex(16))
    program.json(
        *("coordinator", "init", "--dir", folder, "--passphrase-file", passphrase, "--listen", "127.0.0.1:0"),
        *("--organisation", "alder", "--approvals", "1"),
    )
    arguments = ("coordinator", "run", "--dir", folder, "--passphrase-file", passphrase)
    process = program.start(base / "platform.log", *arguments)
    try:
        url = process.ready["url"]
        served = base / "openapi.json"
        served.write_bytes(urllib.request.urlopen(f"{url}/v1/openapi.json", timeout=30).read())
        generator = Path(sys.executable).with_name("openapi-python-client")
        made = subprocess.run(
            [generator, "generate", "--path", served, "--meta", "none", "--output-path", base / PACKAGE],
            capture_output=True, text=True, timeout=180, check=True,
        )  # fmt: skip
        # It says so if it leaves something out.
        assert "will not be generated" not in made.stdout + made.stderr, made.stdout
        profile = tomllib.loads((folder / "client.toml").read_text())
        key = private_key((folder / profile["key"]).read_text())
        with pytest.MonkeyPatch.context() as path:
            path.syspath_prepend(base)
            client = importlib.import_module(PACKAGE).AuthenticatedClient(base_url=url, token=profile["api_key"])
            yield Exchange(client, profile["tenant"], profile["user"], key)
    finally:
        assert process.stop() == 0


def test_a_generated_client_writes_and_reads(exchange: Exchange) -> None:
    asked = exchange.model("NewDataset", dataset="papers", encryption="platform", storage="off-chain")
    change = exchange.call("datasets.prepare_dataset", body=asked, author=exchange.user).parsed
    signed = exchange.sign(change.transaction, "dataset-create")
    receipt = exchange.call("record.submit_transaction", body=signed).parsed
    assert receipt.transaction_id == change.transaction_id

    content = secrets.token_bytes(200_000)
    exchange.put("papers", "thesis", content)
    _, read = exchange.get("papers", "thesis")
    assert read.content == content
    prepared, part = exchange.get("papers", "thesis", range_="bytes=65530-65545")
    assert (part.status_code, part.content) == (206, content[65_530:65_546])
    report = exchange.call("documents.read_report", prepared.id).parsed
    assert (report.outcome, report.length) == ("complete", len(content))

    exchange.put("papers", "thesis", b"second")
    versions = exchange.call("documents.list_versions", "papers", "thesis", limit=1).parsed
    assert [item.version for item in versions.items] == [1]
    rest = exchange.call("documents.list_versions", "papers", "thesis", after=int(versions.next_)).parsed
    assert [(item.version, item.length) for item in rest.items] == [(2, 6)]


def test_a_generated_client_writes_in_parts_for_a_user_whose_key_the_platform_keeps(exchange: Exchange) -> None:
    asked = exchange.model("NewUser", user="carol", managed=True, role="member")
    change = exchange.call("users.prepare_user", body=asked, author=exchange.user).parsed
    exchange.call("record.submit_transaction", body=exchange.sign(change.transaction, "user-register"))
    asked = exchange.model("NewDataset", dataset="films", encryption="platform", storage="off-chain")
    exchange.call("datasets.prepare_dataset", body=asked, author="carol")

    content = secrets.token_bytes(300_000)
    begun = exchange.call("documents.begin_parts", "films", "short", body=exchange.model("PartsBody", author="carol")).parsed
    for start in (0, 100_000, 200_000):
        part = exchange.file(content[start : start + 100_000])
        sent = exchange.call("documents.send_part", begun.id, body=part, offset=start).parsed
    assert sent.offset == len(content)
    whole = exchange.model("WholeBody", length=len(content), sha256=hashlib.sha256(content).hexdigest())
    first = exchange.call("documents.complete_content", begun.id, body=whole)
    again = exchange.call("documents.complete_content", begun.id, body=whole)
    assert first.parsed == again.parsed
    assert (first.parsed.version, first.parsed.length) == (1, len(content))
    assert exchange.call("documents.read_content", "films", "short", reader="carol").content == content

    assert exchange.call("documents.list_owned", "carol").parsed.count == 1
    erased = exchange.call("documents.erase_owned", "carol").parsed
    assert ([it.document for it in erased.erased], erased.remaining) == (["short"], 0)


def test_a_generated_client_sees_why_it_is_refused(exchange: Exchange) -> None:
    function = importlib.import_module(f"{PACKAGE}.api.datasets.get_dataset").sync_detailed
    refused = function(exchange.tenant, "unknown", client=exchange.client)
    assert (refused.status_code, refused.parsed.code) == (404, "not-found")
    assert json.loads(refused.content)["request_id"] == refused.headers["x-request-id"]
