"""A pandas DataFrame of any dtypes as a Table."""

from __future__ import annotations

from typing import Any

import numpy as np

from .columns import Column, from_array, from_codes, unusable
from .errors import DataError
from .packages import need
from .table import Table


def from_frame(frame: Any, name: str, rows: np.ndarray | None = None, notes: tuple[str, ...] = ()) -> Table:
    """A Table from a pandas DataFrame; `rows` are its row numbers, else they count from 1."""
    labels = [str(label) for label in frame.columns]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise DataError(f"{name} has the column {twice[0]!r} more than once.", "Give every column a name of its own.")
    columns = {str(label): from_series(str(label), frame[label]) for label in frame.columns}
    return Table(name, columns, np.arange(1, len(frame) + 1) if rows is None else rows, notes)


def from_series(name: str, series: Any) -> Column:
    """A Column from a pandas Series of any dtype."""
    types = need("pandas", "reading tables").api.types
    if isinstance(series.dtype, need("pandas", "reading tables").CategoricalDtype):
        series = series.astype(object)
        return _from_texts(name, series)
    if types.is_bool_dtype(series.dtype) and not series.isna().any():
        return Column(name, "boolean", series.to_numpy(dtype=bool))
    if types.is_numeric_dtype(series.dtype):
        if types.is_extension_array_dtype(series.dtype):
            kind = "boolean" if types.is_bool_dtype(series.dtype) else "number"
            return Column(
                name, "boolean" if kind == "boolean" else "number", series.to_numpy(np.float64, na_value=np.nan)
            )
        return from_array(name, series.to_numpy())
    if types.is_datetime64_any_dtype(series.dtype):
        return from_array(name, series.to_numpy(dtype="datetime64[s]"))
    if types.is_timedelta64_dtype(series.dtype):
        return from_array(name, series.to_numpy())
    return _from_objects(name, series)


def _from_objects(name: str, series: Any) -> Column:
    pandas = need("pandas", "reading tables")
    found = pandas.api.types.infer_dtype(series, skipna=True)
    if found in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return Column(name, "number", series.to_numpy(dtype=object, na_value=None).astype(np.float64))
    if found == "boolean":
        gone = series.isna().to_numpy()
        return Column(name, "boolean", np.where(gone, np.nan, (series == True).to_numpy().astype(float)))  # noqa: E712
    if found in ("datetime64", "datetime", "date"):
        return from_array(name, pandas.to_datetime(series, utc=True).dt.tz_localize(None).to_numpy("datetime64[s]"))
    present = series[series.notna()]
    first = present.iloc[0] if len(present) else None
    if isinstance(first, (list, tuple, np.ndarray)):
        return _from_lists(name, series)
    if isinstance(first, (dict, bytes)):
        return unusable(name, len(series), f"cells of {type(first).__name__}", series.isna().to_numpy())
    return _from_texts(name, series)


def _from_texts(name: str, series: Any) -> Column:
    gone = series.isna()
    texts = series.where(gone, series.astype(str)) if series.dtype == object else series
    codes, levels = need("pandas", "reading tables").factorize(texts, sort=True)
    return from_codes(name, np.asarray(codes, dtype=np.int64), tuple(str(level) for level in levels))


def _from_lists(name: str, series: Any) -> Column:
    """Lists of equal shape become an array (N, …), a missing list a row of NaN."""
    gone = series.isna().to_numpy()
    cells = [None if empty else _plain(cell) for cell, empty in zip(series.tolist(), gone.tolist(), strict=True)]
    first = next(cell for cell in cells if cell is not None)
    shape = np.shape(first) if _even(first) else None
    for at, cell in enumerate(cells):
        if cell is not None and (shape is None or not _even(cell) or np.shape(cell) != shape):
            lengths = f"{len(first)} and, in row {at + 1}, {len(cell)}"
            return unusable(name, len(series), f"lists of different length: {lengths}", gone)
    filled = np.asarray([np.full(shape or (), np.nan) if cell is None else cell for cell in cells])
    if filled.dtype.kind not in "buif" or not filled[0].size:
        return unusable(name, len(series), "lists that hold something else than numbers", gone)
    return Column(name, "list", filled)


def _plain(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray) and cell.dtype == object else cell


def _even(cell: Any) -> bool:
    try:
        np.shape(cell)
    except ValueError:
        return False
    return True
