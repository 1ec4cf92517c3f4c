"""How raw rows become what the model sees: fitted on the training part, saved beside the model, applied to new rows.

preprocessing = Preprocessing.load("checkpoints/my_run/checkpoint-300")
inputs, targets = preprocessing.transform(pandas.read_csv("new.csv"))      # targets is None without the target column
text = preprocessing.decode(tokens)                                        # language models
values = preprocessing.unscale_targets(model_output)                       # regression, original units
name = preprocessing.target.classes[logits.argmax()]                       # classification
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import codec, contract, rundir
from .columns import NO_VALUE, Column, parse_number
from .errors import DataError, FormatError
from .table import Table, as_table, listed
from .target import one_hot

NAME = "preprocessing.json"
"""File name inside a checkpoint."""
CHUNK = 1 << 20
"""Numbers that are scaled at a time."""


@dataclass(frozen=True)
class Feature:
    """One column as input."""

    name: str
    kind: str
    """`number`, `boolean`, `category` (one input per category), `array`, or `tokens` (whole numbers, untouched)."""
    shape: tuple[int, ...] = ()
    """Shape of one cell of an array."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted first: per element of a flat array, one for all elements of an array of more axes."""
    std: tuple[float, ...] = (1.0,)
    """Divided by afterwards; 1 for a constant column, 255 for 8-bit images."""
    fill: tuple[float, ...] = (0.0,)
    """Mean of the training part, put in place of a missing cell when `missing_values` is `mean`."""
    categories: tuple[str, ...] = ()
    """Texts of the training part; any other text becomes all zeros."""

    @property
    def width(self) -> int:
        """How many inputs it gives."""
        return len(self.categories) if self.kind == "category" else int(np.prod(self.shape, dtype=int))


@dataclass(frozen=True)
class TargetSpec:
    """What is predicted."""

    columns: tuple[str, ...] = ()
    kind: str = "none"
    """`class`, `number`, `tokens` (the inputs shifted by one) or `none`."""
    classes: tuple[str, ...] = ()
    """Class names; the target is the index."""
    mean: tuple[float, ...] = (0.0,)
    """Of the training part's targets, per target column; already subtracted from what the model is trained on."""
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class ImageSpec:
    """The form of every image: turned upright by its EXIF mark, converted, resized bilinearly, divided."""

    height: int
    width: int
    mode: str
    """Pillow mode: `L` (one channel) or `RGB` (three)."""
    divide: float
    """Pixel values 0 … 255 are divided by it: 255, or 1 without scaling."""
    channels_last: bool = False
    """Whether a sample is (height, width, channels) instead of (channels, height, width)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one sample."""
        channels = 1 if self.mode == "L" else 3
        return (self.height, self.width, channels) if self.channels_last else (channels, self.height, self.width)


