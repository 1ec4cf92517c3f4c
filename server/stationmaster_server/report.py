"""The summary of a run in words: the checklist's lines in its order with true numbers, then what a person must know.

`page.py` writes the longer version beside the run. Text that the user's code produced stands last and fenced.
"""

from __future__ import annotations

import json
import math
from typing import Any

from stationmaster_trainer.contract import Alert
from stationmaster_trainer.states import DERIVED, FINAL
from stationmaster_trainer.verdict import Verdict

from . import decisions, deeds, progress, testreport
from .answer import plain
from .dossier import Dossier
from .words import count, hours_minutes, loss, many, number

RULE = "=" * 16
TROUBLE = frozenset({"diverged", "unstable", "not_learning", "overfitting"})
"""Verdicts that stand even for a run that broke off."""


def summary(dossier: Dossier, where: str) -> str:
    """The tool's text; `where` says where the longer version is."""
    found = dossier.verdict()
    parts = [
        *figures(dossier),
        *logs(dossier),
        *model(dossier),
        "",
        *cause(dossier),
        *metrics(dossier),
        *testreport.lines(dossier.run),
    ]
    parts += [*decided(dossier), *notes(dossier, 2), *alerts(dossier), *actions(dossier)]
    parts += [*unchecked(dossier), *recommendation(dossier, found), *problems(dossier, 2), where]
    return "\n".join([*parts, *progress.foreign(dossier.status), *progress.evidence(dossier.view)])


def facts(dossier: Dossier) -> dict[str, Any]:
    """The structured content of `summarize`."""
    found, tally, best = dossier.verdict(), dossier.tally, dossier.best_checkpoint()[0]
    return {
        "run": dossier.run.name,
        "state": dossier.state,
        "cause": dossier.status.cause,
        "step": dossier.step,
        "total_steps": dossier.total_steps,
        "final_train_loss": tally.last_train.loss if tally.last_train else None,
        "best_validation_loss": tally.best_eval.loss if tally.best_eval else None,
        "best_step": tally.best_eval.step if tally.best_eval else None,
        "metrics": tally.best_eval.metrics if tally.best_eval else {},
        "tests": [testreport.as_facts(facts) for facts in testreport.evaluations(dossier.run)[-5:]],
        "total_seconds": dossier.seconds,
        "samples_per_second": tally.throughput,
        "checkpoint_dir": dossier.relative(dossier.checkpoint_dir),
        "best_checkpoint": f"checkpoint-{best}" if best is not None else None,
        "model_dir": dossier.relative(folder) if (folder := dossier.best_model()[0]) is not None else None,
        "logs": dossier.logs(),
        "actions": [
            {"action": one.action, "rule": one.rule, "step": one.step, "first_step": one.first_step}
            for one in dossier.status.actions
        ],
        "alerts": [
            {"rule": one.rule, "severity": one.severity, "first_step": one.first_step, "last_step": one.last_step}
            for one in dossier.standing_alerts()[:20]
        ],
        "verdict": found.name,
        "evidence": found.evidence,
        "recommendation": found.recommendation,
        "changes": [change.values for change in found.changes],
        "as_good_checkpoints": [f"checkpoint-{step}" for step in as_good(dossier, found)],
    }


def heading(dossier: Dossier) -> str:
    """The first line: `Training Complete` only for a run that did what was confirmed."""
    status, total = dossier.status, dossier.total_steps
    at = f"step {count(dossier.step)}" + (f" of {count(total)}" if total else "")
    why = status.cause or "cause unknown"
    if dossier.state == "succeeded":
        return "Training Complete"
    if dossier.state in ("failed", "stopped"):
        return f"Training {dossier.state.capitalize()}: {why} at {at}"
    if dossier.state == DERIVED:
        return f"Training Lost at {at}"
    if not dossier.step:
        phase = f", phase {status.phase}" if status.phase else ""
        return f"Training still {dossier.state}{phase}: no step yet"
    return f"Training still {dossier.state} at {at}: figures so far"


