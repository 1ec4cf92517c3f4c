"""Every error that a person or an assistant is meant to read: it names the thing, the value and the way out.

    StationmasterError
    ├── ConfigError       a key of the configuration: unknown, wrong type, impossible value
    ├── DataError         a data file: missing, unreadable, empty, a column or a value that is not usable
    ├── ModelError        the user's model file: syntax, exception on import, wrong arguments, wrong shape
    ├── CheckpointError   a checkpoint: missing, partial, changed since it was written, of another model
    ├── RunError          a run folder: unknown run, name taken, no room, run is in another state
    │   └── TransitionError   a move between run states that the table in states.py does not have
    ├── GateError         a gate of the checklist is not passed yet (logging, validation, confirmation)
    ├── NotYetError       no failure: what was asked for is still worked on; asking again waits for it
    ├── FormatError       a file of ours that cannot be read: torn, damaged, of a newer version
    └── PluginError       an unknown framework, logger, rule, reader or launcher, or a missing package

Not covered: bugs. An exception of another type is a defect of ours or of the user's code, and is reported with
its place.
"""

from __future__ import annotations


class StationmasterError(Exception):
    """What went wrong (`message`) and what to do about it (`way_out`, may be empty)."""

    def __init__(self, message: str, way_out: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.message} {self.way_out}".strip()


class ConfigError(StationmasterError):
    """A key of the configuration is unknown, of the wrong type, or has an impossible value."""


class DataError(StationmasterError):
    """A data file is missing, unreadable or empty, or holds a column or value that cannot be used."""


class ModelError(StationmasterError):
    """The user's model file cannot be imported, built, or fed with this data."""


class CheckpointError(StationmasterError):
    """A checkpoint is missing, partial, changed since it was written, or of another model."""


class RunError(StationmasterError):
    """A run folder cannot be found, created or used as asked."""


class TransitionError(RunError):
    """A move between run states that the table in `states.py` does not have."""


class GateError(StationmasterError):
    """A gate of the checklist is not passed yet."""


class NotYetError(StationmasterError):
    """What was asked for is still being worked on: asking again waits for it."""


class FormatError(StationmasterError):
    """A file of a run folder is damaged or of a newer version; the message names the file and the place."""


class PluginError(StationmasterError):
    """An unknown plug-in name, or a plug-in whose package is missing."""
