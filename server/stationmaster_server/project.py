"""Everything known about a project before a run: framework, entries, models, data, Python, hardware, what is missing.

Source is read as syntax trees; only the Python that will train is executed, to measure the data and list its packages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from stationmaster_trainer.errors import PluginError, StationmasterError
from stationmaster_trainer.facts import Answer, EnvironmentFacts, FileFacts, Finding, Request

from . import foreignfolders, logs, notebooks, projectfindings, savedmodel, scripts, startcommands, toolconfigs
from .choices import Data, Entry, default_data, default_entry
from .devices import Hardware, hardware
from .foreignfolders import Foreign
from .framework import PACKAGES, FrameworkFacts, detect, is_beside, model_mark
from .interpreter import Interpreter, find_python, install_command, too_old
from .listing import DataFile, Listing, walk
from .logs import LogFacts
from .measuring import measure
from .modelclass import ModelClass
from .notebooks import NotebookFacts
from .scripts import Script
from .sources import FunctionFacts, SourceFacts, read_all
from .toolconfigs import ToolConfig

__all__ = ["Data", "DataCandidate", "Entry", "EntryPoint", "ProjectFacts", "default_data", "default_entry", "inspect"]

MAX_MEASURED = 6
"""Data files that are measured, those that are likely to be trained on first."""
MAX_MEASURED_BYTES = 500_000_000
"""Larger files are listed and measured only when they have been chosen."""
SECONDS = 25.0
"""Deadline of one measurement: a tool call must end well within a minute."""
_OF_FRAMEWORKS = (name for names in PACKAGES.values() for name in names)
ASKED = tuple(dict.fromkeys(["numpy", *_OF_FRAMEWORKS, "tensorboard", "wandb", *toolconfigs.PACKAGES.values()]))


@dataclass(frozen=True)
class EntryPoint:
    """A file that has to do with training."""

    path: str
    roles: tuple[str, ...]
    """Of `model`, `build_model`, `build_data`, `loss`, `metrics`, `training loop`, `main`."""
    evidence: tuple[str, ...]
    """`file:line what`."""
    trains_on_import: int = 0
    """Line that starts training when the file is imported; such a file cannot be an entry as it is."""


@dataclass(frozen=True)
class DataCandidate:
    """A data file or folder, and what was measured of it."""

    path: str
    format: str
    role: str
    """`train`, `val`, `test`, or empty."""
    bytes: int
    measured: FileFacts | None = None
    """None when it was not measured; the findings say why."""


@dataclass(frozen=True)
class ProjectFacts:
    """What `inspect` found; paths relative to the project, evidence as `file:line`."""

    project_dir: str
    framework: FrameworkFacts
    entry_points: tuple[EntryPoint, ...]
    models: tuple[ModelClass, ...]
    functions: dict[str, tuple[FunctionFacts, ...]]
    """File → its functions that the adapters call."""
    built: dict[str, str]
    """Class that is called outside any class → `file:line` of the first place."""
    pretrained: tuple[tuple[str, str], ...]
    """Identifiers or folders of ready models: (identifier, evidence)."""
    data: tuple[DataCandidate, ...]
    """Those likely to be trained on first."""
    notebooks: tuple[NotebookFacts, ...]
    """Those that train first."""
    configs: tuple[ToolConfig, ...]
    """Configurations of other training tools."""
    foreign: tuple[Foreign, ...]
    """What other libraries wrote, and stationmaster does not train on by itself."""
    logs: tuple[LogFacts, ...]
    """Of any tool, newest first; stationmaster's own runs are not among them."""
    scripts: tuple[Script, ...]
    """Scripts that train, the likeliest to be meant first; modules that only hold a loop last."""
    python: Interpreter | None
    """The Python that will train; None when there is none (the findings say why)."""
    environment: EnvironmentFacts | None
    missing: tuple[str, ...]
    """Packages that training with this framework needs and this Python lacks."""
    hardware: Hardware
    findings: tuple[Finding, ...] = field(default=())


def inspect(project: Path, *, setting: str | None = None, measured: bool = True) -> ProjectFacts:
    """Looks at a project; takes 1–3 s, or some 0.2 s with `measured` false (no rows, columns, classes and versions).

    Never raises for what lies in the project: what cannot be used is a finding.
    """
    listing = walk(project)
    listing.model_folders += [folder for folder in listing.config_folders if savedmodel.is_model(project / folder)]
    files, left_out = read_all(project, listing.python)
    listing.notes += [left_out] if left_out else []
    notes, code = notebooks.read_all(project, listing.notebooks)
    framework = detect([*files, *code], listing.model_folders)
    data = _sorted_data(listing.data)
    found_logs, cut = logs.find(project) if measured else ([], "")
    listing.notes += [cut] if cut else []
    data = tuple(item for item in data if item.path not in {log.path for log in found_logs if log.stepped})
    python, findings = _python(project, setting)
    environment: EnvironmentFacts | None = None
    if python is not None and measured:
        environment, data, seen = _measured(project, python, data)
        findings += seen
    missing = _missing(framework, environment)
    lacking = _missing_finding(framework, missing, python)
    findings = lacking + [finding for finding in findings if not (lacking and finding.check == "packages")]
    findings += projectfindings.of_source(listing, files, framework, python)
    configs, unread = toolconfigs.find(project, [*listing.configs, *listing.json], files)
    listing.notes += unread[:3]
    entries = tuple(entry for entry in map(_entry_point, files) if entry.roles)
    return ProjectFacts(
        project_dir=str(project),
        framework=framework,
        entry_points=tuple(
            sorted(entries, key=lambda entry: (is_beside(entry.path), entry.path.count("/"), entry.path))
        ),
        models=tuple(model for file in files for model in file.models),
        functions={file.path: file.functions for file in files if file.functions},
        built=_built(files),
        pretrained=_pretrained(listing, files),
        data=data,
        notebooks=tuple(notes),
        configs=toolconfigs.installed(configs, environment.packages if environment else None),
        foreign=tuple(foreignfolders.with_base(project, one) for one in listing.foreign),
        logs=tuple(found_logs),
        scripts=scripts.find(files, startcommands.read(project, listing.documents)),
        python=python,
        environment=environment,
        missing=missing,
        hardware=hardware(project),
        findings=(
            *findings,
            *projectfindings.of_model(project, listing, framework),
            *projectfindings.of_listing(listing),
        ),
    )


