"""What a line of a text log says: pairs of a name and a number, in whatever punctuation.

    iter 100: loss 2.3100, time 12.3ms            iteration      122/  250000 | lm loss: 2.5E+00 | grad norm: 0.2 |
    step:  4  loss:  7.62585  grad_norm: 26.6     {'loss': 0.55, 'grad_norm': 21.4, 'epoch': 0.29}
    Epoch: [2]  [1480/1504]  loss: 0.86 (0.85)    step    1/19560 | loss 11.0 (+nanz)| norm 15.4 | lr 8.57e-07

A name is the phrase before its number. A line about validation gives its bare names the prefix `eval`. `n/total`
without a name is the column `position`, a bare integer at the start of a line the column `step`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from ._names import KNOWN, NAMES, normalise

FIGURE = (
    r"[-+]?(?:\d+(?:,\d{3})+(?![\d,])(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    r"|(?<!of )(?:nan|inf(?:inity)?)(?![a-z]))"
)
"""A number as any tool prints it."""
IN_PLACE = (
    r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
    r"|\d+(?:,\d{3})+(?:\.\d+)?)"
)
"""The same between known text: the usual form first, letters in any case only where they may stand."""
NUMBER = re.compile(rf"(?<![\w.]){FIGURE}", re.IGNORECASE)
COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x08+")
CHECKED = re.compile(r"(?<![a-z])(?:val|valid|validation|eval|dev|test|validat\w+|evaluat\w+)(?![a-z])", re.IGNORECASE)
TRAINED = re.compile(r"(?<![a-z])(?:train|training)(?![a-z])", re.IGNORECASE)
DIVIDE = re.compile(r"[|,;()\[\]{}<>\t]| - |(?<=\S)  +(?=\S)|(?<![A-Za-z]): | -+> ")
"""What stands between a figure and the name of the next."""
UNIT = re.compile(r"^[A-Za-z%°µ/][^\s|,;()\[\]{}<>]*")
LETTER = re.compile(r"[A-Za-z]")
TRAILING = " \t:=[({'\"`~≈"
FILLERS = frozenset({"is", "was", "of", "at", "value", "the", "now", "=", "total"})
STEPS = frozenset({"iteration", "iter", "step", "steps", "epoch", "update", "updates"})
BEFORE_STEPS = frozenset(
    {"at", "train", "training", "global", "current", "optimizer", "eval", "val", "test", "on", "completed", "finished"}
)
NEUTRAL = frozenset({"info", "epoch", "current", "average", "mean", "batch", "running", "finished", "the"})
PLACES = frozenset(NAMES["step"]) | frozenset(NAMES["epoch"])
OF_WHAT = re.compile(r"\b(epoch|iter)\((train|val|test)\)", re.IGNORECASE)
"""`Epoch(train) [1]` of OpenMMLab."""
LONGEST_NAME = 60
BARE = frozenset({"train", "training"})


@dataclass(frozen=True)
class Line:
    """What was found in one line."""

    names: tuple[str, ...]
    """Column of each figure that has one."""
    places: tuple[int, ...]
    """Which of the line's figures they are."""
    totals: tuple[tuple[str, int], ...]
    """(column, figure) of the totals in `step 3/100`."""
    checked: bool = False
    """Whether the line is about validation only."""


def cleaned(line: str) -> str:
    """The line without colours and backspaces."""
    return COLOUR.sub("", line) if "\x1b" in line or "\x08" in line else line


def parse(line: str) -> Line:
    """The named figures of a line; the same for every line that differs in its figures only."""
    names: dict[str, int] = {}
    totals: list[tuple[str, int]] = []
    end, last = 0, ""
    for place, match in enumerate(NUMBER.finditer(line)):
        between, end_before, end = line[end : match.start()], end, match.end()
        if between.strip() == "/" and end_before:
            totals += [(last, place)] if last else []
            continue
        last = _name(between, place == 0, line[end : end + 24], match[0])
        if last:
            names.setdefault(last, place)
    checked = _checked(line, names)
    if checked:
        names = {name if _says_which(name) else f"eval {name}": place for name, place in names.items()}
    return Line(tuple(names), tuple(names.values()), tuple(totals), checked)


