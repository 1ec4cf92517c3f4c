"""A chat ends, a server dies, a person stops and goes on: the run is found again and its end is told truthfully."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from conftest import eventually, processes_of

LONG = {"epochs": 400, "checkpoint_every": 100, "validate_every": 100}
"""Long enough to be interrupted on any machine; ended by hand or by fewer epochs."""
RECOMMENDATIONS = (
    "Ready for final testing on held-out test set",
    "Consider early stopping at step",
    "Consider longer training, higher LR, or larger model",
    "Review gradient norms, consider lower LR or more warmup",
)


def trains(facts: dict[str, Any]) -> bool:
    """Whether the first step is done."""
    return facts["state"] == "running" and facts["step"] > 0


def test_a_run_outlives_the_kill_of_its_server_and_a_new_server_tells_its_end(
    project: Any, connect: Callable[..., Any], wait: Callable[..., Any], server: Callable[..., int]
) -> None:
    chat = connect(project)
    digest = chat.confirmed(epochs=40).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    wait(chat, run, trains)
    pid = server(project.path)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid not in processes_of(project.path))
    again = connect(project)
    listed = again.accepted("list_runs").facts["runs"]
    assert [(item["run"], item["state"] in ("running", "succeeded")) for item in listed] == [(run, True)]
    ended = wait(again, run, lambda facts: facts["state"] == "succeeded")
    assert ended["step"] == ended["total_steps"] == 40 * 45
    summary = again.accepted("summarize", run=run).text
    assert summary.startswith("Training Complete\n================\nTotal steps: 1")
    assert any(sentence in summary for sentence in RECOMMENDATIONS)


def test_a_person_stops_a_run_and_another_chat_resumes_it_where_it_stopped(
    project: Any, connect: Callable[..., Any], wait: Callable[..., Any]
) -> None:
    chat = connect(project)
    digest = chat.confirmed(**{**LONG, "epochs": 60}).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    wait(chat, run, trains)
    chat.accepted("stop_run", run=run)
    stopped = wait(chat, run, lambda facts: facts["state"] == "stopped")
    assert stopped["cause"] == "user"
    assert stopped["checkpoint"]["step"] == stopped["step"] < stopped["total_steps"]
    assert "Training Complete" not in chat.accepted("summarize", run=run).text
    another = connect(project)
    resumed = another.accepted("resume_run", run=run)
    assert resumed.facts["run"] == run
    ended = wait(another, run, lambda facts: facts["state"] == "succeeded")
    assert ended["step"] == ended["total_steps"] == 60 * 45
    rows = (project.path / "runs" / run / "metrics.csv").read_text("utf-8").splitlines()[1:]
    assert len(rows) == len(set(rows)) and rows


def test_the_same_yes_twice_is_one_run_and_the_next_proposal_is_another(project: Any, connect: Callable[..., Any]) -> None:
    chat = connect(project)
    digest = chat.confirmed(epochs=1).facts["digest"]
    first, second = chat.accepted("start_run", digest=digest), chat.accepted("start_run", digest=digest)
    assert first.facts["run"] == second.facts["run"]
    assert len(list((project.path / "runs").iterdir())) == 1
    assert chat.accepted("propose_config").facts["run"] != first.facts["run"]
