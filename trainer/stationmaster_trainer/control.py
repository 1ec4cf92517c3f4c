"""Requests to a going attempt: small files in `control/`, numbered, each written once and obeyed by the worker.

The server asks for `stop` and `checkpoint`; the supervisor asks for `rule_stop` and `rollback`, with the action inside.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from . import codec, rundir
from .errors import FormatError
from .rundir import AttemptDir

BY = {"assistant": "the assistant (stop_run)", "person": "a person (stationmaster stop in a terminal)"}
"""Who may ask for a stop, in words."""


def requests(attempt: AttemptDir) -> list[str]:
    """Names of the control files, `<n>-<verb>.json`, in no order."""
    try:
        names = os.listdir(attempt.control)
    except OSError:
        return []
    return [name for name in names if name.partition("-")[0].isdigit() and name.endswith(".json")]


def named(attempt: AttemptDir, verb: str) -> list[str]:
    """Names of the requests with this verb, oldest first."""
    return sorted((name for name in requests(attempt) if name.endswith(f"-{verb}.json")), key=number)


def place(attempt: AttemptDir, verb: str, body: Any) -> str:
    """Writes a request behind those that are there; returns its name. Raises OSError when it cannot be written."""
    if attempt.control.is_symlink():  # a run folder from elsewhere would have us write where it likes
        raise OSError(errno.ELOOP, "it is a link, not a folder of the run", str(attempt.control))
    at = 1 + max(map(number, requests(attempt)), default=0)
    while True:
        name = f"{at:04d}-{verb}.json"
        try:
            rundir.create(attempt.control / name, codec.dumps(body).encode("utf-8", "replace"))
            return name
        except FileExistsError:  # somebody else asked at the same time
            at += 1


def asked_by(attempt: AttemptDir) -> str:
    """Who asked for the stop, as the first request says; without one it was a signal."""
    names = named(attempt, "stop")
    if not names:
        return "SIGTERM or SIGINT, sent to its processes by somebody else"
    try:
        found = codec.parsed(rundir.read(attempt.control / names[0], 4096), names[0])
    except (OSError, FormatError):
        return "a request whose file cannot be read"
    by = found.get("by") if isinstance(found, dict) else None
    return BY.get(str(by), "a request that does not say whose it was")


def number(name: str) -> int:
    """The number of a control file."""
    return int(name.partition("-")[0])
