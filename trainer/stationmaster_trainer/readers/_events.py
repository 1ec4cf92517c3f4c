"""Scalars of a TensorBoard event file: TFRecord framing with its checksums, and the few fields of `Event` that hold
them.

Read are `simple_value` (PyTorch, TensorFlow 1, HuggingFace) and scalar tensors (TensorFlow 2, Keras). Images, graphs,
histograms and texts are passed over. A session start takes back what a resumed run does again, as in TensorBoard.
"""

from __future__ import annotations

import itertools
import math
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from ..errors import FormatError
from . import _batch, _crc32c, _lines, _wire

CHUNK = 1 << 22
"""Bytes of one read."""
FIRST_CHUNK = 1 << 16
"""The first is small: in it the forms of the records are learnt, one by one."""
LONGEST = 1 << 28
"""Bytes of the longest record that is believed."""
MOST_POINTS = 10_000_000
"""Points that are kept of one log; 16 bytes each."""
MOST_FORMS = 10_000
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


Pending = dict[str, list[tuple[list[int], list[int], list[float]]]]
"""Tag → pieces of (places in the chunk, steps, values)."""


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
    _known: dict[bytes, str] = field(default_factory=dict)
    """Everything of a record but its time, step and value → its tag."""

    def read(self, path: Path) -> None:
        """Adds the points of a file. Raises FormatError for what cannot be read."""
        for messages, sums in _chunks(path, self):
            self._chunk(messages, sums)
            if self.points > MOST_POINTS:
                self.damage = f"{path.name}: only the first {self.points:,} points are read"
                return

    def _chunk(self, messages: list[bytes], sums: list[bytes]) -> None:
        """The records of a chunk whose checksum is right: equally long ones at once where all are of known forms."""
        groups: dict[int, list[int]] = {}
        for place, message in enumerate(messages):
            groups.setdefault(len(message), []).append(place)
        pending: Pending = {}
        rest: list[int] = []
        for length, places in groups.items():
            records = [messages[place] for place in places]
            block = b"".join(records)
            bad = set(_crc32c.wrong(block, len(places), b"".join([sums[place] for place in places]))) if length else ()
            self.skipped += len(bad)
            if bad:
                rest += [place for at, place in enumerate(places) if at not in bad]
            elif not self._at_once(places, records, block, pending):
                rest += places
        rest.sort()
        if any(_is_start(messages[place]) for place in rest):
            pending, rest = {}, sorted({*rest, *(at for part in pending.values() for piece in part for at in piece[0])})
        for place in rest:
            self._one(place, messages[place], pending)
        self._settle(pending)

    def _at_once(self, places: list[int], records: list[bytes], block: bytes, pending: Pending) -> bool:
        """Takes equally long records; False, and nothing taken, when they are few or not of known forms."""
        size, count, length = _batch.step_size(records[0]), len(records), len(records[0])
        if count < _batch.FEW or not size:
            return False
        steps = _batch.varints(block, 10, size, count, length)
        forms = _batch.forms(records, block, 10 + size)
        kinds = set(forms)
        if steps is None or not kinds <= self._known.keys() or not _batch.usual(block, count, length):
            return False
        values = _batch.floats(block, length - 4, count, length)
        for kind in kinds:
            mine = [form == kind for form in forms] if len(kinds) > 1 else None
            piece = (places, steps, values) if mine is None else _selected((places, steps, values), mine)
            pending.setdefault(self._known[kind], []).append(piece)
        return True

    def _one(self, place: int, record: bytes, pending: Pending) -> None:
        """One Event: of a known form at a glance, else field by field."""
        form = _batch.form_of(record)
        tag = self._known.get(form) if form is not None else None
        if tag is not None:
            value = FLOAT.unpack_from(record, len(record) - 4)[0]
            pending.setdefault(tag, []).append(([place], [_wire.varint(record, 10)[0]], [value]))
            return
        try:
            step, found, start = _parsed(record)
        except (ValueError, struct.error):
            self.skipped += 1
            return
        if start:
            self._settle(pending)
            pending.clear()
            for series in self.series.values():
                series.cut(step)
        for tag, scalar in found:
            pending.setdefault(tag, []).append(([place], [step], [scalar]))
        if form is not None and len(found) == 1 and len(self._known) < MOST_FORMS:
            last = FLOAT.unpack_from(record, len(record) - 4)[0]
            if last == found[0][1] or (math.isnan(last) and math.isnan(found[0][1])):
                self._known[form] = found[0][0]

    def _settle(self, pending: Pending) -> None:
        """Adds the pieces of each tag in the order in which they were written."""
        for tag, pieces in pending.items():
            self.seen.add(tag)
            if not self.wanted(tag):
                continue
            pieces.sort(key=lambda piece: piece[0][0])
            if any(later[0][0] < earlier[0][-1] for earlier, later in itertools.pairwise(pieces)):
                points = sorted(point for piece in pieces for point in zip(*piece, strict=True))
                pieces = [([], [step for _, step, _ in points], [value for _, _, value in points])]
            series = self.series.setdefault(tag, Series())
            for _, steps, values in pieces:
                series.steps.extend(steps)
                series.values.extend(values)
                self.points += len(steps)


def _selected(
    piece: tuple[list[int], list[int], list[float]], mine: list[bool]
) -> tuple[list[int], list[int], list[float]]:
    places, steps, values = piece
    return list(compress(places, mine)), list(compress(steps, mine)), list(compress(values, mine))


def _parsed(record: bytes) -> tuple[int, list[tuple[str, float]], bool]:
    """(step, scalars, whether it is the start of a session) of an Event."""
    step, found, start = 0, list[tuple[str, float]](), False
    for number, value in _wire.fields(record):
        if number == 2 and isinstance(value, int):
            step = _wire.signed(value)
        elif number == 5:
            found += _scalars(_wire.submessage(value))
        elif number == 7:
            start = (1, START) in _wire.fields(_wire.submessage(value))
    return step, found, start


def _is_start(record: bytes) -> bool:
    """Whether a record is the start of a session, after which a resumed run repeats steps."""
    if len(record) > 1000 or b"\x3a" not in record:
        return False
    try:
        return _parsed(record)[2]
    except (ValueError, struct.error):
        return False


def _chunks(path: Path, found: Events) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """(records, their checksums) of each chunk. A record that breaks off at the end is being written."""
    _lines.plain(path)
    heads: dict[bytes, int] = {}
    rest, offset = b"", 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(max(CHUNK if offset else FIRST_CHUNK, len(rest))):
                data = rest + chunk
                messages, sums, place, broken = _cut(data, heads)
                yield messages, sums
                if broken:
                    found.damage = f"{path.name}: damaged at byte {offset + place:,}, the rest is not read"
                    return
                rest, offset = data[place:], offset + place
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None


def _cut(data: bytes, heads: dict[bytes, int]) -> tuple[list[bytes], list[bytes], int, bool]:
    """(records, their checksums, place behind the last whole one, whether the next header is damaged)."""
    messages: list[bytes] = []
    sums: list[bytes] = []
    place, end = 0, len(data)
    while place + 12 <= end:
        head = data[place : place + 12]
        length = heads.get(head)
        if length is None:
            length, check = HEADER.unpack(head)
            if length > LONGEST or _crc32c.masked(head[:8]) != check:
                return messages, sums, place, True
            heads[head] = length
        place += 12
        stop = place + length
        if stop + 4 > end:
            place -= 12
            break
        messages.append(data[place:stop])
        place = stop + 4
        sums.append(data[stop:place])
    return messages, sums, place, False


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
