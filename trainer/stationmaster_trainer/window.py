"""Gathers the steps between two records into one `Train`: weighted mean, extremes with their steps, non-finite counts.

Every step is in its figures though only every k-th is logged. The clock leaves out what runs inside `paused()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .contract import Train

MAX_INDICES = 64
"""Indices of the worst batch that a record names."""


class Window:
    """`add` every optimizer step, `take` the record when it is due; a new window starts by itself."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._paused = 0.0
        self._start = clock()
        self._clear()

    def _clear(self) -> None:
        self.steps = 0
        """Optimizer steps in the window so far."""
        self._step = 0
        self._rate = 0.0
        self._samples = self._loss_samples = self._skipped = 0
        self._loss_sum = self._data_seconds = 0.0
        self._loss_max, self._loss_min, self._norm_max = -math.inf, math.inf, -math.inf
        self._norm_sum, self._norms = 0.0, 0
        self._loss_max_step: int | None = None
        self._norm_max_step: int | None = None
        self._bad, self._bad_step, self._bad_what = 0, 0, ""
        self._worst: Sequence[int] = ()
        self._steepest: Sequence[int] = ()

    def add(
        self,
        step: int,
        loss: float,
        grad_norm: float | None,
        samples: int,
        learning_rate: float,
        *,
        skipped: bool = False,
        data_seconds: float = 0.0,
        indices: Sequence[int] = (),
    ) -> None:
        """One optimizer step: its mean loss over `samples`, the norm before clipping, the rows of its batch.

        `indices` is only kept, not copied, and turned into integers when the record is taken. Loss and norm are Python
        floats; a tensor would have to be waited for.
        """
        self.steps += 1
        self._step = step
        self._rate = learning_rate
        self._samples += samples
        self._data_seconds += data_seconds
        if skipped:
            self._skipped += 1
        bad = ""
        if loss - loss == 0.0:  # finite: inf - inf and nan - nan are nan
            self._loss_sum += loss * samples
            self._loss_samples += samples
            if loss > self._loss_max:
                self._loss_max, self._loss_max_step = loss, step
                if not self._bad:
                    self._worst = indices
            if loss < self._loss_min:
                self._loss_min = loss
        else:
            bad = "loss"
        if grad_norm is not None:
            if grad_norm - grad_norm == 0.0:
                self._norm_sum += grad_norm
                self._norms += 1
                if grad_norm > self._norm_max:
                    self._norm_max, self._norm_max_step, self._steepest = grad_norm, step, indices
            else:
                bad = bad or "grad_norm"
        if bad:
            self._bad += 1
            if self._bad == 1:
                self._bad_step, self._bad_what, self._worst = step, bad, indices

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time inside (validation, saving) does not count as training."""
        start = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - start

    def take(self, *, elapsed: float, epoch: float, samples: int) -> Train:
        """The record of all steps since the last one, and a fresh window. `samples` counts from step 0 on.

        Raises ValueError when the window is empty: look at `steps` first.
        """
        if not self.steps:
            raise ValueError("the window holds no step")
        now = self._clock()
        seconds = now - self._start - self._paused
        worst_step = self._bad_step if self._bad else self._loss_max_step
        steepest = self._steepest if self._norm_max_step != worst_step else ()
        record = Train(
            time=time.time(),
            elapsed=elapsed,
            step=self._step,
            epoch=epoch,
            samples=samples,
            loss=self._loss_sum / self._loss_samples if self._loss_samples else math.nan,
            loss_max=self._loss_max if self._loss_samples else math.nan,
            loss_min=self._loss_min if self._loss_samples else math.nan,
            grad_norm=self._norm_sum / self._norms if self._norms else None,
            grad_norm_max=self._norm_max if self._norms else None,
            learning_rate=self._rate,
            samples_per_second=self._samples / seconds if seconds > 0 else 0.0,
            steps=self.steps,
            window_samples=self._samples,
            nonfinite=self._bad,
            nonfinite_step=self._bad_step if self._bad else None,
            nonfinite_what=self._bad_what or None,
            skipped=self._skipped,
            loss_max_step=self._loss_max_step,
            grad_norm_max_step=self._norm_max_step,
            data_seconds=self._data_seconds,
            worst_samples=tuple(int(index) for index in self._worst[:MAX_INDICES]),
            steepest_samples=tuple(int(index) for index in steepest[:MAX_INDICES]),
        )
        self._start, self._paused = now, 0.0
        self._clear()
        return record