def _entry_point(file: SourceFacts) -> EntryPoint:
    seen: list[tuple[str, str, int]] = [("model", f"class {model.name}", model.line) for model in file.models]
    seen += [(function.name, f"def {function.name}", function.line) for function in file.functions]
    seen += [("training loop", mark.what, mark.line) for mark in file.training]
    if file.main:
        seen.append(("main", 'if __name__ == "__main__"', file.main))
    if not any(role not in ("main", "loss", "metrics") for role, _, _ in seen):
        return EntryPoint(file.path, (), ())
    evidence = tuple(f"{file.path}:{line} {what}" for _, what, line in seen[:8])
    return EntryPoint(file.path, tuple(dict.fromkeys(role for role, _, _ in seen)), evidence, file.trains_on_import)


def _built(files: list[SourceFacts]) -> dict[str, str]:
    own = sorted(files, key=lambda file: is_beside(file.path), reverse=True)
    models = {model.name for file in files for model in file.models}
    return {
        mark.what: f"{file.path}:{mark.line}" for file in own for mark in reversed(file.built) if mark.what in models
    }


def _pretrained(listing: Listing, files: list[SourceFacts]) -> tuple[tuple[str, str], ...]:
    named = [(mark.what, f"{file.path}:{mark.line} from_pretrained") for file in files for mark in file.pretrained]
    folders = [(folder, model_mark(folder)) for folder in listing.model_folders]
    return tuple(dict(reversed([*named, *folders])).items())[::-1]


def _sorted_data(found: list[DataFile]) -> tuple[DataCandidate, ...]:
    """Training data first, then validation and test; tables before texts, shallow before deep."""
    roles = {"train": 0, "val": 1, "": 2, "test": 3}

    def order(item: DataFile) -> tuple[object, ...]:
        return is_beside(item.path), item.format == "text", roles[item.role], item.path.count("/"), item.path

    return tuple(DataCandidate(item.path, item.format, item.role, item.bytes) for item in sorted(found, key=order))


def _python(project: Path, setting: str | None) -> tuple[Interpreter | None, list[Finding]]:
    try:
        python = find_python(project, setting)
    except StationmasterError as error:
        return None, [Finding("python", "error", error.message, error.way_out)]
    findings = [Finding("python", "warning", note) for note in python.notes]
    if too_old(python.version):
        message = f"{python.path} is Python {python.version}; training needs 3.10 or newer"
        findings.append(Finding("python", "error", message, "Make a newer environment in the project."))
    return python, findings


def _measured(
    project: Path, python: Interpreter, data: tuple[DataCandidate, ...]
) -> tuple[EnvironmentFacts | None, tuple[DataCandidate, ...], list[Finding]]:
    """Packages and data, measured side by side by two children."""
    from concurrent.futures import ThreadPoolExecutor

    chosen = [item.path for item in data if item.bytes <= MAX_MEASURED_BYTES][:MAX_MEASURED]
    requests = [Request("environment", str(project), packages=ASKED)]
    if chosen:
        requests.append(Request("data", str(project), files=tuple(chosen)))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda request: _asked(request, python.path), requests))
    findings = [answer for answer in answers if isinstance(answer, Finding)]
    environment = answers[0].environment if isinstance(answers[0], Answer) else None
    if chosen and isinstance(answers[1], Answer):
        about = dict(zip(chosen, answers[1].data or (), strict=False))
        data = tuple(replace(item, measured=about.get(item.path)) for item in data)
    findings += [
        Finding("data", "warning", f"{item.path} cannot be used: {item.measured.problem}")
        for item in data
        if item.measured is not None and item.measured.problem
    ]
    large = [item.path for item in data if item.bytes > MAX_MEASURED_BYTES]
    if large:
        limit = f"{MAX_MEASURED_BYTES // 1_000_000} MB"
        findings.append(Finding("data", "info", f"not measured yet, larger than {limit}: {', '.join(large[:3])}"))
    return environment, data, findings


def _asked(request: Request, python: str) -> Answer | Finding:
    try:
        return measure(request, python, timeout=SECONDS)
    except PluginError as error:
        return Finding("packages", "error", error.message, error.way_out)
    except StationmasterError as error:
        return Finding(request.what, "error", error.message, error.way_out)


def _missing(framework: FrameworkFacts, environment: EnvironmentFacts | None) -> tuple[str, ...]:
    if environment is None or framework.name is None:
        return ()
    return tuple(name for name in PACKAGES[framework.name] if name not in environment.packages)


def _missing_finding(framework: FrameworkFacts, missing: tuple[str, ...], python: Interpreter | None) -> list[Finding]:
    if not missing or python is None:
        return []
    message = f"{python.path} lacks {', '.join(missing)}"
    able = [
        other for other in python.others if other.frameworks and PACKAGES[framework.name or ""][0] in other.frameworks
    ]
    if able:
        message += f"; {able[0].path} ({able[0].why}) has {', '.join(able[0].frameworks or ())}"
    return [Finding("packages", "error", message, f"Run in the project: {install_command(python.path, missing)}")]
