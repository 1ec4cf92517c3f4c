"""Scores a checkpoint on a held-out test set inside the user's own Python, and says how certain the figures are.

One process per evaluation, detached from the server; its answer is `evaluations/<n>.json`, written once.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from . import codec, manifest, measure, model_card, plugins, process, rundir
from .contract import Spec
from .errors import PluginError
from .facts import EvaluationFacts, EvaluationRequest, Finding, Interval
from .loop import Evaluation
from .rundir import RunDir

Z = 1.959964
"""Standard normal quantile of 97.5 %."""
BOUNDS = {"mae": (0.0, math.inf), "rmse": (0.0, math.inf), "macro_f1": (0.0, 1.0), "r2": (-math.inf, 1.0)}
"""Values that a metric can take."""
DELTA = ("rmse", "macro_f1", "r2")
"""Metrics that are no means: their standard errors follow by the delta method, see `scores.py`."""
LOCK = ".lock"
"""File in `evaluations/` that is held while a model is scored."""


def intervals(found: Evaluation) -> dict[str, Interval]:
    """95 % intervals of the figures, where the evaluation allows one."""
    made: dict[str, Interval] = {}
    n = found.samples
    if found.loss_sem is not None:
        made["loss"] = _normal(found.loss, found.loss_sem, n)
        if "perplexity" in found.metrics:
            low, high = made["loss"].low, made["loss"].high
            made["perplexity"] = Interval(_exp(low), _exp(high), f"e to the ends of the loss's interval, {n:,} samples")
    if found.answers and "accuracy" in found.metrics:
        low, high = wilson(found.metrics["accuracy"], found.answers)
        made["accuracy"] = Interval(low, high, f"Wilson score interval, {found.answers:,} answers")
    for name, error in found.metric_sems.items():
        plain, (least, most) = _normal(found.metrics[name], error, n), BOUNDS.get(name, (-math.inf, math.inf))
        how = ", by the delta method" if name in DELTA else ""
        made[name] = Interval(max(least, plain.low), min(most, plain.high), plain.method + how)
    return made


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share p of n independent answers (Wilson 1927).

    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    """
    centre = share + Z * Z / (2 * n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    scale = 1 + Z * Z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def main(request_path: str) -> int:
    """Scores what the request names and writes the answer or the error beside it. Exit code 3: another one goes on."""
    os.dup2(2, 1)
    path = Path(request_path).absolute()
    lock = process.take_lock(path.parent / LOCK, wait_seconds=10.0)
    if lock is None:
        print("another evaluation of this run goes on", file=sys.stderr)
        return 3
    (path.parent / f"{path.name.partition('.')[0]}.begun").touch(0o600)
    request = codec.loads(EvaluationRequest, rundir.read(path), path.name)
    started = time.monotonic()
    found = _carded(replace(answer(request), time=time.time(), seconds=time.monotonic() - started))
    rundir.create(path.parent / f"{request.number:03d}.json", codec.dumps(found, indent=1).encode("utf-8", "replace"))
    os.close(lock)  # who has read the answer may order the next one while this process still leaves
    return 0


def answer(request: EvaluationRequest) -> EvaluationFacts:
    """The figures, or the error as an answer; never raises but for an interrupt."""
    run = RunDir(Path(request.run_dir))
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    try:
        manifest.verify(Path(request.checkpoint))
        adapter = plugins.find("adapters", spec.config.framework)
        if not hasattr(adapter, "evaluate"):
            raise PluginError(f"models of {spec.config.framework} cannot be scored on a test set yet.")
        found = adapter.evaluate(spec, Path(request.checkpoint), request.test_data)
        return _facts(request, found)
    except (Exception, SystemExit) as error:
        said = measure.error_answer(error, Path(spec.project_dir))
        return EvaluationFacts(
            request, 0.0, 0.0, error=said.error, message=said.message, way_out=said.way_out, where=said.where,
            traceback=said.traceback,
        )  # fmt: skip


def _carded(found: EvaluationFacts) -> EvaluationFacts:
    """Puts the figures into the card of the best model; tells when that is not possible."""
    run = RunDir(Path(found.request.run_dir))
    spec = codec.loads(Spec, rundir.read(run.spec), "spec.json")
    problem = "" if found.error else model_card.refresh(spec, found)
    if not problem:
        return found
    return replace(found, findings=(*found.findings, Finding("card", "info", problem)))


def _facts(request: EvaluationRequest, found: object) -> EvaluationFacts:
    """From an adapter's `Tested`, or from its `Evaluation` alone."""
    from .testdata import Tested

    tested = found if isinstance(found, Tested) else Tested(found)  # type: ignore[arg-type]
    figures = tested.evaluation
    return EvaluationFacts(
        request=request,
        time=0.0,
        seconds=0.0,
        device=tested.device,
        samples=figures.samples,
        dropped=tested.dropped,
        loss=figures.loss,
        metrics=figures.metrics,
        intervals=intervals(figures),
        overlap=tested.overlap,
        findings=tested.findings,
    )


def _normal(mean: float, error: float, n: int) -> Interval:
    return Interval(mean - Z * error, mean + Z * error, f"normal, ±1.96 standard errors over {n:,} samples")


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
