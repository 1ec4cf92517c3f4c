"""The notebooks of a project: which of them train, in which cell, and what drives the loop there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from stationmaster_trainer.errors import ConfigError

from . import notebook, scripts, sources
from .marks import Mark
from .scripts import Drive
from .sources import SourceFacts

MOST = 20
"""Notebooks that are read, in the order of the listing."""
MAX_SECONDS = 4.0


@dataclass(frozen=True)
class NotebookFacts:
    """One notebook."""

    path: str
    cells: int = 0
    trains: tuple[int, ...] = ()
    """Numbers of the cells that train."""
    drives: tuple[Drive, ...] = ()
    """What drives the loop, the likeliest first; evidence as `file cell 7 what`."""
    left_out: int = 0
    """Shell and magic lines, which a script would not have."""
    problem: str = ""


def read_all(project: Path, paths: Iterable[str]) -> tuple[list[NotebookFacts], list[SourceFacts]]:
    """(what each notebook is, its code as a source whose evidence names cells), those that train first."""
    found: list[NotebookFacts] = []
    code: list[SourceFacts] = []
    began = time.monotonic()
    for at, path in enumerate(paths):
        if at >= MOST or time.monotonic() - began > MAX_SECONDS:
            found.append(NotebookFacts(path, problem="not read, there are many"))
            continue
        facts, source = _read(project, path)
        found.append(facts)
        code += [source] if source else []
    return sorted(found, key=lambda one: (not one.trains, bool(one.problem), one.path.count("/"))), code


def _read(project: Path, path: str) -> tuple[NotebookFacts, SourceFacts | None]:
    one = notebook.read(project, path)
    try:
        text = notebook.script(one)
    except ConfigError as error:
        return NotebookFacts(path, one.count, problem=one.problem or error.message.removeprefix(f"{path}, ")), None
    source = sources.of_text(path, text.encode("utf-8", "replace"))
    source = _by_cell(source, text)
    trains = tuple(sorted({sign.line for sign in source.signs if sign.trains}))
    drives = scripts.weigh(source) if trains else ()
    left_out = sum(len(cell.left_out) for cell in one.cells)
    return NotebookFacts(path, one.count, trains, drives, left_out), source


def _by_cell(source: SourceFacts, text: str) -> SourceFacts:
    """The same with the number of the cell in the place of each line."""

    def cell(line: int) -> int:
        return notebook.cell_at(text, line)[0]

    def marks(found: tuple[Mark, ...]) -> tuple[Mark, ...]:
        return tuple(replace(mark, line=cell(mark.line)) for mark in found)

    return replace(
        source,
        path=f"{source.path} cell",
        imports=marks(source.imports),
        models=tuple(replace(model, line=cell(model.line)) for model in source.models),
        training=marks(source.training),
        pretrained=marks(source.pretrained),
        signs=tuple(replace(sign, line=cell(sign.line)) for sign in source.signs),
    )
