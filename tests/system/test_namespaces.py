"""Five nodes on machines of their own, and cables that are pulled.

Every node and the platform live in network namespaces of their own, so that a pulled cable is what it is in a
machine room: packets vanish, and nobody is told. What must hold: a ceremony waits for a member that cannot be
reached, says for whom, and goes on by itself; a read needs any three of five; with fewer there is a refusal that
says who did not answer, and nothing has to be restarted afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import Cluster, Description
from harness.network import Network
from harness.platform import Platform, Refusal
from harness.program import CommandFailed, Program, eventually

THRESHOLD = 3
NODES = [f"node-{number}" for number in range(1, 6)]
PLATFORM = "platform"
PATIENCE_S = 20
"""How long a read may take at most while nodes are cut off."""


@dataclass
class Lab:
    network: Network
    cluster: Cluster
    platform: Platform
    folder: Path

    def propose(self) -> str:
        """Has the first node propose a key, and returns the ceremony's id at once."""
        return str(self.cluster.members[0].run("ceremony", "propose", "--threshold", str(THRESHOLD))["id"])

    def status(self, ceremony: str) -> Any:
        return self.cluster.members[0].run("ceremony", "status", ceremony)

    def decided(self, ceremony: str) -> dict[str, Any]:
        """What became of a ceremony, once it is decided."""

        def view() -> dict[str, Any] | None:
            status = self.status(ceremony)
            return status if status["decided"] else None

        return eventually("the ceremony is decided", view, within_s=60)

    def export(self, public_key: str) -> Path:
        out = self.folder / f"{public_key[:8]}.json"
        self.cluster.members[0].run("key", "export", public_key, "--out", out)
        return out

    def read(self, document: str) -> dict[str, Any]:
        """Bob reads, on the platform's machine; returns what each node did."""
        out = self.folder / "read" / document
        out.parent.mkdir(exist_ok=True)
        out.unlink(missing_ok=True)
        begin = time.monotonic()
        got = self.platform.run("get", "designs", document, "--out", out, user="bob")["got"]
        assert time.monotonic() - begin < PATIENCE_S
        assert out.read_bytes() == (self.folder / document).read_bytes()
        return {node["name"]: node["outcome"] for node in got["report"]["nodes"]}

    def refused(self, document: str) -> Refusal:
        begin = time.monotonic()
        out = self.folder / "refused"
        refusal = self.platform.refused("get", "designs", document, "--out", out, user="bob")
        assert time.monotonic() - begin < PATIENCE_S
        assert not out.exists()
        return refusal


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, program = tmp_path_factory.mktemp("lab"), Program.built()
    with Network([*NODES, PLATFORM]) as network:
        platform = Platform(folder, program.within(network.namespace(PLATFORM)))
        places = {name: (program.within(network.namespace(name)), f"{network.host(name)}:7700") for name in NODES}
        cluster = Cluster(folder, places, platform.policy)
        try:
            cluster.start()
            yield Lab(network, cluster, platform, folder)
        finally:
            platform.stop()
            cluster.stop()


@pytest.fixture(scope="module")
def document(lab: Lab) -> str:
    """A document under a key of all five nodes, which bob may read."""
    key = lab.decided(lab.propose())["public_key"]
    lab.platform.add_cluster(lab.export(key))
    lab.platform.start()
    lab.platform.enrol("alice", "bob")
    lab.platform.run("dataset", "create", "designs", "--encryption", "threshold", user="alice")
    lab.platform.run("grant", "designs", "reader", "bob", user="alice")
    (lab.folder / "bridge").write_bytes(b"a bridge of many spans\n" * 10_000)
    lab.platform.run("put", "designs", "bridge", lab.folder / "bridge", user="alice")
    return "bridge"


def test_ceremony_waits_for_a_member_that_cannot_be_reached(lab: Lab) -> None:
    lab.network.unplug("node-4")
    ceremony = lab.propose()

    def waits_for_node_4() -> bool:
        waiting = lab.status(ceremony)["waiting_for"]
        return [each["member"] for each in waiting] == ["node-4"]

    eventually("the ceremony waits for node-4 alone, and says so", waits_for_node_4)
    assert not lab.status(ceremony)["decided"]
    lab.network.plug("node-4")
    view = lab.decided(ceremony)
    assert view["outcome"] == "activated", view
    assert sorted(Description.read(lab.export(view["public_key"])).names) == NODES


def test_reads_go_on_with_three_of_five(lab: Lab, document: str) -> None:
    lab.read(document)
    for name in ("node-2", "node-5"):
        lab.network.unplug(name)
    outcomes = lab.read(document)
    assert {name for name, outcome in outcomes.items() if outcome == "answered"} == {"node-1", "node-3", "node-4"}

    lab.network.unplug("node-1")
    refusal = lab.refused(document)
    assert "2 of 5 nodes answered, 3 are needed" in refusal.message, refusal
    assert all(name in refusal.message for name in ("node-1", "node-2", "node-5")), refusal

    for name in ("node-1", "node-2", "node-5"):
        lab.network.plug(name)

    # With the other two cut off, a read that works has been answered by the three that were.
    lab.network.unplug("node-3")
    lab.network.unplug("node-4")

    def answered() -> set[str] | None:
        try:
            outcomes = lab.read(document)
        except CommandFailed:
            return None
        return {name for name, outcome in outcomes.items() if outcome == "answered"}

    healed = eventually("the nodes that were cut off answer again, none of them restarted", answered, within_s=60)
    assert healed == {"node-1", "node-2", "node-5"}
    assert all(member.process is not None and member.process.running for member in lab.cluster.members)
