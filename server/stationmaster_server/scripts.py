"""The scripts of a project that train: what drives each one's loop with evidence, the likeliest first with reasons.

A script whose loop stands in a file that it imports counts with that file's signs. Read from syntax trees only.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .drivers import DRIVERS, Sign
from .framework import is_beside
from .marks import place
from .sources import SourceFacts
from .startcommands import StartCommand

MOST_EVIDENCE = 3
DEEPEST = 4
"""Imports that are followed from a script to its loop."""
IMPORTED = 0.9
"""Weight of a sign in an imported file beside one in the script."""
_NAMES = ("train", "training", "pretrain", "finetune", "sft", "main", "run", "trainer")
_RATHER_NOT = ("eval", "evaluate", "test", "predict", "sample", "generate", "infer", "inference", "export", "demo")


@dataclass(frozen=True)
class Drive:
    """One thing that may drive a script's loop."""

    driver: str
    """A key of `drivers.DRIVERS`."""
    weight: float
    evidence: tuple[str, ...]
    """`file:line what`, the weightiest first."""

    @property
    def name(self) -> str:
        return DRIVERS[self.driver]


@dataclass(frozen=True)
class Script:
    """A script that trains when it is run, or a module that only holds a loop."""

    path: str
    drives: tuple[Drive, ...]
    """What drives its loop, the likeliest first."""
    runs: bool
    """Whether it starts by itself; a module is called by others."""
    reasons: tuple[str, ...] = ()
    """Why it stands where it stands among the scripts."""
    command: StartCommand | None = None
    """How the project's documents start it."""


def find(files: Sequence[SourceFacts], commands: Iterable[StartCommand]) -> tuple[Script, ...]:
    """All scripts with a loop, the likeliest to be meant first; then modules with a loop that no script reaches."""
    known = {file.path: file for file in files}
    project = {name: driver for file in files for name, driver in file.trainers}
    signs = {file.path: _signs(file, project) for file in files}
    started = _started(commands, known)
    reached: set[str] = set()
    found: list[Script] = []
    for file in files:
        begins = bool(file.main or file.trains_on_import or file.path in started) or _calls(file, known, signs)
        own = signs[file.path]
        others = _reach(file, known, signs) if begins else {}
        weighed = [(sign, file.path, 1.0) for sign in own]
        weighed += [(sign, path, IMPORTED) for path, many in others.items() for sign in many]
        if not any(sign.trains for sign, _, _ in weighed):
            continue
        if begins:
            reached |= set(others)
        command = started.get(file.path)
        found.append(Script(file.path, _drives(weighed), begins, _reasons(file, command), command))
    left = [one for one in found if one.runs or one.path not in reached]
    return tuple(sorted(left, key=_order))


def weigh(file: SourceFacts) -> tuple[Drive, ...]:
    """What drives the loop by the signs of one file alone."""
    return _drives((sign, file.path, 1.0) for sign in file.signs)


def _signs(file: SourceFacts, project: Mapping[str, str]) -> list[Sign]:
    """The file's own signs, and trainers of other files of the project that it makes."""
    own = dict(file.trainers)
    made = [Sign(project[m.what], 8.0, f"{m.what}(…)", m.line) for m in file.built if m.what in project.keys() - own]
    return [*file.signs, *made][:200]


def _drives(weighed: Iterable[tuple[Sign, str, float]]) -> tuple[Drive, ...]:
    """Each sign counts once per driver and kind; what only prepares needs something that trains beside it."""
    best: dict[str, dict[str, tuple[float, str]]] = defaultdict(dict)
    trains: set[str] = set()
    for sign, path, share in weighed:
        mark = (sign.weight * share, f"{place(path, sign.line)} {sign.what}")
        if sign.what not in best[sign.driver] or best[sign.driver][sign.what][0] < mark[0]:
            best[sign.driver][sign.what] = mark
        if sign.trains:
            trains.add(sign.driver)
    if "accelerate" in best and "accelerate" not in trains:
        trains.add("accelerate")  # made and prepared with it, the loss goes backward by itself
    drives = []
    for driver in trains:
        marks = sorted(best[driver].values(), key=lambda mark: -mark[0])
        evidence = tuple(text for _, text in marks[:MOST_EVIDENCE])
        drives.append(Drive(driver, round(sum(weight for weight, _ in marks), 2), evidence))
    order = list(DRIVERS)
    return tuple(sorted(drives, key=lambda drive: (-drive.weight, -order.index(drive.driver))))


