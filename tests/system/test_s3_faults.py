"""A bucket's service that fails: a server of the test's own stands between the platform and a real S3 server, and answers with errors, breaks off
in the middle of a body, and keeps silent.

Writes and reads go on all the same, and what comes back is what was written. What cannot be had in the end is a problem that says so, and
nothing is half done.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import struct
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from harness.buckets import BUCKET, CREDENTIALS, PREFIX, Answer, Front, Platform, Request, s3_server
from harness.program import CommandFailed, eventually

# Longer than two parts of an upload, and many fetches.
LONG = 10 * 1024 * 1024 + 1
REQUEST_S, RETRY_S = 2, 4


@dataclass
class Faults:
    """What goes wrong: of every `every` requests of a method, one, in turn each in its own way."""

    every: int = 0
    ways: tuple[str, ...] = ("503", "reset", "503", "reset", "503", "stall")
    down: bool = False
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, method: str) -> str | None:
        with self.lock:
            if self.down:
                self.done[method, "down"] += 1
                return "503"
            self.seen[method] += 1
            if self.every == 0 or self.seen[method] % self.every != 0:
                return None
            way = self.ways[self.seen[method] // self.every % len(self.ways)]
            self.done[method, way] += 1
            return way


def break_off(handler: BaseHTTPRequestHandler) -> None:
    """Ends the connection with a reset: whoever reads gets an error and no end."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


@dataclass
class Site:
    """A platform, the faults of its service, and the bucket behind them."""

    platform: Platform
    faults: Faults
    s3: Any

    def objects(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)
        return sorted(entry["Key"] for entry in listed.get("Contents", []))

    def code(self, *arguments: str | Path) -> str:
        """Why a command is refused."""
        with pytest.raises(CommandFailed) as refused:
            self.platform.user(*arguments)
        return str(json.loads(refused.value.stdout)["error"]["code"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    faults = Faults()

    def through(front: Front, request: Request, handler: BaseHTTPRequestHandler) -> Answer | None:
        match faults.of(request.method):
            case "503":
                return Answer(503, [("Content-Length", "8")], b"SlowDown")
            case "stall":
                # The body has arrived, or is to come; nothing is said to it until the other side has had enough.
                time.sleep(REQUEST_S * 2)
                return None
            case "reset":
                # What was asked is done, and nobody hears of it to the end.
                answer = front.pass_on(request)
                if request.method == "GET":
                    handler.send_response(answer.status)
                    for name, value in answer.headers:
                        handler.send_header(name, value)
                    handler.end_headers()
                    handler.wfile.write(answer.body[: len(answer.body) // 2])
                    handler.wfile.flush()
                break_off(handler)
                return None
        return front.pass_on(request)

    with s3_server() as (port, client):
        front = Front(port, through)
        bodies = (
            f'url = "s3://{BUCKET}/{PREFIX}"\nregion = "us-east-1"\nendpoint = "http://127.0.0.1:{front.port}"\n'
            f"request_s = {REQUEST_S}\nretry_s = {RETRY_S}\n"
        )
        platform = Platform.start(tmp_path_factory.mktemp("faults"), bodies, CREDENTIALS)
        platform.user("dataset", "create", "papers", "--encryption", "platform")
        try:
            yield Site(platform, faults, client)
        finally:
            faults.every, faults.down = 0, False
            platform.stop()
            front.close()


def test_writes_and_reads_go_on(site: Site, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(secrets.token_bytes(LONG))
    site.faults.every = 3
    for name, more in (("whole", ()), ("parts", ("--in-parts",))):
        site.platform.user("put", "papers", name, source, *more)
        site.platform.user("get", "papers", name, "--out", copy)
        assert copy.read_bytes() == source.read_bytes()
        copy.unlink()
    # A range is fetched in the same way.
    site.platform.user("get", "papers", "whole", "--range", "1000000-3000000", "--out", copy)
    assert copy.read_bytes() == source.read_bytes()[1_000_000:3_000_001]
    site.faults.every = 0
    for fault in [("PUT", "503"), ("PUT", "reset"), ("GET", "503"), ("GET", "reset"), ("GET", "stall")]:
        assert site.faults.done[fault] > 0, (fault, site.faults.done)
    # A request that was sent twice has done what it does once.
    assert len(site.objects()) == 2


def test_what_cannot_be_had_is_said_and_nothing_is_half_done(site: Site, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(secrets.token_bytes(3_000_000))
    site.platform.user("put", "papers", "before", source)
    before = site.objects()
    profile = tomllib.loads((site.platform.folder / "client.toml").read_text())
    site.faults.down = True
    started = time.monotonic()
    reading = ThreadPoolExecutor().submit(site.code, "get", "papers", "before", "--out", copy)

    # Over HTTP: a problem document with a stable type, that says when to come back.
    address = site.platform.process.ready["url"].removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=60)
    target = f"/v1/tenants/{profile['tenant']}/datasets/papers/documents/new/uploads?author={profile['user']}"
    connection.request("POST", target, source.read_bytes(), {"Authorization": f"Bearer {profile['api_key']}"})
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert (answer.status, problem["type"], problem["code"]) == (503, "/problems/body-store", "body-store")
    assert answer.getheader("Content-Type") == "application/problem+json"
    assert int(answer.getheader("Retry-After") or 0) > 0
    assert "503" in problem["detail"], problem

    # On the command line: the same code, no file, nothing on the record.
    assert reading.result() == "body-store"
    assert not copy.exists()
    assert time.monotonic() - started < 60, "it is tried again for as long as the settings say, and no longer"
    site.faults.down = False
    assert "new" not in [row["document"] for row in site.platform.user("ls", "papers")]
    assert site.objects() == before

    # When the service is back, so is everything; what could not be removed then goes with the next start.
    site.platform.user("get", "papers", "before", "--out", copy)
    assert copy.read_bytes() == source.read_bytes()
    site.platform.user("put", "papers", "new", source)
    site.platform.restart()
    notes = site.platform.folder / "uploads"
    eventually("no note of an upload is left", lambda: not list(notes.iterdir()))
    assert len(site.objects()) == len(before) + 1