def figures(dossier: Dossier) -> list[str]:
    """The checklist's Summary Report, label for label."""
    tally, total = dossier.tally, dossier.total_steps
    steps = count(dossier.step)
    if total and dossier.step != total:
        steps += f" of {count(total)} planned"
    best, why = dossier.best_checkpoint()
    folder = "./" + dossier.relative(dossier.checkpoint_dir).rstrip("/") + "/"
    return [
        heading(dossier),
        RULE,
        f"Total steps: {steps}",
        f"Final train loss: {_final_loss(dossier)}",
        f"Best validation loss: {_best_loss(dossier)}",
        f"Total time: {hours_minutes(dossier.seconds)}",
        f"Throughput: {number(tally.throughput) + ' samples/sec' if tally.throughput else 'none measured'}",
        "",
        f"Checkpoints saved to: {folder if dossier.checkpoints else f'none in {folder}'}",
        f"Best checkpoint: {f'checkpoint-{best}' if best is not None else why}",
        f"Logs: {', '.join(dossier.logs()) or 'none was written'}",
    ]


def logs(dossier: Dossier) -> list[str]:
    """What a person must know of a log beside its place."""
    return [f"Logs, {note}" for note in dossier.log_notes()]


def model(dossier: Dossier) -> list[str]:
    """Where the best model is in the form that its users load, or why it could not be written."""
    folder, step, problem = dossier.best_model()
    if folder is not None:
        return [f"Best model: ./{dossier.relative(folder)}/ (step {count(step)}; its README.md says how to load it)"]
    return [f"Best model: not written for its users: {plain(problem, 160)}"] if problem else []


def _final_loss(dossier: Dossier) -> str:
    last = dossier.tally.last_train
    if last is None:
        return "none, no step was finished"
    finite = next((point for point in reversed(dossier.tally.train.points()) if math.isfinite(point[1])), None)
    if math.isfinite(last.loss) or finite is None:
        return loss(last.loss)
    return f"{loss(last.loss)} (last finite about step {count(finite[0])}: {loss(finite[1])})"


def _best_loss(dossier: Dossier) -> str:
    best, newest = dossier.tally.best_eval, dossier.tally.last_eval
    if best is not None:
        return f"{loss(best.loss)} (step {count(best.step)})"
    if dossier.waived:
        return "none, validation was waived"
    return f"none, every validation gave {loss(newest.loss)}" if newest else "none, it was never validated"


def metrics(dossier: Dossier) -> list[str]:
    """Further metrics of the best validation."""
    best = dossier.tally.best_eval
    if best is None or not best.metrics:
        return []
    told = ", ".join(f"{plain(name, 40)} {number(value, 4)}" for name, value in list(best.metrics.items())[:4])
    return [f"Metrics of the best validation: {told}"]


def cause(dossier: Dossier) -> list[str]:
    """Why the run ended as it did, when it did not complete; evidence in our own words only."""
    if dossier.status.cause in (None, *progress.DONE[:1]):
        return []
    told = [f"Cause: {line}" for line in progress.end(dossier.status)]
    best, spec = dossier.tally.best_eval, dossier.spec
    if dossier.status.cause == "early_stopping" and best is not None and spec is not None:
        patience = spec.config.early_stopping_patience or 0
        told.append(
            f"Patience: {many(patience, 'validation')} after step {count(best.step)} gave no lower loss than its "
            f"{loss(best.loss)} (early_stopping_patience {patience})."
        )
    return told


def decided(dossier: Dossier) -> list[str]:
    """The validation decision with its evidence, the smoke test, and who approved the start."""
    how = decisions.validation(dossier.gates)
    if not how and dossier.spec is not None:
        facts = dossier.spec.facts
        about = "about " if facts.about else ""
        counts = f"{about}{count(facts.train_samples)} train and {count(facts.val_samples)} validation samples"
        how = "waived" if dossier.waived else f"{plain(dossier.spec.config.val_data, 80)}, {counts}"
    yes = decisions.approval(dossier.gates)
    tried = decisions.smoke(dossier.gates)
    told = {"Validation": how, "Smoke test before the start": tried, "Approved": yes}
    return [f"{name}: {words}" for name, words in told.items() if words]


