"""Looks into a PyTorch loop: the optimizer's steps, the tensor of `backward()`, the gradients before the step.

Steps are those of the first optimizer that steps; in a script that makes no optimizer of PyTorch, and so updates its
parameters itself, a backward pass is a step. Nothing is changed and no random number drawn: the script computes bit for
bit what it computes alone. Not covered: `torch.autograd.grad`.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from . import _sight
from ._held_out import HeldOut
from ._probe import Probe, Seen

MODULE = "torch"
_FORMATS = {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16", "torch.float64": "fp64"}
SEEN = ("steps", "loss", "learning rate", "gradient norm")
DERIVED = "validation loss (derived: the training's loss function over the held-out DataLoader)"
UNSEEN = ("validation figures (but a validation loss that it prints)", "total steps")
BY_HAND = ("steps (a backward pass each: there is no optimizer)", "loss", "gradient norm where it clips")
MOST_PENDING = 4096
"""Backward passes kept of a step that never comes."""
TAKES_OVER = 2
"""Steps in a row after which another optimizer's steps are those that count."""


def install(torch: Any, probe: Probe) -> None:
    """Puts the hooks into the library, once, for all models and optimizers of the script."""
    look = _Look(torch, probe)
    probe.read, probe.take = look.read, look.take
    optimizer, utils = importlib.import_module("torch.optim.optimizer"), torch.nn.utils
    optimizer.register_optimizer_step_pre_hook(look.before_step)
    optimizer.register_optimizer_step_post_hook(look.after_step)
    probe.complete = look.complete
    optimizer.Optimizer.__init__ = look.made(optimizer.Optimizer.__init__)
    torch.Tensor.backward = look.backward(torch.Tensor.backward)
    utils.clip_grad_norm_ = utils.clip_grad.clip_grad_norm_ = look.clip(utils.clip_grad_norm_)
    look.held_out.install()
    torch.nn.Module.eval = look.eval(torch.nn.Module.eval)
    scaler = torch.amp.GradScaler
    scaler.scale, scaler.step = look.scale(scaler.scale), look.scaler_step(scaler.step)


