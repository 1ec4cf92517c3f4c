"""Data that the user's `build_data(split)` returns: a map-style dataset, a tuple (inputs, targets) or a dict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import split
from .arrays import INPUTS, TARGETS
from .dataset import ArrayDataset, Data, Dataset, LazyDataset, known_targets
from .datasettings import BUILD_DATA, NONE, SPLIT, DataSettings
from .errors import DataError
from .facts import Finding
from .preprocessing import Preprocessing, TargetSpec
from .table import listed

Made = ArrayDataset | LazyDataset
LOOKED_AT = 20_000
"""Samples of a lazy dataset whose target is looked at to count the classes."""
_FORMS = (
    "Return a dataset with __len__ and __getitem__, a tuple (inputs, targets), or a dict of arrays such as x and y."
)


def load(settings: DataSettings, build_data: Callable[[str], Any]) -> Data:
    """Data from the user's function. Its own exceptions pass through. Raises DataError for what cannot be used."""
    train = wrap(build_data("train"), "train")
    if train is None:
        raise DataError("build_data('train') returned None.", _FORMS)
    val, method, findings = _validation(settings, train, build_data)
    if isinstance(val, tuple):
        train, val = val
    inputs, targets = train.batch(np.arange(min(2, len(train))))
    task, why = _task(settings, inputs, targets)
    classes, vocabulary = _sizes(task, settings, train, val, inputs, targets)
    outputs = vocabulary if task == "language_modeling" and vocabulary else len(classes)
    if not outputs:
        outputs = 1 if targets is None or targets.ndim == 1 else int(np.prod(targets.shape[1:]))
    kind = {"classification": "class", "regression": "number", "language_modeling": "tokens"}.get(task, "none")
    return Data(
        train=train,
        val=val,
        task=task,
        task_why=why,
        target=None,
        classes=classes,
        input_shape=tuple(inputs.shape[1:]),
        outputs=outputs,
        vocabulary=vocabulary,
        preprocessing=Preprocessing("user", task, target=TargetSpec(kind=kind, classes=classes)),
        dropped=0,
        method=method,
        fingerprint=_fingerprint(train, val, inputs),
        notes=(
            "build_data prepares the data: nothing is scaled or filled; its content is not part of the fingerprint",
        ),
        findings=findings,
        sample_unit="sequences" if task == "language_modeling" else "samples",
    )


def wrap(found: Any, part: str) -> Made | None:
    """What build_data returned as a Dataset, None for None."""
    if found is None:
        return None
    if isinstance(found, Mapping):
        dataset: Made = _from_arrays(*_pick(found), part)
    elif isinstance(found, (tuple, list)) and len(found) == 2 and all(hasattr(item, "__len__") for item in found):
        dataset = _from_arrays(found[0], found[1], part)
    elif isinstance(getattr(found, "tensors", None), tuple) and len(found.tensors) == 2:  # torch's TensorDataset
        dataset = _from_arrays(found.tensors[0], found.tensors[1], part)
    elif hasattr(found, "__getitem__") and hasattr(found, "__len__"):
        dataset = _from_items(found)
    else:
        raise DataError(f"build_data({part!r}) returned a {type(found).__name__}.", _FORMS)
    if not len(dataset):
        raise DataError(f"build_data({part!r}) returned no samples.", "Check the path that it reads.")
    return dataset


def _validation(settings: DataSettings, train: Made, build_data: Callable[[str], Any]) -> Any:
    """(validation or (train, validation), method in words, findings)."""
    if settings.val_data == SPLIT:
        return _divided(settings, train)
    if settings.val_data == NONE:
        return None, f"{NONE} (waived)", ()
    val = wrap(_call(build_data), "val")
    if val is not None:
        return val, "build_data('val')", ()
    message = "build_data('val') returned None: there is no validation data."
    advice = "Return a dataset for it, choose val_data: split, or waive validation."
    return None, "none: build_data('val') returned None", (Finding("validation", "error", message, advice),)


def _call(build_data: Callable[[str], Any]) -> Any:
    """The validation part; a function that knows it as `validation` only says so by KeyError or ValueError."""
    try:
        return build_data("val")
    except (KeyError, ValueError):
        return build_data("validation")


def _divided(settings: DataSettings, train: Made) -> Any:
    targets = known_targets(train)
    whole = targets is not None and targets.ndim == 1 and targets.dtype.kind in "iub"
    parts = split.divide(
        len(train), fraction=settings.val_fraction, seed=settings.seed, classes=targets if whole else None
    )
    by = ", stratified by class" if whole else ""
    method = f"{split.shares(settings.val_fraction)} split of build_data('train'), seed {settings.seed}{by}"
    return (_subset(train, parts.train), _subset(train, parts.val)), method, ()


def _subset(dataset: Made, positions: np.ndarray) -> Made:
    if isinstance(dataset, ArrayDataset):
        targets = None if dataset.targets is None else dataset.targets[positions]
        return ArrayDataset(dataset.inputs[positions], targets, dataset.rows[positions])
    get = dataset.get
    targets = None if dataset.targets is None else dataset.targets[positions]
    rows, classes = dataset.rows[positions], dataset.classes
    return LazyDataset(len(positions), lambda index: get(int(positions[index])), rows, targets, classes=classes)


