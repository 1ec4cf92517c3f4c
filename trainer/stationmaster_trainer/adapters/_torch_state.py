"""The training state as a snapshot that writes itself, and back: model, optimizer, loss scale, random generators.

`model.safetensors` holds parameters and buffers, tied ones once; `optimizer.pt` and `state.pt` load with
`torch.load(weights_only=True)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..checkpoint import Snapshot
from ..errors import CheckpointError
from . import _torch_device

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.pt"


class Buffers:
    """Host copies of the state, allocated once and used again: the step waits for a memory copy, not for a disk."""

    def __init__(self) -> None:
        self._held: list[Tensor] = []

    def copy(self, tensors: list[Tensor]) -> list[Tensor]:
        """Copies every tensor to the host. The result is overwritten by the next call."""
        like = [(tensor.shape, tensor.dtype) for tensor in tensors]
        if like != [(held.shape, held.dtype) for held in self._held]:
            pin = any(tensor.is_cuda for tensor in tensors)
            self._held = [torch.empty(shape, dtype=dtype, pin_memory=pin) for shape, dtype in like]
        for held, tensor in zip(self._held, tensors, strict=True):
            held.copy_(tensor, non_blocking=True)
        if any(tensor.is_cuda for tensor in tensors):
            torch.cuda.synchronize()
        return self._held


@dataclass(frozen=True)
class Form:
    """What of a model is saved, and how it is written."""

    weights: Callable[[], dict[str, Any]]
    """The tensors by name."""
    write: Callable[[Path, dict[str, Tensor], dict[str, str]], object]
    """Writes copies of them into a folder; the mapping names the tied ones, which the copies leave out."""
    read: Callable[[Path], object]
    """Fills the model from a verified checkpoint. Raises CheckpointError."""


def plain(model: nn.Module) -> Form:
    """The whole state of any module in one file."""
    return Form(model.state_dict, _write_weights, lambda folder: load_model(model, folder))


def take(
    form: Form,
    optimizer: torch.optim.Optimizer,
    more: dict[str, Any],
    buffers: Buffers,
    write_more: Callable[[Path], object],
) -> Snapshot:
    """Copies the state now. `more` is small and plain (or tensors); `write_more` adds files that do not change."""
    weights, ties, extra = _split(form.weights())
    tree = optimizer.state_dict()
    tensors: list[Tensor] = list(weights.values())
    _collect(tree, tensors)
    held = buffers.copy(tensors)
    copies = dict(zip(weights, held[: len(weights)], strict=True))
    optimizer_copy = _replaced(tree, iter(held[len(weights) :]))
    state = {**more, "ties": ties, "extra": extra, "rng": _torch_device.rng_state()}

    def write(folder: Path) -> None:
        form.write(folder, copies, ties)
        torch.save(optimizer_copy, folder / OPTIMIZER)
        torch.save(state, folder / STATE)
        write_more(folder)

    return Snapshot(sum(tensor.nbytes for tensor in held), write)


def load_model(model: nn.Module, folder: Path) -> None:
    """Fills the model from a verified checkpoint. CheckpointError names the first parameter that does not fit."""
    weights = load_file(str(folder / MODEL))
    state = read_state(folder)
    weights |= {name: weights[source] for name, source in state["ties"].items() if source in weights}
    weights |= state["extra"]
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise _mismatch(folder, f"it lacks {name}, which the model has")
        if isinstance(value, Tensor) and weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)} in the checkpoint, {tuple(value.shape)} in the model"
            raise _mismatch(folder, f"{name} is {shapes}")
    for name in weights:
        if name not in wanted:
            raise _mismatch(folder, f"it has {name}, which the model lacks")
    model.load_state_dict(weights)


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Fills the optimizer from a verified checkpoint."""
    state = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise _mismatch(folder, f"its optimizer state does not fit: {error}") from None


def read_state(folder: Path) -> dict[str, Any]:
    """`state.pt`: `rng`, `ties` (name → name of the tensor whose memory it shares), `extra` and the loss scale."""
    found: dict[str, Any] = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    return found


def _write_weights(folder: Path, copies: dict[str, Tensor], ties: dict[str, str]) -> None:
    save_file(copies, str(folder / MODEL), metadata={"format": "pt"})


def _split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Any]]:
    """Own tensors, ties (name → first name of the same memory) and what is no tensor (a module's extra state)."""
    weights: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    extra: dict[str, Any] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            extra[name] = value
            continue
        memory = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and memory in first:
            ties[name] = first[memory]
        else:
            first[memory] = name
            weights[name] = value.detach()
    return weights, ties, extra


def _collect(tree: Any, into: list[Tensor]) -> None:
    if isinstance(tree, Tensor):
        into.append(tree.detach())
    elif isinstance(tree, dict):
        for value in tree.values():
            _collect(value, into)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            _collect(value, into)


def _replaced(tree: Any, tensors: Any) -> Any:
    """The same tree with its tensors replaced in the order of `_collect`."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, dict):
        return {key: _replaced(value, tensors) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)([_replaced(value, tensors) for value in tree])
    return tree


def _mismatch(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is of another model: {what}.", "Restore the model file as it was, or start a new run."
    )
