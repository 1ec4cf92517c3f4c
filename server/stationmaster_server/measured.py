"""Split and model as measured in the Python that will train; again only when something they rest on changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stationmaster_trainer.facts import Answer, ModelFacts, Request, SplitFacts

from .digest import BUILD_DATA, TRANSFORMERS, model_sha256, paths_signature, sha256
from .lasting import measure
from .plan import FOLDER, Model, Validation
from .subject import Subject

DATA_KEYS = (
    "framework", "train_data", "val_data", "val_fraction", "task", "target", "seed", "group_column", "time_column",
    "missing_values", "scale_inputs", "sequence_length", "extra",
)  # fmt: skip
"""Keys of the configuration that decide what the data is."""
MODEL_KEYS = (*DATA_KEYS, "model_path", "model_name", "model_args", "device", "precision", "batch_size")
"""Keys that the model is measured with."""
_NO_MATTER = ("seed", "val_data", "val_fraction", "group_column", "time_column")
"""Those of them that change which rows it is fed, not what it is."""
ANSWERS = "measured"
"""Folder of `.stationmaster` where answers wait for whoever asks again."""
SECONDS = 50.0
"""A tool call must end within a minute; both measurements of one call share this."""


def split_key(subject: Subject, config: Mapping[str, Any]) -> str:
    """Hash over everything that the split follows from."""
    return _key(subject, {key: config[key] for key in DATA_KEYS if config.get(key) is not None})


def model_key(subject: Subject, config: Mapping[str, Any]) -> str:
    """Hash over everything that the model's facts follow from."""
    known = {key: config[key] for key in MODEL_KEYS if config.get(key) is not None and key not in _NO_MATTER}
    return _key(subject, {**known, "val_data": "none"}, model=True)


def split(
    subject: Subject, config: Mapping[str, Any], known: Validation | None, seconds: float = SECONDS
) -> SplitFacts:
    """Counts of the split; those of `known` while nothing changed. Raises DataError and what `lasting` raises."""
    key = split_key(subject, config)
    if known is not None and known.key == key:
        return known.facts
    facts = _ask("split", subject, config, DATA_KEYS, key, seconds).split
    assert facts is not None  # measure has looked
    return facts


def model(subject: Subject, config: Mapping[str, Any], known: Model | None, seconds: float = SECONDS) -> Model:
    """Facts of the model, built and fed one real batch; `known` while nothing changed. Raises ModelError."""
    key = model_key(subject, config)
    if known is not None and known.key == key:
        return known
    facts: ModelFacts | None = _ask("model", subject, config, MODEL_KEYS, key, seconds).model
    assert facts is not None  # measure has looked
    return Model(facts, key)


def _ask(
    what: Any, subject: Subject, config: Mapping[str, Any], keys: tuple[str, ...], key: str, seconds: float
) -> Answer:
    wanted = {name: config[name] for name in keys if config.get(name) is not None}
    wanted |= {"model_path": subject.model_path}
    request = Request(what, str(subject.project), config=wanted)
    return measure(request, subject.python.path, subject.project / FOLDER / ANSWERS, key, seconds)


def _key(subject: Subject, config: dict[str, Any], *, model: bool = False) -> str:
    project: Path = subject.project
    train, val = str(config["train_data"]), str(config["val_data"])
    code = ""
    if model or BUILD_DATA in (train, val) or subject.framework == TRANSFORMERS:  # a tokenizer divides text, too
        code = model_sha256(project, subject.framework, subject.model_path)
    data = paths_signature(project, train, val)
    return sha256([config, data, code, subject.python.path, subject.python.version])
