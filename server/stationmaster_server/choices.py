"""What would be trained by default, and on what: entry file and data files of an inspected project, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .framework import is_beside
from .modelclass import ModelClass

if TYPE_CHECKING:
    from .project import DataCandidate, ProjectFacts

_KINDS = {
    "pytorch": ("pytorch", "transformers", "lightning"),
    "flax": ("nnx", "linen"),
    "transformers": ("transformers",),
}
"""Framework → kinds of model classes that its adapter can train, the best first."""
_NAMES = ("model", "net", "network", "models", "main", "train")
"""File names that are preferred among equals."""


class Entry(NamedTuple):
    """The default entry."""

    path: str
    """Python file relative to the project, or a model's identifier or folder; empty when there is none."""
    model_name: str | None
    """Class in the file; None for `build_model` or an identifier."""
    why: str


class Data(NamedTuple):
    """The default data; paths relative to the project, or `build_data`."""

    train: str
    """Empty when there is none, or when only a person can tell."""
    val: str | None
    test: str | None
    why: str


def default_entry(facts: ProjectFacts) -> Entry:
    """The entry that would be trained: a file with build_model, else the model class that no other one uses.

    For Transformers also a model named by `from_pretrained`, or a folder with a saved one.
    """
    framework = facts.framework.name or "pytorch"
    builders = [path for path, functions in facts.functions.items() if any(f.name == "build_model" for f in functions)]
    builders = sorted(builders, key=lambda path: _file_order(facts, path))
    if builders and not is_beside(builders[0]):
        line = next(f.line for f in facts.functions[builders[0]] if f.name == "build_model")
        return Entry(builders[0], None, f"{builders[0]}:{line} defines build_model{_among(builders)}")
    if framework == "transformers" and facts.pretrained:
        name, where = facts.pretrained[0]
        return Entry(name, None, f"named at {where}{_among([name for name, _ in facts.pretrained])}")
    models = wholes(facts)
    if models:
        taken = models[0]
        why = f"{taken.path}:{taken.line} class {taken.name}"
        if taken.name in facts.built:
            why += f", built at {facts.built[taken.name]}"
        elif len(facts.models) > 1 and len(models) == 1:
            why += ", the only model that no other one uses"
        return Entry(taken.path, taken.name, why + _among([f"{model.path}:{model.name}" for model in models]))
    if builders:
        return Entry(builders[0], None, f"{builders[0]} defines build_model, beside the project's own code")
    return Entry("", None, "no file defines a model class or build_model()")


def wholes(facts: ProjectFacts) -> list[ModelClass]:
    """Model classes of the framework that are no part of another one, the one taken by default first."""
    kinds = _KINDS[facts.framework.name or "pytorch"]
    fitting = [model for model in facts.models if model.kind in kinds]
    lightning = {model.name for model in facts.models if model.kind == "lightning"}
    best = [model for model in fitting if not set(model.part_of) - lightning] or fitting

    def order(model: ModelClass) -> tuple[object, ...]:
        *first, rank, path = _file_order(facts, model.path)
        return *first, model.name not in facts.built, rank, path, kinds.index(model.kind), -model.line

    return sorted(best, key=order)


def default_data(facts: ProjectFacts) -> Data:
    """The data that would be trained on: `build_data` of the entry, else files by their names, else the only one."""
    entry = default_entry(facts)
    for function in facts.functions.get(entry.path, ()):
        if function.name == "build_data":
            return Data("build_data", "build_data", None, f"{entry.path}:{function.line} defines build_data")
    usable = [item for item in facts.data if _usable(item)]
    train = next(iter(_ranked(usable, "train")), None)
    if train is not None:
        val, test = _partner(usable, train, "val"), _partner(usable, train, "test")
        return Data(train.path, val, test, f"by their names{_among([i.path for i in usable if i.role == 'train'])}")
    unnamed = _ranked(usable, "")
    if not unnamed:
        return Data(
            "",
            None,
            None,
            "no data file or folder was found in the project" if not usable else "no training data by name",
        )
    taken = unnamed[0]
    size = "largest" if taken.bytes else "first"
    why = f"the {size}{_among([item.path for item in unnamed])}" if len(unnamed) > 1 else "the only data in the project"
    return Data(taken.path, _partner(usable, taken, "val"), _partner(usable, taken, "test"), why)


def _usable(item: DataCandidate) -> bool:
    if is_beside(item.path) or (item.measured is not None and item.measured.problem):
        return False
    return item.bytes > 0 or item.format == "images"


def _file_order(facts: ProjectFacts, path: str) -> tuple[object, ...]:
    stem = path.rpartition("/")[2].removesuffix(".py").lower()
    trains = any(entry.path == path and entry.trains_on_import for entry in facts.entry_points)
    rank = next((at for at, name in enumerate(_NAMES) if name in stem.split("_") or stem == name), len(_NAMES))
    return is_beside(path), trains, path.count("/"), rank, path


def _ranked(items: list[DataCandidate], role: str) -> list[DataCandidate]:
    """Of one role: tables and arrays first, then images, then texts; the largest of them first."""
    kinds = {"images": 1, "text": 2}
    found = [item for item in items if item.role == role]
    return sorted(found, key=lambda item: (kinds.get(item.format, 0), -item.bytes, item.path))


def _partner(items: list[DataCandidate], train: DataCandidate, role: str) -> str | None:
    """The file of this role in the same format, that of the same folder first."""
    folder = train.path.rpartition("/")[0]
    found = [item for item in _ranked(items, role) if item.format == train.format]
    found.sort(key=lambda item: item.path.rpartition("/")[0] != folder)
    return found[0].path if found else None


def _among(names: list[str]) -> str:
    """What else there was, when there was."""
    others = names[1:4]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"; also there: {', '.join(others)}{more}" if others else ""
