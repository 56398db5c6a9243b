"""The scheme against the project's vectors: good ones reproduced byte for byte, bad ones refused.

The environment variable VECTORS names another folder to read them from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from peer import scheme
from peer.ristretto import GENERATOR, Element, InvalidElement, decode_scalar, encode_scalar, lagrange_at
from peer.scheme import EphemeralKey, PublicKeyPackage, Refused, Share, WrappedKey

CHECKOUT = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("VECTORS") or CHECKOUT / "reencrypt" / "vectors")


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


GROUP, WRAPPED_KEY, READ = load("group"), load("wrapped_key"), load("read")
ATTACKED = READ["good"][2]


def element(text: str) -> Element:
    return Element.decode(bytes.fromhex(text))


def scalar(text: str) -> int:
    return decode_scalar(bytes.fromhex(text))


def request(vector: dict[str, Any]) -> tuple[WrappedKey, EphemeralKey]:
    wrapped = WrappedKey.parse(bytes.fromhex(vector["wrapped_key"]))
    key = bytes.fromhex(vector["ephemeral_key"])
    return wrapped, EphemeralKey.parse(key, wrapped.public_key, wrapped.write_id)


def package_of(vector: dict[str, Any]) -> PublicKeyPackage:
    """All n public shares: those that the vector leaves out are interpolated from its t secret shares."""
    secrets = {share["index"]: scalar(share["x_i"]) for share in vector["shares"]}
    chosen = list(secrets)[: vector["threshold"]]
    public_shares = []
    for index in range(1, vector["members"] + 1):
        weights = lagrange_at(chosen, index)
        public_shares.append(sum(weights[i] * secrets[i] for i in chosen) * GENERATOR)
    return PublicKeyPackage(element(vector["public_key"]), vector["epoch"], vector["threshold"], tuple(public_shares))


def test_generators() -> None:
    assert GENERATOR.encode().hex() == GROUP["generator"]
    assert scheme.SHADOW_GENERATOR.encode().hex() == GROUP["shadow_generator"]


@pytest.mark.parametrize("vector", GROUP["hash"], ids=lambda v: v["hash"][:8])
def test_hash(vector: dict[str, Any]) -> None:
    items = [bytes.fromhex(item) for item in vector["items"]]
    assert scheme.hash_items(vector["tag"], *items).hex() == vector["hash"]
    assert encode_scalar(scheme.hash_to_scalar(vector["tag"], *items)).hex() == vector["scalar"]


@pytest.mark.parametrize("vector", WRAPPED_KEY["good"], ids=lambda v: v["write_id"][:8])
def test_wrapping_is_reproduced(vector: dict[str, Any]) -> None:
    public_key, x, r = element(vector["public_key"]), scalar(vector["x"]), scalar(vector["r"])
    assert x * GENERATOR == public_key
    label, secret = bytes.fromhex(vector["label"]), bytes.fromhex(vector["secret"])
    made = WrappedKey.make(public_key, label, secret, r, scalar(vector["w"]))
    assert made.encoding.hex() == vector["encoding"]
    assert made.write_id.hex() == vector["write_id"]
    parsed = WrappedKey.parse(bytes.fromhex(vector["encoding"]))
    assert parsed == made
    assert parsed.open(x * parsed.u) == secret


@pytest.mark.parametrize("vector", WRAPPED_KEY["bad"], ids=lambda v: v["why"])
def test_bad_wrapped_key_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        WrappedKey.parse(bytes.fromhex(vector["encoding"]))


@pytest.mark.parametrize("vector", READ["good"], ids=lambda v: f"{v['threshold']} of {v['members']}")
def test_read_is_reproduced(vector: dict[str, Any]) -> None:
    wrapped, ephemeral = request(vector)
    assert wrapped.write_id.hex() == vector["write_id"]
    x_c = scalar(vector["x_c"])
    remade = EphemeralKey.make(wrapped.public_key, wrapped.write_id, x_c, scalar(vector["ephemeral_w"]))
    assert remade.encoding.hex() == vector["ephemeral_key"]

    package = package_of(vector)
    package.check()
    shares = []
    for share in vector["shares"]:
        assert package.public_shares[share["index"] - 1] == element(share["public_share"])
        nonce, secret = scalar(share["w"]), scalar(share["x_i"])
        made = Share.make(share["index"], vector["epoch"], secret, wrapped, ephemeral, nonce)
        assert made.encoding.hex() == share["encoding"]
        shares.append(Share.parse(bytes.fromhex(share["encoding"]), package, wrapped, ephemeral))

    chosen = shares[: vector["threshold"]]
    assert scheme.combine(chosen).encode().hex() == vector["combined"]
    encodings = [share.encoding for share in shares]
    assert scheme.open_with_shares(encodings, package, wrapped, ephemeral, x_c).hex() == vector["secret"]
    with pytest.raises(Refused):
        scheme.open_with_shares(encodings[: vector["threshold"] - 1], package, wrapped, ephemeral, x_c)
    with pytest.raises(Refused):
        scheme.open_with_shares(encodings, package, wrapped, ephemeral, x_c + 1)


@pytest.mark.parametrize("vector", READ["bad_ephemeral"], ids=lambda v: v["why"])
def test_bad_ephemeral_key_is_refused(vector: dict[str, Any]) -> None:
    wrapped, _ = request(ATTACKED)
    with pytest.raises(Refused):
        EphemeralKey.parse(bytes.fromhex(vector["ephemeral_key"]), wrapped.public_key, wrapped.write_id)


@pytest.mark.parametrize("vector", READ["bad_share"], ids=lambda v: v["why"])
def test_bad_share_is_refused(vector: dict[str, Any]) -> None:
    wrapped, ephemeral = request(ATTACKED)
    with pytest.raises(Refused):
        Share.parse(bytes.fromhex(vector["encoding"]), package_of(ATTACKED), wrapped, ephemeral)


def test_public_shares_off_the_polynomial_are_refused() -> None:
    package = package_of(ATTACKED)
    for index in range(len(package.public_shares)):
        shares = list(package.public_shares)
        shares[index] = shares[index] + GENERATOR
        with pytest.raises(Refused):
            PublicKeyPackage(package.public_key, package.epoch, package.threshold, tuple(shares)).check()
    for threshold in (0, 1, 2, 6):
        with pytest.raises(Refused):
            PublicKeyPackage(package.public_key, package.epoch, threshold, package.public_shares).check()


def test_one_share_twice_is_not_two_shares() -> None:
    wrapped, ephemeral = request(ATTACKED)
    share = Share.parse(bytes.fromhex(ATTACKED["shares"][0]["encoding"]), package_of(ATTACKED), wrapped, ephemeral)
    with pytest.raises(ValueError):
        scheme.combine([share, share, share])


def test_ephemeral_key_that_cancels_the_wrapped_key_is_refused() -> None:
    """X = -U: who wrapped the key knows its r, and so can prove this; U + X would be the identity."""
    vector = WRAPPED_KEY["good"][0]
    wrapped = WrappedKey.parse(bytes.fromhex(vector["encoding"]))
    ephemeral = EphemeralKey.make(wrapped.public_key, wrapped.write_id, -scalar(vector["r"]), 7)
    with pytest.raises(Refused):
        Share.make(1, 0, scalar(vector["x"]), wrapped, ephemeral, 9)


def test_secrets_that_are_no_scalars_are_refused() -> None:
    with pytest.raises(InvalidElement):
        scalar("ff" * 32)
