"""The training loop: schedule, windows, validation, checkpoints, early stopping and requests, for any framework.

The adapter gives a `Trainee`, four functions that touch the framework's arrays. Not covered: several ranks.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .checkpoint import Label, Saver, Snapshot
from .contract import Eval, TrainingConfig
from .early_stopping import Progress
from .errors import ModelError
from .reporter import Outcome, Reporter
from .schedule import learning_rate_at
from .window import Window

if TYPE_CHECKING:  # the feed needs numpy, this file does not
    from .feed import Batch, Feed, Group

MAX_NONFINITE = 100
"""Steps in a row without a finite loss and gradient after which the run fails: each of them was left out."""


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step showed, as Python floats."""

    loss: float
    """Mean loss over the step's samples, before the update."""
    grad_norm: float | None
    """Global L2 norm before clipping; None when it was only the loss scaler's overflow."""
    skipped: bool = False
    """Whether the update was left out."""


@dataclass(frozen=True)
class Evaluation:
    """One pass over the validation data."""

    loss: float
    """Mean, weighted by samples."""
    metrics: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    loss_sem: float | None = None
    """Standard error of `loss` over samples, where known."""


class Trainee(Protocol):
    """A model with its optimizer in some framework."""

    def step(self, batches: Sequence[Batch], learning_rate: float) -> None:
        """One optimizer step over the micro-batches, weighed by samples. Nothing non-finite gets into the weights."""

    def probe(self, batches: Sequence[Batch], learning_rate: float) -> dict[str, Any]:
        """The same step, and facts that no curve shows: `loss`, `expected_loss`, `update_ratio`, `unchanged`, …"""

    def drain(self) -> list[StepResult]:
        """Results of every step since the last call, oldest first; the one place that waits for the device."""

    def evaluate(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Validation; None when `stopped` became true meanwhile. Leaves the training's random numbers as they were."""

    def snapshot(self) -> Snapshot:
        """A copy of everything that a resume needs and that is not in `position.json`."""


class Loop:
    """One attempt of a run, from `start_step` to its end. Framework-neutral."""

    def __init__(
        self,
        config: TrainingConfig,
        trainee: Trainee,
        feed: Feed,
        saver: Saver,
        reporter: Reporter,
        has_validation: bool,
        progress: Progress | None = None,
        start_step: int = 0,
    ) -> None:
        self._config = config
        self._trainee = trainee
        self._feed = feed
        self._saver = saver
        self._reporter = reporter
        self._has_validation = has_validation
        self._progress = progress or Progress()
        self._step = start_step
        self._saved_step = start_step
        self._window = Window()
        self._pending: list[tuple[int, int, float, float, Any]] = []
        self._bad_in_a_row = 0
        self._train_loss: float | None = None
        self._evaluation: tuple[int, Evaluation | None] = (-1, None)

    def run(self) -> Outcome:
        """Trains to the end, a request to stop, or exhausted patience; the last checkpoint is complete then."""
        begun = time.perf_counter()
        self._reporter.phase("train", self._step)
        self._window = Window()
        reason = self._train()
        self._reporter.phase("finish", self._step)
        self._saver.wait()
        samples = self._feed.plan.samples_until(self._step)
        return Outcome(reason, self._step, samples, time.perf_counter() - begun)

    def _train(self) -> str:
        config = self._config
        first = self._step + 1
        for step in range(first, config.total_steps + 1):
            self._advance(step)
            if step == first:
                gc.freeze()  # the model and the libraries are no garbage: later collections need not walk them
            if step % config.log_every == 0:
                self._flush()
            reason = self._after(step)
            if reason is not None:
                return reason
        return "completed"

    def _advance(self, step: int) -> None:
        rate = self.learning_rate(step)
        begun = time.perf_counter()
        group = self._feed.get(step)
        waited = time.perf_counter() - begun
        if self._is_probe(step):
            self._probe(group, rate, step)
        else:
            self._trainee.step(group.batches, rate)
        self._pending.append((step, group.samples, rate, waited, group.rows))
        self._step = step
        self._reporter.beat(step)

    def _is_probe(self, step: int) -> bool:
        """The first step, the first validation, then after twice as many validations each time."""
        times, rest = divmod(step, self._config.validate_every)
        return step == 1 or (rest == 0 and times & (times - 1) == 0)

    def _probe(self, group: Group, rate: float, step: int) -> None:
        facts = self._trainee.probe(group.batches, rate)
        if step == 1:
            facts["initial_loss"] = facts.get("loss")
        self._reporter.note("updates and gradients by layer, and parameters that stay as they are", step, **facts)

    def _after(self, step: int) -> str | None:
        """Validation, checkpoint and end, where they are due after `step`; the reason when it was the last one."""
        config = self._config
        save = step % config.checkpoint_every == 0 or step == config.total_steps
        if save or step % config.validate_every == 0:
            self._flush()
            self._validate()
            enough = self._progress.exhausted(config.early_stopping_patience)
            if save or enough:
                self._save()
            if enough:
                return "early_stopping"
        if self._saver.failed:
            self._saver.wait()
        if self._reporter.checkpoint_requested:
            self._obey(step, validate=True)
        return self._stop(step)

    def _stop(self, step: int) -> str | None:
        reason = self._reporter.stop_requested
        if reason is None:
            return None
        if step == self._config.total_steps and (self._evaluated() or not self._has_validation):
            return "completed"  # it came too late: everything that was planned is done
        if self._saver.directory.exists() or reason != "run_folder_gone":
            self._obey(step, validate=False)  # whoever stops a run does not want to wait for a validation
        return reason

    def _obey(self, step: int, validate: bool) -> None:
        """Does what was asked for: a complete checkpoint of this step."""
        self._flush()
        if self._saved_step != step:
            if validate:
                self._validate()
            self._save()
        self._saver.wait()
        self._reporter.ack(step)

    def learning_rate(self, step: int) -> float:
        """The rate of optimizer step `step`, counted from 1."""
        config = self._config
        return learning_rate_at(
            step,
            peak=config.learning_rate,
            warmup_steps=config.warmup_steps,
            total_steps=config.total_steps,
            shape=config.lr_schedule,
            min_ratio=config.min_lr_ratio,
        )

    def _flush(self) -> None:
        """Writes the record of the steps since the last one."""
        results = self._trainee.drain()
        for (step, samples, rate, waited, rows), result in zip(self._pending, results, strict=True):
            self._window.add(
                step,
                result.loss,
                result.grad_norm,
                samples,
                rate,
                skipped=result.skipped,
                data_seconds=waited,
                indices=rows,
            )
            self._count_bad(result)
        self._pending.clear()
        if not self._window.steps:
            return
        plan, step = self._feed.plan, self._step
        record = self._window.take(
            elapsed=self._reporter.elapsed(), epoch=plan.epoch_at(step), samples=plan.samples_until(step)
        )
        self._train_loss = record.loss
        self._reporter.write(record)
        if self._bad_in_a_row >= MAX_NONFINITE:
            raise _diverged(step, self._bad_in_a_row)

    def _count_bad(self, result: StepResult) -> None:
        norm = result.grad_norm
        finite = math.isfinite(result.loss) and (norm is None or math.isfinite(norm))
        self._bad_in_a_row = 0 if finite else self._bad_in_a_row + 1

    def _evaluated(self) -> Evaluation | None:
        """The validation at the present step, if there was one."""
        step, found = self._evaluation
        return found if step == self._step else None

    def _validate(self) -> None:
        if not self._has_validation:
            return
        reporter, begun = self._reporter, time.perf_counter()
        reporter.phase("eval", self._step)
        with self._window.paused():
            found = self._trainee.evaluate(lambda: reporter.stop_requested is not None)
        self._evaluation = (self._step, found)
        if found is not None:
            reporter.write(
                Eval(
                    time=time.time(),
                    elapsed=reporter.elapsed(),
                    step=self._step,
                    loss=found.loss,
                    metrics=found.metrics,
                    samples=found.samples,
                    seconds=time.perf_counter() - begun,
                    loss_sem=found.loss_sem,
                )
            )
            self._progress.validated(found.loss, self._step)
        reporter.phase("train", self._step)

    def _save(self) -> None:
        step, found = self._step, self._evaluated()
        self._reporter.phase("save", step)
        with self._window.paused():
            loss = found.loss if found else None
            best = self._progress.saved(loss if self._has_validation else self._train_loss, step)
            label = Label(
                step=step,
                position=self._position(),
                best=best,
                eval_loss=loss,
                metrics=found.metrics if found else {},
            )
            self._saver.save(label, self._trainee.snapshot)
        self._saved_step = step
        self._reporter.phase("train", step)

    def _position(self) -> dict[str, Any]:
        plan = self._feed.plan
        return {
            "step": self._step,
            "samples": plan.samples_until(self._step),
            "epoch": plan.epoch_at(self._step),
            "progress": self._progress.plain(),
        }


def _diverged(step: int, count: int) -> ModelError:
    return ModelError(
        f"loss or gradient was not finite for {count} steps in a row, up to step {step}; no update came of them.",
        "Lower learning_rate, lengthen warmup_steps, or look for non-finite values and divisions by zero in the model.",
    )
