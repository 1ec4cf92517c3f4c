"""What is trained, on what, by which Python: named by the person, else the project's defaults with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer import entry, plugins, pretrained
from stationmaster_trainer.errors import DataError, ModelError, PluginError

from .choices import default_data, default_entry
from .digest import BUILD_DATA, TRANSFORMERS
from .interpreter import Interpreter, find_python
from .project import ProjectFacts, inspect
from .roots import inside


@dataclass(frozen=True)
class Subject:
    """The model file, the data and the Python of the next run."""

    project: Path
    model_path: str
    framework: str
    train_data: str
    python: Interpreter
    why: dict[str, str]
    """Key of the configuration → why this value, for those that were not named by the person."""
    model_name: str | None = None
    val_data: str | None = None
    """Validation data that lies beside the training data; offered, never taken unasked."""


def subject(project: Path, given: Mapping[str, Any]) -> Subject:
    """The subject, from `given` (keys of the configuration) and the project's files, which are read, not imported.

    Raises ModelError or DataError when there is no model file or no training data, or a named one cannot be used;
    PluginError for a framework without an adapter.
    """
    facts = inspect(project, measured=False)
    found, data = default_entry(facts), default_data(facts)
    model_path = str(given.get("model_path") or found.path)
    train_data = str(given.get("train_data") or data.train)
    framework, why_framework = _framework(given, facts, model_path)
    _known_framework(framework, why_framework)
    if not model_path:
        unread = "".join(f"; {finding.message}" for finding in facts.findings if finding.check == "source")
        from .offers import offer

        way_out = "Write the model in a Python file of the project, or set model_path."
        raise ModelError(f"{found.why}{unread[:600]}.", f"{way_out} {offer(facts)}".rstrip())
    if not train_data:
        raise DataError(f"{data.why}.", "Name the training data: train_data.")
    model_path = checked_model(project, model_path, framework)
    train_data = checked_data(project, train_data, "train_data")
    why = {"model_path": found.why, "framework": why_framework, "train_data": data.why}
    name = found.model_name if model_path == found.path else None
    return Subject(
        project=project,
        model_path=model_path,
        framework=framework,
        train_data=train_data,
        python=find_python(project),
        why={key: reason for key, reason in why.items() if not given.get(key)},
        model_name=given.get("model_name") or name,
        val_data=data.val if train_data == data.train else None,
    )


def checked_data(project: Path, name: str, what: str) -> str:
    """A data path relative to the project. DataError when it does not exist, RunError when it leaves the project."""
    if name == BUILD_DATA:
        return name
    path = inside(project, name, what)
    if not path.exists():
        raise DataError(
            f"{what} {name!r} does not exist in {project}.", "Check the name; inspect_project lists the data."
        )
    return path.relative_to(project).as_posix()


def _framework(given: Mapping[str, Any], facts: ProjectFacts, model: str) -> tuple[str, str]:
    """The framework and why: named, else by what kind of thing the model is, else by the project's imports."""
    if given.get("framework"):
        return str(given["framework"]), "named"
    if model and not model.endswith(".py"):
        return TRANSFORMERS, f"{model} is no Python file"
    found = facts.framework.name
    if model and found == TRANSFORMERS:
        return "pytorch", f"{model} is a Python file"
    return found or "pytorch", facts.framework.why


def checked_model(project: Path, name: str, framework: str) -> str:
    """A model file's path relative to the project, or what Transformers loads. ModelError when it cannot be used."""
    if framework == TRANSFORMERS:
        found = pretrained.resolve(name, project)
        return found.path.relative_to(project.resolve()).as_posix() if found.path else found.name
    return entry.resolve(name, project).relative_to(project).as_posix()


def _known_framework(framework: str, why: str) -> None:
    if framework not in plugins.known("adapters"):
        built = ", ".join(plugins.known("adapters"))
        raise PluginError(
            f"the framework {framework!r} ({why}) is not yet built: known are {built}.",
            "Set framework to one of them if the model is an nn.Module.",
        )
