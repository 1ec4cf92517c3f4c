"""Limits in the conversation: shown against the estimate, kept by a real training, raised only on purpose."""

from __future__ import annotations

import time
from typing import Any

SLOW = """
import time
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.layer = nn.Linear(in_features, num_classes)

    def forward(self, x):
        time.sleep(0.05)
        return self.layer(x)
"""
PLAN = {"total_steps": 5000, "checkpoint_every": 1000, "log_every": 5, "num_threads": 1}


def wait_for(chat: Any, run: str, state: str, seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while (reply := chat.accepted("poll_status", run=run, wait_seconds=2)).facts["state"] != state:
        assert time.monotonic() < deadline, reply.text
    return reply


def test_a_limit_is_warned_of_kept_and_raised_and_who_uses_the_cpu_is_told(hall: Any, desk: Any) -> None:
    project = hall.make("limited", model=SLOW)
    chat = desk.on(project)
    beside = desk.on(hall.make("beside", model=SLOW))
    beside.confirmed(**PLAN)  # measured before the clock of the first run starts
    shown = chat.confirmed(**PLAN, max_hours=0.004)
    assert "max_hours allows 14s" in shown.text and "max_hours: 0.004" in shown.text
    run = chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]

    told = beside.accepted("propose_config", changes={"when_busy": "queue"})
    assert f"Run {run} of {project.path} has been using the CPU since" in told.text
    ended = wait_for(chat, run, "stopped")
    assert ended.facts["cause"] == "budget" and "max_hours 0.004 reached" in ended.text
    assert ended.facts["checkpoint"]["step"] == ended.facts["step"] > 0

    assert "of max_hours 0.004" in chat.refused("resume_run", run=run)
    assert "learning_rate cannot be changed" in chat.refused("resume_run", run=run, changes={"learning_rate": 1.0})
    resumed = chat.accepted("resume_run", run=run, changes={"max_hours": 1})
    assert resumed.facts["resumed_from"] == ended.facts["step"]

    waiting = beside.accepted("start_run", digest=told.facts["digest"])
    assert waiting.facts["state"] == "queued" and f"Waiting: run {run} of {project.path}" in waiting.text
    stop = chat.accepted("stop_run", run=run)
    assert "Verified: no process of it is left" in stop.text and "s after the request" in stop.text
    second = waiting.facts["run"]
    wait_for(beside, second, "running")
    assert "Verified" in beside.accepted("stop_run", run=second).text
