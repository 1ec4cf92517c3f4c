"""`no_learning` and `plateau`: where the loss goes over the whole run, not at one of its records."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..contract import Train
from ._course import Course
from ._rule import Known, Rule, Setting, Sight, Watcher
from ._window import median

START = 5
"""First finite points whose median is the starting loss."""
EARLY = 40
"""First points kept as they are, to see a fall that is over within a few of them."""
FITTED = 0.1
"""Share of the starting loss below which a flat loss is a fitted one and no plateau."""
HIDDEN, EARLY_SHARE = 0.05, 0.25
"""Share of what was learnt that the noise of a quarter of the run may hide, and of the plan that must be done, before
a loss is called flat."""
FEWEST = 12
"""Points below which nothing is said even at the end of a run."""


@dataclass
class NoLearning(Watcher):
    """The loss is where it began: no part of the run lies below the start by more than its noise, and the noise is
    small enough to have shown it."""

    retracts: ClassVar[bool] = True
    calm: ClassVar[int] = 16
    known: Known
    course: Course = field(default_factory=Course)
    first: list[float] = field(default_factory=list)
    """The first finite losses, EARLY at most."""
    count: int = 0
    peak: float = 0.0
    """Highest learning rate so far."""
    rising_at: int = 0
    """Record at which the learning rate last reached a new height: before it, and shortly after, nothing can be asked
    of the loss."""
    next_look: int = 8
    """Point at which the course is looked at again: rarely in a long run, so that it costs next to nothing."""
    first_step: int = 0
    last_step: int = 0
    sight: Sight | None = None
    """What was seen at the last look; repeated until the next one."""

    def train(self, record: Train) -> Sight | None:
        value, rate = record.loss, record.learning_rate
        if rate > self.peak * 1.0001:
            self.peak, self.rising_at = rate, self.count
        if not math.isfinite(value):
            return None
        self.count += 1
        self.last_step = record.step
        self.first_step = self.first_step or record.step
        if len(self.first) < EARLY:
            self.first.append(value)
        self.course.add(value)
        if self.count >= self.next_look:
            self.next_look = self.count + max(8, self.count // 16)
            self.sight = None if self.early(record.step) else self.judge()
        return self.sight

    def early(self, step: int) -> bool:
        """Whether it is too early to ask: few points, the warm-up, or a rate that rose a short while ago."""
        plan, settings = self.known.plan, self.known.settings
        if self.count < settings["points"] or self.count - self.rising_at < 0.5 * settings["points"]:
            return True
        return step < max(settings["share"] * (plan.total_steps or 0), 1.5 * (plan.warmup_steps or 0))

    def finish(self) -> Sight | None:
        return self.judge() if self.count >= FEWEST and self.count - self.rising_at >= FEWEST // 2 else None

    def judge(self) -> Sight | None:
        start, late = median(self.first[:START]), self.course.part(0.5, 1.0)
        stuck = chance_level(self.course, self.known.plan.classes)
        if stuck is None and not unchanged(self.first, self.course, self.known.settings["drop"]):
            return None
        where = f"{late:.4g} in the second half"
        if stuck is not None:
            where = f"stuck at {late:.4g}, about ln({stuck}): the loss of guessing among {stuck} classes"
        message = (
            f"train loss has not fallen beyond its noise in {self.count} points: {start:.4g} at the start, {where}"
        )
        seen = {"start": start, "now": late, "noise": self.course.noise()}
        return Sight(self.first_step, self.last_step, 1.0, "warning", message, seen)

    def missing(self) -> str:
        return "" if self.count >= FEWEST else f"too few points of the train loss ({self.count})"


def unchanged(first: list[float], course: Course, drop: float) -> bool:
    """Whether the loss has not fallen, and would have shown it.

    The start is taken over 5, 10, 20, … points (a fast fall shows in the few, a slow one in the many) and compared
    with the three later quarters. Fallen: one comparison exceeds three standard errors of two medians (1.25 σ / √n
    each). Not shown: the longest comparison still allows a fall by `drop` of the start within one and a half standard
    errors.
    """
    start, late = median(first[:START]), course.part(0.5, 1.0)
    if late - start > max(0.5 * abs(start), 3.0 * deviation(first)):
        return False  # far above the start: that is divergence
    quarter = max(1, len(course.blocks) // 4)
    later = [course.part(at, at + 0.25) for at in (0.25, 0.5, 0.75)]
    later_error = 1.25 * course.noise() / math.sqrt(quarter)
    point = deviation(first)
    allowed = math.inf
    for length in lengths(len(first)):
        level = median(first[:length])
        error = math.hypot(1.25 * point / math.sqrt(length), later_error)
        fall = level - min(later)
        if fall > 3.0 * error and fall > 0.3 * drop * abs(level):
            return False
        allowed = (level - later[2] + 1.5 * error) / abs(level) if level else math.inf
    if later_error > drop * abs(late):
        return False  # under such noise nothing is known, wherever the medians happen to lie
    early_quarter = course.part(0.0, 0.25)
    error = later_error * math.sqrt(2.0)
    if early_quarter - min(later) > max(3.0 * error, 0.3 * drop * abs(early_quarter)):
        return False
    if course.stride * quarter > len(first):
        allowed = (early_quarter - later[2] + 1.5 * error) / abs(early_quarter) if early_quarter else math.inf
    return allowed < drop


def lengths(count: int) -> list[int]:
    """5, 10, 20, … up to a quarter of… the points that there are; always at least the first five."""
    found = [START]
    while 2 * found[-1] <= count:
        found.append(2 * found[-1])
    return found


def deviation(values: list[float]) -> float:
    """Robust standard deviation of the noise about a smooth course, from the differences of neighbours."""
    steps = [abs(later - earlier) for earlier, later in itertools.pairwise(values)]
    return median(steps) / 0.954 if steps else 0.0


def chance_level(course: Course, classes: int | None) -> int | None:
    """The number of classes whose ln the second half of the course sits on, flat; None when it does not."""
    for count in (classes,) if classes else (2,):
        chance = math.log(count) if count and count > 1 else 0.0
        half = course.blocks[len(course.blocks) // 2 :]
        if chance and half and abs(median(half) / chance - 1.0) < 0.005 and max(half) - min(half) < 0.02 * chance:
            return count
    return None


@dataclass
class Plateau(Watcher):
    """The loss fell, then lay flat for half of the run while the learning rate was still high."""

    calm: ClassVar[int] = 64
    known: Known
    course: Course = field(default_factory=Course)
    start: list[float] = field(default_factory=list)
    count: int = 0
    next_look: int = 0
    rate: float = 0.0
    peak: float = 0.0
    sight: Sight | None = None

    def train(self, record: Train) -> Sight | None:
        value = record.loss
        if not math.isfinite(value):
            return None
        self.count += 1
        self.rate = record.learning_rate
        if self.rate > self.peak:
            self.peak = self.rate
        if len(self.start) < START:
            self.start.append(value)
        self.course.add(value)
        if self.count >= max(self.next_look, self.known.settings["points"]):
            self.next_look = self.count + max(16, self.count // 16)
            self.sight = self.judge(record.step)
        return self.sight

    def judge(self, step: int) -> Sight | None:
        course, start = self.course, median(self.start)
        third, last = course.part(0.5, 0.75), course.part(0.75, 1.0)
        per_part = course.noise() * 1.25 / math.sqrt(max(1.0, len(course.blocks) / 4))
        flat = third - last < max(self.known.settings["drop"] * abs(start - last), 2.0 * per_part)
        learnt = start - last > 0.1 * abs(start)
        hidden = 2.0 * per_part > HIDDEN * abs(start - last)  # under such noise a slow fall would not show
        early = step < EARLY_SHARE * (self.known.plan.total_steps or 0)
        fitted = 0.0 <= last < FITTED * start
        if fitted or hidden or early or not (flat and learnt and self.rate >= 0.3 * self.peak):
            return None
        message = f"train loss has been flat at {last:.4g} for half of the run ({self.count} points)"
        return Sight(step // 2, step, 1.0, "info", message, {"now": last, "before": third, "start": start})

    def missing(self) -> str:
        return "" if self.count >= self.known.settings["points"] else f"too few points of the train loss ({self.count})"


RULES = (
    Rule(
        name="no_learning",
        severity="warning",
        meaning=(
            "Nothing is learnt: a learning rate far too low or too high, frozen or unconnected parameters, "
            "labels that do not belong to the inputs, or a loss without a gradient."
        ),
        advice=(
            "Stop. Try to overfit one batch of 32 samples: if that fails, the fault is in the model, the "
            "loss or the labels; if it "
            "works, raise the learning rate tenfold or check the data's order and scaling."
        ),
        watch=lambda known: [NoLearning(known)],
        settings={
            "points": Setting(50, "records before the rule says anything while the run goes on"),
            "drop": Setting(
                0.1, "share of the starting loss: when a fall by as much cannot be excluded, the rule waits"
            ),
            "share": Setting(0.1, "share of the planned steps before the rule says anything"),
        },
    ),
    Rule(
        name="plateau",
        severity="info",
        meaning="This learning rate has given what it gives; often the model or the data is the limit.",
        advice=(
            "Let the schedule lower the rate, or stop here; if the loss is still too high: a larger model "
            "or a higher peak rate."
        ),
        watch=lambda known: [Plateau(known)],
        settings={
            "points": Setting(64, "records before the rule says anything"),
            "drop": Setting(0.01, "share of what was learnt that half of the run must add to count as progress"),
        },
    ),
)
