"""`stationmaster diagnose`: any log, or a run folder of ours, through the same rules as a live run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.contract import Eval, Finished, Record, RulePlan, Spec, Train
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.judge import Judge, plan_for
from stationmaster_trainer.readers._folder import open_log
from stationmaster_trainer.readers._reading import Reading
from stationmaster_trainer.verdict import Account, Verdict, verdict


def diagnose(path: Path, mapping: dict[str, str] | None = None, run: str | None = None) -> dict[str, Any]:
    """What the log at `path` says: verdict, alerts, what could not be checked, the best step. Plain JSON values.

    `path` is a log file, the folder of a run, or a folder of several, of which `run` names one (else the newest).
    `mapping` corrects the columns, role → column. Raises FormatError for what cannot be read, ConfigError for a wrong
    mapping.
    """
    found = Diagnosis(path, open_log(path, mapping, run))
    for record in found.reading.records:
        found.see(record)
    return found.answer()


class Diagnosis:
    """The judgement of a log that is read bit by bit; `answer` may be asked at any time."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading, self.plan = path, reading, _plan(reading)
        self.judge, self.account, self.outcome = Judge(self.plan), Account(), ""
        self.newest: Train | None = None
        self.validation: Eval | None = None
        self.average: float | None = None
        """Moving average of the finite losses, with a half-life of 50 steps."""

    def see(self, record: Record) -> None:
        """Takes one record more."""
        self.judge.see(record)
        self.account.see(record)
        if isinstance(record, Train):
            self._average(record)
            self.newest = record
        elif isinstance(record, Eval):
            self.validation = record
        elif isinstance(record, Finished):
            self.outcome = record.reason

    def _average(self, record: Train) -> None:
        if not math.isfinite(record.loss):
            return
        steps = max(1, record.step - (self.newest.step if self.newest else 0))
        kept = 0.5 ** (steps / 50)
        self.average = record.loss if self.average is None else kept * self.average + (1 - kept) * record.loss

    def answer(self) -> dict[str, Any]:
        """What the records so far say. Raises FormatError when they hold no loss."""
        if not (self.account.points or self.account.evals):
            raise FormatError(
                f"{self.path} holds no train or validation loss.",
                "Name the columns: a mapping such as loss=my_column.",
            )
        judge = self.judge
        if not self.outcome:  # what can only be said at the end, without an end for the judge itself
            judge = Judge(self.plan, self.judge.state())
            judge.finish()
        found = verdict(self.account, judge.alerts(), self.plan, self.outcome)
        return _answer(self.path, self.reading, judge, self.account, found)


def _plan(reading: Reading) -> RulePlan:
    """What the rules may know beforehand: the confirmed configuration of a run of ours, else what the log says."""
    if reading.spec is not None:
        return plan_for(codec.loads(Spec, reading.spec.read_bytes(), str(reading.spec)))
    return RulePlan(total_steps=reading.total_steps)


def _answer(path: Path, reading: Reading, judge: Judge, account: Account, found: Verdict) -> dict[str, Any]:
    alerts = [
        {
            "rule": alert.rule,
            "severity": alert.severity,
            "first_step": alert.first_step,
            "last_step": alert.last_step,
            "message": alert.message,
            "meaning": alert.meaning,
            "advice": alert.advice,
            "open": alert.open,
        }
        for alert in judge.alerts()
    ]
    answer = {
        "source": f"{reading.source}: {reading.path or path}",
        "columns": reading.columns,
        "ignored": reading.ignored,
        "rows": reading.rows,
        "skipped": reading.skipped,
        "notes": reading.notes,
        "verdict": found.name,
        "evidence": found.evidence,
        "recommendation": found.recommendation,
        "changes": found.changes,
        "alerts": alerts,
        "alerts_total": judge.total(),
        "not_checked": [{"rule": rule, "why": why} for rule, why in judge.not_checked().items()],
        "best": {
            "step": found.best_step,
            "value": found.best_value,
            "metric": found.best_metric,
            "near": found.near_best,
        },
    }
    plain: dict[str, Any] = codec.to_plain(answer)
    return plain
