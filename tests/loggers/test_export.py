"""`stationmaster export`: a finished run goes to another logger, whole and once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, until
from read_back import board_rows, csv_rows, ended, figures, same, trackio_rows, wandb_records, wandb_rows
from wandb_server import serve

from stationmaster_server import cli, runs
from stationmaster_server.page import summarize
from stationmaster_trainer import ledger, stream
from stationmaster_trainer.rundir import RunDir


def test_a_run_of_two_attempts_is_exported_whole_and_only_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _resumed(bench)
    rows = csv_rows(run)

    def export(to: str, *more: str) -> str:
        assert cli.main(["export", "toy", "--to", to, "--project", str(bench.project), *more]) == 0
        return capsys.readouterr().out

    for to in ("tensorboard", "trackio", "wandb"):
        assert export(to).startswith(f"toy is now in {to}: {run.path}")
    places = {entry.logger.name: run.path / entry.logger.where for entry in ledger.load(run).entries}
    assert set(places) == {"csv", "json", "tensorboard", "trackio", "wandb"}
    assert same(board_rows(run), rows, tolerance=1e-6)
    assert same(trackio_rows(places["trackio"]), rows)
    assert same(wandb_rows(wandb_records(places["wandb"])), rows)
    said = export("wandb")
    assert said.startswith(f"toy is already in wandb: {places['wandb']} (--again writes it once more).")
    assert "offline, no W&B key was found" in said
    logs = summarize(bench.project, "toy")[1]["logs"]
    assert [Path(place).name for place in logs[2:]] == ["tensorboard", "my-project.db", places["wandb"].name]

    monkeypatch.setenv("WANDB_API_KEY", "feed0123456789abcdef0123456789abcdef0123")
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert export("wandb").startswith(f"toy is now in wandb: {server.url}/")
        assert export("wandb").startswith(f"toy is already in wandb: {server.url}/")
        assert same([(row["_step"], figures(row)) for row in server.the_run().rows], rows)
        export("wandb", "--again")
        assert [len(page.rows) for page in server.runs.values()] == [len(rows), len(rows)]


def test_a_run_that_goes_on_is_not_exported(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run = bench.start(total_steps=100_000)
    until(run, "running")
    assert cli.main(["export", "--to", "tensorboard", "--project", str(bench.project)]) == 2
    assert "run toy is running. Export it when it has ended." in capsys.readouterr().err


def test_an_export_that_fails_says_why(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run = bench.start(total_steps=50)
    until(run, "succeeded")
    ended(run)
    run.tensorboard.write_text("a file in the place of the folder")
    assert cli.main(["export", "--to", "tensorboard", "--project", str(bench.project)]) == 2
    assert "run toy could not be written to tensorboard: FileExistsError" in capsys.readouterr().err


def _resumed(bench: Bench) -> RunDir:
    """A run whose worker was killed beyond a checkpoint, and that was then resumed and stopped."""
    run = bench.start(total_steps=100_000, sleep=0.002, checkpoint_every=400)
    eventually(lambda: (last := stream.last_records(run.attempt(1).stream)) and 420 < last[-1].step % 800 < 750)
    status = runs.view(run).status
    os.kill(pid_of(status, "worker"), signal.SIGKILL)
    checkpoint = until(run, "failed").checkpoint
    assert checkpoint is not None
    ended(run)
    runs.start_attempt(run, sys.executable, resume_from="x", resume_step=checkpoint.step)
    until(run, lambda status: status.attempt == 2 and status.step > checkpoint.step + 100)
    runs.request_stop(run)
    until(run, "stopped")
    ended(run)
    return run
