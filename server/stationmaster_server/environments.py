"""Where the Python environments of a project are kept: beside it, active in the shell, or where its tools put them.

Known tools: uv, poetry, pdm, pixi, pipenv, conda and pyenv. Only names and small marker files are read; nothing is
executed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOCAL = (".venv", "venv", "env", ".env")
_CONDA_HOMES = ("miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba", ".conda", "/opt/conda")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Candidate:
    """A Python that may be the one to train with."""

    path: str
    """The interpreter as found: a link inside an environment is kept, resolving it would lose the environment."""
    why: str
    bound: bool = True
    """Chosen by the project or the person; False for whatever happens to be installed."""


def candidates(project: Path) -> Iterator[Candidate]:
    """Every environment found, the most telling first, the same interpreter only once. Broken ones are left out."""
    seen: set[str] = set()
    finders = (_beside, _active, _uv, _poetry, _pdm, _pixi, _pipenv, _conda_file, _version_file, _installed)
    for finder in finders:
        for candidate in finder(project):
            if candidate.path not in seen and usable(candidate.path):
                seen.add(candidate.path)
                yield candidate


def usable(path: str) -> bool:
    """Whether the path is a file that may be executed."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def broken(project: Path) -> tuple[str, ...]:
    """Environments beside the project whose interpreter is gone (moved, or its base Python removed), relative names."""
    found = [name for name in _LOCAL if (project / name / "pyvenv.cfg").is_file()]
    return tuple(name for name in found if not usable(python_of(project / name)))


def python_of(environment: Path) -> str:
    """The interpreter of an environment's folder."""
    return str(environment / "bin" / "python")


def _beside(project: Path) -> Iterator[Candidate]:
    for name in _LOCAL:
        if (project / name / "pyvenv.cfg").is_file() or (project / name / "conda-meta").is_dir():
            yield Candidate(python_of(project / name), f"the project's own {name}")


def _active(project: Path) -> Iterator[Candidate]:
    """Environments of the shell that started the client. The server's own is nobody's choice for the project."""
    virtual = os.environ.get("VIRTUAL_ENV", "")
    if os.path.isabs(virtual) and not _is_own(virtual):
        yield Candidate(python_of(Path(virtual)), "VIRTUAL_ENV, active where the server was started")
    conda = os.environ.get("CONDA_PREFIX", "")
    if os.path.isabs(conda) and not _is_own(conda):
        base = os.environ.get("CONDA_DEFAULT_ENV") == "base"
        yield Candidate(python_of(Path(conda)), "CONDA_PREFIX, active where the server was started", bound=not base)


def _is_own(environment: str) -> bool:
    return os.path.realpath(environment) == os.path.realpath(sys.prefix)


def _uv(project: Path) -> Iterator[Candidate]:
    """uv keeps one .venv per workspace, beside its uv.lock; UV_PROJECT_ENVIRONMENT moves it."""
    for folder in (project, *project.parents[:4]):
        if (folder / "uv.lock").is_file():
            place = os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv"
            yield Candidate(python_of(folder / place), f"uv's environment beside {folder / 'uv.lock'}")
            return


def _poetry(project: Path) -> Iterator[Candidate]:
    """poetry names an environment `<name>-<hash of the folder>-py<version>`; envs.toml is not needed to find it."""
    if not (project / "poetry.lock").is_file() and b"[tool.poetry" not in small(project / "pyproject.toml"):
        return
    digest = hashlib.sha256(os.path.normcase(os.path.realpath(project)).encode()).digest()
    mark = base64.urlsafe_b64encode(digest).decode()[:8]
    for home in _poetry_homes():
        for folder in sorted(entry for entry in _folders(home) if f"-{mark}-py" in entry.name):
            yield Candidate(python_of(folder), "poetry's environment of this project")


def _poetry_homes() -> list[Path]:
    named = os.environ.get("POETRY_VIRTUALENVS_PATH")
    caches = ("~/.cache/pypoetry", "~/Library/Caches/pypoetry")
    return [Path(named)] if named else [_home(cache) / "virtualenvs" for cache in caches]


def _pdm(project: Path) -> Iterator[Candidate]:
    path = small(project / ".pdm-python").decode("utf-8", "replace").strip()
    if os.path.isabs(path):
        yield Candidate(path, "named in .pdm-python")


def _pixi(project: Path) -> Iterator[Candidate]:
    yield Candidate(python_of(project / ".pixi" / "envs" / "default"), "pixi's default environment")


def _pipenv(project: Path) -> Iterator[Candidate]:
    if not (project / "Pipfile").is_file():
        return
    home = Path(os.environ.get("WORKON_HOME") or _home("~/.local/share/virtualenvs"))
    for folder in _folders(home):
        if small(folder / ".project").decode("utf-8", "replace").strip() == str(project):
            yield Candidate(python_of(folder), "pipenv's environment of this project")


def _conda_file(project: Path) -> Iterator[Candidate]:
    """The environment that environment.yml names, wherever conda has put it."""
    for file in ("environment.yml", "environment.yaml", "conda.yml"):
        match = re.search(rb"^name:[ \t]*['\"]?([\w.-]+)", small(project / file), re.MULTILINE)
        if match is None:
            continue
        name = match[1].decode("ascii", "replace")
        known = small(_home("~/.conda/environments.txt")).decode("utf-8", "replace").splitlines()
        listed = [Path(line) for line in known if os.path.isabs(line) and Path(line).name == name]
        for folder in (*listed, *(_home(f"~/{home}") / "envs" / name for home in _CONDA_HOMES)):
            yield Candidate(python_of(folder), f"the conda environment {name} named in {file}")


def _version_file(project: Path) -> Iterator[Candidate]:
    """The version or pyenv environment that .python-version names."""
    lines = small(project / ".python-version").decode("utf-8", "replace").split()
    for name in lines[:1]:
        if not _NAME.fullmatch(name):
            continue
        root = Path(os.environ.get("PYENV_ROOT") or _home("~/.pyenv"))
        yield Candidate(python_of(root / "versions" / name), f"pyenv's {name}, named in .python-version")
        program = shutil.which(f"python{'.'.join(name.split('.')[:2])}") if name[0].isdigit() else None
        if program:
            yield Candidate(program, f"{Path(program).name} on PATH, for {name} in .python-version", bound=False)


def _installed(project: Path) -> Iterator[Candidate]:
    for name in ("python3", "python"):
        program = shutil.which(name)
        if program:
            yield Candidate(program, f"{name} on PATH", bound=False)
    yield Candidate(sys.executable, "the Python that runs this server", bound=False)


def _home(path: str) -> Path:
    return Path(os.path.expanduser(path))


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()][:1000]
    except OSError:
        return []


def small(path: Path, limit: int = 65_536) -> bytes:
    """A marker file's content; empty when it is missing, no plain file, or larger than `limit` bytes."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= limit else b""
    except OSError:
        return b""
