"""The table framework × logger × what was shown, as Markdown, and its place in a document."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path

from stationmaster_server.config import BACKENDS
from stationmaster_trainer import plugins

STAGES = ("train", "warn", "checkpoint", "kill", "resume", "summary")
ALONE = "alone"
"""Ids of the runs with one logger only: `pytorch-wandb-alone`."""
BLOCK = re.compile(r"(<!-- measured: matrix[^>]*-->\n).*?(<!-- end: matrix -->)", re.DOTALL)
PACKAGES = ("torch", "transformers", "jax", "flax", "tensorboard", "wandb", "trackio")


def cell(framework: str, backend: str, stage: str) -> str:
    """The id of a cell's test."""
    return f"{framework}-{backend}-{stage}"


def table(cells: Mapping[str, bool]) -> str:
    """A row for each framework and logger; ✓ only where the cell's test has passed, ✗ where it failed, – where it was
    not run."""
    head = ["framework", "logger", *STAGES]
    lines = [head, ["---"] * 2 + [":-:"] * len(STAGES)]
    for framework in plugins.known("adapters"):
        for backend in BACKENDS:
            marks = [_mark(cells.get(cell(framework, backend, stage))) for stage in STAGES]
            lines.append([framework, backend, *marks])
    lone = ", ".join(f"{backend} {_mark(cells.get(cell('pytorch', backend, ALONE)))}" for backend in BACKENDS)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    where = f"{date.today()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{rows}\n\nEach logger as the only one, in a run of PyTorch: {lone}.\n\nRun on {where}; {versions}.\n"


def write(path: Path, cells: Mapping[str, bool]) -> None:
    """Puts the table into the document's block, or makes a file of the table alone where there is no document."""
    made = table(cells)
    old = path.read_text("utf-8") if path.exists() else ""
    inside = BLOCK.sub(lambda match: f"{match[1]}\n{made}\n{match[2]}", old)
    path.write_text(inside if BLOCK.search(old) else made, "utf-8")


def _mark(passed: bool | None) -> str:
    return "–" if passed is None else "✓" if passed else "✗"
