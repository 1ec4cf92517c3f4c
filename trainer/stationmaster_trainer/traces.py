"""The logs that a script leaves below its project while it runs: those that are new or longer than when it began.

Read with the readers of `readers/`, each time anew from where the run began. Not covered: files elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .errors import StationmasterError
from .readers import _folder, csv, json, jsonl, tensorboard, text, trainer_state, wandb
from .readers._reading import Reading
from .rundir import RunDir

ORDER = (tensorboard, trainer_state, csv, jsonl, json, wandb, text)
"""Kinds of logs, the one that says most first."""
SKIPPED = _folder.SKIPPED | {"site-packages", "checkpoints", "env"}
MOST_ENTRIES, DEEPEST = 20_000, 8
MOST_BYTES, MOST_BINARY = 1 << 27, 1 << 31
"""Bytes of the largest log that is read: of text, and of event files, of which most is skipped."""
LINES = (".csv", ".tsv", ".jsonl", ".ndjson", ".log", ".txt", ".out", ".err")
END = 128
"""Bytes by which the former end of a log is known again."""
MOST_LOGS = 40
SETTLED_SECONDS = 2.0
"""Rest after which a log's last row is complete."""
Stamp = tuple[int, int]
"""Size, and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Trace:
    """One log that the run writes."""

    path: Path
    """The file, or the folder of event files or of checkpoints."""
    reader: ModuleType
    since: int
    """Bytes that it had when the run began."""
    file: Path
    """The file that was changed last."""
    stamp: Stamp

    @property
    def rank(self) -> int:
        return ORDER.index(self.reader)

    def read(self) -> Reading | None:
        """What it holds since the run began; None for what cannot be read, as yet."""
        with contextlib.suppress(StationmasterError, OSError, ValueError, LookupError, ArithmeticError):
            if self.since and self.reader in (csv, jsonl, text):
                return self._newer()
            reading: Reading = self.reader.read(self.path)
            return reading
        return None

    def settled(self, now: float) -> bool:
        """Whether its last row can be taken for complete: nothing was added for a while, and the line has an end."""
        if now - self.stamp[1] / 1e9 < SETTLED_SECONDS or stamp_of(self.file) != self.stamp:
            return False
        if self.reader not in (csv, jsonl, text):
            return True
        with contextlib.suppress(OSError), self.file.open("rb") as file:
            file.seek(max(0, self.stamp[0] - 1))
            return file.read(1) in (b"\n", b"\r")
        return False

    def _newer(self) -> Reading:
        """Of a log that was there before, what the run added; its first line names the columns of a table."""
        with tempfile.TemporaryDirectory(prefix="stationmaster-") as folder:
            part = Path(folder) / self.path.name
            with self.path.open("rb") as file, part.open("wb") as target:
                if self.reader is csv:
                    target.write(file.readline())
                file.seek(max(self.since, target.tell()))
                target.write(file.read(MOST_BYTES))
            reading: Reading = self.reader.read(part)
            reading.records = iter(list(reading.records))
        return reading


class Traces:
    """Made before the run's process starts; `changed` names its logs, the kind that says most first."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._before = {path: stamp_of(path) for path in self._files()}
        lines = [path for path in self._before if path.suffix in LINES]
        self._ends = {path: _before(path, self._before[path][0]) for path in lines}

    def changed(self) -> list[Trace]:
        """Logs that are new or were changed since; of event files and checkpoints their folder."""
        found: dict[Path, Trace] = {}
        for path in self._files():
            stamp, old = stamp_of(path), self._before.get(path, (0, 0))
            most = MOST_BYTES if path.suffix in LINES else MOST_BINARY
            if stamp == old or not 0 < stamp[0] <= most:
                continue
            trace = self._trace(path, stamp, old[0] if self._appended(path, stamp, old) else 0)
            if trace is not None and (trace.path not in found or found[trace.path].stamp[1] < stamp[1]):
                found[trace.path] = trace
        return sorted(found.values(), key=lambda one: (one.rank, -one.stamp[1]))[:MOST_LOGS]

    def _appended(self, path: Path, stamp: Stamp, old: Stamp) -> bool:
        """Whether a log goes on behind what was there before, and was not begun anew."""
        return stamp[0] > old[0] > 0 and path in self._ends and _before(path, old[0]) == self._ends[path]

    def _trace(self, path: Path, stamp: Stamp, since: int) -> Trace | None:
        reader = _kind(path)
        if reader is tensorboard:
            folder = path.parent
            if path.parent != self._project and folder.name and folder in tensorboard.sides(folder.parent):
                folder = folder.parent
            old = any("tfevents" in known.name and known.parent in (folder, path.parent) for known in self._before)
            return Trace(path if old else folder, reader, 0, path, stamp)
        if reader is trainer_state:
            folder = path.parent.parent if path.parent.name.startswith("checkpoint-") else path.parent
            return Trace(folder, reader, 0, path, stamp)
        return None if reader is None else Trace(path, reader, since, path, stamp)

    def _files(self) -> Iterator[Path]:
        """Files below the project that may be logs; no run of ours, nothing hidden or installed, no links."""
        left, waiting = MOST_ENTRIES, [(self._project, 0)]
        while waiting and left > 0:
            place, depth = waiting.pop()
            with contextlib.suppress(OSError):
                for entry in os.scandir(place):
                    left -= 1
                    if entry.name.startswith(".") or entry.is_symlink():
                        continue
                    path = Path(entry.path)
                    if entry.is_dir():
                        if depth < DEEPEST and entry.name not in SKIPPED and not RunDir(path).attempts():
                            waiting.append((path, depth + 1))
                    elif path.name == trainer_state.NAME or _folder._likely(path):
                        yield path


def _kind(path: Path) -> ModuleType | None:
    """The reader of a file, by its name and its first bytes."""
    if "tfevents" in path.name:
        return tensorboard
    if path.name == trainer_state.NAME:
        return trainer_state
    if path.suffix == ".wandb":
        return wandb
    with contextlib.suppress(StationmasterError, OSError):
        return next((one for one in (json, jsonl, csv, text) if one.accepts(path)), None)
    return None


def _before(path: Path, size: int) -> bytes:
    """The last bytes of the first `size` of a file."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, size - END))
        return file.read(min(END, size))
    return b""


def stamp_of(path: Path) -> Stamp:
    """Size and time of the last change; zeros for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
