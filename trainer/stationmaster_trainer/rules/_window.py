"""The last values of a series with their order statistics: median, quantiles, deviation; a few hundred nanoseconds
per value."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable


class Window:
    """The newest `size` finite values, in order of arrival and in order of size.

    Adding costs O(log size) comparisons and a short memory move; nothing non-finite may enter (the caller sees to
    it).
    """

    __slots__ = ("arrived", "ordered", "size")

    def __init__(self, size: int, values: Iterable[float] = ()) -> None:
        self.size = size
        self.arrived: deque[float] = deque()
        self.ordered: list[float] = []
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        return len(self.ordered)

    def add(self, value: float) -> None:
        ordered = self.ordered
        self.arrived.append(value)
        insort(ordered, value)
        if len(ordered) > self.size:
            del ordered[bisect_left(ordered, self.arrived.popleft())]

    def clear(self) -> None:
        self.arrived.clear()
        self.ordered.clear()

    def median(self) -> float:
        """Middle value (mean of the two middle ones); the window must not be empty."""
        ordered = self.ordered
        half = len(ordered) >> 1
        return ordered[half] if len(ordered) & 1 else 0.5 * (ordered[half - 1] + ordered[half])

    def quantile(self, share: float) -> float:
        """The value that `share` of the window does not exceed (nearest rank, no interpolation)."""
        ordered = self.ordered
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def low(self) -> float:
        return self.ordered[0]

    def high(self) -> float:
        return self.ordered[-1]

    def plain(self) -> list[float]:
        return list(self.arrived)

    def refill(self, values: Iterable[float]) -> None:
        self.clear()
        for value in values:
            self.add(value)


def log_ratio(value: float, base: float, floor: float) -> float:
    """ln(value / base), with both held above `floor` > 0: near zero only absolute changes count.

    For series with negative values the logarithm has no meaning; asinh(x / 2·floor) takes over, which is ln(x /
    floor) for large x, linear around zero and odd, so the same thresholds keep their sense.
    """
    if value > floor and base > floor:
        return math.log(value / base)
    if value >= 0.0 and base >= 0.0:
        return math.log(max(value, floor) / max(base, floor))
    return math.asinh(0.5 * value / floor) - math.asinh(0.5 * base / floor)


def median(values: list[float]) -> float:
    """Median of a non-empty list."""
    ordered = sorted(values)
    half = len(ordered) >> 1
    return ordered[half] if len(ordered) & 1 else 0.5 * (ordered[half - 1] + ordered[half])
