"""The user's code exactly as it was confirmed: its files are read once, hashed, and what was hashed is what runs.

So nothing can be swapped between the check and the import, and no compiled file beside them runs in their place. Not
covered: files imported by a computed name, installed packages, and files that the code opens itself; what a command
starts reads its files anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from . import commandline, entry
from .contract import Spec
from .errors import ModelError


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
            "Put it back as it was, or show the configuration again and start a new run.",
        )
    sys.meta_path.insert(0, _Finder(contents))


def loader(name: str, path: Path) -> SourceFileLoader | None:
    """The loader of a held file, for an import by path; None for any other."""
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    content = finder.contents.get(path.resolve()) if finder is not None else None
    return None if content is None else _Loader(name, str(path), content)


class _Finder:
    """Stands before Python's own finder and gives the held files their own loader."""

    def __init__(self, contents: dict[Path, bytes]) -> None:
        self.contents = contents

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or not found.origin:
            return None
        content = self.contents.get(Path(found.origin).resolve())
        if content is None:
            return None
        found.loader = _Loader(fullname, found.origin, content)
        return found


class _Loader(SourceFileLoader):
    """Compiles what was read, not what lies there by now."""

    def __init__(self, fullname: str, path: str, content: bytes) -> None:
        super().__init__(fullname, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._content, self.path, "exec", dont_inherit=True)

    def get_data(self, path: Any) -> bytes:
        return self._content if str(path) == self.path else super().get_data(path)