def _checked(line: str, names: Iterable[str]) -> bool:
    """Whether the line is about validation only: it says so, and no name in it tells two losses apart."""
    words = OF_WHAT.sub(r"\2 \1", NUMBER.sub(" ", line))
    if not CHECKED.search(words) or TRAINED.search(words):
        return False
    return not any("loss" in name.lower() and CHECKED.search(name) for name in names)


def _says_which(name: str) -> bool:
    return normalise(name) in PLACES or bool(CHECKED.search(name))


def _name(between: str, first: bool, after: str, figure: str) -> str:
    """The name of a figure from the text before it; empty when it has none."""
    text = OF_WHAT.sub(r"\2 \1", between)
    if not first and not text[:1].isspace():  # a unit that hangs on the figure before: "12.3ms loss"
        text = UNIT.sub("", text, count=1)
    phrase = DIVIDE.split(text.rstrip(TRAILING))[-1].strip(" \t'\"`*#>-–—:=/\\.%")
    whole, counted = figure.isdigit(), re.match(r"\s*/\s*\d+(?![\d/])", after)
    if phrase and len(phrase) <= LONGEST_NAME and LETTER.search(phrase):
        word = phrase.lower()
        if word in BARE or CHECKED.fullmatch(word):  # "train 6.5", but "Train: 3 [ 10/100]" and "Test: [ 10/100]"
            if whole:
                return "position" if counted else "epoch" if re.match(r"\s*\[", after) else ""
            return "train loss" if word in BARE else "val loss"
        return _shortened(phrase)
    if whole and counted:
        return "position"
    if first and whole and not between.strip() and re.match(r"\s+[|A-Za-z]|\s*[|,:]\s+[A-Za-z]", after):
        return "step"
    return ""


@cache
def _shortened(phrase: str) -> str:
    """The phrase as a column: what is only talk around a usual name is left out."""
    words = [word for word in re.split(r"\s+", phrase.strip("'\"")) if word]
    while len(words) > 1 and words[-1].lower() in FILLERS:
        words.pop()
    lowered = [word.lower().strip("'\":") for word in words]
    if len(words) > 1 and lowered[-1] in STEPS and lowered[-2] in BEFORE_STEPS and "per" not in lowered:
        return lowered[-1]
    for start in range(len(words)):
        if normalise(" ".join(lowered[start:])) in KNOWN and all(map(_neutral, lowered[:start], words)):
            return " ".join(words[start:])
    return " ".join(words[-5:])


def _neutral(word: str, written: str) -> bool:
    """Whether a word before a name is talk, or the name of a logger (`trainer: loss`)."""
    says = word in BARE or CHECKED.fullmatch(word)
    return word in NEUTRAL or (written.endswith(":") and not says)


def numbers(line: str, shape: Line) -> Mapping[str, str]:
    """Column → figure as it is written, for a line of this shape."""
    found = NUMBER.findall(line)
    return {name: found[place] for name, place in zip(shape.names, shape.places, strict=True)}


def template(line: str, shape: Line) -> re.Pattern[str] | None:
    """A pattern that matches whole lines which differ from this one in their figures (and blanks) only, with a group
    for each named figure in order; None for a line that is too wild for one."""
    found = list(NUMBER.finditer(line))
    if len(found) > 60 or len(line) > 2000:
        return None
    parts, end = ["^"], 0
    for place, match in enumerate(found):
        parts.append(_literal(line[end : match.start()]))
        parts.append(f"({IN_PLACE})" if place in shape.places else IN_PLACE)
        end = match.end()
    parts.append(_literal(line[end:]))
    return re.compile("".join([*parts, "$"]), re.MULTILINE)


def pieces(line: str) -> tuple[str, ...]:
    """The fixed text before each figure and behind the last, its outer blanks left out."""
    found = list(NUMBER.finditer(line))
    ends = [0, *(match.end() for match in found)]
    starts = [*(match.start() for match in found), len(line)]
    return tuple(line[end:start].strip(" ") for end, start in zip(ends, starts, strict=True))


def _literal(text: str) -> str:
    """Text between figures: blanks may be more or fewer, as columns are padded; letters and signs are the same."""
    return "".join("[ \\t]*" if part.isspace() else re.escape(part) for part in re.split(r"(\s+)", text) if part)
