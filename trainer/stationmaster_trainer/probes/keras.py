"""Looks into Keras 3, on PyTorch or JAX: what `fit` tells its callbacks, per batch the batch's own loss.

Keras logs the mean of an epoch so far. On PyTorch the loss is that of `backward()`; on JAX it is the growth of Keras's
own running sum. Not covered: TensorFlow below Keras (steps and validation alone), loops written without `fit`.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

from . import _figures
from ._probe import Probe, Seen

MODULE = "keras"
SEEN = ("steps of their total", "loss", "learning rate", "validation", "models it saves")
TOO_SMALL = 0.01
"""Share of a batch's loss that the rounding of Keras's running sum may be; beyond it the loss is not told."""
EPSILON = 2.0**-24


def install(keras: Any, probe: Probe) -> None:
    """Looks on at what Keras tells its callbacks, at its optimizers, and at where models are saved."""
    look = _Look(keras, probe)
    events = keras.callbacks.CallbackList
    for name in (
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_end",
        "on_test_begin",
        "on_epoch_end",
        "on_train_end",
    ):
        setattr(events, name, _before(getattr(events, name), probe, getattr(look, name)))
    model = keras.Model
    model.save, model.save_weights = (_saving(one, probe) for one in (model.save, model.save_weights))
    if keras.backend.backend() == "torch":
        keras.optimizers.Optimizer.apply = look.apply(keras.optimizers.Optimizer.apply)


def _before(original: Callable[..., Any], probe: Probe, look: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def event(callbacks: Any, *arguments: Any, **named: Any) -> Any:
        with probe.harmless(f"following Keras ({original.__name__})"):
            look(callbacks, *arguments, **named)
        return original(callbacks, *arguments, **named)

    return event


def _saving(original: Callable[..., Any], probe: Probe) -> Callable[..., Any]:
    @functools.wraps(original)
    def save(model: Any, filepath: Any, *arguments: Any, **named: Any) -> Any:
        result = original(model, filepath, *arguments, **named)
        with probe.harmless("noticing a saved model"):
            probe.saved(str(filepath))
        return result

    return save


class _Look:
    """What all `fit` of the script share."""

    def __init__(self, keras: Any, probe: Probe) -> None:
        self.keras, self.probe = keras, probe
        self.backend = str(keras.backend.backend())
        self.model: Any = None
        self.base = self.batches = 0
        """Steps before this epoch, and batches of it so far."""
        self.every = 1
        """Batches per optimizer step."""
        self.epoch = 0
        self.rate: float | None = None
        self.norm: Any = None
        self.sums: tuple[float, float] = (0.0, 0.0)
        """Keras's running sum of losses and count of samples, after the last step that was read."""
        self.places = (0, 0)
        """Where sum and count stand among the variables of the metrics that JAX holds."""
        self.both: Any = None
        """Makes one array of them."""
        self.testing = 0.0

    def on_train_begin(self, callbacks: Any, logs: Any = None) -> None:
        probe, self.model = self.probe, callbacks.model
        probe.take(False)
        probe.driver, probe.validation_told = "keras", True
        probe.read, probe.ready = self.read, _ready
        self.every = int(getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1)
        self.epoch, self.both = -1, None
        seen = (*SEEN, "gradient norm") if self.backend == "torch" else SEEN
        probe.sight("library", f"Keras on {self.backend}", seen, () if self.backend == "torch" else ("gradient norm",))

    def on_epoch_begin(self, callbacks: Any, epoch: int, logs: Any = None) -> None:
        probe, steps = self.probe, _figures.whole((callbacks.params or {}).get("steps"))
        if self.epoch < 0:
            epochs = int((callbacks.params or {}).get("epochs") or 0)
            probe.expect(probe.steps + (epochs - epoch) * steps // self.every)
            kind = str(self.model.dtype_policy.compute_dtype)
            precision = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}.get(kind, kind)
            probe.started("keras", self.backend, precision, int(self.model.count_params()) if self.model.built else 0)
        self.epoch, self.base, self.batches, self.sums = epoch, probe.steps, 0, (0.0, 0.0)
        rate = self.model.optimizer._learning_rate
        self.rate = _figures.plain(self.keras.ops.convert_to_numpy(rate)) if hasattr(rate, "shape") else None

    def on_train_batch_end(self, callbacks: Any, batch: int, logs: Any = None) -> None:
        before, self.batches = self.batches // self.every, batch + 1
        number = self.base + self.batches // self.every
        if self.batches // self.every == before:
            return
        steps = _figures.whole((callbacks.params or {}).get("steps"))
        self.probe.epoch = self.epoch + self.batches / steps if steps else 0.0
        loss = self.probe.take(False).loss if self.backend == "torch" else self._running()
        norm, self.norm = self.norm, None
        self.probe.step(Seen(loss, norm, self._rate_of(number)), number)

    def _rate_of(self, number: int) -> Any:
        """The rate of this step, to be called when it is written: a schedule is a function of the step."""
        rate = self.model.optimizer._learning_rate
        if callable(rate) and not hasattr(rate, "shape"):
            return lambda: _figures.plain(self.keras.ops.convert_to_numpy(rate(number - 1)))
        if self.backend == "torch":
            return lambda: _figures.plain(rate.value.detach())
        return self.rate

    def _running(self) -> Any:
        """On JAX: sum and count of the losses of this epoch, copied, because the next step takes their memory."""
        if self.backend != "jax":
            return None
        if self.both is None:
            tracker, places = self.model._loss_tracker, {id(v): at for at, v in enumerate(self.model.metrics_variables)}
            self.places = places[id(tracker.total)], places[id(tracker.count)]
            stack = sys.modules["jax.numpy"].stack
            self.both = sys.modules["jax"].jit(lambda total, count: stack([total, count]))  # eager, it costs ten times
        state = self.model._jax_state["metrics_variables"]
        return self.both(state[self.places[0]], state[self.places[1]])

    def read(self, values: Any) -> list[float | None]:
        """Floats of what the steps left."""
        return [self._number(value) for value in values]

    def _number(self, value: Any) -> float | None:
        if value is None or isinstance(value, float):
            return value
        if callable(value):
            return _figures.plain(value())
        if getattr(value, "shape", ()) == (2,):
            return self._grown(*value.tolist())
        return _figures.plain(value.detach() if hasattr(value, "detach") else value)

    def _grown(self, total: float, count: float) -> float | None:
        """Mean loss of the samples since the last step that was read."""
        before, self.sums = self.sums, (total, count)
        if count <= before[1]:  # a new epoch began
            before = (0.0, 0.0)
        samples = count - before[1]
        loss = (total - before[0]) / samples if samples > 0 else None
        if loss is not None and abs(total) * EPSILON > TOO_SMALL * abs(loss) * samples:
            return None
        return loss

    def on_test_begin(self, callbacks: Any, logs: Any = None) -> None:
        self.testing = time.perf_counter()
        self.probe.flush()
        self.probe.reporter.phase("eval", self.probe.steps)

    def on_epoch_end(self, callbacks: Any, epoch: int, logs: Any = None) -> None:
        self.probe.epoch = float(epoch + 1)
        figures = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        if figures:
            loss, metrics = _figures.split(_figures.held_out(figures))
            self.probe.evaluated(loss, metrics, seconds=time.perf_counter() - self.testing)

    def on_train_end(self, callbacks: Any, logs: Any = None) -> None:
        self.probe.flush()
        self.probe.driver, self.probe.validation_told = "", False

    def apply(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """On PyTorch: takes the norm of the gradients that the optimizer gets, before it clips them."""
        torch = sys.modules["torch"]

        @functools.wraps(original)
        def apply(optimizer: Any, grads: Any, *arguments: Any, **named: Any) -> Any:
            with self.probe.harmless("reading the gradients"):
                held = [one.detach() for one in grads if isinstance(one, torch.Tensor)]
                if held and self.probe.driver == "keras":
                    with torch.no_grad():
                        self.norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(held)).float())
            return original(optimizer, grads, *arguments, **named)

        return apply


def _ready(value: Any) -> bool:
    return bool(value.is_ready()) if hasattr(value, "is_ready") else True
