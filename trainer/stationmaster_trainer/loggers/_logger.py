"""The seam of a logger: what a file in this folder offers, and the names under which figures are logged.

A logger module has `open(run, spec, mark)` and returns an object with the methods of `Logger`. `memory.py` is its fake.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from .. import codec, rundir
from ..contract import Eval, LoggerState, Record, Spec, Status, Train
from ..errors import FormatError
from ..rundir import RunDir

Scalar = float | int

TRAIN_COLUMNS = (
    "train/loss",
    "train/loss_max",
    "train/loss_min",
    "train/grad_norm",
    "train/grad_norm_max",
    "train/learning_rate",
    "train/samples_per_second",
    "train/nonfinite",
    "train/skipped",
)


class Logger(Protocol):
    """One logger of one run, used by one thread. After any exception it is degraded, and opened again from its mark.

    `open` gets the mark of the last `flush` that was recorded, and must take back everything written after it; an empty
    mark means: begin anew. It raises FormatError when what it finds does not fit the mark, and is then opened with an
    empty one.
    """

    where: str
    """Path relative to the run folder (absolute where the user chose another place), or a URL.

    Beside it a logger may have `message`, something worth telling although it works, and `state`, which is `ok`
    otherwise.
    """

    def write(self, record: Record) -> None:
        """Takes any record that counts; a logger picks those that it can show."""

    def rewind(self, step: int) -> None:
        """The run continues from `step`: what was written for later steps is superseded."""

    def flush(self) -> dict[str, Any]:
        """Hands everything to the system, and returns the mark (plain JSON values) of this place."""

    def close(self) -> None:
        """Ends; may take long where a network is involved."""


def scalars(record: Record) -> dict[str, Scalar]:
    """The figures of a train or eval record by their usual names; empty for other records. Some may be non-finite.

    A learning rate that is NaN is one that was not seen.
    """
    if isinstance(record, Train):
        found = {name: getattr(record, name.partition("/")[2]) for name in TRAIN_COLUMNS}
        if math.isnan(record.learning_rate):
            del found["train/learning_rate"]
        return {name: value for name, value in found.items() if value is not None}
    if isinstance(record, Eval):
        return {"eval/loss": record.loss, **{f"eval/{name}": value for name, value in record.metrics.items()}}
    return {}


def row(record: Record) -> dict[str, Scalar]:
    """`scalars` with the step, the epoch and the time; empty for a record without figures."""
    figures = scalars(record)
    if not figures:
        return {}
    place: dict[str, Scalar] = {"step": getattr(record, "step", 0)}
    if isinstance(record, Train):
        place |= {"epoch": record.epoch, "samples": record.samples}
    return {**place, "time": round(record.time, 3), **figures}


def state_of(name: str, logger: Any) -> LoggerState:
    """What a logger says of itself."""
    return LoggerState(name, logger.where, getattr(logger, "state", "ok"), getattr(logger, "message", ""))


def config_of(spec: Spec) -> dict[str, Any]:
    """The confirmed configuration as a tool shows it, and below `data` what was measured before the start."""
    facts = {key: value for key, value in asdict(spec.facts).items() if key != "classes"}
    plain: dict[str, Any] = codec.to_plain({**asdict(spec.config), "data": facts})
    return plain


def ending_of(run: RunDir) -> Status | None:
    """The newest attempt's last status; None while it goes on, or when nobody could write it."""
    attempts = run.attempts()
    try:
        return codec.loads(Status, rundir.read(attempts[-1].final), "final.json") if attempts else None
    except (OSError, FormatError):
        return None


def from_run(path: Path) -> str:
    """An absolute path as seen from the run folder, which is the recorder's working folder, if it lies in there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def from_project(spec: Spec, path: Path) -> str:
    """An absolute path as seen from the project, where a person types commands, if it lies in there."""
    inside = path.is_relative_to(Path.cwd())
    return str(Path(rundir.RUNS, spec.config.run_name, path.relative_to(Path.cwd()))) if inside else str(path)


def summary_of(status: Status) -> dict[str, Any]:
    """How a run ended, under the names that its page or table shows."""
    found: dict[str, Any] = {"state": status.state, "cause": status.cause or "", "total_steps": status.total_steps}
    if status.best is not None:
        found |= {"best_step": status.best.step, f"best/{status.best.metric}": status.best.value}
    return found


class StepRows:
    """Joins the records of one step into one row; a row is complete when a later step comes, or at the end."""

    def __init__(self) -> None:
        self._step = -1
        self._row: dict[str, Scalar] = {}

    def add(self, record: Record) -> tuple[int, dict[str, Scalar]] | None:
        """Takes a record in; returns the row of the step before, if this record has completed it."""
        figures = scalars(record)
        if not figures:
            return None
        step = int(getattr(record, "step", 0))
        done = None if step == self._step else self.rest()
        epoch = {"train/epoch": record.epoch} if isinstance(record, Train) else {}
        self._step = step
        self._row |= {**figures, **epoch, "train/global_step": step, "_timestamp": record.time}
        return done

    def rest(self) -> tuple[int, dict[str, Scalar]] | None:
        """The row that is not complete yet; it is forgotten."""
        row, self._row = self._row, {}
        return (self._step, row) if row else None
