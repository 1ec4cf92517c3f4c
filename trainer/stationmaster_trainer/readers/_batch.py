"""Many equally long event records at once: tag, step and value of each from columns of bytes, without a loop over the
records.

Most of a long event file is one form of record: time, step, one tag with one `simple_value` at the end. Where a group
is not of that form, nothing is taken and its records are read one by one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

WALL, STEP_KEY = 9, 16
"""First byte of an Event with a time, and the key of its step."""
FEW = 64
"""Records below which one by one is as fast."""


def varints(block: bytes, start: int, size: int, count: int, length: int) -> list[int] | None:
    """The numbers that stand in `size` bytes from `start` of each record; None when one is shorter or longer."""
    lanes = 0
    for place in range(size):
        column = block[start + place :: length]
        low, high = min(column), max(column)
        if (low < 128) if place < size - 1 else (high > 127):
            return None
        laid = bytearray(8 * count)
        laid[::8] = column.translate(LOW_BITS)
        lanes |= int.from_bytes(laid, "little") << 7 * place
    found = array("q", lanes.to_bytes(8 * count, "little"))
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def floats(block: bytes, start: int, count: int, length: int) -> list[float]:
    """The float32 at `start` of each record."""
    laid = bytearray(4 * count)
    for place in range(4):
        laid[place::4] = block[start + place :: length]
    found = array("f", bytes(laid))
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def form_of(record: bytes) -> bytes | None:
    """What stands between step and value of a record of the usual form."""
    size = step_size(record)
    return record[10 + size : -4] if size else None


def forms(records: Sequence[bytes], block: bytes, start: int) -> list[bytes]:
    """What stands between step and value of each record: which tag, and that nothing else is there. One entry when it
    is the same for all."""
    count, length, first = len(records), len(records[0]), records[0]
    if all(block[place::length].count(first[place]) == count for place in range(start, length - 4)):
        return [first[start:-4]]
    return [record[start:-4] for record in records]


def step_size(record: bytes) -> int:
    """Bytes of the first record's step; 0 when it is not of the usual form, or its step is beyond 2⁵⁵."""
    if len(record) < 20 or record[0] != WALL or record[9] != STEP_KEY or record[-5] != 0x15:
        return 0
    return next((size for size in range(1, 9) if record[9 + size] < 128), 0)


def usual(block: bytes, count: int, length: int) -> bool:
    """Whether every record begins as the first does: with a time, then a step."""
    return all(
        block[place::length].count(key) == count for place, key in ((0, WALL), (9, STEP_KEY), (length - 5, 0x15))
    )


LOW_BITS = bytes(byte & 127 for byte in range(256))
