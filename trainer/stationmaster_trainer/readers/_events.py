"""Scalars of a TensorBoard event file: TFRecord framing with its checksums, and the few fields of `Event` that hold
them.

Read are `simple_value` (PyTorch, TensorFlow 1, HuggingFace) and scalar tensors (TensorFlow 2, Keras). Images, graphs,
histograms and texts are passed over. A session start takes back what a resumed run does again, as in TensorBoard.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FormatError
from . import _crc32c, _lines, _wire

CHUNK = 1 << 22
"""Bytes of one read."""
LONGEST = 1 << 28
"""Bytes of the longest record that is believed."""
MOST_POINTS = 10_000_000
"""Points that are kept of one log; 16 bytes each."""
HEADER = struct.Struct("<QI")
DOUBLE, FLOAT, START = struct.Struct("<d"), struct.Struct("<f"), 1
NUMBERS = {1: "<f", 2: "<d", 3: "<i", 4: "<B", 6: "<b", 5: "<h", 9: "<q", 19: "<e"}
"""TensorFlow's DataType → struct format, for the types a scalar may have."""


@dataclass
class Series:
    """The points of one tag in the order in which they were written."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def cut(self, step: int) -> int:
        """Forgets the points from `step` on; how many they were."""
        kept = [place for place, at in enumerate(self.steps) if at < step]
        lost = len(self.steps) - len(kept)
        if lost:
            self.steps = array("q", (self.steps[place] for place in kept))
            self.values = array("d", (self.values[place] for place in kept))
        return lost


@dataclass
class Events:
    """What a file gave."""

    wanted: Callable[[str], bool]
    """Which tags' points are kept."""
    series: dict[str, Series] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    """Tags of all scalars, kept or not."""
    points: int = 0
    skipped: int = 0
    """Records that were damaged."""
    damage: str = ""
    """Where and why reading ended before the end of the file."""
    _known: dict[bytes, Series | None] = field(default_factory=dict)
    """Everything of a record but its time, step and value → where its value goes."""

    def read(self, path: Path) -> None:
        """Adds the points of a file. Raises FormatError for what cannot be read."""
        for records in _records(path, self):
            for record in records:
                try:
                    self._take(record)
                except (ValueError, struct.error):
                    self.skipped += 1
            if self.points > MOST_POINTS:
                self.damage = f"{path.name}: only the first {self.points:,} points are read"
                return

    def _take(self, record: bytes) -> None:
        """One Event. The usual one (a time, a step, one `simple_value` at its end) is known again by its bytes."""
        if len(record) > 16 and record[0] == 9 and record[9] == 16:
            step, place = record[10], 11
            if step > 127:
                step, place = _wire.varint(record, 10)
            form = record[place:-4]
            if form in self._known and step < 1 << 63:
                series = self._known[form]
                if series is not None:
                    series.steps.append(step)
                    series.values.append(FLOAT.unpack_from(record, len(record) - 4)[0])
                    self.points += 1
                return
        self._slowly(record)

    def _slowly(self, record: bytes) -> None:
        step, summary, start = 0, [], False
        for number, value in _wire.fields(record):
            if number == 2 and isinstance(value, int):
                step = _wire.signed(value)
            elif number == 5:
                summary.append(_wire.submessage(value))
            elif number == 7:
                start = (1, START) in _wire.fields(_wire.submessage(value))
        if start:
            for series in self.series.values():
                series.cut(step)
        found = [pair for part in summary for pair in _scalars(part)]
        for tag, scalar in found:
            kept = self._series(tag)
            if kept is not None:
                kept.steps.append(step)
                kept.values.append(scalar)
                self.points += 1
        if len(found) == 1 and len(summary) == 1:
            self._remember(record, step, *found[0])

    def _series(self, tag: str) -> Series | None:
        self.seen.add(tag)
        if not self.wanted(tag):
            return None
        return self.series.setdefault(tag, Series())

    def _remember(self, record: bytes, step: int, tag: str, scalar: float) -> None:
        """Knows this form of record from now on, when its value stands in the last four bytes."""
        if len(record) <= 16 or record[0] != 9 or record[9] != 16 or record[-5] != 0x15:
            return
        last, (found, place) = FLOAT.unpack_from(record, len(record) - 4)[0], _wire.varint(record, 10)
        same = last == scalar or (math.isnan(last) and math.isnan(scalar))
        if found == step and same and len(self._known) < 10_000:
            self._known[record[place:-4]] = self._series(tag)


