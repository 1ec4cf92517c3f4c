"""Text files in blocks of whole lines: bounded memory, any encoding that a terminal leaves, no line longer than a
record."""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from pathlib import Path

from .. import codec
from ..errors import FormatError
from ._reading import Reading

CHUNK = 1 << 21
"""Bytes of one block."""
PIECE = 1 << 16
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def blocks(path: Path, reading: Reading | None = None) -> Iterator[tuple[list[str], int]]:
    """(whole lines without their ends, pieces left out because they were too long) until the end of the file.

    With a `reading` that follows, the end of the file gives an empty block and waits; a last line that is not whole is
    kept until it is. A carriage return ends a line as well: a progress bar is a row each time that it is drawn. Raises
    FormatError for what is no plain file or cannot be read.
    """
    plain(path)
    try:
        with path.open("rb") as file:
            encoding = _encoding(file.read(4))
            file.seek(0)
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            rest, dropping = "", False
            while True:
                chunk = file.read(CHUNK)
                following = reading is not None and reading.follow
                if reading is not None:
                    reading.at_end = following and not chunk
                if not chunk and not following:
                    break
                if not chunk:
                    if path.stat().st_size < file.tell():
                        raise FormatError(f"{path} became shorter.", "It was begun anew: read it again.")
                    yield [], 0
                    continue
                text = rest + decoder.decode(chunk)
                if "\r" in text:
                    text = text.replace("\r\n", "\n").replace("\r", "\n")
                lines = text.split("\n")
                rest = lines.pop()
                dropped = dropping and bool(lines)
                if dropped:
                    lines, dropping = lines[1:], False
                if len(rest) > codec.MAX_LINE:
                    rest, dropping = "", True
                yield lines, int(dropped)
            rest += decoder.decode(b"", final=True)
            if rest or dropping:
                yield ([] if dropping else [rest]), int(dropping)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None


def head(path: Path, most: int = 1 << 18) -> list[str]:
    """The lines in the first bytes of a file, the last one perhaps cut; empty for what cannot be read or is binary."""
    try:
        plain(path)
        with path.open("rb") as file:
            data = file.read(most)
    except (OSError, FormatError):
        return []
    encoding = _encoding(data[:4])
    if encoding == "utf-8" and b"\0" in data:
        return []
    return data.decode(encoding, "replace").lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def expected(path: Path) -> float:
    """About how many lines the file has, from its size and pieces of its beginning, middle and end."""
    size, ends, seen = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        for start in sorted({0, max(0, size // 2 - PIECE // 2), max(0, size - PIECE)}):
            file.seek(start)
            piece = file.read(PIECE)
            ends += piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n")
            seen += len(piece)
    return max(1.0, size * ends / max(1, seen))


def inside(path: Path) -> bool:
    """Whether a path found in a folder is a plain file of that folder: a link may lead out of it."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def plain(path: Path) -> None:
    """Raises FormatError for what is no plain file: reading a FIFO or a device might never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not stat.S_ISREG(mode):
        raise FormatError(f"{path} is no plain file.", "Give a log file, or a folder that holds one.")


def _encoding(start: bytes) -> str:
    return next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
