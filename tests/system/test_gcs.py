"""Bodies in a bucket of Google Cloud Storage, as far as that can be had without Google.

No emulator on PyPI or npm has the multipart uploads of Google's XML API, by which the platform writes. That API is S3's but for who asks and
how that is shown. So a server of the test's own lets in whoever shows what Google demands of a service account (a JWT that the account's key
signed, RFC 7523, RS256), and nobody who speaks as to Amazon; behind it an S3 server from PyPI keeps the objects.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.buckets import BUCKET, PREFIX, Answer, Front, Platform, Request, s3_server
from harness.program import CommandFailed

ACCOUNT, SCOPE = "exchange@documents.iam.gserviceaccount.com", "https://www.googleapis.com/auth/cloud-platform"
# To the S3 server behind, which looks at who asks and not at the signature, the objects' owner asks.
TO_S3 = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
# Longer than two parts of an upload.
LONG = 20 * 1024 * 1024 + 1


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def wrong(request: Request, key: rsa.RSAPublicKey) -> str | None:
    """What is wrong with a request, as Google would have it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if any(name.startswith("x-amz-") for name in headers):
        return "a header of Amazon's"
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind != "Bearer" or token.count(".") != 2:
        return "no bearer token"
    head, claims, signature = token.split(".")
    try:
        key.verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return "another key's signature"
    said, now = json.loads(decoded(claims)), time.time()
    if json.loads(decoded(head))["alg"] != "RS256" or said["iss"] != ACCOUNT or said["sub"] != ACCOUNT:
        return "another account"
    if said["scope"] != SCOPE or not now - 3600 < said["iat"] <= now + 60 or not now < said["exp"] <= said["iat"] + 3600:
        return "another scope or time"
    return None


@dataclass
class Cloud:
    """The service, its account's file, and what it refused."""

    endpoint: str
    account: Path
    refused: list[str]
    served: list[str]
    s3: Any

    def objects(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)
        return sorted(entry["Key"] for entry in listed.get("Contents", []))


def account(path: Path, key: rsa.RSAPrivateKey) -> Path:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    said = {"type": "service_account", "private_key": pem, "private_key_id": "1", "client_email": ACCOUNT}
    path.write_text(json.dumps(said))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    key = rsa.generate_private_key(65537, 2048)
    refused: list[str] = []
    served: list[str] = []

    def through(front: Front, request: Request, _: object) -> Answer:
        reason = wrong(request, key.public_key())
        if reason is not None:
            refused.append(reason)
            return Answer(401, [("Content-Length", "0")], b"")
        served.append(request.method)
        return front.pass_on(request, authorization=TO_S3)

    with s3_server() as (port, client):
        front = Front(port, through)
        file = account(tmp_path_factory.mktemp("gcs") / "account.json", key)
        yield Cloud(f"http://127.0.0.1:{front.port}", file, refused, served, client)
        front.close()


def platform(base: Path, cloud: Cloud, account: Path) -> Platform:
    bodies = f'url = "gs://{BUCKET}/{PREFIX}"\nendpoint = "{cloud.endpoint}"\n'
    return Platform.start(base, bodies, {"GOOGLE_SERVICE_ACCOUNT": str(account)})


def test_documents_lie_in_the_bucket_and_come_back(cloud: Cloud, tmp_path: Path) -> None:
    running = platform(tmp_path, cloud, cloud.account)
    try:
        running.user("dataset", "create", "papers", "--encryption", "platform")
        for length in (0, 70_000, LONG):
            source, copy = tmp_path / f"source-{length}", tmp_path / f"copy-{length}"
            source.write_bytes(secrets.token_bytes(length))
            for more in ((), ("--in-parts",)):
                running.user("put", "papers", f"paper-{length}", source, *more)
                running.user("get", "papers", f"paper-{length}", "--out", copy)
                assert copy.read_bytes() == source.read_bytes()
        listed = cloud.objects()
        assert len(listed) == 6, "each body once, and no parts"
        assert all(name.startswith(f"{PREFIX}/") for name in listed)
        # The platform's own list of the bucket.
        found = running.operator("bodies", "orphans", "--hours", "0")
        assert (found["objects"], found["orphans"]) == (6, [])

        running.user("erase", "papers", "paper-0")
        assert len(cloud.objects()) == 4
        (key, *_) = cloud.objects()
        stored = bytearray(cloud.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        stored[len(stored) // 2] ^= 1
        cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(stored))
        refusals = 0
        for length in (70_000, LONG):
            for version in ("1", "2"):
                try:
                    running.user("get", "papers", f"paper-{length}", "--version", version, "--out", tmp_path / "any")
                except CommandFailed as refused:
                    assert "checksum" in refused.stdout, refused
                    refusals += 1
                (tmp_path / "any").unlink(missing_ok=True)
        assert refusals == 1, "what was altered, and nothing else"
    finally:
        running.stop()
    assert cloud.refused == []
    assert set(cloud.served) == {"GET", "HEAD", "PUT", "POST", "DELETE"}


def test_an_account_that_may_not_is_told(cloud: Cloud, tmp_path: Path) -> None:
    other = account(tmp_path / "account.json", rsa.generate_private_key(65537, 2048))
    running = platform(tmp_path, cloud, other)
    before = cloud.objects()
    try:
        running.user("dataset", "create", "papers", "--encryption", "platform")
        source = tmp_path / "source"
        source.write_bytes(b"a paper")
        with pytest.raises(CommandFailed) as refused:
            running.user("put", "papers", "paper", source)
        assert json.loads(refused.value.stdout)["error"]["code"] == "body-store", refused.value
    finally:
        running.stop()
    assert cloud.refused and set(cloud.refused) == {"another key's signature"}
    assert cloud.objects() == before
    cloud.refused.clear()
