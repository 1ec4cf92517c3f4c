"""Real supervisors, workers and recorders on a toy that needs no framework."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from stationmaster_server import runs
from stationmaster_trainer.contract import DataFacts, Spec, Status, TrainingConfig
from stationmaster_trainer.rundir import RunDir

T = TypeVar("T")
TOY = Path(__file__).with_name("toy_adapter.py")


PLAN = TrainingConfig(
    model_path="user_code.py",
    framework="flax",
    train_data="data.csv",
    val_data="split",
    batch_size=8,
    gradient_accumulation=1,
    optimizer="AdamW",
    learning_rate=1e-3,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    warmup_steps=0,
    lr_schedule="constant",
    total_steps=200,
    gradient_clip=1.0,
    dropout=None,
    checkpoint_every=50,
    checkpoint_dir="",
    log_every=10,
    validate_every=50,
    logging=("file",),
    run_name="",
    task="classification",
    epochs=2.0,
)


@dataclass(frozen=True)
class Bench:
    """A project; `create` makes a run of it, `start` sets one going."""

    project: Path

    def spec(self, name: str = "toy", val_samples: int = 100, **changes: Any) -> Spec:
        """A confirmed spec; `changes` are keys of the configuration or of its `extra`."""
        keys = TrainingConfig.__dataclass_fields__
        extra = {key: value for key, value in changes.items() if key not in keys}
        config = replace(PLAN, run_name=name, checkpoint_dir=f"checkpoints/{name}", extra=extra)
        config = replace(config, **{key: value for key, value in changes.items() if key in keys})
        return Spec(
            config=config,
            facts=DataFacts(800, val_samples, 100, 1000, 1000, ("a", "b")),
            project_dir=str(self.project),
            run_dir=str(self.project / "runs" / name),
            checkpoint_dir=str(self.project / "checkpoints" / name),
            digest="0" * 64,
        )

    def create(self, name: str = "toy", **changes: Any) -> RunDir:
        """A run that has not been started, with the toy in place of an adapter."""
        run = runs.create_run(self.spec(name, **changes), "run_name: toy\n", {"gates": []})
        place = run.lib / "stationmaster_trainer" / "adapters" / "flax.py"
        shutil.copy2(TOY, place)
        place.chmod(0o600)
        return run

    def start(self, name: str = "toy", patience: runs.Patience | None = None, **changes: Any) -> RunDir:
        """A run whose supervisor has taken over."""
        run = self.create(name, **changes)
        runs.start_attempt(run, sys.executable, patience=patience)
        return run


def until(run: RunDir, wanted: Callable[[Status], Any] | str, seconds: float = 20.0) -> Status:
    """Waits until the derived state is `wanted`, or the predicate holds for the status; returns it."""
    holds = (lambda status: status.state == wanted) if isinstance(wanted, str) else wanted

    def look() -> Status | None:
        status = runs.view(run).status
        return status if holds(status) else None

    return eventually(look, seconds)


def eventually(look: Callable[[], T | None], seconds: float = 20.0) -> T:
    """The first true value of `look`; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.03)
    return value


def processes_of(folder: Path) -> list[int]:
    """Live processes that name `folder` on their command line, or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                place = os.readlink(entry / "cwd")
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            except OSError:
                continue
            if alive and (str(folder) in command or place.startswith(str(folder))):
                found.append(int(entry.name))
    return found


def end_processes(folder: Path) -> None:
    """Kills what works for runs below `folder` and waits until it is gone."""
    deadline = time.monotonic() + 10.0
    while (pids := processes_of(folder)) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def pid_of(status: Status, who: str) -> int:
    """Pid of the status's `worker` or `supervisor`."""
    identity = getattr(status, who)
    assert identity is not None
    return int(identity.pid)
