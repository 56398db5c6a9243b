"""Bodies in a container of Azure Blob Storage: Azurite, Microsoft's own emulator, on loopback.

`run` installs it from npm if there is one, and names it in the variable AZURITE. Without that the test says that it is left out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlencode

import pytest

from harness.buckets import Platform, served
from harness.program import CommandFailed

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
    folder = tmp_path_factory.mktemp("azurite")

    def command(port: int) -> list[str | Path]:
        return [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, "--silent"]

    with served(command, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}) as port:
        ask(port, "PUT", "documents", restype="container")
        yield port


def test_documents_lie_in_the_container_and_come_back(azurite: int, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{azurite}/{ACCOUNT}"
    bodies = f'url = "az://documents/exchange"\nendpoint = "{endpoint}"\n'
    credentials = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
    platform = Platform.start(tmp_path, bodies, credentials)
    user = platform.user

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
        platform.stop()
