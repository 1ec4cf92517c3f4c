"""A user's project with one run, trained by a real worker process or in this one; a test changes what it is about."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stationmaster_trainer import codec, manifest, plugins, rundir, stream
from stationmaster_trainer.contract import DataFacts, Launch, Record, Spec, TrainingConfig
from stationmaster_trainer.reporter import Outcome, Reporter
from stationmaster_trainer.rundir import RunDir

WORKER = Path(rundir.__file__).parent / "scripts" / "stationmaster_worker.py"
DEADLINE = 90.0
KILLED = -9
R = TypeVar("R", bound=Record)

MLP = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, num_classes)
        )

    def forward(self, x):
        return self.layers(x)
"""


class Project:
    """One project folder with one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.run = RunDir(path / "runs" / "run")
        self.checkpoints = path / "checkpoints" / "run"
        self.config = TrainingConfig(
            model_path="model.py",
            framework="pytorch",
            train_data="data.npz",
            val_data="split",
            batch_size=32,
            gradient_accumulation=1,
            optimizer="AdamW",
            learning_rate=3e-3,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            warmup_steps=5,
            lr_schedule="cosine",
            total_steps=40,
            gradient_clip=1.0,
            dropout=None,
            checkpoint_every=10,
            checkpoint_dir="checkpoints/run",
            log_every=1,
            validate_every=10,
            logging=("file",),
            run_name="run",
            task="classification",
            epochs=1.0,
            num_threads=1,
        )
        self.model(MLP)

    def model(self, source: str) -> None:
        """Replaces the model file."""
        (self.path / "model.py").write_text(textwrap.dedent(source))

    def arrays(self, inputs: Any, targets: Any, name: str = "data.npz") -> None:
        """Writes a data file."""
        np.savez(self.path / name, x=inputs, y=targets)

    def spec(self, **changes: Any) -> Spec:
        """Writes spec.json with these keys of the configuration changed, once; returns it."""
        self.config = replace(self.config, **changes)
        facts = DataFacts(train_samples=1, val_samples=0, steps_per_epoch=1, parameters=1, trainable_parameters=1)
        spec = Spec(self.config, facts, str(self.path), str(self.run.path), str(self.checkpoints), "digest")
        self.run.path.mkdir(parents=True, exist_ok=True)
        rundir.replace(self.run.spec, codec.dumps(spec).encode())
        return spec

    def prepare(self, resume: bool = False) -> rundir.AttemptDir:
        """The folder of the next attempt, with its order; a resume names the newest verified checkpoint."""
        if not self.run.spec.exists():
            self.spec()
        attempt = self.run.attempt(len(self.run.attempts()) + 1)
        attempt.control.mkdir(parents=True)
        newest = manifest.newest_verified(self.checkpoints) if resume else None
        launch = Launch(
            attempt=attempt.number,
            argv=(),
            cwd=str(self.path),
            env={},
            recorder_argv=(),
            resume_from=str(newest.path) if newest and newest.path else None,
            resume_step=newest.step if newest else 0,
        )
        rundir.create(attempt.launch, codec.dumps(launch).encode())
        return attempt

    def start(self, resume: bool = False, prelude: str = "") -> subprocess.Popen[bytes]:
        """Starts a worker; `prelude` is Python that runs in it first."""
        return self.start_attempt(self.prepare(resume), prelude)

    def start_attempt(self, attempt: rundir.AttemptDir, prelude: str = "") -> subprocess.Popen[bytes]:
        """Starts the worker of a prepared attempt."""
        script = f"import sys, runpy; sys.argv = [{str(WORKER)!r}, {str(attempt.path)!r}]\n{textwrap.dedent(prelude)}\n"
        script += f"runpy.run_path({str(WORKER)!r}, run_name='__main__')"
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
        with open(attempt.worker_log, "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=self.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def train(self, resume: bool = False, prelude: str = "", **changes: Any) -> int:
        """Runs a worker to its end and returns its exit code."""
        if changes:
            self.spec(**changes)
        worker = self.start(resume, prelude)
        try:
            return worker.wait(DEADLINE)
        finally:
            worker.kill()

    def train_attempt(self, attempt: rundir.AttemptDir) -> int:
        """Runs the worker of a prepared attempt to its end and returns its exit code."""
        worker = self.start_attempt(attempt)
        try:
            return worker.wait(DEADLINE)
        finally:
            worker.kill()

    def train_here(self, resume: bool = False, **changes: Any) -> Outcome:
        """The same in this process, through the adapter; raises what the training raises."""
        if changes or not self.run.spec.exists():
            self.spec(**changes)
        attempt = self.prepare(resume)
        reporter = Reporter(attempt, codec.loads(Spec, self.run.spec.read_bytes()))
        try:
            adapter = plugins.find("adapters", self.config.framework)
            launch = codec.loads(Launch, attempt.launch.read_bytes())
            outcome: Outcome = adapter.train(reporter.spec, launch, reporter)
            return outcome
        finally:
            reporter.close()

    def log(self) -> str:
        """What the newest worker printed."""
        return self.run.attempts()[-1].worker_log.read_text(errors="replace")

    def records(self, kind: type[R], attempt: int = 0) -> list[R]:
        """Records of one kind of an attempt (0: the newest)."""
        chosen = self.run.attempt(attempt) if attempt else self.run.attempts()[-1]
        return [record for record in stream.records(chosen.stream) if isinstance(record, kind)]

    def request(self, verb: str) -> None:
        """Writes a control file for the newest attempt."""
        folder = self.run.attempts()[-1].control
        rundir.create(folder / f"{len(os.listdir(folder)) + 1}-{verb}.json", b"{}")


def until(condition: Callable[[], Any], what: str) -> Any:
    """Polls until the condition holds; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not in {DEADLINE} s: {what}")
