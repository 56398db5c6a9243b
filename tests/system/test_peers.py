"""Four organisations' peers of the record on machines of their own, and cables that are pulled.

What must hold: three of four go on without the one that is cut off; two of four make nothing final, and nothing that
was final is lost; and when the cables are back, all four have the same record, none of them restarted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.network import Network
from harness.program import CommandFailed, Process, Program, eventually

ORGANISATIONS = ["alder", "birch", "cedar", "dogwood"]
HEALED_WITHIN_S = 120


@dataclass
class Peers:
    network: Network
    program: Program
    folder: Path
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
        for name in ORGANISATIONS:
            listen = f"{self.network.host(name)}:7720"
            made = self.run(
                name, "init", "--organisation", name, "--listen", listen, "--passphrase-file", self.passphrase
            )
            files.append(made["organisation_file"])
        exchange = self.folder / "exchange"
        self.program.json("coordinator", "peer", "found", "--approvals", "2", "--out", exchange, *files)
        for name in ORGANISATIONS:
            self.run(name, "join", "--exchange", exchange)
            program = self.program.within(self.network.namespace(name))
            arguments = ["--dir", self.folder / name, "--passphrase-file", self.passphrase]
            self.processes[name] = program.start(
                self.folder / f"{name}.log", "coordinator", "peer", "run", *arguments
            )

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
def peers(tmp_path: Path) -> Iterator[Peers]:
    with Network(ORGANISATIONS) as network:
        peers = Peers(network, Program.built(), tmp_path)
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
