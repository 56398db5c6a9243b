"""The demo, and then everything that it leaves behind verified and opened by the independent implementation alone.

The demo runs once, on a small file and on one of 3 MiB. From its folder the tests take only what an outsider would
have: the cluster's description, the exported record, the nodes' audit logs, the stored bodies; and, in the last
test, three recovery phrases, with which the documents open without any of this project's processes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from harness.cluster import Description
from harness.program import CommandFailed, Program
from peer import envelope, node_audit
from peer.approval import Policy
from peer.key_certificate import CertifiedKey, Phrase
from peer.record import Ledger, Transaction, verify_export, wrapped_key_label
from peer.ristretto import GENERATOR, ORDER, lagrange_at
from peer.scheme import EphemeralKey, WrappedKey

THRESHOLD, MEMBERS, APPROVALS_NEEDED = 3, 5, 3


@dataclass
class Site:
    """The demo's folder, and what it printed."""

    folder: Path
    files: list[Path]
    document: dict[str, Any]
    program: Program

    @property
    def description(self) -> Description:
        return Description.read(self.folder / "cluster.json")

    @property
    def policy(self) -> Policy:
        return Policy.from_toml(tomllib.loads((self.folder / "platform" / "policy.toml").read_text()))

    def record(self) -> tuple[Ledger, list[str]]:
        """The exported record, verified under the ledger's id that users pin in their profile."""
        profile = tomllib.loads((self.folder / "platform" / "client.toml").read_text())
        return verify_export((self.folder / "record.jsonl").read_text(), bytes.fromhex(profile["ledger"]))

    def logs(self) -> dict[str, list[node_audit.Record]]:
        """Each node's audit log, read from its files."""
        description = self.description
        logs = {}
        for name, node in zip(description.names, description.nodes, strict=True):
            _, logs[name] = node_audit.verify_folder(self.folder / "nodes" / name / "audit", name, node.identity)
        return logs

    def step(self, name: str) -> dict[str, Any]:
        return next(step for step in self.document["steps"] if step["name"] == name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    home, program = tmp_path_factory.mktemp("demo"), Program.built()
    small, large = home / "small.txt", home / "large.bin"
    small.write_text("Nobody holds the key to this.\n")
    large.write_bytes(secrets.token_bytes(3 * 1024 * 1024 + 17))
    folder = home / "site"
    try:
        printed = program.run("demo", small, large, "--dir", folder, "--keep", "--json", timeout_s=300)
    except CommandFailed as failure:
        steps = json.loads(failure.stdout).get("steps", [])
        pytest.fail("\n".join(f"{step['name']}: {step['result']}" for step in steps if step["outcome"] != "ok"))
    return Site(folder, [small, large], json.loads(printed), program)


def write_of(ledger: Ledger, version: tuple[str, str, str, int]) -> Transaction:
    [write] = [write for write in ledger.of_kind("write") if write.version == version]
    return write


def wrapped_key_of(write: Transaction) -> WrappedKey:
    [(level, wrapping)] = write.body["key"].items()
    assert level == "threshold"
    return WrappedKey.parse(wrapping["wrapped_key"])


def test_every_step_did_what_it_should(site: Site) -> None:
    assert site.document["ok"]
    steps = site.document["steps"]
    assert {step["outcome"] for step in steps} == {"ok"}
    assert {"stranger-refused", "read-with-two-dead", "too-few-nodes-refused", "read-after-restart"} <= {
        step["name"] for step in steps
    }
    assert site.step("too-few-nodes-refused")["message"].find("2 of 5 nodes answered, 3 are needed") >= 0


def test_public_shares_lie_on_one_polynomial(site: Site) -> None:
    """Reading the description checks it; and it is that of the policy that the organisations agreed on."""
    description, policy = site.description, site.policy
    assert (description.package.threshold, len(description.nodes)) == (THRESHOLD, MEMBERS)
    policy.check()
    assert policy.approvals_needed == APPROVALS_NEEDED
    assert description.policy_hash == policy.hash


def test_record_is_signed_by_all_its_organisations(site: Site) -> None:
    ledger, signers = site.record()
    assert sorted(signers) == sorted(ledger.organisations)
    assert len(signers) == 4
    issuers = {name: each.issuers for name, each in ledger.organisations.items()}
    assert site.policy.organisations == issuers


def test_wrapped_keys_are_true_and_named_for_their_write(site: Site) -> None:
    ledger, _ = site.record()
    writes = ledger.of_kind("write")
    assert len(writes) == len(site.files)
    write_ids = set()
    for write in writes:
        wrapped = wrapped_key_of(write)
        assert wrapped.public_key == site.description.package.public_key
        assert isinstance(write.author, tuple)
        assert wrapped.label == wrapped_key_label(write.version, write.author)
        write_ids.add(wrapped.write_id)
    assert len(write_ids) == len(writes)


def test_reads_are_of_the_wrapped_keys_on_the_record(site: Site) -> None:
    ledger, _ = site.record()
    reads = ledger.of_kind("read")
    assert len(reads) >= len(site.document["reads"])
    for read in reads:
        asked = read.body["reencryption"]
        wrapped = wrapped_key_of(write_of(ledger, read.version))
        assert asked["write_id"] == wrapped.write_id
        EphemeralKey.parse(asked["ephemeral_key"], wrapped.public_key, wrapped.write_id)
    points = [read.body["reencryption"]["ephemeral_key"][:32] for read in reads]
    assert len(set(points)) == len(points)


def test_every_share_was_given_for_an_approved_read(site: Site) -> None:
    ledger, _ = site.record()
    reads = {read.id.hex(): read for read in ledger.of_kind("read")}
    fingerprints = {
        (name, issuer.fingerprint(SHA256())) for name, each in ledger.organisations.items() for issuer in each.issuers
    }
    answered: dict[str, set[str]] = defaultdict(set)
    for node, log in site.logs().items():
        for share in log:
            [approval_id] = {approval.approval_id for approval in share.approvals}
            read = reads[approval_id]
            asked = read.body["reencryption"]
            assert share.write_id == asked["write_id"]
            assert share.ephemeral_point == asked["ephemeral_key"][:32]
            assert share.client == hashlib.sha256(asked["client_spki"]).digest()
            assert share.public_key == site.description.package.public_key.encode()
            organisations = {approval.organisation for approval in share.approvals}
            assert len(organisations) >= APPROVALS_NEEDED
            assert {(a.organisation, a.issuer_fingerprint) for a in share.approvals} <= fingerprints
            assert share.time_ms + 30_000 >= read.time_ms
            answered[approval_id].add(node)
    served = [read["transaction_id"] for read in site.document["reads"]]
    assert served
    assert all(len(answered[transaction]) >= THRESHOLD for transaction in served)
    refused = [transaction for transaction in reads if transaction not in served]
    assert refused
    assert all(len(answered[transaction]) < THRESHOLD for transaction in refused)


def certificate_of(site: Site) -> bytes:
    """The certificate of the key, from a node that is started again from its folder."""
    name, out = site.description.names[0], site.folder / "certificate"
    home, passphrase = site.folder / "nodes" / name, site.folder / "secrets" / f"{name}.passphrase"
    log = site.folder / "logs" / "again.log"
    process = site.program.start(log, "cryptonode", "run", "--dir", home, "--passphrase-file", passphrase)
    try:
        cluster = site.folder / "cluster-again.json"
        site.program.run("cryptonode", "key", "export", "--dir", home, "--out", cluster, "--certificate", out)
        assert Description.read(cluster) == site.description
    finally:
        process.stop()
    return out.read_bytes()


def test_documents_open_by_three_phrases(site: Site) -> None:
    """From the record, the stored bodies and any three phrases, with nobody's help: the recovery of last resort."""
    ledger, _ = site.record()
    identities = {node.identity for node in site.description.nodes}
    certified = CertifiedKey.verify(certificate_of(site), identities)
    assert certified.package == site.description.package
    phrases = [Phrase.parse(path.read_text()) for path in sorted((site.folder / "secrets").glob("*.phrase"))]
    assert len(phrases) == MEMBERS
    shares = dict(certified.recover_share(phrase) for phrase in phrases[-THRESHOLD:])
    secret = sum(weight * shares[index] for index, weight in lagrange_at(shares).items()) % ORDER
    assert secret * GENERATOR == certified.package.public_key

    bodies = site.folder / "platform" / "bodies"
    originals = {f"{number}-{file.name}": file.read_bytes() for number, file in enumerate(site.files, start=1)}
    opened = {}
    for write in ledger.of_kind("write"):
        wrapped, body = wrapped_key_of(write), write.body
        document_key = wrapped.open(secret * wrapped.u)
        version = envelope.Version(*write.version, length=body["length"], checksum=body["checksum"])
        body_key, _ = envelope.unwrap_body_key(document_key, body["wrapped_dek1"], version)
        [(place, where)] = body["body"].items()
        if place == "off-chain":
            pointer = envelope.open_pointer(document_key, where["pointer"], version)
            stored = (bodies / envelope.body_path(version.tenant, pointer)).read_bytes()
        else:
            stored = where
        opened[version.document] = envelope.decrypt_body(body_key, stored, version)
    assert opened == originals


def test_no_secret_is_in_any_log(site: Site) -> None:
    logs = b"".join(path.read_bytes() for path in (site.folder / "logs").iterdir())
    for path in (site.folder / "secrets").iterdir():
        assert path.read_bytes().strip() not in logs, path.name
