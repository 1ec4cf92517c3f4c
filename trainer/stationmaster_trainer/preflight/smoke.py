"""A smoke test: about twenty real steps of a configuration, evaluated, saved, reloaded and resumed, and what was odd.

The first process trains, saves and goes two steps on; a second one resumes and must do the same two steps. Nothing of
it is kept. Not covered: what shows itself only later than that.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from .. import manifest
from ..contract import Checkpoint, Eval, Started, Train
from ..facts import Finding, Request, SmokeFacts
from . import batchsize, symptoms
from .stage import Part, Stage, opened, said

STEPS = 20
AGAIN = 2
"""Of them behind the checkpoint."""
WARM = 3
"""First steps that do not count for the time of one: compilation, caches, the probe of the first step."""
STEP_SECONDS = 240.0
"""For all steps; slower ones are cut short."""
AFTERWARDS = ("longest batch", "one small batch")
"""Phases behind the steps: a failure there takes nothing from what was seen before."""
R = TypeVar("R")


@dataclass(frozen=True)
class Schedule:
    """At which steps it saves and ends."""

    save_at: int
    last: int

    @classmethod
    def of(cls, total_steps: int) -> Schedule:
        """At most twenty steps, the checkpoint two before the end where there are as many."""
        last = min(STEPS, total_steps)
        return cls(max(1, last - AGAIN), last)


def smoke(request: Request, work: Path | None = None) -> SmokeFacts:
    """Raises RunError when the device is taken; whatever the training itself does wrong is a finding."""
    with opened(request, work) as stage:
        plan = Schedule.of(stage.config.total_steps)
        spec = stage.spec("smoke", log_every=1, validate_every=plan.save_at, checkpoint_every=plan.save_at)
        first = stage.play(spec, "smoke", save_at=plan.save_at, last=plan.last, seconds=STEP_SECONDS)
        facts = replace(_measured(first), beside=stage.beside)
        saved, steps = _of(first, Checkpoint), _of(first, Train)
        behind = [one for one in steps if saved and one.step > saved[0].step]
        if first.failure is not None and first.phase not in AFTERWARDS:
            return _judged(stage, facts, first)
        if not behind:
            facts = replace(facts, not_checked={**facts.not_checked, "resume": "there is no step behind a checkpoint"})
            return _judged(stage, facts, first)
        said("resume in a fresh process")
        folder = Path(spec.checkpoint_dir, manifest.folder_name(saved[0].step))
        again = stage.play(spec, "resume", 2, resume_from=str(folder), resume_step=saved[0].step, last=behind[-1].step)
        return _judged(stage, _compared(facts, behind, again), first, again)


def _of(part: Part, kind: type[R]) -> list[R]:
    return [record for record in part.records if isinstance(record, kind)]


def _measured(part: Part) -> SmokeFacts:
    """Times and sizes, from the records of the real loop."""
    steps, seen = _of(part, Train), part.seen
    usual = [seconds(one) for one in steps[WARM:] if seconds(one) > 0.0]
    waits = [one.data_seconds for one in steps[WARM:]]
    evals, saves, started = _of(part, Eval), _of(part, Checkpoint), _of(part, Started)
    by_heart = seen.get("overfit") or {}
    judged = by_heart.get("steps", 0) >= MOST_FEW
    missing = {} if judged or not steps else {"one small batch": "too few steps in the time for it"}
    return SmokeFacts(
        device=str(seen.get("device", "")),
        steps=len(steps),
        losses=tuple(one.loss for one in steps),
        step_seconds=statistics.median(usual) if usual else None,
        data_seconds=statistics.median(waits) if waits else None,
        startup_seconds=started[0].elapsed if started else None,
        eval_seconds=evals[0].seconds if evals else None,
        eval_samples=evals[0].samples if evals else 0,
        eval_loss=evals[0].loss if evals else None,
        checkpoint_bytes=saves[0].bytes if saves else None,
        stall_seconds=saves[0].stall_seconds if saves else None,
        peak_memory=seen.get("peak_memory"),
        free_memory=seen.get("room"),
        overfit=(number(by_heart["first"]), number(by_heart["best"])) if judged else None,
        not_checked=missing,
    )


MOST_FEW = 10
"""Steps on a few samples from which on it is judged whether they can be learnt."""


def seconds(step: Train) -> float:
    """Of a window that is one step."""
    return step.window_samples / step.samples_per_second if step.samples_per_second > 0 else 0.0


def number(value: object) -> float:
    """A float that came through JSON, where what is not finite is a word."""
    return float(value) if isinstance(value, (int, float)) else float(str(value).replace("Infinity", "inf"))


def _compared(facts: SmokeFacts, behind: Sequence[Train], again: Part) -> SmokeFacts:
    """The steps behind the checkpoint beside those after the resume."""
    repeated = {one.step: one for one in _of(again, Train)}
    pairs = [(one, repeated[one.step]) for one in behind if one.step in repeated]
    worst = max((_apart(*pair) for pair in pairs), default=None)
    return replace(facts, resumed_steps=len(pairs), resume_difference=worst)


def _apart(one: Train, two: Train) -> float:
    """Largest relative difference of loss and gradient norm; two that are not finite are equal."""
    pairs = [(one.loss, two.loss), (one.grad_norm or 0.0, two.grad_norm or 0.0)]
    return max(_relative(*pair) for pair in pairs)


def _relative(one: float, two: float) -> float:
    if one == two or (one != one and two != two):
        return 0.0
    return abs(one - two) / max(abs(one), abs(two)) if math.isfinite(one) and math.isfinite(two) else math.inf


def _judged(stage: Stage, facts: SmokeFacts, first: Part, again: Part | None = None) -> SmokeFacts:
    """The facts with all findings, the worst first; what ran out of memory is told with the batch that does not."""
    parts = [first] if again is None else [first, again]
    fits = None
    if any(part.failure is not None and part.failure.cause == "oom" for part in parts):
        said("memory ran out: looking for the batch that fits")
        fits = batchsize.largest(stage, below=stage.config.batch_size)
    order = {"error": 0, "warning": 1, "info": 2}
    found: list[Finding] = symptoms.find(stage.config, facts, first, again, fits)
    return replace(facts, findings=tuple(sorted(found, key=lambda one: order[one.severity])))
