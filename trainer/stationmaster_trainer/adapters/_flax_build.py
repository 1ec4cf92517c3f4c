"""From a configuration to what trains: the user's module, the data, the model taken apart, the loss and the metrics.

Used by the training and by the measurement before it, so that both see the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen, nnx

from .. import data, entry, randomness, user_model
from ..contract import TrainingConfig
from ..dataset import Data
from ..errors import ModelError, StationmasterError
from . import _flax_export, _flax_linen, _flax_model, _flax_nnx
from ._flax_loss import Objective
from ._flax_metrics import Tally, UserMetrics
from ._flax_model import Pure

Config = TrainingConfig | Mapping[str, Any]
MODELS = (nnx.Module, linen.Module)


@dataclass(frozen=True)
class Source:
    """The user's module and the data."""

    module: Any
    data: Data


@dataclass(frozen=True)
class Built:
    """A model with what it is trained on."""

    source: Source
    pure: Pure
    model_name: str
    model_args: dict[str, Any]
    """What the model was constructed with, sizes from the data included."""
    objective: Objective
    user_metrics: UserMetrics | None
    description: dict[str, Any] = field(default_factory=dict)
    """What each checkpoint says of how the model is made, see `_flax_export`."""

    def tally(self) -> Tally:
        """A fresh count for one validation."""
        found = self.source.data
        unscale = found.preprocessing.unscale_targets if found.task == "regression" else None
        return Tally(found.task, len(found.classes), unscale, self.user_metrics)


def read(config: Config, project_dir: Path) -> Source:
    """Imports the model file (it may define `build_data`) and reads the data; seeded, as the user's code may draw."""
    randomness.seed(int(get(config, "seed", 42)))
    module = user_model.load(entry.resolve(get(config, "model_path", ""), project_dir), project_dir)
    return Source(module, data.load(config, project_dir, user_model.hook(module, "build_data")))


def build(config: Config, project_dir: Path, source: Source, device: Any) -> Built:
    """Constructs the model with the sizes of the data, from the seed. Raises ModelError."""
    found, seed = source.data, int(get(config, "seed", 42))
    factory = user_model.find_factory(source.module, get(config, "model_name", None), MODELS)
    name = getattr(factory, "__name__", "model")
    length = int(get(config, "sequence_length", 128))
    sizes = user_model.known_sizes(found.input_shape, found.outputs, found.vocabulary, length, channels_last=True)
    seeded = _seeded(factory, seed)
    arguments = user_model.arguments(seeded, sizes, get(config, "model_args", {}))
    objective = Objective(found.task, found.outputs, len(found.classes), user_model.hook(source.module, "loss"))
    randomness.seed(seed)
    with jax.default_device(device):
        model = _constructed(seeded, arguments, project_dir)
        pure = _taken_apart(model, source.data, seed, get(config, "dropout", None), project_dir)
    metrics = user_model.hook(source.module, "metrics")
    description = _flax_export.description(model, name, arguments, _streams(factory))
    return Built(source, pure, name, arguments, objective, metrics, description)


def get(config: Config, key: str, default: Any) -> Any:
    """A key of the configuration, whole or partly known; absent and null give the default."""
    value = config.get(key) if isinstance(config, Mapping) else getattr(config, key)
    return default if value is None else value


def _parameters(factory: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """What the constructor or function takes; None where that is not known.

    NNX hides a constructor's signature behind that of its metaclass.
    """
    kind = factory if isinstance(factory, type) else object
    own: Any = inspect.getattr_static(kind, "__init__") if issubclass(kind, nnx.Module) else factory
    try:
        return list(inspect.signature(own).parameters.values())[own is not factory :]
    except (TypeError, ValueError):
        return None


def _streams(factory: Callable[..., Any]) -> bool:
    """Whether it takes random streams."""
    return any(parameter.name == "rngs" for parameter in _parameters(factory) or ())


def _seeded(factory: Callable[..., Any], seed: int) -> Callable[..., Any]:
    """The factory without what is not the user's to set: `rngs` comes from the seed, Linen's own fields are left."""
    parameters = _parameters(factory)
    if parameters is None:
        return factory
    streams = _streams(factory)
    linens = isinstance(factory, type) and issubclass(factory, linen.Module)
    hidden = {"rngs"} | ({"parent", "name"} if linens else set())

    def construct(**arguments: Any) -> Any:
        return factory(**arguments, rngs=nnx.Rngs(seed)) if streams else factory(**arguments)

    construct.__name__ = getattr(factory, "__name__", "the model")
    shown = [parameter for parameter in parameters if parameter.name not in hidden]
    construct.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return construct


def _constructed(factory: Callable[..., Any], arguments: Mapping[str, Any], project_dir: Path) -> Any:
    try:
        return user_model.build(factory, arguments, MODELS, project_dir)
    except ModelError as error:
        if "assigned to static attribute" not in str(error.__cause__):
            raise
        way_out = "Put a list of layers into nnx.List([...]), and arrays into nnx.Variable or nnx.data."
        raise ModelError(error.message, way_out) from error.__cause__


def _taken_apart(model: Any, found: Data, seed: int, dropout: float | None, project_dir: Path) -> Pure:
    try:
        if isinstance(model, nnx.Module):
            if dropout is not None:
                for module, name in _flax_nnx.dropouts(model):
                    setattr(module, name, float(dropout))
            return _flax_model.check(_flax_nnx.take_apart(model))
        inputs = found.train.batch(np.arange(min(2, len(found.train))))[0]
        inputs = inputs.astype(np.int32) if inputs.dtype == np.int64 else inputs
    except StationmasterError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{type(model).__name__} holds variables that are no arrays: {user_model.describe(error)}",
            "Keep what is no array outside of nnx.Variable.",
        ) from error
    return _flax_model.check(_initialised(model, inputs, seed, dropout, project_dir))


def _initialised(model: linen.Module, inputs: Any, seed: int, dropout: float | None, project_dir: Path) -> Pure:
    """Linen makes its parameters from a first batch."""
    try:
        return _flax_linen.take_apart(model, inputs, jax.random.key(seed), dropout)
    except StationmasterError:
        raise
    except Exception as error:
        raise ModelError(
            f"the model cannot be initialised with the data's inputs, {inputs.dtype} {tuple(inputs.shape)}, at "
            f"{user_model.place(error, project_dir)}: {user_model.describe(error)}",
            "__call__ must take one batch of inputs (and at most a flag such as `train`); make its first layer fit.",
        ) from error
