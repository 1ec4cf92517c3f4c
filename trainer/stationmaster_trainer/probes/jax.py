"""Looks into a JAX loop: which jitted function is the train step is known from tracing it, not guessed from its name.

A function is a step when optax's `apply_updates` ran while it was traced; its loss is the output that is the very value
of `value_and_grad` in there, else one that the script itself names `loss`. Outputs are read when they are ready, never
waited for. Not covered: updates written without optax, steps inside `lax.scan` and its like, `pmap`.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

from . import _figures
from ._probe import Probe, Seen

MODULE = "jax"
SEEN = ("steps", "loss")
UNSEEN = (
    "learning rate and gradient norm, unless the step returns them by these names",
    "validation (but a validation loss that it prints)",
    "total steps",
)
NAMES = {
    "loss": ("loss", "train_loss"),
    "norm": ("grad_norm", "gradient_norm", "grads_norm"),
    "rate": ("learning_rate", "lr"),
}
"""What is taken from an output → names by which a script may call it."""
LOOPS = ("scan", "fori_loop", "while_loop")
_HELD_OUT = re.compile(r"_*(val|valid|validate|validation|eval|evaluate|evaluation|test)(_|$)")
Path = tuple[tuple[str, Any], ...]


def install(jax: Any, probe: Probe) -> None:
    """Puts the looks in place of `jax.jit` and `jax.value_and_grad`; what they return computes the same."""
    look = _Look(jax, probe)
    probe.shared["jax"] = look
    jax.jit, jax.value_and_grad = look.jit(jax.jit), look.value_and_grad(jax.value_and_grad)
    for name in LOOPS:
        setattr(jax.lax, name, look.loop(getattr(jax.lax, name)))


class _Look:
    """What is known of the functions that the script jits, and what lies between two steps."""

    def __init__(self, jax: Any, probe: Probe) -> None:
        self.jax, self.probe = jax, probe
        self.open: list[_Traced] = []
        """Functions that are being traced, the outermost first."""
        self.depth = 0
        """Loops of `jax.lax` that are being traced."""
        self.losses: list[tuple[Any, Any]] = []
        """Of what makes gradients but no step, since the last step: the loss, and an array among the gradients."""
        self.parameters, self.precision = 0, ""
        self.evaluating = self.looped = False

    def jit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`jax.jit` as a function and as what makes a decorator."""

        @functools.wraps(original)
        def jit(*arguments: Any, **named: Any) -> Any:
            given = arguments[0] if arguments else named.get("fun")
            if given is None:
                decorate = original(*arguments, **named)
                return lambda fun: self._jitted(fun, decorate) if callable(fun) else decorate(fun)
            if not callable(given) or isinstance(given, type):
                return original(*arguments, **named)
            named.pop("fun", None)
            return self._jitted(given, lambda fun: original(fun, *arguments[1:], **named))

        return jit

    def _jitted(self, fun: Callable[..., Any], jit: Callable[..., Any]) -> Any:
        """One object per function for as long as it lives: what was compiled for it is found again."""
        traced = getattr(fun, "__dict__", {}).get("_stationmaster_traced")
        if traced is None:
            traced = _Traced(fun, self)
            if isinstance(fun, types.FunctionType):
                fun.__dict__["_stationmaster_traced"] = traced
        return _Jitted(jit(traced), traced, self)

    def value_and_grad(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Remembers the value that was differentiated."""

        @functools.wraps(original)
        def value_and_grad(fun: Any, argnums: Any = 0, has_aux: bool = False, *rest: Any, **named: Any) -> Any:
            differentiate = original(fun, argnums, has_aux, *rest, **named)

            @functools.wraps(differentiate)
            def differentiated(*arguments: Any, **keywords: Any) -> Any:
                result = differentiate(*arguments, **keywords)
                with self.probe.harmless("noticing a loss"):
                    self.loss(result[0][0] if has_aux else result[0])
                return result

            return differentiated

        return value_and_grad

    def loop(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Knows of steps that are traced once and made many times."""

        @functools.wraps(original)
        def loop(*arguments: Any, **named: Any) -> Any:
            self.depth += 1
            try:
                return original(*arguments, **named)
            finally:
                self.depth -= 1

        return loop

    def loss(self, value: Any) -> None:
        """A value that gradients were made of: of the function that is being traced, or of the script itself."""
        if self.open:
            self.open[-1].losses.append(value)
        elif getattr(value, "shape", None) == ():
            self.losses.append((value, None))

    def updated(self, parameters: Any) -> None:
        """optax has applied updates to these parameters."""
        if not self.parameters:
            leaves = self.jax.tree_util.tree_leaves(parameters)
            self.parameters = sum(int(getattr(leaf, "size", 0)) for leaf in leaves)
            number = str(getattr(leaves[0], "dtype", "")) if leaves else ""
            self.precision = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(number, number)
        if not self.open:
            self.step(Seen(self._taken(())))
        for traced in self.open:
            traced.steps = True
            traced.looped = traced.looped or self.depth > 0

    def called(self, traced: _Traced, output: Any, arguments: Any) -> None:
        """A jitted function of the script has returned, maybe before it has computed."""
        if self.probe.driver:
            return
        if self.open:  # within the trace of another one
            if traced.paths.get("loss") and traced.exact:
                self.open[-1].losses.append(_at(output, traced.paths["loss"]))
            for outer in self.open if traced.steps else ():
                outer.steps, outer.looped = True, outer.looped or traced.looped or self.depth > 0
        elif traced.looped:
            self._tell_loop()
        elif traced.steps:
            found = {name: _at(output, path) for name, path in traced.paths.items()}
            loss = found.get("loss")
            self.step(Seen(self._taken(arguments) if loss is None else loss, found.get("norm"), found.get("rate")))
        elif traced.exact and "loss" in traced.paths:
            gradient = _at(output, traced.gradient) if traced.gradient else None
            self.losses.append((_at(output, traced.paths["loss"]), gradient))
        elif self.probe.steps and _HELD_OUT.match(getattr(traced, "__name__", "")) and not self.evaluating:
            self.evaluating = True
            self.probe.evaluating()

    def step(self, seen: Seen) -> None:
        """An optimizer step was made or, on an accelerator, ordered."""
        if self.probe.driver:
            return
        if not self.probe.steps:
            self.probe.read, self.probe.ready = self._read, _ready
            device = self.jax.devices()[0]
            self.probe.started("jax", f"{device.platform} ({device.device_kind})", self.precision, self.parameters)
            self.probe.sight("loop", "JAX with optax", SEEN, UNSEEN)
        self.losses, self.evaluating = [], False
        self.probe.step(seen)

    def _tell_loop(self) -> None:
        if not self.looped:
            self.looped = True
            unseen = ("steps and loss: they are made inside lax.scan or its like",)
            self.probe.sight("output", "JAX", ("the script's own words",), unseen)

    def _taken(self, arguments: Any) -> Any:
        """The loss whose gradients a step is made of, as far as that is certain.

        The same function may also have measured on other data since the last step: what counts is whose gradients were
        handed on, or that there was only one.
        """
        if len(self.losses) < 2:
            return self.losses[0][0] if self.losses else None
        handed = {id(leaf) for leaf in self.jax.tree_util.tree_leaves(arguments)}
        found = [loss for loss, gradient in self.losses if gradient is not None and id(gradient) in handed]
        return found[0] if len(found) == 1 else None

    def _read(self, values: Sequence[Any]) -> list[float | None]:
        return [self._number(value) for value in values]

    def _number(self, value: Any) -> float | None:
        if value is None or (hasattr(value, "is_deleted") and value.is_deleted()):
            return None
        return _figures.plain(value)


class _Traced:
    """The script's function as `jax.jit` gets it: it is run to be traced, and looked at then."""

    def __init__(self, fun: Callable[..., Any], look: _Look) -> None:
        functools.update_wrapper(self, fun)
        self.fun, self.look = fun, look
        self.losses: list[Any] = []
        self.paths: dict[str, Path] = {}
        """Where figures stand in the output, by `NAMES`."""
        self.gradient: Path = ()
        """Where the largest array of the output stands: of a function that returns gradients, one of them."""
        self.exact = self.steps = self.looped = False
        """Whether the loss is what was differentiated; whether an update is made; whether within a loop."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        look = self.look
        look.open.append(self)
        depth, look.depth = look.depth, 0
        self.losses = []
        try:
            output = self.fun(*arguments, **named)
            with look.probe.harmless("looking at the outputs of a jitted function"):
                self._look_at(output)
            return output
        finally:
            self.losses = []
            look.open.pop()
            look.depth = depth

    def _look_at(self, output: Any) -> None:
        leaves = self.look.jax.tree_util.tree_flatten_with_path(output)[0]
        scalars = [(path, leaf) for path, leaf in leaves if getattr(leaf, "shape", None) == ()]
        exact = [path for path, leaf in scalars if any(leaf is loss for loss in self.losses)]
        self.exact = len(exact) == 1
        arrays = [(getattr(leaf, "size", 0), path) for path, leaf in leaves if getattr(leaf, "shape", None)]
        largest = max(arrays, key=lambda one: one[0])[1] if arrays else ()
        self.gradient = tuple(_key(part) for part in largest)
        for name, words in NAMES.items():
            called = [path for path, _ in scalars if path and str(_key(path[-1])[1]) in words]
            found = exact if name == "loss" and self.exact else called
            if len(found) == 1:
                self.paths[name] = tuple(_key(part) for part in found[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Traced) and bool(self.fun == other.fun)

    def __hash__(self) -> int:
        return hash(self.fun)


class _Jitted:
    """What `jax.jit` returned, with a look at what each call returns."""

    def __init__(self, jitted: Any, traced: _Traced, look: _Look) -> None:
        functools.update_wrapper(self, jitted)
        self._jitted, self._traced, self._look = jitted, traced, look

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        output = self._jitted(*arguments, **named)
        try:
            self._look.called(self._traced, output, (arguments, named))
        except Exception as error:
            self._look.probe.failed("looking at a jitted function", error)
        return output

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_jitted"], name)


def _key(part: Any) -> tuple[str, Any]:
    """How a part of a tree's path is followed: by index or key, or by attribute."""
    for kind, name in (("item", "idx"), ("item", "key"), ("attribute", "name")):
        if hasattr(part, name):
            return kind, getattr(part, name)
    raise KeyError(str(part))


def _at(output: Any, path: Path) -> Any:
    """The leaf of a function's output at a path; None where it is not."""
    for kind, key in path:
        output = output[key] if kind == "item" else getattr(output, key)
    return output


def _ready(value: Any) -> bool:
    """Whether it can be read without waiting."""
    return bool(value.is_deleted() or value.is_ready()) if hasattr(value, "is_ready") else True
