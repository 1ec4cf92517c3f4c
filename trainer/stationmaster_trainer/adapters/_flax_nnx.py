"""Takes an `nnx.Module` apart into named arrays, and puts it together again wherever it is used.

Trained is every `nnx.Param` of floating point; an array that several places share is one array. Keys of random streams
are set anew at each use, so that random numbers follow from (seed, step) alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from ._flax_model import Arrays, Pure, is_key, joined, mode_arguments, trainable


def take_apart(model: nnx.Module) -> Pure:
    """The model's arrays and how to use them. The model itself is not needed any more."""
    graph, rngs, *templates = nnx.split(model, nnx.RngState, _is_trained, ...)
    trained, other = (_flat(template) for template in templates)
    names = {path: joined(path) for path in (*trained, *other)}

    def use(
        params: Arrays, state: Arrays, key: Any, training: bool, function: Callable[[Any], Any]
    ) -> tuple[Any, Arrays]:
        filled = _filled(templates[0], {path: params[names[path]] for path in trained})
        rest = _filled(templates[1], {path: state[names[path]] for path in other})
        live = nnx.merge(graph, _reseeded(rngs, key), filled, rest)
        _set_mode(live, training)
        result = function(_Moded(live, training, key) if _asks(live) else live)
        after = _flat(nnx.split(live, nnx.RngState, _is_trained, ...)[3])
        return result, {names[path]: after.get(path, state[names[path]]) for path in other}

    return Pure(
        kind="nnx",
        params={names[path]: jnp.asarray(value) for path, value in trained.items()},
        state={names[path]: value if is_key(value) else jnp.asarray(value) for path, value in other.items()},
        paths={name: tuple(map(str, path)) for path, name in names.items()},
        use=use,
        dropout_layers=sum(1 for _ in dropouts(model)),
    )


def dropouts(model: nnx.Module) -> Iterator[tuple[Any, str]]:
    """Every module that drops out, and the attribute that holds its probability."""
    for _, module in nnx.iter_graph(model):
        if isinstance(module, nnx.Dropout):
            yield module, "rate"
        elif isinstance(module, nnx.MultiHeadAttention):
            yield module, "dropout_rate"


class _Moded:
    """A model whose `__call__` wants to be told the mode, or given random streams; all else passes through."""

    def __init__(self, model: Any, training: bool, key: Any) -> None:
        self._model, self._training, self._key = model, training, key

    def __call__(self, *args: Any, **named: Any) -> Any:
        call = self._model.__call__
        more: dict[str, Any] = dict(mode_arguments(call, self._training, named))
        if "rngs" in inspect.signature(call).parameters and "rngs" not in named:
            more["rngs"] = nnx.Rngs(self._key)
        return self._model(*args, **named, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _asks(model: Any) -> bool:
    return bool(mode_arguments(model.__call__, True, {})) or "rngs" in inspect.signature(model.__call__).parameters


def _set_mode(model: Any, training: bool) -> None:
    """As `train()` and `eval()` of the module do; a flag `training` of the user's own layers is set as well."""
    model.set_attributes(
        deterministic=not training, use_running_average=not training, training=training, raise_if_not_found=False
    )


def _is_trained(path: Any, value: Any) -> bool:
    return isinstance(value, nnx.Param) and trainable(value[...])


def _flat(state: Any) -> dict[tuple[Any, ...], Any]:
    found: dict[tuple[Any, ...], Any] = flatten_dict(nnx.to_pure_dict(state))
    return found


def _filled(template: Any, values: dict[tuple[Any, ...], Any]) -> Any:
    """A state like the template with other values."""
    state = jax.tree.map(lambda leaf: leaf, template)
    nnx.replace_by_pure_dict(state, unflatten_dict(values))
    return state


def _reseeded(rngs: Any, key: Any) -> Any:
    """The random streams started anew: each key from the one handed in, each count at zero."""
    values = {}
    for number, (path, old) in enumerate(sorted(_flat(rngs).items(), key=lambda item: joined(item[0]))):
        if is_key(old):
            mine = jax.random.fold_in(key, number)
            values[path] = mine if old.shape == () else jax.random.split(mine, old.shape)
        else:
            values[path] = jnp.zeros_like(old)
    return _filled(rngs, values)
