"""Validation losses that a script prints, for a run whose steps are told and whose validations are not.

A line counts when it calls a figure a validation's loss (`val loss 0.31`, `Validation | loss: 0.31`) and tells neither
of an old one nor of one that goes on. It belongs to the validation that began last before it, by the bytes of output at
that time, and where none begins visibly to the last step that was told. Once a process tells a validation itself,
nothing is read any more. Not covered: tables, validations without a loss or before the first step.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from .contract import Eval, Note, Phase, Record, Train

MOST = 1 << 18
"""Bytes of output that are looked through at a time; of more the beginning is left out."""
LONGEST = 1000
"""Characters of a line that is looked at."""
TELLING = ("full", "library")
"""Levels of sight at which validations are told."""
_WORD = r"(?P<word>val|valid|validation|eval|evaluation|dev|test)"
_NUMBER = r"(?P<value>[-+]?(?:\d{1,19}(?:\.\d{0,19})?(?:e[-+]?\d{1,3})?|nan|inf))(?![\w/])(?![.,]\w)"
_IS = r"[\"']?\s*[:=]?\s*"
_OF = r"\.?(?:\s+set)?:?[ _/-]*"
_AVERAGE = r"(?:(?:avg|average|mean|total|epoch)\.?[ _]+)?"
_SPELLED = re.compile(
    rf"(?<![\w=.-]){_WORD}{_OF}{_AVERAGE}(?:loss|nll(?:_loss)?|cross[ _]entropy|lm[ _]loss){_IS}{_NUMBER}",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"^\W*{_WORD}(?:\s+(?:set|results?|epoch\s+\d+))?\s*[]:|>)-].*?(?<![\w=.-]){_AVERAGE}loss{_IS}{_NUMBER}",
    re.IGNORECASE,
)
_FIGURE = (
    rf"(?P<name>acc|accuracy|ppl|perplexity|f1|auc|auroc|mae|mse|rmse|iou|miou|bleu|error|err|top1|top5|map|r2)"
    rf"{_IS}{_NUMBER}"
)
_OTHER = re.compile(rf"(?<![\w=.-]){_WORD}{_OF}{_FIGURE}", re.IGNORECASE)
_OTHER_LABELLED = re.compile(rf"(?<![\w=.-]){_FIGURE}", re.IGNORECASE)
_NAMED = re.compile(r"loss|nll|cross.entropy", re.IGNORECASE)
_OLD = re.compile(
    r"best|lowest|minim|\bmin\b|load|resum|restor|sav(e|ing)|checkpoint|ckpt|target|baseline|goal|previous|\blast\b|"
    r"early.?stop|threshold|namespace|config|args|param|option|usage|wandb:|\bema\b|"
    r"error|warning|traceback|assert",
    re.IGNORECASE,
)
"""What may stand before a figure that is none of a validation just made."""
_BOTH = re.compile(r"train\w*\s*[/&+]\s*\Z", re.IGNORECASE)
"""What stands before the word where one name is given to two figures: `Train/Val loss: 0.3 / 0.4`."""
_CHANGES = re.compile(r"\s*(->|=>|-->|→|/|to\s)\s*[-+\d]|\s*\(\s*[-+\d.]+(e[-+]?\d+)?\s*\)")
"""What stands behind a figure that is followed by another of its kind."""
_PLACE = re.compile(r"(?P<what>[a-z]*)\W{0,3}(?P<at>\d+)\s*/\s*(?P<of>\d+)", re.IGNORECASE)
_PERCENT = re.compile(r"(?<![.\d])(?P<done>\d+)%\|")
_WHOLE = ("epoch", "epochs", "ep", "step", "steps", "iter", "iteration")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Line:
    """A line that tells a validation's loss."""

    end: int
    """Bytes of output up to its end."""
    look: int
    """Which look has read it."""
    name: str
    loss: float
    metrics: dict[str, float]


