"""Images looked at as small grey ones: which do not open, which are of one colour, which are nearly the same.

A perceptual hash: the small images are hashed and compared as vectors (`near`), brightness and contrast taken out. Not
covered: mirrored, turned and cropped copies, and images beyond those that can be opened in `SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import near
from .copies import EXAMPLES, near_findings
from .dataset import Data, LazyDataset
from .errors import DataError
from .facts import Finding
from .table import listed

SIDE = 16
"""Pixels of a small image's side."""
ALIKE = 0.1
"""Root mean square difference of near images, in units of their contrast: a correlation of 0.995."""
SECONDS = 8.0
"""Time that opening images may take."""
MOST = 100_000
"""Images that are opened."""
THREADS = 2
"""Decoders at work; Pillow works outside of Python's lock."""
BLOCK = 256
FLAT = 1.0
"""Deviation of the grey values 0 … 255 up to which an image shows one colour."""


@dataclass(frozen=True, eq=False)
class Small:
    """Images of one part."""

    positions: np.ndarray
    """int64 (N,): those that opened, positions in the part."""
    pixels: np.ndarray
    """float32 (N, SIDE²), each with mean 0 and deviation 1; zeros for one of a single colour."""
    flat: np.ndarray
    """bool (N,): of a single colour."""
    broken: dict[int, str]
    """Position → what is wrong with it."""
    looked_at: int


def of(data: Data) -> list[Finding]:
    """Findings on the images of both parts; none for data that are no image files."""
    parts = [part for part in (data.train, data.val) if part is not None]
    lazy = [part for part in parts if isinstance(part, LazyDataset) and part.small is not None]
    if len(lazy) < len(parts):
        return []
    each = MOST // len(lazy)
    seen = [_look(part, each, SECONDS * len(part) / sum(map(len, lazy))) for part in lazy]
    names = [name for part, small in zip(lazy, seen, strict=True) for name in _names(part, list(small.broken))]
    found = []
    if names:
        message = f"{len(names):,} images do not open: {listed(names, 10)}."
        found.append(Finding("unreadable", "error", message, "Replace or remove them.", {"images": names[:100]}))
    dull = [name for part, small in zip(lazy, seen, strict=True) for name in _names(part, small.positions[small.flat])]
    if dull:
        message = f"{len(dull):,} images are of one colour: {listed(dull, EXAMPLES)}."
        advice = "Look whether something went wrong when they were made."
        found.append(Finding("one_colour", "warning", message, advice, {"images": dull[:100]}))
    found += _near(lazy, seen)
    looked, whole = sum(small.looked_at for small in seen), sum(map(len, lazy))
    if looked < whole:
        message = f"{looked:,} of {whole:,} images, evenly spaced, were opened to look for damage and near copies."
        found.append(Finding("images", "info", message))
    return found


def _near(parts: Sequence[LazyDataset], seen: Sequence[Small]) -> list[Finding]:
    keep = [~small.flat for small in seen]
    pixels = [small.pixels[kept] for small, kept in zip(seen, keep, strict=True)]
    if not len(pixels[0]):
        return []
    vectors = near.Vectors(tuple(pixels), np.ones(SIDE * SIDE, dtype=np.float32))
    rows = [part.rows[small.positions[kept]] for part, small, kept in zip(parts, seen, keep, strict=True)]
    twins = near.twins(vectors, ALIKE, furthest=np.inf)
    return near_findings(twins, rows[0], rows[1] if len(rows) > 1 else None, "images")


def _look(part: LazyDataset, most: int, seconds: float) -> Small:
    """Opens evenly spaced images, more and more of them, while the time lasts."""
    small: Callable[[int], np.ndarray] | None = part.small
    assert small is not None  # `of` has looked
    order = _spread(len(part))[:most]
    made: dict[int, np.ndarray] = {}
    broken: dict[int, str] = {}
    deadline = time.monotonic() + seconds

    def one(index: int) -> np.ndarray | str:
        try:
            return small(index)
        except DataError as error:
            return error.message

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(order), BLOCK):
            block = order[start : start + BLOCK].tolist()
            for index, found in zip(block, pool.map(one, block), strict=True):
                if isinstance(found, str):
                    broken[index] = found
                else:
                    made[index] = found
            if time.monotonic() > deadline:
                break
    positions = np.array(sorted(made), dtype=np.int64)
    grey = np.array([made[at].reshape(-1) for at in positions.tolist()], dtype=np.float32).reshape(-1, SIDE * SIDE)
    deviation = grey.std(axis=1, keepdims=True)
    pixels = np.where(deviation > FLAT, (grey - grey.mean(axis=1, keepdims=True)) / np.maximum(deviation, FLAT), 0)
    flat = deviation[:, 0] <= FLAT
    return Small(positions, pixels.astype(np.float32), flat, dict(sorted(broken.items())), len(made) + len(broken))


def _spread(n: int) -> np.ndarray:
    """All positions, so ordered that any beginning is spread evenly: by the fraction of a golden step."""
    return np.argsort(np.arange(n) * 0.6180339887498949 % 1.0, kind="stable")


def _names(part: LazyDataset, positions: Any) -> list[str]:
    return [part.name(int(at)) if part.name is not None else f"number {int(part.rows[at])}" for at in positions]
