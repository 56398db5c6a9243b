"""Real nodes, asked by the independent client: they make a key, and re-encrypt under it as the protocol says.

Nothing of this project's own client, platform or record takes part: the organisations that approve, the wrapped keys,
the QUIC connections and the opening are all made here.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from harness.cluster import Cluster, Description, Member, free_udp_addresses, write_policy
from harness.issuing import Organisation, found_organisations, pem_issuers
from harness.program import Program, eventually
from harness.reading import Read, random_scalar
from peer import cbor, log_proof, node_audit, scheme
from peer.approval import Policy
from peer.key_certificate import CertificateRefused, CertifiedKey, Phrase
from peer.key_statement import Statement
from peer.ristretto import GENERATOR, encode_scalar, lagrange_at
from peer.scheme import Share, WrappedKey
from peer.transparency import Checkpoint, NoteKey, leaf_hash, root
from peer.wire import ClientIdentity, Node, NodeRefused, OtherNode

THRESHOLD, MEMBERS = 3, 5


@dataclass
class Site:
    cluster: Cluster
    description: Description
    organisations: list[Organisation]

    def read(self) -> Read:
        return Read(self.description, self.organisations)

    def member_of(self, position: int) -> Member:
        """The process behind a node of the description; members stand there in the order of their identities."""
        name = self.description.names[position]
        return next(member for member in self.cluster.members if member.name == name)

    def log_of(self, position: int) -> tuple[Checkpoint, list[bytes]]:
        """A node's audit log, asked for over the wire and verified: its head and its records' bytes."""
        node, client = self.description.nodes[position], ClientIdentity()
        note = node.call(client, "checkpoint")["note"]
        answer = node.call(client, "audit", **{"from": 0, "limit": 4096})
        leaves = list(answer["records"])
        head, _ = node_audit.verify_log(leaves, note, self.description.names[position], node.identity)
        return head, leaves

    def refusal(self, read: Read, **instead: Any) -> str:
        """The code with which every node refuses a request; they must agree on it."""
        codes = set()
        for node in self.description.nodes:
            with pytest.raises(NodeRefused) as refused:
                read.ask(node, **instead)
            codes.add(refused.value.code)
        [code] = codes
        return code


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nodes")
    organisations = found_organisations()
    policy = write_policy(folder / "policy.toml", 2, pem_issuers(organisations))
    program = Program.built()
    addresses = free_udp_addresses(MEMBERS)
    names = {f"node-{number}": (program, address) for number, address in enumerate(addresses, start=1)}
    cluster = Cluster(folder, names, policy)
    try:
        cluster.start()
        description = Description.read(cluster.generate(THRESHOLD))
        yield Site(cluster, description, organisations)
    finally:
        cluster.stop()


def test_any_three_of_five_open(site: Site) -> None:
    read = site.read()
    shares = [read.ask(node) for node in site.description.nodes]
    for position, share in enumerate(shares, start=1):
        assert Share.parse(share, site.description.package, read.wrapped, read.ephemeral).index == position
    for chosen in itertools.combinations(shares, THRESHOLD):
        assert read.open(list(chosen)) == read.secret


def test_two_of_five_do_not(site: Site) -> None:
    read = site.read()
    shares = [read.ask(node) for node in site.description.nodes[: THRESHOLD - 1]]
    with pytest.raises(scheme.Refused):
        read.open(shares)


def test_nodes_say_what_they_serve(site: Site) -> None:
    package = site.description.package
    for position, node in enumerate(site.description.nodes, start=1):
        status = node.call(ClientIdentity(), "status")
        assert status["identity"] == node.identity
        [key] = status["keys"]
        assert key == {
            "epoch": package.epoch,
            "index": position,
            "attempt": 1,
            "members": MEMBERS,
            "threshold": THRESHOLD,
            "public_key": package.public_key.encode(),
        }


def test_requests_may_name_the_result(site: Site) -> None:
    read = site.read()
    named = [read.ask(node, result={"epoch": 0, "attempt": 1}) for node in site.description.nodes[:THRESHOLD]]
    assert read.open(named) == read.secret
    assert site.refusal(read, result={"epoch": 1, "attempt": 1}) == "epoch-unknown"
    assert site.refusal(read, result={"epoch": 0, "attempt": 0}) == "epoch-superseded"


def test_members_sign_under_the_key_who_they_are(site: Site) -> None:
    """The certificate that leads clients to the newest members, verified by Y alone."""
    public_key = site.description.package.public_key
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = site.description.nodes[0].call(ClientIdentity(), "key_certificate", public_key=public_key.encode())
            break
        except NodeRefused as refused:
            assert refused.code == "no-key-certificate" and time.monotonic() < deadline
            time.sleep(0.2)
    statement = Statement.verify(answer["certificate"], public_key)
    assert statement.package == site.description.package
    assert statement.identities == [node.identity for node in site.description.nodes]
    assert answer["addresses"] == [node.address for node in site.description.nodes]
    for place in range(0, len(answer["certificate"]), 7):
        altered = bytearray(answer["certificate"])
        altered[place] ^= 1
        with pytest.raises((CertificateRefused, cbor.NotCanonical)):
            Statement.verify(bytes(altered), public_key)


def test_another_nodes_key_is_not_this_nodes(site: Site) -> None:
    first, second = site.description.nodes[:2]
    with pytest.raises(OtherNode):
        Node(first.address, second.identity).call(ClientIdentity(), "status")


def test_too_few_organisations(site: Site) -> None:
    read = site.read()
    assert site.refusal(read, approvals=read.approvals[:1]) == "not-enough-approvals"
    assert site.refusal(read, approvals=[read.approvals[0]] * 3) == "not-enough-approvals"
    assert site.refusal(read, approvals=[]) == "not-enough-approvals"


def test_approvals_of_another_read(site: Site) -> None:
    read, other = site.read(), site.read()
    assert site.refusal(read, approvals=other.approvals) == "not-enough-approvals"


def test_stolen_request(site: Site) -> None:
    """Everything as it was approved, presented by another client."""
    read = site.read()
    read.client = ClientIdentity()
    assert site.refusal(read) == "not-enough-approvals"


def test_foreign_authorities_count_for_nothing(site: Site) -> None:
    foreign = found_organisations()
    read = Read(site.description, foreign)
    assert site.refusal(read) == "not-enough-approvals"
    genuine = Read(site.description, [*foreign, *site.organisations])
    shares = [genuine.ask(node) for node in site.description.nodes[:THRESHOLD]]
    assert genuine.open(shares) == genuine.secret


def test_wrapped_key_of_an_unknown_cluster(site: Site) -> None:
    read = site.read()
    unknown = WrappedKey.make(random_scalar() * GENERATOR, b"", bytes(32), 5, 7)
    assert site.refusal(read, wrapped_key=unknown.encoding) == "unknown-key"


def test_ephemeral_key_of_another_document(site: Site) -> None:
    """X = U' − U opens another document, if its proof is not asked for; the approvals here are for that very X."""
    victim, read = site.read(), site.read()
    shifted = victim.wrapped.u - read.wrapped.u
    forged = shifted.encode() + read.ephemeral.encoding[32:]
    approvals = read.approve(read.wrapped.write_id, shifted.encode())
    assert site.refusal(read, ephemeral_key=forged, approvals=approvals) == "ephemeral-key-proof"


