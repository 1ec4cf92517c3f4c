"""The model of a checkpoint as its users load it: an Orbax folder, the preprocessing, and the files that define it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from flax import nnx

from .. import best_model, manifest, model_code
from ..contract import Spec
from ..model_card import Exported
from ..preprocessing import NAME as PREPROCESSING
from ..preprocessing import Preprocessing
from . import _flax_state
from ._flax_model import mode_arguments, mode_fields


def description(model: Any, name: str, arguments: dict[str, Any], streams: bool) -> dict[str, Any]:
    """What a checkpoint says of how its model is made and called for predictions.

    streams: whether its constructor takes `rngs`.
    """
    known = {"name": name, "arguments": arguments, "streams": streams}
    if not isinstance(model, nnx.Module):
        call = mode_arguments(type(model).__call__, False, {})
        return {**known, "kind": "linen", "call": call, "fields": mode_fields(model, False)}
    asks = "rngs" in inspect.signature(model.__call__).parameters
    return {**known, "kind": "nnx", "call": mode_arguments(model.__call__, False, {}), "call_streams": asks}


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Fills `target` from a checkpoint. Raises CheckpointError, ModelError, OSError."""
    weights = [name for name in manifest.read(folder).files if name.startswith(f"{_flax_state.MODEL}/")]
    best_model.take(folder, target, (*weights, PREPROCESSING))
    changed = model_code.take(spec, target)
    built = model_code.built(spec, folder)
    what = "the variables" if built["kind"] == "linen" else "the state"
    about = (
        f"The folder holds {what} as an Orbax checkpoint (`{_flax_state.MODEL}/`), the preprocessing that was fitted "
        "on the training part, and the Python files that define the model (`code/`). Loading needs `flax` and "
        f"`orbax-checkpoint`.{changed}"
    )
    return Exported("flax", _loading(spec, built), _using(spec, built, Preprocessing.load(folder)), about=about)


def _loading(spec: Spec, built: dict[str, Any]) -> tuple[str, ...]:
    """The lines that restore the variables, and make a model that they fit."""
    name, arguments = built["name"], model_code.called({**built["arguments"], **built.get("fields", {})})
    streams = ", ".join(part for part in (arguments, "rngs=nnx.Rngs(0)") if part) if built["streams"] else arguments
    lines = ["", "import pathlib", "import sys", ""]
    lines += ["from flax import nnx"] if built["kind"] == "nnx" else []
    lines += ["import orbax.checkpoint as ocp", "", "path = pathlib.Path(folder).absolute()"]
    lines += [f'variables = ocp.StandardCheckpointer().restore(path / "{_flax_state.MODEL}")', ""]
    lines += [*model_code.importing(spec, name), "", f"model = {name}({streams})"]
    if built["kind"] == "nnx":
        lines += ["nnx.update(model, nnx.restore_int_paths(variables))", "model.eval()"]
    return tuple(lines)


def _using(spec: Spec, built: dict[str, Any], saved: Preprocessing) -> tuple[str, ...]:
    """The lines from raw rows to outputs; none where the user's own code prepares the data."""
    prepared = model_code.preparing(spec, saved, "")
    if not prepared:
        return ()
    given = [model_code.inputs(spec, saved), *([model_code.called(built["call"])] if built["call"] else [])]
    if built["kind"] == "linen":
        call = f"model.apply({', '.join(['variables', *given])})"
    else:
        call = f"model({', '.join([*given, *(['rngs=nnx.Rngs(0)'] if built['call_streams'] else [])])})"
    return (*prepared, f"outputs = {call}", *model_code.meaning(saved, "numpy.asarray(outputs)", "axis"))
