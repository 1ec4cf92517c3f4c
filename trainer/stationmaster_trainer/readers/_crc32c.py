"""CRC-32C (Castagnoli, RFC 3720 B.4) without a package: of one message, or of many equally long ones at once.

The checksum is linear over XOR: of a fixed length it is the XOR of one table's entry per byte. So many messages are
taken column by column, each column through `bytes.translate`, and joined as large integers: some nanoseconds a byte.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import cache

POLYNOMIAL = 0x82F63B78
SEGMENT = 256
"""Bytes that are taken with one set of tables; longer messages go segment by segment."""
FEW = 16
"""Messages below which one after the other is faster."""


@cache
def _tables() -> list[list[int]]:
    """`tables[k][byte]`: what a byte with `k` bytes behind it adds to the checksum."""
    first = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        first.append(value)
    tables = [first]
    while len(tables) < SEGMENT:
        tables.append([first[entry & 255] ^ entry >> 8 for entry in tables[-1]])
    return tables


@cache
def _split() -> list[tuple[bytes, ...]]:
    """The same tables, each as four of single bytes, for `bytes.translate`."""
    return [tuple(bytes(entry >> shift & 255 for entry in table) for shift in (0, 8, 16, 24)) for table in _tables()]


def checksum(message: bytes) -> int:
    """CRC-32C of one message."""
    table, state = _tables()[0], 0xFFFFFFFF
    for byte in message:
        state = table[(state ^ byte) & 255] ^ state >> 8
    return state ^ 0xFFFFFFFF


def masked(message: bytes) -> int:
    """The checksum as TFRecord files store it: rotated right by 15, plus a constant."""
    return _mask(checksum(message))


def masked_many(messages: Sequence[bytes]) -> list[int]:
    """The same for messages of one length."""
    if len(messages) < FEW:
        return [masked(message) for message in messages]
    return [_mask(found) for found in _many(b"".join(messages), len(messages), len(messages[0]))]


def wrong(block: bytes, count: int, stored: bytes) -> list[int]:
    """Places of the messages whose stored checksum (four bytes each) is not theirs; `block` holds all of them, equally
    long, one behind the other."""
    length = len(block) // count
    if count < FEW:
        computed = array("I", (masked(block[place * length : (place + 1) * length]) for place in range(count)))
    else:
        computed = _mask_all(_many(block, count, length), count)
    expected = array("I", stored)
    if sys.byteorder == "big":
        expected.byteswap()
    if computed.tobytes() == expected.tobytes():
        return []
    return [place for place, (a, b) in enumerate(zip(computed, expected, strict=True)) if a != b]


def _mask_all(found: array[int], count: int) -> array[int]:
    """`_mask` of each: as lanes of 64 bits in one integer, in which nothing runs over."""
    lanes = array("Q", found)
    if sys.byteorder == "big":
        lanes.byteswap()
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")
    wide, low = int.from_bytes(lanes.tobytes(), "little"), ones * 0xFFFFFFFF
    turned = (wide >> 15 & ones * 0x1FFFF) | (wide << 17 & low)
    added = array("Q", ((turned + ones * 0xA282EAD8) & low).to_bytes(8 * count, "little"))
    if sys.byteorder == "big":
        added.byteswap()
    return array("I", added)


def _mask(found: int) -> int:
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _many(block: bytes, count: int, length: int) -> array[int]:
    """Checksums of `count` messages of `length` bytes that lie one behind the other."""
    split, full = _split(), int.from_bytes(b"\xff" * count, "little")
    state = [full] * 4
    """Byte i of all messages' checksums, as one integer."""
    for start in range(0, length, SEGMENT):
        size = min(SEGMENT, length - start)
        sums, constant = [0, 0, 0, 0], [0, 0, 0, 0]
        for place in range(size):
            column, tables = block[start + place :: length], split[size - 1 - place]
            if place < 4:
                column = (int.from_bytes(column, "little") ^ state[place]).to_bytes(count, "little")
            if column.count(column[0]) == count:  # most bytes of a log are the same in every record
                for part in range(4):
                    constant[part] ^= tables[part][column[0]]
                continue
            for part in range(4):
                sums[part] ^= int.from_bytes(column.translate(tables[part]), "little")
        for part in range(4):
            sums[part] ^= int.from_bytes(bytes((constant[part],)) * count, "little")
            sums[part] ^= state[part + size] if part + size < 4 else 0
        state = sums
    laid = bytearray(4 * count)
    for part in range(4):
        laid[part::4] = (state[part] ^ full).to_bytes(count, "little")
    found = array("I", bytes(laid))
    if sys.byteorder == "big":
        found.byteswap()
    return found
