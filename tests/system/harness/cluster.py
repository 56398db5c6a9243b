"""A cluster of real crypto nodes: their folders, their introduction to each other, and a key that they make."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer.ristretto import decode_element
from peer.scheme import PublicKeyPackage
from peer.wire import Node

from .program import Process, Program


def private_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@dataclass
class Member:
    """One node: where its folder is, where it listens, and its process while it runs."""

    name: str
    program: Program
    folder: Path
    passphrase: Path
    phrase: Path
    log: Path
    card: dict[str, Any]
    process: Process | None = None

    def run(self, *arguments: str | Path) -> Any:
        """One of its operator's commands."""
        return self.program.json("cryptonode", *arguments, "--dir", self.folder)

    def start(self) -> None:
        arguments = ("cryptonode", "run", "--dir", self.folder, "--passphrase-file", self.passphrase)
        self.process = self.program.start(self.log, *arguments)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None


class Cluster:
    """Nodes that know each other and have one approval policy."""

    def __init__(self, folder: Path, programs: dict[str, tuple[Program, str]], policy: Path) -> None:
        """`programs` gives for each node's name the program that it runs in, and the address that it listens on."""
        self.folder = folder
        self.members: list[Member] = []
        for name, (program, address) in programs.items():
            home = folder / name
            passphrase = private_file(folder / f"{name}.passphrase", secrets.token_hex(32))
            phrase, log = folder / f"{name}.phrase", folder / f"{name}.log"
            arguments = ("--name", name, "--listen", address, "--passphrase-file", passphrase, "--phrase-out", phrase)
            program.json("cryptonode", "init", "--dir", home, *arguments)
            card = program.json("cryptonode", "card", "--dir", home)
            self.members.append(Member(name, program, home, passphrase, phrase, log, card))
        cards = [json.dumps(member.card) for member in self.members]
        for member in self.members:
            member.run("member", "add", *cards)
            member.run("policy", "set", policy)
            config = member.folder / "config.toml"
            leader = self.members[0].card["identity"]
            config.write_text(config.read_text().replace("accept_from = []", f'accept_from = ["{leader}"]'))

    def start(self) -> None:
        for member in self.members:
            member.start()

    def generate(self, threshold: int) -> Path:
        """Has the first node lead the ceremony, and exports the cluster's description."""
        leader, out = self.members[0], self.folder / "cluster.json"
        propose = ("ceremony", "propose", "--threshold", str(threshold), "--wait", "--dir", leader.folder)
        leader.program.run("cryptonode", *propose)
        leader.run("key", "export", "--out", out)
        return out

    def stop(self) -> None:
        """Ends every process, also after a failure."""
        for member in self.members:
            if member.process is not None:
                member.process.kill()
                member.process = None


@dataclass(frozen=True)
class Description:
    """`cluster.json`, read."""

    package: PublicKeyPackage
    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    policy_hash: bytes

    @classmethod
    def read(cls, path: Path) -> Description:
        document = json.loads(path.read_text())
        members = document["members"]
        assert document["version"] == 1
        assert [member["index"] for member in members] == list(range(1, len(members) + 1))
        shares = tuple(decode_element(bytes.fromhex(member["public_share"])) for member in members)
        public_key = decode_element(bytes.fromhex(document["public_key"]))
        package = PublicKeyPackage(public_key, document["epoch"], document["threshold"], shares)
        package.check()
        nodes = tuple(Node(member["address"], bytes.fromhex(member["identity"])) for member in members)
        names = tuple(member["name"] for member in members)
        return cls(package, nodes, names, bytes.fromhex(document["policy_hash"]))


def write_policy(path: Path, approvals_needed: int, issuers: dict[str, list[str]]) -> Path:
    """The policy file that nodes are configured with; issuers are PEM, by organisation."""
    lines = [f"approvals_needed = {approvals_needed}", "max_lifetime_s = 300", "tolerance_s = 30"]
    for organisation, certificates in issuers.items():
        lines += ["", "[[organisations]]", f'name = "{organisation}"', f"issuers = {json.dumps(certificates)}"]
    path.write_text("\n".join(lines) + "\n")
    return path


def free_udp_addresses(count: int) -> list[str]:
    """Addresses on loopback that nobody uses at this moment, all held until all are found, so that they differ."""
    with contextlib.ExitStack() as held:
        addresses = []
        for _ in range(count):
            holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            holder.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{holder.getsockname()[1]}")
        return addresses
