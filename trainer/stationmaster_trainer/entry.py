"""The user's model file and the local files it imports, found without running them, and the hash over them.

Standard library only: server and trainer compute the same hash, which an approval is bound to. Compiled modules count,
because Python takes one before a source file of its name. Not covered: imports by a computed name, installed packages.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import rundir
from .errors import FormatError, ModelError

MAX_BYTES = 16 << 20
"""Bytes of the largest Python file that is taken."""
MAX_COMPILED = 512 << 20
"""Bytes of the largest compiled module that is taken."""
COMPILED = (".so", ".pyd", ".pyc")
"""Endings of modules that are no source."""
_COMPILED = re.compile(r"(.+?)(\.[\w-]+)?\.(so|pyd)|(.+)\.pyc")
KEPT = 1024
"""Files whose import statements are remembered by their content: a package of hundreds is asked for several times."""


class Imported(NamedTuple):
    """One module of an import statement: dots before the name, name, and what is taken from it."""

    level: int
    module: str
    names: tuple[str, ...]


def resolve(model_path: str, project_dir: Path) -> Path:
    """The entry file as an absolute path. ModelError when it is missing, outside the project or no Python file."""
    try:
        path = (project_dir / model_path).resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long or no name at all
        raise ModelError(f"the model file {model_path[:120]!r} cannot be found.", "Check the name.") from None
    if not path.is_relative_to(project_dir.resolve()):
        raise ModelError(
            f"the model file {model_path!r} lies outside the project {project_dir}.", "Copy it into the project."
        )
    if not path.exists():
        raise ModelError(
            f"the model file {model_path!r} does not exist in {project_dir}.",
            "Name the Python file that defines the model.",
        )
    if not path.is_file() or path.suffix != ".py":
        raise ModelError(
            f"{model_path!r} is not a Python file.",
            "model_path names a .py file that defines an nn.Module or build_model().",
        )
    return path


def local_files(entry: Path, project_dir: Path) -> list[Path]:
    """The entry file, then every project file that it imports, directly or through others, sorted; absolute."""
    root = project_dir.resolve()
    found, queue = {entry.resolve()}, [entry.resolve()]
    while queue:
        path = queue.pop()
        for other in _imports(path, (entry.resolve().parent, root)):
            if other not in found and other.is_relative_to(root):
                found.add(other)
                queue += [other] if other.suffix == ".py" else []
    return [entry.resolve(), *sorted(found - {entry.resolve()})]


def module_files(name: str, project_dir: Path) -> list[Path]:
    """What `python -m name` runs of the project's own, with the local imports; empty for an installed module."""
    root = project_dir.resolve()
    found = _module_files(name, (root,)) | _module_files(f"{name}.__main__", (root,))
    return list(dict.fromkeys(other for path in sorted(found) for other in local_files(path, project_dir)))


def entry_sha256(entry: Path, project_dir: Path) -> str:
    """SHA-256 over the names and contents of `local_files`. Raises ModelError when one cannot be read."""
    return sha256(contents(entry, project_dir), project_dir)


def contents(entry: Path, project_dir: Path) -> dict[Path, bytes]:
    """Absolute path → content of `local_files`, in their order. Raises ModelError when one cannot be read."""
    found: dict[Path, bytes] = {}
    for path in local_files(entry, project_dir):
        try:
            found[path] = rundir.read(path, MAX_COMPILED if path.suffix in COMPILED else MAX_BYTES)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
        except FormatError as error:
            raise ModelError(f"{error.message}.", "It is no Python file that can be read.") from None
    return found


def sha256(contents: Mapping[Path, bytes], project_dir: Path) -> str:
    """SHA-256 over names, relative to the project, and contents."""
    digest = hashlib.sha256()
    root = project_dir.resolve()
    for path, content in contents.items():
        name = path.relative_to(root) if path.is_relative_to(root) else path
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _imports(path: Path, roots: tuple[Path, ...]) -> set[Path]:
    try:
        content = rundir.read(path, MAX_BYTES)
    except (OSError, FormatError):
        return set()
    found: set[Path] = set()
    for imported in _imported(content):
        found |= _from_files(imported, path, roots)
    return found


@functools.lru_cache(maxsize=KEPT)
def _imported(content: bytes) -> tuple[Imported, ...]:
    """The import statements of a file; none when it cannot be parsed."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    plain = [Imported(0, alias.name, ()) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named = [
        Imported(node.level, node.module or "", tuple(alias.name for alias in node.names))
        for node in nodes
        if isinstance(node, ast.ImportFrom)
    ]
    return (*plain, *named)


def _from_files(imported: Imported, path: Path, roots: tuple[Path, ...]) -> set[Path]:
    if imported.level:
        base = path.parent
        for _ in range(imported.level - 1):
            base = base.parent
        roots = (base,)
    module = imported.module
    found = _module_files(module, roots) if module else set()
    for name in imported.names:  # `from package import module`
        found |= _module_files(f"{module}.{name}" if module else name, roots)
    return found


def _module_files(name: str, roots: tuple[Path, ...]) -> set[Path]:
    """Files that importing the dotted `name` runs, below the first root that has its first part."""
    parts = name.split(".")
    for root in roots:
        found: set[Path] = set()
        folder = root
        for part in parts:
            for candidate in (folder / f"{part}.py", folder / part / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate.resolve())
            found |= _compiled_files(folder, part) | _compiled_files(folder / part, "__init__")
            folder = folder / part
        if found or folder.is_dir():
            return found
    return set()


def _compiled_files(folder: Path, name: str) -> set[Path]:
    """Compiled modules of that name in a folder: `name.cpython-312-x86_64-linux-gnu.so`, `name.so`, `name.pyc`."""
    try:
        facts = folder.stat()
        listed = _compiled_in(str(folder), facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)
    except OSError:
        return set()
    found = (folder / file for file in listed.get(name, ()))
    return {path.resolve() for path in found if path.is_file()}


@functools.lru_cache(maxsize=KEPT)
def _compiled_in(folder: str, *state: int) -> dict[str, list[str]]:
    """Module name → compiled files of a folder; `state` is another one once something was put into it."""
    found: dict[str, list[str]] = {}
    for file in sorted(os.listdir(folder)):
        if match := _COMPILED.fullmatch(file):
            found.setdefault(match[1] or match[4], []).append(file)
    return found
