"""What was seen in a source, with its line: the evidence that everything about a project's code is told with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """Something seen in a file."""

    what: str
    """`import torch`, `.backward()`, `transformers.Trainer(…)`, …"""
    line: int


def first(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """The first mark of each kind, by line."""
    found: dict[str, Mark] = {}
    for mark in sorted(marks, key=lambda mark: mark.line):
        found.setdefault(mark.what, mark)
    return tuple(found.values())


def place(path: str, line: int) -> str:
    """`file:line`; of a notebook's code `file cell 7`."""
    return f"{path} {line}" if path.endswith(".ipynb cell") else f"{path}:{line}"
