"""Learns how long a worker may be silent: five times the longest gap seen in the same phase, never under a floor.

Times are seconds of a clock that only goes forward; the caller must not count the time that a worker is paused.
"""

from __future__ import annotations

FACTOR = 5.0


class Watchdog:
    """`heard` at every record, `overdue` from time to time."""

    def __init__(self, now: float, *, floor: float, first: float) -> None:
        self._floor, self._first = floor, max(first, floor)
        self._last = now
        self._longest: dict[str, float] = {}
        self.phase = ""

    def heard(self, now: float, phase: str) -> None:
        """The training lived at `now`; `phase` is the one that the worker is in from then on."""
        gap = max(0.0, now - self._last)
        self._longest[self.phase] = max(gap, self._longest.get(self.phase, 0.0))
        self._last, self.phase = max(now, self._last), phase

    def restart(self, now: float) -> None:
        """Silence counts from now on: the worker was paused."""
        self._last = now

    @property
    def limit(self) -> float:
        """Seconds of silence that are still normal in the present phase."""
        longest = self._longest.get(self.phase)
        return self._first if longest is None else max(self._floor, FACTOR * longest)

    @property
    def longest(self) -> float | None:
        """Longest gap seen so far in the present phase."""
        return self._longest.get(self.phase)

    def overdue(self, now: float) -> float | None:
        """Seconds of silence when they are beyond the limit, else None."""
        silent = now - self._last
        return silent if silent > self.limit else None
