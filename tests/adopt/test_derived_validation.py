"""A validation loss is derived from a PyTorch loop only where it is certain; steps left out by a scaler are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from adopted_runs import QUIET

import stationmaster_trainer

WATCH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from stationmaster_trainer.probes._probe import Probe
from stationmaster_trainer.probes._watching import watch

told = []


class Reporter:
    stop_requested = None

    def elapsed(self):
        return 0.0

    def write(self, record):
        told.append({"kind": record.kind, **vars(record)})

    def note(self, message, step=0, level="info", **facts):
        told.append({"kind": "note", "level": level, "message": message})

    def phase(self, name, step=0, output=0):
        pass

    def beat(self, step):
        pass


probe = Probe(Reporter(), 1)
watch(probe)
exec(sys.stdin.read(), {"__name__": "__main__"})
probe.close()
print(json.dumps(told))
"""
"""Runs a script below the probes alone, and prints what they told."""

PARTS = """
import importlib.util

assert importlib.util.find_spec("torch")  # looking for a library is no import of it
import torch
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
inputs = torch.randn(60, 4)
labels = (inputs[:, 0] > 0).long()
train = DataLoader(TensorDataset(inputs[:40], labels[:40]), batch_size=20)
held = DataLoader(TensorDataset(inputs[40:], labels[40:]), batch_size=10)
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_of = torch.nn.functional.cross_entropy


def epoch():
    for batch, targets in train:
        optimizer.zero_grad()
        loss_of(model(batch), targets).backward()
        optimizer.step()


def evaluate(*loaders, **options):
    model.eval()
    with torch.no_grad():
        for loader in loaders:
            for batch, targets in loader:
                loss_of(model(batch), targets, **options)
    model.train()


epoch()
evaluate(train)  # the training's own data
epoch()
evaluate(train, held)  # both in one pass
epoch()
model.eval()
with torch.no_grad():
    loss_of(model(inputs[40:]), labels[40:])  # no loader
model.train()
epoch()
evaluate(held, weight=torch.ones(2))
epoch()
evaluate(held)  # step 10: the only one that is certain
wanted = loss_of(model(inputs[40:]), labels[40:]).item()
epoch()

scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
for factor in (1.0, float("inf"), 1.0):
    optimizer.zero_grad()
    scaler.scale(loss_of(model(inputs), labels) * factor).backward()
    scaler.step(optimizer)
    scaler.update()
compiled = torch.compile(lambda x, y: loss_of(model(x), y), backend="eager", fullgraph=True)
assert torch.equal(compiled(inputs, labels), loss_of(model(inputs), labels))
"""


def told_of(script: str) -> list[dict[str, Any]]:
    """What the probes told of a script."""
    command = [sys.executable, "-c", WATCH, str(Path(stationmaster_trainer.__file__).parents[1])]
    environment = {**os.environ, **QUIET}
    done = subprocess.run(command, input=script, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_only_a_pass_over_held_out_data_alone_gives_a_figure_and_left_out_steps_are_told() -> None:
    told = told_of(PARTS)
    assert [one["step"] for one in told if one["kind"] == "eval"] == [10]
    trained = [one for one in told if one["kind"] == "train"]
    assert [(one["step"], one["skipped"], one["nonfinite"]) for one in trained[-3:]] == [
        (13, 0, 0), (14, 1, 1), (15, 0, 0)
    ]  # fmt: skip
    assert [one for one in told if one["kind"] == "note" and one["level"] == "warning"] == []
