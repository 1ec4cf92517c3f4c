"""The Python that will train a project: which one, why, and which others there are.

Only interpreters are executed, with a probe that imports nothing of the project; what they have installed is looked up,
not imported.
"""

from __future__ import annotations

import json
import os
import reprlib
import shutil
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import ConfigError, PluginError

from . import children, yamlfile
from .environments import Candidate, broken, candidates, small, usable

SETTINGS = ".stationmaster/settings.yaml"
"""The project's settings, relative to it; `python:` names the interpreter."""
OLDEST = (3, 10)
"""Oldest Python that the trainer runs on."""
MODULES = ("torch", "transformers", "jax", "flax")
PROBE_SECONDS = 10.0
"""Deadline of one probe; an interpreter on a slow disk takes a second or two."""
ALL_SECONDS = 15.0
"""After this long no further interpreter is probed."""
_MOST = 12
_PROBE = """
import sys
sys.path[:] = [p for p in sys.path if p]
import json
from importlib.util import find_spec
def has(name):
    try:
        spec = find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return False
    return spec is not None and spec.origin is not None
print(json.dumps({"executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
    "virtual": sys.prefix != getattr(sys, "base_prefix", sys.prefix), "modules": [n for n in sys.argv[1:] if has(n)]}))
"""


@dataclass(frozen=True)
class Probe:
    """What an interpreter says of itself."""

    executable: str
    """Its own name for itself; a shim on PATH becomes the interpreter behind it."""
    version: str
    virtual: bool
    """Whether it belongs to a virtual environment, into which pip may install."""
    modules: tuple[str, ...]
    """Those of the asked modules that can be imported."""


@dataclass(frozen=True)
class Other:
    """An interpreter that was found and not taken."""

    path: str
    why: str
    frameworks: tuple[str, ...] | None = None
    """Which of `MODULES` it has; None when it was not looked at."""


@dataclass(frozen=True)
class Interpreter:
    """The Python that will train."""

    path: str
    """As found; inside an environment never resolved."""
    why: str
    """How it was found."""
    version: str
    frameworks: tuple[str, ...] = ()
    """Which of `MODULES` it has."""
    virtual: bool = False
    others: tuple[Other, ...] = ()
    notes: tuple[str, ...] = ()
    """Environments that exist and cannot be used."""


def find_python(project: Path, setting: str | None = None) -> Interpreter:
    """The interpreter that a setting names, else the project's or the active environment, else an installed one.

    A setting is the argument, `STATIONMASTER_PYTHON`, or `python:` in `.stationmaster/settings.yaml`. Of the Pythons
    that merely happen to be installed, the first with torch or jax is taken. Raises ConfigError for a setting that is
    no working Python, PluginError when there is no Python at all.
    """
    named = _setting(project, setting)
    if named is not None:
        return _named(*named)
    found = list(islice(candidates(project), _MOST))
    notes = [f"{name} has no working interpreter; make it again" for name in broken(project)]
    probed: dict[Candidate, Probe] = {}
    deadline = time.monotonic() + ALL_SECONDS
    for candidate in found:
        if time.monotonic() > deadline:
            break
        probe_result = probe(candidate.path, project)
        if isinstance(probe_result, str):
            notes.append(probe_result)
            continue
        probed[candidate] = probe_result
        if candidate.bound or _trains(probe_result):
            break
    if not probed:
        raise PluginError(
            f"no working Python was found for {project}.",
            f"Make an environment in the project (python3 -m venv .venv), or name one: `python:` in {SETTINGS}.",
        )
    taken = next((c for c, p in probed.items() if c.bound or _trains(p)), next(iter(probed)))
    if not _trains(probed[taken]):
        probed |= _look_at(found, probed, project, deadline)
    return _interpreter(taken, probed, found, notes)


