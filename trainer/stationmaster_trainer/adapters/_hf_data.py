"""From the data files of a configuration to the samples of a model of Transformers: columns recognised, rows divided,
texts tokenised, images processed; with everything that a person should know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import datasettings, fingerprint, formats, images, split, text
from ..dataset import Data
from ..datasettings import BUILD_DATA, NONE, SPLIT, DataSettings
from ..errors import ConfigError, DataError
from ..facts import Finding
from ..preprocessing import Preprocessing
from ..table import listed
from . import _hf_columns, _hf_findings, _hf_look, _hf_rows, _hf_sampled
from ._hf_columns import CAUSAL, IMAGE, SEQUENCE, TASKS, TOKEN, Roles
from ._hf_rows import Rows
from ._hf_samples import Maker, Part
from ._hf_source import Source


@dataclass(frozen=True, eq=False)
class Material:
    """What is trained on."""

    data: Data
    roles: Roles
    processor: Any
    """Tokenizer or image processor, saved beside the model."""
    parts: tuple[Part, Part | None]


@dataclass(frozen=True, eq=False)
class _Sides:
    """Rows of both parts with the folders that paths in them are relative to."""

    train: Rows
    val: Rows | None
    bases: tuple[Path, Path]
    method: str
    dropped: int


def load(
    config: Mapping[str, Any],
    project_dir: Path,
    source: Source,
    model: Any,
    most: int | None = None,
    look: bool = False,
) -> Material:
    """The samples. `model` is the model's configuration. Raises DataError, ModelError, ConfigError, PluginError.

    most: only so many rows of each part, for a look at the model; counts and findings are of them alone then. look:
    whether the rows themselves are judged, too (`_hf_look`); then some may stand for all (`_hf_sampled`).
    """
    settings = datasettings.of(config)
    if BUILD_DATA in (settings.train_data, settings.val_data):
        raise ConfigError("build_data is for models in a Python file.", "Name a data file or folder: train_data.")
    extra = config.get("extra") or {}
    full = formats.locate(project_dir, settings.train_data)
    form = _hf_rows.kind(full, settings.train_data)
    if form == "npz":
        raise DataError(f"{settings.train_data} holds arrays.", "Transformers takes texts or images: jsonl, csv, txt.")
    if form == "text":
        return _plain_text(settings, extra, project_dir, source, model, full, most)
    rows = _read(full, settings.train_data, "train")
    roles = _hf_columns.recognise(rows, task=settings.task, target=settings.target, named=extra.get("columns"))
    processor = source.image_processor(model) if roles.kind == IMAGE else source.tokenizer()
    maker = Maker(settings, extra, model, processor, roles, project_dir, most)
    rows, gaps = _without_gaps(rows, roles, settings.missing_values)
    classes = maker.classes(rows)
    if roles.kind == SEQUENCE and not classes:  # a part alone might look like classes
        maker = replace(maker, settings=replace(settings, task="regression"))
    sides = _sides(settings, project_dir, rows, full, roles, gaps)
    del rows
    random = settings.val_data == SPLIT and settings.time_column is None
    named = settings.group_column, settings.time_column
    seen: list[Finding] = []
    if look:
        seen = _hf_look.of(roles, sides.train, sides.val, random, *named)
        templated = roles.form in ("messages", "prompt") and maker.writer.templated
        maker = replace(maker, share=_hf_sampled.share(roles, (sides.train, sides.val), templated))
    train = maker(sides.train, sides.bases[0], classes)
    val = None if sides.val is None else maker(sides.val, sides.bases[1], train.classes)
    content = _hash(settings, project_dir)
    return _finished(maker, train, val, sides.method, sides.dropped, len(sides.train), content, seen)


def _plain_text(
    settings: DataSettings,
    extra: Mapping[str, Any],
    project: Path,
    source: Source,
    model: Any,
    full: Path,
    most: int | None,
) -> Material:
    """Text files as one sequence of tokens; validation is the last part, or other files."""
    if settings.task not in (None, "language_modeling"):
        raise DataError(
            f"{settings.train_data} is plain text, which is for language modelling, but task is {settings.task!r}.",
            "Give the texts with their labels as jsonl or csv, or set task to language_modeling.",
        )
    maker = Maker(settings, extra, model, source.tokenizer(), Roles(CAUSAL, "text", {}, ()), project, most)
    content, held, name, method = text.read(full, settings.train_data).content, None, "", f"{NONE} (waived)"
    if settings.val_data == SPLIT:
        cut = split.contiguous(len(content), settings.val_fraction)
        content, held = content[:cut], content[cut:]
        name = f"the last {settings.val_fraction:.0%} of {settings.train_data}"
        method = f"contiguous {split.shares(settings.val_fraction)} split: the last part of the text"
    elif settings.val_data != NONE:
        name, method = settings.val_data, f"file {settings.val_data}"
        held = text.read(formats.locate(project, name), name, "val").content
    train = maker.windows([content], settings.train_data)
    val = None if held is None else maker.windows([held], name)
    return _finished(maker, train, val, method, 0, 0, _hash(settings, project))


def _read(full: Path, name: str, part: str) -> Rows:
    """Rows of a table, or an image folder as a table of paths and labels."""
    if _hf_rows.kind(full, name) != "images":
        return _hf_rows.read(full, name, part)
    found = images.find(full, name, part)
    columns = {"image": [str(path) for path in found.paths], "label": list(found.labels)}
    return Rows(found.name, columns, np.arange(1, len(found.paths) + 1))


def _sides(settings: DataSettings, project: Path, rows: Rows, full: Path, roles: Roles, dropped: int) -> _Sides:
    """Carries out the validation decision."""
    base = full if full.is_dir() else full.parent
    if settings.val_data == NONE:
        return _Sides(rows, None, (base, base), f"{NONE} (waived)", dropped)
    if settings.val_data == SPLIT:
        if settings.time_column is not None:
            return _by_time(settings, rows, base, dropped, settings.time_column)
        parts, by = _divided(settings, rows, roles)
        method = f"{split.shares(settings.val_fraction)} split, seed {settings.seed}{by}"
        return _Sides(rows.take(parts.train), rows.take(parts.val), (base, base), method, dropped)
    path = formats.locate(project, settings.val_data)
    other = _read(path, settings.val_data, "val")
    gone = [column for column in roles.columns.values() if column not in other.columns]
    if gone:
        raise DataError(
            f"{other.name} lacks the column {listed(gone)} that {rows.name} has; its columns are "
            f"{listed(other.columns)}.",
            "Give the validation file the same columns.",
        )
    other, more = _without_gaps(other, roles, settings.missing_values)
    folder = path if path.is_dir() else path.parent
    return _Sides(rows, other, (base, folder), f"{'folder' if path.is_dir() else 'file'} {other.name}", dropped + more)


def _by_time(settings: DataSettings, rows: Rows, base: Path, dropped: int, name: str) -> _Sides:
    """The newest rows validate."""
    if name not in rows.columns:
        raise DataError(f"{rows.name} has no time column {name!r}; it has {listed(rows.columns)}.", "Name one.")
    moments = _hf_look.moments(rows.columns[name])
    parts = split.by_time(moments, settings.val_fraction, f"the time column {name!r} of {rows.name}")
    method = f"{split.shares(settings.val_fraction)} split by time: the newest rows by {name} validate"
    return _Sides(rows.take(parts.train), rows.take(parts.val), (base, base), method, dropped)


def _divided(settings: DataSettings, rows: Rows, roles: Roles) -> tuple[split.Split, str]:
    """The split, stratified by class, groups kept together; and by what, in words."""
    label, group = roles.columns.get("label"), settings.group_column
    classes = groups = None
    if label is not None:
        codes = _codes(rows, label)
        classes = codes if len(np.unique(codes)) <= max(2, len(rows) // 2) else None
    if group is not None:
        if group not in rows.columns:
            raise DataError(f"{rows.name} has no group column {group!r}; it has {listed(rows.columns)}.", "Name one.")
        groups = _codes(rows, group)
    by = f", grouped by {group}" if groups is not None else ""
    if classes is not None:
        by += f", {'stratified' if groups is None else 'balanced'} by {label}"
    return split.divide(
        len(rows), fraction=settings.val_fraction, seed=settings.seed, classes=classes, groups=groups
    ), by


def _codes(rows: Rows, column: str) -> np.ndarray:
    return np.unique([str(cell) for cell in rows.columns[column]], return_inverse=True)[1].reshape(-1)


def _without_gaps(rows: Rows, roles: Roles, policy: str) -> tuple[Rows, int]:
    """Rows whose every needed cell holds something. Raises DataError unless `missing_values` is `drop`."""
    needed = [column for role, column in roles.columns.items() if role not in ("input", "tools", "text_pair")]
    good = np.array([all(_holds(rows.columns[name][at]) for name in needed) for at in range(len(rows))], dtype=bool)
    gaps = int((~good).sum())
    if not gaps:
        return rows, 0
    if policy != "drop":
        first = int(np.flatnonzero(~good)[0])
        column = next(name for name in needed if not _holds(rows.columns[name][first]))
        raise DataError(
            f"{gaps:,} of {len(rows):,} rows of {rows.name} lack a value, for example row {rows.numbers[first]} in "
            f"the column {column!r}.",
            "Fill them, or set missing_values to drop.",
        )
    if gaps == len(rows):
        raise DataError(f"every row of {rows.name} lacks a value.", "Look at the columns.")
    return rows.take(np.flatnonzero(good)), gaps


def _holds(cell: Any) -> bool:
    """Whether a cell holds something; a number that is none (NaN) does not."""
    if isinstance(cell, str):
        return bool(cell.strip())
    return cell is not None and not (isinstance(cell, float) and cell != cell) and cell != []


def _hash(settings: DataSettings, project: Path) -> str:
    named = [settings.train_data, *([] if settings.val_data in (SPLIT, NONE) else [settings.val_data])]
    return fingerprint.of_paths([formats.locate(project, name) for name in named])


def _finished(
    maker: Maker,
    train: Part,
    val: Part | None,
    method: str,
    dropped: int,
    rows: int,
    fingerprint: str,
    seen: list[Finding] | None = None,
) -> Material:
    roles, model = maker.roles, maker.model
    kind, language = roles.kind, roles.kind == CAUSAL
    task = "regression" if kind == SEQUENCE and not train.classes else TASKS[kind]
    classes = val.classes if val is not None else train.classes
    vocabulary = int(getattr(model, "vocab_size", 0) or 0) or None
    told = train.told
    data = Data(
        train=train.samples,
        val=None if val is None else val.samples,
        task=task,
        task_why=f"{kind.replace('_', ' ')}: {roles.words or 'plain text, the next token is predicted'}",
        target=roles.columns.get("label") or roles.columns.get("tags" if kind == TOKEN else "completion"),
        classes=classes,
        input_shape=_shape(maker) if kind == IMAGE else (maker.length,),
        outputs=(vocabulary or 1) if language else max(1, len(classes)),
        vocabulary=vocabulary if kind != IMAGE else None,
        preprocessing=Preprocessing("images" if kind == IMAGE else "text", task),
        dropped=dropped + told.silent + told.dropped + (val.told.silent + val.told.dropped if val else 0),
        method=method,
        fingerprint=fingerprint,
        notes=(),
        findings=(*_hf_findings.of_parts(maker, train, val, rows), *(seen or ())),
        sample_unit="sequences" if language else "samples",
    )
    return Material(data, roles, maker.processor, (train, val))


def _shape(maker: Maker) -> tuple[int, ...]:
    """(channels, height, width) of the pixel values."""
    size: Any = getattr(maker.model, "image_size", None) or 224
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(getattr(maker.model, "num_channels", 3)), int(height), int(width)
