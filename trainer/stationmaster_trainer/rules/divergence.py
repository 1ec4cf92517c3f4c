"""`divergence`: the loss has left its best level upwards and stays there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..contract import Train
from ._rule import Known, Rule, Setting, Sight, Watcher
from ._window import Window, log_ratio, median

START = 5
"""First finite points whose median is the starting loss."""
LASTING = math.log(3.0)
"""Rise (in logarithms) that is believed after 10 points; a smaller one must last longer, for it may be a swing."""
FITTED = 0.05
"""Share of the starting loss below which a nearly fitted loss may leap about."""
ORDERS = 0.3
"""A third of the orders of magnitude that were learnt weighs as much as a tenth of the loss."""
SWING = 1.5
"""A swing from its lowest to its middle and beyond is more than what it climbs within 20 points."""


@dataclass
class Divergence(Watcher):
    """The loss has left its best level upwards and stays there: the lower end of the last points, not their mean."""

    known: Known
    recent: Window = field(default_factory=lambda: Window(10))
    deviation: Window = field(default_factory=lambda: Window(50))
    """Distances of every fourth point from the running median, without the newest, which may belong to a rise."""
    pending: list[float] = field(default_factory=list)
    """Distances since the loss was last at its best level, as in `climbing`; the newest three may belong to a rise."""
    climbs: Window = field(default_factory=lambda: Window(50))
    """By how much the running median rose (0: it fell) within 20 points, at every fourth point: how far the series
    swings without diverging. The newest are left out, like the distances."""
    climbing: list[float] = field(default_factory=list)
    """Climbs since the loss was last at its best level: a swing's once it has come back, until then perhaps those of a
    divergence, which must not be a measure for itself."""
    levels: list[float] = field(default_factory=list)
    """The running median at every fourth point, the newest eight."""
    start: list[float] = field(default_factory=list)
    best: float | None = None
    """Lowest running median so far."""
    since: int = 0
    """Step of the last record that was still at the best level."""
    since_count: int = 0
    """Number of that record."""
    count: int = 0
    last_step: int = 0
    worst: float = 0.0
    """Largest rise of the newest episode, in logarithms."""
    seen_at: int = 0
    """Number of the last record that saw a divergence."""
    away: bool = False
    """Whether the last look saw a divergence: its wild points are no measure of the ordinary noise."""

    def train(self, record: Train) -> Sight | None:
        value = record.loss
        if not math.isfinite(value):
            return None
        recent = self.recent
        self.count += 1
        self.last_step = record.step
        if len(self.start) < START:
            self.start.append(value)
        recent.add(value)
        if len(recent.ordered) < START:
            return None
        level = recent.median()
        if self.count & 3 == 0:
            self.learn_strays(abs(log_ratio(value, level, self.floor(level))), level)
        best = self.best
        if best is None or level < best:
            self.best = level
            self.at_the_best(record.step)
            return None
        low = recent.quantile(0.2)
        if len(recent.ordered) < recent.size or low <= best or 0.0 < low <= best * self.known.settings["ratio"]:
            self.at_the_best(record.step)
            return None
        return self.judge(record, low, best)

    def at_the_best(self, step: int) -> None:
        """What climbed since the last time has come back: it was a swing."""
        self.since, self.since_count, self.away = step, self.count, False
        for climb in self.climbing:
            self.climbs.add(climb)
        self.climbing.clear()
        for distance in self.pending[:-3]:
            self.deviation.add(distance)
        del self.pending[:-3]

    def learn_strays(self, distance: float, level: float) -> None:
        if not self.away:
            self.pending.append(distance)
            del self.pending[: -self.deviation.size]
        self.levels.append(level)
        if len(self.levels) > 8:
            if not self.away:
                self.climbing.append(max(0.0, log_ratio(self.levels[5], self.levels[0], self.floor(self.levels[0]))))
                del self.climbing[: -self.climbs.size]
            del self.levels[0]

    def finish(self) -> Sight | None:
        """A short run's last word: the newest points, three at least, are all far above the lowest."""
        values = list(self.recent.arrived)
        if not 6 <= self.count < 2 * self.recent.size or min(self.start) <= 0.0:
            return None
        at = values.index(min(values))
        tail, best, start = values[at + 1 :], values[at], median(self.start[:3])
        back = [value for value in tail if value > best + 0.5 * max(start - best, best)]
        if len(back) < 3 or back != tail[-len(back) :]:
            return None
        message = f"train loss rose from {best:.4g} to {tail[-1]:.4g} and stayed there to the end (start: {start:.4g})"
        seen = {"best": best, "level": tail[-1], "start": start}
        return Sight(self.since, self.last_step, tail[-1] / best, "critical", message, seen)

    def judge(self, record: Train, low: float, best: float) -> Sight | None:
        start, stray = median(self.start), self.deviation.quantile(0.9) if len(self.deviation) else 0.0
        climb = self.climbs.quantile(0.9) if len(self.climbs) else 0.0
        rise = log_ratio(low, best, self.floor(best))
        lost = (low - best) / (start - best) if start > best else 1.0
        if (
            start > best > 0.0 and low > FITTED * start
        ):  # of what was learnt by orders of magnitude, orders of magnitude count
            lost = max(lost, ORDERS * rise / log_ratio(start, best, self.floor(best)))
        lasted = self.count - self.since_count + int(0.8 * self.recent.size)
        settled = rise * lasted >= self.recent.size * LASTING
        self.away = settled and diverged(rise, max(stray, SWING * climb), lost, self.known.settings)
        if not self.away:
            return None
        self.worst = max(self.worst, rise) if self.count - self.seen_at <= self.calm else rise
        self.seen_at = self.count
        level = self.recent.median()
        message = (
            f"train loss rose from its best level {best:.4g} to {level:.4g} and has stayed above {low:.4g} "
            f"for most of the last {len(self.recent)} points (start: {start:.4g})"
        )
        size = abs(low / best) if best else 1.0
        return Sight(self.since, record.step, size, "critical", message, {"best": best, "level": level, "start": start})

    def refuted(self) -> bool:
        """A moderate rise that came back by itself was a swing."""
        return self.worst < LASTING

    def floor(self, base: float) -> float:
        """What counts as zero: next to nothing of the starting loss; for a loss below zero a twentieth of its size, and
        the spread of the newest points."""
        start, ordered = abs(self.start[0]), self.recent.ordered
        if base > 0.0:
            return max(1e-12 * start, 1e-300)
        return max(0.05 * max(start, abs(base)), ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4], 1e-300)

    def missing(self) -> str:
        return "" if len(self.recent) == self.recent.size else f"too few points of the train loss ({len(self.recent)})"


def diverged(rise: float, stray: float, share: float, settings: dict[str, float]) -> bool:
    """Whether the low end of the recent points has risen over the best level by a factor (`rise` is its logarithm),
    beyond what single points stray, and costs much of what was learnt (`share`)."""
    return rise > math.log(settings["ratio"]) and rise > settings["strays"] * stray and share > settings["share"]


RULES = (
    Rule(
        name="divergence",
        severity="critical",
        meaning=(
            "The optimizer has left the region where it was learning: the learning rate is too high for the "
            "rest of the run, or the data changed."
        ),
        advice=(
            "Stop, go back to the best checkpoint, and continue with a lower learning rate, more warm-up or "
            "harder clipping."
        ),
        watch=lambda known: [Divergence(known)],
        settings={
            "ratio": Setting(1.5, "times the best running median that nearly all of the last 10 points exceed"),
            "strays": Setting(
                2.0,
                "times what one point in ten exceeds: distance from the running median, or height of a swing",
            ),
            "share": Setting(0.1, "share of what was learnt (start minus best) that must be lost again"),
        },
    ),
)
