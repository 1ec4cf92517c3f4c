"""What TensorBoard, W&B and trackio hold of a run is what metrics.csv holds, read back by their own means."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, until
from read_back import (
    board,
    board_rows,
    csv_rows,
    ended,
    same,
    trackio_rows,
    wandb_records,
    wandb_rows,
    working_recorder,
)

from stationmaster_server import runs
from stationmaster_server.page import summarize
from stationmaster_trainer import stream

SECRET = "0badc0ffee0badc0ffee0badc0ffee0badc0ffee"
ALL = ("file", "tensorboard", "wandb", "trackio")


def test_every_logger_holds_the_figures_of_the_file_and_no_secret(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "HF_TOKEN", "TRACKIO_WRITE_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = bench.start("digits", total_steps=100, log_every=1, fault="nan", at=15, logging=ALL)
    until(run, "succeeded", 60)
    told = ended(run)
    assert {state.state for state in told.values()} == {"ok"}
    rows = csv_rows(run)
    assert [step for step, _ in rows] == list(range(1, 101)) and math.isnan(rows[14][1]["train/loss"])
    records = wandb_records(run.path / told["wandb"].where)
    assert same(wandb_rows(records), rows)
    assert same(trackio_rows(run.path / told["trackio"].where), rows)
    assert same(board_rows(run), rows, tolerance=1e-6)

    first = next(record["run"] for record in records if record["type"] == "run")
    assert first["display_name"] == "digits" and first["project"] == "my-project"
    assert first["config"]["update"]["learning_rate"] == 0.001
    assert first["config"]["update"]["data"]["train_samples"] == 800
    summary = {
        k: v for record in records if record["type"] == "summary" for k, v in record["summary"]["update"].items()
    }
    assert summary["state"] == "succeeded" and summary["best/eval/loss"] > 0 and summary["best_step"] == 100
    axis = [record["metric"] for record in records if record["type"] == "metric"]
    assert {"glob_name": "*", "step_metric": "train/global_step"}.items() <= axis[-1].items()
    texts = board(run)
    assert b"| state | succeeded |" in texts.Tensors("ending")[0].tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in texts.summary_metadata

    text, facts = summarize(bench.project, "digits")
    assert (
        f"runs/digits/{told['wandb'].where}" in facts["logs"] and "runs/digits/trackio/my-project.db" in facts["logs"]
    )
    assert (
        f"Logs, wandb: offline, WANDB_MODE is offline; to upload: wandb sync runs/digits/{told['wandb'].where}" in text
    )
    files = [path for folder in (bench.project, home) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_after_kills_of_recorder_and_worker_and_a_resume_every_row_is_there_once(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, sleep=0.004, checkpoint_every=400, logging=ALL)
    pid, offset = eventually(lambda: working_recorder(run, "wandb"), 40.0)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: working_recorder(run, "wandb", offset), 40.0)
    eventually(lambda: stream.last_records(run.attempt(1).stream)[-1].step % 400 > 100)
    os.kill(pid_of(runs.view(run).status, "worker"), signal.SIGKILL)
    step = until(run, "failed", 40).checkpoint.step
    ended(run)
    assert csv_rows(run)[-1][0] > step
    resumed = json.loads(run.spec.read_text())
    resumed["config"]["total_steps"] = step + 200
    run.spec.write_text(json.dumps(resumed))
    runs.start_attempt(run, sys.executable, resume_from="x", resume_step=step)
    until(run, "succeeded", 40)
    told = ended(run)
    rows = csv_rows(run)
    assert [at for at, _ in rows] == list(range(10, step + 201, 10))
    folders = list((run.path / "wandb").iterdir())
    assert folders == [run.path / told["wandb"].where]
    assert same(wandb_rows(wandb_records(folders[0])), rows)
    assert same(trackio_rows(run.path / told["trackio"].where), rows)
    assert same(board_rows(run), rows, tolerance=1e-6)
