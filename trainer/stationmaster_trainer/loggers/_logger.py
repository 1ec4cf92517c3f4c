"""The seam of a logger: what a file in this folder offers, and the names under which figures are logged.

A logger module has `open(run, spec, mark)` and returns an object with the methods of `Logger`. `memory.py` is its fake.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..contract import Eval, Record, Train

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
    """Path relative to the run folder, or a URL."""

    def write(self, record: Record) -> None:
        """Takes any record that counts; a logger picks those that it can show."""

    def rewind(self, step: int) -> None:
        """The run continues from `step`: what was written for later steps is superseded."""

    def flush(self) -> dict[str, Any]:
        """Hands everything to the system, and returns the mark (plain JSON values) of this place."""

    def close(self) -> None:
        """Ends; may take long where a network is involved."""


def scalars(record: Record) -> dict[str, Scalar]:
    """The figures of a train or eval record by their usual names; empty for other records. Some may be non-finite."""
    if isinstance(record, Train):
        found = {name: getattr(record, name.partition("/")[2]) for name in TRAIN_COLUMNS}
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
