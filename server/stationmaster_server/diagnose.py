"""`stationmaster diagnose`: any finished log, or a run folder of ours, through the same rules as a live run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.contract import Finished, RulePlan, Spec
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
    reading = open_log(path, mapping, run)
    plan = _plan(reading)
    judge, account = Judge(plan), Account()
    outcome = ""
    for record in reading.records:
        judge.see(record)
        account.see(record)
        outcome = record.reason if isinstance(record, Finished) else outcome
    if not outcome:
        judge.finish()
    if not (account.points or account.evals):
        raise FormatError(
            f"{path} holds no train or validation loss.", "Name the columns: a mapping such as loss=my_column."
        )
    return _answer(path, reading, judge, account, verdict(account, judge.alerts(), plan, outcome))


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
