"""The golden record's state and its root (`docs/protocol/golden-record.md`, section 4).

What each accepted transaction writes into the tables, and the tree over their rows. Whether a transaction was
permitted is not asked: whoever executes the same transactions and comes to the root of the header has found that the
organisations' peers, which did ask, hold these rows and no others.

The tree is made anew for each root, from all rows: simple, and slow for large records.
"""

from __future__ import annotations

import hashlib
from typing import Any

from . import cbor, record_pki

MAX_FORGOTTEN = 4096
"""Expired transactions that one block forgets at most."""

Row = dict[str, Any]


def statement(tag: str, value: Any) -> bytes:
    """What is hashed or signed: the canonical encoding of an array of tag and value."""
    return cbor.encode([tag, value])


def tagged_hash(tag: str, value: Any) -> bytes:
    return hashlib.sha256(statement(tag, value)).digest()


def quorum(count: int) -> int:
    """How many of `count` organisations decide."""
    return count - (count - 1) // 3


def tree_root(leaves: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The root of the compressed sparse Merkle tree over value hashes by key hash."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        [(key, value)] = leaves.items()
        return hashlib.sha256(b"\x00" + key + value).digest()
    sides: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for key, value in leaves.items():
        sides[key[depth // 8] >> (7 - depth % 8) & 1][key] = value
    left, right = (tree_root(side, depth + 1) for side in sides)
    return hashlib.sha256(b"\x01" + left + right).digest()


def _name(it: Row, *fields: str) -> Row:
    return {field: it[field] for field in fields}


def _optional(it: Row, *fields: str) -> Row:
    return {field: it[field] for field in fields if field in it}


class State:
    """The rows of all tables. A key stands in its encoding, for maps are no keys in Python."""

    def __init__(self, organisations: list[Row]) -> None:
        self.tables: dict[str, dict[bytes, Any]] = {}
        self.hashes: dict[bytes, bytes] = {}
        for organisation in organisations:
            self.put("organisations", organisation["name"], organisation)

    def get(self, table: str, key: Any) -> Any:
        return self.tables.get(table, {}).get(cbor.encode(key))

    def put(self, table: str, key: Any, row: Any) -> None:
        self.tables.setdefault(table, {})[cbor.encode(key)] = row
        key_hash = tagged_hash("coordinator/v1/state-key", [table, key])
        self.hashes[key_hash] = tagged_hash("coordinator/v1/state-value", row)

    def delete(self, table: str, key: Any) -> None:
        del self.tables[table][cbor.encode(key)]
        del self.hashes[tagged_hash("coordinator/v1/state-key", [table, key])]

    def update(self, table: str, key: Any, **changes: Any) -> None:
        self.put(table, key, {**self.get(table, key), **changes})

    def finish_block(self, height: int, time_ms: int, parent: bytes) -> bytes:
        """Ends a block; the root after it."""
        expired = sorted(cbor.decode(key, 64) for key in self.tables.get("unexpired", {}))
        for key in [key for key in expired if key[0] <= time_ms][:MAX_FORGOTTEN]:
            self.delete("unexpired", key)
        self.put("chain", None, [height, time_ms, parent])
        return tree_root(self.hashes)

    def apply(self, identifier: bytes, content: Row, height: int, time_ms: int) -> None:
        """Writes what an accepted transaction writes."""
        [(kind, it)] = content["transaction"].items()
        author = content["author"]
        user = author.get("user") or author.get("managed")
        if kind.startswith("organisation-"):
            self._organisations(kind, it, author["organisation"])
        elif kind in ("tenant-authorities", "user-certify", "client-certify", "revocations-publish"):
            self._certificates(kind, it, author, time_ms)
        elif kind.startswith(("tenant-", "user-")):
            self._users(kind, it, author, user, time_ms)
        elif kind.startswith(("dataset-", "permission-", "access-")):
            self._datasets(kind, it, author, user, identifier, time_ms)
        else:
            self._documents(kind, it, user, identifier, height, time_ms)
        self.put("unexpired", [content["expires_ms"], identifier], None)

    def _organisations(self, kind: str, it: Row, organisation: str) -> None:
        if kind == "organisation-withdraw":
            return self._unendorse(it["change"], organisation)
        change = it["change"]
        name = tagged_hash("coordinator/v1/organisation-change", change)
        pending = self.get("pending-changes", name)
        endorsed_by = sorted({organisation, *(pending["endorsed_by"] if pending else [])})
        if len(endorsed_by) < quorum(len(self.tables["organisations"])):
            return self.put("pending-changes", name, {"change": change, "endorsed_by": endorsed_by})
        if pending:
            self.delete("pending-changes", name)
        self._change(change)
        # Fewer organisations are a smaller quorum, which other changes may have by now.
        while decided := self._decided():
            change = self.get("pending-changes", decided)["change"]
            self.delete("pending-changes", decided)
            self._change(change)

    def _decided(self) -> bytes | None:
        """The first change that a quorum has endorsed and that is possible."""
        needed = quorum(len(self.tables["organisations"]))
        rows = {cbor.decode(key, 64): row for key, row in self.tables.get("pending-changes", {}).items()}
        enough = (name for name in sorted(rows) if len(rows[name]["endorsed_by"]) >= needed)
        return next((name for name in enough if self._possible(rows[name]["change"])), None)

    def _possible(self, change: Row) -> bool:
        """Whether the organisations could go on after a change that was possible when it was endorsed."""
        after = {row["name"]: row for row in self.tables["organisations"].values()}
        [(what, entry)] = change.items()
        name = entry if what == "remove" else entry["name"]
        if (name in after) == (what == "admit"):
            return False
        after.pop(name, None)
        if what != "remove":
            after[name] = entry
        keys = [row[field] for row in after.values() for field in ("operator_key", "head_key")]
        issuers = [key for row in after.values() for key in {record_pki.key_of(der) for der in row["issuers"]}]
        unique = (keys, issuers, [name.lower() for name in after])
        return 1 <= len(after) <= 64 and all(len(set(each)) == len(each) for each in unique)

    def _change(self, change: Row) -> None:
        [(what, entry)] = change.items()
        if what == "remove":
            self.delete("organisations", entry)
        else:
            self.put("organisations", entry["name"], entry)
        concerned = entry if what == "remove" else entry["name"]
        for other in [cbor.decode(key, 64) for key in self.tables.get("pending-changes", {})]:
            if concerned in self.get("pending-changes", other)["endorsed_by"]:
                self._unendorse(other, concerned)

    def _unendorse(self, change: bytes, organisation: str) -> None:
        others = [name for name in self.get("pending-changes", change)["endorsed_by"] if name != organisation]
        if others:
            self.update("pending-changes", change, endorsed_by=others)
        else:
            self.delete("pending-changes", change)

    def _users(self, kind: str, it: Row, author: Row, by: Row, time_ms: int) -> None:
        by_bound = "certificate" in (self.get("users", by) or {})

        def registered(public_key: bytes, role: str) -> Row:
            row = {"public_key": public_key, "key_version": 1, "role": role}
            return {**row, "suspended": False, "registered_ms": time_ms}

        match kind:
            case "tenant-register":
                tenant = {"organisation": author["organisation"], "registered_ms": time_ms}
                self.put("tenants", it["tenant"], tenant)
                administrator = {"tenant": it["tenant"], "user": it["administrator"]}
                self.put("users", administrator, registered(it["public_key"], "administrator"))
            case "user-register":
                row = registered(it["public_key"], it["role"])
                row |= _optional(it, "expires_ms", "managed")
                if by_bound and it["role"] == "administrator":
                    row["must_be_bound"] = True
                self.put("users", _name(it, "tenant", "user"), row)
            case "user-rotate-key":
                row = {field: value for field, value in self.get("users", by).items() if field != "managed"}
                row |= {"public_key": it["public_key"], "key_version": row["key_version"] + 1}
                self.put("users", by, {**row, **_optional(it, "managed")})
            case "user-suspend" | "user-resume":
                self.update("users", it, suspended=kind == "user-suspend")
            case "user-expire":
                user = _name(it, "tenant", "user")
                row = {field: value for field, value in self.get("users", user).items() if field != "expires_ms"}
                self.put("users", user, {**row, **_optional(it, "expires_ms")})

    def _certificates(self, kind: str, it: Row, author: Row, time_ms: int) -> None:
        registered = (self.get("authorities", it["tenant"]) or {}).get("authorities", [])
        match kind:
            case "tenant-authorities":
                row = {"authorities": record_pki.authorities(it["authorities"]), **_optional(it, "bound_clients")}
                self.put("authorities", it["tenant"], {**row, "changed_by": author, "changed_ms": time_ms})
            case "revocations-publish":
                authority, row = record_pki.revocations(it["chain"], it["list"], registered)
                key = {"tenant": it["tenant"], "authority": authority}
                self.put("revocations", key, {**row, "published_by": author, "published_ms": time_ms})
            case "client-certify":
                client = _name(it, "tenant", "client")
                if "certificate" in it:
                    self.put("clients", client, record_pki.bound(it["certificate"]["chain"], registered, time_ms))
                else:
                    self.delete("clients", client)
            case "user-certify":
                user = _name(it, "tenant", "user")
                row = {field: value for field, value in self.get("users", user).items() if field != "certificate"}
                if "certificate" in it:
                    row["certificate"] = record_pki.bound(it["certificate"]["chain"], registered, time_ms)
                self.put("users", user, row)

    def _datasets(self, kind: str, it: Row, author: Row, user: Row, identifier: bytes, time_ms: int) -> None:
        dataset = _name(it, "tenant", "dataset")
        by_author = {"changed_by": author, "changed_ms": time_ms}
        if kind.startswith("dataset-"):
            row = {"version": it.get("version", 1), **_name(it, "encryption", "storage")}
            self.put("datasets", dataset, {**row, "changed_by": user, "changed_ms": time_ms})
            if kind == "dataset-create":
                permissions = {"version": 1, "owners": [user], "writers": [], "readers": [], **by_author}
                self.put("permissions", dataset, permissions)
            return
        role = it["role"]
        if kind.startswith("access-"):
            access = {"dataset": dataset, "user": it.get("user", user), "role": role}
            if kind == "access-request":
                return self.put("access", access, {"request": identifier, "requested_ms": time_ms, "status": "open"})
            status = "granted" if kind == "access-grant" else "declined"
            self.update("access", access, status={status: user})
        permissions = self.get("permissions", dataset)
        before = permissions[f"{role}s"]
        match kind:
            case "permission-set":
                after = it["users"]
            case "permission-remove":
                after = [other for other in before if other != it["user"]]
            case "permission-add" | "access-grant" if it["user"] not in before:
                after = sorted([*before, it["user"]], key=lambda name: (name["tenant"], name["user"]))
            case _:
                return
        version = permissions["version"] + 1
        self.update("permissions", dataset, **{"version": version, f"{role}s": after, **by_author})

    def _documents(self, kind: str, it: Row, user: Row, identifier: bytes, height: int, time_ms: int) -> None:
        match kind:
            case "link":
                row = {**_name(it, "version", "from", "to", "relation"), "author": user}
                row |= {"transaction": identifier, "changed_ms": time_ms}
                self.put("links", _name(it, "tenant", "dataset", "link"), row)
            case "read":
                name = _name(it, "tenant", "dataset", "document", "version")
                row = {"reader": user, "key_version": self.get("users", user)["key_version"], "name": name}
                row |= {"height": height, "time_ms": time_ms, **_optional(it, "reencryption")}
                self.put("reads", identifier, row)
                if "reencryption" in it:
                    self.put("ephemeral-points", it["reencryption"]["ephemeral_key"][:32], identifier)
            case "write":
                self._write(it, user, identifier, time_ms)
            case "erase":
                document = _name(it, "tenant", "dataset", "document")
                latest = self.get("documents", document)["latest"]
                for version in [it["version"]] if "version" in it else range(1, latest + 1):
                    name = {**document, "version": version}
                    row = {key: value for key, value in self.get("versions", name).items() if key != "content"}
                    self.put("versions", name, row)
                self.update("documents", document, erased="version" not in it, changed_ms=time_ms)
            case "rewrap":
                name = _name(it, "tenant", "dataset", "document", "version")
                row = dict(self.get("versions", name))
                row["content"] = {**row["content"], **self._under_cluster(it["wrapped_key"], identifier)}
                self.put("versions", name, row)
            case _:
                raise ValueError(f"a transaction of the kind {kind}")

    def _under_cluster(self, wrapped_key: bytes, identifier: bytes) -> Row:
        """What a key that is wrapped under a cluster key is on the record."""
        write_id = hashlib.sha256(wrapped_key).digest()
        self.put("write-ids", write_id, identifier)
        threshold = {"write_id": write_id, "public_key": wrapped_key[1:33]}
        return {"key": {"threshold": {"wrapped_key": wrapped_key}}, "threshold": threshold}

    def _write(self, it: Row, user: Row, identifier: bytes, time_ms: int) -> None:
        content = _name(it, "wrapped_dek1", "key", "body")
        if "threshold" in it["key"]:
            content |= self._under_cluster(it["key"]["threshold"]["wrapped_key"], identifier)
        row = {"writer": user, "written_ms": time_ms, "transaction": identifier, "content": content}
        row |= _name(it, "length", "checksum") | _optional(it, "content_type")
        document = _name(it, "tenant", "dataset", "document")
        self.put("documents", document, {"latest": it["version"], "erased": False, "changed_ms": time_ms})
        self.put("versions", {**document, "version": it["version"]}, row)
