"""Cells of dates and times as seconds, so that they stand in the order of time however they are written."""

from __future__ import annotations

import datetime as calendar
import re

import numpy as np

PATTERN = re.compile(
    r"(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|\d{4}/\d{1,2}/\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)? ?(Z|[AaPp][Mm]|[+-]\d{2}:?\d{2})?"
)
"""What is taken for a date: year first with - or /, else with / or . between its numbers; maybe a time and a zone."""
_ODD = re.compile(r"[^\d\n:.T -]|\d-\d\d:?\d\d$|^ | $", re.MULTILINE)


def seconds(texts: tuple[str, ...]) -> np.ndarray:
    """float64 (N,): seconds since 1970, UTC where a zone is given; NaN for what is no date.

    Of 03/04/2021 the first number is the month, unless a cell of the column has one above 12 there; of 03.04.2021 it
    is the day. Years of two digits are those from 1970 to 2069.
    """
    plain = _plain(texts)
    if plain is not None:
        return plain
    matches = [PATTERN.fullmatch(text.strip()) for text in texts]
    day_first = any(match and re.match(r"(1[3-9]|[23]\d)/\d{1,2}/", match[1]) for match in matches)
    return np.array([_second(match, day_first) if match else np.nan for match in matches], dtype=np.float64)


def _plain(texts: tuple[str, ...]) -> np.ndarray | None:
    """Many texts at once where all are written as numpy reads them: year first, two digits each, no zone."""
    together = "\n".join(texts)
    if not texts or _ODD.search(together):
        return None
    try:
        return np.array(texts, dtype="datetime64[ms]").astype(np.int64) / 1e3
    except ValueError:
        return None


def _second(match: re.Match[str], day_first: bool) -> float:
    date, hour, minute, second, fraction, mark = match.groups()
    numbers = [int(number) for number in re.split(r"[-/.]", date)]
    if re.match(r"\d{4}", date):
        year, month, day = numbers
    else:
        first, other, year = numbers
        day, month = (first, other) if day_first or "." in date else (other, first)
        year += 0 if year >= 100 else (1900 if year >= 70 else 2000)
    try:
        at = calendar.datetime(year, month, day, tzinfo=calendar.timezone.utc).timestamp()
    except ValueError:
        return float("nan")
    hours = int(hour or 0)
    if mark and mark.lower() in ("am", "pm"):
        hours = hours % 12 + (12 if mark.lower() == "pm" else 0)
    at += 3600 * hours + 60 * int(minute or 0) + int(second or 0) + float(f"0.{fraction or 0}")
    return at - _zone(mark or "")


def _zone(mark: str) -> float:
    """Seconds east of Greenwich that `+02:00` or `-0530` stands for."""
    if mark[:1] not in ("+", "-"):
        return 0.0
    digits = mark[1:].replace(":", "")
    return (3600 * int(digits[:2]) + 60 * int(digits[2:])) * (1.0 if mark[0] == "+" else -1.0)
