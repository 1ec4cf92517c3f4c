"""Validation losses that a script prints, for a run whose steps are told and whose validations are not.

A line counts when it calls a figure a validation's loss (`val loss 0.31`). It belongs to the validation that began last
before it, by the bytes of output at that time, and where none begins visibly to the last step that was told. Once a
process tells a validation itself, nothing is read any more. Not covered: running figures of a validation that goes on,
validations without a loss.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeGuard

from .contract import Eval, Note, Phase, Record, Train
from .readers import _grammar
from .readers._cells import number
from .readers._names import metric_columns, normalise, recognise
from .readers.text import LONGEST_LINE

MOST = 1 << 20
"""Bytes of output that are looked through at a time; of more the beginning is left out."""
TELLING = ("full", "library")
"""Levels of sight at which validations are told."""
_NAMED = re.compile(r"val|eval|dev|test", re.IGNORECASE)
_GOES_ON = re.compile(r"^\W*(val|eval|dev|test)\w*:?\s*\[\s*\d+/\d+\s*\]", re.IGNORECASE)
"""A batch of a validation: `Test: [1/2] Loss 1.2 (1.3)`."""


@dataclass(frozen=True)
class Line:
    """A line that tells a validation's loss."""

    end: int
    """Bytes of output up to its end."""
    loss: float
    metrics: dict[str, float]


class Printed:
    """One per attempt: `look` before records are passed on, `before` for each of them, `left` at the end."""

    def __init__(self, log: Path) -> None:
        self._log, self._offset, self._half = log, 0, b""
        self._lines: list[Line] = []
        self._open: Phase | None = None
        """A validation that has begun and whose figure was not told yet."""
        self._coming: list[Phase] = []
        """Those that begin within the records which are passed on."""
        self._over = False
        self.name = ""
        """What the script calls the loss: the first that was seen; others are not taken."""
        self.taken = 0
        """Validations that were told."""

    def look(self, coming: Sequence[Record]) -> None:
        """Reads what was printed since the last time. `coming`: the records that are passed on next."""
        self._over = self._over or any(map(_tells, coming))
        if self._over or not any(isinstance(record, (Train, Phase)) for record in coming):
            return
        self._coming = [record for record in coming if _divides(record)]
        for end, text in self._read():
            found = figures(text)
            if found is not None and self.name in ("", found[0]):
                self.name = found[0]
                self._lines.append(Line(end, *found[1:]))

    def before(self, record: Record, step: int) -> Eval | None:
        """What has to be told before this record. `step`: the last that was told."""
        if self._over:
            return None
        if isinstance(record, Train):
            past = self._open is not None and record.step > self._open.step
            return self._told(step, self._coming[0] if self._coming else None) if past else None
        if not isinstance(record, Phase) or not _divides(record):
            return None
        self._coming = self._coming[1:]
        again = self._open is not None and self._open.step == record.step
        apart = self._open is not None or record.output > 0  # else a line may be of this one as well
        found = self._told(step, record) if apart and not again else None
        if record.phase == "eval" and not again:
            self._open = record
        return found

    def after(self, step: int) -> Eval | None:
        """What is left behind the records that `look` was told of, where no validation visibly began."""
        return self._told(step, None) if not self._over and self._open is None else None

    def left(self, step: int) -> Eval | None:
        """The figure of a validation that was the script's last act."""
        self.look([Phase(0.0, 0.0, "finish", step)])
        return None if self._over else self._told(step, None)

    def _told(self, step: int, until: Phase | None) -> Eval | None:
        """The last line from the open validation's beginning to that of the next, `until`."""
        since = self._open.output if self._open is not None else 0
        limit = until.output if until is not None and until.output else math.inf
        fitting = [line for line in self._lines if since < line.end <= limit]
        self._lines = [line for line in self._lines if line.end > limit]
        if not fitting:
            return None
        self._open, self.taken = None, self.taken + 1
        return Eval(time.time(), 0.0, step, fitting[-1].loss, fitting[-1].metrics, 0, 0.0)

    def _read(self) -> Iterator[tuple[int, str]]:
        """Each new line, with the bytes of output up to its end."""
        try:
            with self._log.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not 0 <= size - self._offset <= MOST:  # cut in the middle, or too much at a time
                    self._offset, self._half = max(0, size - MOST) if size > self._offset else size, b""
                file.seek(self._offset)
                chunk = file.read(MOST)
        except OSError:
            return
        at = self._offset - len(self._half)
        self._offset += len(chunk)
        *lines, self._half = (self._half + chunk).split(b"\n")
        for line in lines:
            at += len(line) + 1
            if len(line) <= LONGEST_LINE:
                yield at, line.decode("utf-8", "replace")
        self._half = self._half if len(self._half) <= LONGEST_LINE else b""


def _tells(record: Record) -> bool:
    """Whether validations are told by a process itself, now or from its library."""
    return isinstance(record, Eval) or (isinstance(record, Note) and record.facts.get("sight_level") in TELLING)


def _divides(record: Record) -> TypeGuard[Phase]:
    """Whether a validation begins, or the training at a known place of the output."""
    return isinstance(record, Phase) and (record.phase == "eval" or record.output > 0)


def figures(line: str) -> tuple[str, float, dict[str, float]] | None:
    """Name, value and further figures of a validation's loss in a line of output; None where there is none."""
    if not _NAMED.search(line):
        return None
    line = _grammar.cleaned(line)
    if _GOES_ON.match(line):
        return None
    shape = _grammar.parse(line)
    row = dict(_grammar.numbers(line, shape))
    column, metrics = _columns(tuple(row))
    loss = number(row.get(column))
    if loss is None:
        return None
    others = {name: value for label, name in metrics if (value := number(row[label])) is not None}
    return normalise(column), loss, others


@lru_cache(maxsize=256)
def _columns(names: tuple[str, ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The column of a validation's loss, empty where there is none or more than one, and those of other figures."""
    roles = recognise(names)
    column = roles.get("eval_loss", "")
    return ("" if "+" in column else column), tuple(metric_columns(names, roles).items())
