"""TensorBoard event files, read without TensorBoard: one file, or the folder of a run with all its files.

Files of one run are joined: what a later file does again takes the place of what an earlier one did. The folders that
Keras (`train`, `validation`) and `add_scalars` (`loss_train`) make beside or below belong to the run. Values are as
exact as the file has them: nearly always single precision.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from . import _crc32c, _lines
from ._events import Events, Series
from ._names import NAMES, ROLES, TRAINING, VALIDATION, Row, metric_columns, normalise, recognise, useful
from ._reading import Mapping, Reading
from ._table import SAMPLE, Layout, reading

RANK = 40
"""Place among the readers that are asked whether they know a file or folder."""
STEP = "step"


def accepts(path: Path) -> bool:
    """Whether it is an event file, or a folder with event files of one run."""
    return bool(_own(path) or sides(path)) if path.is_dir() else _is_events(path)


def read(path: Path, mapping: Mapping = None) -> Reading:
    """Reads all scalars that could matter, then gives them step by step.

    Raises FormatError for what cannot be read or holds no loss, ConfigError for a mapping that does not fit.
    """
    series, seen, notes, skipped = _joined(path, mapping)
    if not seen:
        detail = notes[0] if notes else "no scalar was written"
        raise FormatError(f"{path} holds no scalars: {detail}.", "Give the folder that the writer was given.")
    named = {role: column for role, column in (mapping or {}).items() if role != "step"}
    columns = recognise(seen, named)
    roles = [column for role, column in columns.items() if role in ROLES[2:6]]
    used = list(dict.fromkeys([part for column in roles for part in (column, *column.split("+"))]))
    used += list(metric_columns(seen, columns))
    kept = {name: series[name] for name in used if name in series}
    loss = columns.get("loss") or columns.get("eval_loss") or ""
    block = _aligned(kept, loss.split("+")[0], notes)
    names = [STEP, *seen]
    head: list[Row] = [block.row(place) for place in range(min(SAMPLE, block.size))]
    head = [{name: (head[0].get(name) if head else None) for name in names}, *head[1:]]
    layout = Layout("TensorBoard event files", sparse=True, rows=block.size)
    found = reading(path, layout, head, lambda _: iter([block]), {**named, "step": STEP})
    found.notes = [*notes, *found.notes]
    found.skipped = skipped
    found.ignored = [name for name in found.ignored if name != STEP]
    return found


def _is_events(path: Path) -> bool:
    if "tfevents" in path.name:
        return True
    try:
        _lines.plain(path)
        with path.open("rb") as file:
            start = file.read(12)
    except (OSError, FormatError):
        return False
    return len(start) == 12 and _crc32c.masked(start[:8]) == int.from_bytes(start[8:], "little")


def _own(folder: Path) -> list[Path]:
    """The event files that lie in the folder, oldest first: their names begin with the time."""
    try:
        return sorted(path for path in folder.iterdir() if "tfevents" in path.name and _lines.inside(path))
    except OSError:
        return []


def sides(folder: Path) -> list[Path]:
    """Folders below that belong to the same run."""
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [path for path in below if _is_side(path.name) and _own(path)]


def _is_side(name: str) -> bool:
    plain = normalise(name)
    return plain in VALIDATION | TRAINING or plain in NAMES["loss"] or plain in NAMES["eval_loss"]


def _joined(path: Path, mapping: Mapping) -> tuple[dict[str, Series], list[str], list[str], int]:
    """(series by tag, every tag seen, notes, damaged records) of a file, or of a folder and its sides."""
    groups = {"": _own(path), **{side.name: _own(side) for side in sides(path)}} if path.is_dir() else {"": [path]}
    series: dict[str, Series] = {}
    seen: list[str] = []
    notes: list[str] = []
    skipped = points = 0
    for side, files in groups.items():
        for file in files:
            events = Events(lambda tag, side=side: useful(_column(side, tag), mapping), points=points)  # type: ignore[misc]
            events.read(file)
            points, skipped = events.points, skipped + events.skipped
            notes += [events.damage] if events.damage else []
            seen += sorted(_column(side, tag) for tag in events.seen)
            for tag, later in events.series.items():
                _join(series, _column(side, tag), later, file.name, notes)
    return series, list(dict.fromkeys(seen)), notes, skipped


def _column(side: str, tag: str) -> str:
    """`validation/epoch_loss` for Keras's folders; the folder alone where it says everything (`loss_val`)."""
    if not side:
        return tag
    return side if normalise(side).startswith(f"{normalise(tag)}_") else f"{side}/{tag}"


def _join(series: dict[str, Series], column: str, later: Series, name: str, notes: list[str]) -> None:
    if not later.steps:
        return
    if column not in series:
        series[column] = later
        return
    lost = series[column].cut(later.steps[0])
    if lost:
        notes.append(f"{name} begins {column} again at step {later.steps[0]:,}: {lost:,} earlier points are left out")
    series[column].steps.extend(later.steps)
    series[column].values.extend(later.values)


@dataclass(frozen=True)
class _Aligned:
    """All series on one sequence of steps; None where a series has no point."""

    steps: Sequence[int]
    cells: dict[str, Sequence[Any]]

    @property
    def size(self) -> int:
        return len(self.steps)

    def column(self, name: str) -> Sequence[Any] | None:
        return self.steps if name == STEP else self.cells.get(name)

    def row(self, place: int) -> Row:
        found = {name: cells[place] for name, cells in self.cells.items()}
        return {STEP: self.steps[place], **{name: value for name, value in found.items() if value is not None}}


def _aligned(series: dict[str, Series], loss: str, notes: list[str]) -> _Aligned:
    """The series by step. Where the steps of the loss begin anew (with each epoch), its points are counted instead."""
    if loss not in series:
        return _Aligned([], {})
    main = series[loss]
    if len(set(main.steps)) < 0.9 * len(main.steps):
        notes.append(f"the steps of {loss} repeat: its points are counted instead")
        total = len(main.steps)
        placed = {name: _spread(one, total) for name, one in series.items()}
    else:
        placed = {name: (_epochs(one, main, notes, name), one.values) for name, one in series.items()}
    base = list(placed[loss][0])
    known = set(base)
    more = set[int]().union(*(set(steps) - known for steps, _ in placed.values()))
    if more or sorted(known) != base:
        base = sorted(known | more)
    cells: dict[str, Sequence[Any]] = {}
    for name, (steps, values) in placed.items():
        if len(steps) == len(base) and list(steps) == base:
            cells[name] = values.tolist()
        else:
            cells[name] = list(map(dict(zip(steps, values, strict=True)).get, base))
    return _Aligned(base, cells)


def _spread(one: Series, total: int) -> tuple[Sequence[int], Any]:
    """A series counted: its points evenly over `total`."""
    count = len(one.steps)
    return [(place + 1) * total // count for place in range(count)], one.values


def _epochs(one: Series, main: Series, notes: list[str], name: str) -> Sequence[int]:
    """The series' steps. Validations by epoch (1, 2, 3, …) beside a loss by step are put where the epochs end."""
    steps, most = one.steps, max(main.steps)
    few = len(steps) > 1 and max(steps) - min(steps) == len(steps) - 1 and max(steps) * 20 < most
    if not few or one is main or not bisect_left(main.steps, max(steps) + 1) * 20 < len(main.steps):
        return steps
    notes.append(f"{name} is written by epoch, the loss by step: spread over the steps")
    return [most * (place + 1) // len(steps) for place in range(len(steps))]
