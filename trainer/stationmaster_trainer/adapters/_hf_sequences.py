"""Tokenised samples of different length in flat arrays, padded batch by batch; and windows over one long text.

Both are data sets as `dataset.Dataset`, whose inputs are the model's keyword arguments as arrays by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

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
    """Windows of `length` tokens over a long text (int32), each its own label: the model shifts by itself."""

    def batch(self, indices: np.ndarray) -> tuple[Inputs, np.ndarray]:
        """Inputs and labels int64 (B, length)."""
        at = np.asarray(indices)[:, None] * self.length + np.arange(self.length)
        ids = self.tokens[at].astype(np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}, ids


class Gathering:
    """Samples put one behind the other as they come: a million short ones take the room of their tokens."""

    def __init__(self) -> None:
        self._fields: dict[str, list[np.ndarray]] = {"input_ids": [np.zeros(0, dtype=np.int32)]}
        self._lengths: list[np.ndarray] = []

    def many(self, fields: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """As many samples as each field has lists, which are equally long from field to field."""
        lengths = np.fromiter(map(len, fields["input_ids"]), dtype=np.int64)
        self.block({name: flat(lists) for name, lists in fields.items()}, lengths)

    def block(self, fields: Mapping[str, np.ndarray], lengths: np.ndarray) -> None:
        """Samples that lie one behind the other already: int32 arrays (tokens,) by name, int64 (samples,) lengths."""
        self._lengths.append(lengths)
        for name, values in fields.items():
            self._fields.setdefault(name, []).append(values)

    def done(self, rows: np.ndarray, pad: int) -> Sequences:
        """All of them as one data set; `rows` (N,) are their rows in the file, `pad` fills a batch."""
        fields = {name: np.concatenate(parts) for name, parts in self._fields.items()}
        return Sequences(fields, np.cumsum(np.concatenate([[0], *self._lengths]), dtype=np.int64), rows, pad)


def rows_and_places(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 (sum of lengths,) both: the row of each token, and its place in the row."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - (np.cumsum(lengths) - lengths)[row]


def flat(lists: Iterable[Sequence[int]]) -> np.ndarray:
    """int32 (all of them,): lists of tokens one behind the other."""
    return np.fromiter(chain.from_iterable(lists), dtype=np.int32)
