"""Next-token language modelling over arrays of tokens: (N, T) rows, or one long (N,) sequence cut into windows."""

from __future__ import annotations

import numpy as np

from . import split
from .arrays import TARGETS, TOKENS
from .dataset import ArrayDataset, Data, Dataset
from .datasettings import NONE, SPLIT, DataSettings
from .errors import DataError
from .preprocessing import Feature, Preprocessing, TargetSpec
from .table import Table
from .text import windows


def alone(table: Table) -> bool:
    """Whether an archive holds tokens and no target."""
    if not table.inputs or table.inputs[0].lower() not in TOKENS:
        return False
    return not any(name.lower() in TARGETS for name in table.columns)


def load(settings: DataSettings, whole: Table, val: Table | None) -> Data:
    """Data from the tokens of the training file and, where there is one, of the validation file."""
    tokens = _tokens(whole)
    other = None if val is None else _tokens(val)
    method = f"file {settings.val_data}" if val else f"{NONE} (waived)"
    rows = whole.rows
    if val is None and settings.val_data == SPLIT:
        if tokens.ndim == 1:
            cut = split.contiguous(len(tokens), settings.val_fraction)
            tokens, other = tokens[:cut], tokens[cut:]
            method = f"contiguous {split.shares(settings.val_fraction)} split: the last part of the tokens"
        else:
            parts = split.divide(len(tokens), fraction=settings.val_fraction, seed=settings.seed)
            tokens, other, rows = tokens[parts.train], tokens[parts.val], whole.rows[parts.train]
            method = f"{split.shares(settings.val_fraction)} split, seed {settings.seed}"
    vocabulary = 1 + max(int(part.max()) for part in (tokens, other) if part is not None)
    length = settings.sequence_length if tokens.ndim == 1 else tokens.shape[1] - 1
    feature = Feature(whole.inputs[0] if whole.inputs else next(iter(whole.columns)), "tokens", shape=tokens.shape[1:])
    return Data(
        train=_dataset(tokens, length, settings.train_data, rows),
        val=None if other is None else _dataset(other, length, settings.val_data, None),
        task=settings.task or "language_modeling",
        task_why="the data are tokens without a target",
        target=None,
        classes=(),
        input_shape=(length,),
        outputs=vocabulary,
        vocabulary=vocabulary,
        preprocessing=Preprocessing(
            "table", "language_modeling", (feature,), TargetSpec(kind="tokens"), sequence_length=length
        ),
        dropped=0,
        method=method,
        fingerprint="",
        notes=whole.notes,
        sample_unit="sequences",
    )


def test_set(table: Table, saved: Preprocessing, vocabulary: int, name: str) -> Dataset:
    """A test set of tokens, in windows as the training had them. DataError for a token that the model does not know."""
    tokens = _tokens(table)
    if tokens.max() >= vocabulary:
        raise DataError(
            f"{name} has the token {tokens.max()}; the model knows {vocabulary} tokens.", "Tokenise it alike."
        )
    if tokens.ndim == 2 and tokens.shape[1] - 1 != saved.sequence_length:
        raise DataError(
            f"{name} has rows of {tokens.shape[1]} tokens, the training had {saved.sequence_length + 1}.",
            "Give rows of the same length.",
        )
    return _dataset(tokens, saved.sequence_length, name, table.rows)


def _tokens(table: Table) -> np.ndarray:
    column = next((table.columns[name] for name in (*table.inputs, *table.columns)), None)
    whole = column is not None and column.kind in ("number", "list") and column.values.dtype.kind in "iu"
    if column is None or not whole or column.values.ndim > 2:
        raise DataError(
            f"{table.name} holds no tokens: language modelling needs text, or an array `tokens` of whole numbers.",
            "Give a .txt file, or numpy.savez(path, tokens=…) with shape (rows, length) or (length,).",
        )
    if column.values.min() < 0:
        raise DataError(f"{table.name} holds negative tokens.", "Tokens count from 0.")
    return column.values.astype(np.int64)


def _dataset(tokens: np.ndarray, length: int, name: str, rows: np.ndarray | None) -> Dataset:
    if tokens.ndim == 1:
        return windows(tokens, length, name)
    return ArrayDataset(tokens[:, :-1], tokens[:, 1:], np.arange(1, len(tokens) + 1) if rows is None else rows)
