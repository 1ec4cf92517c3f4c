"""Samples that stand twice: in both parts or inside the training part, equal or nearly equal, by hashes.

Memory: eight to eighty bytes per sample. Not covered: a user's own data set beyond the samples that can be made in
`SECONDS`, which the finding says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from . import near
from .dataset import ArrayDataset, Data, Dataset, LazyDataset, WindowDataset, hashes
from .facts import Finding
from .table import listed_rows

LOOKED_AT = 20_000
"""Samples of a lazy dataset that are compared; the finding says when there are more."""
SECONDS = 5.0
"""Time that making samples of a lazy dataset for this comparison may take, per part."""
MANY = 0.01
"""Share of the validation samples from which near copies are a warning."""
BLOCK = 1 << 20
"""Windows of a text that are hashed at a time."""
EXAMPLES = 5
"""Examples of each kind that are named."""


def shared(data: Data, part: Dataset, test: Dataset) -> int:
    """How many samples of `test` also stand in `part`, by the hash of inputs and target; of text, in windows."""
    return equal(replace(data, train=part, val=test))[0]


def few_values(part: Dataset) -> bool:
    """Whether the samples take so few different values that equal ones are to be expected."""
    if isinstance(part, (LazyDataset, WindowDataset)):
        return False
    whole = hashes(part)[1]
    return len(np.unique(whole)) < 0.5 * len(whole)


def nearly(data: Data) -> list[Finding]:
    """Numeric samples that are nearly equal: rows of a table, arrays, standardised."""
    parts = [part for part in (data.train, data.val) if part is not None]
    inputs = [part.inputs for part in parts if isinstance(part, ArrayDataset)]
    if len(inputs) < len(parts) or data.vocabulary is not None or any(each.dtype.kind not in "fu" for each in inputs):
        return []
    rows = [np.asarray(part.rows) for part in parts]
    return near_findings(near.twins(near.vectors(*inputs)), rows[0], rows[1] if len(rows) > 1 else None, "samples")


def near_findings(twins: np.ndarray, train: np.ndarray, val: np.ndarray | None, unit: str) -> list[Finding]:
    """Findings on `twins` (`near.twins`) of both parts, whose row numbers are `train` (N,) and `val` (M,)."""
    n, found = len(train), []
    rows = train if val is None else np.concatenate((train, val))
    across = np.flatnonzero((twins[n:] >= 0) & (twins[n:] < n)) + n
    if val is not None and len(across):
        share = len(across) / len(val)
        message = (
            f"{len(across):,} of {len(val):,} validation {unit} ({share:.1%}) are nearly the same as a training one "
            f"({listed_rows(rows[across])})."
        )
        examples = [["val", int(rows[at]), "train", int(rows[twins[at]])] for at in across[:EXAMPLES]]
        facts = {"samples": len(across), "share": share, "examples": examples}
        advice = "Put near copies on one side (group_column), or remove them: validation is too good with them."
        found.append(Finding("near_overlap", "warning" if share >= MANY else "info", message, advice, facts))
    inside = np.flatnonzero(twins[:n] >= 0)
    if len(inside):
        share = len(inside) / n
        message = (
            f"{len(inside):,} of {n:,} training {unit} ({share:.1%}) are nearly the same as an earlier one "
            f"({listed_rows(rows[inside])})."
        )
        examples = [["train", int(rows[at]), "train", int(rows[twins[at]])] for at in inside[:EXAMPLES]]
        facts = {"samples": len(inside), "share": share, "examples": examples}
        found.append(Finding("near_duplicates", "info", message, facts=facts))
    return found


def equal(data: Data) -> tuple[int, list[Finding]]:
    """Validation samples that also stand in training; with the findings on equal and contradicting samples."""
    if isinstance(data.train, WindowDataset):
        return _text_overlap(data)
    most = _affordable(data.train) if isinstance(data.train, LazyDataset) and data.train.digest is None else None
    train_inputs, train_whole = hashes(data.train, most)
    found = _inside(train_inputs, train_whole, data)
    if data.val is None:
        return 0, found
    val_inputs, val_whole = hashes(data.val, most)
    same = np.isin(val_whole, train_whole)
    contradicting = np.isin(val_inputs, train_inputs) & ~same
    count, n = int(same.sum()), len(val_whole)
    if count:
        rows = listed_rows(np.asarray(data.val.rows)[same])
        message = f"{count:,} of {n:,} validation samples ({count / n:.1%}) also stand in the training part ({rows})."
        advice = "Remove the duplicates: the validation result is better than it would be on new data."
        if len(np.unique(train_whole)) < 0.5 * len(train_whole):
            advice = (
                "The inputs take few different values, so equal samples are to be expected; more columns tell more."
            )
        examples = _examples(val_whole, train_whole, np.flatnonzero(same), data)
        facts = {"samples": count, "share": count / n, "examples": examples}
        found.append(Finding("overlap", "warning", message, advice, facts))
    if contradicting.any():
        many = int(contradicting.sum())
        message = f"{many:,} validation samples have the inputs of a training sample and another target."
        examples = _examples(val_inputs, train_inputs, np.flatnonzero(contradicting), data)
        facts = {"samples": many, "examples": examples}
        found.append(Finding("contradiction", "info", message, "No model can get both right.", facts))
    if most is not None and max(len(data.train), len(data.val)) > most:
        found.append(Finding("overlap", "info", f"only the first {most:,} samples of each part were compared."))
    return count, found


def _examples(val: np.ndarray, train: np.ndarray, at: np.ndarray, data: Data) -> list[list[Any]]:
    """The first validation samples at `at` with the training sample of the same hash."""
    assert data.val is not None  # they are its samples
    first = at[:EXAMPLES]
    partners = [int(np.flatnonzero(train == val[one])[0]) for one in first.tolist()]
    rows, others = np.asarray(data.val.rows)[first], np.asarray(data.train.rows)[partners]
    return [["val", int(row), "train", int(other)] for row, other in zip(rows, others, strict=True)]


def _affordable(dataset: Dataset) -> int:
    """How many samples of a user's data set can be made in `SECONDS`, judged by the first few."""
    few = np.arange(min(8, len(dataset)))
    started = time.perf_counter()
    dataset.batch(few)
    return int(min(LOOKED_AT, max(len(few), SECONDS * len(few) / (time.perf_counter() - started + 1e-9))))


