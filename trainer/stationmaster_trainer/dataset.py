"""Samples by index: what a training loop asks of data, be it in memory, in image files, in a text or in user code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .facts import Finding
from .preprocessing import Preprocessing


class Dataset(Protocol):
    """N samples."""

    @property
    def rows(self) -> np.ndarray:
        """int64 (N,): row number of each sample in its source file, counted from 1, for messages.

        Of images the position among the sorted files, of text the line.
        """

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Inputs float32 (B, …) or int64 (B, T); targets int64 (B,), float32 (B,) or (B, k), int64 (B, T), or None."""


@dataclass(frozen=True, eq=False)
class Data:
    """Training and validation data, ready for a model."""

    train: Dataset
    val: Dataset | None
    """None when validation was waived."""
    task: str
    task_why: str
    target: str | None
    """Column or array to predict; several with commas."""
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    """Shape of one sample."""
    outputs: int
    """Numbers that the model must give per sample (or per token): classes, target columns, vocabulary."""
    vocabulary: int | None
    """Different tokens, when the inputs are tokens."""
    preprocessing: Preprocessing
    dropped: int
    """Rows left out because of missing values."""
    method: str
    """The validation decision in words."""
    fingerprint: str
    """SHA-256 over the content of every data file."""
    notes: tuple[str, ...]
    """What was done that a person should know, one sentence each."""
    findings: tuple[Finding, ...] = ()
    """What was seen while reading; `findings.py` adds what is seen by comparing the parts."""
    sample_unit: str = "samples"
    target_why: str = ""


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Samples in memory."""

    inputs: np.ndarray = field(repr=False)
    targets: np.ndarray | None = field(repr=False)
    rows: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return self.inputs[indices], None if self.targets is None else self.targets[indices]


@dataclass(frozen=True, eq=False)
class WindowDataset:
    """Windows of `length` tokens over a long text, one after the other; the target is moved on by one token."""

    tokens: np.ndarray = field(repr=False)
    """int64 (characters,)."""
    length: int
    rows: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        at = np.asarray(indices)[:, None] * self.length + np.arange(self.length)
        return self.tokens[at], self.tokens[at + 1]


@dataclass(frozen=True, eq=False)
class LazyDataset:
    """Samples that `get` makes one by one; `targets` are known beforehand for image folders, else None."""

    size: int
    get: Callable[[int], tuple[np.ndarray, np.ndarray | None]]
    """Index → input and target of one sample."""
    rows: np.ndarray = field(repr=False)
    targets: np.ndarray | None = field(default=None, repr=False)
    digest: Callable[[int], bytes] | None = None
    """Index → content to hash where that is cheaper than the decoded sample (the bytes of an image file)."""
    classes: tuple[str, ...] = ()
    """Class names, where the user's data set knows them."""
    small: Callable[[int], np.ndarray] | None = field(default=None, repr=False)
    """Index → grey values 0 … 255 of a small image (`pictures`), for image files. DataError for a damaged one."""
    name: Callable[[int], str] | None = field(default=None, repr=False)
    """Index → what a person calls the sample: the path of an image."""

    def __len__(self) -> int:
        return self.size

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        inputs, targets = zip(*(self.get(int(index)) for index in indices), strict=True)
        return np.stack(inputs), None if targets[0] is None else np.stack(targets)


def known_targets(dataset: Dataset) -> np.ndarray | None:
    """All targets (N, …) where they are known without making the samples, else None."""
    found: Any = getattr(dataset, "targets", None)
    return None if found is None else np.asarray(found)


def hashes(dataset: Dataset, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """64-bit hashes of the inputs and of inputs with target, uint64 (N,) each, over the first `most` samples."""
    n = len(dataset) if most is None else min(most, len(dataset))
    digest: Any = getattr(dataset, "digest", None)
    known: np.ndarray | None = getattr(dataset, "hashed", None)
    targets = known_targets(dataset)
    found = np.empty((2, n), dtype=np.uint64)
    for start in range(0, n, 4096):
        indices = np.arange(start, min(start + 4096, n))
        if known is not None and targets is not None:
            inputs_hashed, batch_targets = known[indices], targets[indices]
        elif digest is not None and targets is not None:
            inputs_hashed, batch_targets = hashed([digest(int(index)) for index in indices]), targets[indices]
        else:
            inputs, batch_targets = dataset.batch(indices)
            inputs_hashed = hashed(_row_bytes(inputs))
        found[0, indices] = inputs_hashed
        found[1, indices] = inputs_hashed if batch_targets is None else _with_targets(inputs_hashed, batch_targets)
    return found[0], found[1]


def _with_targets(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Hashes of the inputs joined with the targets, one by one."""
    joined = np.column_stack((np.ascontiguousarray(inputs).view(np.uint8).reshape(len(inputs), 8), _as_bytes(targets)))
    return hashed(_row_bytes(joined))


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """uint8 (N, bytes of a row)."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), -1)


def _row_bytes(array: np.ndarray) -> list[bytes]:
    rows = _as_bytes(array.reshape(len(array), -1))
    packed: list[bytes] = rows.view(f"V{rows.shape[1]}").reshape(-1).tolist()
    return packed


def hashed(rows: list[bytes]) -> np.ndarray:
    """64-bit BLAKE2b of each."""
    return np.frombuffer(b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows), dtype=np.uint64)
