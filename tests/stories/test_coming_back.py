"""A chat ends, a server dies, a person stops and goes on: the run is found again and its end is told truthfully."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODEL = """
import time
from pathlib import Path

from torch import nn

SLOW = Path(__file__).with_name("slow")


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 32), nn.ReLU(), nn.Linear(32, num_classes))

    def forward(self, x):
        if self.training and SLOW.exists():
            time.sleep(0.05)
        return self.layers(x)
"""
"""Takes 50 ms a step while a file `slow` lies beside it: a run that cannot end before it is looked at."""
EPOCHS = 30
STEPS = EPOCHS * 45
"""1,438 training rows in batches of 32; over a minute while slow."""
RECOMMENDATIONS = (
    "Ready for final testing on held-out test set",
    "Consider early stopping at step",
    "Consider longer training, higher LR, or larger model",
    "Review gradient norms, consider lower LR or more warmup",
)


@pytest.fixture
def slow(make_project: Callable[..., Any]) -> Any:
    """A project whose model is slow for now."""
    project = make_project(model=MODEL)
    (project.path / "slow").touch()
    return project


def trains(facts: dict[str, Any]) -> bool:
    """Whether the first step is done."""
    return bool(facts["state"] == "running" and facts["step"] > 0)


@pytest.mark.fault("F5", "F7")
def test_a_run_outlives_the_kill_of_its_server_and_a_new_server_tells_its_end(
    slow: Any, connect: Callable[..., Any], wait: Callable[..., Any], kill_server: Callable[[Path], None]
) -> None:
    chat = connect(slow)
    digest = chat.confirmed(epochs=EPOCHS).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    wait(chat, run, trains)
    kill_server(slow.path)
    again = connect(slow)
    listed = again.accepted("list_runs").facts["runs"]
    assert [(item["run"], item["state"]) for item in listed] == [(run, "running")]
    (slow.path / "slow").unlink()
    ended = wait(again, run, lambda facts: facts["state"] == "succeeded")
    assert ended["step"] == ended["total_steps"] == STEPS
    summary = again.accepted("summarize", run=run).text
    assert summary.startswith("Training Complete\n================\nTotal steps: 1")
    assert any(sentence in summary for sentence in RECOMMENDATIONS)


def test_a_person_stops_a_run_and_another_chat_resumes_it_where_it_stopped(
    slow: Any, connect: Callable[..., Any], wait: Callable[..., Any]
) -> None:
    chat = connect(slow)
    digest = chat.confirmed(epochs=EPOCHS).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    wait(chat, run, trains)
    chat.accepted("stop_run", run=run)
    stopped = wait(chat, run, lambda facts: facts["state"] == "stopped")
    assert stopped["cause"] == "user"
    assert stopped["checkpoint"]["step"] == stopped["step"] < stopped["total_steps"]
    assert "Training Complete" not in chat.accepted("summarize", run=run).text
    (slow.path / "slow").unlink()
    another = connect(slow)
    resumed = another.accepted("resume_run", run=run)
    assert resumed.facts["run"] == run
    ended = wait(another, run, lambda facts: facts["state"] == "succeeded")
    assert ended["step"] == ended["total_steps"] == STEPS
    rows = (slow.path / "runs" / run / "metrics.csv").read_text("utf-8").splitlines()[1:]
    assert len(rows) == len(set(rows)) and rows