def _inside(inputs: np.ndarray, whole: np.ndarray, data: Data) -> list[Finding]:
    """Duplicates and contradictions inside the training part."""
    found = []
    twice = len(whole) - len(np.unique(whole))
    if twice:
        share = twice / len(whole)
        again, rows = _again(whole), np.asarray(data.train.rows)
        message = f"{twice:,} of {len(whole):,} training samples ({share:.1%}) are copies of another one."
        examples = [["train", int(rows[at]), "train", int(rows[first])] for at, first in again]
        facts = {"samples": twice, "share": share, "examples": examples}
        found.append(Finding("duplicates", "info", message, facts=facts))
    torn = len(np.unique(whole)) - len(np.unique(inputs))
    if torn and data.task == "classification":
        message = f"{torn:,} training inputs occur with more than one class."
        found.append(Finding("contradiction", "info", message, "No model can get all of them right.", {"inputs": torn}))
    return found


def _again(whole: np.ndarray) -> list[tuple[int, int]]:
    """Positions of the first samples that stand earlier already, with that earlier place."""
    order = np.argsort(whole, kind="stable")
    later = np.sort(order[1:][whole[order[1:]] == whole[order[:-1]]])[:EXAMPLES]
    return [(int(at), int(np.flatnonzero(whole == whole[at])[0])) for at in later]


def _text_overlap(data: Data) -> tuple[int, list[Finding]]:
    """Windows of the validation text that stand, anywhere, in the training text."""
    train, val = data.train, data.val
    if not isinstance(train, WindowDataset) or not isinstance(val, WindowDataset):
        return 0, []
    parts, before = [], 0
    for block in _rolling(val.tokens, val.length):
        parts.append(block[-before % val.length :: val.length].copy())
        before += len(block)
    windows = np.concatenate(parts)
    wanted = np.unique(windows)
    seen = np.zeros(len(wanted), dtype=bool)
    for block in _rolling(train.tokens, train.length):
        at = np.minimum(np.searchsorted(wanted, block), len(wanted) - 1)
        seen[at[wanted[at] == block]] = True
    count = int(seen[np.searchsorted(wanted, windows)].sum())
    if not count:
        return 0, []
    share = count / len(windows)
    message = f"{count:,} of {len(windows):,} validation windows ({share:.1%}) also stand in the training text."
    advice = "Remove the repeated passages: the validation loss is lower than it would be on new text."
    return count, [Finding("overlap", "warning", message, advice, {"samples": count, "share": share})]


def _rolling(tokens: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Polynomial hash modulo 2⁶⁴ of every window of `length` tokens (Karp & Rabin 1987), by prefix sums, in blocks."""
    base = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2⁶⁴
    inverse = np.uint64(pow(int(base), -1, 1 << 64))
    windows = len(tokens) - length + 1
    size = min(BLOCK, windows)
    powers, inverses = np.full(size + length - 1, base), np.full(size, inverse)
    powers[0] = inverses[0] = 1
    np.cumprod(powers, out=powers)
    np.cumprod(inverses, out=inverses)
    drawn = np.random.Philox(key=np.uint64(1)).random_raw(int(tokens.max()) + 1)
    for start in range(0, windows, size):
        n = min(size, windows - start)
        values = drawn[tokens[start : start + n + length - 1]] * powers[: n + length - 1]
        sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)))
        hashed: np.ndarray = (sums[length:] - sums[:n]) * inverses[:n]
        yield hashed
