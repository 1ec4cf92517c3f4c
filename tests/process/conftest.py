"""The bench of the process tests, and the end of every process that it started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from process_bench import Bench, end_processes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A project whose folder has spaces in its name and which holds a file that would shadow the standard library."""
    project = tmp_path / "project with spaces"
    project.mkdir()
    (project / "user_code.py").write_text("def forward(batch):\n    return batch[5]\n")
    (project / "json.py").write_text("raise RuntimeError('the user has a json.py')\n")
    yield Bench(project)
    end_processes(project)
