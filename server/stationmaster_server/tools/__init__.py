"""The MCP tools, one module per phase of the checklist; each has `register(server, roots)`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAMES = ("inspect", "gates", "run", "watch", "report", "evaluate")
"""Modules in the order in which a conversation meets their tools."""


def modules() -> list[ModuleType]:
    """Imports every tool module; called once by `build_server`."""
    return [import_module(f"{__name__}.{name}") for name in NAMES]
