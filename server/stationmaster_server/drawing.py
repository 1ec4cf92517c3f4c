"""A run's loss curves as one SVG file, written by hand: no plotting library, no script, no font of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar
from xml.sax.saxutils import escape  # nosec B406 # only writes XML

from .charts import Points, Scale, even_step
from .words import number

Row = TypeVar("Row")
Place = Callable[[float], float]
"""A value or a step to its coordinate in the picture."""

WIDTH, HEIGHT = 760, 400
MOST_MARKS = 60
LEFT, RIGHT, TOP, BOTTOM = 64, 40, 64, 44
TRAIN, VALIDATION = "#2563eb", "#d97706"
SEVERITIES = {"critical": "#b91c1c", "warning": "#c2410c", "info": "#64748b"}


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step, drawn as a vertical line with a label."""

    step: int
    label: str
    severity: str = "info"


@dataclass(frozen=True)
class Picture:
    """What the SVG shows of one run."""

    title: str
    train: Points
    """(step, mean train loss)."""
    band: Sequence[tuple[int, float, float]]
    """(step, smallest, largest train loss around it): drawn faint behind the line."""
    validation: Points
    best: tuple[int, float] | None = None
    """The best validation, ringed."""
    marks: Sequence[Mark] = ()
    bad_steps: Sequence[int] = ()
    """Steps whose loss or gradient norm was not finite."""
    resumed: Sequence[int] = ()
    """Steps at which a later attempt continued."""
    total_steps: int = 0
    """Planned steps: the end of the horizontal axis, when the run did not go beyond it."""


def svg(picture: Picture) -> str:
    """The picture as one SVG document; text of a run's own in it (names, labels) is escaped."""
    scale = Scale.of([value for _, value in (*picture.train, *picture.validation)])
    body = _empty() if scale is None else _drawn(picture, _padded(scale))
    return "\n".join([*_frame(picture.title), *body, "</svg>", ""])


def _padded(scale: Scale) -> Scale:
    if scale.log:
        room = (scale.high / scale.low) ** 0.05
        return Scale(scale.low / room, scale.high * room, True)
    room = (scale.high - scale.low) * 0.06
    return Scale(scale.low - room, scale.high + room, False)


def _frame(title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif" font-size="12" fill="#334155">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="600" fill="#0f172a">{escape(title)}</text>',
    ]


def _empty() -> list[str]:
    return [f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">No finite loss was recorded.</text>']


def _drawn(picture: Picture, scale: Scale) -> list[str]:
    last = max([picture.total_steps, 1, *(step for step, _ in (*picture.train, *picture.validation))])

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale.share(value)

    parts = [*_grid(scale, last, x, y), *_legend(picture, scale), *_band(picture.band, x, y)]
    parts += [_resumed(step, x(step), index) for index, step in enumerate(picture.resumed)]
    parts += _marks(picture.marks, x)
    parts += _line(picture.train, TRAIN, x, y)
    parts += _line(picture.validation, VALIDATION, x, y)
    parts += _dots(picture, x, y)
    return parts


def _grid(scale: Scale, last: int, x: Place, y: Place) -> list[str]:
    """Horizontal lines with the loss at the left, small ticks with the step below."""
    right, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in scale.ticks():
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value)}</text>')
    step = max(1, round(even_step(last, 6)))
    for tick in range(0, last + 1, step):
        parts.append(f'<path d="M{x(tick):.1f} {foot}v5" stroke="#94a3b8"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{foot + 18}" text-anchor="middle">{tick:,}</text>')
    parts.append(f'<path d="M{LEFT} {foot}H{right}" stroke="#94a3b8"/>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">optimizer step</text>')
    return parts


def _legend(picture: Picture, scale: Scale) -> list[str]:
    names = [("train loss (faint: range of single steps)", TRAIN, 270)]
    names += [("validation loss", VALIDATION, 0)] if picture.validation else []
    parts, at = [], LEFT
    for name, colour, width in names:
        parts.append(f'<path d="M{at} 44h18" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{at + 24}" y="48">{name}</text>')
        at += width
    if scale.log:
        parts.append(f'<text x="{WIDTH - RIGHT}" y="48" text-anchor="end" fill="#64748b">logarithmic scale</text>')
    return parts


