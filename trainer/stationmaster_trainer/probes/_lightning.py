"""Looks into PyTorch Lightning, under either of its names: a callback among those that every Trainer gets.

Steps, loss, learning rate and gradient norm are read off PyTorch below it, its own log is made of them by the script's
choice only. Validation figures are those that the module logs while it validates. Not covered: `Fabric`, a plain loop.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

from . import _figures
from ._probe import Probe

SEEN = ("steps of their total", "loss", "learning rate", "gradient norm", "validation", "checkpoints it saves")
EVENTS = (
    "setup", "on_train_start", "on_train_batch_start", "on_train_end", "on_validation_start", "on_validation_end",
)  # fmt: skip


def install(connector: Any, probe: Probe) -> None:
    """Every Trainer made from now on gets the callback, as one that an installed package's entry point brings."""
    look = _Look(probe)
    events: dict[str, Any] = {name: _harmless(probe, getattr(look, name)) for name in EVENTS}
    base, load = connector.Callback, connector._load_external_callbacks
    events["__reduce__"] = lambda callback: (base, ())  # a copy in another process looks at nothing
    kind = type("StationmasterCallback", (base,), events)
    connector._load_external_callbacks = lambda group: [*load(group), kind()]


def _harmless(probe: Probe, event: Callable[..., None]) -> Callable[..., None]:
    def called(callback: Any, trainer: Any, module: Any, *rest: Any, **named: Any) -> None:
        if trainer.is_global_zero:
            with probe.harmless(f"following Lightning's Trainer ({event.__name__})"):
                event(trainer, module, *rest, **named)

    return called


class _Look:
    """What the callbacks of all Trainers of the script share."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.logged: set[str] = set()
        """Names that a module logged while it validated."""
        self.began = 0.0
        self.wrapped: set[type] = set()

    def setup(self, trainer: Any, module: Any, stage: str = "", **named: Any) -> None:
        """Looks at what the module logs, and at where the Trainer saves."""
        for kind in type(module).__mro__:
            if kind.__name__ == "LightningModule" and kind not in self.wrapped:
                self.wrapped.add(kind)
                kind.log = self._log(kind.log)  # type: ignore[attr-defined]
        kind = type(trainer)
        if kind not in self.wrapped:
            self.wrapped.add(kind)
            kind.save_checkpoint = self._save(kind.save_checkpoint)

    def _log(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def log(module: Any, name: str, *arguments: Any, **named: Any) -> Any:
            trainer = module._trainer
            if trainer is not None and trainer.validating:
                self.logged.add(name)
            return original(module, name, *arguments, **named)

        return log

    def _save(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def save_checkpoint(trainer: Any, filepath: Any, *arguments: Any, **named: Any) -> Any:
            done = original(trainer, filepath, *arguments, **named)
            with self.probe.harmless("noticing a checkpoint"):
                if trainer.is_global_zero:
                    self.probe.saved(str(filepath))
            return done

        return save_checkpoint

    def on_train_start(self, trainer: Any, module: Any) -> None:
        probe = self.probe
        probe.validation_told = True
        probe.framework = "lightning"
        if not probe.steps:
            probe.steps = trainer.global_step  # it continues from a checkpoint of its own
        probe.expect(_total(trainer, module, probe.steps))
        probe.sight("library", "PyTorch Lightning", SEEN)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        batches = trainer.num_training_batches
        self.probe.epoch = trainer.current_epoch + (batch_idx + 1) / batches if math.isfinite(batches) else 0.0

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.probe.flush()
        self.probe.validation_told = False
        self.probe.framework = ""

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self.began = time.perf_counter()
        if not trainer.sanity_checking:
            self.probe.flush()
            self.probe.reporter.phase("eval", self.probe.steps)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if trainer.sanity_checking:
            return
        forms = {form for name in self.logged for form in (name, f"{name}_epoch", f"{name}/dataloader_idx_0")}
        values = {name: value for name, value in trainer.callback_metrics.items() if name in forms}
        named = _figures.held_out(values) or {
            name: number for name, value in values.items() if (number := _figures.plain(value)) is not None
        }
        tidy = {name.removesuffix("/dataloader_idx_0").removesuffix("_epoch"): named[name] for name in named}
        self.probe.evaluated(*_figures.split(tidy), seconds=time.perf_counter() - self.began)


def _total(trainer: Any, module: Any, before: int) -> int:
    """Optimizer steps of this `fit`, those before it included; 0: not known."""
    limits = [_figures.whole(trainer.max_steps)]
    batches, epochs = _figures.whole(trainer.num_training_batches), _figures.whole(trainer.max_epochs)
    if batches and epochs and module.automatic_optimization:
        each = math.ceil(batches / max(1, trainer.accumulate_grad_batches))
        limits.append(each * epochs)
    known = [limit for limit in limits if limit]
    return before - trainer.global_step + min(known) if known and module.automatic_optimization else 0
