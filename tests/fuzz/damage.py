"""Damage for files: bytes cut, flipped, put in, replaced; values of JSON exchanged; other things in a file's place."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

FACTOR = int(os.environ.get("STATIONMASTER_FUZZ", "1"))
"""How many times as many cases: `make soak` sets it."""
HUGE = 1 << 30
"""Bytes of the sparse file that is put in a file's place."""
DEEP: Any = []
for _ in range(150):
    DEEP = [DEEP]
DEEPER: Any = DEEP
"""Json reads it; what walks through it a frame or two a level comes to Python's limit."""
for _ in range(300):
    DEEPER = [DEEPER]
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, -(2**70), 10**300, 1.5, -0.0, 1e308, "NaN", "Infinity", "-Infinity", ""),
    *("x", "x" * 5000, "\x1b[31m\u202e\u200b\x00", "../../etc/passwd", "1", [], {}, [[]], {"": None}, [1, "a", None]),
    *({"gate": 7}, {"kind": "train"}, {"format": 99}, DEEP, ["x"] * 300, {str(n): n for n in range(300)}),
]
PLACES = (
    "fifo",
    "folder",
    "loop",
    "dangling",
    "socket",
    "zero device",
    "sparse",
    "empty",
    "gone",
    "link to /etc/passwd",
)


def replaced(path: Path, kind: str) -> None:
    """Puts something else in the file's place."""
    remove(path)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "x").write_text("x")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = os.open(path.parent, os.O_RDONLY)
            made.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(HUGE)
    elif kind == "empty":
        path.touch()
    elif kind != "gone":
        targets = {"loop": path.name, "dangling": "/absent/file", "zero device": "/dev/zero"}
        path.symlink_to(targets.get(kind, "/etc/passwd"))


def remove(path: Path) -> None:
    """Whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes after one or two pieces of damage."""
    for _ in range(draw(st.integers(1, 2))):
        data = draw(st.sampled_from([_cut, _flip, _insert, _whole, _value, _value, _value]))(draw, data)
    return data


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, len(data)))
    return data[:place] if draw(st.booleans()) else data[place:]


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    if not data:
        return b"\x00"
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 8))):
        changed[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, len(data)))
    junk = draw(
        st.one_of(st.binary(max_size=50), st.sampled_from([b"\x00" * 5000, b"[" * 50_000, b"\xff\xfe", b"\n" * 300]))
    )
    return data[:place] + junk + data[place:]


def _whole(draw: st.DrawFn, data: bytes) -> bytes:
    return draw(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from(
                [b"", b"null", b"[]", b"{}", b"7", b'"x"', b"[" * 100_000, b"{" * 9000, b"9" * 20_000, b"\x00"]
            ),
        )
    )


def _value(draw: st.DrawFn, data: bytes) -> bytes:
    """Exchanges one value somewhere in a JSON file, or in one line of a JSONL file."""
    lines = data.split(b"\n")
    try:
        json.loads(data)
        number, text = -1, data
    except ValueError:
        number = draw(st.integers(0, len(lines) - 1))
        text = lines[number]
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        return _flip(draw, data)
    changed = json.dumps(_exchanged(draw, plain)).encode()
    return changed if number < 0 else b"\n".join([*lines[:number], changed, *lines[number + 1 :]])


def _exchanged(draw: st.DrawFn, plain: Any) -> Any:
    if isinstance(plain, (dict, list)) and plain and draw(st.integers(0, 9)):
        key: Any = (
            draw(st.sampled_from(sorted(plain))) if isinstance(plain, dict) else draw(st.integers(0, len(plain) - 1))
        )
        if not draw(st.integers(0, 9)):
            del plain[key]
        else:
            plain[key] = _exchanged(draw, plain[key])
        return plain
    return draw(st.sampled_from([*JUNK, DEEPER]))
