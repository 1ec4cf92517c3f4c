"""Projects for runs that a rule may act upon."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from action_bench import Bench

for _folder in ("pytorch", "transformers", "flax"):  # their projects are used here too
    sys.path.append(str(Path(__file__).parent.parent / _folder))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A project; every process that works in it is ended afterwards."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where the key of the seals lies
    yield Bench(tmp_path / "project")
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and str(tmp_path) in (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mine and int(entry.name) != os.getpid():
            os.kill(int(entry.name), signal.SIGKILL)
