"""Altered wrapped keys, ephemeral keys, shares, certificates and checkpoints, judged by both implementations.

The inputs begin with the fuzzer's seeds (`fuzz/corpus`), and are altered here by a generator with a fixed seed. `fuzz-corpus verdict` says
what the node's own code thinks of each; the peer of these tests shares none of it. Where they differ, one of them reads
bytes that the protocol does not have.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from harness.program import CHECKOUT
from peer import approval, log_proof, node_audit, scheme, transparency
from peer.approval import Binding, Policy
from peer.ristretto import decode_element
from peer.scheme import EphemeralKey, PublicKeyPackage, Share, WrappedKey
from peer.transparency import Checkpoint, NoteKey

CORPUS, FIXTURES = CHECKOUT / "fuzz" / "corpus", CHECKOUT / "fuzz" / "fixtures"
INPUTS = 250
NOW = 1_800_000_000


def ours(target: str, inputs: list[bytes]) -> list[str]:
    """What the node's own code says of each: `ok` or a code."""
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
    program = [folder / "debug" / "fuzz-corpus", "verdict", target]
    lines = "".join(f"{data.hex()}\n" for data in inputs)
    done = subprocess.run(program, input=lines, capture_output=True, text=True, check=True)
    verdicts = done.stdout.splitlines()
    assert len(verdicts) == len(inputs)
    return verdicts


def seed(target: str, name: str = "ok") -> bytes:
    return (CORPUS / target / f"seed-{name}").read_bytes()


def corpus(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def altered(honest: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """One or two changes: a bit, a byte, a piece too much or too few, a piece of another input."""
    data = bytearray(honest)
    for _ in range(dice.choice((1, 1, 1, 2))):
        at = dice.randrange(len(data)) if data else 0
        match dice.randrange(6):
            case 0 if data:
                data[at] ^= 1 << dice.randrange(8)
            case 1 if data:
                data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, ord("\n"), ord(" ")))
            case 2:
                data[at:at] = dice.randbytes(dice.choice((1, 2, 32)))
            case 3:
                del data[at : at + dice.choice((1, 2, 32))]
            case 4:
                other = dice.choice(others)
                data[at : at + 32] = other[at : at + 32]
            case _:
                data[at : at + 32] = bytes(len(data[at : at + 32]))
    return bytes(data)


def inputs_for(target: str) -> Iterator[bytes]:
    dice = random.Random(target)
    kept = corpus(target)
    honest = [path.read_bytes() for path in sorted((CORPUS / target).glob("seed-ok*"))]
    yield from kept
    for _ in range(INPUTS):
        yield altered(dice.choice(honest), kept, dice)


def agree(target: str, inputs: list[bytes], judge: Callable[[bytes], object], refusals: tuple[type[Exception], ...]) -> None:
    differ = []
    accepted = 0
    for data, verdict in zip(inputs, ours(target, inputs), strict=True):
        try:
            judge(data)
        except refusals as refusal:
            theirs = f"refused: {refusal}"
        else:
            theirs = "ok"
        accepted += verdict == "ok"
        if (theirs == "ok") != (verdict == "ok"):
            differ.append(f"{data.hex()}\n  ours: {verdict}\n  the peer: {theirs}")
    assert not differ, f"{len(differ)} of {len(inputs)} differ:\n" + "\n".join(differ[:5])
    assert 0 < accepted < len(inputs)


def test_wrapped_keys() -> None:
    agree("wrapped_key", list(inputs_for("wrapped_key")), WrappedKey.parse, (scheme.Refused,))


def the_read() -> tuple[WrappedKey, EphemeralKey, PublicKeyPackage]:
    """The one read that the targets are about."""
    wrapped = WrappedKey.parse(seed("wrapped_key"))
    ephemeral = EphemeralKey.parse(seed("ephemeral_key"), wrapped.public_key, wrapped.write_id)
    points = seed("package")[2:]
    y, *shares = (decode_element(points[at : at + 32]) for at in range(0, len(points), 32))
    package = PublicKeyPackage(public_key=y, epoch=0, threshold=2, public_shares=tuple(shares))
    package.check()
    return wrapped, ephemeral, package


def test_ephemeral_keys() -> None:
    wrapped, _, _ = the_read()

    def judge(data: bytes) -> EphemeralKey:
        return EphemeralKey.parse(data, wrapped.public_key, wrapped.write_id)

    agree("ephemeral_key", list(inputs_for("ephemeral_key")), judge, (scheme.Refused,))


def test_shares() -> None:
    wrapped, ephemeral, package = the_read()

    def judge(data: bytes) -> Share:
        return Share.parse(data, package, wrapped, ephemeral)

    agree("share", list(inputs_for("share")), judge, (scheme.Refused,))


def test_checkpoints() -> None:
    public = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32).public_key()
    key = NoteKey("log.example/1", public.public_bytes_raw())

    def judge(data: bytes) -> object:
        return transparency.verify_checkpoint(data.decode(), [key], 1)

    refusals = (transparency.InvalidNote, UnicodeDecodeError)
    agree("note", list(inputs_for("note")), judge, refusals)


Element = tuple[int, "bytes | list[Element]"]


def take_apart(data: bytes) -> list[Element]:
    """DER as a tree; what is constructed, by its tag, is taken apart further."""
    elements: list[Element] = []
    while data:
        tag, length, head = data[0], data[1], 2
        if length >= 0x80:
            head = 2 + length - 0x80
            length = int.from_bytes(data[2:head], "big")
        content, data = data[head : head + length], data[head + length :]
        elements.append((tag, take_apart(content) if tag & 0x20 else content))
    return elements


