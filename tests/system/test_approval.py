"""Approvals: counted when they are right, and each attack on the profile's ancestor refused."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from harness.issuing import Organisation, Request
from peer import approval
from peer.approval import Approval, Binding, NotCounted, NotEnough, Policy

NOW = 1_800_000_000
YEAR = 365 * 86_400


def public_key_of(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


CLIENT, STRANGER = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
BINDING = Binding(bytes(range(32)), bytes(range(32, 64)), public_key_of(CLIENT))
REQUEST = Request(BINDING, CLIENT.public_key(), NOW - 10, NOW + 290)
NORTH = Organisation("north", NOW - YEAR, NOW + YEAR)
EAST = Organisation("east", NOW - YEAR, NOW + YEAR, ec.generate_private_key(ec.SECP256R1()))
SOUTH = Organisation("south", NOW - YEAR, NOW + YEAR)
FOREIGN = Organisation("north", NOW - YEAR, NOW + YEAR)
POLICY = Policy(2, {each.title: (each.certificate,) for each in (NORTH, EAST, SOUTH)})


def altered(**changes: Any) -> Request:
    return dataclasses.replace(REQUEST, **changes)


def refused(*approvals: bytes, policy: Policy = POLICY, now: float = NOW) -> str:
    with pytest.raises(NotEnough) as reason:
        policy.verify(approvals, BINDING, now)
    return str(reason.value)


def test_two_organisations_of_both_algorithms_count() -> None:
    POLICY.check()
    approvals = [NORTH.issue(REQUEST), EAST.issue(REQUEST)]
    assert POLICY.verify(approvals, BINDING, NOW) == {"north", "east"}
    assert Approval.parse(approvals[0]).approval_id == "read-1"


def test_openssl_reads_an_approval() -> None:
    command = ["openssl", "x509", "-inform", "DER", "-noout", "-text", "-certopt", "ext_dump"]
    text = subprocess.run(command, input=EAST.issue(REQUEST), capture_output=True, check=True).stdout.decode()
    assert approval.WRITE_ID.dotted_string in text
    assert f"04 20 {BINDING.write_id[:8].hex(' ')}" in text.replace("-", " ")


OPENSSL_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage         = critical, digitalSignature
extendedKeyUsage = critical, 1.3.6.1.4.1.32473.1.2.1
1.3.6.1.4.1.32473.1.1.1 = critical, DER:0420{write_id}
1.3.6.1.4.1.32473.1.1.2 = critical, DER:0420{ephemeral_point}
1.3.6.1.4.1.32473.1.1.3 = critical, ASN1:UTF8String:{approval_id}
"""


@pytest.mark.parametrize("issuer", [NORTH, EAST], ids=["Ed25519", "P-256"])
def test_openssl_issues_an_approval(issuer: Organisation, tmp_path: Path) -> None:
    """As docs/protocol/approval-certificate.md says, section 2."""
    binding = dataclasses.replace(BINDING, client_spki=b"")
    values = {"write_id": binding.write_id.hex(), "ephemeral_point": binding.ephemeral_point.hex()}
    (tmp_path / "extensions").write_text(OPENSSL_EXTENSIONS.format(approval_id="read 7", **values))
    pkcs8 = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "issuer.key").write_bytes(pkcs8)
    (tmp_path / "issuer.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    for command in (
        "openssl req -new -newkey ed25519 -noenc -keyout client.key -subj /CN=reader -out request.pem",
        "openssl x509 -req -in request.pem -CA issuer.pem -CAkey issuer.key -CAcreateserial -extfile extensions"
        " -outform DER -out approval.der",
    ):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    read = Approval.parse((tmp_path / "approval.der").read_bytes())
    assert (read.write_id, read.ephemeral_point) == (binding.write_id, binding.ephemeral_point)
    assert read.approval_id == "read 7"
    assert approval.signed_by(read.certificate, issuer.certificate)


def test_foreign_authority_in_front_of_valid_ones_changes_nothing() -> None:
    approvals = [FOREIGN.issue(REQUEST), NORTH.issue(REQUEST), EAST.issue(REQUEST)]
    assert POLICY.verify(approvals, BINDING, NOW) == {"north", "east"}
    assert "no issuer" in refused(FOREIGN.issue(REQUEST), NORTH.issue(REQUEST))


def test_an_organisation_counts_once() -> None:
    assert "1 organisations" in refused(NORTH.issue(REQUEST), NORTH.issue(REQUEST))
    twice = dataclasses.replace(
        POLICY, organisations={"north": (NORTH.certificate,) * 2, "south": (SOUTH.certificate,)}
    )
    assert "1 organisations" in refused(NORTH.issue(REQUEST), NORTH.issue(REQUEST), policy=twice)


