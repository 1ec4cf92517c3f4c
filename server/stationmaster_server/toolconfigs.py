"""Configurations of other training tools in a project, known by their keys: what they say and how the tool runs them.

They are parsed within limits and never instantiated. Not covered: values that a tool puts in by itself.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, rundir
from stationmaster_trainer.errors import FormatError

from . import boundedyaml, hydra
from .framework import is_beside
from .sources import SourceFacts

MAX_FILES = 200
MAX_PARSED = 30
MAX_SECONDS = 3.0
_KEYS = rb"base_model|model_name_or_path|compute_environment|distributed_type|defaults|trainer|model|fit"
_RELATED = re.compile(rb"(?m)(?:^|[{,])\s*[\"']?(?:" + _KEYS + rb")[\"']?\s*:|_component_|_target_")
IN_JSON = ("LLaMA-Factory", "Lightning CLI", "accelerate")
"""Tools that take JSON as well."""
PACKAGES = {
    "axolotl": "axolotl", "LLaMA-Factory": "llamafactory", "torchtune": "torchtune", "Hydra": "hydra-core",
    "Lightning CLI": "jsonargparse", "accelerate": "accelerate",
}  # fmt: skip
"""Tool → the package that runs its configurations."""
_RATES: tuple[str, ...] = (
    "learning_rate",
    "lr",
    "optimizer.lr",
    "model.optimizer.lr",
    "optimizer.init_args.lr",
    "model.lr",
)
_RATES += ("model.init_args.lr", "model.init_args.learning_rate", "optim.lr", "training.learning_rate", "train.lr")
_EPOCHS: tuple[str, ...] = (
    "num_epochs",
    "num_train_epochs",
    "epochs",
    "max_epochs",
    "trainer.max_epochs",
    "training.epochs",
)
_EPOCHS += ("train.epochs", "max_steps", "trainer.max_steps", "max_steps_per_epoch")
_OUTPUTS = ("output_dir", "hydra.run.dir", "trainer.default_root_dir", "save_dir", "checkpointer.output_dir")
_MODELS = ("base_model", "model_name_or_path", "model._component_", "model._target_", "model.class_path", "model.name")
_DATA = ("datasets", "dataset", "data._target_", "data.class_path", "data", "dataset_name", "datamodule._target_")


@dataclass(frozen=True)
class ToolConfig:
    """One configuration."""

    path: str
    tool: str
    """A key of `PACKAGES`."""
    keys: tuple[str, ...]
    """The keys that it was known by."""
    line: int
    """Line of the first of them."""
    says: dict[str, str]
    """Of model, data, learning rate, epochs, output what it says."""
    command: tuple[str, ...] = ()
    """The tool's own command; empty for one that only sets up others."""
    script: str = ""
    """Script of the project that takes it, for Hydra and Lightning CLI."""
    installed: bool | None = None
    """None when the Python's packages were not looked at."""


def find(project: Path, paths: Iterable[str], files: Sequence[SourceFacts]) -> tuple[list[ToolConfig], list[str]]:
    """(the configurations that a known tool runs, the project's own first; those that cannot be parsed, in words)."""
    found: list[ToolConfig] = []
    problems: list[str] = []
    began, parsed = time.monotonic(), 0
    for path in sorted(paths, key=_order)[:MAX_FILES]:
        if parsed >= MAX_PARSED or time.monotonic() - began > MAX_SECONDS:
            break
        try:
            content = rundir.read(project / path, boundedyaml.MAX_BYTES)
        except (OSError, FormatError):
            continue
        if not _RELATED.search(content):
            continue
        parsed += 1
        json = path.endswith(".json")
        try:
            values = codec.parsed(content, path) if json else boundedyaml.parse(content)
        except (ValueError, FormatError) as error:
            problems += [] if json else [f"{path}: {error}"]  # most in JSON are something else
            continue
        one = recognise(path, content, values, files) if isinstance(values, dict) else None
        if one is None or (json and one.tool not in IN_JSON):
            continue
        if one.tool == "Hydra":
            one = replace(one, says=_says(hydra.composed(project, path, values)))
        found.append(one)
    return found, problems


def _order(path: str) -> tuple[object, ...]:
    return path.endswith(".json"), is_beside(path), "eval" in path.rpartition("/")[2], path.count("/"), path


def installed(configs: Iterable[ToolConfig], packages: Mapping[str, str] | None) -> tuple[ToolConfig, ...]:
    """The same with whether the project's Python has the tool; `packages` None when that is not known."""
    if packages is None:
        return tuple(configs)
    return tuple(replace(one, installed=PACKAGES[one.tool] in packages) for one in configs)