def _band(band: Sequence[tuple[int, float, float]], x: Place, y: Place) -> list[str]:
    """The range of the single steps, as one closed outline for each stretch of finite values."""
    parts = []
    for stretch in _stretches(list(band), lambda row: math.isfinite(row[1]) and math.isfinite(row[2])):
        upper = [f"{x(step):.1f} {y(high):.1f}" for step, _, high in stretch]
        lower = [f"{x(step):.1f} {y(low):.1f}" for step, low, _ in reversed(stretch)]
        parts.append(f'<path d="M{"L".join(upper + lower)}Z" fill="{TRAIN}" fill-opacity="0.11"/>')
    return parts


def _line(points: Points, colour: str, x: Place, y: Place) -> list[str]:
    """The curve, interrupted where a value is not finite."""
    parts = []
    for stretch in _stretches(list(points), lambda point: math.isfinite(point[1])):
        path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in stretch)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>')
    return parts


def _dots(picture: Picture, x: Place, y: Place) -> list[str]:
    """A dot per validation while they are few, a ring around the best, a cross where the train loss was not finite."""
    parts = []
    if len(picture.validation) <= 40:
        finite = [(step, value) for step, value in picture.validation if math.isfinite(value)]
        parts += [f'<circle cx="{x(s):.1f}" cy="{y(v):.1f}" r="2.6" fill="{VALIDATION}"/>' for s, v in finite]
    if picture.best is not None and math.isfinite(picture.best[1]):
        step, value = picture.best
        at = f'cx="{x(step):.1f}" cy="{y(value):.1f}"'
        parts.append(
            f'<circle {at} r="6" fill="none" stroke="{VALIDATION}" stroke-width="2"><title>best</title></circle>'
        )
    return parts + _crosses([x(step) for step in picture.bad_steps])


def _crosses(places: Sequence[float]) -> list[str]:
    """A cross at the foot for every place that is not covered by the one before it."""
    parts, last, foot = [], -math.inf, HEIGHT - BOTTOM
    for at in places:
        if at - last >= 7:
            parts.append(f'<path d="M{at - 3:.1f} {foot - 6}l6 6m0 -6l-6 6" stroke="{SEVERITIES["critical"]}"/>')
            last = at
    return parts


def _resumed(step: int, at: float, index: int) -> str:
    y = HEIGHT - BOTTOM - 6 - 13 * (index % 3)
    label = f'<text x="{at + 4:.1f}" y="{y}" font-size="11" fill="#64748b">resumed at {step:,}</text>'
    return f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#64748b" stroke-dasharray="4 3"/>{label}'


def _marks(marks: Sequence[Mark], x: Place) -> list[str]:
    """A line per mark. Its label stands at the first of its name, with their number, in the first of four free rows."""
    parts, taken = [], [-math.inf] * 4
    numbers = Counter(mark.label for mark in marks)
    for mark in sorted(marks, key=lambda mark: mark.step)[:MOST_MARKS]:
        at, colour = x(mark.step), SEVERITIES.get(mark.severity, SEVERITIES["info"])
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{colour}" stroke-opacity="0.5"/>')
        number_ = numbers.pop(mark.label, 0)
        label = f"{mark.label} ({number_} times)" if number_ > 1 else mark.label
        width = 6.2 * len(label) + 10
        fits = at + width < WIDTH - RIGHT
        start = at if fits else at - width
        row = next((row for row, end in enumerate(taken) if start > end), None)
        if row is None or not number_:
            continue
        taken[row] = start + width
        place = f'x="{at + (4 if fits else -4):.1f}" y="{TOP + 11 + 14 * row}"'
        anchor = "start" if fits else "end"
        parts.append(
            f'<text {place} font-size="11" text-anchor="{anchor}" fill="{colour}" stroke="#ffffff" stroke-width="3" '
            f'paint-order="stroke">{escape(label)}</text>'
        )
    return parts


def _stretches(rows: list[Row], wanted: Callable[[Row], bool]) -> list[list[Row]]:
    """Neighbouring rows that are wanted, stretch by stretch."""
    return [list(group) for keep, group in groupby(rows, wanted) if keep]
