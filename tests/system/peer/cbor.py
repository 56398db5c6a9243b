"""CBOR (RFC 8949) in its one encoding.

Everything that the project signs, hashes or sends as CBOR is in core deterministic encoding (section 4.2.1):
shortest and definite lengths, map keys in bytewise order of their encodings. A reader decodes, encodes again and
compares, so that two readers never disagree on what bytes say.
"""

from __future__ import annotations

from typing import Any

import cbor2


class NotCanonical(ValueError):
    """Bytes that are not one CBOR item in its one encoding."""


def decode(data: bytes, limit: int) -> Any:
    """The item in `data`, of at most `limit` bytes."""
    if len(data) > limit:
        raise NotCanonical(f"{len(data)} bytes where at most {limit} are allowed")
    try:
        item = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise NotCanonical(f"not CBOR: {error}") from error
    if encode(item) != data:
        raise NotCanonical("not the one encoding of what it says")
    return item


def encode(item: Any) -> bytes:
    """The item's one encoding."""
    return cbor2.dumps(item, canonical=True)


def fields(item: Any, **types: type) -> dict[str, Any]:
    """A map with exactly these text keys, their values of these types."""
    if not isinstance(item, dict) or set(item) != set(types):
        raise NotCanonical(f"not a map of {', '.join(types)}")
    for key, expected in types.items():
        if type(item[key]) is not expected:
            raise NotCanonical(f"field {key} is no {expected.__name__}")
    return item
