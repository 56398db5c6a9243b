"""ristretto255 against the vectors that RFC 9496 prints in its Appendix A."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peer import ristretto
from peer.ristretto import GENERATOR, IDENTITY, Element, InvalidElement

RFC = json.loads((Path(__file__).parent / "vectors" / "rfc9496.json").read_text())


@pytest.mark.parametrize("multiple", range(16))
def test_multiples_of_the_generator(multiple: int) -> None:
    encoding = bytes.fromhex(RFC["multiples"][multiple])
    assert (multiple * GENERATOR).encode() == encoding
    assert Element.decode(encoding) == multiple * GENERATOR
    assert Element.decode(encoding).encode() == encoding


@pytest.mark.parametrize("vector", RFC["invalid"], ids=lambda v: f"{v['why']} {v['encoding'][:8]}")
def test_invalid_encodings_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(InvalidElement):
        Element.decode(bytes.fromhex(vector["encoding"]))


@pytest.mark.parametrize("vector", RFC["derivation"], ids=lambda v: v["output"][:8])
def test_element_derivation(vector: dict[str, str]) -> None:
    assert ristretto.one_way_map(bytes.fromhex(vector["input"])).encode().hex() == vector["output"]


def test_constants() -> None:
    root = ristretto.SQRT_AD_MINUS_ONE
    assert root * root % ristretto.P == (-ristretto.D - 1) % ristretto.P
    assert ristretto.SQRT_M1**2 % ristretto.P == ristretto.P - 1
    assert ristretto.ORDER * GENERATOR == IDENTITY


def test_what_came_from_outside_is_never_the_identity() -> None:
    with pytest.raises(InvalidElement):
        ristretto.decode_element(IDENTITY.encode())
    for length in (0, 31, 33):
        with pytest.raises(InvalidElement):
            ristretto.decode_element(bytes(length))


def test_scalars_have_one_encoding() -> None:
    largest = ristretto.ORDER - 1
    assert ristretto.decode_scalar(ristretto.encode_scalar(largest)) == largest
    for refused in (ristretto.ORDER.to_bytes(32, "little"), b"\xff" * 32, bytes(31)):
        with pytest.raises(InvalidElement):
            ristretto.decode_scalar(refused)


def test_lagrange_coefficients_recover_a_polynomial() -> None:
    coefficients = [5, 7, 11]

    def at(x: int) -> int:
        return sum(c * x**k for k, c in enumerate(coefficients))

    weights = ristretto.lagrange_at([2, 5, 9])
    assert sum(weights[i] * at(i) for i in weights) % ristretto.ORDER == at(0)
    weights = ristretto.lagrange_at([2, 5, 9], 4)
    assert sum(weights[i] * at(i) for i in weights) % ristretto.ORDER == at(4)
