"""How much memory a run needs: weights, gradients and optimizer by formula, activations counted on a real batch.

What autograd keeps for the backward pass is counted storage by storage, so it holds for any architecture; the backward
pass itself needs about two tensors of the largest kind more (the gradient of the logits and its copy). Not covered:
what activation checkpointing saves, fragmentation, the libraries themselves. `benchmarks/memory.py` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ._hf_columns import IMAGE

FULL = 16
"""Bytes per learning parameter: weight, gradient and AdamW's two moments in fp32 (ZeRO, arXiv 1910.02054, sec. 3)."""
FROZEN = 4
COPY = 12
"""Bytes per learning parameter of the host's copy of weight and moments, from which checkpoints are written."""
ROOM = 0.8
"""Share of the free memory that is planned with."""
BESIDE = 1.4
"""Resident memory per byte that is kept: glibc's heap does not give back what lies between tensors. Measured on a CPU:
1.2 for MiniLM and a ViT, 1.7 for SmolLM2 (1.0 there with MALLOC_MMAP_THRESHOLD_=65536)."""
HALF = 0.6
"""Activations in 16 bits beside those in fp32: norms and the loss stay in fp32."""


def state_bytes(learning: int, frozen: int, device: str) -> int:
    """Bytes of the training state on the device; on the CPU the copy for checkpoints lies in the same memory."""
    return (FULL + (COPY if device == "cpu" else 0)) * learning + FROZEN * frozen


def tokens_per_sample(model: Any, kind: str, length: int) -> int:
    """Positions of one sample: its tokens, or the patches of an image."""
    if kind != IMAGE:
        return length
    size, patch = getattr(model, "image_size", 224), getattr(model, "patch_size", 16)
    sides = [one if isinstance(one, (list, tuple)) else (one, one) for one in (size or 224, patch or 16)]
    return max(1, sides[0][0] // max(1, sides[1][0])) * max(1, sides[0][1] // max(1, sides[1][1])) + 1


class Activations:
    """`with Activations(model) as seen: loss = …` counts what the forward pass keeps; `seen.bytes` is the peak."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}
        self._kept: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Everything kept, twice the largest for the backward pass, and what lies beside them."""
        return int(BESIDE * (sum(self._kept.values()) + 2 * max(self._kept.values(), default=0)))

    def __enter__(self) -> Activations:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            self._kept[storage.data_ptr()] = storage.nbytes()
        return tensor


def spared(extra: Mapping[str, Any]) -> bool:
    """Whether activations are computed anew in the backward pass, so that what was counted is not what will be kept."""
    return any(bool(extra.get(key)) for key in ("gradient_checkpointing", "activation_checkpointing"))


def batch_that_fits(sample: int | None, state: int, free: int | None) -> int | None:
    """Samples beside `state` bytes of weights, gradients and optimizer; at least 1; None when it is not known."""
    if free is None or not sample:
        return None
    return max(1, int((ROOM * free - state) // sample))
