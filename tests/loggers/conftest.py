"""The bench of the process tests, with a home of its own in which nobody has logged in anywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "process"))

from process_bench import Bench, end_processes


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and none of the variables that the loggers read."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "TRACKIO_", "XDG_")) or name.lower().endswith("_proxy") or name == "NETRC":
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A project whose folder has spaces in its name; every process of its runs is ended afterwards."""
    project = tmp_path / "my project"
    project.mkdir()
    (project / "user_code.py").write_text("")
    yield Bench(project)
    end_processes(project)
