"""`recorder.json`: how far each logger has got, and in what state it is. Written by the recorder, read by everybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import codec, rundir
from .contract import FORMAT, LoggerState
from .errors import FormatError
from .rundir import RunDir


@dataclass(frozen=True)
class Entry:
    """One logger."""

    logger: LoggerState
    attempt: int = 1
    """Attempt whose stream is read."""
    offset: int = 0
    """Bytes of that stream that have been written to the logger."""
    mark: dict[str, Any] = field(default_factory=dict)
    """The logger's own place (file sizes), taken together with the offset; empty before the first flush."""


@dataclass(frozen=True)
class Ledger:
    """The whole file."""

    entries: tuple[Entry, ...] = ()
    format: int = FORMAT


def load(run: RunDir) -> Ledger:
    """The ledger of a run; empty when it is missing or damaged: everything is then written anew from the streams."""
    try:
        return codec.loads(Ledger, rundir.read(run.recorder), "recorder.json")
    except (OSError, FormatError):
        return Ledger()


def save(run: RunDir, ledger: Ledger) -> None:
    """Replaces the file. Raises OSError."""
    rundir.replace(run.recorder, codec.dumps(ledger, indent=1).encode("utf-8", "replace"))
