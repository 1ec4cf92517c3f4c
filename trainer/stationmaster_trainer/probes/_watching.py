"""Installs a probe at the moment when the script has imported the library that it looks into, and not before."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from . import stationmaster
from ._probe import Probe


def watch(probe: Probe) -> None:
    """From now on the import of a known library installs its probe. What goes wrong there is told, never raised."""
    names = sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if not path.stem.startswith("_") and path.stem != stationmaster.MODULE
    )
    known = [importlib.import_module(f"{__package__}.{name}") for name in names]
    sys.modules.pop(stationmaster.MODULE, None)
    sys.meta_path.insert(0, _Finder({module.MODULE: module for module in known}, probe))


class _Finder:
    """Finds nothing itself: asks the others, and adds a step behind the loading of a known library."""

    def __init__(self, known: dict[str, ModuleType], probe: Probe) -> None:
        self.known, self.probe = known, probe
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == stationmaster.MODULE:
            return ModuleSpec(fullname, _Public(), origin=stationmaster.__file__)
        if fullname not in self.known or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            return self._found(fullname, path, target)
        finally:
            self._asking.discard(fullname)

    def _found(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            found = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
            if found is not None:
                if found.loader is not None and hasattr(found.loader, "exec_module"):
                    self._add(found.loader, fullname)
                return found
        return None

    def _add(self, loader: Any, fullname: str) -> None:
        """When this loader has executed the module, its probe is installed; to look for a module is no import."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            looks = self.known.pop(fullname, None)
            if looks is not None:
                with self.probe.harmless(f"looking into {fullname}"):
                    looks.install(module, self.probe)

        loader.exec_module = exec_module


class _Public(Loader):
    """Gives a script `stationmaster`, though nothing is installed in its environment."""

    def exec_module(self, module: ModuleType) -> None:
        for name in stationmaster.__all__:
            setattr(module, name, getattr(stationmaster, name))
