"""Stopping saves first; resuming continues the confirmed run from a verified checkpoint, and only that run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

SLOW = """
import time
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layer = nn.Linear(in_features, num_classes)

    def forward(self, x):
        time.sleep(0.02)
        return self.layer(x)
"""
PLAN = {"total_steps": 600, "checkpoint_every": 20, "log_every": 5, "num_threads": 1}


def wait_for(chat: Any, run: str, enough: Any, seconds: float = 60.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        facts: dict[str, Any] = chat.accepted("poll_status", run=run, wait_seconds=1).facts
        if enough(facts):
            return facts
        assert time.monotonic() < deadline, facts


def kill_run(project: Any, run: str) -> None:
    status = json.loads((project.path / "runs" / run / "status.json").read_text())
    for name in ("supervisor", "worker"):
        os.kill(status[name]["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def stopped(hall: Any, desk: Any) -> Any:
    """A project whose run was stopped after its first checkpoints: (project, chat, run, the stop's reply)."""
    project = hall.make("stopped", model=SLOW)
    chat = desk.on(project)
    run = chat.accepted("start_run", digest=chat.confirmed(**PLAN).facts["digest"]).facts["run"]
    wait_for(chat, run, lambda facts: facts["checkpoint"])
    return project, chat, run, chat.accepted("stop_run", run=run)


def test_a_stop_saves_a_checkpoint_and_ends(stopped: Any) -> None:
    project, chat, run, reply = stopped
    facts = reply.facts
    assert (facts["state"], facts["cause"], facts["requested"]) == ("stopped", "user", "requested")
    assert facts["checkpoint"]["step"] == facts["step"] < 600
    assert (project.path / facts["checkpoint"]["path"] / "manifest.json").is_file()
    again = chat.accepted("stop_run", run=run)
    assert (again.facts["requested"], again.facts["state"]) == ("not_running", "stopped")
    assert "there is no run 'other'" in chat.refused("stop_run", run="other")
    assert "wait_seconds is -1" in chat.refused("stop_run", run=run, wait_seconds=-1)


@pytest.mark.parametrize("name", ["model.py", "digits.csv"])
def test_a_run_does_not_resume_on_another_model_or_other_data(stopped: Any, name: str) -> None:
    project, chat, run, _ = stopped
    before = (project.path / name).read_bytes()
    (project.path / name).write_bytes(before + b"\n")
    words = chat.refused("resume_run", run=run)
    what = "the model file" if name == "model.py" else "the data"
    assert words.startswith(f"run {run} cannot be resumed: {what} changed since it was confirmed.")
    (project.path / name).write_bytes(before)


def test_a_resume_continues_from_the_newest_verified_checkpoint_and_names_the_rejected(stopped: Any) -> None:
    project, chat, run, stop = stopped
    newest = project.path / stop.facts["checkpoint"]["path"]
    damaged = next(file for file in newest.iterdir() if file.suffix not in (".json",))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    reply = chat.accepted("resume_run", run=run)
    assert 0 < reply.facts["resumed_from"] < stop.facts["step"]
    assert reply.facts["rejected"][0].startswith(f"{newest.name}: ")
    assert "Not usable: " in reply.text
    again = chat.accepted("resume_run", run=run)
    assert again.facts["resumed_from"] is None and "already running" in again.text
    facts = wait_for(chat, run, lambda facts: facts["step"] > stop.facts["step"])
    assert facts["state"] == "running"
    kill_run(project, run)
    wait_for(chat, run, lambda facts: facts["state"] in ("lost", "failed"))


def test_without_any_checkpoint_that_verifies_a_resume_begins_again_and_says_so(stopped: Any) -> None:
    project, chat, run, _ = stopped
    for manifest in (project.path / "checkpoints" / run).glob("checkpoint-*/manifest.json"):
        manifest.write_text("{}")
    reply = chat.accepted("resume_run", run=run)
    assert reply.facts["resumed_from"] == 0
    assert "from step 0: there is no checkpoint that verifies" in reply.text
    facts = wait_for(chat, run, lambda facts: facts["checkpoint"] and facts["state"] == "running")
    assert facts["checkpoint"]["step"] >= 20
    assert chat.accepted("stop_run", run=run).facts["state"] == "stopped"


def test_a_run_that_succeeded_is_not_resumed_and_a_start_survives_its_server(hall: Any) -> None:
    project = hall.make("done", model=SLOW)
    chat = hall.connect(project)
    run = chat.accepted("start_run", digest=chat.confirmed(total_steps=20).facts["digest"]).facts["run"]
    wait_for(chat, run, lambda facts: facts["state"] == "succeeded")
    words = chat.refused("resume_run", run=run)
    assert words.startswith(f"run {run} has succeeded: there is nothing left to resume.")
    assert "propose_config" in words

    second = chat.accepted("propose_config", changes=PLAN).facts
    assert second["run"] != run, "the next run has a name of its own"
    killed_while_starting(hall, project, second["digest"])


def killed_while_starting(hall: Any, project: Any, digest: str) -> None:
    """A server killed at any point of a start leaves one run or none, and the next one finishes the start."""
    before, dice = set(names(project)), random.Random(7)
    for _ in range(3):
        chat = hall.connect(project)
        future = chat.soon("start_run", digest=digest)
        time.sleep(dice.uniform(0.0, 0.6))
        kill_server(project)
        future.exception()
        assert len(set(names(project)) - before) <= 1
    facts = hall.connect(project).accepted("start_run", digest=digest).facts
    assert set(names(project)) - before == {facts["run"]}
    assert facts["state"] in ("starting", "running")
    attempts = project.path / "runs" / facts["run"] / "attempts"
    assert [entry.name for entry in attempts.iterdir() if not entry.name.startswith(".")] == ["001"]


def names(project: Any) -> list[str]:
    runs: Path = project.path / "runs"
    return [entry.name for entry in runs.iterdir() if not entry.name.startswith(".")] if runs.exists() else []


def kill_server(project: Any) -> None:
    """Kills the project's newest server only."""
    servers = [pid for pid in project.processes() if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(max(servers), signal.SIGKILL)


def test_a_run_whose_folder_is_gone_is_not_found(stopped: Any) -> None:
    project, chat, run, _ = stopped
    shutil.rmtree(project.path / "runs" / run)
    assert f"there is no run {run!r}" in chat.refused("resume_run", run=run)
