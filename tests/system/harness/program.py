"""The root binary, which is also `cryptonode` and `coordinator`, and the processes started from it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

CHECKOUT = Path(__file__).resolve().parents[3]
READY_WITHIN_S = 60
STOP_WITHIN_S = 15

Result = TypeVar("Result")


class CommandFailed(Exception):
    """A command ended with another status than 0; what it said is in here."""

    def __init__(self, command: Sequence[str], status: int, stdout: str, stderr: str) -> None:
        super().__init__(f"`{' '.join(command)}` ended with {status}:\n{stderr.strip() or stdout.strip()}")
        self.status, self.stdout, self.stderr = status, stdout, stderr


def eventually(what: str, check: Callable[[], Result | None], within_s: float = 30) -> Result:
    """Asks until the answer is neither None nor False; fails at the deadline, and says what it waited for."""
    deadline = time.monotonic() + within_s
    while True:
        answer = check()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:.0f} s in vain: {what}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Program:
    """The executable, and the network namespace that its processes live in, if any."""

    executable: Path
    namespace: str | None = None

    @classmethod
    def built(cls) -> Program:
        """The debug build of this checkout, built by `tests/system/run`; CARGO_TARGET_DIR moves it."""
        target = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
        executable = target / "debug" / "threshold-exchange"
        if not executable.exists():
            raise FileNotFoundError(f"{executable} is not there: run `just test-system`, which builds it")
        return cls(executable)

    def within(self, namespace: str) -> Program:
        return Program(self.executable, namespace)

    def command(self, *arguments: str | Path) -> list[str]:
        prefix = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*prefix, str(self.executable), *map(str, arguments)]

    def run(self, *arguments: str | Path, stdin: bytes = b"", timeout_s: float = 180) -> bytes:
        """Runs a command to its end and returns its standard output."""
        command = self.command(*arguments)
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
            raise CommandFailed(command, done.returncode, stdout, stderr)
        return done.stdout

    def json(self, *arguments: str | Path, timeout_s: float = 180) -> Any:
        """The same with `--json`, its output decoded."""
        return json.loads(self.run(*arguments, "--json", timeout_s=timeout_s))

    def start(self, log: Path, *arguments: str | Path) -> Process:
        """Starts a process that stays, and waits until it says on a line of JSON that it serves.

        It stops when its standard input closes, so that it never outlives this test run, however that ends.
        """
        with log.open("ab") as errors:
            child = subprocess.Popen(
                self.command(*arguments, "--exit-with-stdin", "--json"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        process = Process(child, log)
        process.wait_until_ready()
        return process


class Process:
    """A running child. Its standard output is read to the end in the background, so that it never blocks on it."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child, self._log = child, log
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.ready: dict[str, Any] = {}

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.kill()
                raise AssertionError(f"a process did not become ready:\n{self._log.read_text()[-4000:]}")
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict) and event.get("event") == "ready":
                self.ready = event
                return

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def stop(self) -> int:
        """Asks it to stop, and returns its exit status; a process that does not stop fails the test."""
        if self.running:
            self._child.send_signal(signal.SIGTERM)
        try:
            return self._child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it as a loss of power would."""
        self._child.kill()
        self._child.wait()
