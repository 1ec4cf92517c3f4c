"""Tokenised samples of different length in flat arrays, padded batch by batch; and windows over one long text.

Both are data sets as `dataset.Dataset`, whose inputs are the model's keyword arguments as arrays by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..dataset import WindowDataset

IGNORED = -100
"""Label that carries no loss, as in torch's cross entropy."""
Inputs = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Sequences:
    """N samples of tokens; the label is one per sample or one per token."""

    fields: dict[str, np.ndarray] = field(repr=False)
    """`input_ids`, maybe `token_type_ids`, and `labels` when there is one per token: int32 (all tokens,) each."""
    offsets: np.ndarray = field(repr=False)
    """int64 (N + 1,): sample i is [offsets[i], offsets[i + 1])."""
    rows: np.ndarray = field(repr=False)
    """int64 (N,): row numbers in the file."""
    pad: int = 0
    """Token that fills shorter samples of a batch."""
    answers: np.ndarray | None = field(default=None, repr=False)
    """int64 (N,) classes or float32 (N,) values, when there is one label per sample."""
    label_counts: np.ndarray | None = field(default=None, repr=False)
    """int64 (classes,): tokens of each class, for labels per token."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (N,): tokens of each sample."""
        return np.diff(self.offsets)

    @property
    def targets(self) -> np.ndarray:
        """For counting and comparing: the labels per sample; zeros where there are none, the digest tells all then."""
        return np.zeros(len(self), dtype=np.int64) if self.answers is None else self.answers

    def digest(self, index: int) -> bytes:
        """Content to compare samples by."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return b"\0".join(hashlib.blake2b(values[span].tobytes()).digest() for values in self.fields.values())

    def batch(self, indices: np.ndarray) -> tuple[Inputs, np.ndarray]:
        """Inputs and labels (B,) or (B, T), as long as the longest of the batch, padded on the right."""
        starts, lengths = self.offsets[indices], self.lengths[indices]
        width = int(lengths.max())
        inside = np.arange(width) < lengths[:, None]
        at = np.where(inside, starts[:, None] + np.arange(width), 0)
        found: Inputs = {"attention_mask": inside.astype(np.int64)}
        for name, values in self.fields.items():
            fill = {"input_ids": self.pad, "labels": IGNORED}.get(name, 0)
            found[name] = np.where(inside, values[at], fill).astype(np.int64)
        labels = found.pop("labels", None)
        return found, labels if labels is not None else self.targets[indices]


@dataclass(frozen=True, eq=False)
class Windows(WindowDataset):
    """Windows of `length` tokens over a long text, each its own label: the model shifts by itself."""

    def batch(self, indices: np.ndarray) -> tuple[Inputs, np.ndarray]:
        """Inputs and labels int64 (B, length)."""
        at = np.asarray(indices)[:, None] * self.length + np.arange(self.length)
        ids = self.tokens[at]
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}, ids


def gathered(samples: Sequence[dict[str, np.ndarray]], rows: np.ndarray, pad: int) -> Sequences:
    """Samples, each a dictionary of equally long int arrays, as one data set."""
    lengths = np.array([len(sample["input_ids"]) for sample in samples], dtype=np.int64)
    names = samples[0].keys() if samples else {"input_ids": 0}.keys()
    empty = np.zeros(0, dtype=np.int32)
    fields = {name: np.concatenate([empty, *(s[name] for s in samples)]).astype(np.int32) for name in names}
    return Sequences(fields, np.concatenate(([0], np.cumsum(lengths))), rows, pad)
