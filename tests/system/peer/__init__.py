"""A second implementation of the project's protocols, for checking the first.

It follows `docs/protocol/` and the RFCs in another language, on other libraries, and shares no code with the crates:
what both sides agree on is what the documents say, and not what one author happened to write. It is made for clarity:
nothing here is constant-time, and nothing here may ever hold a secret that matters.

| module            | what it reads                                                                  |
|-------------------|--------------------------------------------------------------------------------|
| `ristretto`       | ristretto255 (RFC 9496)                                                        |
| `scheme`          | equality proofs, wrapped keys, ephemeral keys, shares, opening                 |
| `approval`        | approval certificates and the policy that counts them                          |
| `transparency`    | Merkle trees (RFC 9162) and signed checkpoints (C2SP)                          |
| `cbor`            | CBOR in its one encoding                                                       |
| `wire`            | a client of a crypto node, over QUIC                                           |
| `key_certificate` | the certificate of a key, and the recovery of a share by its phrase            |
| `node_audit`      | a node's audit log                                                             |
| `record`          | an exported golden record                                                      |
| `envelope`        | envelope encryption of documents                                               |
"""
