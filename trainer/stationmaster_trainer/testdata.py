"""A held-out test set as the model saw its training data: by the preprocessing that was saved beside the checkpoint.

And what is shared with the training and validation parts. Not covered: whether the test set resembles what the model
will meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import copies, entry, formats, images, missing, tabular, text, tokens, userdata
from .contract import Spec
from .dataset import ArrayDataset, Data, Dataset
from .datasettings import BUILD_DATA
from .errors import DataError
from .facts import Finding
from .loop import Evaluation
from .preprocessing import Preprocessing
from .table import listed

TOO_MUCH = 0.5
"""Share of the test samples from which it is no held-out set any more."""


@dataclass(frozen=True)
class TestData:
    """The test samples."""

    __test__ = False  # pytest would take it for a test

    dataset: Dataset
    dropped: int = 0
    """Rows left out because of missing values."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Tested:
    """What an adapter's `evaluate` found."""

    evaluation: Evaluation
    device: str = ""
    dropped: int = 0
    overlap: dict[str, int] = field(default_factory=dict)
    """`training`, `validation` → test samples that also stand there."""
    findings: tuple[Finding, ...] = ()


def load(
    data: Data, saved: Preprocessing, project_dir: Path, name: str, build_data: Callable[[str], Any] | None = None
) -> TestData:
    """Reads the test set that `name` names: a file or folder of the project, or `build_data` for its part `test`.

    data: what the run was trained on, for its sizes. Raises DataError for what cannot be used, and for classes, columns
    or tokens that the training did not have.
    """
    if name == BUILD_DATA or saved.kind == "user":
        return TestData(_from_user(name, build_data))
    path = formats.locate(project_dir, name)
    format = formats.detect(path, name)
    kind = {"images": "images", "text": "text"}.get(format, "table")
    if kind != saved.kind:
        raise DataError(f"{name} holds {format}, the model was trained on {saved.kind}.", "Give data of the same kind.")
    if kind == "images":
        return _images(path, name, saved)
    if kind == "text":
        return _text(path, name, saved)
    return _table(path, name, format, saved, data)


def overlap(data: Data, test: TestData, name: str) -> tuple[dict[str, int], tuple[Finding, ...]]:
    """Test samples by the part that they also stand in, and what is to be said of them.

    Raises DataError when so many do that the set was not held out.
    """
    counts = {"training": copies.shared(data, data.train, test.dataset)}
    if data.val is not None:
        counts["validation"] = copies.shared(data, data.val, test.dataset)
    n, found = len(test.dataset), []
    for part, count in counts.items():
        if not count:
            continue
        message = f"{count:,} of {n:,} test samples ({count / n:.1%}) also stand in the {part} part."
        if copies.few_values(data.train):
            advice = "The inputs take few different values, so equal samples are to be expected."
        elif count > TOO_MUCH * n:
            raise DataError(f"{name} was not held out: {message}", "Give data that had no part in the training.")
        else:
            advice = "The result is better than it would be on new data: remove them."
        found.append(Finding("test_overlap", "warning", message, advice, {"part": part, "samples": count}))
    return counts, tuple(found)


def changed(spec: Spec, data: Data, model_sha256: str | None = None) -> tuple[Finding, ...]:
    """What is no longer as it was when the run was confirmed, and what that means for an evaluation.

    `model_sha256`: of the model as it is now; None: of the model file that the configuration names.
    """
    found = []
    if spec.facts.fingerprint and data.fingerprint != spec.facts.fingerprint:
        message = "training or validation data changed since the run: the overlap is with what they are now."
        found.append(Finding("data_changed", "warning", message))
    if model_sha256 is None:
        path = entry.resolve(spec.config.model_path, Path(spec.project_dir))
        model_sha256 = entry.entry_sha256(path, Path(spec.project_dir))
        message = f"{path.name} or a file it imports changed since the run: its present code was scored."
    else:
        message = f"{spec.config.model_path} changed since the run: the checkpoint's own weights were scored."
    if spec.facts.entry_sha256 and model_sha256 != spec.facts.entry_sha256:
        found.append(Finding("model_changed", "warning", message))
    return tuple(found)


def _from_user(name: str, build_data: Callable[[str], Any] | None) -> Dataset:
    if name != BUILD_DATA or build_data is None:
        raise DataError(
            f"the data of this model come from build_data in its model file, not from {name}.",
            "Let build_data('test') return the test set, and give test_data: build_data.",
        )
    try:
        made = userdata.wrap(build_data("test"), "test")
    except (KeyError, ValueError) as error:
        raise DataError(
            f"build_data('test') raised {type(error).__name__}: {error}.", "Let it return the test set."
        ) from error
    if made is None:
        raise DataError("build_data('test') returned None.", "Let it return the test set.")
    return made


def _images(path: Path, name: str, saved: Preprocessing) -> TestData:
    folder = images.find(path, name, "test")
    assert saved.image is not None  # of kind images
    images.check(folder, saved.image)
    index = {label: at for at, label in enumerate(saved.target.classes)}
    unknown = sorted(set(folder.labels) - set(index))
    if unknown:
        known = f"Known classes: {listed(saved.target.classes)}."
        raise DataError(f"{name} has images of the unknown class {listed(unknown, 5)}.", known)
    labels = np.array([index[label] for label in folder.labels], dtype=np.int64)
    notes = tuple(Finding("note", "info", note) for note in folder.notes)
    return TestData(images.dataset(folder, labels, np.arange(len(folder.paths)), saved.image), findings=notes)


def _text(path: Path, name: str, saved: Preprocessing) -> TestData:
    source = text.read(path, name, "test")
    unknown = int((saved.encode(source.content) == 0).sum())
    found: tuple[Finding, ...] = ()
    if unknown:
        message = f"{unknown:,} of {len(source.content):,} test characters are not in the training part: <unk>."
        found = (Finding("unknown_characters", "info", message),)
    return TestData(text.dataset(source.content, saved, source.name), findings=found)


def _table(path: Path, name: str, format: str, saved: Preprocessing, data: Data) -> TestData:
    table = tabular.read(path, name, format, "test")
    if saved.target.kind == "tokens":
        return TestData(tokens.test_set(table, saved, data.vocabulary or 0, name))
    needed = (*saved.target.columns, *(feature.name for feature in saved.features))
    gone = [column for column in needed if column not in table.columns]
    if gone:
        raise DataError(
            f"{name} lacks the column{'s' if len(gone) > 1 else ''} {listed(gone)}; it has {listed(table.columns)}.",
            "Give the test set the columns of the training data, the target too.",
        )
    features = tuple(feature.name for feature in saved.features)
    rows, dropped = missing.treat(table, features, saved.target.columns, saved.missing_values)
    made = ArrayDataset(saved.inputs(rows), saved.targets(rows), rows.rows)
    unseen = saved.unseen(rows)
    if not unseen:
        return TestData(made, dropped)
    cells = ", ".join(f"{column!r}: {count}" for column, count in unseen.items())
    message = f"the test set has texts that training lacks (cells in {cells}); they become zeros."
    return TestData(made, dropped, (Finding("unseen_category", "info", message, facts=dict(unseen)),))
