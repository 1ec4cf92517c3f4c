"""The model of a checkpoint as its users load it: weights, preprocessing and the Python files that define it.

Not covered: other files that the model file reads when it is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .. import best_model, codec, entry
from ..contract import Spec
from ..errors import CheckpointError
from ..model_card import Exported
from ..preprocessing import NAME as PREPROCESSING
from ..preprocessing import Preprocessing
from . import _torch_state
from ._torch_build import Built

BUILT = "model.json"
"""In a checkpoint: how the model was constructed."""
CODE = "code"
"""Folder of the model's own Python files."""
EXTRA = "extra.pt"
"""What modules keep in `get_extra_state`, where they do."""
READERS = {
    ".csv": "pandas.read_csv({})", ".tsv": "pandas.read_csv({}, sep='\\t')", ".parquet": "pandas.read_parquet({})",
    ".jsonl": "pandas.read_json({}, lines=True)", ".npz": "dict(numpy.load({}))",
}  # fmt: skip
"""Suffix → how its rows are read."""


def remember(folder: Path, built: Built) -> None:
    """Writes into a checkpoint how its model was constructed."""
    known = {"name": built.model_name, "arguments": built.model_args}
    (folder / BUILT).write_text(codec.dumps(known, indent=1), encoding="utf-8")


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Fills `target` from a checkpoint. Raises CheckpointError, ModelError, OSError."""
    project = Path(spec.project_dir)
    best_model.take(folder, target, (_torch_state.MODEL, PREPROCESSING))
    state = _torch_state.read_state(folder)
    if state["extra"]:
        torch.save(state["extra"], target / EXTRA)
    path = entry.resolve(spec.config.model_path, project)
    best_model.take(project.resolve(), target / CODE, _own_files(path, project.resolve()))
    built = _built(folder)
    built["name"] = spec.config.model_name or built["name"]
    loading = _loading(path.relative_to(project.resolve()), built, bool(state["ties"]), bool(state["extra"]))
    using = _using(spec, Preprocessing.load(folder))
    return Exported("pytorch", loading, using, about=_about(spec, entry.entry_sha256(path, project)))


def _built(folder: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((folder / BUILT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / BUILT} cannot be read: {error}") from None
    return known


def _own_files(path: Path, project: Path) -> list[str]:
    """The model file, what it imports of the project, and the packages that it stands in."""
    found = dict.fromkeys(entry.local_files(path, project))
    above = path.parent
    while (above / "__init__.py").is_file() and above != project.parent:
        found |= dict.fromkeys(entry.local_files(above / "__init__.py", project))
        above = above.parent
    return [file.relative_to(project).as_posix() for file in found]


def _loading(path: Path, built: dict[str, Any], tied: bool, extra: bool) -> tuple[str, ...]:
    """The lines that load the weights into a new model."""
    folders = [CODE, f"{CODE}/{path.parent.as_posix()}"] if path.parent != Path(".") else [CODE]
    module, name = ".".join(path.with_suffix("").parts), built["name"]
    arguments = ", ".join(f"{key}={value!r}" for key, value in built["arguments"].items())
    read = "load_model" if tied and not extra else "load_file"
    lines = ["", "import sys", "", *(["import torch"] if extra else []), f"from safetensors.torch import {read}", ""]
    lines.append("sys.path[:0] = [" + ", ".join(f'f"{{folder}}/{one}"' for one in folders) + "]")
    if all(part.isidentifier() for part in module.split(".")):
        lines += [f"from {module} import {name}", ""]
    else:
        lines += [f"{name} = __import__('importlib').import_module({module!r}).{name}", ""]
    lines.append(f"model = {name}({arguments})")
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
    rows = _rows(spec, saved)
    if not rows:
        return ()
    library, run = rows
    head = [f"import {library}"] if library else []
    return (
        *(["import pathlib", ""] if not library else []),
        *head,
        *(["import torch"]),
        "",
        f'sys.path.append("runs/{spec.config.run_name}/lib")  # the run\'s own copy of stationmaster_trainer',
        "from stationmaster_trainer.preprocessing import Preprocessing",
        "",
        "preprocessing = Preprocessing.load(folder)",
        f"inputs, targets = preprocessing.transform({run})",
        "with torch.no_grad():",
        f"    outputs = model(torch.from_numpy({_shaped(spec, saved)}))",
        *_meaning(saved),
    )


def _rows(spec: Spec, saved: Preprocessing) -> tuple[str, str] | None:
    """The package that reads the data, and the expression; None when there is no general one."""
    config = spec.config
    data = config.train_data if config.val_data in ("split", "none") else config.val_data
    if saved.kind == "images":
        return "", f"sorted(path for path in pathlib.Path({data!r}).rglob('*.*') if path.is_file())"
    if saved.kind == "text":
        return "", f"pathlib.Path({data!r}).read_text(encoding='utf-8')"
    reader = READERS.get(Path(data).suffix.lower()) if saved.kind == "table" else None
    if reader is None:
        return None
    return reader.partition(".")[0].removeprefix("dict("), reader.format(repr(data))


def _shaped(spec: Spec, saved: Preprocessing) -> str:
    return f"inputs[None, :{spec.config.sequence_length}]" if saved.kind == "text" else "inputs"


def _meaning(saved: Preprocessing) -> tuple[str, ...]:
    """What becomes of the outputs."""
    if saved.target.kind == "class" and len(saved.target.classes) > 2:
        return ("names = [preprocessing.target.classes[i] for i in outputs.argmax(dim=1)]",)
    if saved.target.kind == "number":
        return ("values = preprocessing.unscale_targets(outputs.numpy())",)
    return ()


def _about(spec: Spec, sha256: str) -> str:
    text = (
        "The folder holds the weights (`model.safetensors`), the preprocessing that was fitted on the training part, "
        "and the Python files that define the model (`code/`). Loading needs `torch` and `safetensors`."
    )
    if spec.facts.entry_sha256 and sha256 != spec.facts.entry_sha256:
        return f"{text} These Python files changed since the training was confirmed."
    return text
