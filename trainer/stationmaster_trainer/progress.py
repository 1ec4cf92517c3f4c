"""What `status.json` says about the training itself, gathered from the records as they pass, in constant memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .contract import (
    Best,
    Checkpoint,
    Eval,
    Failure,
    Finished,
    Note,
    Phase,
    Record,
    Spec,
    Started,
    Train,
)

HALF_LIFE_STEPS = 50
"""Half-life of the moving average of the loss, in optimizer steps."""
SPEED_DECAY = 0.8
"""Weight of the past at each record in throughput and seconds per step: about the newest five records count."""
CURVE_POINTS = 64


class Average:
    """Exponential moving average over optimizer steps, weighted by samples; a window of k steps decays by k steps."""

    def __init__(self) -> None:
        self._weighted = self._weight = 0.0

    def add(self, value: float, steps: int, samples: int) -> None:
        """`value` is the window's mean. Non-finite values are left out."""
        if not math.isfinite(value) or steps < 1:
            return
        one = 0.5 ** (1.0 / HALF_LIFE_STEPS)
        decay = one**steps
        mass = (samples or steps) / steps * (1.0 - decay) / (1.0 - one)  # geometric sum over the window's steps
        self._weighted = self._weighted * decay + value * mass
        self._weight = self._weight * decay + mass

    @property
    def value(self) -> float | None:
        return self._weighted / self._weight if self._weight else None


class Curve:
    """A series thinned evenly to at most CURVE_POINTS means: when full, neighbours merge and the stride doubles."""

    def __init__(self) -> None:
        self._stride = 1
        self._full: list[tuple[int, float]] = []
        self._step, self._sum, self._count = 0, 0.0, 0

    def add(self, step: int, value: float) -> None:
        """One value; non-finite ones are left out."""
        if not math.isfinite(value):
            return
        self._step, self._sum, self._count = step, self._sum + value, self._count + 1
        if self._count < self._stride:
            return
        self._full.append((step, self._sum / self._count))
        self._sum, self._count = 0.0, 0
        if len(self._full) == CURVE_POINTS:
            pairs = zip(self._full[::2], self._full[1::2], strict=True)
            self._full = [(later[0], (earlier[1] + later[1]) / 2) for earlier, later in pairs]
            self._stride *= 2

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        """(last step, mean) of each bucket, the one that is filling included."""
        rest = [(self._step, self._sum / self._count)] if self._count else []
        return tuple(self._full + rest)


