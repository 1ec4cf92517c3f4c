"""Loads what a configuration names as data: training and validation samples, ready for a model of any framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import datasettings, fingerprint, formats, images, split, tabular, text, userdata
from .contract import TrainingConfig
from .dataset import Data, Dataset
from .datasettings import BUILD_DATA, NONE, SPLIT, DataSettings
from .errors import ConfigError, DataError
from .preprocessing import Preprocessing, TargetSpec

__all__ = ["Data", "Dataset", "Preprocessing", "load"]


def load(
    config: Mapping[str, Any] | TrainingConfig, project_dir: Path, build_data: Callable[[str], Any] | None = None
) -> Data:
    """Reads, checks, divides and prepares the data; the same content and configuration give the same samples.

    config: a TrainingConfig, or a mapping with those of its keys that are known; `train_data` is required, `val_data`
    defaults to `none`. build_data: the user's function, needed when a key says `build_data`. Regression targets are
    standardised when `scale_inputs` is set (`Preprocessing.unscale_targets` gives the original units). Raises DataError
    for data that cannot be used, ConfigError for an impossible key, PluginError for a missing package.
    """
    settings = datasettings.of(config)
    project_dir = Path(project_dir)
    if settings.train_data == BUILD_DATA:
        return _from_user(settings, build_data)
    if settings.val_data == BUILD_DATA:
        raise ConfigError(
            f"val_data is build_data, but train_data is the file {settings.train_data}.",
            "Let build_data give both, or name a file for both.",
        )
    train = formats.locate(project_dir, settings.train_data)
    format = formats.detect(train, settings.train_data)
    val = None
    if settings.val_data not in (SPLIT, NONE):
        path = formats.locate(project_dir, settings.val_data)
        val = (path, formats.detect(path, settings.val_data))
        _same_kind(settings, format, val[1])
    loader = {"images": _images, "text": _text}.get(format)
    data = loader(settings, train, val) if loader else tabular.load(settings, train, format, val)
    return replace(data, fingerprint=fingerprint.of_paths([train, *([] if val is None else [val[0]])]))


def _from_user(settings: DataSettings, build_data: Callable[[str], Any] | None) -> Data:
    if build_data is None:
        raise DataError(
            "train_data is build_data, but the model file has no function build_data(split).",
            "Define it in the model file, or name a data file.",
        )
    if settings.val_data not in (SPLIT, NONE, BUILD_DATA):
        raise ConfigError(
            f"train_data is build_data, but val_data is the file {settings.val_data}.",
            "Let build_data('val') return it, or set val_data to split, build_data or none.",
        )
    return userdata.load(settings, build_data)


def _same_kind(settings: DataSettings, train: str, val: str) -> None:
    kinds = [format if format in ("images", "text") else "table" for format in (train, val)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"{settings.train_data} holds {train}, but {settings.val_data} holds {val}.",
            "Give training and validation data of the same kind.",
        )


def _images(settings: DataSettings, train_path: Path, val: tuple[Path, str] | None) -> Data:
    folder = images.find(train_path, settings.train_data)
    if settings.task not in (None, "classification", "custom"):
        raise ConfigError(f"task is {settings.task!r}, but an image folder is for classification.", "Set task to null.")
    other = None if val is None else images.find(val[0], settings.val_data, "val")
    spec, note = images.measure(
        folder, size=settings.image_size, scale=settings.scale_inputs, channels_last=settings.framework == "flax"
    )
    for each in (folder, other):
        if each is not None:
            images.check(each, spec)
    classes = tuple(sorted(set(folder.labels)))
    if len(classes) < 2:
        raise DataError(
            f"{folder.name} has one class only ({classes[0]!r}): there is nothing to learn.",
            "Make one sub-folder per class, at least two.",
        )
    classes += tuple(sorted(set(other.labels if other else ()) - set(classes)))
    labels = _indices(folder.labels, classes)
    everything = np.arange(len(folder.paths))
    method, train, validation = f"{NONE} (waived)", everything, None
    if other is not None:
        method = f"folder {other.name}"
        validation = images.dataset(other, _indices(other.labels, classes), np.arange(len(other.paths)), spec)
    elif settings.val_data == SPLIT:
        parts = split.divide(len(everything), fraction=settings.val_fraction, seed=settings.seed, classes=labels)
        train, validation = parts.train, images.dataset(folder, labels, parts.val, spec)
        method = f"{split.shares(settings.val_fraction)} split, seed {settings.seed}, stratified by folder"
    return Data(
        train=images.dataset(folder, labels, train, spec),
        val=validation,
        task=settings.task or "classification",
        task_why=f"a folder with {len(classes)} sub-folders of images",
        target="folder",
        classes=classes,
        input_shape=spec.shape,
        outputs=len(classes),
        vocabulary=None,
        preprocessing=Preprocessing(
            "images", "classification", target=TargetSpec(kind="class", classes=classes), image=spec
        ),
        dropped=0,
        method=method,
        fingerprint="",
        notes=(*folder.notes, *(other.notes if other else ()), note),
        target_why="each image's sub-folder",
    )


def _indices(labels: tuple[str, ...], classes: tuple[str, ...]) -> np.ndarray:
    index = {name: at for at, name in enumerate(classes)}
    return np.array([index[label] for label in labels], dtype=np.int64)


def _text(settings: DataSettings, train_path: Path, val: tuple[Path, str] | None) -> Data:
    if settings.task not in (None, "language_modeling", "custom"):
        raise DataError(
            f"{settings.train_data} is plain text, which is for language modelling, but task is {settings.task!r}.",
            "If it is a table, rename it to .csv or .tsv; else set task to language_modeling.",
        )
    source = text.read(train_path, settings.train_data)
    content, method, line = source.content, f"{NONE} (waived)", 1
    held, name = None, settings.val_data
    if val is not None:
        other = text.read(val[0], settings.val_data, "val")
        held, name, method = other.content, other.name, f"file {other.name}"
    elif settings.val_data == SPLIT:
        cut = split.contiguous(len(content), settings.val_fraction)
        content, held = content[:cut], content[cut:]
        line = 1 + content.count("\n")
        name = f"the last {settings.val_fraction:.0%} of {source.name}"
        method = f"contiguous {split.shares(settings.val_fraction)} split: the last part of the text"
    fitted = text.fit(content, settings.sequence_length)
    size = len(fitted.characters) + 1
    notes = [f"{size} tokens: {size - 1} characters of the training part and <unk>"]
    if held is not None and (unknown := int((fitted.encode(held) == 0).sum())):
        notes.append(f"{unknown:,} of {len(held):,} validation characters are not in the training part: <unk>")
    return Data(
        train=text.dataset(content, fitted, source.name),
        val=None if held is None else text.dataset(held, fitted, name, line),
        task=settings.task or "language_modeling",
        task_why="plain text: the next character is predicted",
        target=None,
        classes=(),
        input_shape=(settings.sequence_length,),
        outputs=size,
        vocabulary=size,
        preprocessing=fitted,
        dropped=0,
        method=method,
        fingerprint="",
        notes=tuple(notes),
        sample_unit="sequences",
    )
