"""The state of a script that calls `stationmaster.watch`, copied at a step, written as a checkpoint, and put back.

Each object that the script named is one file: `<name>.pt` (PyTorch, loads with `weights_only=True`) or `<name>.npz`
(the leaves of a pytree). Not covered: state that is split over processes.
"""

from __future__ import annotations

import json
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import Snapshot
from ..errors import CheckpointError

RANDOM, RANDOM_TORCH = "random.json", "random.pt"
Copied = dict[str, Any]


def check(objects: Mapping[str, Any]) -> None:
    """Raises TypeError for an object that cannot be saved and put back."""
    if objects and "torch" not in sys.modules:
        raise TypeError(
            f"watch({', '.join(objects)}): what has a state_dict() is saved by PyTorch, which this script has not "
            "imported. For JAX pytrees pass trees=lambda: {...}; without state to save call watch() with neither."
        )
    for name, one in objects.items():
        if not (callable(getattr(one, "state_dict", None)) and callable(getattr(one, "load_state_dict", None))):
            raise TypeError(
                f"watch({name}=...): {type(one).__name__} has no state_dict() and load_state_dict(). "
                "For JAX pytrees pass trees=lambda: {...}; leave out what is no state."
            )


def copy_of(objects: Mapping[str, Any]) -> Copied:
    """Copies on the host of what the objects hold now, by name."""
    return {name: _copied(one.state_dict()) for name, one in objects.items()}


def leaves_of(trees: Callable[[], Mapping[str, Any]] | None) -> dict[str, list[Any]]:
    """Copies of the leaves of each pytree, as NumPy arrays."""
    if trees is None:
        return {}
    jax, numpy = sys.modules["jax"], sys.modules["numpy"]
    return {name: [numpy.array(leaf) for leaf in jax.tree_util.tree_leaves(tree)] for name, tree in trees().items()}


def snapshot(copied: Copied, leaves: Mapping[str, list[Any]], randomness: dict[str, Any]) -> Snapshot:
    """Writes itself into the folder of a checkpoint."""

    def write(folder: Path) -> None:
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        for name, state in copied.items():
            torch.save(state, folder / f"{name}.pt")  # type: ignore[union-attr]
            torch.load(folder / f"{name}.pt", weights_only=True)  # type: ignore[union-attr] # or it could not be resumed
        for name, arrays in leaves.items():
            numpy.savez(folder / f"{name}.npz", *arrays)  # type: ignore[union-attr]
        plain = {key: value for key, value in randomness.items() if key != "torch"}
        (folder / RANDOM).write_text(json.dumps(plain), "utf-8")
        if "torch" in randomness:
            torch.save(randomness["torch"], folder / RANDOM_TORCH)  # type: ignore[union-attr]

    size = sum(_bytes(state) for state in copied.values())
    return Snapshot(size + sum(one.nbytes for arrays in leaves.values() for one in arrays), write)


def put_back(folder: Path, objects: Mapping[str, Any]) -> None:
    """Fills the objects from a verified checkpoint. Raises CheckpointError when they do not fit it."""
    for name, one in objects.items():
        state = _read(folder, f"{name}.pt")
        try:
            one.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder.name}: {name} does not fit: {str(error)[:500]}") from None


def trees_back(folder: Path, trees: Callable[[], Mapping[str, Any]] | None) -> dict[str, Any]:
    """The pytrees of a verified checkpoint, in the shape that `trees()` has now. Raises CheckpointError."""
    found = {}
    for name, like in (trees() if trees is not None else {}).items():
        jax, numpy = sys.modules["jax"], sys.modules["numpy"]
        leaves, shape = jax.tree_util.tree_flatten(like)
        try:
            with numpy.load(folder / f"{name}.npz") as file:
                arrays = [file[key] for key in file.files]
        except OSError as error:
            raise CheckpointError(f"{folder.name} has no {name}: {error}") from None
        if [one.shape for one in arrays] != [numpy.shape(leaf) for leaf in leaves]:
            raise CheckpointError(f"{folder.name}: {name} has other shapes than the script's own.")
        found[name] = shape.unflatten([_like(array, leaf) for array, leaf in zip(arrays, leaves, strict=True)])
    return found


def randomness() -> dict[str, Any]:
    """State of the random generators of Python, NumPy and PyTorch, of those that the script has loaded."""
    version, inner, gauss = random.getstate()
    found: dict[str, Any] = {"python": [version, list(inner), gauss]}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state(legacy=True)
        found["numpy"] = [str(kind), keys.tolist(), *rest]
    if torch is not None:
        found["torch"] = {"cpu": torch.get_rng_state(), "cuda": []}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["torch"]["cuda"] = torch.cuda.get_rng_state_all()
    return found


def restore_randomness(folder: Path) -> None:
    """Puts the generators back."""
    plain = json.loads((folder / RANDOM).read_text("utf-8"))
    version, inner, gauss = plain["python"]
    random.setstate((version, tuple(inner), gauss))
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and "numpy" in plain:
        kind, keys, *rest = plain["numpy"]
        numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), *rest))
    if torch is not None and (folder / RANDOM_TORCH).exists():
        state = torch.load(folder / RANDOM_TORCH, weights_only=True)
        torch.set_rng_state(state["cpu"])
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all(state["cuda"])


def _read(folder: Path, name: str) -> Any:
    try:
        return sys.modules["torch"].load(folder / name, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"{folder.name} has no {name}: the script named other objects then.") from None


def _copied(tree: Any) -> Any:
    """The same tree with copies of its tensors on the host; numbers and texts as they are."""
    if hasattr(tree, "detach"):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        copied: dict[Any, Any] = type(tree)() if type(tree) is OrderedDict else {}
        copied.update((key, _copied(value)) for key, value in tree.items())
        if hasattr(tree, "_metadata"):  # versions of a module's parts
            copied._metadata = tree._metadata  # type: ignore[attr-defined]
        return copied
    if isinstance(tree, (list, tuple)):
        copies = [_copied(value) for value in tree]
        return tuple(copies) if isinstance(tree, tuple) else copies
    return tree


def _bytes(tree: Any) -> int:
    if isinstance(tree, Mapping):
        return sum(_bytes(value) for value in tree.values())
    if isinstance(tree, (list, tuple)):
        return sum(_bytes(value) for value in tree)
    return int(getattr(tree, "nbytes", 64))


def _like(array: Any, leaf: Any) -> Any:
    """A restored leaf of the kind that the script's own is: an array of JAX, or what NumPy makes of a plain number."""
    jax = sys.modules["jax"]
    if not isinstance(leaf, jax.Array):
        return type(leaf)(array)
    return jax.numpy.asarray(array.view(leaf.dtype) if array.dtype.kind == "V" else array, dtype=leaf.dtype)
