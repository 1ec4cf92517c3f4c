"""`stationmaster diagnose`: any finished log, or a run folder of ours, through the same rules as a live run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, plugins, stream
from stationmaster_trainer.contract import Finished, Record, RulePlan, Spec
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.judge import Judge, plan_for
from stationmaster_trainer.readers._reading import Reading
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.verdict import Account, Verdict, verdict


def diagnose(path: Path, mapping: dict[str, str] | None = None) -> dict[str, Any]:
    """What the log at `path` says: verdict, alerts, what could not be checked, the best step. Plain JSON values.

    `mapping` corrects the columns, role → column. Raises FormatError for what cannot be read, ConfigError for a wrong
    mapping.
    """
    plan = RulePlan()
    if path.is_dir():
        reading, plan = _run(RunDir(path))
    else:
        reading = _reader(path)(path, mapping)
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


def _run(run: RunDir) -> tuple[Reading, RulePlan]:
    if not run.attempts():
        raise FormatError(f"{run.path} is a folder without attempts.", "Give a log file or a folder below runs/.")
    plan = plan_for(codec.loads(Spec, run.spec.read_bytes(), str(run.spec))) if run.spec.exists() else RulePlan()
    reading = Reading("stationmaster run", {}, iter(()))

    def counted() -> Iterator[Record]:
        damage: list[stream.Damage] = []
        for _, record in stream.merged(run, damage):
            reading.rows += 1
            yield record
        reading.skipped = len(damage)

    reading.records = counted()
    return reading, plan


def _reader(path: Path) -> Any:
    if not path.exists():
        raise FormatError(f"{path} does not exist.")
    for name in plugins.known("readers"):
        reader = plugins.find("readers", name)
        if reader.accepts(path):
            return reader.read
    raise FormatError(
        f"{path} is no log that is known here.", f"Known: {', '.join(plugins.known('readers'))}, or a run folder."
    )


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
        "source": f"{reading.source}: {path}",
        "columns": reading.columns,
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
