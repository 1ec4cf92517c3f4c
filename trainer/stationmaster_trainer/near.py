"""Samples that are nearly equal: random projections find candidates (Datar et al. 2004, "Locality-sensitive hashing
scheme based on p-stable distributions"), the samples themselves decide.

Memory: one key per sample and a chunk at a time. Not covered: near copies that are far apart as numbers, such as a
mirrored image, and samples of so few dimensions that equal ones meet by chance: `coincidence` tells, then none is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

RADIUS = 0.01
"""Root mean square difference of near samples, in standard deviations of the features."""
FURTHEST = 0.1
"""Most that a single feature of near samples may differ, in its standard deviations."""
TABLES, PROJECTIONS, WIDTH = 6, 6, 8.0
"""Hash tables, projections in a key, and width of their cells in radii: a pair at the radius is found with 99 %."""
CHUNK = 1 << 22
"""Numbers that are projected or compared at a time."""
PAIRS = 100_000
"""Random pairs whose distances tell how often samples are near by chance."""
LIKELIER = 5.0
"""How many times more near samples than by chance there must be before they are told."""
Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Samples of both parts as numbers, training first, without a copy of them."""

    parts: tuple[np.ndarray, ...]
    """(N, …) each."""
    scale: np.ndarray
    """float32 (D,): one over each feature's standard deviation; 0 for a constant feature."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def take(self, indices: np.ndarray) -> np.ndarray:
        """float32 (B, D), scaled."""
        found = np.empty((len(indices), len(self.scale)), dtype=np.float32)
        first = 0
        for part in self.parts:
            inside = (indices >= first) & (indices < first + len(part))
            found[inside] = part[indices[inside] - first].reshape(-1, len(self.scale))
            first += len(part)
        return found * self.scale


def vectors(*parts: np.ndarray) -> Vectors:
    """Scaled by the deviations of evenly spaced samples of the first part."""
    width = int(np.prod(parts[0].shape[1:], dtype=int))
    some = parts[0][:: max(1, len(parts[0]) // 5000)].reshape(-1, width).astype(np.float64)
    deviation = some.std(axis=0) if len(some) else np.zeros(width)
    flat = deviation <= 1e-9 * np.abs(some).max(axis=0, initial=0.0)
    return Vectors(parts, np.where(flat, 0.0, 1 / np.where(flat, 1.0, deviation)).astype(np.float32))


def twins(found: Vectors, radius: float = RADIUS, furthest: float = FURTHEST) -> np.ndarray:
    """int64 (N,): an earlier sample that is near but not equal, -1 where there is none or where chance explains them.

    Of a pair across the parts the later one is that of validation.
    """
    pairs = paired(_keys(found, radius), len(found), lambda a, b: _near(found, a, b, radius, furthest))
    many = int((pairs >= 0).sum())
    chance = coincidence(found, radius, many) if many else 0.0
    if many < LIKELIER * chance + (chance > 0.02):  # two at least, where one is no great surprise
        return np.full(len(found), -1, dtype=np.int64)
    return pairs


def coincidence(found: Vectors, radius: float, many: int = 0) -> float:
    """Samples that would have a near one by chance, extrapolated from the distances of random pairs.

    The share of pairs within r grows as r^d (correlation dimension, Grassberger & Procaccia 1983); d is read from the
    nearest pairs: a thousandth of all, or ten times the `many` that were found, and ten times as many. Infinite where
    so many are equal that nothing can be said.
    """
    n = len(found)
    if n < 3:
        return 0.0
    distances = np.sort(_some_distances(found))
    share = min(0.05, max(1e-3, 20.0 * many / (n * n)))
    near, wide = (float(distances[int(each * (len(distances) - 1))]) for each in (share, 10 * share))
    if near <= 0:
        return math.inf
    dimension = math.log(10) / max(1e-9, math.log(wide / near))
    return float(n * min(1.0, n * share * min(1.0, radius / near) ** dimension))


def _some_distances(found: Vectors) -> np.ndarray:
    """Of all pairs where there are few, else of random ones, float32 (P,)."""
    n, generator = len(found), np.random.default_rng(0)
    if n * (n - 1) // 2 <= PAIRS:
        a, b = np.triu_indices(n, 1)
    else:
        a, b = generator.integers(0, n, (2, PAIRS))
        a, b = a[a != b], b[a != b]
    step = max(1, CHUNK // max(1, len(found.scale)))
    return np.concatenate([_distance(found, a[at : at + step], b[at : at + step])[0] for at in range(0, len(a), step)])


def paired(keys: Iterable[np.ndarray], n: int, near: Compare) -> np.ndarray:
    """int64 (N,): for each sample an earlier one that shares a key and is near, else -1.

    keys: uint64 (N,) each, one after the other. Samples under one key are compared with the first of them and with the
    one before, so that the work stays linear. near: positions a, b (int64) → whether each pair is near.
    """
    found = np.full(n, -1, dtype=np.int64)
    for key in keys:
        order = np.argsort(key, kind="stable")
        ranked = key[order]
        fresh = np.concatenate(([True], ranked[1:] != ranked[:-1]))
        first = order[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))]
        before = np.concatenate((order[:1], order[:-1]))
        for other in (first, before):
            at = np.flatnonzero(~fresh & (found[order] < 0))
            good = near(other[at], order[at]) if len(at) else np.zeros(0, dtype=bool)
            found[order[at[good]]] = other[at[good]]
    return found


def _keys(found: Vectors, radius: float) -> Iterable[np.ndarray]:
    n, width = len(found), len(found.scale)
    generator = np.random.default_rng(1)
    step = max(1, CHUNK // max(1, width))
    for _ in range(TABLES):
        directions = (generator.normal(size=(width, PROJECTIONS)) / math.sqrt(width)).astype(np.float32)
        shift = generator.uniform(size=PROJECTIONS)
        mixing = generator.integers(1, 1 << 63, PROJECTIONS, dtype=np.uint64) | np.uint64(1)
        key = np.empty(n, dtype=np.uint64)
        for at in range(0, n, step):
            here = np.arange(at, min(at + step, n))
            cells = np.floor(found.take(here) @ directions / (WIDTH * radius) + shift)
            cells = np.nan_to_num(cells, nan=0.0, posinf=9e15, neginf=-9e15).clip(-9e15, 9e15)
            key[here] = (cells.astype(np.int64).view(np.uint64) * mixing).sum(axis=1)
        yield key


def _near(found: Vectors, a: np.ndarray, b: np.ndarray, radius: float, furthest: float) -> np.ndarray:
    step = max(1, CHUNK // max(1, len(found.scale)))
    good = np.zeros(len(a), dtype=bool)
    for at in range(0, len(a), step):
        distance, most = _distance(found, a[at : at + step], b[at : at + step])
        good[at : at + step] = (distance > 0) & (distance <= radius) & (most <= furthest)
    return good


def _distance(found: Vectors, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square and largest difference of each pair, float32 (B,)."""
    away = np.abs(found.take(a) - found.take(b))
    return np.sqrt((away * away).mean(axis=1)), away.max(axis=1, initial=0.0)
