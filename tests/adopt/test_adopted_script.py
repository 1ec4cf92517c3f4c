"""A training script runs unchanged through the real server: its own numbers, its own end, its own words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import adopted_scripts as scripts
import pytest
from adopted_runs import QUIET, ended, eventually, log, proposed, rows, started, status


@pytest.fixture(scope="module")
def loop(desk: Any, hall: Any) -> tuple[Any, Any, Path]:
    """The raw loop, adopted and over: client, project, run."""
    project = hall.make("loop", model=None)
    chat, run = started(desk, project, scripts.LOOP, "--steps", "12", validation={"val_data": "script"})
    ended(run)
    return chat, project, run


def test_metrics_hold_exactly_what_the_script_prints_itself(loop: tuple[Any, Any, Path]) -> None:
    _, _, run = loop
    printed = re.findall(r"step (\d+) loss (\S+) lr (\S+) norm (\S+)", log(run))
    names = ("step", "train/loss", "train/learning_rate", "train/grad_norm")
    logged = [tuple(float(row[name]) for name in names) for row in rows(run) if row["train/loss"]]
    assert len(printed) == 12
    assert logged == [tuple(map(float, line)) for line in printed]


def test_the_validation_loss_is_derived_from_the_loss_function_over_the_held_out_loader(
    loop: tuple[Any, Any, Path],
) -> None:
    _, _, run = loop
    (printed,) = re.findall(r"val (\S+)", log(run))
    found = {int(row["step"]): float(row["eval/loss"]) for row in rows(run) if row["eval/loss"]}
    assert found == {12: pytest.approx(float(printed), rel=1e-5)}


def test_the_adopted_script_computes_bit_for_bit_what_the_bare_one_does(loop: tuple[Any, Any, Path]) -> None:
    _, project, run = loop
    command = [sys.executable, "train.py", "--steps", "12"]
    bare = subprocess.run(command, cwd=project.path, env={**os.environ, **QUIET}, capture_output=True, text=True)
    assert bare.returncode == 0
    assert log(run) == bare.stdout


def test_a_script_that_ends_by_itself_has_succeeded_and_says_what_was_seen(loop: tuple[Any, Any, Path]) -> None:
    chat, _, run = loop
    text = chat.accepted("poll_status", run=run.name).text
    assert "succeeded, step 12/?" in text
    assert "exit code 0; 12 optimizer steps were seen" in text
    assert (
        "Sight: loop (PyTorch): steps, loss, learning rate, gradient norm and validation loss (derived" in text
        and "resume_run: not available" in text
    )
    assert "Training Complete" in chat.accepted("summarize", run=run.name).text
    assert run.name in chat.accepted("list_runs").text


def test_the_configuration_has_only_the_keys_that_apply(loop: tuple[Any, Any, Path]) -> None:
    _, _, run = loop
    text = (run / "config.yaml").read_text()
    assert 'script_args: ["--steps", "12"]' in text and "decided by the script" in text
    assert "learning_rate:" not in text and "batch_size:" not in text


def test_a_script_is_not_resumed_because_nothing_of_it_was_saved(loop: tuple[Any, Any, Path], desk: Any) -> None:
    chat, _, run = loop
    assert "has succeeded" in chat.refused("resume_run", run=run.name)


def test_accumulation_and_a_loss_scaler_are_seen_through_and_nan_is_an_alert(desk: Any, hall: Any) -> None:
    chat, run = started(desk, hall.make("accumulated", model=None), scripts.ACCUMULATED)
    assert ended(run)["state"] == "succeeded"
    printed = {int(step): float(value) for step, value in re.findall(r"step (\d+) loss (\S+)", log(run))}
    logged = {int(row["step"]): float(row["train/loss"]) for row in rows(run)}
    assert {step: logged[step] for step in (1, 2, 3, 4)} == pytest.approx(
        {step: printed[step] for step in (1, 2, 3, 4)}
    )
    alerts = (run / "attempts" / "001" / "alerts.jsonl").read_text()
    assert '"non_finite"' in alerts
    text = chat.accepted("poll_status", run=run.name).text
    assert "CRITICAL" in text
    assert "loss (mean of 4 backward passes)" in text and "Not seen: its other optimizers" in text


@pytest.mark.parametrize("name", ["CLOSURE", "BY_HAND"])
def test_steps_are_seen_that_the_optimizer_or_the_script_itself_makes(desk: Any, hall: Any, name: str) -> None:
    _, run = started(desk, hall.make(name, model=None), getattr(scripts, name))
    assert ended(run)["state"] == "succeeded"
    printed = [tuple(map(float, pair)) for pair in re.findall(r"loss (\S+) norm (\S+)", log(run))]
    logged = [(float(row["train/loss"]), float(row["train/grad_norm"])) for row in rows(run)]
    assert len(printed) == 4
    assert [value for pair in logged for value in pair] == pytest.approx([value for pair in printed for value in pair])


def test_stop_ends_the_script_at_once_and_says_that_nothing_was_saved(desk: Any, hall: Any) -> None:
    project = hall.make("endless", model=None)
    chat, run = started(desk, project, scripts.ENDLESS)
    eventually(lambda: status(run)["step"] > 20)
    reply = chat.accepted("stop_run", run=run.name, wait_seconds=40)
    found = ended(run)
    assert (found["state"], found["cause"]) == ("stopped", "user")
    assert found["step"] > 20 and "save a checkpoint" not in reply.text and "SIGTERM" in reply.text
    assert "cannot be resumed" in chat.refused("resume_run", run=run.name)


def test_a_failure_of_the_probe_is_told_and_never_reaches_the_script(desk: Any, hall: Any) -> None:
    _, run = started(desk, hall.make("odd", model=None), scripts.ODD)
    assert ended(run)["state"] == "succeeded"
    assert "the script went on to its end" in log(run)
    assert "the probe failed" in (run / "attempts" / "001" / "stream.jsonl").read_text()


def test_an_exception_is_told_with_file_and_line_and_the_output_is_kept(desk: Any, hall: Any) -> None:
    _, run = started(desk, hall.make("raises", model=None), scripts.RAISES, "--epochs", "3")
    found = ended(run)
    assert (found["state"], found["cause"], found["where"]) == ("failed", "exception", "train.py:6")
    assert "no such column: label" in found["message"]
    assert "hello from ['--epochs', '3']" in log(run)


def test_leaving_half_way_with_exit_code_0_is_no_success(desk: Any, hall: Any) -> None:
    _, run = started(desk, hall.make("leaves", model=None), scripts.LEAVES)
    found = ended(run)
    assert (found["state"], found["cause"], found["where"]) == ("failed", "exited_early", "train.py:6")


def test_a_killed_script_is_told_as_killed(desk: Any, hall: Any) -> None:
    _, run = started(desk, hall.make("sleeps", model=None), scripts.SLEEPS)
    eventually(lambda: "here" in log(run))
    os.kill(status(run)["worker"]["pid"], signal.SIGKILL)
    found = ended(run)
    assert (found["state"], found["cause"]) == ("failed", "signal")
    assert "resume" not in found["way_out"].lower() and "Start it anew with propose_config" in found["way_out"]


def test_without_validation_in_the_script_the_gate_warns_in_the_checklists_words(desk: Any, hall: Any) -> None:
    project = hall.make("unvalidated", model=None)
    project.write("train.py", scripts.ENDLESS)
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("propose_config", changes={"script": "train.py"})
    assert "Training without validation makes it impossible" in chat.accepted("check_validation").text
    assert "no validation was found" in chat.refused("check_validation", val_data="script")
    assert "chooses its own data" in chat.refused("check_validation", split=0.2)
    assert "decided by the script" in chat.refused("propose_config", changes={"batch_size": 8})


def test_validation_is_what_measures_and_not_what_draws_samples(desk: Any, hall: Any) -> None:
    project = hall.make("validates", model=None)
    chat = desk.on(project)
    project.write("train.py", scripts.ESTIMATES)
    chat.accepted("propose_config", changes={"script": "train.py"})
    assert "def estimate" in chat.accepted("check_validation").text
    project.write("train.py", scripts.SAMPLES)
    assert "no validation was found" in chat.refused("check_validation", val_data="script")


def test_changing_the_script_or_its_arguments_voids_the_digest(desk: Any, hall: Any) -> None:
    project = hall.make("changed", model=None)
    chat, digest = proposed(desk, project, scripts.SLEEPS)
    project.write("train.py", scripts.SLEEPS + "# one more line\n")
    assert "The model file changed" in chat.refused("start_run", digest=digest)
    again = chat.accepted("propose_config", changes={"script_args": ["--fast"]}).facts["digest"]
    assert "configuration" in chat.refused("start_run", digest=digest) and again != digest


def test_a_project_whose_script_trains_is_offered_to_run_it_unchanged(desk: Any, hall: Any) -> None:
    project = hall.make("offered", model=None)
    project.write("train.py", scripts.LOOP)
    chat = desk.on(project)
    offer = 'propose_config changes {"script": "train.py"}'
    assert offer in chat.accepted("inspect_project").text
    assert offer in chat.refused("propose_config")
