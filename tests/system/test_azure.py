"""Bodies in a container of Azure Blob Storage: Azurite, Microsoft's own emulator, on loopback.

It comes from npm, with 370 packages, so it is not installed by `run`: `npm install azurite`, and the path of `azurite-blob` in
the variable AZURITE. Without that the test says that it is left out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harness.program import CommandFailed, Program, eventually

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(b"a key of the test's own, 32 bytes").decode()
# Longer than two parts of an upload.
LONG = 20 * 1024 * 1024 + 1


def ask(port: int, method: str, path: str, **query: str) -> bytes:
    """A request of the service's own kind (Shared Key), without a body."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    # Eleven headers that are not there, those of the service's own, the resource and what is asked of it.
    lines = [method, *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
    lines += [f"/{ACCOUNT}/{ACCOUNT}/{path}", *(f"{name}:{query[name]}" for name in sorted(query))]
    mac = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
    url = f"http://127.0.0.1:{port}/{ACCOUNT}/{path}?{urlencode(query)}"
    request = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = os.environ.get("AZURITE")
    if program is None:
        pytest.skip("AZURITE does not name azurite-blob")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    folder = tmp_path_factory.mktemp("azurite")
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert server.poll() is None, "Azurite stopped"
                return False
            return True

        eventually("Azurite answers", answers)
        ask(port, "PUT", "documents", restype="container")
        yield port
    finally:
        server.kill()
        server.wait()


def test_documents_lie_in_the_container_and_come_back(azurite: int, tmp_path: Path) -> None:
    folder, passphrase, program = tmp_path / "platform", tmp_path / "passphrase", Program.built()
    passphrase.write_text(secrets.token_hex(16))
    program.json(
        *("coordinator", "init", "--dir", folder, "--passphrase-file", passphrase, "--listen", "127.0.0.1:0"),
        *("--organisation", "alder", "--approvals", "1"),
    )
    settings = folder / "coordinator.toml"
    endpoint = f"http://127.0.0.1:{azurite}/{ACCOUNT}"
    text = settings.read_text()
    settings.write_text(text.replace("\n[bodies]\n", f'\n[bodies]\nurl = "az://documents/exchange"\nendpoint = "{endpoint}"\n'))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        run = ("coordinator", "run", "--dir", folder, "--passphrase-file", passphrase)
        process = program.start(tmp_path / "platform.log", *run)

    def user(*arguments: str | Path) -> object:
        return program.json("coordinator", "--profile", folder / "client.toml", *arguments)

    def objects() -> bytes:
        return ask(azurite, "GET", "documents", restype="container", comp="list")

    try:
        user("dataset", "create", "papers", "--encryption", "platform")
        for length in (0, 70_000, LONG):
            source, copy = tmp_path / f"source-{length}", tmp_path / f"copy-{length}"
            source.write_bytes(secrets.token_bytes(length))
            for more in ((), ("--in-parts",)):
                user("put", "papers", f"paper-{length}", source, *more)
                user("get", "papers", f"paper-{length}", "--out", copy)
                assert copy.read_bytes() == source.read_bytes()
        listed = objects()
        assert listed.count(b"<Name>exchange/") == 6, "each body once, and no parts"
        user("erase", "papers", "paper-0")
        assert objects().count(b"<Name>exchange/") == 4
        with pytest.raises(CommandFailed):
            user("get", "papers", "paper-0", "--out", tmp_path / "none")
    finally:
        assert process.stop() == 0
