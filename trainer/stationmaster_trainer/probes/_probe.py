"""What the probes of one script have seen: optimizer steps, gathered into records at the pace of the log.

A failure in here is recorded once and never reaches the script. Not covered: how a library is looked into.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..contract import Eval, Started
from ..reporter import Reporter
from ..window import Window
from . import _sight

MOST_SECONDS = 2.0
"""Steps are told at least this often, however slow they are."""
MOST_ERRORS = 5
"""Different failures of the probe that are told."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one optimizer step: floats, or whatever `Probe.read` makes floats of; None: not seen."""

    loss: Any = None
    grad_norm: Any = None
    """Before clipping."""
    rate: Any = None
    skipped: bool = False
    """Whether the update was left out, as a loss scaler does it when a gradient is not finite."""


class Probe:
    """One per script. `step` is called after every optimizer step."""

    def __init__(self, reporter: Reporter, every: int) -> None:
        self.reporter = reporter
        self.steps = 0
        """Optimizer steps so far."""
        self.evaluations = 0
        """How often the model was put into evaluation mode, or the library said that it validates."""
        self.epoch = 0.0
        """Passes over the training data so far, where a library tells it."""
        self.samples = 0
        """Training samples so far, where a library tells them."""
        self.total_steps = 0
        """Optimizer steps to come in all; 0: not known."""
        self.read: Callable[[Sequence[Any]], list[float | None]] = list
        """Makes floats of what the steps left, all at once: on an accelerator each look costs a wait."""
        self.ready: Callable[[Any], bool] = lambda value: True
        """Whether a value can be read without waiting for it."""
        self.take: Callable[[bool], Seen] = lambda summed: Seen()
        """What was seen below a library since the last call; of several losses the sum (when true) or the mean."""
        self.complete: Callable[[], None] = lambda: None
        """Tells a step of which only the next one would show that it is over."""
        self.driver = ""
        """Library that tells steps itself; the looks into what lies below it only keep what they see for `take`."""
        self.framework = ""
        """Name of the library above PyTorch, for the record of the start."""
        self.validation_told = False
        """Whether a library tells what its validations give, so that nothing need be derived."""
        self.on_step: Callable[[], None] = lambda: None
        """Called behind each step, once it is counted."""
        self.ending: Callable[[], None] = lambda: None
        """Called then too: a validation that was the script's last act is told."""
        self.closing: Callable[[], None] = lambda: None
        """Called when the script is over."""
        self.shared: dict[str, Any] = {}
        """What the looks of several libraries share, by the name of the file that made it."""
        self.level = ""
        """Level of sight that was told, of `_sight.LEVELS`."""
        self._every = max(1, every)
        self._rows: list[tuple[int, Seen]] = []
        self._window = Window()
        self._told_samples = 0
        self._told_at = time.monotonic()
        self._busy = self._begun = False
        self._errors: set[str] = set()

    @contextmanager
    def harmless(self, doing: str) -> Iterator[None]:
        """An error inside is noted once, and swallowed: the script must not suffer from being looked at."""
        try:
            yield
        except Exception as error:
            self.failed(doing, error)

    def failed(self, doing: str, error: Exception) -> None:
        """Notes an error of the probe, once."""
        words = f"the probe failed while {doing}: {type(error).__name__}: {str(error)[:300]}"
        if words not in self._errors and len(self._errors) < MOST_ERRORS:
            self._errors.add(words)
            self.reporter.note(words, self.steps, level="warning")

    def started(self, framework: str, device: str, precision: str, parameters: int) -> None:
        """The first step is being made."""
        if self._begun:
            return
        self._begun, reporter, total = True, self.reporter, self.total_steps
        reporter.write(
            Started(
                time.time(), reporter.elapsed(), framework, device, precision, total, 0, 0, 0, parameters, self.steps
            )
        )
        reporter.phase("train", self.steps, output=self._output())

    def expect(self, total_steps: int) -> None:
        """How many steps there will be in all, as far as the script or its library knows now; 0: unknown."""
        if total_steps == self.total_steps:
            return
        self.total_steps = total_steps
        if self._begun:
            self.reporter.note(f"total steps: {total_steps or 'unknown'}", self.steps, total_steps=total_steps)

    def sight(
        self,
        level: str,
        source: str,
        seen: Sequence[str],
        unseen: Sequence[str] = (),
        resume: str = _sight.NOT_RESUMED,
    ) -> None:
        """Tells what is seen of the script, and what that means for the person; a narrower sight than before is not."""
        order = list(_sight.LEVELS)
        if self.level and order.index(level) > order.index(self.level):
            return
        self.level, words = level, _sight.words(level, source, seen, unseen, resume)
        self.reporter.note(f"sight of the script: {words}", self.steps, sight=words, sight_level=level)

    def step(self, seen: Seen, number: int | None = None) -> None:
        """One optimizer step is done. `number`: its own, where a library counts."""
        self.steps = self.steps + 1 if number is None else number
        self.reporter.beat(self.steps)
        self._rows.append((self.steps, seen))
        if len(self._rows) >= self._every or time.monotonic() - self._told_at > MOST_SECONDS:
            self.flush(wait=False)
        self.on_step()

    def close(self) -> None:
        """The script is over: a checkpoint that was begun is finished, and the last steps are told."""
        with self.harmless("telling the last validation"):
            self.ending()
        with self.harmless("finishing a checkpoint"):
            self.closing()
        self.flush()

    def flush(self, wait: bool = True) -> None:
        """Writes the record of the steps since the last one. Does nothing inside itself, as from a signal.

        `wait`: also of those that an accelerator is still computing.
        """
        if self._busy:
            return
        self._busy = True
        try:
            if wait:
                with self.harmless("completing a step"):
                    self.complete()
            count = len(self._rows) if wait else self._count_ready()
            rows, self._rows, self._told_at = self._rows[:count], self._rows[count:], time.monotonic()
            if rows:
                self._write(rows)
        finally:
            self._busy = False

    def _count_ready(self) -> int:
        """Rows before the first one that would have to be waited for."""
        for at, (_, seen) in enumerate(self._rows):
            if not all(self.ready(value) for value in (seen.loss, seen.grad_norm, seen.rate)):
                return at
        return len(self._rows)

    def _write(self, rows: list[tuple[int, Seen]]) -> None:
        last = len(rows) - 1  # a record has the rate of its last step
        rates = [seen.rate if at == last else None for at, (_, seen) in enumerate(rows)]
        seen_of = zip((seen for _, seen in rows), rates, strict=True)
        flat = self.read([value for seen, rate in seen_of for value in (seen.loss, seen.grad_norm, rate)])
        for at, (step, seen) in enumerate(rows):
            loss, norm, rate = flat[3 * at : 3 * at + 3]
            if loss is not None:
                self._window.add(step, loss, norm, 1, math.nan if rate is None else rate, skipped=seen.skipped)
        if not self._window.steps:
            self.reporter.phase("train", rows[-1][0])  # no loss was seen: the step alone is told
            return
        record = self._window.take(elapsed=self.reporter.elapsed(), epoch=self.epoch, samples=self.samples)
        # A step stood for a sample, as the weight of the mean.
        fresh = max(0, self.samples - self._told_samples)
        speed = record.samples_per_second * fresh / record.window_samples
        self._told_samples = self.samples
        self.reporter.write(replace(record, window_samples=fresh, samples_per_second=speed))

    def evaluating(self) -> None:
        """The script begins to validate, as far as can be seen."""
        self.evaluations += 1
        self.flush()
        self.reporter.phase("eval", self.steps, output=self._output())

    def evaluated(
        self, loss: float | None, metrics: Mapping[str, float], samples: int = 0, seconds: float = 0.0
    ) -> None:
        """What a validation gave; without a loss it is told in words only."""
        self.evaluations += 1
        self.flush()
        self._window = Window()  # its clock must not count the validation
        reporter = self.reporter
        if loss is None:
            named = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
            reporter.note(f"validation without a loss: {named}", self.steps, validation=dict(metrics))
            return
        reporter.write(
            Eval(time.time(), reporter.elapsed(), self.steps, loss, dict(metrics), samples, round(seconds, 6))
        )

    def _output(self) -> int:
        """Bytes of the attempt's output so far; 0 where this process writes into another file or a pipe."""
        try:
            log = os.stat(self.reporter.attempt.worker_log)
            mine = any(os.path.samestat(os.fstat(descriptor), log) for descriptor in (1, 2))
        except (OSError, AttributeError):  # closed, or nothing to tell it to
            return 0
        return log.st_size if mine else 0

    def saved(self, path: str) -> None:
        """The script or its library wrote a checkpoint of its own."""
        self.reporter.note(f"the script saved {path[:300]}", self.steps, saved=path[:300])