def recognise(path: str, content: bytes, values: Mapping[Any, Any], files: Sequence[SourceFacts]) -> ToolConfig | None:
    """The tool that the keys belong to; None for any other file."""
    names = {str(key) for key in values}
    tool, keys = _tool(names, values)
    if not tool:
        return None
    script = _script(tool, files)
    if tool in ("Hydra", "Lightning CLI") and not script:
        return None
    text = content.decode("utf-8", "replace")
    named = (f"{keys[0]}:", f'"{keys[0]}":')
    line = next((at for at, one in enumerate(text.splitlines(), 1) if one.strip().startswith(named)), 1)
    return ToolConfig(path, tool, keys, line, _says(values), _command(tool, path, script, text, values), script)


def _tool(names: set[str], values: Mapping[Any, Any]) -> tuple[str, tuple[str, ...]]:
    def having(*wanted: str) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in names)

    if "base_model" in names and (keys := having("datasets", "micro_batch_size", "sequence_len", "adapter", "rl")):
        return "axolotl", ("base_model", *keys)
    keys = having("stage", "finetuning_type", "do_train", "template", "dataset")
    if "model_name_or_path" in names and {"stage", "finetuning_type"} & names and len(keys) > 1:
        return "LLaMA-Factory", ("model_name_or_path", *keys)
    parts = tuple(str(k) for k, v in values.items() if isinstance(v, Mapping) and "_component_" in v)
    if parts:
        return "torchtune", parts
    if {"compute_environment", "distributed_type"} <= names or {"distributed_type", "num_processes"} <= names:
        return "accelerate", having("compute_environment", "distributed_type", "num_processes")
    if _composes(values.get("defaults")):
        return "Hydra", having("defaults", "hydra")
    fit = _inner(values)
    if isinstance(fit.get("trainer"), Mapping) and {"model", "data"} & {str(key) for key in fit}:
        return "Lightning CLI", ("trainer", *(name for name in ("model", "data") if name in fit))
    return "", ()


def _composes(defaults: Any) -> bool:
    """Whether a list of defaults puts a whole configuration together: Hydra's primary one, no part and no variant."""
    parts = [one for one in defaults if isinstance(one, Mapping)] if isinstance(defaults, list) else []
    return bool(parts) and not any(str(key).startswith("override") for one in parts for key in one)


def _inner(values: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """What Lightning CLI may have put below the name of its subcommand."""
    fit = values.get("fit")
    return fit if isinstance(fit, Mapping) else values


def _script(tool: str, files: Sequence[SourceFacts]) -> str:
    """The project's script that such a configuration belongs to: by `@hydra.main`, or a call of LightningCLI."""
    for file in sorted(files, key=lambda one: (is_beside(one.path), "train" not in one.path, one.path.count("/"))):
        if tool == "Hydra" and any(mark.what in ("hydra", "hydra.main") for mark in file.imports) and file.main:
            return file.path
        if tool == "Lightning CLI" and any("LightningCLI" in sign.what for sign in file.signs):
            return file.path
    return ""


def _command(tool: str, path: str, script: str, text: str, values: Mapping[Any, Any]) -> tuple[str, ...]:
    if tool == "axolotl":
        return ("axolotl", "train", path)
    if tool == "LLaMA-Factory":
        return ("llamafactory-cli", "train", path)
    if tool == "torchtune":
        named = re.search(r"tune run (?:--\S+ \S+ )*([a-z_0-9]+) --config", text)
        model = str(_at(values, "model._component_") or "")
        usual = "lora_finetune_single_device" if "lora" in model else "full_finetune_single_device"
        return ("tune", "run", named[1] if named else usual, "--config", path)
    if tool == "Lightning CLI":
        return ("python", script, *(() if isinstance(values.get("fit"), Mapping) else ("fit",)), "--config", path)
    if tool == "Hydra":
        name = posixpath.basename(path).partition(".")[0]
        return ("python", script) if name in ("config", "train", "main") else ("python", script, "--config-name", name)
    return ()


def _says(values: Mapping[Any, Any]) -> dict[str, str]:
    """What it says of the things that a person asks for, as written."""
    inner = _inner(values)
    wanted = {"model": _MODELS, "data": _DATA, "learning rate": _RATES, "epochs": _EPOCHS, "output": _OUTPUTS}
    found = {}
    for what, places in wanted.items():
        for place in places:
            value = _plain(_at(inner, place))
            if value:
                found["steps" if what == "epochs" and "steps" in place else what] = value
                break
    return found


def _at(values: Any, place: str) -> Any:
    for part in place.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _plain(value: Any) -> str:
    """A scalar as written; of a list of data sets their paths."""
    if isinstance(value, (list, tuple)):
        parts = [_plain(one) for one in value[:3]]
        return ", ".join(part for part in parts if part)
    if isinstance(value, Mapping):
        return next((_plain(value[key]) for key in ("path", "_component_", "source", "name") if key in value), "")
    if isinstance(value, int) and value.bit_length() > 400:  # no setting, and Python does not write it out
        return ""
    return str(value)[:120] if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
