"""Texts looked at before they are tokenised: near copies, very long ones, cut ends, broken encodings, two answers.

One pass, about 100 bytes kept per text. Not covered: whether a text makes sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from . import shingles
from .copies import EXAMPLES, near_findings
from .facts import Finding
from .table import listed_rows

LONG, LONGER = 10_000, 50
"""Characters, and times the median, from which a text is told as very long."""
CUT, FEWEST, SHORTEST = 0.02, 5, 40
"""Share and number of texts of the very same greatest length from which they look cut; and least such length."""
PILED = 10
"""And how many times more than of any length a little below."""
MANY, RARELY = 0.05, 0.001
"""Shares of rows from which two answers, and traces of a wrong encoding, are a warning."""
_BROKEN = re.compile("\ufffd|\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u2122]|[\ud800-\udfff]|[\x00-\x08\x0e-\x1f]")
"""Replacement characters, UTF-8 read as Windows-1252 (Ã© for é), half characters, control characters."""
_ENDS = frozenset(".!?…\"'”’»)]}>`*:;。！？」』")


class Looker:
    """Looks at texts while they pass by."""

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.broken: list[int] = []
        """Positions of texts with traces of a wrong encoding."""
        self.ended: list[bool] = []
        """Whether each ends as sentences do."""

    def at(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts as they are."""
        for text in texts:
            if _BROKEN.search(text):
                self.broken.append(len(self.lengths))
            self.lengths.append(len(text))
            self.ended.append(text.rstrip()[-1:] in _ENDS)
            yield text


def of(
    train: Iterable[str], val: Iterable[str] | None, rows: np.ndarray, held: np.ndarray | None, unit: str = "samples"
) -> list[Finding]:
    """Findings on the texts of both parts, whose row numbers are `rows` (N,) and `held` (M,)."""
    look = Looker()
    sketches = shingles.sketches(look.at(chain(train, val or ())))
    every = rows if held is None else np.concatenate((rows, held))
    found = near_findings(shingles.twins(sketches), rows, held, unit)
    lengths = np.array(look.lengths, dtype=np.int64)
    return [
        *found,
        *_broken(np.array(look.broken, dtype=np.int64), every, len(rows)),
        *_long(lengths, every, len(rows)),
        *_cut(lengths, np.array(look.ended, dtype=bool), every, len(rows)),
    ]


def contradictions(prompts: Iterable[str], answers: Iterable[str], rows: np.ndarray) -> list[Finding]:
    """Prompts that stand more than once with different answers. `rows` (N,): their row numbers."""
    (asked, words), (said, _) = shingles.wholes(prompts), shingles.wholes(answers)
    order = np.argsort(asked, kind="stable")
    same = (asked[order][1:] == asked[order][:-1]) & (words[order][1:] > 0)
    differ = np.flatnonzero(same & (said[order][1:] != said[order][:-1]))
    if not len(differ):
        return []
    pairs = sorted((int(rows[order[at + 1]]), int(rows[order[at]])) for at in differ.tolist())
    share = len(pairs) / len(rows)
    named = listed_rows(np.array([row for row, _ in pairs]))
    message = f"{len(pairs):,} of {len(rows):,} training rows repeat a prompt with another answer ({named})."
    facts = {"rows": len(pairs), "examples": [["train", row, "train", first] for row, first in pairs[:EXAMPLES]]}
    advice = "Wanted for varied answers; where one answer is right, the model learns neither."
    return [Finding("two_answers", "warning" if share >= MANY else "info", message, advice, facts)]


def _broken(at: np.ndarray, rows: np.ndarray, train: int) -> list[Finding]:
    if not len(at):
        return []
    many, named = f"{len(at):,} of {len(rows):,} texts", listed_rows(rows[at])
    message = f"{many} hold traces of a wrong encoding or control characters ({named})."
    advice = "Read the source in its own encoding and write it as UTF-8."
    severe = len(at) >= RARELY * len(rows)
    return [Finding("encoding", "warning" if severe else "info", message, advice, _facts(at, rows, train))]


def _long(lengths: np.ndarray, rows: np.ndarray, train: int) -> list[Finding]:
    if not len(lengths):
        return []
    median = float(np.median(lengths))
    at = np.flatnonzero((lengths >= LONG) & (lengths >= LONGER * median))
    if not len(at):
        return []
    message = (
        f"{len(at):,} of {len(rows):,} texts are very long ({listed_rows(rows[at])}): up to {int(lengths.max()):,} "
        f"characters, the median is {median:,.0f}."
    )
    return [Finding("very_long", "info", message, "Look whether they are texts at all.", _facts(at, rows, train))]


def _cut(lengths: np.ndarray, ended: np.ndarray, rows: np.ndarray, train: int) -> list[Finding]:
    """Many texts of the very same greatest length that stop in the middle of a sentence."""
    longest = int(lengths.max(initial=0))
    at = np.flatnonzero((lengths == longest) & ~ended)
    usual = int(((lengths >= 0.8 * longest) & (lengths < longest)).sum()) / max(1.0, 0.2 * longest)
    if longest < SHORTEST or len(at) < max(FEWEST, CUT * len(lengths), PILED * usual) or (lengths == longest).all():
        return []
    message = (
        f"{len(at):,} of {len(rows):,} texts end in mid-sentence after exactly {longest:,} characters: they look cut "
        f"({listed_rows(rows[at])})."
    )
    advice = "Take them from the source as a whole if the end matters."
    return [Finding("cut", "warning", message, advice, _facts(at, rows, train))]


def _facts(at: np.ndarray, rows: np.ndarray, train: int) -> dict[str, object]:
    examples = [["train" if one < train else "val", int(rows[one])] for one in at[:EXAMPLES].tolist()]
    return {"rows": len(at), "examples": examples}
