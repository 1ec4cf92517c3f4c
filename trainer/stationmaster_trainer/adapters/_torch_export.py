"""The model of a checkpoint as its users load it: weights, preprocessing and the Python files that define it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .. import best_model, model_code
from ..contract import Spec
from ..model_card import Exported
from ..preprocessing import NAME as PREPROCESSING
from ..preprocessing import Preprocessing
from . import _torch_state
from ._torch_build import Built

EXTRA = "extra.pt"
"""What modules keep in `get_extra_state`, where they do."""


def remember(folder: Path, built: Built) -> None:
    """Writes into a checkpoint how its model was constructed."""
    model_code.remember(folder, {"name": built.model_name, "arguments": built.model_args})


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Fills `target` from a checkpoint. Raises CheckpointError, ModelError, OSError."""
    best_model.take(folder, target, (_torch_state.MODEL, PREPROCESSING))
    state = _torch_state.read_state(folder)
    if state["extra"]:
        torch.save(state["extra"], target / EXTRA)
    changed = model_code.take(spec, target)
    loading = _loading(spec, model_code.built(spec, folder), bool(state["ties"]), bool(state["extra"]))
    about = (
        "The folder holds the weights (`model.safetensors`), the preprocessing that was fitted on the training part, "
        f"and the Python files that define the model (`code/`). Loading needs `torch` and `safetensors`.{changed}"
    )
    return Exported("pytorch", loading, _using(spec, Preprocessing.load(folder)), about=about)


def _loading(spec: Spec, built: dict[str, Any], tied: bool, extra: bool) -> tuple[str, ...]:
    """The lines that load the weights into a new model."""
    name, read = built["name"], "load_model" if tied and not extra else "load_file"
    lines = ["", "import sys", "", *(["import torch"] if extra else []), f"from safetensors.torch import {read}", ""]
    lines += [*model_code.importing(spec, name), ""]
    lines.append(f"model = {name}({model_code.called(built['arguments'])})")
    file = f'f"{{folder}}/{_torch_state.MODEL}"'
    if read == "load_model":
        lines.append(f"load_model(model, {file})  # parameters that share their memory are stored once")
    elif extra:
        lines += [f"weights = load_file({file})", f'weights |= torch.load(f"{{folder}}/{EXTRA}", weights_only=True)']
        lines.append(f"model.load_state_dict(weights, strict={not tied})")
    else:
        lines.append(f"model.load_state_dict(load_file({file}))")
    return (*lines, "model.eval()")


def _using(spec: Spec, saved: Preprocessing) -> tuple[str, ...]:
    """The lines from raw rows to outputs; none where the user's own code prepares the data."""
    prepared = model_code.preparing(spec, saved, "import torch")
    if not prepared:
        return ()
    return (
        *prepared,
        "with torch.no_grad():",
        f"    outputs = model(torch.from_numpy({model_code.inputs(spec, saved)}))",
        *model_code.meaning(saved, "outputs.numpy()", "dim"),
    )
