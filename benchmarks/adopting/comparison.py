"""What was recorded beside what the script printed itself, in the words of one row of the table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .case import Case, Printed
from .visit import Seen, Stopped

COLUMNS = ("steps", "loss", "learning rate", "gradient norm", "validation", "end state", "stop")


@dataclass(frozen=True)
class Row:
    """One script's line of the table."""

    cells: tuple[str, ...]
    """In the order of `COLUMNS`."""
    wrong: tuple[str, ...]
    """What does not agree with the script's own words; empty when all does."""


def row(case: Case, seen: Seen | None, stopped: Stopped | None, trouble: str = "") -> Row:
    """`trouble` is why something could not be done."""
    wrong: list[str] = [trouble] if trouble else []
    if seen is None:
        return Row(("–",) * 6 + (_stop(stopped, wrong),), tuple(wrong))
    cells = (
        _steps(case, seen, wrong),
        _figure(case, seen, "train/loss", wrong),
        _figure(case, seen, "train/learning_rate", wrong),
        _figure(case, seen, "train/grad_norm", wrong),
        _validation(case, seen, wrong),
        seen.state + (f" ({seen.cause})" if seen.cause else ""),
        _stop(stopped, wrong),
    )
    if seen.state != ("stopped" if case.endless else "succeeded"):
        wrong.append(f"{seen.state}: {seen.message[:200]}")
    return Row(cells, tuple(wrong))


def values(seen: Seen, column: str) -> dict[int, float]:
    """Step → value of the rows that have one; a non-finite value as it is."""
    return {int(row["step"]): float(row[column]) for row in seen.rows if row.get(column)}


def _steps(case: Case, seen: Seen, wrong: list[str]) -> str:
    steps = max((int(row["step"]) for row in seen.rows if row.get("step")), default=0)
    if case.steps is None:
        return f"{steps:,}" if steps else "–"
    if steps != case.steps:
        wrong.append(f"{steps} steps were seen, the script makes {case.steps}")
    return f"{steps:,} of {case.steps:,}"


def _figure(case: Case, seen: Seen, column: str, wrong: list[str]) -> str:
    there = values(seen, column)
    if not there:
        return "–"
    misses: dict[int, float] = {}
    for printed in (one for one in case.printed if one.column == column):
        for step, said, tolerance in printed.found(seen.output):
            recorded = _mean(there, step - printed.every, step) if printed.mean else there.get(step)
            if recorded is not None:
                difference = abs(recorded - said)
                miss = 0.0 if difference <= tolerance else difference
                misses[step] = min(miss, misses.get(step, math.inf))  # each rank prints its own
        if not misses:
            wrong.append(f"nothing that the script printed of {column} could be placed")
    compared, away = len(misses), max(misses.values(), default=0.0)
    if away:
        wrong.append(f"{column}: up to {away:.3g} away from what was printed")
        return f"{compared} compared, up to {away:.2g} away"
    return f"{compared} = printed" if compared else f"{len(there):,} seen"


def _mean(there: dict[int, float], after: int, last: int) -> float | None:
    """Of the rows of the steps after `after` up to `last`, each the mean of the steps since the row before it."""
    ends = sorted(step for step in there if after < step <= last)
    if not ends or ends[-1] != last or (after and after not in there):
        return None
    return sum(there[end] * (end - begin) for begin, end in zip([after, *ends], ends, strict=False)) / (last - after)


def _validation(case: Case, seen: Seen, wrong: list[str]) -> str:
    if case.validates != seen.found_validation:
        wrong.append(f"validation found in the source: {seen.found_validation}, the script has one: {case.validates}")
    names = [name for name in (seen.rows[0] if seen.rows else {}) if name.startswith("eval/")]
    found = {name: list(values(seen, name).values()) for name in names}
    figures = {name: some for name, some in found.items() if some}
    for printed in (one for one in case.printed if one.column.startswith("eval/")):
        _agree(printed, figures.get(printed.column, []), seen.output, wrong)
    noticed = "found before" if seen.found_validation else "none found before"
    told = "; ".join(f"{name} {len(some)}" for name, some in figures.items() if any(map(math.isfinite, some)))
    return f"{noticed}; {told}" if told else f"{noticed}, no figures"


def _agree(printed: Printed, there: list[float], output: str, wrong: list[str]) -> None:
    said = printed.found(output)
    if len(said) != len(there) or any(abs(a - b[1]) > b[2] for a, b in zip(there, said, strict=False)):
        wrong.append(f"{printed.column}: {len(there)} seen {there[:3]}, {len(said)} printed {[b[1] for b in said[:3]]}")


def _stop(stopped: Stopped | None, wrong: list[str]) -> str:
    if stopped is None:
        return "–"
    if stopped.left:
        wrong.append(f"{stopped.left} processes lived on after the stop")
    if stopped.state != "stopped":
        wrong.append(f"asked to stop, it was {stopped.state}")
    return f"{stopped.state} in {stopped.seconds:.0f} s, {stopped.left} left"
