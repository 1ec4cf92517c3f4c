"""Classes that are models: their kind by their bases, their constructor, and which of them are parts of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .syntax import Parameter

if TYPE_CHECKING:
    from .sources import SourceFacts


@dataclass(frozen=True)
class ModelClass:
    """A class that is a model."""

    name: str
    path: str
    line: int
    kind: str
    """`pytorch`, `transformers`, `lightning`, `linen`, `nnx`, `keras`."""
    parameters: tuple[Parameter, ...]
    part_of: tuple[str, ...] = ()
    """Other model classes of the project that use or extend it."""
    uses: tuple[str, ...] = ()
    """Full names, below the project, of what the class uses; settled into `part_of` and then empty."""


def model_kind(dotted: str) -> str:
    """Kind of model that a base class of this full name makes; empty for none."""
    module, _, name = dotted.rpartition(".")
    if name == "LightningModule":
        return "lightning"
    if dotted.startswith("torch.nn.") and name[:1].isupper() and not name.endswith("Parameter"):
        return "pytorch"
    if dotted.startswith(("torchvision.models.", "torch_geometric.nn.", "timm.models.")) and name[:1].isupper():
        return "pytorch"
    if dotted in ("flax.linen.Module", "flax.linen.module.Module"):
        return "linen"
    if module in ("flax.nnx", "flax.experimental.nnx") and name[:1].isupper():
        return "nnx"
    if dotted.startswith("transformers.") and (name.endswith(("PreTrainedModel", "Model")) or "For" in name):
        return "transformers"
    if dotted.startswith(("keras.", "tensorflow.keras.", "tf_keras.")) and name in ("Model", "Sequential", "Layer"):
        return "keras"
    return ""


def settle(files: Iterable[SourceFacts]) -> list[SourceFacts]:
    """Settles what one file alone cannot tell: bases that are models of another file, and which are parts of which.

    A class that turns out to be no model is dropped; one without a constructor of its own gets its base's.
    """
    files = list(files)
    kinds = {model.name: model.kind for file in files for model in file.models if not model.kind.startswith("?")}
    for _ in range(5):  # a chain of local bases, file after file
        for file in files:
            for model in file.models:
                if model.kind.startswith("?") and model.kind[1:] in kinds:
                    kinds.setdefault(model.name, kinds[model.kind[1:]])
    constructors = {model.name: model.parameters for file in files for model in file.models}
    users: dict[str, list[str]] = {}
    for file in files:
        for model in (model for model in file.models if model.name in kinds):
            for used in model.uses:
                users.setdefault(used, []).append(model.name)
    return [replace(file, models=tuple(_settled(file.models, kinds, users, constructors))) for file in files]


def _settled(
    models: tuple[ModelClass, ...],
    kinds: dict[str, str],
    users: dict[str, list[str]],
    constructors: dict[str, tuple[Parameter, ...]],
) -> Iterator[ModelClass]:
    for model in models:
        if model.name in kinds:
            part_of = tuple(dict.fromkeys(name for name in users.get(model.name, ()) if name != model.name))
            kind = kinds[model.name] if model.kind.startswith("?") else model.kind
            parameters = model.parameters or constructors.get(model.kind[1:], ())
            yield replace(model, kind=kind, parameters=parameters, part_of=part_of, uses=())
