"""Rows too many to be tokenised for a look at them: some, drawn all over the file, stand for all.

Equal ones are told by their whole texts. A run tokenises every row. Not covered: texts in windows, words with tags,
rows of token ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from .. import dataset
from ._hf_columns import CAUSAL, SEQUENCE, Roles
from ._hf_rows import Rows

AFFORDED = 20_000_000
"""Characters that are tokenised before a person decides: ten to twenty seconds on two cores."""
ROWS, WRITTEN = 200_000, 25_000
"""Most rows that are; and of those that a chat template writes, which costs more than the tokens."""
FEWEST = 1000
"""Rows of a part that are tokenised in any case."""
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
    characters = sum(sum(map(len, _dumps(roles, rows))) for rows in every)
    most = WRITTEN if templated else ROWS
    return min(1.0, AFFORDED / max(1, characters), most / max(1, sum(map(len, every))))


def drawn(n: int, share: float, seed: int) -> np.ndarray:
    """Positions of the rows that stand for all `n`, int64 in order: one drawn from each of equally long stretches.

    So no period of the file falls in with them. At least `FEWEST` where there are as many.
    """
    wanted = min(n, max(math.ceil(n * share), FEWEST))
    if wanted == n:
        return np.arange(n)
    edges = np.arange(wanted + 1) * n // wanted
    fraction = np.random.Generator(np.random.Philox(key=np.uint64(seed % 2**64))).random(wanted)
    found: np.ndarray = edges[:-1] + np.floor(fraction * np.diff(edges)).astype(np.int64)
    return found


def unread(roles: Roles, rows: Rows, targets: np.ndarray | None) -> Unread:
    """All rows as samples that are known by what they say alone."""
    hashed, chunk = [np.zeros(0, dtype=np.uint64)], list[bytes]()
    for text in _dumps(roles, rows):
        chunk.append(text.encode("utf-8", "surrogatepass"))
        if len(chunk) == CHUNK:
            hashed.append(dataset.hashed(chunk))
            chunk = []
    hashed.append(dataset.hashed(chunk))
    zeros = np.zeros(len(rows), dtype=np.int64)
    return Unread(rows.numbers, zeros if targets is None else targets, np.concatenate(hashed))


def _dumps(roles: Roles, rows: Rows) -> Iterator[str]:
    """Everything that a row's input says, without a doubt where one cell ends."""
    columns = [rows.columns[column] for role, column in roles.columns.items() if role not in ("label", "tags")]
    if len(columns) == 1 and all(isinstance(cell, str) for cell in columns[0]):
        return iter(columns[0])
    return map(repr, zip(*columns, strict=True))
