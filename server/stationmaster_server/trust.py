"""The policy files: what a person demands of every start on this machine, and of the starts in one project.

`~/.config/stationmaster/policy.yaml` speaks for the person, `<project>/.stationmaster/policy.yaml` for the project; of
two demands the stricter counts, and only the person's own file can allow something. A file that cannot be read refuses
every start. Not covered: whoever can write files as this person can write these.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import ConfigError

from . import yamlfile
from .plan import FOLDER
from .roots import MAX_SHOWN, named

NAME = "policy.yaml"
OWN = f"~/.config/stationmaster/{NAME}"
PROJECT = f"{FOLDER}/{NAME}"
_LEVELS = ("person", "assistant")


@dataclass(frozen=True)
class Policy:
    """What holds for one project."""

    person: str = ""
    """File that demands a person's own yes; empty: one declared by the assistant is enough."""
    remote_code: tuple[str, ...] = ()
    """Models whose own code may run (`trust_remote_code`), as the person listed them: identifiers, absolute paths."""
    preflight: str = ""
    """File that demands a smoke test before every start; empty: it is only recommended."""


def policy(project: Path) -> Policy:
    """The demands of all policy files together. ConfigError names the file that cannot be used."""
    found = [_read(path, may_allow=True) for path in own_files()]
    found.append(_read(project / PROJECT, may_allow=False))
    return Policy(
        next((one.person for one in found if one.person), ""),
        tuple(model for one in found for model in one.remote_code),
        next((one.preflight for one in found if one.preflight), ""),
    )


def require_remote_code(project: Path, model: str, extra: Mapping[str, Any]) -> None:
    """ConfigError when code that comes with a model or its tokenizer would run, and no file of the person's own names
    each of them: the identifier, or of a folder in the project its absolute path."""
    if not extra.get("trust_remote_code"):
        return
    allowed = policy(project).remote_code
    sources = [_source(project, str(name)) for name in (model, extra.get("tokenizer") or model)]
    unknown = next((name for name in sources if not name or name not in allowed), None)
    if unknown is None:
        return
    raise ConfigError(
        f"extra.trust_remote_code would run code that comes with the model {named(unknown)}, and no person has allowed "
        "that.",
        f"Read that code; the person allows it by `trust_remote_code: [{unknown[:MAX_SHOWN] or 'MODEL'}]` in {OWN}, "
        "and model_path names the model.",
    )


def _source(project: Path, name: str) -> str:
    """What a person lists: a folder of that name in the project is not the model of that identifier."""
    try:
        path = (project / name).resolve()
        return str(path) if name and path.exists() else name
    except (OSError, RuntimeError, ValueError):  # no name of a file at all
        return name


def own_files() -> list[Path]:
    """Where the person's file may stand. Both are read: a client may not pass XDG_CONFIG_HOME on to the server."""
    folders = [Path.home() / ".config"]
    if chosen := os.environ.get("XDG_CONFIG_HOME"):
        folders.append(Path(chosen))
    return [folder / "stationmaster" / NAME for folder in dict.fromkeys(folders)]


def _read(path: Path, *, may_allow: bool) -> Policy:
    """What this file demands and allows."""
    if not os.path.lexists(path):
        return Policy()
    try:
        values = yamlfile.read(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} cannot be read: it is a link to nothing.", yamlfile.WAY_OUT) from None
    known = ("require_approval", "require_preflight", *(("trust_remote_code",) if may_allow else ()))
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"{path}: unknown {unknown[0][:80]!r}. Known: {', '.join(known)}.", yamlfile.WAY_OUT)
    level = values.get("require_approval", "assistant")
    if level not in _LEVELS:
        raise ConfigError(f"{path}: require_approval is {reprlib.repr(level)}, allowed: person or assistant.")
    demanded = values.get("require_preflight", False)
    if not isinstance(demanded, bool):
        raise ConfigError(f"{path}: require_preflight is {reprlib.repr(demanded)}, allowed: true or false.")
    models = values.get("trust_remote_code") or []
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise ConfigError(f"{path}: trust_remote_code is {reprlib.repr(models)}, wanted a list of models.")
    return Policy(str(path) if level == "person" else "", tuple(models), str(path) if demanded else "")
