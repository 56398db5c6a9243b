"""The runbook of `docs/operations.md`: its commands, run in the order in which they stand, from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from harness.program import CHECKOUT

PAGE = CHECKOUT / "docs" / "operations.md"
# Nobody may be left running, however it ends.
AFTERWARDS = "trap 'trap - EXIT; for one in \"${pid[@]}\"; do kill -9 \"$one\" 2>/dev/null; done; wait' EXIT\n"


def blocks(text: str) -> list[tuple[str, str]]:
    """The runbook's `sh` blocks, each with the heading above it."""
    _, _, runbook = text.partition("\n## Runbook\n")
    runbook, end, _ = runbook.partition("\nEnd of the runbook.")
    assert end, "the page has a runbook, and its end"
    found, heading = [], ""
    for match in re.finditer(r"^### ([^\n]+)$|^```sh\n(.*?)^```$", runbook, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append((heading, match[2]))
    return found


def script(page: str) -> str:
    """The blocks as one program: one that fails ends it, and says where it was."""
    parts = ["set -Eeuo pipefail\nwhere=before\ntrap 'echo \"runbook: $where: $BASH_COMMAND\" >&2' ERR\n"]
    for number, (heading, block) in enumerate(blocks(page)):
        # A line that begins with `!` is expected to fail, and the shell does not look at that by itself.
        block = re.sub(r"^! ((?:.*\\\n)*.*?)( +#.*)?$", r"if \1; then echo 'it should have failed' >&2; false; fi", block, flags=re.MULTILINE)
        parts.append(f"where={heading!r}; echo {f'=== {heading}, block {number}'!r}\n{block}")
    parts.insert(2, AFTERWARDS)
    return "\n".join(parts)


def test_runbook(tmp_path: Path) -> None:
    page = PAGE.read_text()
    headings = " ".join(heading for heading, _ in blocks(page))
    for subject in ("Install", "ceremony", "Backup", "Reshare", "Upgrade", "lost", "a node is compromised", "an issuer is compromised", "clock", "disk"):
        assert subject in headings, f"the runbook says nothing of: {subject}"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target") / "debug"
    environment = {"PATH": f"{target}:{os.environ['PATH']}", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    program = tmp_path / "runbook.sh"
    program.write_text(script(page))
    folder = tmp_path / "site"
    folder.mkdir()
    command = ["bash", str(program)]
    if os.geteuid() == 0:
        # The page's addresses may be taken on this machine.
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    logs = "".join(f"\n{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("n?.log"))) if done.returncode else ""
    assert done.returncode == 0, f"{done.stdout[-6000:]}{logs}"
