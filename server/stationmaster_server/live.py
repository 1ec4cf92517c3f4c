"""A log that may still grow, judged again and again: only what was added is read, where the log grows line by line.

What was read is kept in memory alone and may be forgotten at any moment: the next look then reads from the beginning.
Nothing is written, no process is touched.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.readers import run as own_run
from stationmaster_trainer.readers import tensorboard, trainer_state
from stationmaster_trainer.readers._folder import _below, _best_first, open_log, readers
from stationmaster_trainer.readers._table import SAMPLE

from . import writers
from .diagnose import Diagnosis
from .writers import Writer

KEPT = 8
"""Logs that are remembered."""
MOST_FILES = 200
RECENT = 60.0
"""Seconds after its last line in which a log without a known writer may still be written."""
_TFEVENTS = re.compile(r"tfevents\.(\d{9,10})\b")
_Files = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Pulse:
    """What a log is doing at this moment."""

    path: Path
    """The file or folder that is read."""
    step: int
    total_steps: int | None
    changed: float
    """Wall clock of its last change."""
    began: float
    """Wall clock of its beginning; 0 where unknown."""
    pace: float | None
    """Steps a second, between the last two looks that saw it grow, else since its beginning."""
    writer: Writer | None

    @property
    def running(self) -> bool:
        """Whether it is being written, as far as can be seen."""
        if self.writer is not None and self.writer.sure:
            return True
        return time.time() - self.changed < RECENT

    @property
    def eta(self) -> float | None:
        """Seconds until the planned steps are done."""
        if not (self.running and self.pace and self.total_steps):
            return None
        return max(0.0, self.total_steps - self.step) / self.pace


class Live:
    """One log that is looked at again and again."""

    def __init__(
        self,
        path: Path,
        mapping: dict[str, str] | None = None,
        run: str | None = None,
        project: Path | None = None,
    ) -> None:
        self._asked, self._mapping, self._run = path, mapping, run
        self._project = project
        self._lock = threading.Lock()
        self._newest = self._candidate()
        self._seen: _Files = ()
        self._opened: _Files = ()
        self._began_with = 0
        self._grown: list[tuple[float, int]] = []
        self.reads = 0
        """Records that were read so far, over all looks."""
        self._open()

    def look(self) -> Diagnosis:
        """The judgement of everything that stands in the log now. Raises FormatError as `diagnose` does."""
        with self._lock:
            newest = self._candidate()
            if newest != self._newest:
                self._newest, self._seen, self._grown = newest, (), []
                self._open()
            files = _signature(self._files())
            if files != self._seen:
                self._read(files)
            return self._found

    @property
    def step(self) -> int:
        """The last step that was seen."""
        return self._found.account.last_step

    def pulse(self) -> Pulse:
        """What the log is doing, by its files and the processes that have them open."""
        files = self._files()
        around = self._project or (self._place if self._place.is_dir() else self._place.parent)
        found = writers.find(files, around.resolve())
        writer = next((found[file] for file in files if file in found), None) or found.get(around.resolve())
        changed, began = max((_changed(file) for file in files), default=0.0), _begun(files, self._place)
        if not began and writer is not None and writer.sure:
            began = writer.started
        step = self._found.account.last_step
        return Pulse(
            self._place, step, self._found.reading.total_steps, changed, began, self._pace(step, began, changed), writer
        )

    def _open(self) -> None:
        reading = open_log(self._asked, self._mapping, self._run)
        self._place = reading.path or self._asked
        self._found = Diagnosis(self._place, reading)
        self._opened = _signature(self._files())
        self._began_with = 0
        if reading.lines and reading.batches is not None:
            reading.follow = True

    def _read(self, files: _Files) -> None:
        """Reads what was added; from the beginning where that is not possible, or where columns may have come."""
        reading = self._found.reading
        if files != self._opened and (not reading.follow or self._began_with < SAMPLE):
            self._open()
        try:
            self._take()
        except FormatError:
            if not self._seen:
                raise
            self._open()  # it was cut or begun anew
            self._take()
        self._seen = files
        step = self._found.account.last_step
        if not self._grown or step != self._grown[-1][1]:
            self._grown = [*self._grown[-1:], (time.monotonic(), step)]

    def _take(self) -> None:
        reading, count = self._found.reading, 0
        if reading.batches is None:
            for record in reading.records:
                self._found.see(record)
                count += 1
        else:
            for batch in reading.batches:
                for record in batch:
                    self._found.see(record)
                count += len(batch)
                if reading.at_end:
                    break
        self._began_with = self._began_with or reading.rows
        self.reads += count

    def _candidate(self) -> Path | None:
        """The log of a folder that would be read now; another one than before means to begin anew."""
        if not self._asked.is_dir() or self._run is not None:
            return None
        reader = next((one for one in readers() if one.accepts(self._asked)), None)
        if reader is not None:
            return trainer_state.newest(self._asked) if reader is trainer_state else self._asked
        logs = _best_first(sorted(_below(self._asked), key=lambda log: (-log.changed, log.path)))
        return logs[0].path if logs else None

    def _files(self) -> list[Path]:
        """The files that the log is made of."""
        if not self._place.is_dir():
            return [self._place]
        found: list[Path] = []
        for folder in (self._place, *tensorboard.sides(self._place)):
            try:
                found += sorted(path for path in folder.iterdir() if path.is_file())[:MOST_FILES]
            except OSError:
                continue
        return found

    def _pace(self, step: int, began: float, changed: float) -> float | None:
        if len(self._grown) > 1:
            (then, before), (now, after) = self._grown
            if now > then and after > before:
                return (after - before) / (now - then)
        return step / (changed - began) if began and changed - began > 1.0 and step > 0 else None


_lives: OrderedDict[tuple[Any, ...], Live] = OrderedDict()
_guard = threading.Lock()


def of(path: Path, mapping: dict[str, str] | None = None, run: str | None = None, project: Path | None = None) -> Live:
    """The log as it is remembered, else begun anew."""
    key = (str(path), tuple(sorted((mapping or {}).items())), run)
    with _guard:
        found = _lives.pop(key, None)
    live = found or Live(path, mapping, run, project)
    with _guard:
        _lives[key] = live
        while len(_lives) > KEPT:
            _lives.popitem(last=False)
    return live


def followed(path: Path) -> bool:
    """Whether a log is one to be followed here: runs of ours have their own status."""
    return not own_run.accepts(path)


def _signature(files: list[Path]) -> _Files:
    """Names, sizes, inodes and times: equal means that nothing was written."""
    found = []
    for file in files:
        try:
            about = os.stat(file)
        except OSError:
            continue
        found.append((file.name, about.st_size, about.st_ino, about.st_mtime_ns))
    return tuple(found)


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _begun(files: list[Path], place: Path) -> float:
    """When the log was begun, where its name says so: TensorBoard's files and W&B's folders."""
    for file in files:
        if match := _TFEVENTS.search(file.name):
            return float(match[1])
    match = re.search(r"run-(\d{8}_\d{6})-", str(place))
    try:
        return time.mktime(time.strptime(match[1], "%Y%m%d_%H%M%S")) if match else 0.0
    except (ValueError, OverflowError):
        return 0.0