def put_together(elements: list[Element]) -> bytes:
    return b"".join(
        approval.der(tag, content if isinstance(content, bytes) else put_together(content)) for tag, content in elements
    )


def lists_in(elements: list[Element]) -> Iterator[list[Element]]:
    yield elements
    for _, content in elements:
        if isinstance(content, list):
            yield from lists_in(content)


def with_a_field_changed(certificate: bytes, key: Ed25519PrivateKey, dice: random.Random) -> bytes:
    """Signed again by its authority, so that only the profile can refuse it."""
    [(tag, parts)] = take_apart(certificate)
    assert isinstance(parts, list)
    fields = dice.choice([one for one in lists_in([parts[0]]) if one])
    at = dice.randrange(len(fields))
    what, content = fields[at]
    match dice.randrange(5):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, fields[at])
        case 2 if isinstance(content, bytes) and content:
            place = dice.randrange(len(content))
            fields[at] = (what, content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :])
        case 3:
            fields[at] = (dice.choice((0x01, 0x02, 0x04, 0x05, 0x0C, 0x13, 0x30, what ^ 0x20, what ^ 0x01)), content)
        case _:
            dice.shuffle(fields)
    signed = put_together([parts[0]])
    parts[2] = (0x03, b"\0" + key.sign(signed))
    return approval.der(tag, signed + put_together(parts[1:]))


# What our reader refuses for its form, and a general X.509 parser forgives: the profile is held to byte for byte
# (docs/protocol/approval-certificate.md, sections 1, 2 and 5).
FORMS = (
    "certificate-malformed",
    "certificate-algorithm-mismatch",
    "approval-extension-value",
    "approval-id",
    "approval-extension-not-critical",
)

# What the peer's library reads more strictly, of what an approval does not depend on: extensions that are neither critical nor
# the profile's, which ours passes over unread, and the old kinds of strings in names (Teletex, Numeric, BMP).
PASSED_OVER = ("AuthorityKeyIdentifier", "SubjectKeyIdentifier", "value: 20,", "value: 18,", "value: 30,")


def test_certificates() -> None:
    """Whatever ours counts, the peer counts too; what ours alone refuses, it refuses for its form."""
    issuer = x509.load_pem_x509_certificate((FIXTURES / "authority.pem").read_bytes())
    key = load_pem_private_key((FIXTURES / "authority.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    client = Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32).public_key()
    spki = client.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    policy = Policy(approvals_needed=1, organisations={"oak": (issuer,)}, max_lifetime_s=300, tolerance_s=30)
    binding = Binding(write_id=bytes([0x11]) * 32, ephemeral_point=bytes([0x22]) * 32, client_spki=spki)
    honest = (FIXTURES / "approval.der").read_bytes()
    dice = random.Random("certificates")
    inputs = [honest, *(with_a_field_changed(honest, key, dice) for _ in range(4 * INPUTS))]
    counted = 0
    for data, verdict in zip(inputs, ours("approval_counted", inputs), strict=True):
        try:
            assert policy.count(data, binding, NOW) == "oak"
        except (approval.NotCounted, UnsupportedAlgorithm, ValueError) as refusal:
            passed_over = any(name in str(refusal) for name in PASSED_OVER)
            assert verdict != "ok" or passed_over, f"ours counts what the peer does not ({refusal}): {data.hex()}"
        else:
            counted += verdict == "ok"
            assert verdict == "ok" or verdict in FORMS, f"the peer counts what ours refuses ({verdict}): {data.hex()}"
    assert 0 < counted < len(inputs)


def the_log() -> tuple[NoteKey, Checkpoint]:
    """The log of the targets, and its head of five records: from a seed, which the node's own code wrote."""
    identity = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32).public_key().public_bytes_raw()
    log = NoteKey(node_audit.origin_of("node-1", identity), identity)
    note = seed("consistency_file", "ok-same").decode().partition("\n\n")[2]
    return log, log_proof.verify_head(note, log)


def test_proofs_of_records() -> None:
    log, _ = the_log()

    def judge(data: bytes) -> object:
        return log_proof.verify_inclusion_file(data.decode(), log)

    refusals = (transparency.InvalidProof, transparency.InvalidNote, UnicodeDecodeError)
    agree("inclusion_file", list(inputs_for("inclusion_file")), judge, refusals)


def test_proofs_of_consistency() -> None:
    log, old = the_log()

    def judge(data: bytes) -> object:
        return log_proof.verify_consistency_file(data.decode(), log, old)

    refusals = (transparency.InvalidProof, transparency.InvalidNote, UnicodeDecodeError)
    agree("consistency_file", list(inputs_for("consistency_file")), judge, refusals)


def test_cosignatures() -> None:
    _, head = the_log()
    identity = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32).public_key().public_bytes_raw()
    witness = log_proof.WitnessKey.of_node("node-2", identity)

    def judge(data: bytes) -> None:
        note = f"{head}\n{data.decode()}"
        if transparency.SignedNote.parse(note).text != str(head):
            raise transparency.InvalidNote("the answer makes another text of it")
        if not log_proof.cosigners(note, [witness]):
            raise transparency.InvalidNote("the witness did not cosign")

    agree("cosignature", list(inputs_for("cosignature")), judge, (transparency.InvalidNote, UnicodeDecodeError))
