"""The logging gate: which backends there are, and whether each can write in the recorder's Python (the server's)."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from stationmaster_trainer import wandb_account
from stationmaster_trainer.errors import PluginError

from .checklist import LOGGING_CHOICES
from .config import BACKENDS
from .interpreter import install_command
from .plan import ASSISTANT, Logging, Plan

PACKAGES = {name: (name,) for name in ("tensorboard", "wandb", "trackio")}
"""Backend → packages that its logger needs; found without importing them."""
WORDS = {"csv": "file", "json": "file", "files": "file", "tb": "tensorboard", "weights & biases": "wandb"}


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """The chosen backends in the checklist's order, `file` always among them.

    Raises PluginError for an empty or unknown choice (with the three choices), and for a backend whose package is
    missing (with the install command).
    """
    wanted = [WORDS.get(name.strip().lower(), name.strip().lower()) for name in names]
    unknown = [name for name in wanted if name not in BACKENDS]
    if unknown or not wanted:
        problem = f"unknown logging backend {unknown[0]!r}." if unknown else "no logging backend is named."
        raise PluginError(f"{problem} Choose among {', '.join(BACKENDS)}:\n{LOGGING_CHOICES}")
    for name in wanted:
        require(name)
    return tuple(name for name in BACKENDS if name in wanted or name == "file")


def choose(plan: Plan, names: Iterable[str], by: str = ASSISTANT) -> Plan:
    """The plan with the choice recorded; a shown configuration is stale when the choice differs."""
    backends = usable(names)
    if plan.logging is not None and plan.logging.backends == backends:
        return plan
    stale = "the logging choice changed" if plan.proposal is not None else plan.stale
    return replace(plan, logging=Logging(backends, by, time.time()), stale=stale)


def note(backends: Iterable[str]) -> str:
    """What the person should know of a chosen backend before the start; empty when there is nothing."""
    if "wandb" not in backends:
        return ""
    account = wandb_account.account(os.environ)
    if account.mode == "online":
        return f"W&B: a key is there; online at {urlsplit(account.base_url).hostname} if it answers, else offline."
    what = "nothing is sent" if account.mode == "disabled" else "it is written offline, and can be uploaded later"
    return f"W&B: {account.why}; {what}."


def require(name: str) -> None:
    """Raises PluginError, with the install command, when this backend's package is missing."""
    missing = tuple(package for package in PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None)
    if missing:
        raise PluginError(
            f"logging to {name} needs {', '.join(missing)}, which {sys.executable} does not have.",
            f"Install it: {install_command(sys.executable, missing)}",
        )