def _reach(
    file: SourceFacts, known: Mapping[str, SourceFacts], signs: Mapping[str, list[Sign]]
) -> dict[str, list[Sign]]:
    """Files with a loop that the script comes to by the names that it imports: path → signs."""
    found: dict[str, list[Sign]] = {}
    seen, queue = {file.path}, [(file, 0)]
    while queue:
        here, depth = queue.pop(0)
        for path, name in _imported(here, known):
            other = known[path]
            if path == file.path or (is_beside(path) and not is_beside(file.path)):
                continue
            if signs[path] and _calls_loop(other, name):
                found[path] = signs[path]
            if depth < DEEPEST and path not in seen:
                seen.add(path)
                queue.append((other, depth + 1))
    return found


def _imported(file: SourceFacts, known: Mapping[str, SourceFacts]) -> list[tuple[str, str]]:
    """(file of the project, name in it) of every import; the name is empty where the whole module is imported."""
    modules = [mark.what for mark in (*file.imports, *file.local)]
    named = {module.rpartition(".")[0] for module in modules}
    targets = (_target(file.path, module, known) for module in modules if module not in named)
    return [(path, name) for path, name in targets if path]


def _calls(file: SourceFacts, known: Mapping[str, SourceFacts], signs: Mapping[str, list[Sign]]) -> bool:
    """Whether it calls a loop of another file when it is imported."""
    for called in file.executed:
        path, name = _target(file.path, called, known)
        if path and path != file.path and signs[path] and name and _calls_loop(known[path], name):
            return True
    return False


def _calls_loop(file: SourceFacts, name: str) -> bool:
    """Whether the imported name may start the loop in that file; a module as a whole may."""
    first = name.partition(".")[0]
    return first in ("", "*") or first in file.starters or ("*" in file.starters and first[:1].isupper())


def _target(path: str, module: str, known: Mapping[str, SourceFacts]) -> tuple[str, str]:
    """(file of the project, name in it) that an import means; an empty name for the module itself."""
    folder = posixpath.dirname(path)
    dots = len(module) - len(module.lstrip("."))
    if dots:
        for _ in range(dots - 1):
            folder = posixpath.dirname(folder)
        places, parts = [folder], module[dots:].split(".")
    else:
        places, parts = list(dict.fromkeys([folder, "", "src"])), module.split(".")
    for cut in (len(parts), len(parts) - 1):
        for folder in places if cut else ():
            base = posixpath.join(folder, *parts[:cut])
            for candidate in (f"{base}.py", f"{base}/__init__.py"):
                if candidate in known:
                    return candidate, ".".join(parts[cut:])
    return "", ""


def _started(commands: Iterable[StartCommand], known: Mapping[str, SourceFacts]) -> dict[str, StartCommand]:
    """Script → the first command of the documents that starts it."""
    found: dict[str, StartCommand] = {}
    for command in commands:
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(command.document), command.script))
        for path in (posixpath.normpath(command.script), beside):
            if path in known:
                found.setdefault(path, command)
                break
    return found


def _reasons(file: SourceFacts, command: StartCommand | None) -> tuple[str, ...]:
    reasons = [f"{command.document}:{command.line} starts it"] if command else []
    words = _words(file.path)
    reasons += ["by its name"] if words & set(_NAMES) else []
    reasons += ["beside the project's own code"] if is_beside(file.path) else []
    reasons += ["its name says another purpose"] if words & set(_RATHER_NOT) else []
    return tuple(reasons)


def _words(path: str) -> set[str]:
    stem = posixpath.basename(path).removesuffix(".py").lower()
    return set(stem.replace("-", "_").split("_"))


def _order(script: Script) -> tuple[object, ...]:
    words = _words(script.path)
    named = next((at for at, name in enumerate(_NAMES) if name in words), len(_NAMES))
    document = script.command.document.lower() if script.command else ""
    told = 0 if "readme" in document else 1 if document else 2
    return (
        not script.runs,
        is_beside(script.path),
        bool(words & set(_RATHER_NOT)),
        told,
        script.path.count("/"),
        named,
        script.path,
    )
