"""Lines of one form as whole columns, cut at the fixed text between their cells: a third of the cost of looking at
each line.

The fixed pieces are replaced by marks in the text of all lines at once; what remains of the marks tells, line by line,
whether every piece stood there in its order. Lines of another form are named by their place, for a slower reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

MARKS = "\x01\x02\x03\x04\x05\x06\x07\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a"
"""Signs that no log holds; each piece gets its own. A log that does hold one is left to the slower reader."""
_KEPT = MARKS.encode() + b"\n"
_DROPPED = bytes(set(range(256)) - set(_KEPT))
_TABS = {ord(mark): "\t" for mark in MARKS + "\n"}
MOST_OTHERS = 4
"""With more than one in so many lines of another form, the form is not theirs."""


def cut(lines: Sequence[str], pieces: Sequence[str]) -> tuple[list[list[str]], list[int]] | None:
    """(columns, places of the lines of another form): the first column is what stands before the first piece, the last
    what stands behind the last one. None when the lines are not of this form.

    A line is of the form when it holds each piece once, in this order. Cells are as they are written, blanks included.
    """
    marks = dict(zip(dict.fromkeys(sorted(pieces, key=len, reverse=True)), MARKS, strict=False))
    text = "\n".join(lines)
    if "\t" in text or len(marks) < len(set(pieces)) or "" in marks or _skeleton(text).strip(b"\n"):
        return None
    for piece, mark in marks.items():
        text = text.replace(piece, mark)
    form = "".join(marks[piece] for piece in pieces).encode()
    skeleton, others = _skeleton(text) + b"\n", list[int]()
    if skeleton != (form + b"\n") * len(lines):
        others = [place for place, found in enumerate(skeleton.split(b"\n")[:-1]) if found != form]
        if MOST_OTHERS * len(others) > len(lines):
            return None
        kept = text.split("\n")
        for place in reversed(others):
            del kept[place]
        text = "\n".join(kept)
    width = len(pieces) + 1
    cells = text.translate(_TABS).split("\t")
    return [cells[place::width] for place in range(width)], others


def stretches(size: int, others: Sequence[int]) -> Iterator[tuple[int, int, int | None]]:
    """(from, to, place of the other line behind, if any): how the cells of `cut` lie between the lines of another
    form. `from` and `to` count cells."""
    start = 0
    for number, place in enumerate(others):
        yield start, place - number, place
        start = place - number
    yield start, size - len(others), None


def _skeleton(text: str) -> bytes:
    """The marks and line ends of a text, in their order."""
    return text.encode("utf-8", "surrogatepass").translate(None, _DROPPED)
