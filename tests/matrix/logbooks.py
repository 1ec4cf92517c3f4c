"""What each logger holds of a run, read back by its own library, in one shape: rows by step, configuration, ending."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from read_back import Rows, board, board_rows, csv_rows, ended, figures, joined, trackio_rows, wandb_records, wandb_rows

from stationmaster_trainer import stream
from stationmaster_trainer.contract import Eval, Train
from stationmaster_trainer.rundir import RunDir

SINGLE = 2.0**-24
"""Relative error of the single precision that TensorBoard stores."""


@dataclass(frozen=True)
class Logbook:
    """One logger's account of one run."""

    rows: Rows
    """Step and figures by name, in the order in which they were written; a step that stands twice raises earlier."""
    config: dict[str, Any]
    """Keys of the confirmed configuration; values may be text."""
    ending: dict[str, Any]
    """How the run ended: `state`, `best_step`, …; values may be text."""
    tolerance: float = 0.0
    """Relative error of the stored figures."""

    def at(self, step: int) -> dict[str, float]:
        """The figures of one step; KeyError when it is missing."""
        return dict(self.rows)[step]


def read_all(run: RunDir, backends: tuple[str, ...]) -> dict[str, Logbook | Exception]:
    """By backend, once no process works for the run any more; an exception where reading failed."""
    places = {name: state.where for name, state in ended(run).items()}
    found: dict[str, Logbook | Exception] = {}
    for backend in backends:
        try:
            found[backend] = READERS[backend](run, places)
        except Exception as error:
            found[backend] = error
    return found


def told(run: RunDir, attempt: int | None = None) -> Rows:
    """The truth: what the worker has told, of one attempt or of the whole run without what was superseded."""
    one = stream.records(run.attempt(attempt).stream) if attempt else (record for _, record in stream.merged(run))
    return joined([(record.step, _figures(record)) for record in one if isinstance(record, (Train, Eval))])


def same_figures(left: dict[str, float], right: dict[str, float], tolerance: float) -> bool:
    """Whether both have the same names and values, NaN equal to NaN."""
    return left.keys() == right.keys() and all(
        math.isclose(left[name], right[name], rel_tol=tolerance) or left[name] != left[name] != right[name]
        for name in left
    )


def _figures(record: Train | Eval) -> dict[str, float]:
    """Names as the ecosystem has them."""
    if isinstance(record, Eval):
        return {"eval/loss": record.loss, **{f"eval/{name}": value for name, value in record.metrics.items()}}
    names = ("loss", "loss_max", "loss_min", "learning_rate", "samples_per_second", "nonfinite", "skipped")
    assert record.grad_norm is not None and record.grad_norm_max is not None
    norms = {"train/grad_norm": record.grad_norm, "train/grad_norm_max": record.grad_norm_max}
    return {**{f"train/{name}": float(getattr(record, name)) for name in names}, **norms}


def _file(run: RunDir, places: dict[str, str]) -> Logbook:
    lines = [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]
    rows = csv_rows(run)
    assert joined([(line["step"], figures(line)) for line in lines]) == rows, "metrics.jsonl differs from metrics.csv"
    status = json.loads(run.status.read_text())
    best = status["best"] or {}
    ending = {"state": status["state"], "best_step": best.get("step"), f"best/{best.get('metric')}": best.get("value")}
    assert (places["csv"], places["json"]) == ("metrics.csv", "metrics.jsonl")
    return Logbook(rows, yaml.safe_load(run.config.read_text()), ending)


def _tensorboard(run: RunDir, places: dict[str, str]) -> Logbook:
    reader = board(run)
    (last,) = reader.Tensors("ending")[-1].tensor_proto.string_val
    (config,) = reader.Tensors("config")[-1].tensor_proto.string_val
    return Logbook(board_rows(run), _table(config), _table(last), SINGLE)


def _wandb(run: RunDir, places: dict[str, str]) -> Logbook:
    records = wandb_records(run.path / places["wandb"])
    first = next(record["run"] for record in records if record["type"] == "run")
    ending: dict[str, Any] = {}
    for record in records:
        if record["type"] == "summary":
            ending |= record["summary"]["update"]
    return Logbook(wandb_rows(records), first["config"]["update"], ending)


def _trackio(run: RunDir, places: dict[str, str]) -> Logbook:
    database: Path = run.path / places["trackio"]
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        ((text,),) = connection.execute("SELECT config FROM configs").fetchall()
    connection.close()
    config = json.loads(text)
    return Logbook(trackio_rows(database), config, config["summary"])


READERS: dict[str, Callable[[RunDir, dict[str, str]], Logbook]] = {
    "file": _file,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}


def _table(text: bytes) -> dict[str, str]:
    """A Markdown table of two columns."""
    lines = [line.strip("| ").split(" | ", 1) for line in text.decode().splitlines()[2:]]
    return {line[0]: line[1] for line in lines}
