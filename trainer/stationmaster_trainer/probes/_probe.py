"""What the probes of one script have seen: optimizer steps, gathered into records at the pace of the log.

A failure in here is recorded once and never reaches the script. Not covered: how a library is looked into.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..contract import Eval, Started
from ..reporter import Reporter
from ..window import Window

MOST_SECONDS = 2.0
"""Steps are told at least this often, however slow they are."""
MOST_ERRORS = 5
"""Different failures of the probe that are told."""
Row = tuple[int, Any, Any, Any]
"""Step, loss, gradient norm, learning rate: floats, or whatever `Probe.read` makes floats of."""


class Probe:
    """One per script. `step` is called after every optimizer step."""

    def __init__(self, reporter: Reporter, every: int) -> None:
        self.reporter = reporter
        self.steps = 0
        """Optimizer steps so far."""
        self.evaluations = 0
        """How often the model was put into evaluation mode, or the library said that it validates."""
        self.read: Callable[[Sequence[Any]], list[float | None]] = list
        """Makes floats of what the steps left, all at once: on an accelerator each look costs a wait."""
        self.driver = ""
        """Library that tells steps itself; the looks into what lies below it are silent then."""
        self._every = max(1, every)
        self._rows: list[Row] = []
        self._window = Window()
        self._told_at = time.monotonic()
        self._busy = False
        self._errors: set[str] = set()

    @contextmanager
    def harmless(self, doing: str) -> Iterator[None]:
        """An error inside is noted once, and swallowed: the script must not suffer from being looked at."""
        try:
            yield
        except Exception as error:
            words = f"the probe failed while {doing}: {type(error).__name__}: {str(error)[:300]}"
            if words not in self._errors and len(self._errors) < MOST_ERRORS:
                self._errors.add(words)
                self.reporter.note(words, self.steps, level="warning")

    def started(self, framework: str, device: str, precision: str, parameters: int, total_steps: int = 0) -> None:
        """The first step is being made."""
        reporter = self.reporter
        reporter.write(
            Started(time.time(), reporter.elapsed(), framework, device, precision, total_steps, 0, 0, 0, parameters)
        )

    def sight(self, words: str) -> None:
        """Tells what is seen of the script, and what that means for the person."""
        self.reporter.note(f"sight of the script: {words}", self.steps, sight=words)

    def step(self, loss: Any, grad_norm: Any, rate: Any) -> None:
        """One optimizer step is done; None is what was not seen of it."""
        self.steps += 1
        self.reporter.beat(self.steps)
        self._rows.append((self.steps, loss, grad_norm, rate))
        if len(self._rows) >= self._every or time.monotonic() - self._told_at > MOST_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the record of the steps since the last one. Does nothing inside itself, as from a signal."""
        if self._busy:
            return
        self._busy = True
        try:
            rows, self._rows, self._told_at = self._rows, [], time.monotonic()
            if rows:
                self._write(rows)
        finally:
            self._busy = False

    def _write(self, rows: list[Row]) -> None:
        steps, *columns = zip(*rows, strict=True)
        flat = self.read([value for column in columns for value in column])
        losses, norms, rates = (flat[at : at + len(rows)] for at in range(0, len(flat), len(rows)))
        for step, loss, norm, rate in zip(steps, losses, norms, rates, strict=True):
            if loss is not None:
                self._window.add(step, loss, norm, 1, math.nan if rate is None else rate)
        if self._window.steps:
            record = self._window.take(elapsed=self.reporter.elapsed(), epoch=0.0, samples=0)
            # A step stood for a sample, as the weight of the mean: how many samples it held cannot be seen.
            self.reporter.write(replace(record, window_samples=0, samples_per_second=0.0))

    def evaluating(self) -> None:
        """The script begins to validate, as far as can be seen."""
        self.evaluations += 1
        self.flush()
        self.reporter.phase("eval", self.steps)

    def evaluated(self, loss: float, metrics: dict[str, float], seconds: float = 0.0) -> None:
        """A library told what a validation gave."""
        self.evaluations += 1
        self.flush()
        reporter = self.reporter
        reporter.write(Eval(time.time(), reporter.elapsed(), self.steps, loss, metrics, 0, seconds))
