"""Which figures by name are those of a validation, and which of them is its loss: only what a name says for certain."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_HELD_OUT = re.compile(r"^(val|valid|validation|eval|dev)[_/. ](.+)$", re.IGNORECASE)


def held_out(values: Mapping[str, Any]) -> dict[str, float]:
    """Those whose name begins with `val_`, `eval/`, … and that are numbers, without this beginning."""
    found = {}
    for name, value in values.items():
        match = _HELD_OUT.match(name)
        number = plain(value)
        if match and number is not None:
            found[match[2]] = number
    return found


def split(figures: Mapping[str, float]) -> tuple[float | None, dict[str, float]]:
    """The loss and the others. The loss is `loss`, or the only one whose name ends so; else there is none."""
    ends = [name for name in figures if name == "loss"] or [
        name for name in figures if re.search(r"(^|[_/. ])loss$", name)
    ]
    if len(ends) != 1:
        return None, dict(figures)
    return figures[ends[0]], {name: value for name, value in figures.items() if name != ends[0]}


def plain(value: Any) -> float | None:
    """The number as a float; None for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return None if isinstance(value, (str, bytes)) else number


def whole(value: Any) -> int:
    """A finite positive number as an integer; 0 for None, -1 and infinity, by which libraries say `no limit`."""
    number = plain(value)
    return int(number) if number is not None and math.isfinite(number) and number > 0 else 0
