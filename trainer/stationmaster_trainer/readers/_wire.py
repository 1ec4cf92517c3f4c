"""Protocol buffers' wire format: the fields of a message, in order, without a schema.

Varints come as int, fixed 32 and 64 bit values as their bytes, everything else as bytes. A message that breaks off or
holds an impossible field raises ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message."""
    place, end = 0, len(message)
    while place < end:
        key, place = varint(message, place)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("field number 0")
        if kind == VARINT:
            value, place = varint(message, place)
            yield number, value
            continue
        if kind == LENGTH:
            size, place = varint(message, place)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > end:
            raise ValueError("a field runs beyond its message")
        yield number, message[place : place + size]
        place += size


def varint(message: bytes, place: int) -> tuple[int, int]:
    """(value, place behind it). An int64 below zero comes as its two's complement, see `signed`."""
    value = shift = 0
    for at in range(place, min(place + 10, len(message))):
        byte = message[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
    raise ValueError("a number breaks off")


def signed(value: int) -> int:
    """A varint as int64."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def zigzag(value: int) -> int:
    """A varint as sint64."""
    return value >> 1 ^ -(value & 1)


def packed(value: int | bytes) -> Iterator[int]:
    """The numbers of a repeated varint field, packed or not."""
    if isinstance(value, int):
        yield value
        return
    place = 0
    while place < len(value):
        number, place = varint(value, place)
        yield number


def submessage(value: int | bytes) -> bytes:
    """A field that must be a message or a string; ValueError when it is a number."""
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value
