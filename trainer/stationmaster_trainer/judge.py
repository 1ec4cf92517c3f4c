"""The engine of the early warnings: every record goes through every rule; sights become episodes, episodes become
alerts.

The same code judges a run that is going on and a finished log. Memory and time per record do not grow with the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import codec, plugins
from .contract import Alert, Eval, Finished, Note, Record, RulePlan, Spec, Train
from .errors import ConfigError
from .rules._rule import GRAVITY, Known, Rule, Sight, Watcher, pack, unpack

KEPT = 200
"""Closed episodes kept in memory; older ones are only counted (and stand in alerts.jsonl)."""
GROWTH = 10.0
"""An open alert is told again when it has grown by this factor."""


@dataclass
class Seat:
    """One watcher of one rule, with its episode while it has one."""

    rule: Rule
    watcher: Watcher
    alert: Alert | None = None
    told: float = 0.0
    """Size at the last telling."""
    quiet: int = 0
    """Judged records in a row without a sight."""
    broken: str = ""
    """A rule that failed is left out from then on; training must not suffer from a defect here."""

    @property
    def key(self) -> str:
        return f"{self.rule.name} {self.watcher.series}"


def all_rules() -> list[Rule]:
    """Every rule of every file in `rules/`, in a fixed order."""
    return [rule for name in plugins.known("rules") for rule in plugins.find("rules", name).RULES]


def plan_for(spec: Spec) -> RulePlan:
    """What the rules may know of a run from its confirmed configuration; thresholds stand in `extra.rules`."""
    config, facts = spec.config, spec.facts
    settings = config.extra.get("rules")
    if config.framework == "script":  # its plan is its own: the rules learn from what they see
        return RulePlan(settings=dict(settings) if isinstance(settings, dict) else {})
    return RulePlan(
        total_steps=config.total_steps,
        warmup_steps=config.warmup_steps,
        lr_schedule=config.lr_schedule,
        peak_learning_rate=config.learning_rate,
        min_lr_ratio=config.min_lr_ratio,
        steps_per_epoch=facts.steps_per_epoch,
        classes=len(facts.classes) or None,
        has_validation=facts.val_samples > 0,
        gradient_clip=config.gradient_clip,
        samples_per_step=config.batch_size * config.gradient_accumulation,
        settings=dict(settings) if isinstance(settings, dict) else {},
    )


def resolve(rules: Iterable[Rule], settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Rule → setting → value: the defaults with the person's own in place. Raises ConfigError for an unknown or
    impossible one."""
    resolved = {rule.name: {name: setting.value for name, setting in rule.settings.items()} for rule in rules}
    for key, value in settings.items():
        rule, _, name = key.partition(".")
        if name not in resolved.get(rule, {}):
            known = ", ".join(f"{rule}.{name}" for rule, names in resolved.items() for name in names)
            raise ConfigError(f"unknown rule setting {key!r}.", f"Known: {known}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1e9:
            raise ConfigError(f"rule setting {key} is {value!r}.", "It must be a number above 0.")
        resolved[rule][name] = float(value)
    return resolved


class Judge:
    """Sees every record in order and says what changed."""

    def __init__(self, plan: RulePlan | None = None, state: dict[str, Any] | None = None) -> None:
        plan = plan or RulePlan()
        rules = all_rules()
        settings = resolve(rules, plan.settings)
        self.seats = [Seat(rule, watcher) for rule in rules for watcher in rule.watch(Known(plan, settings[rule.name]))]
        self.closed: list[Alert] = []
        self.counts: dict[str, int] = {}
        """Episodes per rule, open ones included."""
        self._train = [(seat, seat.watcher.train) for seat in self.seats if "train" in seat.watcher.takes]
        self._eval = [(seat, seat.watcher.evaluation) for seat in self.seats if "eval" in seat.watcher.takes]
        self._note = [(seat, seat.watcher.note) for seat in self.seats if "note" in seat.watcher.takes]
        if state:
            self._restore(state)

    def see(self, record: Record) -> list[Alert]:
        """Takes one record; returns every alert that opened, worsened or cleared with it."""
        changes: list[Alert] = []
        if isinstance(record, Train):
            for seat, look in self._train:
                try:
                    sight = look(record)
                except Exception as error:
                    self._broke(seat, error)
                    continue
                if sight is not None:
                    self._sighted(seat, sight, record.time, changes)
                elif seat.alert is not None and seat.watcher.judges == "train":
                    self._calm(seat, record, changes)
        elif isinstance(record, (Eval, Note)):
            self._rare(record, changes)
        elif isinstance(record, Finished):
            changes.extend(self.finish(record.time))
        return changes

    def _rare(self, record: Eval | Note, changes: list[Alert]) -> None:
        looks: Any = self._eval if isinstance(record, Eval) else self._note
        for seat, look in looks:
            try:
                sight = look(record)
            except Exception as error:
                self._broke(seat, error)
                continue
            if sight is not None:
                self._sighted(seat, sight, record.time, changes)
            elif seat.alert is not None and seat.watcher.judges == record.kind:
                self._calm(seat, record, changes)

    def finish(self, time: float = 0.0) -> list[Alert]:
        """The run is over: adds what can only be said at the end. A `Finished` record does the same."""
        changes: list[Alert] = []
        for seat in self.seats:
            try:
                sight = seat.watcher.finish()
            except Exception as error:
                self._broke(seat, error)
                continue
            if sight is not None:
                self._sighted(seat, sight, time, changes)
        return changes

    def open_alerts(self) -> list[Alert]:
        """Episodes that go on, the worst first."""
        found = [seat.alert for seat in self.seats if seat.alert is not None]
        return sorted(found, key=lambda alert: (-GRAVITY[alert.severity], alert.first_step))

    def alerts(self) -> list[Alert]:
        """All episodes, open ones included, in the order of their first step; of the closed ones the newest 200."""
        return sorted([*self.closed, *self.open_alerts()], key=lambda alert: alert.first_step)

    def total(self) -> int:
        """Episodes so far, also those that `alerts` no longer holds."""
        return sum(self.counts.values())

    def not_checked(self) -> dict[str, str]:
        """Rule → why none of its series could be judged so far."""
        reasons: dict[str, list[str]] = {}
        for seat in self.seats:
            reasons.setdefault(seat.rule.name, []).append(seat.broken or seat.watcher.missing())
        return {rule: found[0] for rule, found in reasons.items() if all(found)}

    def state(self) -> dict[str, Any]:
        """Everything that a later `Judge(plan, state)` needs to continue as if it had seen the same records; plain
        JSON values."""
        seats = {
            seat.key: {
                "fields": pack(seat.watcher),
                "alert": codec.to_plain(seat.alert),
                "told": seat.told,
                "quiet": seat.quiet,
                "broken": seat.broken,
            }
            for seat in self.seats
        }
        return {"seats": seats, "closed": codec.to_plain(self.closed), "counts": dict(self.counts)}

    def _restore(self, state: dict[str, Any]) -> None:
        self.closed = [codec.from_plain(Alert, plain, "state of the judge") for plain in state["closed"]]
        self.counts = dict(state["counts"])
        for seat in self.seats:
            kept = state["seats"].get(seat.key)
            if kept is None:  # a rule that is newer than the state
                continue
            unpack(seat.watcher, kept["fields"])
            seat.alert = codec.from_plain(Alert, kept["alert"], "state of the judge") if kept["alert"] else None
            seat.told, seat.quiet, seat.broken = kept["told"], kept["quiet"], kept["broken"]

    def _sighted(self, seat: Seat, sight: Sight, time: float, changes: list[Alert]) -> None:
        seat.quiet = 0
        if seat.alert is None:
            self.counts[seat.rule.name] = self.counts.get(seat.rule.name, 0) + 1
            seat.alert, seat.told = _opened(seat, sight, time), sight.size
            changes.append(seat.alert)
            self._pass_on(seat, seat.alert, time, changes)
            return
        worse = GRAVITY[sight.severity] > GRAVITY[seat.alert.severity]
        larger = sight.size > seat.told
        if worse or larger:
            told_again = worse or sight.size >= GROWTH * seat.told
            seat.alert = dataclasses.replace(
                seat.alert,
                severity=sight.severity if worse else seat.alert.severity,
                last_step=max(seat.alert.last_step, sight.last_step),
                message=sight.message,
                seen=sight.seen,
                samples=sight.samples or seat.alert.samples,
                time=time if told_again else seat.alert.time,
            )
            if told_again:
                seat.told = sight.size
                changes.append(seat.alert)
        elif sight.last_step > seat.alert.last_step:
            seat.alert = dataclasses.replace(seat.alert, last_step=sight.last_step)

    def _pass_on(self, seat: Seat, alert: Alert, time: float, changes: list[Alert]) -> None:
        """Tells the watchers of patterns that an episode has begun."""
        for other in self.seats:
            if other is not seat and not other.broken and "alert" in other.watcher.takes:
                sight = other.watcher.alerted(alert, seat.watcher.series)
                if sight is not None:
                    self._sighted(other, sight, time, changes)

    def _calm(self, seat: Seat, record: Record, changes: list[Alert]) -> None:
        seat.quiet += 1
        if seat.alert is None or seat.quiet < seat.watcher.calm:
            return
        severity = "info" if seat.watcher.refuted() else seat.alert.severity
        over = dataclasses.replace(seat.alert, severity=severity, open=False, time=record.time)
        seat.alert, seat.quiet, seat.told = None, 0, 0.0
        self.closed = [*self.closed[-(KEPT - 1) :], over]
        changes.append(over)

    def _broke(self, seat: Seat, error: Exception) -> None:
        seat.broken = f"the rule failed: {type(error).__name__}: {error}"[:200]
        for looks in (self._train, self._eval, self._note):
            kept: Any = [pair for pair in looks if pair[0] is not seat]
            looks[:] = kept


def _opened(seat: Seat, sight: Sight, time: float) -> Alert:
    return Alert(
        rule=seat.rule.name,
        severity=sight.severity,
        first_step=sight.first_step,
        last_step=sight.last_step,
        message=sight.message,
        meaning=seat.rule.meaning,
        advice=seat.rule.advice,
        seen=sight.seen,
        time=time,
        samples=sight.samples,
        series=seat.watcher.series,
    )
