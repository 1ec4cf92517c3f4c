"""The alerts of a run: the judge's and the supervisor's own, appended to `alerts.jsonl`, with the open ones at hand.

A defect in a rule must not end the supervisor: it is caught, logged, and told once as `rules_degraded`.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from . import codec
from .contract import Alert, Record, Spec
from .errors import FormatError
from .rundir import AttemptDir, RunDir

SHOWN = 5
"""Open alerts that a status shows."""
_WORST_FIRST = {"critical": 0, "warning": 1, "info": 2}


class AlertBook:
    """Feeds the judge and keeps what it and the supervisor say. `total` counts episodes over all attempts."""

    def __init__(self, path: Path, spec: Spec, say: Callable[[str], None], earlier: int = 0) -> None:
        self._path = path
        self._say = say
        self._judge: Any = None
        self._own: dict[str, Alert] = {}
        self._judged: dict[tuple[str, str, int], Alert] = {}
        self._unwritten: list[Alert] = []
        self._not_checked: dict[str, str] = {}
        self.total = earlier
        self._guarded(lambda: self._start_judge(spec))

    def see(self, record: Record, live: bool = True) -> list[Alert]:
        """Shows a record to the judge; every alert that opened, worsened or cleared with it.

        Records of earlier attempts (`live` false) build up the rules' memory; their alerts were written then.
        """
        changes: list[Alert] = self._guarded(lambda: self._judge.see(record)) or []
        for alert in changes:
            self._keep(alert, live)
        return changes

    def open(
        self,
        rule: str,
        severity: Literal["info", "warning", "critical"],
        step: int,
        message: str,
        *,
        meaning: str,
        advice: str,
        seen: dict[str, float] | None = None,
    ) -> bool:
        """Opens an alert of the supervisor itself; False when that rule has one open already."""
        if rule in self._own:
            return False
        alert = Alert(rule, severity, step, step, message, meaning, advice, seen or {}, time.time())
        self._own[rule] = alert
        self.total += 1
        self._append(alert)
        return True

    def clear(self, rule: str, step: int) -> bool:
        """Closes an alert of the supervisor itself; False when none is open."""
        alert = self._own.pop(rule, None)
        if alert is None:
            return False
        self._append(replace(alert, open=False, last_step=max(step, alert.last_step), time=time.time()))
        return True

    def shown(self) -> tuple[Alert, ...]:
        """Open alerts, the worst and newest first, at most SHOWN."""
        every = [*self._own.values(), *self._judged.values()]
        return tuple(sorted(every, key=lambda alert: (_WORST_FIRST[alert.severity], -alert.last_step))[:SHOWN])

    @property
    def not_checked(self) -> dict[str, str]:
        """Rule → why it could not judge."""
        found: dict[str, str] | None = self._guarded(lambda: dict(self._judge.not_checked()))
        return found if found is not None else self._not_checked

    def stalled(self, step: int, silent: float, limit: float, phase: str, busy: float, stacks: Path) -> bool:
        """The worker has been silent for `silent` seconds, in which it used `busy` seconds of CPU time."""
        return self.open(
            "stall",
            "critical",
            step,
            f"No record for {silent:.0f} s in phase {phase or 'start'!r} (normal here: up to {limit:.0f} s); "
            f"it used {busy:.0f} s of CPU time meanwhile.",
            meaning="The worker hangs (data loader, lock, device, network), or this phase is unusually long.",
            advice=f"Its stacks are in {stacks}. Nothing was stopped; stop the run if it does not move.",
            seen={"silent_seconds": silent, "limit_seconds": limit, "cpu_seconds": busy},
        )

    def logging(self, step: int, reason: str) -> bool:
        """A logger is not written (`reason`), or all are again (empty); whether that is news."""
        if not reason:
            return self.clear("logging_degraded", step)
        return self.open(
            "logging_degraded",
            "warning",
            step,
            f"A logger is not written any more: {reason}",
            meaning="Training goes on, and every number is in stream.jsonl of the attempt.",
            advice="Put right what the message names; the logger catches up by itself where it can.",
        )

    def chores(self, step: int) -> None:
        """Tries again to write what a full disk refused, and tells of a rule that broke."""
        waiting, self._unwritten = self._unwritten, []
        for alert in waiting:
            self._append(alert)
        broken = [rule for rule, why in self.not_checked.items() if why.startswith("the rule failed")]
        if broken:
            self._degraded(step, f"{', '.join(broken)} failed; the other rules go on")

    def _start_judge(self, spec: Spec) -> None:
        from .judge import Judge, plan_for

        self._judge = Judge(plan_for(spec))

    def _keep(self, alert: Alert, live: bool) -> None:
        key = (alert.rule, alert.series, alert.first_step)
        if alert.open:
            if live and key not in self._judged:
                self.total += 1
            self._judged[key] = alert
        else:
            self._judged.pop(key, None)
        if live:
            self._append(replace(alert, time=alert.time or time.time()))

    def _append(self, alert: Alert) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, codec.dumps(alert).encode("utf-8", "replace") + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._say(f"alerts.jsonl cannot be written: {error}")
            self._unwritten = [*self._unwritten[-99:], alert]

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """A judge that raised is not asked again: half a memory would judge wrongly."""
        if self._judge is None and self._not_checked:
            return None
        try:
            return act()
        except Exception as error:
            self._say(f"the rules failed:\n{traceback.format_exc()}")
            self._judge = None
            self._not_checked = {"*": f"the rules failed: {type(error).__name__}: {error}"}
            self._degraded(0, f"{type(error).__name__}: {error}")
            return None

    def _degraded(self, step: int, reason: str) -> None:
        self.open(
            "rules_degraded",
            "warning",
            step,
            f"Early warnings stopped working: {reason}",
            meaning="A defect in a rule, or a wrong setting of one. The training itself is not touched.",
            advice="Watch the curves yourself; supervisor.log of this attempt says more.",
        )


def earlier_episodes(run: RunDir, attempt: int) -> int:
    """Episodes in the alert files of the attempts before `attempt`; unreadable lines do not count."""
    return sum(len(_episodes(one)) for one in run.attempts() if one.number < attempt)


def _episodes(attempt: AttemptDir) -> set[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    try:
        with attempt.alerts.open("rb") as file:
            for text in file:
                try:
                    alert = codec.loads(Alert, text, "alerts.jsonl")
                except FormatError:
                    continue
                found.add((alert.rule, alert.series, alert.first_step))
    except OSError:
        pass
    return found
