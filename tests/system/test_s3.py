"""Bodies in a bucket of an S3 service: a server of its own from PyPI, on loopback.

The platform writes and reads through its real daemon; the tests look into the bucket with Amazon's own client. What lies
there must be all that lies anywhere, encrypted, under the prefix that the settings name; what is altered or removed
there must be refused on reading, by a code that says so.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from harness.program import CommandFailed, Process, Program, eventually

BUCKET, PREFIX = "documents", "exchange"
# The service is a test's own: any credentials do.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# Longer than two parts of an upload.
LONG = 20 * 1024 * 1024 + 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Platform:
    """A running platform whose bodies lie in the bucket, and a client of the bucket."""

    program: Program
    folder: Path
    process: Process
    s3: Any

    def user(self, *arguments: str | Path) -> Any:
        profile = self.folder / "client.toml"
        return self.program.json("coordinator", "--profile", profile, *arguments)

    def objects(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)
        return sorted(entry["Key"] for entry in listed.get("Contents", []))


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert server.poll() is None, "the S3 server stopped"
                return False
            return True

        eventually("the S3 server answers", answers)
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield endpoint, client
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def platform(s3: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    endpoint, client = s3
    base = tmp_path_factory.mktemp("s3")
    folder, passphrase, program = base / "platform", base / "passphrase", Program.built()
    passphrase.write_text(secrets.token_hex(16))
    program.json(
        *("coordinator", "init", "--dir", folder, "--passphrase-file", passphrase, "--listen", "127.0.0.1:0"),
        *("--organisation", "alder", "--approvals", "1"),
    )
    settings = folder / "coordinator.toml"
    text = settings.read_text()
    assert text.count("\n[bodies]\n") == 1
    section = f'\n[bodies]\nbucket = "{BUCKET}"\nprefix = "{PREFIX}"\nregion = "us-east-1"\nendpoint = "{endpoint}"\n'
    settings.write_text(text.replace("\n[bodies]\n", section))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        process = program.start(
            base / "platform.log", "coordinator", "run", "--dir", folder, "--passphrase-file", passphrase
        )
    running = Platform(program, folder, process, client)
    running.user("dataset", "create", "papers", "--encryption", "platform")
    try:
        yield running
    finally:
        assert process.stop() == 0


@pytest.mark.parametrize("length", [0, 1, 70_000, LONG])
def test_a_document_lies_in_the_bucket_and_comes_back(platform: Platform, tmp_path: Path, length: int) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    content = secrets.token_bytes(length)
    source.write_bytes(content)
    before = platform.objects()
    platform.user("put", "papers", f"paper-{length}", source)
    (key,) = set(platform.objects()) - set(before)
    assert key.startswith(f"{PREFIX}/")
    platform.user("get", "papers", f"paper-{length}", "--out", copy)
    assert copy.read_bytes() == content

    stored = platform.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert len(stored) > length, "a header and tags"
    for at in range(0, length - 32, 8192):
        assert content[at : at + 32] not in stored
    lying_around = [path for path in (platform.folder / "bodies").rglob("*") if path.is_file()]
    assert lying_around == []


def test_what_is_altered_in_the_bucket_is_refused(platform: Platform, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(secrets.token_bytes(200_000))
    before = platform.objects()
    platform.user("put", "papers", "altered", source)
    (key,) = set(platform.objects()) - set(before)
    stored = bytearray(platform.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    stored[100_000] ^= 1
    platform.s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(stored))
    with pytest.raises(CommandFailed) as refused:
        platform.user("get", "papers", "altered", "--out", copy)
    assert "checksum" in refused.value.stdout, refused.value
    assert not copy.exists()

    platform.s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(CommandFailed) as refused:
        platform.user("get", "papers", "altered", "--out", copy)
    assert "body-missing" in refused.value.stdout, refused.value
    assert not copy.exists()
