"""The command line as people have it: at a terminal, and by doing what it tells them to do."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import secrets
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.platform import Platform
from harness.program import Program

# Long enough to be sent in parts, and to be seen on its way.
LONG = 96 * 1024 * 1024


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("terminal"), Program.built())
    platform.start()
    try:
        platform.run("dataset", "create", "films", "--encryption", "platform")
        yield platform
    finally:
        platform.stop()


def at_a_terminal(command: list[str]) -> str:
    """Runs a command whose standard error is a terminal of 100 columns, and returns what it drew there."""
    primary, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=terminal) as child:
        os.close(terminal)
        drawn = bytearray()
        while True:
            try:
                part = os.read(primary, 65536)
            except OSError:  # Nobody has it open any more.
                break
            if not part:
                break
            drawn += part
    os.close(primary)
    text = drawn.decode(errors="replace")
    assert child.returncode == 0, text
    return text


def test_long_transfers_show_how_far_and_how_fast_they_are(platform: Platform, tmp_path: Path) -> None:
    film, copy = tmp_path / "film", tmp_path / "copy"
    film.write_bytes(secrets.token_bytes(LONG))
    as_admin = ("coordinator", "--profile", platform.folder / "client.toml", "--url", platform.url)
    put = platform.program.command(*as_admin, "put", "films", "film", film)
    get = platform.program.command(*as_admin, "get", "films", "film", "--out", copy)
    for command in (put, get):
        drawn = at_a_terminal(command)
        assert "of 96.00 MiB" in drawn, drawn[-2000:]
        assert re.search(r"[0-9.]+ [KMG]iB/s", drawn), drawn[-2000:]
    assert copy.read_bytes() == film.read_bytes()
    # Programs get nothing but the result.
    quiet = subprocess.run(get, capture_output=True, check=True)
    assert quiet.stderr == b""


def test_what_up_tells_to_type_writes_and_reads_a_document(tmp_path: Path) -> None:
    program, content = Program.built(), secrets.token_bytes(100_000)
    (tmp_path / "FILE").write_bytes(content)
    up = program.command("coordinator", "up", "--dir", "try", "--listen", "127.0.0.1:0", "--exit-with-stdin")
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            up, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        assert child.stdin is not None and child.stdout is not None
        try:
            told: list[str] = []
            while len(told) < 4:
                line = child.stdout.readline()
                assert line, (tmp_path / "log").read_text()[-4000:]
                if line.startswith("  "):
                    told.append(line.strip())
            *over_http, listing = told
            assert all(line.startswith("curl ") for line in over_http)
            answers = []
            for line in [*over_http, f"{listing} --json"]:
                done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, timeout=60, check=True)
                assert b'"code"' not in done.stdout, done.stdout
                answers.append(done.stdout)
            assert (tmp_path / "copy").read_bytes() == content
            (listed,) = json.loads(answers[-1])
            assert (listed["document"], listed["latest"], listed["length"]) == ("bridge", 1, len(content))
        finally:
            child.stdin.close()
        assert child.wait(30) == 0
