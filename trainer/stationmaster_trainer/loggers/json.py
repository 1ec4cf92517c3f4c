"""`metrics.jsonl`: the same figures as `metrics.csv`, one strict JSON object for each row; and what rules did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from .. import codec
from ..contract import Action, Record, Spec
from ..rundir import RunDir
from ._logger import row
from ._textfile import TextFile


class JsonLogger:
    """Non-finite values stand as the strings NaN, Infinity and -Infinity."""

    def __init__(self, run: RunDir, mark: dict[str, Any]) -> None:
        self.where = run.metrics_jsonl.name
        self._file = TextFile(run.metrics_jsonl, int(mark.get("size", 0)))

    def write(self, record: Record) -> None:
        values = _action(record) if isinstance(record, Action) else row(record)
        if values:
            self._file.append(codec.dumps(values).encode() + b"\n")

    def rewind(self, step: int) -> None:
        self._file.replace(lambda old: _until(old, step))

    def flush(self) -> dict[str, Any]:
        return {"size": self._file.flush()}

    def close(self) -> None:
        self._file.close()


def open(run: RunDir, spec: Spec, mark: dict[str, Any]) -> JsonLogger:
    return JsonLogger(run, mark)


def _action(record: Action) -> dict[str, Any]:
    """A row of its own: it has no figures of the training, and its step is the one that the run then stands at."""
    names: tuple[str, ...] = ("action", "rule", "message", "first_step", "last_step")
    if record.action == "rollback":
        names += ("checkpoint", "skipped_first", "skipped_last", "rate_factor")
    plain = {name: getattr(record, name) for name in names}
    return {"step": record.step, "time": round(record.time, 3), **plain}


def _until(old: Iterable[bytes], step: int) -> Iterator[bytes]:
    return (line for line in old if json.loads(line)["step"] <= step)
