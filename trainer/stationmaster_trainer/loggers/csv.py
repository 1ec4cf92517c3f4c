"""`metrics.csv`: a row for each train or eval record, for a spreadsheet. Columns never move; new metrics add some."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..contract import Record, Spec
from ..errors import FormatError
from ..rundir import RunDir
from ._logger import TRAIN_COLUMNS, Scalar, row
from ._textfile import TextFile

FIRST = ("step", "epoch", "samples", "time", *TRAIN_COLUMNS, "eval/loss")


class CsvLogger:
    """Non-finite values stand as NaN, Infinity and -Infinity; a column that a record lacks is empty."""

    def __init__(self, run: RunDir, mark: dict[str, Any]) -> None:
        self.where = run.metrics_csv.name
        self._columns: list[str] = list(mark.get("columns") or FIRST)
        self._file = TextFile(run.metrics_csv, int(mark.get("size", 0)))
        if not mark:
            self._file.append(_line(self._columns))
        elif not _begins_with(run, self._columns):
            self._file.close()
            raise FormatError(f"{run.metrics_csv} has other columns than were written")

    def write(self, record: Record) -> None:
        values = row(record)
        if not values:
            return
        new = [name for name in values if name not in self._columns]
        if new:
            self._add_columns(new)
        self._file.append(_line([_text(values.get(name)) for name in self._columns]))

    def rewind(self, step: int) -> None:
        self._file.replace(lambda old: _until(old, step))

    def flush(self) -> dict[str, Any]:
        return {"size": self._file.flush(), "columns": self._columns}

    def close(self) -> None:
        self._file.close()

    def _add_columns(self, names: list[str]) -> None:
        self._columns = [*self._columns, *names]
        header, rest = _line(self._columns), b"," * len(names)

        def widened(old: Iterable[bytes]) -> Iterator[bytes]:
            lines = iter(old)
            next(lines, None)
            yield header
            for line in lines:
                yield line.rstrip(b"\r\n") + rest + b"\n"

        self._file.replace(widened)


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> CsvLogger:
    return CsvLogger(run, mark)


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _text(value: Scalar | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _until(old: Iterable[bytes], step: int) -> Iterator[bytes]:
    """The header, and the rows up to `step`, which stands in the first column."""
    lines = iter(old)
    header = next(lines, None)
    if header is not None:
        yield header
    for line in lines:
        first = line.partition(b",")[0]
        if not first.isdigit() or int(first) <= step:
            yield line


def _begins_with(run: RunDir, columns: list[str]) -> bool:
    with run.metrics_csv.open("rb") as file:
        return file.readline() == _line(columns)
