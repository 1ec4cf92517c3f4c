"""A model that a Python file defines, taken along with its weights: how it was built, its code, the lines of its card.

The same for every framework. Not covered: other files that the model file reads when it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import best_model, codec, entry
from .contract import Spec
from .errors import CheckpointError, FormatError
from .preprocessing import Preprocessing

BUILT = "model.json"
"""In a checkpoint: how the model was constructed."""
CODE = "code"
"""Folder of the model's own Python files."""
READERS = {
    ".csv": "pandas.read_csv({})", ".tsv": "pandas.read_csv({}, sep='\\t')", ".parquet": "pandas.read_parquet({})",
    ".jsonl": "pandas.read_json({}, lines=True)", ".npz": "dict(numpy.load({}))",
}  # fmt: skip
"""Suffix → how its rows are read."""


def remember(folder: Path, known: Mapping[str, Any]) -> None:
    """Writes into a checkpoint how its model was constructed: `name`, `arguments`, and what else an adapter needs."""
    (folder / BUILT).write_text(codec.dumps(dict(known), indent=1), encoding="utf-8")


def built(spec: Spec, folder: Path) -> dict[str, Any]:
    """What `remember` wrote, under the name that the configuration has for the model. Raises CheckpointError."""
    try:
        known: dict[str, Any] = codec.parsed((folder / BUILT).read_bytes(), BUILT)
    except (OSError, FormatError) as error:
        raise CheckpointError(f"{folder / BUILT} cannot be read: {error}") from None
    return {**known, "name": spec.config.model_name or known["name"]}


def take(spec: Spec, target: Path) -> str:
    """Copies the model file and what it needs of the project; returns a warning when it is not what was confirmed."""
    project = Path(spec.project_dir).resolve()
    path = entry.resolve(spec.config.model_path, project)
    found = dict.fromkeys(entry.local_files(path, project))
    above = path.parent
    while (above / "__init__.py").is_file() and above != project.parent:  # the packages that it stands in
        found |= dict.fromkeys(entry.local_files(above / "__init__.py", project))
        above = above.parent
    best_model.take(project, target / CODE, [file.relative_to(project).as_posix() for file in found])
    if spec.facts.entry_sha256 and entry.entry_sha256(path, project) != spec.facts.entry_sha256:
        return " These Python files changed since the training was confirmed."
    return ""


def importing(spec: Spec, name: str) -> tuple[str, ...]:
    """The lines that import the model from that copy; they need `sys`."""
    project = Path(spec.project_dir).resolve()
    path = entry.resolve(spec.config.model_path, project).relative_to(project)
    folders = [CODE, f"{CODE}/{path.parent.as_posix()}"] if path.parent != Path(".") else [CODE]
    module = ".".join(path.with_suffix("").parts)
    found = "sys.path[:0] = [" + ", ".join(f'f"{{folder}}/{one}"' for one in folders) + "]"
    if all(part.isidentifier() for part in module.split(".")):
        return found, f"from {module} import {name}"
    return found, f"{name} = __import__('importlib').import_module({module!r}).{name}"


def called(arguments: Mapping[str, Any]) -> str:
    """Arguments as they stand in a call."""
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def preparing(spec: Spec, saved: Preprocessing, library: str) -> tuple[str, ...]:
    """The lines from raw rows to `inputs` and `targets`; none where the user's own code prepares the data.

    `library`: a line that imports what the lines after these need.
    """
    rows = _rows(spec, saved)
    if not rows:
        return ()
    reader, run = rows
    return (
        *(["import pathlib", ""] if not reader else []),
        *([f"import {reader}"] if reader else []),
        *([library] if library else []),
        "",
        f'sys.path.append("runs/{spec.config.run_name}/lib")  # the run\'s own copy of stationmaster_trainer',
        "from stationmaster_trainer.preprocessing import Preprocessing",
        "",
        "preprocessing = Preprocessing.load(folder)",
        f"inputs, targets = preprocessing.transform({run})",
    )


def inputs(spec: Spec, saved: Preprocessing) -> str:
    """What of `inputs` goes into the model at once."""
    return f"inputs[None, :{spec.config.sequence_length}]" if saved.kind == "text" else "inputs"


def meaning(saved: Preprocessing, outputs: str, axis: str) -> tuple[str, ...]:
    """What becomes of the outputs; `outputs`: as a numpy array, `axis`: the framework's name for the last one."""
    if saved.target.kind == "class" and len(saved.target.classes) > 2:
        return (f"names = [preprocessing.target.classes[i] for i in outputs.argmax({axis}=1)]",)
    if saved.target.kind == "number":
        return (f"values = preprocessing.unscale_targets({outputs})",)
    return ()


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
