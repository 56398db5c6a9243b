"""Makes envelope.json from docs/protocol/envelope.md alone, with the Python package `cryptography` (OpenSSL).

    pip install cryptography && python3 envelope.py > envelope.json
"""

import hashlib
import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK = 65536


def bind(tag, name, *further):
    tenant, dataset, document, version = name
    items = [tag.encode(), tenant.encode(), dataset.encode(), document.encode(), version.to_bytes(8, "little")]
    return b"".join(len(item).to_bytes(8, "little") + item for item in [*items, *further])


def plaintext(length):
    return bytes((i * 31 + i // 251) % 256 for i in range(length))


def encrypted_body(key, prefix, name, body):
    header = b"DXEB\x01\x01\x10" + prefix + b"\0\0"
    associated = header + hashlib.sha256(bind("coordinator/v1/body", name)).digest()
    blocks = [body[i : i + BLOCK] for i in range(0, len(body), BLOCK)] or [b""]
    out = header
    for index, block in enumerate(blocks):
        last = b"\x01" if index + 1 == len(blocks) else b"\x00"
        out += AESGCM(key).encrypt(prefix + index.to_bytes(4, "big") + last, block, associated)
    return out


def sealed(key, nonce, secret, context):
    return b"\x01" + nonce + AESGCM(key).encrypt(nonce, secret, context)


def case(number, length):
    def fixed(what, size):
        return hashlib.sha256(f"envelope vector {number} {what}".encode()).digest()[:size]

    name = (f"tenant-{number}", "data.set", "document_with-signs", number + 1)
    body_key, document_key = fixed("body key", 32), fixed("document key", 32)
    prefix, wrap_nonce, pointer_nonce = fixed("prefix", 7), fixed("wrap nonce", 12), fixed("pointer nonce", 12)
    metadata, pointer = b'{"content_type":"text/plain"}'[: 29 * (number % 2)], fixed("pointer", 16)
    body = encrypted_body(body_key, prefix, name, plaintext(length))
    checksum = hashlib.sha256(body).digest()
    wrapped = sealed(
        document_key,
        wrap_nonce,
        body_key + metadata,
        bind("coordinator/v1/wrapped-body-key", name, checksum, length.to_bytes(8, "little")),
    )
    return {
        "tenant": name[0],
        "dataset": name[1],
        "document": name[2],
        "version": name[3],
        "length": length,
        "body_key": body_key.hex(),
        "document_key": document_key.hex(),
        "nonce_prefix": prefix.hex(),
        "wrap_nonce": wrap_nonce.hex(),
        "pointer_nonce": pointer_nonce.hex(),
        "metadata": metadata.hex(),
        "pointer": pointer.hex(),
        "encrypted_length": len(body),
        "encrypted_body": body.hex() if len(body) < 1024 else None,
        "checksum": checksum.hex(),
        "wrapped_body_key": wrapped.hex(),
        "sealed_pointer": sealed(
            document_key, pointer_nonce, pointer, bind("coordinator/v1/pointer", name, checksum)
        ).hex(),
    }


LENGTHS = [0, 1, 17, 65535, 65536, 65537, 131072, 200000]
print(json.dumps({"note": "plaintext byte i = (31 i + floor(i / 251)) mod 256",
                  "cases": [case(number, length) for number, length in enumerate(LENGTHS)]}, indent=1))
