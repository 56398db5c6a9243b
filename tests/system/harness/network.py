"""Machines on a network of their own: one namespace for each, all on one bridge, each cable pluggable.

Namespaces and devices carry the process number in their names and are removed at the end, whatever happened.
Addresses are used inside the namespaces only: the bridge lives in a namespace too, so that nothing here touches the
host's network.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def remove_left_over() -> None:
    """Takes down what a test run left that was killed: namespaces that carry the number of a process that has ended."""
    for namespace in Path("/run/netns").glob("tx*-*"):
        number = namespace.name[2:].partition("-")[0]
        if number.isdigit() and not Path("/proc", number).exists():
            subprocess.run(["ip", "netns", "delete", namespace.name], check=False, capture_output=True)


class Network:
    """A switch and the machines on it. Used as a context, which takes everything down."""

    def __init__(self, machines: list[str]) -> None:
        self._prefix = f"tx{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self._machines = {name: number for number, name in enumerate(machines, start=1)}

    def namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"

    def host(self, machine: str) -> str:
        """The machine's IP address."""
        return f"10.99.0.{self._machines[machine]}"

    def __enter__(self) -> Network:
        remove_left_over()
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _build(self) -> None:
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "bridge0", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge0", "up")
        for machine, number in self._machines.items():
            namespace, port = self.namespace(machine), f"port{number}"
            ip("netns", "add", namespace)
            ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", self._switch, "link", "set", port, "master", "bridge0", "up")
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "address", "add", f"{self.host(machine)}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        # A namespace's devices go with it, and a pair's other end with its first.
        for namespace in (*map(self.namespace, self._machines), self._switch):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)

    def unplug(self, machine: str) -> None:
        """Pulls the machine's cable: its own carrier goes, and the others are told nothing."""
        ip("-n", self._switch, "link", "set", f"port{self._machines[machine]}", "down")

    def plug(self, machine: str) -> None:
        ip("-n", self._switch, "link", "set", f"port{self._machines[machine]}", "up")