def probe(path: str, cwd: Path, modules: tuple[str, ...] = MODULES) -> Probe | str:
    """Asks an interpreter for its version and which modules it could import; a sentence when it does not answer."""
    try:
        ended = children.run([path, "-c", _PROBE, *modules], cwd=cwd, timeout=PROBE_SECONDS)
    except OSError as error:
        return f"{path} cannot be started: {error.strerror}."
    if ended.code is None:
        return f"{path} did not answer within {PROBE_SECONDS:g} s."
    try:
        said: dict[str, Any] = json.loads(ended.output.strip().splitlines()[-1])
        return Probe(str(said["executable"]), str(said["version"]), bool(said["virtual"]), tuple(said["modules"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"{path} is no working Python (exit code {ended.code})."


def too_old(version: str) -> bool:
    """Whether the trainer cannot run on a Python of this version."""
    parts = [int(part) for part in version.split(".") if part.isdigit()]
    return tuple(parts[:2]) < OLDEST


def install_command(python: str, packages: tuple[str, ...], probed: Probe | None = None) -> str:
    """The command that installs packages where `python` finds them; a Python outside any environment makes one."""
    names = " ".join(packages)
    probed = probed or _probe_or_none(python, ("pip",))
    if probed is not None and not probed.virtual and not _is_conda(python):
        return f"{_quoted(python)} -m venv .venv && .venv/bin/python -m pip install {names}"
    if probed is not None and "pip" not in probed.modules and shutil.which("uv"):
        return f"uv pip install --python {_quoted(python)} {names}"
    ensure = probed is not None and "pip" not in probed.modules
    prefix = f"{_quoted(python)} -m ensurepip && " if ensure else ""
    return f"{prefix}{_quoted(python)} -m pip install {names}"


def _probe_or_none(python: str, modules: tuple[str, ...]) -> Probe | None:
    answer = probe(python, Path("/"), modules)
    return None if isinstance(answer, str) else answer


def _is_conda(python: str) -> bool:
    return (Path(python).parent.parent / "conda-meta").is_dir()


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)


def _trains(probed: Probe) -> bool:
    return bool({"torch", "jax"} & set(probed.modules))


def _setting(project: Path, setting: str | None) -> tuple[str, str] | None:
    """The named interpreter and where it is named; a bare name is looked up on PATH, a relative path in the project."""
    environ, written = os.environ.get("STATIONMASTER_PYTHON"), _written(project)
    for value, where in ((setting, "the setting python"), (environ, "STATIONMASTER_PYTHON"), (written, SETTINGS)):
        if value:
            path = os.path.expanduser(value)
            return (shutil.which(path) or path if os.sep not in path else str(project / path)), where
    return None


def _written(project: Path) -> str | None:
    content = small(project / SETTINGS)
    if not content:
        return None
    value = yamlfile.parse(content, SETTINGS).get("python")
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{SETTINGS}: python is {reprlib.repr(value)}, wanted the path of an interpreter.")
    return value


def _named(path: str, where: str) -> Interpreter:
    probed = probe(path, Path("/")) if usable(path) else f"{path} is not an executable file."
    if isinstance(probed, str):
        raise ConfigError(f"{where} names a Python that cannot be used: {probed}", "Name an existing interpreter.")
    return Interpreter(path, f"named by {where}", probed.version, probed.modules, probed.virtual)


def _look_at(
    found: list[Candidate], probed: dict[Candidate, Probe], project: Path, deadline: float
) -> dict[Candidate, Probe]:
    """Probes the rest, so that a Python without a framework can be told beside one that has it."""
    more: dict[Candidate, Probe] = {}
    for candidate in found:
        if candidate not in probed and time.monotonic() < deadline:
            result = probe(candidate.path, project)
            if isinstance(result, Probe):
                more[candidate] = result
    return more


def _interpreter(
    taken: Candidate, probed: dict[Candidate, Probe], found: list[Candidate], notes: list[str]
) -> Interpreter:
    own = probed[taken]
    path = taken.path if taken.bound else own.executable or taken.path
    others = [
        Other(candidate.path, candidate.why, probed[candidate].modules if candidate in probed else None)
        for candidate in found
        if candidate != taken
    ]
    return Interpreter(path, taken.why, own.version, own.modules, own.virtual, tuple(others), tuple(notes))
