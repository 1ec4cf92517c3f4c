"""Imports a package that only some data need; when it is missing, the error names the Python and the command."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from .errors import PluginError

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "orbax": "orbax-checkpoint"}
"""Import name → name to install, where they differ."""
EXTRAS = {
    **dict.fromkeys(("jax", "jaxlib", "flax", "optax", "orbax"), "flax"),
    **dict.fromkeys(("transformers", "accelerate", "peft", "datasets"), "transformers"),
}
"""Import name → extra of ours that brings it; `torch` for all others."""


def need(module: str, purpose: str) -> Any:
    """The module, imported. Raises PluginError: `purpose` needs the package, which this Python does not have."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module, purpose) from None


def missing(module: str, purpose: str) -> PluginError:
    """The error for a package that is not there, with the command that installs it into this very Python."""
    package = module.partition(".")[0]
    name = DISTRIBUTIONS.get(package, package)
    return PluginError(
        f"{purpose} needs the package {name!r}, which {sys.executable} does not have.",
        f"Install it: {sys.executable} -m pip install {name} "
        f"(or pip install 'stationmaster[{EXTRAS.get(package, 'torch')}]').",
    )
