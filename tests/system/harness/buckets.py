"""A bucket of a real S3 server on loopback, a platform whose bodies lie in one, and servers of the tests' own in front of it."""

from __future__ import annotations

import http.client
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from .program import Process, Program, eventually

BUCKET, PREFIX = "documents", "exchange"
# The service is a test's own: any credentials do.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def served(command: Callable[[int], list[str | Path]], **options: Any) -> Iterator[int]:
    """A server that the command starts on a port; while it lasts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    server = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert server.poll() is None, "the server stopped"
                return False
            return True

        eventually("the server answers", answers)
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def s3_server() -> Iterator[tuple[int, Any]]:
    """An S3 server from PyPI with an empty bucket, and Amazon's own client of it."""
    moto = Path(sys.executable).with_name("moto_server")
    with served(lambda port: [moto, "-H", "127.0.0.1", "-p", str(port)]) as port:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield port, client


@dataclass
class Platform:
    """A running platform whose bodies lie in a bucket, and its user."""

    program: Program
    folder: Path
    passphrase: Path
    environment: Mapping[str, str]
    process: Process

    @classmethod
    def start(cls, base: Path, bodies: str, environment: Mapping[str, str]) -> Platform:
        """One of its own, with these lines under [bodies]."""
        folder, passphrase, program = base / "platform", base / "passphrase", Program.built()
        passphrase.write_text(secrets.token_hex(16))
        program.json(
            *("coordinator", "init", "--dir", folder, "--passphrase-file", passphrase, "--listen", "127.0.0.1:0"),
            *("--organisation", "alder", "--approvals", "1"),
        )
        settings = folder / "coordinator.toml"
        text = settings.read_text()
        assert text.count("\n[bodies]\n") == 1
        settings.write_text(text.replace("\n[bodies]\n", f"\n[bodies]\n{bodies}"))
        return cls(program, folder, passphrase, environment, cls._run(program, folder, passphrase, environment))

    @staticmethod
    def _run(program: Program, folder: Path, passphrase: Path, environment: Mapping[str, str]) -> Process:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            log = folder.parent / "platform.log"
            return program.start(log, "coordinator", "run", "--dir", folder, "--passphrase-file", passphrase)

    def restart(self) -> None:
        self.stop()
        self.process = self._run(self.program, self.folder, self.passphrase, self.environment)

    def lose_power(self) -> None:
        """Ends as it comes, and starts again."""
        self.process.kill()
        self.process = self._run(self.program, self.folder, self.passphrase, self.environment)

    def stop(self) -> None:
        assert self.process.stop() == 0

    def operator(self, *arguments: str | Path) -> Any:
        """An operator's command in the folder, with what it needs to come at the bucket."""
        with pytest.MonkeyPatch.context() as patched:
            for name, value in self.environment.items():
                patched.setenv(name, value)
            return self.program.json("coordinator", *arguments, "--dir", self.folder)

    def user(self, *arguments: str | Path) -> Any:
        return self.program.json("coordinator", "--profile", self.folder / "client.toml", *arguments)


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What the server behind said to it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Front:
    """An HTTP server in front of another one. `through` decides about each request; it may break off the connection."""

    def __init__(self, behind: int, through: Callable[[Front, Request, BaseHTTPRequestHandler], Answer | None]) -> None:
        front = self
        self.behind = behind

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def do(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) != length:
                    self.close_connection = True
                    return
                answer = through(front, Request(self.command, self.path, dict(self.headers.items()), body), self)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def pass_on(self, request: Request, **instead: str) -> Answer:
        """What the server behind says to a request, with these headers in place of those of the same names."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in instead}
        headers |= instead
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=60)
        try:
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        hop = ("connection", "transfer-encoding", "content-length", "date", "server")
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
        said = answer.getheader("Content-Length") if request.method == "HEAD" else str(len(body))
        return Answer(answer.status, [*kept, ("Content-Length", said or "0")], body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
