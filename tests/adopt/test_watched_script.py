"""One line in a script, `stationmaster.watch(...)`: checkpoints, validation, a stop that saves, and a resume."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import watch_scripts as scripts
from adopted_runs import QUIET, ended, eventually, log, rows, started, status

from stationmaster_trainer import manifest

OURS = ("XLA_FLAGS", "NPROC", "PJRT_NPROC")
"""What the Flax adapter sets in the process of other tests: more threads add up in another order."""


def printed(text: str) -> dict[int, str]:
    """Step → what the script printed of it."""
    return {int(step): rest for step, rest in re.findall(r"step (\d+) (.*)", text)}


@pytest.fixture(scope="module")
def stopped(desk: Any, hall: Any) -> tuple[Any, Any, Path, Any]:
    """The loop, stopped at step 25 and then resumed to its end: client, project, run, the reply to the stop."""
    project = hall.make("watched", model=None)
    chat, run = started(desk, project, scripts.LOOP, "wait")
    eventually(lambda: "step 25 " in log(run))
    reply = chat.accepted("stop_run", run=run.name, wait_seconds=45)
    found = ended(run)
    assert (found["state"], found["cause"], found["step"]) == ("stopped", "user", 25), log(run)
    chat.accepted("resume_run", run=run.name)
    eventually(lambda: status(run)["attempt"] == 2)
    return chat, project, run, reply


def test_a_stop_that_the_script_looks_for_saves_the_step_that_it_stands_at(stopped: Any) -> None:
    _, _, run, _ = stopped
    folder = run.parents[1] / "checkpoints" / run.name
    first = json.loads((run / "attempts" / "001" / "final.json").read_text())
    assert first["checkpoint"]["step"] == 25
    assert (first["total_steps"], first["eval"]["loss"], first["eval"]["metrics"]) == (40, 0.5, {"accuracy": 0.75})
    assert first["best"]["metric"] == "eval/loss" and first["best"]["step"] == 20
    assert "full (stationmaster.watch)" in first["sight"]
    # the resumed attempt may have a better one by now, so that step 20 may be gone
    assert all(manifest.verify(one) for one in folder.glob("checkpoint-40"))


def test_a_resumed_script_goes_on_bit_for_bit_as_if_it_had_not_been_stopped(stopped: Any) -> None:
    _, project, run, _ = stopped
    assert ended(run)["state"] == "succeeded"
    second = (run / "attempts" / "002" / "worker.log").read_text()
    assert "begins at 25 resumed True" in second
    command = [sys.executable, "train.py"]
    bare = subprocess.run(command, cwd=project.path, env={**os.environ, **QUIET}, capture_output=True, text=True)
    assert bare.returncode == 0, bare.stderr
    alone = printed(bare.stdout)
    assert {**printed(log(run)), **printed(second)} == alone and len(alone) == 40
    assert re.findall("weights .*", second) == re.findall("weights .*", bare.stdout) != []


def test_a_script_that_never_looks_is_stopped_behind_a_saved_step(desk: Any, hall: Any) -> None:
    project = hall.make("one-line", model=None)
    chat, run = started(desk, project, scripts.ONE_LINE)
    eventually(lambda: status(run)["step"] > 20)
    chat.accepted("stop_run", run=run.name, wait_seconds=45)
    found = ended(run)
    assert (found["state"], found["cause"]) == ("stopped", "user"), log(run)
    newest = manifest.newest_verified(project.path / "checkpoints" / run.name)
    assert newest.step == found["checkpoint"]["step"] >= 20
    assert found["step"] - newest.step <= 2
    assert "CheckpointError" not in (run / "attempts" / "001" / "stream.jsonl").read_text()


def test_pytrees_come_back_bit_for_bit(desk: Any, hall: Any) -> None:
    project = hall.make("watched-trees", model=None)
    chat, run = started(desk, project, scripts.TREES, "wait")
    eventually(lambda: "step 15 " in log(run))
    chat.accepted("stop_run", run=run.name, wait_seconds=45)
    assert (ended(run)["step"], ended(run)["checkpoint"]["step"]) == (15, 15), log(run)
    chat.accepted("resume_run", run=run.name)
    eventually(lambda: status(run)["attempt"] == 2)
    assert ended(run)["state"] == "succeeded"
    second = (run / "attempts" / "002" / "worker.log").read_text()
    assert "begins at 15 resumed True" in second
    command = [sys.executable, "train.py"]
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    bare = subprocess.run(command, cwd=project.path, env={**environment, **QUIET}, capture_output=True, text=True)
    assert bare.returncode == 0, bare.stderr
    assert {**printed(log(run)), **printed(second)} == printed(bare.stdout)
    assert re.findall("weights .*", second) == re.findall("weights .*", bare.stdout) != []


def test_a_loop_without_a_library_tells_its_steps_and_is_asked_to_stop(desk: Any, hall: Any) -> None:
    project = hall.make("told-by-hand", model=None)
    chat, run = started(desk, project, scripts.BY_HAND, "wait")
    eventually(lambda: "step 9 " in log(run))
    chat.accepted("stop_run", run=run.name, wait_seconds=45)
    found = ended(run)
    assert (found["state"], found["step"], found["total_steps"]) == ("stopped", 9, 12), log(run)
    assert (found["eval"]["loss"], found["eval"]["metrics"]) == (0.25, {"error": 0.5})
    assert "left by itself" in log(run)
    assert "checkpoint" not in found["sight"].partition("resume_run")[0]
    assert "not available, the script named nothing to save" in found["sight"]
    told = {int(row["step"]): row for row in rows(run) if row["train/loss"]}
    assert sorted(told) == list(range(1, 10))
    for step, loss, norm in re.findall(r"step (\d+) loss (\S+) norm (\S+)", log(run)):
        assert float(told[int(step)]["train/loss"]) == pytest.approx(float(loss), rel=1e-6)
        assert float(told[int(step)]["train/grad_norm"]) == pytest.approx(float(norm), rel=1e-6)


def test_state_that_nothing_can_save_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(scripts.STATELESS)
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert "watch(counter): what has a state_dict() is saved by PyTorch" in done.stderr
