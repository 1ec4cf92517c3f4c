"""What every rule file is made of: a `Rule` (name, meaning, advice, settings) and the watchers that it puts on the
records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..contract import Alert, Eval, Note, RulePlan, Train
from ._window import Window

Severity = Literal["info", "warning", "critical"]
GRAVITY: dict[str, int] = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Setting:
    """A threshold that a person can set as `<rule>.<setting>` in the plan."""

    value: float
    why: str
    """What it is and where the default comes from."""


@dataclass(frozen=True)
class Sight:
    """A watcher sees its fault at this record. The engine makes episodes of sights: one alert from the first to the
    last."""

    first_step: int
    """Where the fault began, as far as the record tells (the true step inside a log window)."""
    last_step: int
    size: float
    """How large, in the rule's own unit; an alert is told again once it has grown tenfold."""
    severity: Severity
    message: str
    seen: dict[str, float] = field(default_factory=dict)
    samples: tuple[int, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a watcher may know beforehand: the plan, and its rule's settings with the person's own values in place."""

    plan: RulePlan
    settings: dict[str, float]


class Watcher:
    """Watches one series for one rule. Its fields (a dataclass's) are its whole state, plain values and windows.

    `train`, `evaluation` and `note` get the records; each returns a Sight or None. Only the kind in `judges` counts
    towards the calm that ends an episode.
    """

    series: ClassVar[str] = "train/loss"
    judges: ClassVar[str] = "train"
    takes: ClassVar[tuple[str, ...]] = ("train",)
    """What the watcher wants to see: `train`, `eval`, `note`, and `alert` for the episodes that other rules open."""
    retracts: ClassVar[bool] = False
    """Whether an episode that ends was refuted by what came later (a claim about the run's course, not an event)."""
    calm: ClassVar[int] = 10
    """Judged records in a row without a Sight after which the episode is over."""

    def train(self, record: Train) -> Sight | None:
        return None

    def evaluation(self, record: Eval) -> Sight | None:
        return None

    def note(self, record: Note) -> Sight | None:
        return None

    def alerted(self, alert: Alert, series: str) -> Sight | None:
        """Another rule has opened an episode on `series`."""
        return None

    def finish(self) -> Sight | None:
        """The run is over: what can only be said now, because live it might still have passed."""
        return None

    def refuted(self) -> bool:
        """Whether the episode that just ended was refuted by its end: then it becomes info."""
        return self.retracts

    def missing(self) -> str:
        """Why it could not judge so far; empty once it could."""
        return ""


@dataclass(frozen=True)
class Rule:
    """One early warning, as the catalogue shows it and as the engine runs it."""

    name: str
    severity: Severity
    """Usual severity; a Sight carries its own."""
    meaning: str
    """What it usually means."""
    advice: str
    """What to do."""
    watch: Callable[[Known], list[Watcher]]
    settings: dict[str, Setting] = field(default_factory=dict)


def pack(watcher: Any) -> dict[str, Any]:
    """A watcher's (or its part's) fields as plain values, for the state that a resumed run continues from."""
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(watcher):
        value = getattr(watcher, item.name)
        if item.name == "known":
            continue
        if isinstance(value, Window):
            value = value.plain()
        elif dataclasses.is_dataclass(value):
            value = pack(value)
        elif isinstance(value, (list, tuple)):
            value = list(value)
        plain[item.name] = value
    return plain


def unpack(watcher: Any, plain: dict[str, Any]) -> None:
    """Puts packed fields back; fields that the state lacks (an older version wrote it) keep their fresh value."""
    for name, value in plain.items():
        now = getattr(watcher, name, None)
        if isinstance(now, Window):
            now.refill(value)
        elif isinstance(value, dict) and dataclasses.is_dataclass(now):
            unpack(now, value)
        elif isinstance(value, dict) and value.keys() == SIGHT_FIELDS:
            setattr(watcher, name, Sight(**{**value, "samples": tuple(value["samples"])}))
        elif hasattr(watcher, name):
            setattr(watcher, name, list(value) if isinstance(value, list) else value)


SIGHT_FIELDS = {item.name for item in dataclasses.fields(Sight)}