def _records(path: Path, found: Events) -> Iterator[list[bytes]]:
    """The intact records of a file, a batch for each chunk. A record that breaks off at the end is being written."""
    _lines.plain(path)
    lengths: dict[int, int] = {}
    rest, offset = b"", 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(max(CHUNK, len(rest))):
                data = rest + chunk
                messages, sums, place, broken = _cut(data, lengths)
                good = _intact(messages, sums)
                found.skipped += len(messages) - len(good)
                yield good
                if broken:
                    found.damage = f"{path.name}: damaged at byte {offset + place:,}, the rest is not read"
                    return
                rest, offset = data[place:], offset + place
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None


def _cut(data: bytes, lengths: dict[int, int]) -> tuple[list[bytes], list[int], int, bool]:
    """(messages, their checksums, place behind the last whole one, whether the next header is damaged)."""
    messages: list[bytes] = []
    sums: list[int] = []
    place, end = 0, len(data)
    while place + 12 <= end:
        length, check = HEADER.unpack_from(data, place)
        if lengths.get(length) != check:
            if length > LONGEST or _crc32c.masked(data[place : place + 8]) != check:
                return messages, sums, place, True
            lengths[length] = check
        stop = place + 12 + length
        if stop + 4 > end:
            break
        messages.append(data[place + 12 : stop])
        sums.append(int.from_bytes(data[stop : stop + 4], "little"))
        place = stop + 4
    return messages, sums, place, False


def _intact(messages: list[bytes], sums: Sequence[int]) -> list[bytes]:
    """The messages whose checksum is right, in order; equally long ones are checked at once."""
    groups: dict[int, list[int]] = {}
    for place, message in enumerate(messages):
        groups.setdefault(len(message), []).append(place)
    bad: set[int] = set()
    for places in groups.values():
        computed = _crc32c.masked_many([messages[place] for place in places])
        bad.update(place for place, value in zip(places, computed, strict=True) if value != sums[place])
    return messages if not bad else [message for place, message in enumerate(messages) if place not in bad]


def _scalars(summary: bytes) -> Iterator[tuple[str, float]]:
    """(tag, value) of the scalars in a Summary."""
    for number, value in _wire.fields(summary):
        if number != 1:
            continue
        tag, scalar = "", None
        for inner, content in _wire.fields(_wire.submessage(value)):
            if inner == 1:
                tag = _wire.submessage(content).decode("utf-8", "replace")
            elif inner == 2:
                scalar = float(FLOAT.unpack(_wire.submessage(content))[0])
            elif inner == 8:
                scalar = _tensor(_wire.submessage(content))
        if scalar is not None:
            yield tag, scalar


def _tensor(message: bytes) -> float | None:
    """The value of a TensorProto with exactly one number; None for texts and for more than one."""
    kind, found = 0, list[float]()
    for number, value in _wire.fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and any(size != 1 for size in _sizes(_wire.submessage(value))):
            return None
        elif number == 4 and isinstance(value, bytes) and value:
            form = NUMBERS.get(kind)
            if form is None or len(value) != struct.calcsize(form):
                return None
            found.append(float(struct.unpack(form, value)[0]))
        elif number == 5 and isinstance(value, bytes) and len(value) == 4:
            found.append(float(FLOAT.unpack(value)[0]))
        elif number == 6 and isinstance(value, bytes) and len(value) == 8:
            found.append(float(DOUBLE.unpack(value)[0]))
        elif number in (7, 10):
            found.extend(float(_wire.signed(part)) for part in _wire.packed(value))
    return found[0] if len(found) == 1 else None


def _sizes(shape: bytes) -> Iterator[int]:
    """The dimensions of a TensorShapeProto."""
    for number, value in _wire.fields(shape):
        if number == 2:
            size = [inner for at, inner in _wire.fields(_wire.submessage(value)) if at == 1]
            yield size[0] if size and isinstance(size[0], int) else 0
