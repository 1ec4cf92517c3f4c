"""A run that was killed and resumed is the run that was not: same losses, norms, rates and batches, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_project import KILLED, Project, until

from stationmaster_trainer import manifest, stream
from stationmaster_trainer.contract import Ack, Checkpoint, Eval, Finished, Train

NET = """
import random

import numpy
import torch
from torch import nn


class Net(nn.Module):
    '''Draws from every generator, and keeps running statistics.'''

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(in_features, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2))
        self.last = nn.Linear(24, num_classes)

    def forward(self, x):
        if self.training:
            x = x + 0.01 * torch.randn_like(x) + 0.01 * random.random() + 0.01 * float(numpy.random.rand())
        return self.last(self.first(x))
"""

KILL_AT = """
import os, signal
from stationmaster_trainer import loop
advance = loop.Loop._advance

def advance_or_die(self, step):
    advance(self, step)
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

loop.Loop._advance = advance_or_die
"""


def history(project: Project) -> list[tuple[object, ...]]:
    """What every step and validation showed, over all attempts, without superseded records."""
    found: list[tuple[object, ...]] = []
    for _, record in stream.merged(project.run):
        if isinstance(record, Train):
            rates = (record.loss, record.grad_norm, record.learning_rate)
            found.append((record.step, record.samples, record.epoch, *rates, record.worst_samples))
        elif isinstance(record, Eval):
            found.append((record.step, record.loss, record.loss_sem, record.metrics))
    return found


@pytest.mark.fault("F1")
def test_a_run_killed_three_times_and_resumed_equals_the_uninterrupted_one_bit_for_bit(
    project: Project, tmp_path: Path
) -> None:
    settings = {"total_steps": 40, "batch_size": 20, "gradient_accumulation": 3, "checkpoint_every": 9}
    settings |= {"validate_every": 6}
    project.model(NET)
    assert project.train(**settings) == 0
    whole = Project(tmp_path / "whole")
    whole.model(NET)
    (whole.path / "data.npz").write_bytes((project.path / "data.npz").read_bytes())
    for step in (4, 20, 33):
        assert whole.train(resume=True, prelude=KILL_AT.format(step=step), **settings) == KILLED, whole.log()
    assert whole.train(resume=True) == 0, whole.log()
    assert len(history(project)) == 40 + 9
    assert history(whole) == history(project)
    ends = [manifest.newest_verified(one.checkpoints) for one in (project, whole)]
    assert ends[0].step == ends[1].step == 40
    files = [end.manifest.files["model.safetensors"].sha256 for end in ends if end.manifest]
    assert files[0] == files[1]


def test_a_request_to_stop_saves_the_very_step_and_the_resume_goes_on_from_there(project: Project) -> None:
    project.spec(total_steps=100_000, warmup_steps=0, checkpoint_every=50_000, validate_every=50_000, log_every=5)
    worker = project.start()
    try:
        until(lambda: project.records(Train), "a first record")
        project.request("stop")
        assert worker.wait(60) == 0, project.log()
    finally:
        worker.kill()
    (finished,) = project.records(Finished)
    assert finished.reason == "user"
    (saved,) = project.records(Checkpoint)
    assert saved.step == finished.step == manifest.newest_verified(project.checkpoints).step
    assert [ack.control for ack in project.records(Ack)] == ["1-stop.json"]
    project.spec(total_steps=finished.step + 7)
    assert project.train_here(resume=True).step == finished.step + 7
    assert project.records(Train)[0].step > finished.step


def test_a_checkpoint_on_request_is_complete_when_it_is_acknowledged(project: Project) -> None:
    project.spec(total_steps=100_000, checkpoint_every=50_000, validate_every=50_000, log_every=5)
    worker = project.start()
    try:
        until(lambda: project.records(Train), "a first record")
        project.request("checkpoint")
        (ack,) = until(lambda: project.records(Ack), "an answer")
        assert manifest.verify(project.checkpoints / f"checkpoint-{ack.step}").eval_loss is not None
        project.request("stop")
        assert worker.wait(60) == 0, project.log()
    finally:
        worker.kill()


def test_early_stopping_ends_the_run_and_its_patience_survives_a_resume(project: Project) -> None:
    """The learning rate is far too high, so that validation gets worse at once."""
    settings = {"learning_rate": 3.0, "warmup_steps": 0, "total_steps": 400, "early_stopping_patience": 4}
    settings |= {"validate_every": 5, "checkpoint_every": 5, "log_every": 5}
    assert project.train(prelude=KILL_AT.format(step=13), **settings) == KILLED
    outcome = project.train_here(resume=True)
    evals = [record for _, record in stream.merged(project.run) if isinstance(record, Eval)]
    best = min(evals, key=lambda record: record.loss)
    assert outcome.reason == "early_stopping"
    assert outcome.step == best.step + 4 * 5
    assert manifest.newest_verified(project.checkpoints).step == outcome.step


@pytest.mark.parametrize("log_every", [1, 7])
def test_no_step_is_missing_from_the_records_whatever_their_window(project: Project, log_every: int) -> None:
    project.train_here(total_steps=30, log_every=log_every, checkpoint_every=12, validate_every=5)
    records = project.records(Train)
    assert sum(record.steps for record in records) == 30
    assert records[-1].step == 30
    assert records[-1].samples == sum(record.window_samples for record in records)


IN_A_VALIDATION = """
from stationmaster_trainer import loop
validate = loop.Loop._validate

def stopped(self):
    if self._step == {step}:
        self._reporter.request_stop("user")
    validate(self)

loop.Loop._validate = stopped
"""
AFTER_A_VALIDATION = """
import os, signal
from stationmaster_trainer import loop

def killed(self):
    self._reporter.flush()
    os.kill(os.getpid(), signal.SIGKILL)

loop.Loop._save = killed
"""


@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    ("step", "preludes"),
    [
        pytest.param(12, (), id="validation only", marks=pytest.mark.soak),
        pytest.param(18, (AFTER_A_VALIDATION,), id="killed while it is made up"),
        pytest.param(40, (), id="last step"),
    ],
)
def test_a_validation_that_a_stop_did_not_wait_for_is_made_up_by_the_resume(
    project: Project, tmp_path: Path, step: int, preludes: tuple[str, ...]
) -> None:
    settings = {"total_steps": 40, "batch_size": 20, "checkpoint_every": 9, "validate_every": 6}
    project.model(NET)
    whole = Project(tmp_path / "whole")
    whole.model(NET)
    (whole.path / "data.npz").write_bytes((project.path / "data.npz").read_bytes())
    whole.train_here(**settings)
    assert project.train(prelude=IN_A_VALIDATION.format(step=step), **settings) == 0, project.log()
    assert project.records(Finished)[0].reason == "user"
    for prelude in preludes:
        assert project.train(resume=True, prelude=prelude) == KILLED, project.log()
    assert project.train(resume=True) == 0, project.log()
    assert project.records(Finished)[0].reason == "completed"
    assert history(project) == history(whole)
    assert manifest.newest_verified(project.checkpoints).manifest.eval_loss is not None
