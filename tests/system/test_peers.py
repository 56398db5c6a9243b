"""Organisations' peers of the record on machines of their own, cables that are pulled, and disks that are lost.

What must hold: three of four go on without the one that is cut off; two of four make nothing final, and nothing that
was final is lost; and when the cables are back, all four have the same record, none of them restarted. Five of seven go
on while one is cut off and another has lost its disk. A platform on a machine of its own asks the peers over TLS.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.network import Network
from harness.program import CommandFailed, Process, Program, eventually

ORGANISATIONS = ["alder", "birch", "cedar", "dogwood"]
SEVEN = [*ORGANISATIONS, "elm", "fir", "ginkgo"]
PLATFORM = "platform"
HEALED_WITHIN_S = 120


@dataclass
class Peers:
    network: Network
    program: Program
    folder: Path
    organisations: list[str]
    processes: dict[str, Process] = field(default_factory=dict)

    def run(self, organisation: str, *arguments: str | Path) -> Any:
        """A command of the organisation's operator, on its machine."""
        program = self.program.within(self.network.namespace(organisation))
        command, *rest = arguments
        return program.json("coordinator", "peer", command, *rest, "--dir", self.folder / organisation)

    @property
    def passphrase(self) -> Path:
        return self.folder / "passphrase"

    def found(self) -> None:
        self.passphrase.write_text("seen nowhere else\n")
        files = []
        for name in self.organisations:
            listen = f"{self.network.host(name)}:7720"
            made = self.run(
                name, "init", "--organisation", name, "--listen", listen, "--passphrase-file", self.passphrase
            )
            files.append(made["organisation_file"])
        majority = str(len(self.organisations) // 2 + 1)
        self.program.json("coordinator", "peer", "found", "--approvals", majority, "--out", self.exchange, *files)
        for name in self.organisations:
            self.run(name, "join", "--exchange", self.exchange)
            self.start(name)

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange"

    def start(self, organisation: str) -> None:
        program = self.program.within(self.network.namespace(organisation))
        arguments = ["--dir", self.folder / organisation, "--passphrase-file", self.passphrase]
        log = self.folder / f"{organisation}.log"
        self.processes[organisation] = program.start(log, "coordinator", "peer", "run", *arguments)

    def register(self, organisation: str, tenant: str) -> Any:
        key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        arguments = ["--administrator", "admin", "--public-key", key, "--passphrase-file", self.passphrase]
        return self.run(organisation, "register-tenant", tenant, *arguments)

    def state(self, organisation: str) -> tuple[int, str | None]:
        status = self.run(organisation, "status")
        assert "fault" not in status, status
        return status["transactions"], status.get("state_root")

    def agree(self, organisations: list[str], at_least: int) -> tuple[int, str | None]:
        """Waits until these have the same record, with so many transactions at least."""

        def same() -> tuple[int, str | None] | None:
            states = {self.state(name) for name in organisations}
            return states.pop() if len(states) == 1 and min(states)[0] >= at_least else None

        return eventually(f"{organisations} agree", same, within_s=HEALED_WITHIN_S)


@pytest.fixture
def peers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Peers]:
    """Four organisations, or those that the test asks for, and a machine for a platform."""
    organisations = getattr(request, "param", ORGANISATIONS)
    with Network([*organisations, PLATFORM]) as network:
        peers = Peers(network, Program.built(), tmp_path, organisations)
        try:
            peers.found()
            yield peers
        finally:
            for process in peers.processes.values():
                process.kill()


