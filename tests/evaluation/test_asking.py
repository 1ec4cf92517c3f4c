"""A client asks for a run's best model on a test set: early stopped runs, two at once, processes that die meanwhile."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scoring_bench import accepted, refused, scored

SLOW = """
import pathlib
import time

import torch
from torch import nn

while pathlib.Path("hold").exists():
    time.sleep(0.02)


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 32):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, x):
        return self.layers(x)
"""
EARLY = {
    "epochs": 60, "learning_rate": 0.02, "lr_schedule": "constant", "validate_every": 20, "checkpoint_every": 20,
    "early_stopping_patience": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def shop_floor(hall: Any, digits_csv: bytes) -> Any:
    """A project with train.csv and test.csv, and the chat on it."""
    project = hall.make("floor", model=SLOW)
    rows = list(csv.reader(io.StringIO(digits_csv.decode())))
    for name, part in (("train.csv", rows[1:1301]), ("test.csv", rows[1301:])):
        with (project.path / name).open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *part])
    (project.path / "digits.csv").unlink()
    return project


@pytest.fixture(scope="module")
def chat(hall: Any, shop_floor: Any) -> Any:
    """A client on a project with an early stopped run."""
    made = hall.connect(shop_floor)
    made.accepted("choose_logging", backends=["file"])
    made.accepted("check_validation", split=0.2, train_data="train.csv")
    proposal = made.accepted("propose_config", changes=EARLY)
    made.accepted("start_run", digest=proposal.facts["digest"])
    ended(made)
    return made


def ended(chat: Any) -> Any:
    """The status of the newest run when it is over."""
    while (seen := chat("poll_status", wait_seconds=20)).facts["state"] not in ("succeeded", "failed", "stopped"):
        pass
    return seen


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 120
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def scorer(run: Path, number: int) -> int:
    """The process that carries out an order, once it has begun."""
    until((run / "evaluations" / f"{number:03d}.begun").exists, "nobody scores")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "stationmaster_evaluate.py" in command and f"{run}/evaluations/{number:03d}." in command:
                return int(entry.name)
    raise AssertionError("the process that has begun is not to be seen")


def test_a_link_in_place_of_the_folder_of_evaluations_is_not_written_through(chat: Any, shop_floor: Any) -> None:
    """As a run folder that comes from elsewhere may hold one."""
    run = shop_floor.path / "runs" / chat.accepted("list_runs").facts["runs"][0]["run"]
    outside = shop_floor.home / "outside"
    outside.mkdir()
    (run / "evaluations").symlink_to(outside)
    words = chat.refused("evaluate_run", test_data="test.csv")
    (run / "evaluations").unlink()
    assert "evaluations is a link, not a folder of the run" in words and list(outside.iterdir()) == []


def test_an_early_stopped_run_says_why_and_its_best_model_is_there_to_load(chat: Any) -> None:
    summary = chat.accepted("summarize")
    facts = summary.facts
    assert (facts["state"], facts["cause"]) == ("succeeded", "early_stopping")
    assert facts["step"] < facts["total_steps"] and facts["step"] - facts["best_step"] == 3 * 20
    assert f"Total steps: {facts['step']:,} of {facts['total_steps']:,} planned" in summary.text
    assert f"stopped improving for the confirmed patience (step {facts['step']})." in summary.text
    assert f"Patience: 3 validations after step {facts['best_step']} gave no lower loss than its 0." in summary.text
    assert facts["best_checkpoint"] == f"checkpoint-{facts['best_step']}"
    assert facts["model_dir"] == f"checkpoints/{facts['run']}/model"
    assert f"Best model: ./{facts['model_dir']}/ (step {facts['best_step']:,}; its README.md says" in summary.text
    page = (chat.project / "runs" / facts["run"] / "report.md").read_text()
    assert f"Best model: ./{facts['model_dir']}/" in page
    card = (chat.project / facts["model_dir"] / "README.md").read_text()
    assert f"step {facts['best_step']:,} of {facts['total_steps']:,} planned" in card
    assert re.search(r"Data fingerprint .*: `[0-9a-f]{64}`", card)
    assert "1,040 samples" in card and "validation, held out of the training data, 260 samples" in card


def test_a_scoring_process_that_is_killed_is_told_and_can_be_asked_for_again(chat: Any) -> None:
    run = chat.project / "runs" / chat("summarize").facts["run"]
    hold = chat.project / "hold"
    hold.write_text("")
    asked = chat.soon("evaluate_run", test_data="test.csv")
    os.kill(scorer(run, 1), signal.SIGKILL)
    reply = asked.result()
    hold.unlink()
    assert reply.is_error and reply.text.startswith(f"the scoring of run {run.name} ended without an answer")
    assert "Try again." in reply.text


def test_two_who_ask_at_once_get_the_figures_of_one_scoring_and_a_server_may_die_meanwhile(
    hall: Any, shop_floor: Any, chat: Any
) -> None:
    run = chat.project / "runs" / chat("summarize").facts["run"]
    number = 1 + max((int(path.name[:3]) for path in run.glob("evaluations/*.request.json")), default=0)
    hold = chat.project / "hold"
    hold.write_text("")
    other, third = hall.connect(shop_floor), hall.connect(shop_floor)
    asked = [client.soon("evaluate_run", test_data="test.csv") for client in (chat, other)]
    scorer(run, number)
    lost = third.soon("evaluate_run", test_data="test.csv")
    os.kill(_newest_server(shop_floor), signal.SIGKILL)
    hold.unlink()
    first = [one.result() for one in asked]
    replies = [reply if reply.facts.get("done", True) else scored(chat, "test.csv") for reply in first]
    assert [reply.is_error for reply in replies] == [False, False], [reply.text for reply in replies]
    assert replies[0].facts["evaluation"] == replies[1].facts["evaluation"] == number
    assert replies[0].facts["metrics"] == replies[1].facts["metrics"]
    assert replies[0].facts["looks"] == 1  # the killed one showed nobody anything
    with pytest.raises(Exception):  # noqa: B017 its server is gone; which error that is depends on the client
        lost.result()
    again = accepted(hall.connect(shop_floor), "test.csv")
    assert (again.facts["new"], again.facts["evaluation"]) == (False, replies[0].facts["evaluation"])
    card = (chat.project / "checkpoints" / run.name / "model" / "README.md").read_text()
    assert "| test, `test.csv`, 497 samples | accuracy | " in card


def _newest_server(project: Any) -> int:
    found = []
    for pid in project.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if "stationmaster_server" in command and "serve" in command:
            found.append((int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid))
    return max(found)[1]


def test_a_run_that_goes_on_is_refused_and_without_validation_the_best_is_said_to_be_by_train_loss(
    chat: Any, shop_floor: Any
) -> None:
    accepted(chat, "test.csv")
    first = chat("summarize").facts["run"]
    chat.accepted("check_validation", waive_reason="a test of the test", train_data="train.csv")
    proposal = chat.accepted("propose_config", changes={"epochs": 3, "checkpoint_every": 30})
    hold = chat.project / "hold"
    hold.write_text("")  # the training holds at its import
    started = chat.accepted("start_run", digest=proposal.facts["digest"])
    words = refused(chat, "test.csv")
    assert re.match(rf"run {started.facts['run']} is (queued|starting|running)\. Its best model is known when", words)
    hold.unlink()
    assert ended(chat).facts["state"] == "succeeded"
    reply = accepted(chat, "test.csv")
    assert "Validation was waived: this checkpoint is the one with the smallest train loss." in reply.text
    assert reply.facts["overlap"] == {"training": 0}
    assert reply.facts["looks"] == 2 and f"Look 2 at this test set in this project (before: {first}/" in reply.text
    summary = chat.accepted("summarize")
    assert "look 2 at this set" in summary.text
    card = (chat.project / summary.facts["model_dir"] / "README.md").read_text()
    assert "497 samples, look 2 at it" in card and "waived" in card