def test_altered_wrapped_key(site: Site) -> None:
    """Approved as it is, so that only its own proof can refuse it."""
    read = site.read()
    encoding = bytearray(read.wrapped.encoding)
    encoding[-1] ^= 1
    altered = bytes(encoding)
    approvals = read.approve(hashlib.sha256(altered).digest(), read.ephemeral.x.encode())
    assert site.refusal(read, wrapped_key=altered, approvals=approvals) == "wrapped-key-proof"


NOT_REQUESTS = {
    "empty": b"",
    "not CBOR": b"\xff\xff",
    "unknown request": cbor.encode({"open": {}}),
    "unknown field": cbor.encode({"status": {"more": 1}}),
    "trailing byte": cbor.encode({"status": {}}) + b"\x00",
    "indefinite length": b"\xbf\x66status\xa0\xff",
    "long length": b"\xa1\x78\x06status\xa0",
    "keys unsorted": b"\xa1\x65audit\xa2\x65limit\x01\x64from\x00",
    "a list of bytes for bytes": cbor.encode({"key": {"public_key": [0] * 32}}),
}


@pytest.mark.parametrize("case", NOT_REQUESTS)
def test_what_is_no_request_is_refused_by_name(site: Site, case: str) -> None:
    answer = cbor.decode(site.description.nodes[0].exchange(ClientIdentity(), NOT_REQUESTS[case]), 4096)
    assert list(answer) == ["refused"]
    assert answer["refused"]["code"].startswith("message-")


def test_every_share_is_in_the_log_and_nothing_else(site: Site) -> None:
    read = site.read()
    node = site.description.nodes[0]
    before, _ = site.log_of(0)
    read.ask(node)
    with pytest.raises(NodeRefused):
        read.ask(node, approvals=[])
    after, leaves = site.log_of(0)
    assert after.size == before.size + 1
    assert root([leaf_hash(leaf) for leaf in leaves[: before.size]]) == before.root
    record = node_audit.Record.parse(leaves[-1])
    assert (record.write_id, record.ephemeral_point) == (read.wrapped.write_id, read.ephemeral.x.encode())
    assert record.public_key == site.description.package.public_key.encode()
    assert record.client == hashlib.sha256(read.client.spki).digest()
    fingerprints = {each.title: each.certificate.fingerprint(SHA256()) for each in site.organisations}
    assert {a.organisation: a.issuer_fingerprint for a in record.approvals}.items() <= fingerprints.items()
    assert len(record.approvals) >= 2


