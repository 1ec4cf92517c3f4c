"""Takes a `linen.Module` apart into named arrays: initialised with a real batch, applied wherever it is used.

Trained is the collection `params`. Whether a layer trains or not is told through the parameters of `__call__`, or
through an attribute of the module of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.traverse_util import flatten_dict

from ._flax_model import Arrays, Pure, joined, mode_arguments, mode_fields, nested, trainable

PASSING = ("intermediates", "losses", "perturbations")
"""Collections that are filled by a call and are no state."""
_RATES: dict[type, str] = {linen.Dropout: "rate", linen.MultiHeadDotProductAttention: "dropout_rate"}
"""Layers that drop out, and the attribute that holds their probability."""


def take_apart(module: linen.Module, inputs: Any, key: Any, dropout: float | None) -> Pure:
    """The module's variables, initialised for inputs of this shape (B, …), and how to use them.

    dropout: probability that every dropout layer gets instead of its own. Exceptions of the module pass through.
    """
    seen: set[str] = set()

    def initialised(key: Any, inputs: Any) -> Any:
        streams = {"params": key, "dropout": jax.random.fold_in(key, 1)}
        flags = mode_arguments(type(module).__call__, False, {})
        with _dropouts(dropout, seen):
            return _moded(module, False).init(streams, inputs, **flags)

    variables = linen.meta.unbox(jax.jit(initialised)(key, inputs))
    flat = {path: value for path, value in flatten_dict(dict(variables)).items() if path[0] not in PASSING}
    trained = [path for path, value in flat.items() if path[0] == "params" and trainable(value)]
    names = {path: joined(path[1:] if path in trained else path) for path in flat}
    collections = sorted({path[0] for path in flat} - {"params"})
    paths = {name: path for path, name in names.items()}

    def use(
        params: Arrays, state: Arrays, key: Any, training: bool, function: Callable[[Any], Any]
    ) -> tuple[Any, Arrays]:
        live = _Live(_moded(module, training), nested({**params, **state}, paths), key, training, collections)
        with _dropouts(dropout, set()):
            result = function(live)
        after = flatten_dict(live.variables)
        return result, {name: after[paths[name]] for name in state}

    return Pure(
        kind="linen",
        params={names[path]: jnp.asarray(flat[path]) for path in trained},
        state={names[path]: jnp.asarray(value) for path, value in flat.items() if path not in trained},
        paths=paths,
        use=use,
        dropout_layers=len(seen),
    )


class _Live:
    """The module with its variables, called like a function; each call sees the state that the one before left."""

    def __init__(
        self, module: linen.Module, variables: dict[str, Any], key: Any, training: bool, collections: list[str]
    ) -> None:
        self.variables = variables
        """Nested: `variables["params"]["Dense_0"]["kernel"]`."""
        self._module, self._key, self._training, self._collections = module, key, training, collections
        self._calls = 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._apply(None, args, named)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return (lambda *args, **named: self._apply(name, args, named)) if callable(found) else found

    def _apply(self, method: str | None, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._calls += 1
        key = jax.random.fold_in(self._key, self._calls)
        streams = {"params": key, "dropout": jax.random.fold_in(key, 1)}
        function = getattr(type(self._module), method or "__call__")
        flags: Mapping[str, Any] = mode_arguments(function, self._training, named)
        mutable = self._collections if self._training and self._collections else False
        found = self._module.apply(
            self.variables, *args, **named, **flags, rngs=streams, mutable=mutable, method=method
        )
        if mutable is False:
            return found
        output, changed = found
        self.variables = {**self.variables, **changed}
        return output


def _moded(module: linen.Module, training: bool) -> linen.Module:
    """The module with its attributes that tell the mode set."""
    fields = mode_fields(module, training)
    return module.clone(**fields) if fields else module


def _dropouts(rate: float | None, seen: set[str]) -> AbstractContextManager[None]:
    """Within it every dropout layer that is called has this rate (None: its own); their paths are collected."""

    def interceptor(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        kind = next((name for cls, name in _RATES.items() if isinstance(module, cls)), None)
        if kind is not None and context.method_name == "__call__":
            seen.add(joined(module.path))
            if rate is not None:
                object.__setattr__(module, kind, rate)  # modules are frozen once they are set up
        return call(*args, **kwargs)

    return linen.intercept_methods(interceptor)
