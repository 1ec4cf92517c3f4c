"""Divides row positions into training and validation: seeded, stratified by class, groups kept together; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import DataError
from .order import SPLIT, permutation, random_keys

TRIES = 32
"""Seeded orders of the groups that are compared; the best balanced is taken."""


@dataclass(frozen=True)
class Split:
    """Sorted positions, int64; together every row, none twice."""

    train: np.ndarray
    val: np.ndarray


def divide(
    n: int, *, fraction: float, seed: int, classes: np.ndarray | None = None, groups: np.ndarray | None = None
) -> Split:
    """Holds out about `fraction` of `n` rows.

    classes: int (n,), each class keeps its share in both parts; one with two rows or more is in both, one with a single
    row is in the training part. groups: int (n,), rows of equal value stay together (a negative value is a group of its
    own); with both, the grouping holds and the classes are balanced as well as 32 orders allow. Raises DataError when
    there are too few rows or groups to divide.
    """
    if n < 2:
        raise DataError(
            f"{n} row cannot be divided into training and validation.", "Add data, or name a validation file."
        )
    if groups is not None:
        held = _grouped(n, fraction, seed, classes, groups)
    elif classes is not None:
        held = _stratified(n, fraction, seed, classes)
    else:
        held = np.zeros(n, dtype=bool)
        held[permutation(seed, 0, n, SPLIT)[: min(max(1, round(fraction * n)), n - 1)]] = True
    if not held.any() or held.all():
        raise DataError(
            f"{n} rows give no validation part with every class in the training part.",
            "Add data, or name a validation file.",
        )
    return Split(np.flatnonzero(~held), np.flatnonzero(held))


def by_time(moments: np.ndarray, fraction: float, what: str) -> Split:
    """Holds out the newest rows, about `fraction` of them; rows of the same moment stay together.

    moments: float64 (n,) that grows with time. Raises DataError, which names `what`, for rows without one and when all
    are of the same moment.
    """
    gone = int((~np.isfinite(moments)).sum())
    if gone:
        raise DataError(f"{what} has no time in {gone:,} of {len(moments):,} rows.", "Fill it or remove these rows.")
    ordered = np.sort(moments)
    cuts = np.flatnonzero(np.diff(ordered) > 0) + 1
    if not len(cuts):
        raise DataError(f"{what} holds one moment only: nothing is newer.", "Name another time_column.")
    cut = cuts[np.argmin(np.abs(cuts - contiguous(len(moments), fraction)))]
    held = moments >= ordered[cut]
    return Split(np.flatnonzero(~held), np.flatnonzero(held))


def contiguous(n: int, fraction: float) -> int:
    """Length of the first part when the last `fraction` of `n` is held out; at least one on each side."""
    return min(max(1, n - round(fraction * n)), max(1, n - 1))


def shares(fraction: float) -> str:
    """The split in words: `80/20` for a fraction of 0.2."""
    return f"{100 - 100 * fraction:g}/{100 * fraction:g}"


def _stratified(n: int, fraction: float, seed: int, classes: np.ndarray) -> np.ndarray:
    codes = np.unique(classes, return_inverse=True)[1].reshape(-1)
    quota = _quotas(np.bincount(codes), fraction)
    order = np.lexsort((random_keys(seed, 0, n, SPLIT), codes))
    counts = np.bincount(codes)
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(n, dtype=bool)
    held[order] = within < quota[codes[order]]
    return held


def _quotas(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Rows of each class to hold out: its share by largest remainders, then at least one and never all."""
    exact = counts * fraction
    quota = np.floor(exact).astype(np.int64)
    left = round(fraction * int(counts.sum())) - int(quota.sum())
    quota[np.argsort(-(exact - quota), kind="stable")[: max(0, left)]] += 1
    return np.where(counts < 2, 0, np.clip(quota, 1, np.maximum(counts - 1, 1)))


def _grouped(n: int, fraction: float, seed: int, classes: np.ndarray | None, groups: np.ndarray) -> np.ndarray:
    lonely = groups < 0
    distinct = np.where(lonely, groups.max(initial=0) + 1 + np.arange(n), groups)
    codes = np.unique(distinct, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise DataError(
            "the group column has one value only: a split by groups needs two.", "Name another group column."
        )
    labels = None if classes is None else np.unique(classes, return_inverse=True)[1].reshape(-1)
    best, best_cost = np.zeros(n, dtype=bool), np.inf
    for attempt in range(TRIES):
        order = permutation(seed, attempt, len(sizes), SPLIT)
        total = np.cumsum(sizes[order])
        cut = int(np.argmin(np.abs(total[:-1] - fraction * n))) + 1
        chosen = np.zeros(len(sizes), dtype=bool)
        chosen[order[:cut]] = True
        held = chosen[codes]
        cost = abs(held.mean() - fraction) + (0.0 if labels is None else _imbalance(labels, held))
        if cost < best_cost:
            best, best_cost = held, cost
    return best


def _imbalance(labels: np.ndarray, held: np.ndarray) -> float:
    """Half the distance between the class shares of both parts, plus one for each class that is missing in a part."""
    size = int(labels.max()) + 1
    val, train = np.bincount(labels[held], minlength=size), np.bincount(labels[~held], minlength=size)
    empty = int((val == 0).sum()) + 2 * int((train == 0).sum())
    return float(np.abs(val / val.sum() - train / train.sum()).sum() / 2) + empty
