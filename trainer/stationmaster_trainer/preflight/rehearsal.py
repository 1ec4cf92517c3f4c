"""One process of a preflight: the real adapter, loop and checkpoints of a run, and a look at what no record says.

Modes: `smoke` (real steps, then the longest batch and one small batch alone), `resume` (the steps behind a checkpoint),
`memory` (the longest batch of one size), `rates` (several learning rates one after the other).
"""

from __future__ import annotations

import math
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import attempt, codec, confirmed, failure, plugins, rundir
from ..attempt import Continuable
from ..contract import Launch, Record, Spec, Train
from ..dataset import Data, Dataset
from ..facts import Request
from ..feed import Batch
from ..loop import Loop
from ..objective import IGNORED
from ..reporter import Outcome, Reporter
from ..rundir import RunDir
from .stage import said, yield_memory

EVAL_BATCHES = 50
"""Validation batches that are scored, spread evenly: time for all of them follows from these."""
FEW = 8
"""Samples of the batch that a model must be able to learn by heart."""
TRIES = (1.0, 10.0, 100.0)
"""Rates for that, in multiples of the configured one, until one is enough."""
TRY_STEPS, ENOUGH_STEPS = 30, 10
ENOUGH = 0.5
"""Share of the first loss at which no more steps are needed."""
OVERFIT_SECONDS = 90.0


@dataclass(frozen=True)
class Built:
    """What an adapter has built and would hand to `attempt.run`."""

    spec: Spec
    launch: Launch
    reporter: Reporter
    data: Data
    trainee: Continuable
    restore: Callable[[Path], object]
    device: str
    drive: Callable[[Loop], Outcome] = Loop.run

    def run(self) -> Outcome:
        """The whole attempt with it."""
        return attempt.run(
            self.spec, self.launch, self.reporter, self.data, self.trainee, self.restore, self.device, self.drive
        )


def play(request: Request) -> dict[str, Any]:
    """What the mode asks for; an exception of the training is told as `failure` with the `phase` it came in."""
    yield_memory()
    options = request.options
    spec = codec.from_plain(Spec, options["spec"], "the spec")
    confirmed.hold(spec)
    if options["mode"] == "rates":
        return _rates(spec, options)
    return _one(spec, options, {"smoke": _smoke, "resume": _steps, "memory": _memory}[options["mode"]])


class Prompter(Reporter):
    """The real reporter, which asks for a checkpoint and then for the end: after so many steps, or when time is up."""

    def __init__(self, folder: rundir.AttemptDir, spec: Spec, save_at: int, last: int, seconds: float) -> None:
        super().__init__(folder, spec)
        self._save_at, self._last, self._seconds = save_at, last, seconds
        self._first_step, self._wanted = 0.0, False
        self.losses: list[float] = []

    def write(self, record: Record) -> None:
        """Looks at each step's record before it is written."""
        super().write(record)
        if isinstance(record, Train):
            self.losses.append(record.loss)
            self._direct(record.step)

    def _direct(self, step: int) -> None:
        self._first_step = self._first_step or time.monotonic()
        said(f"step {step} of {self._last}, loss {self.losses[-1]:.4g}")
        if step < self._save_at and time.monotonic() - self._first_step > self._seconds:
            self._save_at, self._last, self._wanted = step, min(step + 2, self._last), True
        if self._last <= step < self.spec.config.total_steps:  # a stop would break off the last evaluation
            self.request_stop("user")

    @property
    def checkpoint_requested(self) -> bool:
        """When time is up before the step at which one is due."""
        return self._wanted

    def ack(self, step: int) -> None:
        """Obeyed."""
        self._wanted = False
        super().ack(step)

    @property
    def at(self) -> str:
        """The phase."""
        return self._phase


