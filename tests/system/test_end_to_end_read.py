"""The independent implementation opens documents itself, through a platform that gets neither their keys nor their text.

The platform, its organisations and the nodes are real; of the reader nothing is the project's.
"""

from __future__ import annotations

import base64
import json
import secrets
import tomllib
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.cluster import Cluster, free_udp_addresses
from harness.platform import Platform
from harness.program import Program
from peer import envelope, scheme
from peer.end_to_end_read import Reader, ReadRefused
from peer.transparency import InvalidNote, InvalidProof, NoteKey

SMALL, LARGE = secrets.token_bytes(1000), secrets.token_bytes(3 * 65_536 + 17)


def private_key(pem: str) -> Ed25519PrivateKey:
    """The seed in a key file (RFC 5958 version 2, which OpenSSL's reader does not take)."""
    der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-")))
    at = der.index(b"\x04\x22\x04\x20") + 4
    return Ed25519PrivateKey.from_private_bytes(der[at : at + 32])


@dataclass(frozen=True)
class Readers:
    """Bob, who may read, and Mallory, who may not."""

    bob: Reader
    mallory: Reader


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    folder, program = tmp_path_factory.mktemp("end-to-end"), Program.built()
    platform = Platform(folder, program)
    addresses = free_udp_addresses(3)
    nodes = {f"node-{number}": (program, address) for number, address in enumerate(addresses, start=1)}
    cluster = Cluster(folder, nodes, platform.policy)
    try:
        cluster.start()
        platform.add_cluster(cluster.generate(2))
        platform.start()
        platform.enrol("bob", "mallory")
        for dataset, storage in {"designs": "off-chain", "notes": "ledger"}.items():
            platform.run("dataset", "create", dataset, "--storage", storage)
            platform.run("grant", dataset, "reader", "bob")
        for dataset, content in {"designs": LARGE, "notes": SMALL}.items():
            for number in (1, 2):
                source = folder / "source"
                source.write_bytes(content + bytes([number]))
                platform.run("put", dataset, "bridge", source)
        profile = tomllib.loads((platform.folder / "client.toml").read_text())
        lines = (platform.folder / "verifiers.txt").read_text().splitlines()
        keys = [NoteKey.parse(line) for line in lines if line and not line.startswith("#")]
        assert len(keys) == 4
        people = [
            Reader(
                platform.url,
                profile["tenant"],
                name,
                profile["api_key"],
                private_key((folder / f"{name}.pem").read_text()),
                keys,
            )
            for name in ("bob", "mallory")
        ]
        yield Readers(*people)
    finally:
        platform.stop()
        cluster.stop()


@pytest.mark.parametrize("through_platform", [True, False])
def test_documents_open_at_their_reader(readers: Readers, through_platform: bool) -> None:
    for dataset, content in {"designs": LARGE, "notes": SMALL}.items():
        for number in (1, 2):
            read = readers.bob.read(dataset, "bridge", number, through_platform=through_platform)
            assert read == content + bytes([number])
        assert readers.bob.read(dataset, "bridge", None, through_platform=through_platform) == content + b"\x02"


def test_who_may_not_read_gets_nothing(readers: Readers) -> None:
    forger = replace(readers.bob, key=readers.mallory.key)
    for reader, code in ((readers.mallory, "not-permitted"), (forger, "signature")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            reader.read("designs", "bridge", 1)
        assert (refused.value.code, json.load(refused.value)["code"]) == (403, code)


def _older(reader: Reader, path: str, answer: bytes) -> bytes:
    return reader.ask("GET", path.replace("versions/2", "versions/1").replace("versions/latest", "versions/1"))


def _older_state(_reader: Reader, _path: str, answer: bytes) -> bytes:
    document = json.loads(answer)
    document["standing"]["latest"] = 1
    return json.dumps(document).encode()


def _fewer_signatures(_reader: Reader, _path: str, answer: bytes) -> bytes:
    proof = json.loads(answer)
    proof["checkpoint"] = "\n".join(proof["checkpoint"].splitlines()[:-2]) + "\n"
    return json.dumps(proof).encode()


def _other_write(_reader: Reader, _path: str, answer: bytes) -> bytes:
    proof = json.loads(answer)
    proof["transaction"] = _flipped(proof["transaction"])
    return json.dumps(proof).encode()


def _other_share(_reader: Reader, _path: str, answer: bytes) -> bytes:
    document = json.loads(answer)
    document["shares"][0] = _flipped(document["shares"][0])
    return json.dumps(document).encode()


def _other_body(_reader: Reader, _path: str, answer: bytes) -> bytes:
    return answer[:-1] + bytes([answer[-1] ^ 1])


def _flipped(text: str) -> str:
    data = bytearray.fromhex(text)
    data[-1] ^= 1
    return data.hex()


@dataclass(frozen=True)
class Deceived(Reader):
    """A reader whose platform answers one of its questions with something else."""

    where: str = ""
    lie: Callable[[Reader, str, bytes], bytes] = _other_body

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        answer = super().ask(method, path, body, **headers)
        honest = Reader(self.url, self.tenant, self.user, self.api_key, self.key, self.organisations)
        return self.lie(honest, path, answer) if path.endswith(self.where) else answer


@pytest.mark.parametrize(
    ("where", "lie", "error"),
    [
        ("versions/2/proof", _older, ReadRefused),
        ("versions/latest/proof", _older, ReadRefused),
        ("/shares", _older_state, ReadRefused),
        ("/proof", _fewer_signatures, InvalidNote),
        ("/proof", _other_write, InvalidProof),
        ("/shares", _other_share, scheme.Refused),
        ("/body", _other_body, envelope.EnvelopeRefused),
    ],
)
def test_a_platform_that_lies_is_found_out(
    readers: Readers, where: str, lie: Callable[[Reader, str, bytes], bytes], error: type[Exception]
) -> None:
    bob = readers.bob
    deceived = Deceived(bob.url, bob.tenant, bob.user, bob.api_key, bob.key, bob.organisations, where=where, lie=lie)
    with pytest.raises(error):
        for version in (2, None):
            deceived.read("designs", "bridge", version)