class _Look:
    """What lies between two optimizer steps."""

    def __init__(self, torch: Any, probe: Probe) -> None:
        self.torch, self.probe = torch, probe
        self.held_out = HeldOut(torch, probe, self._tell_derived)
        probe.ending = self.held_out.finish
        self.losses: list[tuple[Any, float]] = []
        """Loss and divisor of each backward pass since the last step."""
        self.clipped: list[Any] = []
        """Norms before clipping since the last step."""
        self.scaled: tuple[Any, Any] = (None, None)
        """A loss times the scaler's factor, and the loss."""
        self.begun = False
        self.optimizers = False
        """Whether the script has made one of PyTorch's."""
        self.primary: Any = None
        self.others_in_a_row = 0
        self.told = self.several = False
        """Whether its sight was told, and whether a second optimizer steps."""
        self.accumulation = 1
        self.norm: Any = None
        self.rate: Any = None
        self.calls = 0
        """Steps of any optimizer."""
        self.closure = False
        """Whether the step was given a function that makes the gradients."""
        self.before_step = self._quiet(self._before_step, "reading the gradients")
        self.after_step = self._quiet(self._after_step, "reading the loss")

    def _quiet(self, hook: Callable[..., None], doing: str) -> Callable[..., None]:
        grad_mode, set_grad = self.torch.is_grad_enabled, self.torch._C._set_grad_enabled

        def quiet(optimizer: Any, arguments: Any, named: Any) -> None:
            before = grad_mode()
            set_grad(False)
            try:
                hook(optimizer, arguments, named)
            except Exception as error:
                self.probe.failed(doing, error)
            finally:
                set_grad(before)

        return quiet

    def _before_step(self, optimizer: Any, arguments: Sequence[Any], named: dict[str, Any]) -> None:
        self.calls += 1
        if not self._counts(optimizer):
            return
        if not self.begun:
            self._tell_start(optimizer)
        rate = optimizer.param_groups[0].get("lr")
        self.rate = rate.detach().clone() if isinstance(rate, self.torch.Tensor) else rate
        self.closure = bool(arguments[1:] or named.get("closure"))  # the first argument is the optimizer itself
        self.norm = None if self.closure else self._norm(optimizer)

    def _counts(self, optimizer: Any) -> bool:
        """Whether its steps are the script's; another optimizer takes over when it steps twice in a row."""
        primary = self.primary() if self.primary is not None else None
        if primary is None or self.others_in_a_row >= TAKES_OVER:
            self.primary, primary = weakref.ref(optimizer), optimizer
        return primary is optimizer

    def _tell_start(self, optimizer: Any) -> None:
        self.begun = True
        parameters = {id(one): one for group in optimizer.param_groups for one in group["params"]}
        first = next(iter(parameters.values()))
        device = str(first.device)
        if first.device.type == "cuda":
            device = f"{device} ({self.torch.cuda.get_device_name(first.device)})"
        number = _FORMATS.get(str(first.dtype), str(first.dtype))
        count = sum(one.numel() for one in parameters.values())
        self.probe.started(self.probe.driver or self.probe.framework or "pytorch", device, number, count)
        self._tell_sight()

    def _tell_sight(self) -> None:
        """What is seen, and what the numbers stand for in a script with several optimizers or losses a step."""
        if self.probe.driver or (self.probe.level and not self.told):  # a library tells it better
            return
        self.told = True
        loss = f"loss (mean of {self.accumulation} backward passes)" if self.accumulation > 1 else "loss"
        seen = [loss if name == "loss" else name for name in SEEN] + ([DERIVED] if self.held_out.main else [])
        unseen = UNSEEN[1:] if self.held_out.main else UNSEEN
        self.probe.sight("loop", "PyTorch", seen, (*(["its other optimizers"] if self.several else []), *unseen))

    def _tell_derived(self) -> None:
        self.told = self.told or self.probe.level == "loop"
        self._tell_sight()

    def _trains(self, module: Any) -> bool:
        """Whether the optimizer whose steps count moves parameters of this module."""
        optimizer = self.primary() if self.primary is not None else None
        if optimizer is None:
            return False
        moved = {id(one) for group in optimizer.param_groups for one in group["params"]}
        return any(id(one) in moved for one in module.parameters())

    def _norm(self, optimizer: Any) -> Any:
        """Global L2 norm of the gradients before clipping; None when there is none that can be read."""
        torch = self.torch
        if self.clipped:
            return self.clipped[0] if len(self.clipped) == 1 else torch.stack(self.clipped).square().sum().sqrt()
        grads = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        if not grads or any(grad.layout is not torch.strided for grad in grads):
            return None
        norms = torch._foreach_norm(grads)
        first = norms[0]
        if any(norm.dtype != torch.float32 or norm.device != first.device for norm in norms):
            norms = [norm.to(first.device, torch.float32) for norm in norms]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        scale = getattr(optimizer, "grad_scale", None)  # the optimizer itself divides by it, within the step
        return norm if scale is None else norm / scale

    def _after_step(self, optimizer: Any, arguments: Sequence[Any], named: dict[str, Any]) -> None:
        primary = self.primary() if self.primary is not None else None
        if self.closure and primary is optimizer:
            self.norm = self._norm(optimizer)  # the closure made the gradients within the step
        if self.probe.driver:  # it asks when its own step is over
            return
        losses, self.losses, self.clipped = self.losses, [], []
        if primary is not optimizer:
            self.others_in_a_row += 1
            if not self.several:
                self.several = True
                self._tell_sight()
            return
        self.others_in_a_row = 0
        self.probe.step(Seen(self._combined(losses), self.norm, self.rate))

    def take(self, summed: bool) -> Seen:
        """What was seen since the last call. `summed`: the losses are parts of one, as `backward()` got them."""
        losses, self.losses, self.clipped = self.losses, [], []
        seen = Seen(self._sum(losses) if summed else self._combined(losses), self.norm, self.rate)
        self.norm = self.rate = None
        return seen

    def _sum(self, losses: list[tuple[Any, float]]) -> Any:
        if len(losses) < 2:
            return losses[0][0] if losses else None
        return self.torch.stack([loss.float() for loss, _ in losses]).sum()

    def _combined(self, losses: list[tuple[Any, float]]) -> Any:
        """The step's mean loss: of several backward passes their mean, a division by their number undone."""
        if not losses:
            return None
        if len(losses) == 1 and self.accumulation == 1:
            return losses[0][0]
        if len(losses) > self.accumulation:
            self.accumulation = len(losses)
            self._tell_sight()
        divisors = {divisor for _, divisor in losses}
        factor = float(self.accumulation) if divisors == {float(self.accumulation)} else 1.0
        return self.torch.stack([loss.float() for loss, _ in losses]).mean() * factor

    def read(self, values: Sequence[Any]) -> list[float | None]:
        """Floats of numbers and tensors; those on an accelerator are fetched with one wait."""
        torch = self.torch
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        far = [value for value in tensors if value.device.type != "cpu"]
        fetched: dict[int, float] = {}
        for device in {value.device for value in far}:
            here = [value for value in far if value.device == device]
            numbers = torch.stack([value.reshape(()).double() for value in here]).tolist()
            fetched.update(zip(map(id, here), numbers, strict=True))
        return [
            None if value is None else fetched[id(value)] if id(value) in fetched else float(value) for value in values
        ]

    def backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Takes the loss on its way; the factor of a loss scaler is left out."""

        @functools.wraps(original)
        def backward(tensor: Any, *arguments: Any, **named: Any) -> Any:
            with self.probe.harmless("taking the loss"):
                self.complete()
                if tensor.numel() == 1:
                    loss = self.scaled[1] if self.scaled[0] is tensor else tensor
                    divisor = _divisor(loss)
                    self.losses.append((loss.detach().clone().reshape(()), divisor))
                    self.held_out.trained(loss, divisor)
                self.scaled = (None, None)
            return original(tensor, *arguments, **named)

        return backward

    def complete(self) -> None:
        """Without an optimizer a backward pass is a step, over when the next begins, or a validation, or at the end."""
        if len(self.losses) > MOST_PENDING:
            self.losses, self.clipped = [], []
        if self.optimizers or self.probe.driver or not self.losses:
            return
        losses, norms, self.losses, self.clipped = self.losses, self.clipped, [], []
        if not self.begun:
            self.begun, loss = True, losses[0][0]
            self.probe.started("pytorch", str(loss.device), _FORMATS.get(str(loss.dtype), str(loss.dtype)), 0)
            self.probe.sight("loop", "PyTorch", BY_HAND, ("learning rate", *UNSEEN), _sight.NO_OPTIMIZER)
        self.probe.step(Seen(losses[-1][0], norms[-1] if norms else None))

    def made(self, original: Callable[..., None]) -> Callable[..., None]:
        """Notices that there is an optimizer, so that its steps count and not the backward passes."""

        @functools.wraps(original)
        def __init__(optimizer: Any, *arguments: Any, **named: Any) -> None:
            self.optimizers = True
            original(optimizer, *arguments, **named)

        return __init__

    def scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Remembers which loss a scaled one was made of."""

        @functools.wraps(original)
        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            if isinstance(outputs, self.torch.Tensor):
                self.scaled = (scaled, outputs)
            return scaled

        return scale

    def scaler_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Notices that the scaler leaves a step out, because a gradient is not finite."""

        @functools.wraps(original)
        def step(scaler: Any, optimizer: Any, *arguments: Any, **named: Any) -> Any:
            before = self.calls
            result = original(scaler, optimizer, *arguments, **named)
            with self.probe.harmless("noticing a step that was left out"):
                if self.calls == before and not self.probe.driver and self._counts(optimizer):
                    losses, self.losses, self.clipped = self.losses, [], []
                    rate = optimizer.param_groups[0].get("lr")
                    self.probe.step(Seen(self._combined(losses), None, rate, skipped=True))
            return result

        return step

    def clip(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Takes the norm that clipping returns: it is that before clipping."""

        @functools.wraps(original)
        def clip_grad_norm_(parameters: Any, max_norm: Any, norm_type: Any = 2.0, *rest: Any, **named: Any) -> Any:
            norm = original(parameters, max_norm, norm_type, *rest, **named)
            with self.probe.harmless("reading the clipped norm"):
                if float(norm_type) == 2.0:
                    self.clipped.append(norm.detach())
            return norm

        return clip_grad_norm_

    def eval(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Notices that the model is put into evaluation mode between two steps."""

        @functools.wraps(original)
        def evaluate(module: Any) -> Any:
            with self.probe.harmless("noticing a validation"):
                if self.probe.steps and not self.probe.validation_told:
                    self.probe.evaluating()
                    if self._trains(module):
                        self.held_out.begins()
            return original(module)

        return evaluate


def _divisor(loss: Any) -> float:
    """What the loss was divided by as its last operation, when that is a plain number; else 1."""
    function = loss.grad_fn
    name = type(function).__name__
    other = getattr(function, "_saved_other", None) if name in ("DivBackward0", "MulBackward0") else None
    if other is None or other.numel() != 1 or other.device.type != "cpu" or other.requires_grad:
        return 1.0
    value = float(other)
    return value if name == "DivBackward0" else round(1.0 / value, 6) if value else 1.0
