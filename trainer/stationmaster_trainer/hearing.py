"""What the processes below the worker tell, taken into the attempt's own stream: one after another, steps counted on.

Not covered: who may speak (`messenger.py`).
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import replace
from pathlib import Path

from . import codec, rundir, stream
from .contract import Ack, Checkpoint, Eval, Failure, Note, Phase, Record, Started, Train
from .errors import FormatError
from .printed import Printed
from .reporter import Reporter

_NAME = re.compile(r"\d{4,9}-\d{1,10}\.jsonl")
RETOLD = (Started, Train, Eval, Note, Phase, Checkpoint)
"""Records that are taken over; how the attempt ended says the worker alone."""


class Hearing:
    """One per attempt; `listen` a few times a second, and once more when the processes are gone."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._folder = reporter, reporter.attempt.told
        self._places: dict[Path, tuple[int, int]] = {}
        """File → where to read on, and what is added to its steps."""
        self.step = 0
        """Last step that was told."""
        self.started = False
        """Whether a process has told that it trains."""
        self.evaluations = self.samples = 0
        self.printed = Printed(reporter.attempt.worker_log)
        self.speaker = 0
        """Process id of the one that told last."""

    @property
    def reached(self) -> bool:
        """Whether a process below has loaded a library that a probe looks into."""
        return any(self._folder.glob("*.here"))

    def listen(self, after: int = 0) -> bool:
        """Takes in what is new; whether there was anything. `after`: step that was seen in another way before."""
        heard = False
        self.step = max(self.step, after)
        for path in self._files():
            more = True
            while more:
                offset, shift = self._places.get(path) or self._begin(path)
                try:
                    chunk = stream.read(path, offset)
                except (FormatError, OSError):
                    break
                self.printed.look([record for _, record in chunk.records])
                for _, record in chunk.records:
                    shift = self._retell(record, shift)
                    heard = True
                self._tell(self.printed.after(self.step))
                self._places[path] = (chunk.offset, shift)
                more = chunk.more
        return heard

    @property
    def spoken(self) -> bool:
        """Whether a process tells that it trains, heard or not."""
        return bool(self._files())

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.jsonl") if _NAME.fullmatch(path.name))

    def failures(self) -> list[Failure]:
        """Exceptions that ended processes, oldest first."""
        found = [told for path in self._folder.glob("*.failure") if (told := _failure(path)) is not None]
        return sorted(found, key=lambda one: one.time)

    def failure(self, pid: int) -> Failure | None:
        """The exception that ended this process, if it left one."""
        return _failure(self._folder / f"{pid}.failure")

    def _begin(self, path: Path) -> tuple[int, int]:
        """A further process: what it counts from 1 goes on from the last step."""
        self.speaker = int(path.stem.rpartition("-")[2])
        if self.started:
            words = f"another process trains now (pid {self.speaker}); its steps are counted on from {self.step}"
            self._reporter.note(words, self.step)
        return 0, self.step

    def _retell(self, record: Record, shift: int) -> int:
        if isinstance(record, Ack) and not record.control.endswith("-stop.json"):  # that it stopped says the worker
            self._reporter.obeyed(record.control, self.step)
        if not isinstance(record, RETOLD):
            return shift
        if isinstance(record, Started):
            shift = 0 if record.step >= shift else shift  # it continues by itself where the one before stood
            self.started = True
        self.evaluations += isinstance(record, Eval) or (isinstance(record, Phase) and record.phase == "eval")
        if isinstance(record, Train):
            self.samples = max(self.samples, record.samples)
        record = _shifted(record, shift)
        self._tell(self.printed.before(record, self.step))
        self.step = max(self.step, record.step)
        self._reporter.write(replace(record, elapsed=self._elapsed(record)))
        return shift

    def finish(self) -> None:
        """Tells what the script printed last."""
        if self.started:
            self._tell(self.printed.left(self.step))

    def _tell(self, found: Eval | None) -> None:
        """A validation that the script printed."""
        if found is None:
            return
        if self.printed.taken == 1:
            words = f"validation figures are those that the script prints: {self.printed.name}"
            self._reporter.note(words, found.step)
        self.evaluations += 1
        self._reporter.write(replace(found, elapsed=self._reporter.elapsed()))

    def _elapsed(self, record: Record) -> float:
        """On this process's clock, whatever clock the other one had."""
        now = self._reporter.elapsed()
        return max(0.0, min(now, now - (time.time() - record.time)))


def _failure(path: Path) -> Failure | None:
    """What a process left there; None for nothing, and for what is no failure."""
    with contextlib.suppress(FormatError, OSError):
        record = codec.record(rundir.read(path).strip(), str(path))
        return record if isinstance(record, Failure) else None
    return None


def _shifted(
    record: Started | Train | Eval | Note | Phase | Checkpoint, by: int
) -> Started | Train | Eval | Note | Phase | Checkpoint:
    if not by:
        return record
    if isinstance(record, Train):
        steps = {name: getattr(record, name) for name in ("nonfinite_step", "loss_max_step", "grad_norm_max_step")}
        return replace(record, step=record.step + by, **{key: at + by for key, at in steps.items() if at is not None})
    return replace(record, step=record.step + by)
