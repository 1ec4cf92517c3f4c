"""Derives the validation loss of a PyTorch loop where it is certain: its loss function over a held-out DataLoader.

Certain means: what `backward()` got in training was the output of one known loss function; between `model.eval()` and
the next training pass, without gradients, the same function was called once per batch of one DataLoader, whose data set
the training never read. Anything else (two losses, class weights, both splits mixed, no DataLoader) gives no figure.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._probe import Probe

FUNCTIONS = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)  # fmt: skip
"""Loss functions of torch.nn.functional; the modules of torch.nn call them."""
ENOUGH = 2
"""Training passes that agree, after which the loss function is known."""


@dataclass
class _Pass:
    """One look at held-out data: between `eval()` and what follows it."""

    total: Any = 0.0
    count: Any = 0
    """Terms of the mean: targets that are not ignored, or elements."""
    calls: int = 0
    batches: int = 0
    data: int = 0
    """Identity of the data set that was read; 0: none so far."""
    void: bool = False


class HeldOut:
    """One per script; `torch.py` tells it of training passes and of `eval()`."""

    def __init__(self, torch: Any, probe: Probe, tell: Callable[[], None]) -> None:
        """`tell` is called when the first figure was derived."""
        self.torch, self.probe, self.tell = torch, probe, tell
        self.name = ""
        """The training's loss function, once it is known."""
        self.agreed, self.off = 0, False
        self.outputs: list[tuple[str, Any]] = []
        """What loss functions gave since the last training pass, while the right one is not known yet."""
        self.trained_on: dict[int, Any] = {}
        self.main = 0
        """Identity of the data set that counts, of several held-out ones: the first."""
        self.kept: list[Any] = []
        self.last: Any = None
        """Data set that was read last."""
        self.now: _Pass | None = None
        self.within = False

    def install(self) -> None:
        """Wraps the loss functions and the reading of a DataLoader."""
        functional = self.torch.nn.functional
        for name in FUNCTIONS:
            setattr(functional, name, self._function(name, getattr(functional, name)))
        reader = self.torch.utils.data.dataloader._BaseDataLoaderIter
        reader.__next__ = self._reading(reader.__next__)

    def _function(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        compiling = self.torch.compiler.is_compiling

        @functools.wraps(original)
        def loss_function(*arguments: Any, **named: Any) -> Any:
            if compiling() or self.off or self.within:
                return original(*arguments, **named)
            self.within = True
            try:
                result = original(*arguments, **named)
            finally:
                self.within = False
            if not self.name or self.now is not None:
                with self.probe.harmless("following a loss function"), self.torch.no_grad():
                    self._called(name, arguments, named, result)
            return result

        loss_function.__prepare_scriptable__ = lambda: original  # type: ignore[attr-defined] # for torch.jit.script
        return loss_function

    def _reading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def following(iterator: Any) -> Any:
            batch = original(iterator)
            self.last = iterator._dataset
            if self.now is not None:
                with self.probe.harmless("following a DataLoader"):
                    self._read(self.now)
            return batch

        return following

    def _read(self, now: _Pass) -> None:
        data = id(self.last)
        if data in self.trained_on:  # the training goes on
            self.finish()
            return
        now.void = now.void or now.data not in (0, data)
        now.data, now.batches = data, now.batches + 1

    def _called(self, name: str, arguments: Any, named: dict[str, Any], result: Any) -> None:
        if result.requires_grad:
            if not self.name:
                self.outputs.append((name, result.detach().clone()))
        elif self.now is not None:
            self._add(self.now, name, arguments, named, result)

    def _add(self, now: _Pass, name: str, arguments: Any, named: dict[str, Any], result: Any) -> None:
        target: Any = arguments[1] if len(arguments) > 1 else named.get("target")
        weight = named.get("weight", arguments[2] if len(arguments) > 2 else None)
        reduction = named.get("reduction", "mean")
        fits = name == self.name and weight is None and named.get("pos_weight") is None
        fits = fits and named.get("size_average") is None and named.get("reduce") is None and len(arguments) < 4
        fits = fits and reduction in ("mean", "sum") and result.numel() == 1 and hasattr(target, "numel")
        if not fits or now.void:
            now.void = True
            return
        indices = name in ("cross_entropy", "nll_loss") and not target.is_floating_point()
        ignored = named.get("ignore_index", -100)
        count = (target != ignored).sum() if indices else _rows(target, name)
        now.total = now.total + (result.double() * count if reduction == "mean" else result.double())
        now.count, now.calls = now.count + count, now.calls + 1

    def trained(self, loss: Any, divisor: float) -> None:
        """A backward pass of the training begins, with this loss before a scaler's factor."""
        self.finish()
        if self.off:
            return
        if self.last is not None and id(self.last) not in self.trained_on:
            self.trained_on[id(self.last)] = _hold(self.last)
        if self.name:
            return
        outputs, self.outputs = self.outputs, []
        if len(outputs) != 1 or not self._is(outputs[0][1], loss, divisor):
            self.off = True
            return
        self.agreed += 1
        if self.agreed >= ENOUGH:
            self.name = outputs[0][0]

    def _is(self, output: Any, loss: Any, divisor: float) -> bool:
        if output.numel() != 1:
            return False
        value, wanted = float(loss.detach()) * divisor, float(output)
        return math.isclose(value, wanted, rel_tol=1e-6) or (math.isnan(value) and math.isnan(wanted))

    def begins(self) -> None:
        """The model that is being trained was put into evaluation mode."""
        self.finish()
        self.outputs = []
        if self.name and not self.off and not self.probe.validation_told:
            self.now = _Pass()

    def finish(self) -> None:
        """Tells what the pass gave, if it was one over held-out data alone."""
        now, self.now = self.now, None
        if now is None or now.void or not now.calls or now.calls != now.batches or now.data in self.trained_on:
            return
        if self.probe.validation_told or self.main not in (0, now.data):
            return
        count = float(now.count)
        if not count:
            return
        if not self.main:
            self.main, self.kept = now.data, [_hold(self.last)]
            self.tell()
        self.probe.evaluated(float(now.total) / count, {})


def _rows(target: Any, name: str) -> int:
    """Terms of a mean: rows where the target is a distribution, else elements."""
    return int(target.shape[0] if name == "cross_entropy" else target.numel())


def _hold(data: Any) -> Any:
    """A reference that keeps the identity from being used again, and the data set only where it must."""
    try:
        return weakref.ref(data)
    except TypeError:
        return data
