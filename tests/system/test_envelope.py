"""Envelopes against the coordinator's vectors, and what must not open."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from peer import envelope
from peer.envelope import EnvelopeRefused, Version

CHECKOUT = Path(__file__).resolve().parents[2]
CASES = json.loads((CHECKOUT / "coordinator" / "tests" / "vectors" / "envelope.json").read_text())["cases"]


def version_of(case: dict[str, Any]) -> Version:
    checksum = bytes.fromhex(case["checksum"])
    return Version(case["tenant"], case["dataset"], case["document"], case["version"], case["length"], checksum)


def plaintext_of(case: dict[str, Any]) -> bytes:
    """As the vectors' note defines it."""
    return bytes((31 * i + i // 251) % 256 for i in range(case["length"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['length']} bytes")
def test_keys_and_pointer_open(case: dict[str, Any]) -> None:
    version, key = version_of(case), bytes.fromhex(case["document_key"])
    body_key, metadata = envelope.unwrap_body_key(key, bytes.fromhex(case["wrapped_body_key"]), version)
    assert (body_key.hex(), metadata.hex()) == (case["body_key"], case["metadata"])
    assert envelope.open_pointer(key, bytes.fromhex(case["sealed_pointer"]), version).hex() == case["pointer"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['length']} bytes")
def test_body_is_reproduced_and_opens(case: dict[str, Any]) -> None:
    """The vectors have long bodies by their checksum alone."""
    version, key, plaintext = version_of(case), bytes.fromhex(case["body_key"]), plaintext_of(case)
    body = envelope.encrypt_body(key, bytes.fromhex(case["nonce_prefix"]), plaintext, version)
    assert case["encrypted_body"] in (None, body.hex())
    assert len(body) == case["encrypted_length"]
    assert hashlib.sha256(body).hexdigest() == case["checksum"]
    assert envelope.decrypt_body(key, body, version) == plaintext


@pytest.mark.parametrize("field", ["tenant", "dataset", "document", "number", "length", "checksum"])
def test_nothing_opens_under_another_name(field: str) -> None:
    case = CASES[2]
    version, key = version_of(case), bytes.fromhex(case["document_key"])
    value: Any = getattr(version, field)
    other = dataclasses.replace(version, **{field: value + 1 if isinstance(value, int) else value + value[:1]})
    with pytest.raises(EnvelopeRefused):
        envelope.unwrap_body_key(key, bytes.fromhex(case["wrapped_body_key"]), other)
    with pytest.raises(EnvelopeRefused):
        envelope.decrypt_body(bytes.fromhex(case["body_key"]), bytes.fromhex(case["encrypted_body"]), other)


def test_altered_body_is_refused_by_its_blocks_too() -> None:
    """Also if the record's checksum were the altered body's."""
    case = CASES[2]
    body, key = bytes.fromhex(case["encrypted_body"]), bytes.fromhex(case["body_key"])
    for position in range(len(body)):
        altered = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
        with pytest.raises(EnvelopeRefused):
            envelope.decrypt_body(key, altered, version_of(case))
        version = dataclasses.replace(version_of(case), checksum=hashlib.sha256(altered).digest())
        with pytest.raises(EnvelopeRefused):
            envelope.decrypt_body(key, altered, version)
