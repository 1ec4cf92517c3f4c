"""One column of a data file as numpy arrays, whatever reader it came from: numbers, booleans, texts, dates, lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from . import dates

Kind = Literal["number", "boolean", "text", "date", "list", "object"]
NO_VALUE = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--", "."})
"""Cells (lower case, stripped) that mean "no value" in a column that otherwise holds numbers."""
MOSTLY = 0.8
"""Share of number cells from which a text column is taken for a numeric one with wrong cells in it."""


@dataclass(frozen=True)
class Column:
    """A column of N cells."""

    name: str
    kind: Kind
    values: np.ndarray
    """number: any numeric dtype (N,), NaN or infinite = missing; boolean: bool or float (N,); text: int64 codes into
    `levels`, -1 = missing; date: float64 (N,) seconds since 1970; list: numeric (N, …); object: -1 = missing."""
    levels: tuple[str, ...] = ()
    """Sorted texts that the codes of a text column stand for."""
    odd: tuple[tuple[int, str], ...] = ()
    """First positions and cells that are no numbers in a numeric column; they count as missing."""
    odd_count: int = 0
    problem: str = ""
    """Why a column of kind `object` cannot be used."""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: np.ndarray) -> Column:
        """The same column with only these positions, in their order."""
        return replace(self, values=self.values[positions], odd=(), odd_count=0)

    def missing(self) -> np.ndarray:
        """Mask (N,) of empty or non-finite cells; a list is missing when any number in it is."""
        if self.kind in ("text", "object"):
            return self.values < 0
        if self.values.dtype.kind != "f":
            return np.zeros(len(self.values), dtype=bool)
        bad = ~np.isfinite(self.values)
        return bad.reshape(len(bad), -1).any(axis=1) if bad.ndim > 1 else bad

    def numbers(self) -> np.ndarray:
        """As float64 (N, …) with NaN for what is missing or is no number."""
        if self.kind == "text":
            parsed = np.array([*(parse_number(level) for level in self.levels), np.nan], dtype=np.float64)
            return parsed[self.values]
        if self.kind == "object":
            return np.full(len(self.values), np.nan)
        values = self.values.astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        return values

    def texts(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """As int64 codes (N,), -1 = missing, and the different texts they stand for, numbers in numeric order."""
        if self.kind == "text":
            return self.values, self.levels
        gone = self.missing()
        present, inverse = np.unique(self.values[~gone], return_inverse=True)
        codes = np.full(len(self.values), -1, dtype=np.int64)
        codes[~gone] = inverse.reshape(-1)
        return codes, tuple(_text_of(value, self.kind) for value in present.tolist())

    def unique(self) -> int:
        """Number of different values, missing ones not counted; of a list column 0."""
        if self.kind in ("list", "object"):
            return 0
        return len(np.unique(self.values[~self.missing()]))

    def integral(self) -> bool:
        """Whether every number present is a whole one."""
        if self.kind not in ("number", "boolean"):
            return False
        if self.values.dtype.kind != "f":
            return True
        present = self.values[~self.missing()]
        return bool(len(present)) and bool(np.all(present == np.floor(present)))


def from_array(name: str, array: np.ndarray) -> Column:
    """A column from an array (N,) or (N, …)."""
    kind = array.dtype.kind
    if array.ndim > 1 and kind in "buif":
        return Column(name, "list", array)
    if array.ndim != 1 or kind not in "buifUSMm":
        return unusable(name, len(array), f"an array of {array.dtype} with {array.ndim} axes")
    if kind in "US":
        return from_codes(name, *_factorize(array.astype(str)))
    if kind == "M":
        return Column(name, "date", _date_values(array))
    if kind == "m":
        return Column(name, "number", array.astype("timedelta64[ns]").astype(np.float64) / 1e9)
    return Column(name, "boolean" if kind == "b" else "number", array)


def from_codes(name: str, codes: np.ndarray, levels: tuple[str, ...]) -> Column:
    """A column from texts: codes (N,), -1 = missing, into sorted `levels`. Recognises numbers and dates in them."""
    if not levels:
        return Column(name, "number", np.full(len(codes), np.nan))
    if all(dates.PATTERN.fullmatch(level.strip()) for level in _sample(levels, 200)):
        return Column(name, "date", np.append(dates.seconds(levels), np.nan)[codes])
    return _numeric(name, codes, levels) or Column(name, "text", codes, levels)


def unusable(name: str, n: int, problem: str, gone: np.ndarray | None = None) -> Column:
    """A column whose cells cannot be inputs, and why."""
    values = np.zeros(n, dtype=np.int8)
    if gone is not None:
        values[gone] = -1
    return Column(name, "object", values, problem=problem)


def parse_number(text: str) -> float:
    """The number that a cell holds; NaN when it holds none."""
    try:
        return float(text) if "_" not in text else float("nan")
    except ValueError:
        return float("nan")


def _numeric(name: str, codes: np.ndarray, levels: tuple[str, ...]) -> Column | None:
    """The column as numbers when nearly all its texts are numbers, else None."""
    if len(levels) > 1000 and sum(parse_number(level) == parse_number(level) for level in _sample(levels, 400)) < 200:
        return None
    parsed = np.array([parse_number(level) for level in levels])
    empty = np.array([level.strip().lower() in NO_VALUE for level in levels])
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    good = int(counts[~np.isnan(parsed)].sum())
    odd_levels = np.isnan(parsed) & ~empty
    odd = int(counts[odd_levels].sum())
    if good == 0 or good < MOSTLY * (good + odd):
        return None
    if odd and len(levels) <= 20 and counts[odd_levels].min() >= 5:
        return None  # few texts, each of them often: classes such as 1, 2, 3, 4+
    where = np.flatnonzero((codes >= 0) & odd_levels[codes])[:5]
    cells = tuple((int(at), levels[codes[at]]) for at in where)
    return Column(name, "number", np.append(parsed, np.nan)[codes], odd=cells, odd_count=odd)


def _factorize(texts: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    levels, codes = np.unique(texts, return_inverse=True)
    return codes.reshape(-1).astype(np.int64), tuple(levels.tolist())


def _date_values(array: np.ndarray) -> np.ndarray:
    seconds = array.astype("datetime64[s]")
    return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64).astype(np.float64))


def _text_of(value: float | bool, kind: str) -> str:
    if kind == "boolean":
        return str(bool(value))
    return str(int(value)) if value == int(value) else repr(value)


def _sample(levels: tuple[str, ...], most: int) -> tuple[str, ...]:
    return levels[:: max(1, len(levels) // most)]
