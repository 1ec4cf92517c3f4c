"""Sends a finished run to a logger that it was not recorded to; a child does it, because it may load the library.

The child gets the whole environment of the person who asks (a W&B key, for example), and nothing of it is written.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import stationmaster_trainer
from stationmaster_trainer import codec
from stationmaster_trainer.contract import LoggerState
from stationmaster_trainer.errors import FormatError, RunError

from . import backends
from .answer import clean
from .runs import find_run, view

SCRIPT = Path(stationmaster_trainer.__file__).parent / "scripts" / "stationmaster_export.py"
TARGETS = ("wandb", "tensorboard", "trackio")


def export(project: Path, name: str | None, to: str, *, again: bool = False) -> str:
    """Sends the run (default: the newest) there; where it is now, in words. A second time it only says where it is.

    Raises RunError for a run that is not over and for what the logger says, PluginError for a missing package.
    """
    backends.require(to)
    seen = view(find_run(project, name))
    if not seen.over:
        raise RunError(f"run {seen.name} is {seen.state}.", "Export it when it has ended.")
    if not seen.attempt:
        raise RunError(f"run {seen.name} was never started; there is nothing to export.")
    command = [sys.executable, str(SCRIPT), str(seen.run.path), to, "again" if again else "once"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=seen.run.path, check=False)  # nosec B603 # argv list, no shell
    found = _answer(done.stdout)
    if done.returncode != 0 or "logger" not in found:
        message = str(found.get("message") or f"the export ended with exit code {done.returncode}.")
        raise RunError(clean(message, 600), clean(str(found.get("way_out") or ""), 300))
    logger = codec.from_plain(LoggerState, found["logger"], "the answer of the export")
    return _words(seen.name, to, logger, bool(found.get("already")), seen.run.path)


def _answer(output: bytes) -> dict[str, object]:
    """The last line that is an object: a library may have printed before it."""
    for line in reversed(output.decode("utf-8", "replace").splitlines()):
        try:
            found = codec.parsed(line, "the answer of the export")
        except FormatError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def _words(name: str, to: str, logger: LoggerState, already: bool, run: Path) -> str:
    where = logger.where if "://" in logger.where else str(run / logger.where)
    if logger.state == "off":
        return f"{name} was not written to {to}: {logger.message}."
    more = f"\n{logger.message}" if logger.message else ""
    if already:
        return f"{name} is already in {to}: {where} (--again writes it once more).{more}"
    return f"{name} is now in {to}: {where}{more}"