def notes(dossier: Dossier, most: int) -> list[str]:
    """What was done to the data, in the worker's own words."""
    told = [plain(note.message, 110) for note in dossier.tally.notes[:most]]
    left = len(dossier.tally.notes) - len(told)
    more = f" (and {many(left, 'more note')} in the report)" if left else ""
    return [f"Data: {'; '.join(told)}{more}"] if told else []


def alerts(dossier: Dossier) -> list[str]:
    """The episodes of the steps that stand, the worst first."""
    standing = dossier.standing_alerts()
    if not standing:
        return ["Alerts: none"]
    told = "; ".join(_alert(alert) for alert in standing[:4])
    more = f"; and {count(len(standing) - 4)} more" if len(standing) > 4 else ""
    return [f"Alerts: {count(len(standing))}: {told}{more}"]


def _alert(alert: Alert) -> str:
    still = ", open at the end" if alert.open else ""
    batch = f", {rows}" if (rows := deeds.rows(alert)) else ""
    return f"{alert.severity} {plain(alert.rule, 40)} at step {progress.span(alert)}{still}{batch}"


def actions(dossier: Dossier) -> list[str]:
    """What rules did, as far as the confirmed plan allowed it."""
    told = [f"Action: {line}" for line in deeds.lines(dossier.status.actions)]
    allowed = deeds.plan(dossier.spec) if dossier.spec is not None else ""
    return told or ([f"Actions: none was needed; the plan allows {allowed}"] if allowed else [])


def unchecked(dossier: Dossier) -> list[str]:
    """Rules that could not judge, with the reason."""
    silent = dossier.status.not_checked
    if not silent:
        return []
    told = "; ".join(f"{rule} ({plain(why, 60)})" for rule, why in list(silent.items())[:3])
    return [f"Not checked: {told}{f'; and {len(silent) - 3} more' if len(silent) > 3 else ''}"]


def recommendation(dossier: Dossier, found: Verdict, whole: bool = False) -> list[str]:
    """The verdict's sentence word for word with its evidence; for a run that broke off, first the way to go on.

    `whole`: every piece of evidence and the reason of every change, uncut.
    """
    parts = []
    if dossier.state in ("failed", DERIVED):
        parts.append(f"Next: {_way_on(dossier)}")
        if found.name not in TROUBLE:
            return parts
    so_far = "" if dossier.state in FINAL else " (so far)"
    parts.append(f"Recommendation{so_far}: {found.recommendation}")
    if equals := as_good(dossier, found):
        parts.append(f"Within the noise of the best validation: {', '.join(f'checkpoint-{one}' for one in equals)}")
    if whole:
        parts += [f"Evidence: {one}" for one in found.evidence]
        return parts + [f"Change: {json.dumps(change.values)}, because {change.reason}" for change in found.changes]
    if found.evidence:
        parts.append("Evidence: " + "; ".join(plain(one, 110).rstrip(".") for one in found.evidence[:2]))
    if found.changes:
        values = "; ".join(json.dumps(change.values) for change in found.changes)
        parts.append(f"Changes ready for propose_config: {values}")
    return parts


def as_good(dossier: Dossier, found: Verdict) -> list[int]:
    """Steps of the checkpoints on the disk, beside the best one, whose validation differs from it by noise alone."""
    best = dossier.best_checkpoint()[0]
    return [step for step in found.near_best if step in dossier.checkpoints and step != best]


def _way_on(dossier: Dossier) -> str:
    newest = max(dossier.checkpoints, default=None)
    if newest is None:
        return "there is no checkpoint to resume from; once the cause is mended, start again with propose_config."
    return f"once the cause is mended, resume_run continues from checkpoint-{newest}."


def problems(dossier: Dossier, most: int) -> list[str]:
    """Files that could not be read."""
    told = [plain(problem, 160) for problem in dossier.problems[:most]]
    left = len(dossier.problems) - len(told)
    return [f"Could not be read: {one}" for one in told] + ([f"and {left} more, see the report"] if left else [])
