"""Bodies in a bucket of an S3 service: a server of its own from PyPI, on loopback.

The platform writes and reads through its real daemon; the tests look into the bucket with Amazon's own client. What lies
there must be all that lies anywhere, encrypted, under the prefix that the settings name; what is altered or removed
there must be refused on reading, by a code that says so.
"""

from __future__ import annotations

import http.client
import secrets
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import buckets
from harness.buckets import BUCKET, CREDENTIALS, PREFIX
from harness.program import CommandFailed, eventually

# Longer than two parts of an upload.
LONG = 20 * 1024 * 1024 + 1


@dataclass
class Platform:
    """A running platform whose bodies lie in the bucket, and a client of the bucket."""

    running: buckets.Platform
    s3: Any

    @property
    def folder(self) -> Path:
        return self.running.folder

    def user(self, *arguments: str | Path) -> Any:
        return self.running.user(*arguments)

    def objects(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)
        return sorted(entry["Key"] for entry in listed.get("Contents", []))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with buckets.s3_server() as (port, client):
        bodies = f'bucket = "{BUCKET}"\nprefix = "{PREFIX}"\nregion = "us-east-1"\nendpoint = "http://127.0.0.1:{port}"\n'
        running = buckets.Platform.start(tmp_path_factory.mktemp("s3"), bodies, CREDENTIALS)
        running.user("dataset", "create", "papers", "--encryption", "platform")
        try:
            yield Platform(running, client)
        finally:
            running.stop()


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
    for at in range(0, length - 32, max(8192, length // 64)):
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


def test_nothing_stays_of_an_upload_that_was_cut_off(platform: Platform) -> None:
    profile = tomllib.loads((platform.folder / "client.toml").read_text())
    before = platform.objects()

    def under_way() -> list[Any]:
        return list(platform.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    def parts(upload: Any) -> list[Any]:
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        return list(platform.s3.list_parts(Bucket=BUCKET, **named).get("Parts", []))

    def begin() -> http.client.HTTPConnection:
        """Sends all of a document but its last byte. What has arrived is in the bucket, and no object there."""
        address = platform.running.process.ready["url"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=60)
        target = f"/v1/tenants/{profile['tenant']}/datasets/papers/documents/cut-off/uploads?author={profile['user']}"
        connection.putrequest("POST", target)
        connection.putheader("Authorization", f"Bearer {profile['api_key']}")
        connection.putheader("Content-Length", str(LONG))
        connection.endheaders()
        connection.send(secrets.token_bytes(LONG - 1))
        (upload,) = eventually("the upload is under way", under_way)
        eventually("two parts have arrived", lambda: len(parts(upload)) >= 2)
        assert platform.objects() == before
        return connection

    def notes() -> list[Path]:
        return list((platform.folder / "uploads").iterdir())

    connection = begin()
    platform.running.lose_power()
    connection.close()
    assert (under_way(), platform.objects(), notes()) == ([], before, [])

    # One that its sender gives up goes at once.
    begin().close()
    eventually("nothing is left of it", lambda: not under_way() and not notes())
    assert platform.objects() == before