def test_approvals_for_different_ephemeral_keys_do_not_add_up() -> None:
    other = altered(binding=dataclasses.replace(BINDING, ephemeral_point=bytes(32)))
    assert "another ephemeral key" in refused(NORTH.issue(REQUEST), EAST.issue(other))


BAD_REQUESTS: dict[str, tuple[Request, str]] = {
    "another wrapped key": (altered(binding=dataclasses.replace(BINDING, write_id=bytes(32))), "another wrapped key"),
    "another client": (altered(client=STRANGER.public_key()), "another client"),
    "ten years": (altered(end=NOW + 10 * YEAR), "more than the policy's"),
    "expired": (altered(begin=NOW - 400, end=NOW - 100), "not valid"),
    "not yet valid": (altered(begin=NOW + 100, end=NOW + 300), "not valid"),
    "an authority": (altered(authority=True), "authority"),
    "not critical": (altered(critical=False), "not critical"),
    "two usages": (altered(usages=(approval.APPROVAL_USAGE, ExtendedKeyUsageOID.CLIENT_AUTH)), "exactly"),
    "another usage": (altered(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "exactly"),
    "unknown critical extension": (
        altered(extra=((x509.UnrecognizedExtension(ObjectIdentifier("2.999.1"), b"\x05\x00"), True),)),
        "unknown critical",
    ),
    "no basic constraints": (altered(without=(ExtensionOID.BASIC_CONSTRAINTS,)), "missing"),
    "no ephemeral point": (altered(without=(approval.EPHEMERAL_POINT,)), "missing"),
    "approval id of 129 characters": (altered(approval_id="x" * 129), "too long"),
    "empty approval id": (altered(approval_id=""), "empty"),
    "short write_id": (altered(binding=dataclasses.replace(BINDING, write_id=bytes(31))), "32 bytes"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_certificate_that_does_not_count(case: str) -> None:
    request, reason = BAD_REQUESTS[case]
    assert reason in refused(NORTH.issue(request), EAST.issue(REQUEST))


def test_extension_of_no_consequence_is_allowed() -> None:
    extra = ((x509.SubjectAlternativeName([x509.DNSName("reader.example")]), False),)
    assert POLICY.verify([NORTH.issue(altered(extra=extra)), EAST.issue(REQUEST)], BINDING, NOW)


def test_clock_tolerance() -> None:
    approvals = [NORTH.issue(REQUEST), EAST.issue(REQUEST)]
    assert POLICY.verify(approvals, BINDING, NOW + 290 + 30)
    assert POLICY.verify(approvals, BINDING, NOW - 10 - 30)
    assert "not valid" in refused(*approvals, now=NOW + 290 + 31)
    assert "not valid" in refused(*approvals, now=NOW - 10 - 31)


def test_expired_issuer() -> None:
    old = Organisation("north", NOW - YEAR, NOW - 86_400)
    policy = dataclasses.replace(POLICY, organisations={**POLICY.organisations, "north": (old.certificate,)})
    assert "the issuer of north" in refused(old.issue(REQUEST), EAST.issue(REQUEST), policy=policy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda der: der + b"\x00",
        lambda der: der[:-1],
        lambda der: der[:40] + bytes([der[40] ^ 1]) + der[41:],
        lambda der: der[:-1] + bytes([der[-1] ^ 1]),
        lambda der: der + bytes(approval.MAX_CERTIFICATE),
        lambda der: b"",
    ],
    ids=["trailing byte", "cut", "changed", "signature changed", "too long", "empty"],
)
def test_damaged_certificate(damage: Callable[[bytes], bytes]) -> None:
    der = NORTH.issue(REQUEST)
    assert "1 organisations" in refused(damage(der), EAST.issue(REQUEST))


def test_repeated_extension() -> None:
    """No builder makes one, so the DER of an approval id is put over that of an extension nobody needs."""
    spare = x509.UnrecognizedExtension(ObjectIdentifier(f"{approval.ARC}.1.9"), b"\x05\x00")
    der = NORTH.issue(altered(extra=((spare, False),)))
    marker = bytes.fromhex("0601040181fd590101")
    at = der.index(marker + b"\x09")
    repeated = der[: at + len(marker)] + b"\x03" + der[at + len(marker) + 1 :]
    with pytest.raises(NotCounted, match="not a certificate"):
        Approval.parse(repeated)


@pytest.mark.parametrize("needed", [0, 4])
def test_policy_that_cannot_be_right(needed: int) -> None:
    with pytest.raises(ValueError, match="approvals of 3 organisations"):
        dataclasses.replace(POLICY, approvals_needed=needed).check()


def test_policy_with_one_key_in_two_organisations() -> None:
    with pytest.raises(ValueError, match="one issuer key"):
        Policy(1, {"north": (NORTH.certificate,), "south": (NORTH.certificate,)}).check()
