"""Makes this folder's modules importable, and ends a run with one line that says how it went."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Errors outside of a test's body, such as in a fixture, are failures too."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        outcomes = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
        print(f"\n{outcomes['passed']} passed, {outcomes['failed'] + outcomes['error']} failed")
