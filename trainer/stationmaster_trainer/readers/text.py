"""Text logs of any training loop: nanoGPT, llm.c, torchtitan, Megatron, DeepSpeed, fairseq, Lightning's and Keras's
progress bars, the Trainer's printed dictionaries, and whatever else writes a name beside a number (`_grammar.py`).

Most lines of a log differ in their figures only: a line that was understood once becomes a pattern, and blocks of
lines go through it in one stroke. Not covered: tables without names, figures that stand on the line after their name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FormatError
from . import _grammar, _lines
from ._cells import number
from ._grammar import Line
from ._names import NAMES, Row, normalise, useful
from ._reading import Mapping, Reading
from ._strides import MOST_OTHERS, cut, stretches
from ._table import POSITION, Block, Columns, Layout, Rows, reading, sample

TOGETHER = 4000
"""Lines of one block."""
MOST_PATTERNS = 24
"""Forms of lines that are kept; the least lately used goes."""
MOST_USELESS = 2000
NOTHING = Line((), (), ())
LONGEST_LINE = 4000
"""Characters of a line that may hold figures; longer ones are dumps."""
DIGITS = b"0123456789.+-eE "
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
    head = sample(_blocks(path, mapping, Reading("", {}, iter(())), LOOKED_AT))
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


@dataclass
class _Parser:
    """Turns lines into rows; remembers the forms of the lines that it has understood."""

    mapping: Mapping
    patterns: list[tuple[re.Pattern[str], Line]] = field(default_factory=list)
    """The latest first."""
    either: tuple[re.Pattern[str], re.Pattern[str]] | None = None
    wild: set[re.Pattern[str]] = field(default_factory=set)
    """Patterns of lines that are not to be cut at their fixed text."""
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
            parted = None if shape.checked or POSITION in shape.names else self._cut(pattern, shape, lines)
            if parted is not None:
                cells, others = parted
                self.hits += len(lines) - len(others)
                yield from self._parted(shape, cells, others, lines)
                return
        yield Rows([row for line in lines if (row := self.row(line))])

    def _cut(
        self, pattern: re.Pattern[str], shape: Line, lines: Sequence[str]
    ) -> tuple[list[Sequence[str]], list[int]] | None:
        """(columns of the lines of this form, places of the others); None when too few are of it."""
        found = self._cut_at_pieces(pattern, shape, lines) if pattern not in self.wild else None
        if found is not None:
            return found
        self.wild.add(pattern)
        *cells, rest = zip(*self._either(pattern).findall("\n".join(lines)), strict=True)
        others = [place for place, other in enumerate(rest) if other] if any(rest) else []
        wanted = [place for place in range(len(rest)) if not rest[place]] if others else range(len(rest))
        if len(rest) != len(lines) or MOST_OTHERS * len(others) > len(lines):
            return None
        return [[column[place] for place in wanted] if others else column for column in cells], others

    def _cut_at_pieces(
        self, pattern: re.Pattern[str], shape: Line, lines: Sequence[str]
    ) -> tuple[list[Sequence[str]], list[int]] | None:
        """The same without a look at each line, for a form whose figures have fixed text between them."""
        probe = next((line for line in (lines[0], lines[len(lines) // 2], lines[-1]) if pattern.match(line)), "")
        first, *between, last = _grammar.pieces(probe)
        fixed = [*([first] if first else []), *between, *([last] if last else [])]
        parted = cut(lines, fixed) if between else None
        if parted is None:
            return None
        columns, others = parted
        edges = [*(columns[:1] if first else []), *(columns[-1:] if last else [])]
        figures = columns[bool(first) : len(columns) - bool(last)]
        wanted: list[Sequence[str]] = [figures[place] for place in shape.places]
        if any("".join(edge).strip() for edge in edges) or not all(map(_figures, wanted)):
            return None
        return wanted, others

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
        for start, end, place in stretches(len(lines), others):
            if end > start:
                yield Columns(shape.names, [column[start:end] for column in cells])
            row = self.row(lines[place]) if place is not None else None
            if row:
                yield Rows([row])

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


def _figures(cells: Sequence[str]) -> bool:
    """Whether every cell is a figure and nothing else: made of digits and their signs, or else looked at one by one."""
    others = "".join(cells).encode().translate(None, DIGITS)
    return not others or all(_grammar.NUMBER.fullmatch(cell.strip()) for cell in cells)


def _blocks(path: Path, mapping: Mapping, found: Reading, most: int | None = None) -> Iterator[Block]:
    parser, seen = _Parser(mapping), 0
    for lines, dropped in _lines.blocks(path, found):
        found.skipped += dropped
        if not lines:
            yield Rows([])
        for start in range(0, len(lines), TOGETHER):
            part = list(filter(None, lines[start : start + TOGETHER]))
            text = "\n".join(part)
            if "\x1b" in text or "\x08" in text:
                part = list(map(_grammar.cleaned, part))
            part = [line for line in part if not line.isspace()] if "\n " in f"\n{text}" else part
            if part:
                yield from parser.blocks(part)
        seen += sum(map(len, lines))
        if most is not None and seen > most:
            return
