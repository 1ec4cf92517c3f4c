"""How many samples of one batch fit in memory beside weights, gradients and optimizer: an estimate by formula.

Activations of a transformer layer: 34 bytes per token and hidden unit in 16 bits (Korthikanti et al. 2022, arXiv
2205.05198, eq. 1, without the attention matrix, which fused attention does not keep), twice that in fp32. Logits: the
scores, their gradient and their fp32 copy. Not covered: convolutions, and what activation checkpointing saves.
"""

from __future__ import annotations

from typing import Any

from ._hf_columns import CAUSAL, IMAGE
from ._hf_lora import ROOM

PER_UNIT = 34


def tokens_per_sample(model: Any, kind: str, length: int) -> int:
    """Positions of one sample: its tokens, or the patches of an image."""
    if kind != IMAGE:
        return length
    size, patch = getattr(model, "image_size", 224), getattr(model, "patch_size", 16)
    sides = [one if isinstance(one, (list, tuple)) else (one, one) for one in (size or 224, patch or 16)]
    return max(1, sides[0][0] // max(1, sides[1][0])) * max(1, sides[0][1] // max(1, sides[1][1])) + 1


def sample_bytes(model: Any, kind: str, length: int, half: bool) -> int | None:
    """Bytes of activations that one sample keeps for the backward pass; None when the sizes are not known."""
    hidden, layers = getattr(model, "hidden_size", None), getattr(model, "num_hidden_layers", None)
    if not isinstance(hidden, int) or not isinstance(layers, int):
        return None
    inner = getattr(model, "intermediate_size", None)
    wider = max(1.0, (inner if isinstance(inner, int) else 4 * hidden) / (4 * hidden))
    units = PER_UNIT * hidden * layers * wider * (1 if half else 2)
    logits = int(getattr(model, "vocab_size", 0) or 0) * (10 if half else 12) if kind == CAUSAL else 0
    return int(tokens_per_sample(model, kind, length) * (units + logits))


def batch_that_fits(sample: int | None, state: int, free: int | None) -> int | None:
    """Samples beside `state` bytes of weights, gradients and optimizer; at least 1; None when it is not known."""
    if sample is None or free is None or not sample:
        return None
    return max(1, int((ROOM * free - state) // sample))
