"""A platform with its golden record, and its users, by the command line that people use."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cluster import private_file
from .program import CommandFailed, Process, Program

ORGANISATIONS = ["alder", "birch", "cedar", "dogwood"]
APPROVALS_NEEDED = 3


@dataclass(frozen=True)
class Refusal:
    """What a command said when it was refused."""

    status: int
    code: str
    message: str


class Platform:
    """One platform: `coordinator init`, `run`, and its users' commands."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder, self.program = folder / "platform", program
        self.log = folder / "platform.log"
        self.users = folder
        self.passphrase = private_file(folder / "platform.passphrase", secrets.token_hex(32))
        self.process: Process | None = None
        self.url = ""
        organisations = [argument for name in ORGANISATIONS for argument in ("--organisation", name)]
        arguments = ("--approvals", str(APPROVALS_NEEDED), "--passphrase-file", self.passphrase)
        program.json("coordinator", "init", "--dir", self.folder, *organisations, *arguments)

    @property
    def policy(self) -> Path:
        """The approval policy for the nodes' operators."""
        return self.folder / "policy.toml"

    def add_cluster(self, description: Path) -> None:
        self.program.json("coordinator", "cluster", "add", "--dir", self.folder, description)

    def start(self) -> None:
        arguments = ("run", "--dir", self.folder, "--passphrase-file", self.passphrase, "--listen", "127.0.0.1:0")
        self.process = self.program.start(self.log, "coordinator", *arguments)
        self.url = self.process.ready["url"]

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None

    def run(self, *arguments: str | Path, user: str | None = None) -> Any:
        """A user's command; the first administrator's, if no user is named."""
        signer = ("--user", user, "--key", self.users / f"{user}.pem") if user else ()
        profile = ("--profile", self.folder / "client.toml", "--url", self.url)
        return self.program.json("coordinator", *profile, *signer, *arguments)

    def refused(self, *arguments: str | Path, user: str | None = None) -> Refusal:
        """The same, of a command that must not succeed."""
        try:
            answer = self.run(*arguments, user=user)
        except CommandFailed as failure:
            error = json.loads(failure.stdout)["error"]
            return Refusal(failure.status, error["code"], error["message"])
        raise AssertionError(f"{arguments} should have been refused, and said {answer}")

    def enrol(self, *names: str) -> None:
        for name in names:
            self.run("user", "add", name, "--new-key", self.users / f"{name}.pem")
