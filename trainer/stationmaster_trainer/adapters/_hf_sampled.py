"""Rows too many to be tokenised for a look at them: evenly spaced ones stand for all, and their texts tell equal ones.

A run tokenises every row. Not covered: texts in windows, words with tags, rows of token ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from .. import dataset
from . import _hf_look
from ._hf_columns import CAUSAL, SEQUENCE, Roles
from ._hf_rows import Rows

AFFORDED = 20_000_000
"""Characters that are tokenised before a person decides: ten to twenty seconds on two cores."""
ROWS, WRITTEN = 200_000, 25_000
"""Most rows that are; and of those that a chat template writes, which costs more than the tokens."""
CHUNK = 10_000
"""Texts that are hashed at a time."""


@dataclass(frozen=True, eq=False)
class Unread:
    """N samples that were not made: to be counted and compared, not to be trained on."""

    rows: np.ndarray = field(repr=False)
    """int64 (N,): row numbers in the file."""
    targets: np.ndarray = field(repr=False)
    """(N,): classes or values; zeros where a sample has none."""
    hashed: np.ndarray = field(repr=False)
    """uint64 (N,): hash of all that the row says."""

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> NoReturn:
        """Raises RuntimeError: there is nothing to train on."""
        raise RuntimeError(f"{len(indices)} samples were asked for of rows that were only looked at")


def share(roles: Roles, parts: Iterable[Rows | None], templated: bool) -> float:
    """Share of the rows of all parts that is tokenised, in (0, 1]. `templated`: whether a chat template writes them."""
    if roles.kind != SEQUENCE and (roles.kind != CAUSAL or roles.form in ("input_ids", "text")):
        return 1.0
    every = [rows for rows in parts if rows is not None]
    characters = sum(sum(map(len, _hf_look.said(roles, rows))) for rows in every)
    most = WRITTEN if templated else ROWS
    return min(1.0, AFFORDED / max(1, characters), most / max(1, sum(map(len, every))))


def unread(roles: Roles, rows: Rows, targets: np.ndarray | None) -> Unread:
    """All rows as samples that are known by their texts alone."""
    texts, hashed, chunk = _hf_look.said(roles, rows), [np.zeros(0, dtype=np.uint64)], list[bytes]()
    for text in texts:
        chunk.append(text.encode("utf-8", "surrogatepass"))
        if len(chunk) == CHUNK:
            hashed.append(dataset.hashed(chunk))
            chunk = []
    hashed.append(dataset.hashed(chunk))
    zeros = np.zeros(len(rows), dtype=np.int64)
    return Unread(rows.numbers, zeros if targets is None else targets, np.concatenate(hashed))
