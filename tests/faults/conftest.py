"""Real runs on a toy or on PyTorch, real servers that may be killed, and the end of every process started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
sys.path.extend(str(_ROOT / place) for place in ("tests/process", "tests/pytorch", "benchmarks"))

from process_bench import Bench, end_processes  # noqa: E402
from soaking.client import Server  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A project with a toy in place of an adapter."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "user_code.py").write_text("def forward(batch):\n    return batch[5]\n")
    yield Bench(project)
    end_processes(project)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Server]]:
    """`serve(project)`: a server of its own over stdio, which a test may kill."""
    opened: list[Server] = []
    home = tmp_path / "home"
    home.mkdir()
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    env = {**os.environ, **places, "HOME": str(home), "STATIONMASTER_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}

    def start(project: Path) -> Server:
        opened.append(Server(project, env, home / "server.log"))
        return opened[-1]

    yield start
    for server in opened:
        server.close()
    end_processes(tmp_path)
