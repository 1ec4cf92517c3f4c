"""The user's code exactly as it was confirmed: its files are read once, hashed, and what was hashed is what runs.

So nothing can be swapped between the check and the import, no compiled file beside them runs in their place, and no
file that was put into the project hides an installed package from the packages that import it. Not covered: files that
the user's code imports by a computed name, installed packages, and files that the code opens itself; what a command
starts reads its files anew.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from . import commandline, entry, rundir
from .contract import Spec
from .errors import ModelError

WAY_OUT = "Put it back as it was, or show the configuration again and start a new run."


def hold(spec: Spec) -> None:
    """Makes every later import of the model file and its local imports take the confirmed content.

    Raises ModelError when they are not what was confirmed. Does nothing for a model that is no Python file.
    """
    config, project = spec.config, Path(spec.project_dir)
    if not spec.facts.entry_sha256 or config.framework == "transformers":
        return
    if config.framework == "script":
        words = commandline.words(config)
        contents = commandline.contents(words, project)
        found = commandline.sha256(words, project, contents)
    else:
        contents = entry.contents(entry.resolve(config.model_path, project), project)
        found = entry.sha256(contents, project)
    if found != spec.facts.entry_sha256:
        raise ModelError(
            f"{Path(config.model_path).name} or a file it imports or names changed since it was confirmed.",
            WAY_OUT,
        )
    sys.meta_path.insert(0, _Finder(contents, None if config.framework == "script" else _of_user(project)))


def _of_user(project: Path) -> Callable[[str], bool]:
    """Tells the user's own files."""
    from .user_model import is_user_file

    return lambda filename: is_user_file(filename, project)


def loader(name: str, path: Path) -> SourceFileLoader | None:
    """The loader of a held file, for an import by path; None for any other."""
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    content = finder.contents.get(path.resolve()) if finder is not None else None
    return None if content is None else _Loader(name, str(path), content)


class _Finder:
    """Stands before Python's own finder and gives the held files their own loader."""

    def __init__(self, contents: dict[Path, bytes], of_user: Callable[[str], bool] | None = None) -> None:
        """`of_user`: tells the user's files; None: an unheld one may hide an installed module, as in any script."""
        self.contents, self.of_user, self.since = contents, of_user, time.time()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or not found.origin:
            return None
        origin = Path(found.origin).resolve()
        content = self.contents.get(origin)
        if content is None:
            self._refuse_instead(origin, fullname.rpartition(".")[2])
            return self._installed(fullname, path, str(origin))
        if origin.suffix == ".py":
            found.loader = _Loader(fullname, found.origin, content)
        elif origin.suffix == ".pyc":
            found.loader = _Compiled(fullname, found.origin, content)
        elif rundir.read(origin, entry.MAX_COMPILED) != content:  # the system loads it from its file
            raise ModelError(f"{origin} changed since it was confirmed.", WAY_OUT)
        return found

    def _refuse_instead(self, origin: Path, name: str) -> None:
        """ModelError for what was put in front of a held file of the same module after that was read."""
        folder = origin.parent.parent if origin.name.startswith("__init__.") else origin.parent
        held = next(
            (one for one in (folder / f"{name}.py", folder / name / "__init__.py") if one in self.contents), None
        )
        if held is not None:
            raise ModelError(f"{origin} would run in place of {held.name}, which was confirmed.", WAY_OUT)

    def _installed(self, fullname: str, path: Sequence[str] | None, origin: str) -> ModuleSpec | None:
        """The installed module, when a file that is not held would hide it from code that is not the user's; one that
        was put there since the holding hides it from nobody."""
        if path is not None or self.of_user is None or not self.of_user(origin):
            return None
        if self.of_user(_importer()) and os.stat(origin).st_ctime < self.since:
            return None
        return PathFinder.find_spec(fullname, [part for part in sys.path if not self.of_user(f"{part}/{fullname}.py")])


def _importer() -> str:
    """File of the code whose import is being answered."""
    frame = sys._getframe(1)
    between = ("<frozen importlib", str(importlib.__file__), __file__)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(between):
        frame = frame.f_back
    return frame.f_code.co_filename


class _Loader(SourceFileLoader):
    """Compiles what was read, not what lies there by now."""

    def __init__(self, fullname: str, path: str, content: bytes) -> None:
        super().__init__(fullname, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._content, self.path, "exec", dont_inherit=True)

    def get_data(self, path: Any) -> bytes:
        return self._content if str(path) == self.path else super().get_data(path)


class _Compiled(SourcelessFileLoader):
    """The same of a module that has no source."""

    def __init__(self, fullname: str, path: str, content: bytes) -> None:
        super().__init__(fullname, path)
        self._content = content

    def get_data(self, path: Any) -> bytes:
        return self._content if str(path) == self.path else super().get_data(path)
