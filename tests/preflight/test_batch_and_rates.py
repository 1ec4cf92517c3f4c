"""The largest batch by a line through small ones, three learning rates, and what is said of a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from smoke_bench import ask, made
from test_smoke_in_a_chat import tried

from stationmaster_server import preflight_text
from stationmaster_trainer.facts import RateCurve, RateFacts
from stationmaster_trainer.preflight import batchsize, rates

pytestmark = pytest.mark.timeout(900)

WIDE = """
import torch
from torch import nn

KEPT = 1 << 20


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.last = nn.Linear(in_features, num_classes)

    def forward(self, x):
        wide = self.last(x)[:, :1].expand(-1, KEPT).contiguous()
        return self.last(x) + 1e-9 * torch.tanh(wide).mean(1, keepdim=True)
"""
"""Keeps two tensors of 4 MiB for each sample until the backward pass, and needs a third then."""
SCRIPT = """
import argparse

import torch
import a_package_that_is_not_there

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=3)
options = parser.parse_args()
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(options.steps):
    loss = model(torch.ones(4, 2)).pow(2).mean()
    loss.backward()
    optimizer.step()
"""


def test_the_largest_batch_follows_from_a_line_and_is_verified_once(tmp_path: Path) -> None:
    project = made(tmp_path / "project", WIDE, batch_size=8, gradient_accumulation=2)
    found = ask(project, "batch_size").batch_size
    assert found is not None
    assert [size for size, _ in found.points] == [2, 4, 8]
    per_sample = 4 << 20
    assert 1.5 * per_sample < found.per_sample < 5 * per_sample
    assert (found.effective, found.batch_size, found.gradient_accumulation) == (16, 16, 1)
    assert found.verified is not None
    assert found.verified == pytest.approx(found.base + 16 * found.per_sample, rel=0.15)
    text = preflight_text.batch(found, project.config)
    assert "Largest micro-batch at the effective batch of 16: 16, verified in one run" in text
    assert 'Change ready for propose_config: {"batch_size": 16, "gradient_accumulation": 1}' in text
    assert "Limits: resident memory, libraries included" in text


def test_a_line_is_no_steeper_than_the_points_and_flat_within_noise() -> None:
    assert batchsize.line([(1, 110), (2, 120), (4, 140)]) == (140.0, 0.0)
    base, slope = batchsize.line([(1, 110 << 20), (2, 120 << 20), (4, 140 << 20)])
    assert (base, slope) == pytest.approx((100 << 20, 10 << 20))
    assert batchsize.line([(1, 300 << 20), (2, 200 << 20)])[1] == 0.0
    assert batchsize.line([(8, 7)]) == (7.0, 0.0) and batchsize.line([]) == (0.0, 0.0)
    assert batchsize.divisors(12) == [1, 2, 3, 4, 6, 12]


def curve(rate: float, final: float, *, diverged: bool = False, sem: float = 0.0) -> RateCurve:
    return RateCurve(rate, (2.0, final), final, final, sem, diverged)


def test_another_rate_is_proposed_only_when_it_is_better_beyond_noise() -> None:
    low, high = curve(1.0, 0.9), curve(9.0, 0.5)
    assert rates.better((low, curve(3.0, 0.8), high)) == 9.0
    assert rates.better((low, curve(3.0, 0.505), high)) is None
    assert rates.better((low, curve(3.0, 0.6, sem=0.1), high)) is None
    assert rates.better((low, curve(3.0, 0.8), curve(9.0, 0.1, diverged=True))) is None
    assert rates.better((low, curve(3.0, 0.8, diverged=True), curve(9.0, 0.1, diverged=True))) == 1.0
    assert rates.better((curve(1, 0.1, diverged=True),) * 3) is None


def test_three_rates_are_drawn_with_their_limits_and_a_ready_change(desk: Any, office: Any) -> None:
    shown = desk.confirmed(epochs=2, num_threads=1, learning_rate=0.0006)
    reply = tried(desk, "learning_rate")
    found = reply.facts["preflight"]
    assert [one["learning_rate"] for one in found["curves"]] == [0.0002, 0.0006, 0.0018]
    assert {len(one["losses"]) for one in found["curves"]} == {found["steps"]} == {90}
    assert len({one["losses"][0] for one in found["curves"]}) == 1, "the same start and the same data"
    lines = reply.text.splitlines()
    assert lines[0] == "Three learning rates, 90 steps each, 9 of them warm-up, same start, same data, on cpu:"
    assert sum("▁" in line or "█" in line for line in lines) == 3
    assert 'Change ready for propose_config: {"learning_rate": 0.0018}' in reply.text
    assert "short runs favour higher rates" in reply.text
    assert desk.accepted("propose_config").facts["digest"] == shown.facts["digest"], "nothing was decided by it"


def test_rates_that_all_diverge_are_said() -> None:
    bad = curve(1.0, 9.0, diverged=True)
    facts = RateFacts("cpu", 2, 0, (bad, bad, bad))

    class Config:
        learning_rate = 1.0

    text = preflight_text.rates(facts, Config())  # type: ignore[arg-type]
    assert "diverged" in text and "None of them is sound: try a tenth." in text


def test_of_a_script_only_what_can_be_known_without_running_it_is_said(desk: Any, hall: Any) -> None:
    project = hall.make("script", model=None)
    project.write("train.py", SCRIPT)
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("propose_config", changes={"script": "train.py", "script_args": ["--epochs", "3"]})
    chat.accepted("check_validation", waive_reason="none needed")
    assert "its loop cannot be tried without running it" in chat.accepted("propose_config").text
    reply = tried(chat, "smoke")
    assert "Smoke test" in reply.text and "1 of 1 of its files compile under Python 3." in reply.text
    assert "2 of 3 imported packages are there" in reply.text
    assert "Not checked: steps, loss and learning, the script trains as soon as it runs" in reply.text
    messages = [one["message"] for one in reply.facts["findings"]]
    assert "train.py:5 imports a_package_that_is_not_there, which this Python does not find." in messages
    assert "the script's parser knows no --epochs." in messages
    assert "cannot start" in chat.refused("start_run", digest=reply.facts["digest"])
    assert "learning_rate is decided by the script" in chat.refused("propose_config", preflight="learning_rate")
    project.write("train.py", SCRIPT.replace("import a_package_that_is_not_there\n", ""))
    mended = chat.accepted("propose_config", changes={"script_args": ["--steps", "2"]})
    assert "no longer holds, script_args and the model file changed since" in mended.text
    again = tried(chat, "smoke")
    assert not [one for one in again.facts["findings"] if one["severity"] == "error"]
