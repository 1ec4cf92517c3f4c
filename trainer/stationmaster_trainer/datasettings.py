"""The keys of a configuration that decide what the data is, taken from a TrainingConfig or from a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .contract import TrainingConfig
from .errors import ConfigError

BUILD_DATA = "build_data"
SPLIT = "split"
NONE = "none"


@dataclass(frozen=True)
class DataSettings:
    """As in `contract.TrainingConfig`, where each key is explained."""

    train_data: str = ""
    val_data: str = NONE
    framework: str = "pytorch"
    task: str | None = None
    """None: inferred."""
    target: str | None = None
    val_fraction: float = 0.2
    seed: int = 42
    group_column: str | None = None
    time_column: str | None = None
    missing_values: str = "error"
    scale_inputs: bool = True
    sequence_length: int = 128
    image_size: tuple[int, int] | None = None
    """Height and width from `extra.image_size`; None takes the most common size."""


def of(config: Mapping[str, Any] | TrainingConfig) -> DataSettings:
    """The settings; a key that is absent or null takes its default. Raises ConfigError for an impossible value."""
    get = config.get if isinstance(config, Mapping) else (lambda key: getattr(config, key, None))
    given = {field.name: get(field.name) for field in fields(DataSettings) if field.name != "image_size"}
    settings = DataSettings(
        **{key: value for key, value in given.items() if value is not None},
        image_size=_image_size((get("extra") or {}).get("image_size")),
    )
    if not settings.train_data:
        raise ConfigError("train_data is not set.", "Name the file or folder with the training data.")
    if not 0.0 < settings.val_fraction < 1.0:
        raise ConfigError(f"val_fraction is {settings.val_fraction}.", "Give a share between 0 and 1, for example 0.2.")
    if settings.sequence_length < 1:
        raise ConfigError(f"sequence_length is {settings.sequence_length}.", "Give a whole number of at least 1.")
    if settings.group_column is not None and settings.time_column is not None:
        raise ConfigError("group_column and time_column exclude each other.", "Set one of them to null.")
    return settings


def _image_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    size = (value, value) if isinstance(value, int) else value
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return int(size[0]), int(size[1])
    raise ConfigError(f"extra.image_size is {value!r}.", "Give one whole number, or [height, width].")
