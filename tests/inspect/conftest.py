"""Projects to look at: copies of the samples in tests/projects, and folders written file by file."""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "projects"
WriteProject = Callable[[dict[str, "str | bytes"]], Path]


@pytest.fixture(autouse=True)
def no_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client passes to a server: next to nothing of the shell's environment."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "STATIONMASTER_PYTHON", "UV_PROJECT_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a sample project; its folder's name has a space, as real ones do."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(SAMPLES / kind, tmp_path / f"my {kind}"))

    return copy


@pytest.fixture
def write(tmp_path: Path) -> WriteProject:
    """Writes a project from names and contents."""

    def write_files(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "project"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write_files


@pytest.fixture
def table() -> Callable[..., None]:
    """Writes a table of eight numbers and a label of three classes."""

    def write_table(path: Path, rows: int = 60, seed: int = 0) -> None:
        source = random.Random(seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"x{at}" for at in range(8)), "label"])
            for row in range(rows):
                writer.writerow([*(f"{source.gauss(row % 3, 1):.4f}" for _ in range(8)), row % 3])

    return write_table


@pytest.fixture
def empty_venv(tmp_path: Path) -> Path:
    """A real virtual environment with nothing installed."""
    folder = tmp_path / "empty-venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    return folder
