"""Real supervised runs whose data hold one poisonous batch, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from stationmaster_server import resume, runs, seal
from stationmaster_trainer import codec, order, stream
from stationmaster_trainer.contract import (
    Action,
    Checkpoint,
    DataFacts,
    Launch,
    Record,
    Spec,
    Status,
    Train,
    TrainingConfig,
)
from stationmaster_trainer.rundir import RunDir

T = TypeVar("T")
R = TypeVar("R", bound=Record)
DEADLINE = 120.0
SEED, SAMPLES, BATCH = 7, 4000, 16

PLAN = TrainingConfig(
    model_path="model.py",
    framework="pytorch",
    train_data="build_data",
    val_data="build_data",
    batch_size=BATCH,
    gradient_accumulation=1,
    optimizer="AdamW",
    learning_rate=3e-3,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    warmup_steps=5,
    lr_schedule="cosine",
    total_steps=120,
    gradient_clip=1.0,
    dropout=None,
    checkpoint_every=10,
    checkpoint_dir="checkpoints/run",
    log_every=5,
    validate_every=40,
    logging=("file",),
    run_name="run",
    task="classification",
    epochs=0.5,
    seed=SEED,
    num_threads=1,
    keep_checkpoints=8,
)


@dataclass
class Bench:
    """A project with one run. `begin` starts it, `end` waits for its end."""

    path: Path
    config: TrainingConfig = PLAN

    def write(self, name: str, source: str) -> None:
        """A file of the project."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(textwrap.dedent(source))

    def begin(self, samples: int = SAMPLES, classes: tuple[str, ...] = ("a", "b", "c"), **changes: Any) -> RunDir:
        """Creates the run and sets it going."""
        self.config = replace(self.config, **changes)
        steps = -(-samples // self.config.batch_size)
        spec = Spec(
            self.config,
            DataFacts(samples, 200, steps, 1, 1, classes),
            str(self.path),
            str(self.path / "runs" / "run"),
            str(self.path / "checkpoints" / "run"),
            "0" * 64,
        )
        run = runs.create_run(spec, "run_name: run\n", {}, seal.seal_run)
        runs.start_attempt(run, sys.executable)
        return run

    @property
    def run(self) -> RunDir:
        return RunDir(self.path / "runs" / "run")

    def status(self) -> Status:
        """As a reader derives it."""
        return runs.view(self.run).status

    def end(self) -> Status:
        """The last status."""
        return self.until(lambda: (seen := runs.view(self.run)).over and not seen.alive and seen.status)

    def until(self, look: Callable[[], T | bool | None], seconds: float = DEADLINE) -> T:
        """The first true value of `look`."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"not so within {seconds} s: {self.status()}"
            time.sleep(0.02)
        return found  # type: ignore[return-value]

    def records(self, kind: type[R], attempt: int) -> list[R]:
        """Of one attempt, in the order of its stream."""
        found = stream.records(self.run.attempt(attempt).stream)
        return [record for record in found if isinstance(record, kind)]

    def launch(self, attempt: int) -> Launch:
        """The order of an attempt."""
        return codec.loads(Launch, self.run.attempt(attempt).launch.read_bytes())

    def rows(self) -> list[dict[str, Any]]:
        """`metrics.jsonl`."""
        return [json.loads(line) for line in self.run.metrics_jsonl.read_text().splitlines()]

    def actions(self) -> list[Action]:
        """Records of actions that stand, over all attempts."""
        return [record for _, record in stream.merged(self.run) if isinstance(record, Action)]

    def kill(self, who: str) -> None:
        """SIGKILL to the `worker` or the `supervisor`."""
        os.kill(getattr(self.status(), who).pid, signal.SIGKILL)


def kill_after_rollback(bench: Bench) -> dict[int, tuple[object, ...]]:
    """Kills the worker of attempt 2 behind its next checkpoint, resumes, and waits for the end.

    Returns what attempt 2 had shown at the steps that attempt 3 did again; the caller compares.
    """

    def far_enough() -> bool:
        saved = bench.records(Checkpoint, 2)
        trained = bench.records(Train, 2)
        return bool(saved and trained and trained[-1].step >= saved[0].step + 4)

    bench.until(lambda: len(bench.run.attempts()) == 2 and far_enough())
    bench.kill("worker")
    assert bench.end().cause == "signal"
    resumed = resume.resume(bench.path, None)
    assert resumed.step is not None and resumed.step > bench.launch(2).resume_step
    assert bench.launch(3).rollbacks == bench.launch(2).rollbacks
    assert bench.end().state == "succeeded"
    begun = resumed.step
    return {step: seen for step, seen in shown(bench, 2).items() if step > begun}


def shown(bench: Bench, attempt: int) -> dict[int, tuple[object, ...]]:
    """Step → loss, gradient norm, rate, samples, epoch and rows of each record of an attempt."""
    return {
        one.step: (one.loss, one.grad_norm, one.learning_rate, one.samples, one.epoch, one.worst_samples)
        for one in bench.records(Train, attempt)
    }


def poison(*steps: int, batch: int = BATCH, samples: int = SAMPLES, seed: int = SEED) -> list[int]:
    """A sample of each of these optimizer steps of the first epoch."""
    return [int(order.epoch_order(seed, 0, samples)[(step - 1) * batch + 3]) for step in steps]
