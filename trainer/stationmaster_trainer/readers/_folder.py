"""Which reader knows a path, and which logs a folder holds: named, or the newest that can be read; what else is there
is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .. import plugins
from ..errors import FormatError, StationmasterError
from . import run, wandb
from ._reading import Mapping, Reading

MOST_ENTRIES = 20_000
"""Files and folders that are looked at below a folder."""
DEEPEST = 6
MOST_TRIES = 12
"""Logs that are opened before a folder is given up."""
SHOWN = 8
WHOLE = frozenset({run.RANK, wandb.RANK})
"""Readers of folders in which everything belongs to the one run; others may hold further logs."""
SKIPPED = frozenset({"lib", "node_modules", "__pycache__", "venv", "site-packages", "wandb-artifacts"})
SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".log", ".txt", ".out", ".err", ".wandb", ".json"})
TOLD = ("log", "hist", "metric", "state", "result", "scalar", "train", "loss")
"""A JSON document or a text without the name of a log is left alone in a folder unless its name has one of these."""
NOT_LOGS = frozenset({"requirements.txt", "vocab.txt", "merges.txt", "licence.txt", "license.txt", "readme.txt"})


@dataclass(frozen=True)
class Found:
    """A log in a folder."""

    path: Path
    reader: ModuleType
    changed: float
    """When it was last written to."""


def readers() -> list[ModuleType]:
    """All readers in the order in which they are asked."""
    return sorted((plugins.find("readers", name) for name in plugins.known("readers")), key=lambda one: one.RANK)


def open_log(path: Path, mapping: Mapping = None, name: str | None = None) -> Reading:
    """The reading of a log file, of a run's folder, or of the newest (or named) run in a folder of several.

    Raises FormatError for what cannot be read, ConfigError for a mapping that does not fit.
    """
    if not path.exists():
        raise FormatError(f"{path} does not exist.", "Give a log file or a folder.")
    if not path.is_dir():
        return _file(path, mapping)
    reader = next((one for one in readers() if one.accepts(path)), None)
    if reader is not None and name is None:
        found: Reading = reader.read(path, mapping)
        found.path = found.path or path
        if reader.RANK not in WHOLE:
            _tell(found, path, [log for log in _below(path) if log.path != path])
        return found
    return _chosen(path, mapping, name)


def _file(path: Path, mapping: Mapping) -> Reading:
    """The first reader that knows the file; a table or text that it finds no loss in may be one for the next."""
    first: FormatError | None = None
    for reader in readers():
        if not reader.accepts(path):
            continue
        try:
            found: Reading = reader.read(path, mapping)
            return found
        except FormatError as error:
            first = first or error
    if first is not None:
        raise first
    known = ", ".join(plugins.known("readers"))
    raise FormatError(f"{path} is no log that is known here.", f"Known: {known}; or give the folder of a run.")


def _chosen(folder: Path, mapping: Mapping, name: str | None) -> Reading:
    logs = sorted(_below(folder), key=lambda log: (-log.changed, log.path))
    if not logs:
        raise FormatError(f"{folder} holds no training log that is known here.", "Name the log file itself.")
    wanted = logs if name is None else _named(folder, logs, name)
    first: StationmasterError | None = None
    for log in _best_first(wanted)[:MOST_TRIES]:
        try:
            found: Reading = log.reader.read(log.path, mapping)
        except StationmasterError as error:
            first = first or error
            continue
        found.path = found.path or log.path
        _tell(found, folder, [other for other in logs if other.path != log.path])
        return found
    raise first if first is not None else FormatError(f"{folder} holds no log with a loss.")


def _named(folder: Path, logs: list[Found], name: str) -> list[Found]:
    """The logs of the run that is meant: its path below the folder, its name, else a part of its path."""
    places = {log.path: log.path.relative_to(folder) for log in logs}
    for fits in (
        lambda place: str(place) == name.rstrip("/") or str(place.parent) == name.rstrip("/"),
        lambda place: name in place.parts or place.stem == name,
        lambda place: name in str(place),
    ):
        found = [log for log in logs if fits(places[log.path])]
        if found:
            return found
    shown = ", ".join(str(places[log.path]) for log in logs[:SHOWN])
    raise FormatError(f"{folder} holds no run {name!r}.", f"It holds: {shown}{_more(len(logs))}.")


def _best_first(logs: list[Found]) -> list[Found]:
    """The newest folder first; in it, the format that says most."""
    newest: dict[Path, float] = {}
    for log in logs:
        newest[log.path.parent] = max(newest.get(log.path.parent, 0.0), log.changed)
    return sorted(logs, key=lambda log: (-newest[log.path.parent], log.path.parent, log.reader.RANK, -log.changed))


def _tell(found: Reading, folder: Path, others: list[Found]) -> None:
    """Adds which log was taken, and what else there is."""
    if not others:
        return
    taken = found.path.relative_to(folder) if found.path and found.path.is_relative_to(folder) else found.path
    names = ", ".join(str(log.path.relative_to(folder)) for log in others[:SHOWN])
    found.notes.insert(0, f"read: {taken}; also here: {names}{_more(len(others))}")


def _more(count: int) -> str:
    return f" and {count - SHOWN:,} more" if count > SHOWN else ""


def _below(folder: Path) -> Iterator[Found]:
    """Every log below the folder; the folder of a run is one log, whatever files it has."""
    known, left = readers(), MOST_ENTRIES
    waiting = [(folder, 0)]
    while waiting and left > 0:
        place, depth = waiting.pop()
        reader = next((one for one in known if one.accepts(place)), None)
        files, folders = _entries(place)
        left -= len(files) + len(folders)
        if reader is not None:
            yield Found(place, reader, max((_changed(path) for path in files), default=0.0))
            if reader.RANK in WHOLE:
                continue
        sides = reader.sides(place) if reader is not None and hasattr(reader, "sides") else ()
        if depth < DEEPEST:
            waiting += [(path, depth + 1) for path in folders if path.name not in SKIPPED and path not in sides]
        for path in files:
            if not _likely(path) or (reader is not None and reader.accepts(path)):
                continue
            one = next((one for one in known if one.accepts(path)), None)
            if one is not None:
                yield Found(path, one, _changed(path))


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """(plain files, folders) that are neither hidden nor links."""
    files, folders = [], []
    try:
        for entry in os.scandir(folder):
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif entry.is_file():
                files.append(Path(entry.path))
    except OSError:
        pass
    return sorted(files), sorted(folders)


def _likely(path: Path) -> bool:
    name = path.name.lower()
    if name in NOT_LOGS:
        return False
    if "tfevents" in name or path.suffix in (".jsonl", ".ndjson", ".csv", ".tsv", ".wandb", ".log", ".out", ".err"):
        return True
    return path.suffix in SUFFIXES and any(word in name for word in TOLD)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
