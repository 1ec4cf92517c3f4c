"""The training state as a snapshot that Orbax writes, and back: the model's variables, the optimizer, the generators.

`model/` and `optimizer/` are plain Orbax checkpoints (`StandardCheckpointer().restore` reads them), `state.json` holds
the step and the generators of python and numpy. Random keys are not saved: they follow from (seed, step).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from .. import codec, randomness
from ..checkpoint import Snapshot
from ..errors import CheckpointError
from ._flax_model import Arrays, Pure, is_key, nested
from ._flax_step import State

MODEL, OPTIMIZER, STATE = "model", "optimizer", "state.json"


class Buffers:
    """Host copies of arrays; on the CPU allocated once and used again, so that a step waits for a memory copy only."""

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def copy(self, arrays: list[Any]) -> list[np.ndarray]:
        """Copies every array to the host. The result is overwritten by the next call."""
        plain = [jax.random.key_data(array) if is_key(array) else array for array in arrays]
        if plain and next(iter(plain[0].devices())).platform != "cpu":
            return [np.asarray(array) for array in jax.device_get(plain)]  # a transfer makes a copy already
        like = [(array.shape, array.dtype) for array in plain]
        if like != [(held.shape, held.dtype) for held in self._held]:
            self._held = [np.empty(shape, dtype) for shape, dtype in like]
        for held, array in zip(self._held, plain, strict=True):
            np.copyto(held, np.asarray(array))
        return self._held


def take(pure: Pure, now: State, step: int, buffers: Buffers, write_more: Callable[[Path], object]) -> Snapshot:
    """Copies the state now. `write_more` adds files that do not change."""
    variables = {**now.params, **now.state}
    moments = _named(now.optimizer)
    held = buffers.copy([*variables.values(), *moments.values()])
    model = nested(dict(zip(variables, held[: len(variables)], strict=True)), pure.paths)
    optimizer = _nested(dict(zip(moments, held[len(variables) :], strict=True)))
    state = {"step": step, "kind": pure.kind, "rng": randomness.state()}

    def write(folder: Path) -> None:
        _save(folder / MODEL, model)
        _save(folder / OPTIMIZER, optimizer)
        (folder / STATE).write_text(codec.dumps(state), encoding="utf-8")
        write_more(folder)

    return Snapshot(sum(array.nbytes for array in held), write)


def load(pure: Pure, like: State, folder: Path, device: Any) -> tuple[State, dict[str, Any]]:
    """The state of a verified checkpoint on the device, and `state.json`.

    CheckpointError names the first parameter that does not fit.
    """
    params, state = load_model(pure, like, folder, device)
    moments = _named(like.optimizer)
    loaded = _restored(folder / OPTIMIZER, _nested({name: name for name in moments}))
    _compare(folder, moments, loaded, "optimizer/")
    leaves = [_placed(loaded[name], array, device) for name, array in moments.items()]
    optimizer = jax.tree.unflatten(jax.tree.structure(like.optimizer), leaves)
    return State(params, state, optimizer), json.loads((folder / STATE).read_text(encoding="utf-8"))


def load_model(pure: Pure, like: State, folder: Path, device: Any) -> tuple[Arrays, Arrays]:
    """Parameters and other state of a verified checkpoint on the device. CheckpointError as in `load`."""
    wanted = {**like.params, **like.state}
    found = _restored(folder / MODEL, nested({name: name for name in wanted}, pure.paths))
    _compare(folder, wanted, found)
    variables = {name: _placed(found[name], array, device) for name, array in wanted.items()}
    return {name: variables[name] for name in like.params}, {name: variables[name] for name in like.state}


def _save(folder: Path, tree: dict[str, Any]) -> None:
    if not tree:  # plain SGD keeps nothing, and Orbax refuses an empty tree
        return
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(folder.absolute(), args=ocp.args.StandardSave(tree))


def _restored(folder: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Arrays by the name that stands in their place in `names`; those of other places by their path."""
    if not names and not folder.exists():
        return {}
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            tree = checkpointer.restore(folder.absolute())
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}", "Resume from an older checkpoint.") from None
    known = dict(_leaves(names))
    return {known.get(path, path): value for path, value in _leaves(tree)}


def _compare(folder: Path, wanted: Mapping[str, Any], found: Mapping[str, Any], where: str = "") -> None:
    for name, array in wanted.items():
        if name not in found:
            raise _mismatch(folder, f"it lacks {where}{name}, which the model has")
        shape = jax.random.key_data(array).shape if is_key(array) else array.shape
        if tuple(found[name].shape) != tuple(shape):
            shapes = f"{tuple(found[name].shape)} in the checkpoint, {tuple(shape)} in the model"
            raise _mismatch(folder, f"{where}{name} is {shapes}")
    for name in found:
        if name not in wanted:
            raise _mismatch(folder, f"it has {where}{name}, which the model lacks")


def _placed(value: Any, like: Any, device: Any) -> Any:
    """On the device, in the number format of `like`."""
    if is_key(like):
        return jax.device_put(jax.random.wrap_key_data(value, impl=jax.random.key_impl(like)), device)
    return jax.device_put(np.asarray(value, dtype=like.dtype), device)


def _named(tree: Any) -> dict[str, Any]:
    """Leaves of an optimizer's state by their path: `0/mu/layers/0/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _nested(named: dict[str, Any]) -> dict[str, Any]:
    return nested(named, {name: tuple(name.split("/")) for name in named})


def _leaves(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """(path, leaf) of nested dictionaries."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        path = f"{above}{key}"
        found += _leaves(value, f"{path}/") if isinstance(value, Mapping) else [(path, value)]
    return found


def _mismatch(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is of another model: {what}.", "Restore the model file as it was, or start a new run."
    )