class Progress:
    """`see` every record that counts, then `fields()` are those of `contract.Status` that tell the training."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._average = Average()
        self._curve, self._eval_curve = Curve(), Curve()
        self._speed_samples = self._speed_steps = self._speed_seconds = 0.0
        self._eval_seconds = self._save_seconds = 0.0
        self.total_steps = self._spec.config.total_steps
        """As configured; of a script what it or its library said, 0 when nobody has."""
        self._paths: dict[int, str] = {}
        self.step, self.samples, self.epoch = 0, 0, 0.0
        self.phase, self.device, self.sight = "", "", ""
        self.train: Train | None = None
        self.eval: Eval | None = None
        self.best: Best | None = None
        self.checkpoint: Checkpoint | None = None
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.failure: Failure | None = None

    def see(self, record: Record) -> None:
        """Takes in one record."""
        self.step = max(self.step, getattr(record, "step", 0))
        if isinstance(record, Train):
            self._see_train(record)
        elif isinstance(record, Eval):
            self._see_eval(record)
        elif isinstance(record, Checkpoint):
            self._see_checkpoint(record)
        elif isinstance(record, Phase):
            self.phase = record.phase
        elif isinstance(record, Started):
            self.started, self.device, self.phase, self.step = record, record.device, "train", record.step
            self.total_steps = record.total_steps or self.total_steps
        elif isinstance(record, Note):
            self.sight = str(record.facts.get("sight", self.sight))
            self.total_steps = int(record.facts.get("total_steps", self.total_steps))
        elif isinstance(record, Finished):
            self.finished, self.samples = record, max(self.samples, record.samples)
        elif isinstance(record, Failure):
            self.failure = record

    def begin_attempt(self) -> None:
        """Forgets how an earlier attempt ended."""
        self.finished = self.failure = self.started = None
        self.phase = ""

    def fields(self) -> dict[str, Any]:
        """Keyword arguments for `contract.Status`."""
        train = self.train
        return {
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "samples": self.samples,
            "loss": train.loss if train else None,
            "loss_average": self._average.value,
            "learning_rate": train.learning_rate if train and not math.isnan(train.learning_rate) else None,
            "grad_norm": train.grad_norm if train else None,
            "samples_per_second": self.samples_per_second,
            "eta_seconds": self.eta_seconds,
            "eval": self.eval,
            "best": self.best,
            "checkpoint": self.checkpoint,
            "curve": self._curve.points,
            "eval_curve": self._eval_curve.points,
            "device": self.device,
            "sight": self.sight,
        }

    @property
    def samples_per_second(self) -> float | None:
        return self._speed_samples / self._speed_seconds if self._speed_samples else None

    @property
    def eta_seconds(self) -> float | None:
        """Remaining steps at the newest speed, and each validation and save still to come at the cost of the last."""
        if not self._speed_seconds or not self._speed_steps:
            return None
        config = self._spec.config
        if self.total_steps < 1:
            return None
        left = max(0, self.total_steps - self.step)
        validations = self._still_due(config.validate_every) if self._spec.facts.val_samples else 0
        saves = self._still_due(config.checkpoint_every)
        training = left * self._speed_seconds / self._speed_steps
        return training + validations * self._eval_seconds + saves * self._save_seconds

    def _still_due(self, every: int) -> int:
        total = self.total_steps
        if every < 1 or self.step >= total:
            return 0
        return -(-total // every) - self.step // every  # the last step always counts

    def _see_train(self, record: Train) -> None:
        before, self.train, self.phase = self.train, record, "train"
        self.samples, self.epoch = record.samples, record.epoch
        finite = max(0, record.steps - record.nonfinite)
        self._average.add(record.loss, finite or record.steps, record.window_samples)
        self._curve.add(record.step, record.loss)
        if record.samples_per_second > 0 and record.window_samples:
            seconds = record.window_samples / record.samples_per_second
            self._speed_samples = self._speed_samples * SPEED_DECAY + record.window_samples
            self._speed_steps = self._speed_steps * SPEED_DECAY + record.steps
            self._speed_seconds = self._speed_seconds * SPEED_DECAY + seconds
        elif not record.window_samples and before is not None and record.elapsed > before.elapsed:
            # Of a script that runs as it is: samples are not known, and validation is a part of the time.
            self._speed_steps = self._speed_steps * SPEED_DECAY + record.steps
            self._speed_seconds = self._speed_seconds * SPEED_DECAY + record.elapsed - before.elapsed

    def _see_eval(self, record: Eval) -> None:
        self.eval, self._eval_seconds = record, record.seconds
        self._eval_curve.add(record.step, record.loss)
        if math.isfinite(record.loss) and (self.best is None or record.loss < self.best.value):
            self.best = Best(record.step, record.loss, "eval/loss", self._paths.get(record.step))

    def _see_checkpoint(self, record: Checkpoint) -> None:
        self.checkpoint, self._save_seconds = record, record.stall_seconds
        for gone in record.removed:
            self._paths = {step: path for step, path in self._paths.items() if path != gone}
        self._paths[record.step] = record.path
        if self._spec.facts.val_samples == 0 and record.best and record.eval_loss is None and self.train is not None:
            self.best = Best(record.step, self.train.loss, "train/loss", record.path)
        if self.best is not None:
            self.best = dataclasses.replace(self.best, path=self._paths.get(self.best.step))
