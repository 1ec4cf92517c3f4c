"""A Flax model, NNX or Linen, as pure functions over named arrays: what every jitted function of this adapter sees.

A name is the path in the model: `layers/0/kernel`, `Dense_0/bias`, and for Linen's other collections
`batch_stats/BatchNorm_0/mean`. Random numbers are no state: a key is handed in with every use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ModelError

Arrays = dict[str, Any]
"""Name → array."""
TRAINING = ("train", "training", "is_training")
NOT_TRAINING = ("deterministic", "eval", "evaluate", "inference")
"""Parameters of `__call__` (Linen: attributes too) that say in which mode the model is."""


class Use(Protocol):
    """Runs `function` with a live model made of the arrays; returns its result and the state after it."""

    def __call__(
        self, params: Arrays, state: Arrays, key: Any, training: bool, function: Callable[[Any], Any]
    ) -> tuple[Any, Arrays]: ...


@dataclass(frozen=True, eq=False)
class Pure:
    """A model taken apart."""

    kind: Literal["nnx", "linen"]
    params: Arrays
    """What is trained."""
    state: Arrays
    """What else there is: batch statistics, other variables."""
    paths: dict[str, tuple[str, ...]]
    """Name → path in the model's own nested form, in which it is saved."""
    use: Use
    dropout_layers: int


def nested(arrays: Mapping[str, Any], paths: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Arrays by name as nested dictionaries: Linen's variables, or the attributes of an NNX module."""
    tree: dict[str, Any] = {}
    for name, value in arrays.items():
        *folders, last = paths[name]
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree


def trainable(value: Any) -> bool:
    """Whether gradients make sense for an array. ModelError for complex numbers, which would need conjugates."""
    if jnp.issubdtype(jnp.asarray(value).dtype, jnp.complexfloating):
        raise ModelError("the model has complex parameters.", "Keep real and imaginary part as two parameters.")
    return bool(jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating))


def check(pure: Pure) -> Pure:
    """The same. ModelError when there is nothing to train."""
    if not pure.params:
        what = "nnx.Param of floating point" if pure.kind == "nnx" else "parameter of floating point"
        raise ModelError(f"the model has no {what}: nothing to train.", "Build the layers in the constructor.")
    return pure


def mode_arguments(function: Callable[..., Any], training: bool, given: Mapping[str, Any]) -> dict[str, bool]:
    """Values for the parameters of `function` that tell the mode, as far as `given` does not have them."""
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    told = {**dict.fromkeys(TRAINING, training), **dict.fromkeys(NOT_TRAINING, not training)}
    return {name: value for name, value in told.items() if name in names and name not in given}


def mode_fields(module: Any, training: bool) -> dict[str, bool]:
    """Values for the attributes of a Linen module that tell the mode."""
    told = {**dict.fromkeys(TRAINING, training), **dict.fromkeys(NOT_TRAINING, not training)}
    return {name: value for name, value in told.items() if name in module.__dataclass_fields__}


def joined(path: tuple[Any, ...]) -> str:
    """A path as a name."""
    return "/".join(map(str, path))


def is_key(array: Any) -> bool:
    """Whether an array holds typed random keys."""
    return hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def bytes_of(arrays: Mapping[str, Any]) -> int:
    """Memory of the arrays."""
    return sum(np.prod(array.shape, dtype=int).item() * array.dtype.itemsize for array in arrays.values())
