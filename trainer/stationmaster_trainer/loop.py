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
    metric_sems: dict[str, float] = field(default_factory=dict)
    """Standard errors of those metrics that are means over samples, where known."""
    answers: int | None = None
    """Answers that `accuracy` is the share of, when each sample gives one; None when several of them go together."""


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
        owed: Eval | bool = False,
    ) -> None:
        """`owed`: whether `start_step` still lacks its validation; the Eval, when only its checkpoint does."""
        self._config = config
        self._trainee = trainee
        self._feed = feed
        self._saver = saver
        self._reporter = reporter
        self._has_validation = has_validation
        self._progress = progress or Progress()
        self._step = start_step
        self._saved_step = start_step
        self._owed = owed
        self._window = Window()
        self._begun = 0.0
        self._frozen = False
        self._drawn: tuple[int, int, float, float, Any] = (start_step, 0, 0.0, 0.0, ())
        self._pending: list[tuple[int, int, float, float, Any]] = []
        self._bad_in_a_row = 0
        self._train_loss: float | None = None
        self._evaluation: tuple[int, Evaluation | None] = (-1, None)

    def run(self) -> Outcome:
        """Trains to the end, a request to stop, or exhausted patience; the last checkpoint is complete then."""
        reason = self.begin()
        while reason is None and self._step < self._config.total_steps:
            self._advance(self._step + 1)
            reason = self.done()
        return self.finish(reason)

    def begin(self) -> str | None:
        """For a framework whose own loop drives: `begin`, for each step `draw` and `done`, then `finish`.

        The reason, when the attempt has to end before its first step.
        """
        self._begun = time.perf_counter()
        self._reporter.phase("train", self._step)
        self._window = Window()
        return self._make_up(self._owed) if self._owed else None

    def draw(self) -> tuple[Group, float]:
        """Batches and learning rate of the next step."""
        step = self._step + 1
        rate = self.learning_rate(step)
        begun = time.perf_counter()
        group = self._feed.get(step)
        self._drawn = (step, group.samples, rate, time.perf_counter() - begun, group.rows)
        return group, rate

    def done(self) -> str | None:
        """After the drawn step: record, validation and checkpoint where they are due; the reason when it must end."""
        self._pending.append(self._drawn)
        self._step = step = self._drawn[0]
        self._reporter.beat(step)
        if not self._frozen:
            gc.freeze()  # the model and the libraries are no garbage: later collections need not walk them
            self._frozen = True
        if step % self._config.log_every == 0:
            self._flush()
        return self._after(step)

    def finish(self, reason: str | None) -> Outcome:
        """Waits for the last checkpoint. `reason`: what `done` said; None when every step is done."""
        self._reporter.phase("finish", self._step)
        self._saver.wait()
        samples = self._feed.plan.samples_until(self._step)
        return Outcome(reason or "completed", self._step, samples, time.perf_counter() - self._begun)

    @property
    def step(self) -> int:
        """Steps done so far, in all attempts."""
        return self._step

    @property
    def probing(self) -> bool:
        """Whether the drawn step is looked at: the first, the first validation, then after twice as many each time."""
        times, rest = divmod(self._drawn[0], self._config.validate_every)
        return self._drawn[0] == 1 or (rest == 0 and times & (times - 1) == 0)

    def probed(self, facts: dict[str, Any]) -> None:
        """Takes in what was seen at the drawn step, see `Trainee.probe`."""
        step = self._drawn[0]
        if step == 1:
            facts["initial_loss"] = facts.get("loss")
        self._reporter.note("updates and gradients by layer, and parameters that stay as they are", step, **facts)

    def _advance(self, step: int) -> None:
        group, rate = self.draw()
        if self.probing:
            self.probed(self._trainee.probe(group.batches, rate))
        else:
            self._trainee.step(group.batches, rate)

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
        if reason == "rollback":  # what this step would save is given up
            self._flush()
            self._saver.wait()
            self._reporter.ack(step)
            return reason
        if step == self._config.total_steps and (self._evaluated() or not self._has_validation):
            return "completed"  # it came too late: everything that was planned is done
        if self._saver.directory.exists() or reason != "run_folder_gone":
            self._obey(step, validate=False)  # whoever stops a run does not want to wait for a validation
        return reason

    def _make_up(self, owed: Eval | bool) -> str | None:
        """The validation that a stop did not wait for, and the checkpoint with it."""
        if isinstance(owed, Eval):
            known = Evaluation(owed.loss, owed.metrics, owed.samples, owed.loss_sem)
            self._evaluation = (self._step, known)
            self._progress.validated(known.loss, self._step)
        else:
            self._validate()
        if self._evaluated() is None:
            return self._stop(self._step)
        self._save()
        return "early_stopping" if self._progress.exhausted(self._config.early_stopping_patience) else None

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
        """The rate of optimizer step `step`, counted from 1: the schedule's, cut at each rollback."""
        config = self._config
        return self._feed.plan.detours.rate_factor(step) * learning_rate_at(
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
            loss, norm = result.loss, result.grad_norm
            self._window.add(step, loss, norm, samples, rate, skipped=result.skipped, data_seconds=waited, indices=rows)
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
            label = Label(step, self._position(), best, loss, found.metrics if found else {})
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