class Printed:
    """One per attempt: `look` ahead of records, `before` for each of them, `after` them, and `left` at the end."""

    def __init__(self, log: Path) -> None:
        self._log, self._offset, self._half, self._looks = log, 0, b"", 0
        self._lines: list[Line] = []
        self._open: Phase | None = None
        """A validation that has begun and whose figure was not told yet."""
        self._coming: list[Phase] = []
        """Those that begin within the records which are passed on."""
        self._over = False
        self.name = ""
        """What the script calls the loss; others are not taken, but a validation's instead of a test's."""
        self.taken = 0
        """Validations that were told."""

    def look(self, coming: Sequence[Record]) -> None:
        """Reads what was printed since the last time. `coming`: the records that are passed on next."""
        self._over = self._over or any(map(_tells, coming))
        if self._over or not any(isinstance(record, (Train, Phase)) for record in coming):
            return
        self._coming = [record for record in coming if _divides(record)]
        self._looks += 1
        for end, text in self._read():
            found = figures(text)
            if found is not None:
                self._lines.append(Line(end, self._looks, *found))

    def before(self, record: Record, step: int) -> Eval | None:
        """What has to be told before this record. `step`: the last that was told."""
        if self._over:
            return None
        if not _divides(record):
            past = self._open is not None and getattr(record, "step", 0) > self._open.step
            return self._told(step, self._coming[0] if self._coming else None) if past else None
        self._coming = self._coming[1:]
        again = self._open is not None and self._open.step == record.step
        apart = self._open is not None or record.output > 0  # else a line may be of this one as well
        found = self._told(step, record) if apart and not again else None
        if record.phase == "eval" and not again:
            self._open = record
        return found

    def after(self, step: int) -> Eval | None:
        """What is left behind the records that `look` was told of, where no validation visibly began.

        Only of lines that an earlier look has read: the beginning of one may be on its way still.
        """
        if self._over or self._open is not None:
            return None
        return self._told(step, None, self._looks)

    def left(self, step: int) -> Eval | None:
        """The figure of a validation that was the script's last act."""
        self.look([Phase(0.0, 0.0, "finish", step)])
        return None if self._over else self._told(step, None)

    def _told(self, step: int, until: Phase | None, look: float = math.inf) -> Eval | None:
        """The last line from the open validation's beginning to that of the next, `until`; before `look` was read."""
        since = self._open.output if self._open is not None else 0
        limit = until.output if until is not None and until.output else math.inf
        fitting = [line for line in self._lines if since < line.end <= limit and line.look < look]
        self._lines = [line for line in self._lines if line.end > limit or line.look >= look]
        fitting = [line for line in fitting if line.name == self._name(fitting)]
        if not fitting or step < 1:
            return None
        self.name, self._open, self.taken = fitting[-1].name, None, self.taken + 1
        return Eval(time.time(), 0.0, step, fitting[-1].loss, fitting[-1].metrics, 0, 0.0)

    def _name(self, lines: Sequence[Line]) -> str:
        """The name that counts: the one that did before, or a validation's in place of a test's."""
        if self.name and not self.name.startswith("test"):
            return self.name
        return next((line.name for line in lines if not line.name.startswith("test")), self.name or "test_loss")

    def _read(self) -> Iterator[tuple[int, str]]:
        """Each new line, with the bytes of output up to its end."""
        try:
            with self._log.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # cut in the middle
                    self._offset, self._half, self._lines = size, b"", []
                    self._open = None if self._open is None else Phase(0.0, 0.0, "eval", self._open.step)
                elif size - self._offset > MOST:
                    self._offset, self._half = size - MOST, b""
                file.seek(self._offset)
                chunk = file.read(MOST)
        except OSError:
            return
        at = self._offset - len(self._half)
        self._offset += len(chunk)
        *lines, self._half = (self._half + chunk).split(b"\n")
        for line in lines:
            at += len(line) + 1
            line = line.rstrip(b"\r").rpartition(b"\r")[2]  # a bar as it was last
            if len(line) <= LONGEST:
                yield at, line.decode("utf-8", "replace")
        self._half = self._half[-4 * LONGEST :]


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
    line = _ESCAPE.sub("", line)
    spelled = [match for match in _SPELLED.finditer(line) if _new(line, match)]
    labelled = _LABELLED.match(line) if not spelled else None
    if labelled is not None and ("train" in line.lower() or not _new(line, labelled)):
        labelled = None
    match = next((one for one in spelled if one["word"].lower() != "test"), spelled[0] if spelled else labelled)
    if match is None or _goes_on(line[: match.start("value")], labelled is not None):
        return None
    others = _OTHER_LABELLED if labelled is not None else _OTHER
    metrics = {one["name"].lower(): float(one["value"]) for one in others.finditer(line) if _fits(one, match, labelled)}
    return f"{match['word'].lower()}_loss", float(match["value"]), metrics


def _fits(other: re.Match[str], match: re.Match[str], labelled: re.Match[str] | None) -> bool:
    """Whether a further figure is of the same part of the data."""
    return labelled is not None or other["word"].lower() == match["word"].lower()


def _new(line: str, match: re.Match[str]) -> bool:
    """Whether the figure is that of a validation just made, as far as the words around it tell."""
    before = line[: match.start("word")] + line[match.end("word") : match.start("value")]
    if _BOTH.search(line, 0, match.start("word")):
        return False
    return not _OLD.search(before) and not _CHANGES.match(line, match.end("value"))


def _goes_on(line: str, labelled: bool) -> bool:
    """Whether what stands before a figure says that it is about a part of a validation's batches."""
    for place in _PLACE.finditer(line):
        counted = place["what"].lower() in _WHOLE and not labelled
        if not counted and int(place["at"]) < int(place["of"]):
            return True
    return any(int(one["done"]) < 100 for one in _PERCENT.finditer(line))
