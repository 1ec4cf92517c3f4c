"""A real run, started by a real server: watched in a terminal, stopped, resumed, and its report recounted by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pseudo_terminal import at_terminal

WAITING = """
import os
import time

from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 32), nn.ReLU(), nn.Linear(32, num_classes))
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 80 and not os.path.exists("go"):
            time.sleep(0.2)
        return self.layers(x)
"""
"""Crawls from step 80 on until the project holds a file `go`: the run is not over before the test has looked at it."""


def command(project: Any, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "stationmaster_server", *words, "--project", str(project.path)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=90, env={**os.environ, **project.environment})


def watched_until(project: Any, run: str, wanted: bytes) -> tuple[bytes, int]:
    """`stationmaster watch` on a terminal until it shows `wanted`, then Ctrl-C: what it showed, and its exit code."""
    argv = [sys.executable, "-m", "stationmaster_server", "watch", run, "--project", str(project.path)]
    child, screen = at_terminal(argv)
    seen, deadline, asked = b"", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        try:
            data = os.read(screen, 4096)
        except OSError:  # the terminal's other end was closed
            break
        if not data:
            break
        seen += data
        if wanted in seen and not asked:
            asked = True
            child.send_signal(signal.SIGINT)
    os.close(screen)
    return seen, child.wait(30)


def rows(run: Path, attempt: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"attempts/{attempt:03d}/stream.jsonl").read_text().splitlines()]


@pytest.mark.timeout(170)
def test_a_real_run_is_watched_stopped_resumed_and_reported_with_its_true_numbers(
    make_project: Any, connect: Any
) -> None:
    project = make_project(model=WAITING)
    chat = connect(project)
    shown = chat.confirmed(epochs=6, checkpoint_every=45, validate_every=45)
    run = chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]

    screen, code = watched_until(project, run, b"running")
    assert code == 130 and b"The run goes on" in screen, screen.decode()[-3000:]
    assert "░".encode() in screen

    stopped = command(project, "stop", run, "--wait")
    assert stopped.returncode == 0, stopped.stderr
    assert f"{run}: stopped (user)" in stopped.stdout
    looked = json.loads(command(project, "status", run, "--json").stdout)
    assert looked["state"] == "stopped" and 45 < looked["step"] < looked["total_steps"] == 270
    listed = json.loads(command(project, "runs", "--json").stdout)
    assert [(row["run"], row["state"]) for row in listed] == [(run, "stopped")]

    (project.path / "go").touch()
    chat.accepted("resume_run", run=run)
    cursor, deadline = None, time.monotonic() + 90
    while True:
        said = chat.accepted("poll_status", run=run, since=cursor, wait_seconds=20)
        cursor = said.facts["cursor"]
        if said.facts["next_poll_seconds"] is None:
            break
        assert len(said.text) <= 900 and time.monotonic() < deadline
    assert said.facts["state"] == "succeeded", said.text
    assert "attempt 2 from step" in said.text

    summary = chat.accepted("summarize", run=run)
    assert summary.text.startswith("Training Complete\n" + "=" * 16 + "\nTotal steps: 270\n")
    folder = project.path / "runs" / run
    start = next(row for row in rows(folder, 2) if row["kind"] == "started")["step"]
    kept = [row for row in rows(folder, 1) if row.get("step", 0) <= start] + rows(folder, 2)
    train = [row for row in kept if row["kind"] == "train"]
    evals = [row for row in kept if row["kind"] == "eval"]
    assert sum(row["steps"] for row in train) == 270
    best = min(evals, key=lambda row: row["loss"])
    facts = summary.facts
    assert facts["final_train_loss"] == train[-1]["loss"]
    assert (facts["best_validation_loss"], facts["best_step"]) == (best["loss"], best["step"])
    seconds = sum(row["window_samples"] / row["samples_per_second"] for row in train)
    assert facts["samples_per_second"] == pytest.approx(sum(row["window_samples"] for row in train) / seconds)
    assert (project.path / facts["checkpoint_dir"] / facts["best_checkpoint"] / "manifest.json").is_file()
    assert all((project.path / log).is_file() for log in facts["logs"])
    assert (folder / "report.md").is_file() and (folder / "report.svg").is_file()
