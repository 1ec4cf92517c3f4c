"""What evaluations on test sets came to: `evaluations/<n>.json` read back, in words and as facts.

Texts in it come from the user's data and code: cleaned, shortened, a traceback fenced.
"""

from __future__ import annotations

from typing import Any

from stationmaster_trainer import codec, errors, rundir
from stationmaster_trainer.errors import FormatError, StationmasterError
from stationmaster_trainer.facts import EvaluationFacts
from stationmaster_trainer.rundir import RunDir

from .answer import clean, fence, plain
from .words import count, loss, many, number

FIRST = ("accuracy", "mae", "rmse", "perplexity")
"""Metrics told first, in this order."""


def evaluations(run: RunDir) -> list[EvaluationFacts]:
    """Every evaluation that gave figures, oldest first; a damaged file is left out."""
    names = sorted(path.name for path in run.evaluations.glob("*.json") if path.stem.isdigit())
    found = (read(run, int(name.partition(".")[0])) for name in names)
    return [facts for facts in found if facts is not None and not facts.error]


def read(run: RunDir, number: int) -> EvaluationFacts | None:
    """One evaluation; None when it is not there or cannot be read."""
    path = run.evaluations / f"{number:03d}.json"
    try:
        return codec.loads(EvaluationFacts, rundir.read(path), path.name)
    except (OSError, FormatError):
        return None


def raise_error(facts: EvaluationFacts) -> None:
    """Raises what the scoring raised, as the class it names."""
    if not facts.error:
        return
    named = getattr(errors, facts.error, None)
    kind = named if isinstance(named, type) and issubclass(named, StationmasterError) else StationmasterError
    message = clean(facts.message, 600)
    if facts.where and facts.where not in message:
        message = f"{message} ({clean(facts.where, 200)})"
    way_out = clean(facts.way_out, 600)
    if facts.traceback:
        way_out = f"{way_out}\n{fence(facts.traceback, 'traceback', 1500)}".strip()
    raise kind(message, way_out)


def text(name: str, facts: EvaluationFacts, new: bool) -> str:
    """The tool's answer."""
    request = facts.request
    lines = [f"{name}, checkpoint-{request.step} on the test set {plain(request.test_data, 80)}: {_samples(facts)}."]
    lines += [f"{figure}" for figure in figures(facts)]
    lines += [_beside_validation(facts), _overlap(facts), _looked(facts)]
    lines += [
        f"{finding.severity}: {plain(finding.message, 200)} {plain(finding.advice, 120)}" for finding in facts.findings
    ]
    if not new:
        lines.append(f"This model was scored on this set before; these are the figures of evaluation {request.number}.")
    lines.append(f"Kept in runs/{name}/evaluations/{request.number:03d}.json.")
    return "\n".join(line.rstrip() for line in lines if line)


def figures(facts: EvaluationFacts) -> list[str]:
    """Each figure with its interval and how that was made."""
    names = [name for name in FIRST if name in facts.metrics]
    names += [name for name in facts.metrics if name not in names]
    told = [_figure(facts, plain(name, 40), facts.metrics[name], name) for name in names[:8]]
    return [*told, _figure(facts, "loss", facts.loss if facts.loss is not None else float("nan"), "loss")]


def lines(run: RunDir) -> list[str]:
    """For the summary: the newest evaluation of each test set, in one line."""
    newest = {facts.request.test_data: facts for facts in evaluations(run)}
    return [f"Test: {line(facts)}" for facts in newest.values()]


def as_facts(facts: EvaluationFacts) -> dict[str, Any]:
    """For structured content."""
    request = facts.request
    return {
        "evaluation": request.number,
        "test_data": request.test_data,
        "checkpoint": f"checkpoint-{request.step}",
        "samples": facts.samples,
        "loss": facts.loss,
        "metrics": facts.metrics,
        "intervals": facts.intervals,
        "overlap": facts.overlap,
        "looks": len(request.looks) + 1,
        "findings": facts.findings,
    }


def line(facts: EvaluationFacts) -> str:
    """The main figure with its interval, the set, the checkpoint, and what speaks against it."""
    request = facts.request
    main = main_figure(facts)
    value = facts.metrics.get(main, facts.loss)
    told = f"{main} {number(value, 4)}"
    if main in facts.intervals:
        found = facts.intervals[main]
        told += f" (95 %: {number(found.low, 4)} to {number(found.high, 4)})"
    looks = len(request.looks)
    seen = f", look {looks + 1} at this set" if looks else ""
    warned = "; overlaps with the training data" if any(facts.overlap.values()) else ""
    return f"{told} on {plain(request.test_data, 80)}, {_samples(facts)}, checkpoint-{request.step}{seen}{warned}"


def _figure(facts: EvaluationFacts, shown: str, value: float, name: str) -> str:
    text = loss(value) if name == "loss" else number(value, 4)
    interval = facts.intervals.get(name)
    if interval is None:
        return f"{shown} {text} (no interval known)"
    return (
        f"{shown} {text} (95 %: {number(interval.low, 4)} to {number(interval.high, 4)}; {plain(interval.method, 90)})"
    )


def _beside_validation(facts: EvaluationFacts) -> str:
    """The same figure at validation, and whether the test contradicts it."""
    name, validation = main_figure(facts), facts.request.validation
    if not validation:
        return "Validation was waived: this checkpoint is the one with the smallest train loss."
    before = validation.get(name)
    if before is None:
        return ""
    told = f"Validation gave {plain(name, 40)} {number(before, 4)} at this checkpoint"
    found = facts.intervals.get(name)
    if found is None or found.low <= before <= found.high:
        return f"{told}."
    return (
        f"{told}, outside this interval: the test set differs from the validation data, or these were looked at often."
    )


def main_figure(facts: EvaluationFacts) -> str:
    """The metric that says most, or `loss`."""
    return next((name for name in FIRST if name in facts.metrics), "loss")


def _samples(facts: EvaluationFacts) -> str:
    dropped = f", {many(facts.dropped, 'row')} left out for missing cells" if facts.dropped else ""
    return f"{many(facts.samples, 'sample')}{dropped}"


def _overlap(facts: EvaluationFacts) -> str:
    if not facts.overlap:
        return "Overlap with the training data was not compared."
    if any(facts.overlap.values()):
        return ""  # a finding says it
    return f"None of the test samples stands in the {' or the '.join(facts.overlap)} part."


def _looked(facts: EvaluationFacts) -> str:
    looks = facts.request.looks
    if not facts.request.fingerprint:
        return "The data come from build_data: whether they were looked at before is not known."
    if not looks:
        return "First look at this test set in this project."
    earlier = ", ".join(plain(look, 80) for look in looks[-3:])
    again = f"Look {count(len(looks) + 1)} at this test set in this project (before: {earlier})."
    return f"{again} Each choice made after a look makes the result better than it will be on new data."
