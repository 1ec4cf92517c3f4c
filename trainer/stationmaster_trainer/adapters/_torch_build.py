"""From a configuration to what trains: the user's module, the data, the model on its device, the loss and the metrics.

Used by the training and by the measurement before it, so that both see the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from .. import data, entry, user_model
from ..contract import TrainingConfig
from ..dataset import Data
from ..errors import ModelError
from . import _torch_device
from ._torch_loss import Objective
from ._torch_metrics import Tally, UserMetrics

Config = TrainingConfig | Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """The user's module and the data."""

    module: Any
    data: Data


@dataclass(frozen=True)
class Built:
    """A model on its device, with what it is trained on."""

    source: Source
    model: nn.Module
    model_name: str
    model_args: dict[str, Any]
    """What the model was constructed with, sizes from the data included."""
    objective: Objective
    user_metrics: UserMetrics | None

    def tally(self) -> Tally:
        """A fresh count for one validation."""
        found = self.source.data
        unscale = found.preprocessing.unscale_targets if found.task == "regression" else None
        return Tally(found.task, len(found.classes), unscale, self.user_metrics)


def read(config: Config, project_dir: Path) -> Source:
    """Imports the model file (it may define `build_data`) and reads the data; seeded, as the user's code may draw."""
    _torch_device.seed_everything(int(get(config, "seed", 42)))
    module = user_model.load(entry.resolve(get(config, "model_path", ""), project_dir), project_dir)
    return Source(module, data.load(config, project_dir, user_model.hook(module, "build_data")))


def build(config: Config, project_dir: Path, source: Source, device: torch.device) -> Built:
    """Constructs the model with the sizes of the data, from the seed. Raises ModelError."""
    found = source.data
    factory = user_model.find_factory(source.module, get(config, "model_name", None), nn.Module)
    sizes = user_model.known_sizes(
        found.input_shape, found.outputs, found.vocabulary, int(get(config, "sequence_length", 128))
    )
    arguments = user_model.arguments(factory, sizes, get(config, "model_args", {}))
    objective = Objective(found.task, found.outputs, len(found.classes), user_model.hook(source.module, "loss"))
    _torch_device.seed_everything(int(get(config, "seed", 42)))
    model = user_model.build(factory, arguments, nn.Module, project_dir)
    _materialise(model, source.data)
    dropout = get(config, "dropout", None)
    if dropout is not None:
        for module, name in dropout_layers(model):
            setattr(module, name, float(dropout))
    name = getattr(factory, "__name__", type(model).__name__)
    metrics = user_model.hook(source.module, "metrics")
    return Built(source, model.to(device), name, arguments, objective, metrics)


def dropout_layers(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every module that drops out, and the attribute that holds its probability."""
    found: list[tuple[nn.Module, str]] = []
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            found.append((module, "p"))
        elif isinstance(module, nn.MultiheadAttention) or (isinstance(module, nn.RNNBase) and module.num_layers > 1):
            found.append((module, "dropout"))
    return found


def get(config: Config, key: str, default: Any) -> Any:
    """A key of the configuration, whole or partly known; absent and null give the default."""
    value = config.get(key) if isinstance(config, Mapping) else getattr(config, key)
    return default if value is None else value


def _materialise(model: nn.Module, found: Data) -> None:
    """Gives lazy layers (nn.LazyLinear, …) their shapes by one forward pass."""
    lazy = [name for name, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if not lazy:
        return
    import numpy as np

    inputs, _ = found.train.batch(np.arange(min(2, len(found.train))))
    try:
        with torch.no_grad():
            model(torch.from_numpy(inputs))
    except Exception as error:
        raise ModelError(
            f"the model does not take the data's inputs of shape {tuple(inputs.shape)}: {user_model.describe(error)}",
            "Make the first layer fit.",
        ) from error
