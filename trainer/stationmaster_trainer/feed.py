"""Hands the loop the batches of one optimizer step after another, in an order that is a function of the step.

So a resume costs nothing, and what a rollback left out stays left out. The last micro-batch of an epoch may be short,
and the last step of an epoch may have fewer micro-batches: no sample is dropped, and no step mixes two epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from . import order
from .actions import Detours


class Samples(Protocol):
    """What the feed needs of a data set."""

    @property
    def rows(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Batch:
    """One micro-batch, as the framework takes it."""

    inputs: Any
    targets: Any
    """None when the data have no targets."""
    samples: int
    weight: int
    """Share of the batch in its optimizer step, relative to the step's other batches: samples, or tokens that count."""


@dataclass(frozen=True)
class Group:
    """The micro-batches of one optimizer step."""

    batches: tuple[Batch, ...]
    samples: int
    rows: np.ndarray
    """Row of each sample in its source file, counted from 1: int64 (samples,)."""


@dataclass(frozen=True)
class Plan:
    """Which samples belong to which optimizer step (counted from 1)."""

    seed: int
    batch_size: int
    accumulation: int
    """Micro-batches per optimizer step."""
    n: int
    """Training samples."""
    detours: Detours = field(default_factory=Detours)
    """Rollbacks, behind which data were left out."""

    @property
    def steps_per_epoch(self) -> int:
        """⌈⌈n / batch_size⌉ / accumulation⌉: a smaller group at the end of an epoch is a step of its own."""
        return -(-order.batches_per_epoch(self.batch_size, self.n) // self.accumulation)

    def indices(self, step: int) -> np.ndarray:
        """Indices of the training samples of optimizer step `step`: int64 (≤ batch_size · accumulation,)."""
        epoch, group = divmod(self.detours.data_step(step) - 1, self.steps_per_epoch)
        size = self.batch_size * self.accumulation
        return order.epoch_order(self.seed, epoch, self.n)[group * size : (group + 1) * size]

    def samples_until(self, step: int) -> int:
        """Training samples seen when step `step` is done; what was left out does not count."""
        seen = self._position(self.detours.data_step(step))
        for one in self.detours.rollbacks:
            if one.step < step:
                seen -= self._position(one.skipped_last) - self._position(one.skipped_first - 1)
        return seen

    def epoch_at(self, step: int) -> float:
        """Passes over the training data when step `step` is done; what was left out is passed."""
        return self._position(self.detours.data_step(step)) / self.n

    def _position(self, data_step: int) -> int:
        """Samples of the order without gaps up to the end of a step of it."""
        epochs, groups = divmod(data_step, self.steps_per_epoch)
        return epochs * self.n + groups * self.batch_size * self.accumulation


class Feed:
    """Reads each step's rows; with `ahead` one step ahead on a thread, for data that are decoded when read."""

    def __init__(
        self, data: Samples, plan: Plan, convert: Callable[[Any, Any, int], Batch], ahead: bool = False
    ) -> None:
        """`convert` makes a batch of the data set's inputs, targets and their number, on the reading thread."""
        self.plan = plan
        self._data = data
        self._convert = convert
        self._pool = ThreadPoolExecutor(1, "feed") if ahead else None
        self._next: tuple[int, Future[Group]] | None = None

    def get(self, step: int) -> Group:
        """The micro-batches of step `step`."""
        if self._pool is None:
            return self._read(step)
        ready = self._next[1].result() if self._next and self._next[0] == step else self._read(step)
        self._next = (step + 1, self._pool.submit(self._read, step + 1))
        return ready

    def close(self) -> None:
        """Ends the reading thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, step: int) -> Group:
        indices = self.plan.indices(step)
        size, rows = self.plan.batch_size, self._data.rows[indices]
        if len(indices) <= size:
            return Group((self._batch(indices),), len(indices), rows)
        parts = [indices[start : start + size] for start in range(0, len(indices), size)]
        return Group(tuple(self._batch(part) for part in parts), len(indices), rows)

    def _batch(self, indices: np.ndarray) -> Batch:
        return self._convert(*self._data.batch(indices), len(indices))
