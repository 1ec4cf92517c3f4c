"""What every reader of a finished log gives: where it came from, which column was taken for what, and the records in
order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..contract import Record

Mapping = dict[str, str] | None
"""The person's own columns, role → column."""


@dataclass
class Reading:
    """A log that is being read. `rows` is complete once `records` is used up."""

    source: str
    """What it is, in words: `JSON lines`, `stationmaster run`, …"""
    columns: dict[str, str]
    """Role → column of the log; empty where the log has our own records."""
    records: Iterator[Record]
    rows: int = 0
    skipped: int = 0
    """Lines that could not be read."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about how it was read."""
    ignored: list[str] = field(default_factory=list)
    """Columns that nothing was taken from."""
    path: Path | None = None
    """The file or folder that was read, when it is not the one that was named."""
    total_steps: int | None = None
    """Planned steps, where the log says so."""
    spec: Path | None = None
    """The confirmed configuration, for a run of ours."""
    batches: Iterator[list[Record]] | None = None
    """The records as they are read, block by block; None where a log is read as a whole."""
    follow: bool = False
    """Set before the first batch: the end of the file is no end, more may come. Only where `lines` is true."""
    lines: bool = False
    """Whether the log grows line by line, and so can be followed."""
    at_end: bool = False
    """While following: everything that is whole was read. The next batch is asked for when the file has grown."""
