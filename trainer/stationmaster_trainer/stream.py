"""Reads `stream.jsonl` while it grows: from a byte offset, in bounded memory, a torn last line kept for the next look.

A damaged line is reported by file and offset and skipped. `merged` joins the attempts of a run without superseded
records.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import codec, rundir
from .contract import Launch, Record
from .errors import FormatError
from .rundir import AttemptDir, RunDir

CHUNK = 1 << 20
"""Bytes of one read, and the longest line that is taken for a record."""


@dataclass(frozen=True)
class Damage:
    """A piece of a stream that is no record."""

    path: str
    offset: int
    """Byte where it starts."""
    message: str


@dataclass(frozen=True)
class Chunk:
    """What one look found."""

    records: tuple[tuple[int, Record], ...]
    """Each record with the offset right behind its line."""
    offset: int
    """Where to read on."""
    damage: tuple[Damage, ...] = ()
    more: bool = False
    """Whether complete lines may be waiting behind this chunk."""


def read(path: Path, offset: int = 0) -> Chunk:
    """One chunk of complete lines from `offset`, at most CHUNK bytes. A missing file is an empty one.

    Raises FormatError when `path` is no plain file (a FIFO, a folder) or cannot be read.
    """
    data, size = _bytes(path, offset)
    end = data.rfind(b"\n") + 1
    if not end and len(data) >= CHUNK:  # no end of line in sight: no record is that long
        return Chunk((), offset + len(data), (Damage(str(path), offset, "a line is longer than any record"),), True)
    damage = [Damage(str(path), size, f"the file shrank to {size} bytes")] if size < offset else []
    records: list[tuple[int, Record]] = []
    start = 0
    while start < end:
        stop = data.index(b"\n", start) + 1
        try:
            record = codec.record(data[start : stop - 1], str(path)) if stop - start > 1 else None
            if record is not None:
                records.append((offset + stop, record))
        except FormatError as error:
            damage.append(Damage(str(path), offset + start, error.message))
        start = stop
    return Chunk(tuple(records), offset + end, tuple(damage), len(data) >= CHUNK)


def records(path: Path, offset: int = 0, damage: list[Damage] | None = None) -> Iterator[Record]:
    """Every readable record from `offset` to the present end; damage is appended to the list, if one is given."""
    while True:
        chunk = read(path, offset)
        yield from (record for _, record in chunk.records)
        if damage is not None:
            damage.extend(chunk.damage)
        if not chunk.more:
            return
        offset = chunk.offset


def last_records(path: Path, size: int = CHUNK) -> list[Record]:
    """The records in the last `size` bytes, oldest first: enough to say how a stream ends, however long it is."""
    try:
        length = path.stat().st_size
    except OSError:
        return []
    start = max(0, length - size)
    found = [record for _, record in read(path, start).records]
    return found  # a first line cut in two is damage, not a record


def limits(run: RunDir) -> dict[int, int | None]:
    """Attempt → last step that counts: what a later attempt did again is superseded; None where nothing is."""
    found: dict[int, int | None] = {}
    smallest: int | None = None
    for attempt in reversed(run.attempts()):
        found[attempt.number] = smallest
        step = _resume_step(attempt)
        smallest = step if smallest is None else min(smallest, step)
    return dict(sorted(found.items()))


def counts(record: Record, limit: int | None) -> bool:
    """Whether a record still stands, given its attempt's limit."""
    return limit is None or getattr(record, "step", 0) <= limit


def merged(run: RunDir, damage: list[Damage] | None = None) -> Iterator[tuple[int, Record]]:
    """(attempt, record) over all attempts of a run in order, without superseded records."""
    for number, limit in limits(run).items():
        for record in records(run.attempt(number).stream, damage=damage):
            if counts(record, limit):
                yield number, record


class Follower:
    """Reads the streams of attempts 1 to `last` in order from a cursor, then follows the last one as it grows."""

    def __init__(self, run: RunDir, last: int, attempt: int = 1, offset: int = 0) -> None:
        self._run, self._last = run, last
        self._limits = limits(run)
        self.attempt, self.offset = attempt, offset
        self.damage: list[Damage] = []
        """Damage met since the caller last emptied the list."""

    def read(self) -> tuple[list[tuple[Record, bool]], bool]:
        """One chunk of `attempt`'s records, each with whether it counts, and whether more is waiting already.

        The cursor stands behind the chunk. At the end of an earlier attempt it moves on, in a call of its own.
        """
        chunk = read(self._run.attempt(self.attempt).stream, self.offset)
        self.damage.extend(chunk.damage)
        if self.attempt < self._last and not chunk.more and chunk.offset == self.offset:
            self.attempt, self.offset = self.attempt + 1, 0
            return [], True
        self.offset = chunk.offset
        limit = self._limits.get(self.attempt)
        found = [(record, counts(record, limit)) for _, record in chunk.records]
        return found, chunk.more or self.attempt < self._last


def _resume_step(attempt: AttemptDir) -> int:
    try:
        return codec.loads(Launch, rundir.read(attempt.launch), str(attempt.launch)).resume_step
    except (OSError, FormatError):
        return 1 << 62  # unknown: better a step twice than one lost


def _bytes(path: Path, offset: int) -> tuple[bytes, int]:
    """At most CHUNK bytes from `offset`, and the file's size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return b"", offset
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{path} is not a plain file", "Something replaced the log; move it away.")
        return os.pread(descriptor, CHUNK, offset), found.st_size
    finally:
        os.close(descriptor)