def _one(spec: Spec, options: dict[str, Any], run: Callable[[dict[str, Any], Built], Outcome]) -> dict[str, Any]:
    """One attempt with the adapter, `run` in the place of the whole one."""
    folder = RunDir(Path(spec.run_dir)).attempt(int(options["attempt"]))
    folder.control.mkdir(mode=0o700, parents=True, exist_ok=True)
    launch = Launch(
        attempt=folder.number,
        argv=(),
        cwd=spec.project_dir,
        env={},
        recorder_argv=(),
        resume_from=options.get("resume_from"),
        resume_step=int(options.get("resume_step", 0)),
    )
    rundir.create(folder.launch, codec.dumps(launch).encode())
    reporter = Prompter(
        folder, spec, int(options.get("save_at", 0)), int(options.get("last", 1)), float(options.get("seconds", 240))
    )
    seen: dict[str, Any] = {}

    def with_seen(*given: Any, **more: Any) -> Outcome:
        return run(seen, Built(*given, **more))

    try:
        plugins.find("adapters", spec.config.framework).train(spec, launch, reporter, with_seen)
    except (Exception, SystemExit) as error:
        traceback.print_exc(file=sys.stderr)
        told = failure.describe(error, spec, step=reporter.step, elapsed=reporter.elapsed())
        seen |= {"failure": told, "phase": "save" if _of_saving(error) else seen.get("doing", reporter.at)}
    reporter.close()
    return seen | {"losses": reporter.losses}