def test_members_certify_their_key(site: Site) -> None:
    """The certificate that each node gives out leads to the same key, and a phrase restores its member's share."""
    description = site.description
    identities = {node.identity for node in description.nodes}
    answers = [
        node.call(ClientIdentity(), "key", public_key=description.package.public_key.encode())
        for node in description.nodes
    ]
    assert len({answer["certificate"] for answer in answers}) == 1
    certified = CertifiedKey.verify(answers[0]["certificate"], identities)
    assert certified.package == description.package
    policy = Policy.from_toml(tomllib.loads((site.cluster.folder / "policy.toml").read_text()))
    policy.check()
    assert certified.proposal.policy_hash == description.policy_hash == policy.hash
    assert [member.identity for member in certified.proposal.members] == [node.identity for node in description.nodes]
    shares = dict(certified.recover_share(Phrase.parse(m.phrase.read_text())) for m in site.cluster.members)
    chosen = list(shares)[:THRESHOLD]
    weights = lagrange_at(chosen)
    assert sum(weights[i] * shares[i] for i in chosen) * GENERATOR == description.package.public_key
    with pytest.raises(CertificateRefused):
        CertifiedKey.verify(answers[0]["certificate"], {*list(identities)[1:], bytes(32)})


def test_shares_survive_a_restart(site: Site, tmp_path: Path) -> None:
    """And the log of each, read from its files while it is down, is the one that its own export gives."""
    read = site.read()
    for member in site.cluster.members:
        member.stop()
    for member in site.cluster.members:
        identity, out = bytes.fromhex(member.card["identity"]), tmp_path / member.name
        from_files = node_audit.verify_folder(member.folder / "audit", member.name, identity)
        member.run("audit", "export", "--out", out)
        assert node_audit.verify_export(out.read_text().splitlines(), member.name, identity) == from_files
        member.start()
    shares = [read.ask(node) for node in site.description.nodes]
    assert read.open(shares[-THRESHOLD:]) == read.secret


def test_a_cosigned_checkpoint_and_a_proof_hold_without_the_node(site: Site, tmp_path: Path) -> None:
    """Checked by this implementation alone: what the node serves to anybody, and what its operator hands out."""
    member, node = site.member_of(0), site.description.nodes[0]
    read = site.read()
    read.ask(node)
    # At its start a node shows its log to the others.
    member.stop()
    member.start()

    def cosigned() -> bool:
        view = member.run("audit", "witness")
        return all(witness["time_s"] for witness in view["own"]["witnesses"]) and bool(view["own"]["witnesses"])

    eventually("the others cosign", cosigned)
    note = node.call(ClientIdentity(), "cosigned_checkpoint")["note"]
    identity = bytes.fromhex(member.card["identity"])
    log = NoteKey(node_audit.origin_of(member.name, identity), identity)
    witnesses = [
        log_proof.WitnessKey.of_node(other.name, bytes.fromhex(other.card["identity"]))
        for other in site.cluster.members
        if other is not member
    ]
    old = log_proof.verify_head(note, log)
    assert set(log_proof.cosigners(note, witnesses)) == {witness.name for witness in witnesses}

    proof = tmp_path / "read.tlog-proof"
    member.run("audit", "prove", "--write-id", read.wrapped.write_id.hex(), "--out", proof)
    index, record, proved = log_proof.verify_inclusion_file(proof.read_text(), log)
    assert index < old.size
    assert node_audit.Record.parse(record).write_id == read.wrapped.write_id
    assert log_proof.cosigners(proved, witnesses).keys() == {witness.name for witness in witnesses}

    site.read().ask(node)
    kept, continued = tmp_path / "kept", tmp_path / "continued"
    kept.write_text(note)
    member.stop()
    member.run("audit", "prove", "--from", kept, "--out", continued)
    head, _ = log_proof.verify_consistency_file(continued.read_text(), log, old)
    assert head.size >= old.size
    member.start()


def test_every_share_that_left_before_a_crash_is_in_the_log(site: Site) -> None:
    """The record is durable before the share leaves, so a node killed at any moment has logged what it gave."""
    member, [node, *_] = site.member_of(0), site.description.nodes
    reads = [site.read() for _ in range(12)]

    def ask(read: Read) -> Read | None:
        try:
            read.ask(node, timeout=3)
        except (OSError, NodeRefused):
            return None
        return read

    with ThreadPoolExecutor(max_workers=4) as threads:
        asked = [threads.submit(ask, read) for read in reads]
        next(as_completed(asked)).result()
        assert member.process is not None
        member.process.kill()
        given = [read for future in asked if (read := future.result()) is not None]
    member.start()
    assert given, "the node was killed before it had given anything"
    _, leaves = site.log_of(0)
    logged = {node_audit.Record.parse(leaf).ephemeral_point for leaf in leaves}
    assert {read.ephemeral.x.encode() for read in given} <= logged


def test_no_secret_is_in_any_log(site: Site) -> None:
    read = site.read()
    read.ask(site.description.nodes[0])
    logs = b"".join(member.log.read_bytes() for member in site.cluster.members)
    for secret in (read.secret, encode_scalar(read.x_c)):
        assert secret not in logs
        assert secret.hex().encode() not in logs
    for member in site.cluster.members:
        assert member.passphrase.read_bytes() not in logs
        assert member.phrase.read_bytes().strip() not in logs