def test_three_of_four_go_on_and_two_make_nothing_final(peers: Peers) -> None:
    peers.register("alder", "first")
    together = peers.agree(ORGANISATIONS, 1)

    peers.network.unplug("dogwood")
    for number, name in enumerate(["alder", "birch", "cedar"]):
        assert peers.register(name, f"without-dogwood-{number}")["outcome"] == "recorded"
    three = peers.agree(["alder", "birch", "cedar"], 4)
    assert peers.state("dogwood") == together

    peers.network.unplug("cedar")
    with pytest.raises(CommandFailed, match="not ordered within"):
        peers.register("alder", "between-two")
    assert peers.state("alder") == peers.state("birch") == peers.state("cedar") == three

    peers.network.plug("cedar")
    peers.network.plug("dogwood")

    def goes_on() -> bool:
        try:
            return bool(peers.register("dogwood", "together-again")["outcome"] == "recorded")
        except CommandFailed as failed:
            # An earlier try may have come out after its answer was given up.
            return "tenant-exists" in failed.stdout + failed.stderr

    eventually("the one that was cut off takes part again", goes_on, within_s=HEALED_WITHIN_S)
    # What was submitted between two was in a pool all the time, and may have come out now.
    assert peers.agree(ORGANISATIONS, 5)[0] in (5, 6)
    assert all(process.running for process in peers.processes.values())


@pytest.mark.parametrize("peers", [SEVEN], indirect=True, ids=["seven"])
def test_five_of_seven_go_on_while_one_is_cut_off_and_one_has_lost_its_disk(peers: Peers) -> None:
    peers.register("alder", "first")
    peers.agree(SEVEN, 1)
    peers.network.unplug("ginkgo")
    peers.processes["fir"].kill()
    for number, name in enumerate(SEVEN[:5]):
        assert peers.register(name, f"five-{number}")["outcome"] == "recorded"
    peers.agree(SEVEN[:5], 6)

    # All that it had but its keys and settings. It votes when the votes that it forgot are over. Then a third is cut off: without what came back nothing would be final.
    shutil.rmtree(peers.folder / "fir" / "record")
    peers.start("fir")
    peers.agree([*SEVEN[:5], "fir"], 6)
    eventually("it votes", lambda: bool(peers.run("fir", "status")["votes"]), within_s=HEALED_WITHIN_S)
    peers.network.unplug("elm")
    assert peers.register("fir", "with-fir")["outcome"] == "recorded"
    peers.agree([*SEVEN[:4], "fir"], 7)

    peers.network.plug("elm")
    peers.network.plug("ginkgo")
    assert peers.agree(SEVEN, 7)[0] == 7


def test_a_platform_on_a_machine_of_its_own_asks_over_tls(peers: Peers) -> None:
    program = peers.program.within(peers.network.namespace(PLATFORM))
    folder, log = peers.folder / PLATFORM, peers.folder / "platform.log"
    places = [f"{name},https://{peers.network.host(name)}:7731" for name in ORGANISATIONS]
    options = [option for place in places for option in ("--peer", place)]
    made = program.json(
        "coordinator", "init", "--dir", folder, "--exchange", peers.exchange, "--passphrase-file", peers.passphrase, *options
    )
    for name in ORGANISATIONS:
        peers.run(name, "allow", "hospital", "--certificate", made["peer_client"])
    arguments = ["--administrator", made["administrator"], "--public-key", made["administrator_public_key"]]
    peers.run("alder", "register-tenant", made["tenant"], *arguments, "--passphrase-file", peers.passphrase)
    peers.processes[PLATFORM] = program.start(
        log, "coordinator", "run", "--dir", folder, "--passphrase-file", peers.passphrase
    )

    def command(*words: str) -> Any:
        return program.json("coordinator", "--profile", folder / "client.toml", *words)

    def faulty() -> list[str]:
        return [peer["organisation"] for peer in command("status")["peers"] if peer.get("fault")]

    eventually("all four answer", lambda: faulty() == [])
    peers.network.unplug("dogwood")
    command("dataset", "create", "designs", "--encryption", "platform")
    eventually("the one that is cut off is named", lambda: faulty() == ["dogwood"], within_s=HEALED_WITHIN_S)
    peers.network.plug("dogwood")
    eventually("it answers again", lambda: faulty() == [], within_s=HEALED_WITHIN_S)