def _of_saving(error: BaseException) -> bool:
    """Whether it came while a checkpoint was taken or written, which happens on a thread of its own."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.endswith("stationmaster_trainer/checkpoint.py") for frame in frames)


def _smoke(seen: dict[str, Any], built: Built) -> Outcome:
    """Real steps, evaluation and checkpoint; then what needs the trainee for itself."""
    spec, data, trainee = built.spec, built.data, built.trainee
    seen |= {"device": built.device, "room": trainee.room(), "has_validation": data.val is not None}
    masked = _watch_targets(trainee)
    if data.val is not None:
        most = EVAL_BATCHES * spec.config.batch_size
        trainee.val, seen["val_samples"] = _spread(data.val, most), len(data.val)
    outcome = built.run()
    seen["masked"] = sum(masked) / len(masked) if masked else 0.0
    seen["doing"] = "longest batch"
    said("the longest batch")
    _longest_step(data, trainee, spec.config.batch_size)
    seen["peak_memory"] = trainee.peak_memory()
    seen["doing"] = "one small batch"
    said(f"{FEW} samples alone")
    seen["overfit"] = _learn_by_heart(spec, data, trainee)
    return outcome


def _steps(seen: dict[str, Any], built: Built) -> Outcome:
    """The steps behind a checkpoint, and nothing else."""
    return built.run()


def _memory(seen: dict[str, Any], built: Built) -> Outcome:
    """Two optimizer steps of rate 0 on the longest batch, and the copy from which a checkpoint is written."""
    spec, data, trainee = built.spec, built.data, built.trainee
    seen |= {"device": built.device, "room": trainee.room(), "doing": "longest batch"}
    for _ in range(2):
        _longest_step(data, trainee, spec.config.batch_size)
    trainee.snapshot()
    seen["peak_memory"] = trainee.peak_memory()
    return Outcome("completed", 0, 0, 0.0)


def _rates(spec: Spec, options: dict[str, Any]) -> dict[str, Any]:
    """A short run from the same start at each of `rates`, up to one that fails for another reason than its rate."""
    curves = []
    for number, rate in enumerate(options["rates"], 1):
        said(f"learning rate {rate:g}")
        one = replace(spec, config=replace(spec.config, learning_rate=rate), run_dir=f"{spec.run_dir}-{number}")
        one = replace(one, checkpoint_dir=f"{spec.checkpoint_dir}-{number}")
        seen = _one(one, {**options, "attempt": 1}, _measured_rate)
        curves.append({"learning_rate": rate, **seen})
        if "failure" in seen and not _diverged(seen["losses"]):
            return {"curves": curves, "failure": seen["failure"], "phase": seen["phase"]}
    return {"curves": curves, "device": curves[0].get("device", "")}


def _measured_rate(seen: dict[str, Any], built: Built) -> Outcome:
    spec, data, trainee = built.spec, built.data, built.trainee
    seen["device"] = built.device
    if data.val is not None:
        trainee.val = _spread(data.val, EVAL_BATCHES * spec.config.batch_size)
    outcome = built.run()
    if data.val is not None and (found := trainee.evaluate(lambda: False)) is not None:
        seen |= {"eval_loss": found.loss, "eval_sem": found.loss_sem}
    return outcome


def _diverged(losses: list[float]) -> bool:
    return bool(losses) and not math.isfinite(losses[-1])


class _Spread:
    """At most so many samples of a data set, spread evenly over it."""

    def __init__(self, whole: Dataset, most: int) -> None:
        self._whole, self._at = whole, np.arange(most) * len(whole) // most

    @property
    def rows(self) -> np.ndarray:
        return self._whole.rows[self._at]

    def __len__(self) -> int:
        return len(self._at)

    def batch(self, indices: np.ndarray) -> tuple[Any, Any]:
        return self._whole.batch(self._at[indices])


def _spread(whole: Dataset, most: int) -> Dataset:
    return whole if len(whole) <= most else _Spread(whole, most)


def _watch_targets(trainee: Continuable) -> list[bool]:
    """Of every batch that is fed from now on: whether none of its labels counts."""
    convert, masked = trainee.convert, []

    def watching(inputs: Any, targets: Any, samples: int) -> Batch:
        whole = isinstance(targets, np.ndarray) and targets.dtype.kind == "i" and targets.size > 0
        masked.append(whole and bool((targets == IGNORED).all()))
        return convert(inputs, targets, samples)

    trainee.convert = watching  # type: ignore[method-assign]
    return masked


def _longest_step(data: Data, trainee: Continuable, size: int) -> None:
    """Forward, backward and an optimizer step of rate 0 on the longest samples."""
    lengths = getattr(data.train, "lengths", None)
    size = min(size, len(data.train))
    longest = np.arange(size) if lengths is None else np.argsort(-lengths, kind="stable")[:size]
    trainee.step((trainee.convert(*data.train.batch(longest), size),), 0.0)
    trainee.drain()


def _learn_by_heart(spec: Spec, data: Data, trainee: Continuable) -> dict[str, Any]:
    """`first` and `best` loss of a few samples trained on alone, after how many `steps`. It spoils the weights."""
    indices = attempt.feed_of(spec, data, trainee.convert).plan.indices(1)[:FEW]
    inputs, targets = data.train.batch(indices)
    batch, blind = trainee.convert(inputs, targets, len(indices)), _blind(targets)
    begun, losses, best = time.monotonic(), [], math.inf
    trainee.step((batch,), 0.0)
    first = trainee.drain()[-1].loss
    for factor in TRIES:
        for step in range(TRY_STEPS):
            trainee.step((batch,), spec.config.learning_rate * factor)
            losses.append(trainee.drain()[-1].loss)
            recent = statistics.fmean(losses[-5:])
            best = min(best, recent) if len(losses) >= 5 else best
            late = time.monotonic() - begun > OVERFIT_SECONDS
            if late or not math.isfinite(recent) or (best < ENOUGH * first and step >= ENOUGH_STEPS):
                return {"first": first, "best": best, "steps": len(losses), "blind": blind}
        if losses[-1] > 2.0 * abs(first) + 1.0:  # a larger rate would only be further away
            break
    return {"first": first, "best": best, "steps": len(losses), "blind": blind}


def _blind(targets: Any) -> float | None:
    """Loss of the best answer that does not look at the inputs: the entropy of the classes; None for other targets."""
    if not isinstance(targets, np.ndarray) or targets.dtype.kind != "i" or targets.ndim != 1:
        return None
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    return float(-(shares * np.log(shares)).sum())