def _pick(found: Mapping[str, Any]) -> tuple[Any, Any]:
    """Inputs and targets of a dict by their names."""
    folded = {str(key).lower(): value for key, value in found.items()}
    inputs = [folded[name] for name in INPUTS if name in folded]
    if not inputs:
        raise DataError(
            f"build_data gives a dict with {listed(found)}, none of them the inputs.", f"Name them: {listed(INPUTS)}."
        )
    return inputs[0], next((folded[name] for name in TARGETS if name in folded), None)


def _from_arrays(inputs: Any, targets: Any, part: str) -> ArrayDataset:
    x = _typed(np.asarray(inputs))
    y = None if targets is None else _typed_target(np.asarray(targets))
    if y is not None and len(x) != len(y):
        raise DataError(
            f"build_data({part!r}) gives {len(x)} inputs and {len(y)} targets.", "Give one target per sample."
        )
    return ArrayDataset(x, y, np.arange(1, len(x) + 1))


def _from_items(found: Any) -> LazyDataset:
    def get(index: int) -> tuple[np.ndarray, np.ndarray | None]:
        item = found[index]
        if isinstance(item, Mapping):
            x, y = _pick(item)
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            x, y = item
        else:
            x, y = (item[0], None) if isinstance(item, (tuple, list)) and len(item) == 1 else (item, None)
        return _typed(np.asarray(x)), None if y is None else _typed_target(np.asarray(y))

    known, classes = _labels(found)
    targets = None if known is None or len(known) != len(found) else _typed_target(np.asarray(known))
    return LazyDataset(len(found), get, np.arange(1, len(found) + 1), targets, classes=classes)


def _labels(found: Any) -> tuple[Any, tuple[str, ...]]:
    """All targets and the class names, where a data set of a usual kind holds them ready: else every sample is made."""
    if hasattr(found, "dataset") and hasattr(found, "indices"):  # torch's Subset
        known, classes = _labels(found.dataset)
        return (None if known is None else np.asarray(known)[np.asarray(found.indices)]), classes
    if isinstance(getattr(found, "tensors", None), tuple) and len(found.tensors) == 2:  # torch's TensorDataset
        return found.tensors[1], ()
    columns = getattr(found, "column_names", None)
    if isinstance(columns, list):  # Hugging Face's Dataset
        name = next((name for name in columns if name.lower() in TARGETS), None)
        names = getattr(getattr(found, "features", {}).get(name), "names", None) or ()
        return (None if name is None else found[name][:]), tuple(map(str, names))
    return getattr(found, "targets", None), tuple(map(str, getattr(found, "classes", None) or ()))


def _typed(array: np.ndarray) -> np.ndarray:
    """Floats and bytes as float32, whole numbers as int64 (tokens)."""
    if array.dtype.kind == "f" or array.dtype in (np.uint8, np.bool_):
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    raise DataError(f"build_data gives inputs of type {array.dtype}.", "Give numbers: arrays or tensors.")


def _typed_target(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise DataError(f"build_data gives targets of type {array.dtype}.", "Give numbers: class indices or values.")


def _task(settings: DataSettings, inputs: np.ndarray, targets: np.ndarray | None) -> tuple[str, str]:
    if settings.task is not None:
        return settings.task, f"task is set to {settings.task}"
    if targets is None:
        tokens = inputs.dtype.kind == "i" and inputs.ndim == 2
        return ("language_modeling", "tokens without targets") if tokens else ("custom", "build_data gives no targets")
    if targets.dtype.kind == "f":
        return "regression", "build_data gives targets with fractions"
    if targets.ndim == 1:
        return "classification", "build_data gives one whole number per sample"
    if inputs.dtype.kind == "i" and targets.shape == inputs.shape:
        return "language_modeling", "build_data gives one token per token"
    return "custom", f"build_data gives whole-number targets of shape {targets.shape[1:]}"


def _sizes(
    task: str,
    settings: DataSettings,
    train: Dataset,
    val: Dataset | None,
    inputs: np.ndarray,
    targets: np.ndarray | None,
) -> tuple[tuple[str, ...], int | None]:
    """Class names (indices) and vocabulary, as far as the task has them, by looking at the samples."""
    vocabulary = None
    if inputs.dtype.kind == "i":
        vocabulary = 1 + max(_largest(part, 0) for part in (train, val) if part is not None)
    if task == "language_modeling" and targets is not None:
        vocabulary = max(vocabulary or 0, 1 + max(_largest(part, 1) for part in (train, val) if part is not None))
    if task != "classification" or targets is None or targets.dtype.kind != "i":
        return (), vocabulary
    count = 1 + max(_largest(part, 1) for part in (train, val) if part is not None)
    names: tuple[str, ...] = getattr(train, "classes", ())
    return (names if len(names) >= count else tuple(str(index) for index in range(count))), vocabulary


def _largest(dataset: Dataset, which: int) -> int:
    """Largest input (0) or target (1) among the samples looked at."""
    known = known_targets(dataset) if which else getattr(dataset, "inputs", None)
    if known is not None:
        return int(np.max(known))
    n = min(len(dataset), LOOKED_AT)
    batches = (dataset.batch(np.arange(start, min(start + 256, n)))[which] for start in range(0, n, 256))
    return max(int(batch.max()) for batch in batches if batch is not None)


def _fingerprint(train: Dataset, val: Dataset | None, inputs: np.ndarray) -> str:
    """Over the sizes: random augmentation may make the content differ at every look."""
    seen = f"{BUILD_DATA} {len(train)} {len(val) if val is not None else 0} {inputs.shape[1:]} {inputs.dtype}"
    return hashlib.sha256(seen.encode()).hexdigest()