@dataclass(frozen=True)
class Preprocessing:
    """Everything needed to treat new rows like the training rows."""

    kind: str
    """`table`, `images`, `text`, or `user` (build_data of the model file prepares the data itself)."""
    task: str
    features: tuple[Feature, ...] = ()
    target: TargetSpec = TargetSpec()
    missing_values: str = "error"
    left_out: dict[str, str] | None = None
    """Columns that are no inputs, and why."""
    image: ImageSpec | None = None
    characters: str = ""
    """Text: the vocabulary; token i + 1 is the i-th character, token 0 is `<unk>`."""
    sequence_length: int = 0
    format: int = contract.FORMAT

    def transform(self, data: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Inputs float32 (N, …) (tokens: int64) and targets, None when the data has no target column.

        `data`: for a table a pandas DataFrame or a dict of arrays, for images their paths, for text the text. Classes
        become int64 (N,), numbers float32 (N,) or (N, k), standardised like the inputs. Raises DataError for a missing
        column, a cell that is no number, and missing cells unless `missing_values` is `mean`.
        """
        if self.kind == "images":
            return self._images([data] if isinstance(data, (str, os.PathLike)) else data), None
        if self.kind == "text":
            return self.encode(data), None
        if self.kind == "user":
            raise DataError("the data of this model is prepared by build_data in its model file.", "Call that instead.")
        table = as_table(data)
        return self.inputs(table), self.targets(table)

    def inputs(self, table: Table) -> np.ndarray:
        """Inputs of a table: float32 (N, features), or (N, …) in its own shape when an array is the only input."""
        gone = [feature.name for feature in self.features if feature.name not in table.columns]
        if gone:
            have = listed(table.columns)
            raise DataError(f"{table.name} lacks the column {listed(gone)}; it has {have}.", "Give all input columns.")
        if len(self.features) == 1 and self.features[0].kind in ("array", "tokens"):
            return self._array(table, self.features[0])
        out = np.empty((len(table), sum(feature.width for feature in self.features)), dtype=np.float32)
        at = 0
        for feature in self.features:
            out[:, at : at + feature.width] = self._encode(table, feature)
            at += feature.width
        return out

    def targets(self, table: Table) -> np.ndarray | None:
        """Targets of a table, None when a target column is missing. Raises DataError for a class that is not known."""
        if self.target.kind == "none" or any(name not in table.columns for name in self.target.columns):
            return None
        if self.target.kind == "class":
            return self._class_targets(table)
        columns = [table.columns[name].numbers() for name in self.target.columns]
        values = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
        _refuse_missing(table, ~np.isfinite(values), listed(self.target.columns))
        flat = values.reshape(len(values), -1)
        scaled = (flat - np.array(self.target.mean)) / np.array(self.target.std)
        return scaled.reshape(values.shape).astype(np.float32)

    def unscale_targets(self, values: np.ndarray) -> np.ndarray:
        """Numbers (…,) or (…, k) as the model predicts them, in original units; other targets unchanged."""
        if self.target.kind != "number":
            return values
        mean, std = np.array(self.target.mean), np.array(self.target.std)
        return np.asarray(values) * (std if len(std) > 1 else std[0]) + (mean if len(mean) > 1 else mean[0])

    def unseen(self, table: Table) -> dict[str, int]:
        """Category column → cells whose text the training part did not have (they become all zeros)."""
        found = {}
        for feature in self.features:
            if feature.kind == "category" and feature.name in table.columns:
                column = table.columns[feature.name]
                count = int((_codes(column, feature.categories) < 0).sum() - column.missing().sum())
                found.update({feature.name: count} if count else {})
        return found

    def encode(self, text: str) -> np.ndarray:
        """Characters as tokens: int64 (length,); an unknown one is token 0."""
        known = np.frombuffer(self.characters.encode("utf-32-le"), dtype=np.uint32)
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        return np.where(known[at] == codes, at + 1, 0).astype(np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text; token 0 becomes the replacement character."""
        return "".join(
            self.characters[token - 1] if 0 < token <= len(self.characters) else "\ufffd" for token in tokens
        )

    def save(self, folder: str | Path) -> Path:
        """Writes `preprocessing.json` into the folder, replaced as a whole, and returns its path."""
        path = Path(folder) / NAME
        rundir.replace(path, codec.dumps(self, indent=1).encode("utf-8"))
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Preprocessing:
        """Reads `preprocessing.json` of a folder. Raises FormatError when it is missing or damaged."""
        path = Path(folder) / NAME
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FormatError(f"{path} cannot be read: {error.strerror}.", "Name the folder of a checkpoint.") from None
        return codec.loads(cls, content, str(path))

    def _encode(self, table: Table, feature: Feature) -> np.ndarray:
        """The columns of the input matrix that a feature gives: (N, width)."""
        column = table.columns[feature.name]
        if feature.kind in ("array", "tokens"):
            return self._array(table, feature).reshape(len(table), -1)
        _refuse_other_kind(table, column, feature.kind)
        if feature.kind != "category":
            return self._scale(table, feature, column.numbers().reshape(len(table), 1))
        if self.missing_values != "mean":
            _refuse_missing(table, column.missing(), repr(feature.name))
        codes = _codes(column, feature.categories)
        return codes[:, None] == np.arange(len(feature.categories))

    def _array(self, table: Table, feature: Feature) -> np.ndarray:
        column = table.columns[feature.name]
        values = column.values if column.kind == "list" else column.numbers().reshape(-1, 1)
        if column.kind == "object" or values.shape[1:] != feature.shape:
            seen = column.problem or f"shape {values.shape[1:]}"
            raise DataError(f"{feature.name!r} of {table.name} has {seen}, the training data had {feature.shape}.", "")
        if feature.kind == "tokens":
            return values.astype(np.int64)
        return self._scale(table, feature, values.reshape(len(values), -1)).reshape(values.shape)

    def _scale(self, table: Table, feature: Feature, values: np.ndarray) -> np.ndarray:
        """float32 of values (N, width), missing ones filled or refused."""
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            gone = ~np.isfinite(values)
            if self.missing_values != "mean":
                _refuse_missing(table, gone, repr(feature.name))
            values = np.where(gone, np.array(feature.fill), values)
        scaled = np.empty(values.shape, dtype=np.float32)
        step = max(1, CHUNK // max(1, values.shape[1]))
        for at in range(0, len(values), step):  # float64 is needed for the difference, not for the whole array
            with np.errstate(over="ignore"):
                scaled[at : at + step] = (values[at : at + step] - np.array(feature.mean)) / np.array(feature.std)
        if not np.isfinite(scaled).all():
            raise DataError(
                f"{feature.name!r} of {table.name} holds numbers too large for single precision "
                f"({table.rows_of(~np.isfinite(scaled).all(axis=1))}).",
                "Rescale that column.",
            )
        return scaled

    def _class_targets(self, table: Table) -> np.ndarray:
        name = self.target.columns[0]
        column = table.columns[name]
        if column.kind == "list" and one_hot(column.values):
            return column.values.argmax(axis=1).astype(np.int64)
        codes = _codes(column, self.target.classes)
        if (codes < 0).any():
            texts, levels = column.texts()
            unknown = sorted({levels[code] for code in np.unique(texts[codes < 0]).tolist() if code >= 0})
            seen = f"the unknown class {listed(unknown, 5)}" if unknown else "no value"
            raise DataError(
                f"the target {name!r} of {table.name} has {seen} ({table.rows_of(codes < 0)}).",
                f"Known classes: {listed(self.target.classes)}.",
            )
        return codes

    def _images(self, paths: Iterable[str | os.PathLike[str]]) -> np.ndarray:
        from .images import decode

        if self.image is None:
            raise DataError("this preprocessing knows no image size.")
        return np.stack([decode(Path(path), self.image) for path in paths])


def _codes(column: Column, known: tuple[str, ...]) -> np.ndarray:
    """Index of each cell's text in `known`: int64 (N,), -1 for another text or a missing cell."""
    codes, levels = column.texts()
    index = {text: at for at, text in enumerate(known)}
    return np.array([*(index.get(level, -1) for level in levels), -1], dtype=np.int64)[codes]


def _refuse_other_kind(table: Table, column: Column, kind: str) -> None:
    """A column that is no longer what it was in the training data."""
    wrong = column.kind in ("list", "object", "date")
    if kind != "category" and column.kind == "text":
        odd = [text for text in column.levels if parse_number(text) != parse_number(text)]
        wrong = any(text.strip().lower() not in NO_VALUE for text in odd)
    if wrong:
        held = "texts" if column.kind == "text" else f"{column.kind}s"
        raise DataError(
            f"the column {column.name!r} of {table.name} holds {held}, the training data had {kind} cells there.",
            "Give the column the same kind of cells.",
        )


def _refuse_missing(table: Table, gone: np.ndarray, what: str) -> None:
    rows = gone.reshape(len(gone), -1).any(axis=1)
    if rows.any():
        raise DataError(
            f"{what} of {table.name} has {int(rows.sum())} cells that are empty or no number ({table.rows_of(rows)}).",
            "Correct or leave out those rows.",
        )
