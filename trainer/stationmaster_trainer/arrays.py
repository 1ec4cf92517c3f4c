"""Reads a numpy archive (npz) as a table whose columns may be arrays: inputs `x`, target `y`, by usual names."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .columns import from_array
from .errors import DataError
from .formats import PARTS, TRAIN_PARTS, VAL_PARTS
from .table import Table, listed

INPUTS = ("x", "inputs", "input", "images", "image", "features", "data", "tokens", "input_ids", "pixel_values")
"""Names of input arrays, the first that exists is taken."""
TOKENS = ("tokens", "input_ids")
"""Names of arrays whose whole numbers are tokens, not quantities."""
TARGETS = ("y", "labels", "label", "targets", "target")
"""Names of target arrays."""
_PARTS = "|".join(TRAIN_PARTS + VAL_PARTS)
_NAME = re.compile(rf"(?:({_PARTS})_)?(.+?)(?:_({_PARTS}))?", re.IGNORECASE)


def read(path: Path, name: str, part: str = "train") -> Table:
    """Arrays of the archive as columns; where they come in parts (`x_train`, `x_test`), those of `part`.

    part: `train`, `val` or `test`. The columns are named without it. Raises DataError for a damaged file, pickled
    objects or unequal lengths.
    """
    arrays = _load(path, name)
    parts = parts_of(arrays)
    notes: list[str] = []
    if parts:
        chosen = next((each for each in PARTS[part] if each in parts), None)
        if chosen is None:
            raise DataError(f"{name} has no {part} arrays; it holds {listed(arrays)}.", f"Add x_{part} and y_{part}.")
        others = sorted(label for label in arrays if split_name(label)[1] != chosen)
        notes.append(f"{name}: the {part} part is its {chosen} arrays, not {listed(others)}" if others else "")
        arrays = {split_name(label)[0]: array for label, array in arrays.items() if split_name(label)[1] == chosen}
    return _table(name, arrays, [note for note in notes if note])


def parts_of(names: dict[str, np.ndarray]) -> set[str]:
    """The parts that array names speak of, when there is a train part among them, else none."""
    parts = {split_name(name)[1] for name in names} - {""}
    return parts if parts & set(TRAIN_PARTS) else set()


def split_name(name: str) -> tuple[str, str]:
    """Name without its part, and the part: `x_train` → (`x`, `train`); `x` → (`x`, ``)."""
    match = _NAME.fullmatch(name)
    if not match:
        return name, ""
    return match[2], (match[1] or match[3] or "").lower()


def _load(path: Path, name: str) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{name} is no numpy archive, or it is cut off.", "Write it with numpy.savez(path, x=…, y=…).")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {label: archive[label] for label in archive.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{name} holds Python objects, which are not loaded because they could run code.",
                "Save plain arrays: of numbers, or of texts with dtype=str.",
            ) from None
        raise DataError(f"{name} is damaged: {error}.", "Write it again with numpy.savez.") from None
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name} is damaged: {error}.", "Write it again with numpy.savez.") from None
    if strangers := [label for label, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{name}: {strangers[0]!r} is no array.", "Write it again with numpy.savez.")
    return arrays


def _table(name: str, arrays: dict[str, np.ndarray], notes: list[str]) -> Table:
    lengths = {label: array.shape[0] if array.ndim else 0 for label, array in arrays.items()}
    key = {label.lower(): label for label in reversed(list(arrays))}
    inputs = next((key[known] for known in INPUTS if known in key), None)
    n = lengths[inputs] if inputs else max(lengths.values(), default=0)
    if not n:
        raise DataError(f"{name} holds no rows: {_shapes(arrays)}.", "Write it with numpy.savez(path, x=…, y=…).")
    target = next((key[known] for known in TARGETS if known in key), None)
    if target and lengths[target] != n:
        raise DataError(
            f"the arrays of {name} differ in length: {_shapes(arrays)}.", "Give x and y the same number of rows."
        )
    kept = {label: array for label, array in arrays.items() if lengths[label] == n}
    others = [label for label in arrays if label not in kept]
    if others:
        notes.append(f"{name}: arrays without {n} rows are left alone: {listed(others)}")
    columns = {label: from_array(label, _squeezed(array)) for label, array in kept.items()}
    return Table(name, columns, np.arange(1, n + 1), tuple(notes), (inputs,) if inputs else ())


def _squeezed(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _shapes(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{label} {array.shape}" for label, array in arrays.items()) or "nothing"
