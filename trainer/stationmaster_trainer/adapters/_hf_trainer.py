"""Transformers' Trainer as the driver of a run: its loop, `compute_loss` and arguments; our order, step and records.

What the Trainer takes for one batch is one optimizer step: a group of micro-batches of `feed.Feed`, so that a short
last group weighs by what carries loss in it. Update, clipping and skipping are the trainee's; records, validation,
checkpoints and the end are `loop.Loop`'s, called from the callback. Importing this file takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback

from ..feed import Group
from ..loop import Loop
from ..reporter import Outcome
from ._hf_loss import HeadObjective
from ._torch_trainee import TorchTrainee


class StepTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` whose batches are optimizer steps. `drive` it instead of calling `train`."""

    def __init__(self, model: Any, arguments: Any, objective: HeadObjective) -> None:
        super().__init__(model=model, args=arguments)
        self.remove_callback(PrinterCallback)
        objective.compute = lambda _, inputs: self.compute_loss(self.model_wrapped, inputs)

    def drive(self, loop: Loop, trainee: TorchTrainee) -> Outcome:
        """Trains from where the loop stands to the end, or to where it says so."""
        self._loop, self._trainee = loop, trainee
        total = trainee.config.total_steps
        reason, watch = loop.begin(), _Watch(loop, total)
        if reason is None and loop.step < total:
            self.add_callback(watch)
            self.train()
        return loop.finish(reason or watch.reason)

    def get_train_dataloader(self) -> Any:
        """The steps, one after the other, without an end: the callback ends them."""
        return _Steps(self._loop)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], None]:
        """One step: the group weighs its own micro-batches."""
        return [next(epoch_iterator)], None

    def create_optimizer(self, model: Any = None) -> Any:
        """The trainee's, behind one call."""
        self.optimizer: Any = _Update(self._loop, self._trainee)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The loop's schedule."""
        self.lr_scheduler: Any = self.optimizer
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Gradients of the mean loss over the step; the raw loss."""
        group, rate = inputs
        loss = self._trainee.backward(group.batches)
        self.optimizer.take(loss, rate)
        return loss.detach()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> None:
        """Nothing: the trainee records the norm before it clips."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


class _Steps:
    """Yields (group, learning rate) without end; it has no length, so that the Trainer counts steps alone."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __iter__(self) -> Iterator[tuple[Group, float]]:
        while True:
            yield self._loop.draw()


class _Update:
    """What the Trainer takes for the optimizer and the schedule of it."""

    def __init__(self, loop: Loop, trainee: TorchTrainee) -> None:
        self._loop, self._trainee = loop, trainee
        self._loss: Tensor | None = None
        self._rate = 0.0

    def take(self, loss: Tensor, rate: float) -> None:
        """The loss whose gradients are there, and the learning rate for them."""
        self._loss, self._rate = loss, rate

    def step(self, *nothing: Any) -> None:
        """Applies the gradients; called a second time, as the schedule, there is nothing left to do."""
        loss, rate, self._loss = self._loss, self._rate, None
        if loss is None:
            return
        if self._loop.probing:
            self._loop.probed(self._trainee.probed_update(loss, rate))
        else:
            self._trainee.update(loss, rate)

    def get_last_lr(self) -> list[float]:
        """The rate of the newest step."""
        return [self._rate]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's own."""
        return self._trainee.optimizer.param_groups


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Counts from where the run stands, records each step, and ends the training."""

    def __init__(self, loop: Loop, total_steps: int) -> None:
        self._loop, self._total = loop, total_steps
        self.reason: str | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The Trainer starts at zero; a resumed run does not."""
        state.global_step = self._loop.step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """After the update."""
        self.reason = self._loop.done()
        control.should_training_stop = self.reason is not None or self._loop.step >= self._total
