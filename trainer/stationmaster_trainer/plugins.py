"""The file name is the registration: `find("loggers", "csv")` imports `loggers/csv.py`; an unknown name lists
the known ones."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from .errors import PluginError

PACKAGE = __name__.rpartition(".")[0]
ROOT = Path(__file__).parent


def known(kind: str) -> list[str]:
    """Names of all plug-ins of a kind (`adapters`, `loggers`, `rules`, `readers`), without importing one."""
    return sorted(path.stem for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_"))


def find(kind: str, name: str) -> ModuleType:
    """Imports the plug-in's module. Raises PluginError for an unknown name, or when a package that it needs is
    missing."""
    if name not in known(kind):
        raise PluginError(f"unknown {kind.rstrip('s')} {name!r}.", f"Known: {', '.join(known(kind))}.")
    try:
        return importlib.import_module(f"{PACKAGE}.{kind}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(PACKAGE):
            raise
        raise PluginError(
            f"the {kind.rstrip('s')} {name!r} needs the package {error.name!r}, which this Python does not have.",
            f"Install it: pip install {error.name}",
        ) from None
