"""Text logs of any training loop: nanoGPT, llm.c, torchtitan, Megatron, DeepSpeed, fairseq, Lightning's and Keras's
progress bars, the Trainer's printed dictionaries, and whatever else writes a name beside a number (`_grammar.py`).

Most lines of a log differ in their figures only: a line that was understood once becomes a pattern, and blocks of
lines go through it in one stroke. Not covered: tables without names, figures that stand on the line after their name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..errors import FormatError
from . import _grammar, _lines
from ._cells import number
from ._grammar import Line
from ._names import NAMES, Row, normalise, useful
from ._reading import Mapping, Reading
from ._table import POSITION, SAMPLE, Block, Columns, Layout, Rows, reading

TOGETHER = 1000
"""Lines of one block."""
MOST_PATTERNS = 24
"""Forms of lines that are kept; the least lately used goes."""
MOST_USELESS = 2000
NOTHING = Line((), (), ())
LONGEST_LINE = 4000
"""Characters of a line that may hold figures; longer ones are dumps."""
LOOKED_AT = 1 << 26
"""Characters in which the first line with a loss must stand."""
EPOCHS = frozenset(NAMES["epoch"])
RANK = 90
"""Place among the readers that are asked whether they know a file: the last."""


def accepts(path: Path) -> bool:
    """Whether the file is text."""
    return path.is_file() and bool(_lines.head(path, 4096))


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Opens the log and names its columns; records follow as they are read.

    Raises FormatError for a file that cannot be read or where no figure is called a loss, ConfigError for a mapping
    that does not fit.
    """
    rows = (row for block in _blocks(path, mapping, Reading("", {}, iter(())), LOOKED_AT) for row in _each(block))
    head = list(islice(rows, SAMPLE))
    if not head:
        raise FormatError(
            f"{path} holds no line with a loss that could be read.", "Name a figure of it: a mapping such as loss=cost."
        )
    parser = _Parser(mapping)
    with_figures = sum(1 for line in _lines.head(path) if parser.row(line)) / max(1, len(_lines.head(path)))
    layout = Layout(
        "text log", once=True, several_steps=True, rows=_lines.expected(path) * max(0.01, with_figures), lines=True
    )
    return reading(path, layout, head, lambda found: _blocks(path, mapping, found), mapping)


def _each(block: Block) -> Iterator[Row]:
    return map(block.row, range(block.size))


@dataclass
class _Parser:
    """Turns lines into rows; remembers the forms of the lines that it has understood."""

    mapping: Mapping
    patterns: list[tuple[re.Pattern[str], Line]] = field(default_factory=list)
    """The latest first."""
    either: tuple[re.Pattern[str], re.Pattern[str]] | None = None
    made: int = 0
    hits: int = 0
    """Patterns made so far, and lines that one of them knew."""
    useless: set[str] = field(default_factory=set)
    """Lines without a figure that matters, their figures left out."""
    epoch: tuple[str, str] | None = None
    """(column, figure) of the newest line that had one, for progress bars whose epoch stands in a line of its own."""

    def blocks(self, lines: Sequence[str]) -> Iterator[Block]:
        """The rows of some lines: as columns where they have the form of most of them."""
        usual = self._usual(lines)
        if usual is not None:
            pattern, shape = usual
            if not shape.checked and POSITION not in shape.names:
                *cells, rest = zip(*self._either(pattern).findall("\n".join(lines)), strict=True)
                others = [place for place, other in enumerate(rest) if other] if any(rest) else []
                if len(rest) == len(lines) and 4 * len(others) <= len(lines):
                    self.hits += len(lines) - len(others)
                    yield from self._parted(shape, cells, others, lines)
                    return
        yield Rows([row for line in lines if (row := self.row(line))])

    def _usual(self, lines: Sequence[str]) -> tuple[re.Pattern[str], Line] | None:
        """The form of two of three lines."""
        probes = (lines[0], lines[len(lines) // 2], lines[-1])
        for pattern, shape in self.patterns if len(lines) > 2 else ():
            if sum(pattern.match(probe) is not None for probe in probes) > 1:
                return pattern, shape
        return None

    def _either(self, pattern: re.Pattern[str]) -> re.Pattern[str]:
        """The pattern, or else the whole line as a last group: one match for every line."""
        if self.either is None or self.either[0] is not pattern:
            self.either = (pattern, re.compile(f"{pattern.pattern}|^(.+)$", re.MULTILINE))
        return self.either[1]

    def _parted(
        self, shape: Line, cells: Sequence[Sequence[str]], others: Sequence[int], lines: Sequence[str]
    ) -> Iterator[Block]:
        """Stretches of one form as columns, the lines between them one by one."""
        start = 0
        for place in [*others, len(lines)]:
            if place > start:
                yield Columns(shape.names, [column[start:place] for column in cells])
            row = self.row(lines[place]) if place < len(lines) else None
            if row:
                yield Rows([row])
            start = place + 1

    def row(self, line: str) -> Row | None:
        """What a line says; None for one without a figure that matters."""
        if len(line) > LONGEST_LINE:
            return None
        line = _grammar.cleaned(line)
        for place, (pattern, shape) in enumerate(self.patterns):
            match = pattern.match(line)
            if match is not None:
                self.hits += 1
                if place:
                    self.patterns.insert(0, self.patterns.pop(place))
                return self._row(line, shape, dict(zip(shape.names, match.groups(), strict=True)))
        outline = _grammar.NUMBER.sub("0", line)
        if outline in self.useless:
            return None
        shape = _grammar.parse(line) if "0" in outline else NOTHING
        if not any(self._matters(name) for name in shape.names):
            if len(self.useless) < MOST_USELESS:
                self.useless.add(outline)
            return None
        if self.made < MOST_PATTERNS + self.hits // 8:  # where no form comes back, patterns cost more than they bring
            self._learn(line, shape)
        return self._row(line, shape, dict(_grammar.numbers(line, shape)))

    def _learn(self, line: str, shape: Line) -> None:
        form = _grammar.template(line, shape)
        if form is not None:
            self.made += 1
            self.patterns = [(form, shape), *self.patterns[: MOST_PATTERNS - 1]]

    def _matters(self, name: str) -> bool:
        plain = normalise(name)
        return plain != POSITION and useful(name, self.mapping)

    def _row(self, line: str, shape: Line, row: dict[str, str]) -> Row | None:
        """The row, its place within the epoch made sense of."""
        epoch = next(((name, row[name]) for name in shape.names if normalise(name) in EPOCHS), None)
        if shape.checked and POSITION in row:
            total = next((place for name, place in shape.totals if name == POSITION), None)
            last = number(_grammar.NUMBER.findall(line)[total]) if total is not None else None
            at = number(row.pop(POSITION))
            if last is not None and at is not None and at < last - 1:
                return None  # a batch of a validation that goes on
        if epoch is not None:
            self.epoch = epoch
        elif self.epoch is not None and POSITION in row:
            row[self.epoch[0]] = self.epoch[1]
        return row


def _blocks(path: Path, mapping: Mapping, found: Reading, most: int | None = None) -> Iterator[Block]:
    parser, seen = _Parser(mapping), 0
    for lines, dropped in _lines.blocks(path, found):
        found.skipped += dropped
        if not lines:
            yield Rows([])
        if any("\x1b" in line or "\x08" in line for line in lines):
            lines = list(map(_grammar.cleaned, lines))
        for start in range(0, len(lines), TOGETHER):
            part = [line for line in lines[start : start + TOGETHER] if line and not line.isspace()]
            if part:
                yield from parser.blocks(part)
        seen += sum(map(len, lines))
        if most is not None and seen > most:
            return
