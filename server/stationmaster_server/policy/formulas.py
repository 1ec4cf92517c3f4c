"""Formulas behind the defaults: pure functions, each with its source. N = parameters, D = training tokens.

Not covered: whether a fitted law holds for another architecture or data set; the proposal shows the number beside the
table's value and a person decides.
"""

from __future__ import annotations

import math

LARGE_LANGUAGE_MODEL = 46_000_000
"""Parameters from which a language model counts as large for β2 (between nanoGPT's 30M and GPT-3's 125M)."""


def steps_per_epoch(samples: int, batch_size: int, gradient_accumulation: int = 1) -> int:
    """Optimizer steps of one pass; the short last batch and the short last accumulation group count as well."""
    return max(1, math.ceil(math.ceil(samples / batch_size) / gradient_accumulation))


def total_steps(epochs: float, steps: int) -> int:
    """Checklist: total steps = epochs × steps per epoch; at least one."""
    return max(1, math.ceil(round(epochs * steps, 6)))


def warmup_steps(total: int) -> int:
    """Checklist: 10 % of the total or 2000, whichever is smaller."""
    return min(total // 10, 2000)


def gradient_accumulation(effective_batch: int, batch_size: int) -> int:
    """Micro-batches per step that reach the effective batch, rounded up."""
    return max(1, math.ceil(effective_batch / batch_size))


def power_of_two(value: float) -> int:
    """Largest power of two not above `value`; 1 below 2."""
    return 1 << max(0, math.floor(math.log2(value))) if value >= 1 else 1


def small_data_batch(samples: int, low: int = 8, high: int = 4096, updates: int = 32) -> int:
    """Largest power of two in [low, high] that leaves at least `updates` steps in an epoch, at most `samples`.

    Batches of 2 to 32 generalised best at equal epochs in Masters & Luschi 2018 (arXiv 1804.07612); on little data a
    large batch mostly means few updates.
    """
    return max(1, min(samples, max(low, min(high, power_of_two(samples / updates)))))


def lora_learning_rate(full: float) -> float:
    """LoRA takes ten times the full fine-tuning rate, on all linear layers (Thinking Machines 2025)."""
    return 10.0 * full


def sgd_learning_rate(effective_batch: int, per_256: float = 0.1) -> float:
    """Linear scaling: 0.1 per 256 samples (Goyal et al. 2017, arXiv 1706.02677; torchvision's ResNet recipe)."""
    return per_256 * effective_batch / 256


def step_law(parameters: float, tokens: float) -> tuple[float, float]:
    """Learning rate and batch in tokens: 1.79·N^−0.713·D^0.307 and 0.58·D^0.571, N without embeddings.

    Li et al. 2025, Step Law (arXiv 2503.04715), fitted on 60M to 1B parameters and 2B to 100B tokens.
    """
    return 1.79 * parameters**-0.713 * tokens**0.307, 0.58 * tokens**0.571


def porian(parameters: float) -> tuple[float, float]:
    """Learning rate and batch in tokens: 0.0047·(N/108e6)^(−1/3) and 327,680·(N/108e6)^(2/3).

    Porian et al. 2024 (arXiv 2406.19146) as OLMo-core uses it; practice halves the rate.
    """
    scale = parameters / 108e6
    return 0.0047 * scale ** (-1 / 3), 327_680 * scale ** (2 / 3)


def scaled_beta2(beta2: float, batch: float, reference_batch: float) -> float:
    """β2 with the same half-life in tokens at another batch: β2^(B'/B) (Marek et al. 2025, arXiv 2507.07101)."""
    return float(beta2 ** (batch / reference_batch))


def compute_optimal_tokens(parameters: float) -> float:
    """About 20 tokens per parameter (Hoffmann et al. 2022, arXiv 2203.15556)."""
    return 20.0 * parameters


def training_bytes(parameters: int) -> int:
    """Bytes of weights, gradients and AdamW's state: 16 per parameter, in mixed precision too; no activations."""
    return 16 * parameters


def checkpoint_bytes(parameters: int) -> int:
    """Bytes of one checkpoint: fp32 weights and AdamW's two moments."""
    return 12 * parameters
