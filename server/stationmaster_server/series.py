"""A run's curves in constant memory: thinned while they are read, however long the stream is."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Bucket:
    """A stretch of neighbouring records of one series."""

    step: int
    """Last step of the stretch."""
    loss: float
    """Mean over the stretch's finite values, by weight; NaN when none is finite."""
    low: float
    high: float
    weight: float
    """Samples behind the mean."""
    broken: bool = False
    """Whether a value of the stretch was not finite."""

    def join(self, other: Bucket) -> None:
        """Takes in the stretch that follows."""
        self.step, self.broken = other.step, self.broken or other.broken
        if math.isfinite(other.loss):
            self._take(other)

    def _take(self, other: Bucket) -> None:
        if not math.isfinite(self.loss):
            self.loss, self.low, self.high, self.weight = other.loss, other.low, other.high, other.weight
            return
        total = self.weight + other.weight
        self.loss += (other.loss - self.loss) * other.weight / total
        self.low, self.high, self.weight = min(self.low, other.low), max(self.high, other.high), total


class Thinner:
    """Keeps between `limit` and 2 × `limit` buckets of a series of any length, evenly over its records.

    Each bucket holds the same number of records; when there are too many buckets, neighbours are joined and that
    number doubles. Extremes are kept, so that a spike of one step is still there after a million records.
    """

    def __init__(self, limit: int = 300) -> None:
        self.limit = limit
        self.buckets: list[Bucket] = []
        self._each = 1
        self._in_last = 0

    def add(
        self, step: int, loss: float, weight: float = 1.0, low: float | None = None, high: float | None = None
    ) -> None:
        """One record: its mean, its samples, its smallest and largest single value where known."""
        bucket = Bucket(step, loss, _or(low, loss), _or(high, loss), max(weight, 1e-12), not math.isfinite(loss))
        if self.buckets and self._in_last < self._each:
            self.buckets[-1].join(bucket)
            self._in_last += 1
            return
        self.buckets.append(bucket)
        self._in_last = 1
        if len(self.buckets) > 2 * self.limit:
            self._halve()

    def _halve(self) -> None:
        pairs = zip(self.buckets[::2], [*self.buckets[1::2], None], strict=False)
        odd = len(self.buckets) % 2 == 1
        joined = []
        for first, second in pairs:
            if second is not None:
                first.join(second)
            joined.append(first)
        self._in_last = self._in_last if odd else self._each + self._in_last
        self.buckets, self._each = joined, self._each * 2

    def points(self) -> list[tuple[int, float]]:
        """(step, mean) of every bucket; NaN where the stretch has no finite value."""
        return [(bucket.step, bucket.loss) for bucket in self.buckets]

    def band(self) -> list[tuple[int, float, float]]:
        """(step, smallest, largest) of every bucket."""
        return [(bucket.step, bucket.low, bucket.high) for bucket in self.buckets]


def _or(value: float | None, other: float) -> float:
    return other if value is None or not math.isfinite(value) else value
