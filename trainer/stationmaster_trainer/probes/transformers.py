"""Looks into HuggingFace's Trainer, and what inherits it (TRL): a callback among those that every Trainer gets.

Loss, gradient norm and learning rate are those of each step, read off PyTorch below it: the Trainer's own loss is a
mean over its log interval, from which NaN is filtered. Not covered: processes other than the first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sized
from typing import Any

from ._probe import Probe

MODULE = "transformers.trainer"
SEEN = ("steps of their total", "loss", "learning rate", "gradient norm", "validation", "checkpoints it saves")
TIMES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
"""Ends of what `evaluate()` tells beside its figures."""


def install(trainer: Any, probe: Probe) -> None:
    """Adds the callback to the defaults of every Trainer that is made from now on."""
    look = _Look(probe)
    events: dict[str, Any] = {
        name: _harmless(probe, getattr(look, name))
        for name in ("on_train_begin", "on_step_end", "on_train_end", "on_evaluate", "on_prediction_step", "on_save")
    }
    base = trainer.TrainerCallback
    events["__reduce__"] = lambda callback: (base, ())  # a copy in another process looks at nothing
    trainer.DEFAULT_CALLBACKS.append(type("StationmasterCallback", (base,), events))


def _harmless(probe: Probe, event: Callable[..., None]) -> Callable[..., None]:
    def called(callback: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.is_world_process_zero:
            with probe.harmless(f"following the Trainer ({event.__name__})"):
                event(args, state, **named)

    return called


class _Look:
    """What the callbacks of all Trainers of the script share."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.offset = 0
        """Steps of the script before this `train()`."""
        self.main = ""
        """Name of the evaluation set that counts, of several; the first that was evaluated."""
        self.evaluating_since: float | None = None

    def on_train_begin(self, args: Any, state: Any, **named: Any) -> None:
        probe = self.probe
        probe.take(True)
        probe.driver, probe.validation_told = "transformers", True
        self.offset = probe.steps - state.global_step if probe.steps else 0
        probe.steps = self.offset + state.global_step
        probe.expect(self.offset + state.max_steps)
        probe.sight("library", "Transformers' Trainer", SEEN)

    def on_step_end(self, args: Any, state: Any, **named: Any) -> None:
        probe, number = self.probe, self.offset + state.global_step
        seen = probe.take(True)
        if probe.driver and number > probe.steps:
            probe.epoch, probe.samples = float(state.epoch or 0.0), _samples(args, state, named.get("train_dataloader"))
            probe.step(seen, number)

    def on_train_end(self, args: Any, state: Any, **named: Any) -> None:
        self.probe.driver, self.probe.validation_told = "", False
        self.probe.flush()

    def on_prediction_step(self, args: Any, state: Any, **named: Any) -> None:
        if self.evaluating_since is None:
            self.evaluating_since = time.perf_counter()
            self.probe.flush()
            self.probe.reporter.phase("eval", self.probe.steps)

    def on_evaluate(self, args: Any, state: Any, metrics: dict[str, Any] | None = None, **named: Any) -> None:
        since, self.evaluating_since = self.evaluating_since, None
        figures = _figures(metrics or {})
        if not figures:
            return
        name = _set_name(figures)
        self.main = self.main or name
        if name != self.main:  # one of several sets: the first one counts
            return
        prefix = f"{name}_" if name != "loss" else ""
        loss = figures.pop(f"{prefix}loss", None)
        metrics = {key.removeprefix(prefix): value for key, value in figures.items()}
        seconds = 0.0 if since is None else time.perf_counter() - since
        self.probe.evaluated(loss, metrics, seconds=seconds)

    def on_save(self, args: Any, state: Any, **named: Any) -> None:
        self.probe.saved(f"{args.output_dir}/checkpoint-{state.global_step}")


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """What `evaluate()` gave of a validation set, without `eval_` and without its times."""
    numbers = {key.removeprefix("eval_"): value for key, value in metrics.items() if key.startswith("eval_")}
    return {
        key: float(value)
        for key, value in numbers.items()
        if isinstance(value, (int, float)) and not key.endswith(TIMES) and key != "epoch"
    }


def _set_name(figures: dict[str, float]) -> str:
    """`loss` of the only evaluation set, `<name>` of one of several, from `<name>_loss`."""
    if "loss" in figures:
        return "loss"
    named = [key.removesuffix("_loss") for key in figures if key.endswith("_loss")]
    return named[0] if len(named) == 1 else "loss"


def _samples(args: Any, state: Any, loader: Any) -> int:
    """Training samples so far; 0 where the data have no length."""
    data, batch = getattr(loader, "dataset", None), (state.train_batch_size or args.train_batch_size) * args.world_size
    if not isinstance(data, Sized) or state.epoch is None or not batch:
        return 0
    each, whole = min(len(data), len(loader) * batch), math.floor(state.epoch + 1e-9)
    batches = round((state.epoch - whole) * len(loader))
    return int(whole * each + min(batches * batch, each))
