"""The components of one of our binaries as a CycloneDX 1.5 document, from what cargo resolved and Cargo.lock pins.

    python3 .ci/supply/sbom.py cryptonode > cryptonode.cdx.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

TARGET = "x86_64-unknown-linux-gnu"


def purl(package: dict[str, Any]) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def normal(dependency: dict[str, Any]) -> bool:
    """Whether it is in the binary, and not only in its tests or its build."""
    return any(kind["kind"] is None for kind in dependency["dep_kinds"])


def main(root_name: str) -> None:
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    locked = tomllib.loads(Path("Cargo.lock").read_text())["package"]
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in locked}

    # `cargo metadata` joins the features of the whole workspace; `cargo tree` says what is in this binary.
    tree = ["cargo", "tree", "--locked", "--quiet", "--package", root_name, "--edges", "normal", "--target", TARGET]
    shown = subprocess.run([*tree, "--prefix", "none", "--format", "{p}"], check=True, capture_output=True, text=True)
    linked = {(line.split()[0], line.split()[1].removeprefix("v")) for line in shown.stdout.splitlines() if line}

    root = next(p["id"] for p in packages.values() if p["name"] == root_name and p["source"] is None)
    edges: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        current = waiting.pop()
        if current not in edges:
            below = (d["pkg"] for d in nodes[current]["deps"] if normal(d))
            edges[current] = [b for b in below if (packages[b]["name"], packages[b]["version"]) in linked]
            waiting += edges[current]

    components = []
    for identity in sorted(edges, key=lambda i: (packages[i]["name"], packages[i]["version"])):
        package = packages[identity]
        component = {
            "type": "application" if identity == root else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
        }
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if checksum := checksums.get((package["name"], package["version"])):
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        components.append(component)
    [main_component] = [c for c in components if c["type"] == "application"]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": main_component},
        "components": [c for c in components if c["type"] == "library"],
        "dependencies": [
            {"ref": purl(packages[i]), "dependsOn": sorted({purl(packages[d]) for d in edges[i]})} for i in sorted(edges)
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(sys.argv[1])
