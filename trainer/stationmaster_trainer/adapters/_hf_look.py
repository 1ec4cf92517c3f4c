"""What the rows for a text model look like before they are tokenised: copies, turns, answers, groups, times.

Only when a person decides about validation; a run does not look again. Not covered: images and rows of token ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import belonging, dates, texts
from ..columns import Column
from ..copies import EXAMPLES
from ..facts import Finding
from ..table import listed_rows
from ._hf_chat import ASSISTANT, messages_of
from ._hf_columns import IMAGE, Roles
from ._hf_rows import Rows


def of(roles: Roles, train: Rows, val: Rows | None, random: bool, group: str | None, time: str | None) -> list[Finding]:
    """Findings on both parts. random: whether they were drawn from the same rows."""
    found = [] if val is None else _belonging(roles, train, val, random, group, time)
    if roles.kind == IMAGE or roles.form == "input_ids":
        return found
    held = None if val is None else val.numbers
    found += texts.of(said(roles, train), None if val is None else said(roles, val), train.numbers, held)
    if roles.form in ("prompt", "messages"):
        found += texts.contradictions(_asked(roles, train), _answered(roles, train), train.numbers)
    return found + (_turns(roles, train) if roles.form == "messages" else [])


def moments(cells: Sequence[Any]) -> np.ndarray:
    """float64 (N,) of dates as texts, datetimes or numbers; NaN for anything else."""
    if all(isinstance(cell, (int, float)) for cell in cells):
        return np.array(cells, dtype=np.float64)
    return dates.seconds(tuple("" if cell is None else str(cell) for cell in cells))


def said(roles: Roles, rows: Rows) -> Iterator[str]:
    """All that each row says, as one text."""
    names = [roles.columns[role] for role in ("messages", "prompt", "input", "completion") if role in roles.columns]
    names = names or [roles.columns[role] for role in ("text", "text_pair", "words") if role in roles.columns]
    columns = [rows.columns[name] for name in names]
    return ("\n".join(_plain(cells[at]) for cells in columns) for at in range(len(rows)))


def _plain(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        return "\n".join(_content(each) if isinstance(each, dict) else str(each) for each in cell)
    return "" if cell is None else str(cell)


def _content(message: dict[str, Any]) -> str:
    content = message.get("content", message.get("value"))
    return content if isinstance(content, str) else ""


def _asked(roles: Roles, rows: Rows) -> Iterator[str]:
    """The prompt of each row: of a conversation everything before the first answer."""
    if roles.form == "prompt":
        names = [roles.columns[role] for role in ("prompt", "input") if role in roles.columns]
        return ("\n".join(_plain(rows.columns[name][at]) for name in names) for at in range(len(rows)))
    return (
        "\n".join(_content(each) for each in _until_answer(cell)) for cell in rows.columns[roles.columns["messages"]]
    )


def _answered(roles: Roles, rows: Rows) -> Iterator[str]:
    if roles.form == "prompt":
        return (_plain(cell) for cell in rows.columns[roles.columns["completion"]])
    cells = rows.columns[roles.columns["messages"]]
    return ("\n".join(_content(each) for each in (cell or ())[len(_until_answer(cell)) :]) for cell in cells)


def _until_answer(cell: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for message in cell or ():
        if _speaker(message) == ASSISTANT:
            break
        found.append(message)
    return found


def _speaker(message: dict[str, Any]) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    if isinstance(role, str):  # a million of them pass by here
        return role
    try:
        return str(messages_of({"messages": [message]})[0].get("role"))
    except (ValueError, TypeError, AttributeError):
        return ""


def _turns(roles: Roles, rows: Rows) -> list[Finding]:
    """Conversations whose turns are out of order, do not end with an answer, or hold empty ones."""
    odd: dict[str, list[int]] = {}
    for at, cell in enumerate(rows.columns[roles.columns["messages"]]):
        for what in _oddities(cell or ()):
            odd.setdefault(what, []).append(at)
    found = []
    for what, places in odd.items():
        numbers = rows.numbers[np.array(places)]
        message = f"{len(places):,} of {len(rows):,} training conversations {what} ({listed_rows(numbers)})."
        facts = {"rows": len(places), "examples": [["train", int(number)] for number in numbers[:EXAMPLES]]}
        found.append(Finding("turns", "warning", message, "Look at these rows, correct or remove them.", facts))
    return found


def _oddities(messages: Iterable[dict[str, Any]]) -> Iterator[str]:
    speakers = [_speaker(message) for message in messages]
    talk = [speaker for speaker in speakers if speaker not in ("system", "developer")]
    if "system" in speakers[1:]:
        yield "have a system message behind the first turn"
    if talk and talk[0] == ASSISTANT:
        yield "begin with the assistant"
    if talk and talk[-1] == "user":
        yield "end with the user: that turn is not answered"
    if any(one == other and one in ("user", ASSISTANT) for one, other in pairwise(talk)):
        yield "have two turns of the same speaker behind each other"
    answers = [message for message, speaker in zip(messages, speakers, strict=True) if speaker == ASSISTANT]
    if any(not _content(each).strip() and not each.get("tool_calls") for each in answers):
        yield "hold an empty answer"


def _belonging(
    roles: Roles, train: Rows, val: Rows, random: bool, group: str | None, time: str | None
) -> list[Finding]:
    """Columns that are not used as text: groups and times on both sides."""
    found: list[Finding] = []
    for name, cells in train.columns.items():
        if name in roles.columns.values() or name not in val.columns:
            continue
        held = val.columns[name]
        plain = all(isinstance(cell, (str, int, float, type(None))) for cell in [*cells[:20], *held[:20]])
        if name != group and plain and belonging.named(name):
            found += belonging.groups(name, *_codes(cells, held))
        if name != time and (moment := _time(name, cells)) is not None:
            found += belonging.sides(name, moment, _time(name, held), train.numbers, random)
    return found


def _codes(train: Sequence[Any], val: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    index: dict[str, int] = {}
    codes = [-1 if cell is None else index.setdefault(str(cell), len(index)) for cell in (*train, *val)]
    return np.array(codes[: len(train)], dtype=np.int64), np.array(codes[len(train) :], dtype=np.int64)


def _time(name: str, cells: Sequence[Any]) -> np.ndarray | None:
    first = next((cell for cell in cells if cell is not None), None)
    if all(isinstance(cell, (int, float, type(None))) for cell in cells):
        values = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
        return belonging.times(Column(name, "number", values))
    if hasattr(first, "isoformat") or (isinstance(first, str) and dates.PATTERN.fullmatch(first.strip())):
        return belonging.times(Column(name, "date", moments(cells)))
    return None
