"""Run folders as real files, written through the contract: what a supervisor and a worker leave, without training."""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from stationmaster_server import checklist
from stationmaster_server.answer import facts_of
from stationmaster_server.app import Stationmaster
from stationmaster_server.plan import Plan, Proposal, Validation, with_approval
from stationmaster_server.roots import Roots
from stationmaster_server.tools import report, watch
from stationmaster_trainer import codec, manifest, rundir
from stationmaster_trainer.contract import (
    Alert,
    Best,
    Checkpoint,
    DataFacts,
    Eval,
    Launch,
    LoggerState,
    Record,
    Spec,
    Started,
    Status,
    Train,
    TrainingConfig,
)
from stationmaster_trainer.facts import SplitFacts
from stationmaster_trainer.rundir import RunDir

BATCH = 32
RATE = 640.0
"""Samples per second of every window that the builder writes."""


class Builder:
    """One run below a project. Losses fall as 2.3 · exp(−4 · step / total); validation is 10 % above."""

    def __init__(self, project: Path, name: str = "digits-01", total: int = 400, waived: bool = False) -> None:
        self.project, self.name, self.total, self.waived = project, name, total, waived
        self.run = RunDir(project / "runs" / name)
        self.run.path.mkdir(parents=True)
        self.checkpoints = project / "checkpoints" / name
        self.spec = self._spec()
        rundir.create(self.run.spec, codec.dumps(self.spec).encode())
        rundir.create(self.run.config, b"learning_rate: 0.001\n")
        self.status = Status(name, 1, "starting", 1, time.time(), time.time() - 5, total_steps=total, phase="import")
        self._locks: list[int] = []

    def _spec(self) -> Spec:
        config = TrainingConfig(
            model_path="model.py",
            framework="pytorch",
            train_data="data/train.csv",
            val_data="none" if self.waived else "split",
            batch_size=BATCH,
            gradient_accumulation=1,
            optimizer="AdamW",
            learning_rate=1e-3,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            warmup_steps=self.total // 10,
            lr_schedule="cosine",
            total_steps=self.total,
            gradient_clip=1.0,
            dropout=None,
            checkpoint_every=self.total // 4,
            checkpoint_dir=f"./checkpoints/{self.name}",
            log_every=10,
            validate_every=self.total // 4,
            logging=("file",),
            run_name=self.name,
            task="classification",
            epochs=10.0,
        )
        facts = DataFacts(1280, 0 if self.waived else 320, 40, 4810, 4810, tuple("0123456789"))
        return Spec(config, facts, str(self.project), str(self.run.path), str(self.checkpoints), "d" * 64)

    def loss(self, step: int) -> float:
        return 2.3 * math.exp(-4 * step / self.total)

    def attempt(self, number: int = 1, resume_step: int = 0) -> None:
        """`launch.json` of an attempt, and its `started` record."""
        folder = self.run.attempt(number)
        folder.control.mkdir(parents=True)
        folder.worker_log.touch()
        resume = str(self.checkpoints / f"checkpoint-{resume_step}") if resume_step else None
        launch = Launch(number, ("python",), str(self.project), {}, (), resume, resume_step)
        rundir.create(folder.launch, codec.dumps(launch).encode())
        facts = self.spec.facts
        self.write(
            Started(
                time.time(),
                1.5,
                "pytorch",
                "cpu",
                "fp32",
                self.total,
                40,
                facts.train_samples,
                facts.val_samples,
                4810,
                resume_step,
            ),
            number=number,
        )

    def decided(self, by: str = "person (elicitation)", waive_reason: str = "") -> None:
        """`checklist.json`, as a start writes it."""
        plan = Plan(
            id="p1",
            changes={"learning_rate": 0.002},
            validation=Validation("split", {}, self._split(), by, 1.0, waive_reason),
            proposal=Proposal(
                self.spec.config, self.spec.facts, self.spec.digest, {}, "python", "", (), "400 steps", by, 2.0
            ),
        )
        plan = with_approval(plan, self.spec.digest, by)
        gates = [asdict(gate) for gate in checklist.gates(plan)]
        rundir.create(self.run.checklist, codec.dumps({"format": 1, "plan": "p1", "gates": gates}).encode())

    def _split(self) -> SplitFacts:
        if self.waived:
            return SplitFacts("none (waived)", "classification", "", "label", 1600, 0)
        counts = {str(digit): 128 for digit in range(10)}, {str(digit): 32 for digit in range(10)}
        method = "80/20 split, seed 42, stratified by label"
        return SplitFacts(method, "classification", "", "label", 1280, 320, 0, (), *counts, overlap=3)

    def write(self, *records: Record, number: int = 1) -> None:
        with open(self.run.attempt(number).stream, "ab") as file:
            file.write(b"".join(codec.line(record) for record in records))

    def window(self, step: int, elapsed: float = 0.0, **changes: Any) -> Train:
        loss = self.loss(step)
        record = Train(
            time=time.time(),
            elapsed=elapsed,
            step=step,
            epoch=step / 40,
            samples=step * BATCH,
            loss=loss,
            loss_max=loss * 1.4,
            loss_min=loss * 0.7,
            grad_norm=1.2,
            grad_norm_max=2.0,
            learning_rate=1e-3,
            samples_per_second=RATE,
            steps=10,
            window_samples=10 * BATCH,
        )
        return replace(record, **changes)

    def train(self, first: int, last: int, number: int = 1, seconds_before: float = 2.0) -> None:
        """Windows of ten steps up to `last`, a validation and a checkpoint at every quarter of the run."""
        for step in range(first + 9, last + 1, 10):
            elapsed = seconds_before + (step - first + 1) * BATCH / RATE
            self.write(self.window(step, elapsed), number=number)
            if step % self.spec.config.validate_every == 0:
                if not self.waived:
                    self.write(self.evaluation(step, elapsed), number=number)
                self.checkpoint(step, number=number, elapsed=elapsed)
        self.status = replace(
            self.status,
            attempt=number,
            state="running",
            phase="train",
            step=last,
            epoch=last / 40,
            samples=last * BATCH,
            loss=self.loss(last),
            loss_average=self.loss(last) * 1.05,
            learning_rate=8.1e-4,
            grad_norm=1.234,
            samples_per_second=RATE,
            eta_seconds=(self.total - last) * BATCH / RATE,
            elapsed=seconds_before + last * BATCH / RATE,
            curve=tuple((step, self.loss(step)) for step in range(10, last + 1, 10))[-64:],
            loggers=(LoggerState("file", "metrics.csv"),),
        )

    def evaluation(self, step: int, elapsed: float = 0.0, **changes: Any) -> Eval:
        loss = self.loss(step) * 1.1
        record = Eval(time.time(), elapsed, step, loss, {"accuracy": 1 - loss / 10}, 320, 0.2)
        return replace(record, **changes)

    def checkpoint(self, step: int, number: int = 1, elapsed: float = 0.0, best: bool = True) -> None:
        """A complete checkpoint on disk, its record, and the status that names it, its validation and the best."""
        folder = self.checkpoints / manifest.folder_name(step)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_bytes(os.urandom(2048))
        loss = None if self.waived else self.loss(step) * 1.1
        manifest.write(folder, step, eval_loss=loss, best=best)
        path = f"checkpoints/{self.name}/{folder.name}"
        record = Checkpoint(time.time(), elapsed, step, path, 2048, 0.1, 0.01, best, loss)
        self.write(record, number=number)
        metric = "train/loss" if self.waived else "eval/loss"
        newest = None if self.waived else self.evaluation(step, elapsed)
        self.status = replace(self.status, checkpoint=record, eval=newest)
        if best:
            self.status = replace(self.status, best=Best(step, loss or self.loss(step), metric, path))

    def alert(self, rule: str = "loss_spike", number: int = 1, **changes: Any) -> Alert:
        """Appends an alert and shows it in the status while it is open."""
        found = Alert(
            rule=rule,
            severity="warning",
            first_step=changes.get("last_step", 120),
            last_step=120,
            message="Loss 4.21 is 9.1 times the running median 0.46.",
            meaning="One batch, or a rate that is too high.",
            advice="Look at the rows of that batch; if it comes again, lower learning_rate.",
            time=time.time(),
        )
        found = replace(found, **changes)
        with open(self.run.attempt(number).alerts, "ab") as file:
            file.write(codec.dumps(found).encode() + b"\n")
        others = tuple(one for one in self.status.alerts_open if (one.rule, one.first_step) != (rule, found.first_step))
        known = len(others) < len(self.status.alerts_open)
        self.status = replace(
            self.status,
            alerts_open=(found, *others) if found.open else others,
            alerts_total=self.status.alerts_total + (not known),
        )
        return found

    def publish(self, **changes: Any) -> Status:
        """Replaces `status.json` as a supervisor does."""
        self.status = replace(self.status, revision=self.status.revision + 1, updated=time.time(), **changes)
        rundir.replace(self.run.status, codec.dumps(self.status).encode())
        return self.status

    def end(self, state: str, cause: str, **changes: Any) -> Status:
        """The last status of an attempt; only then is the lock let go."""
        last = self.publish(state=state, cause=cause, ended=time.time(), eta_seconds=None, **changes)
        self.let_go()
        return last

    def hold(self) -> None:
        """Holds `supervisor.lock`, as a living supervisor does."""
        descriptor = os.open(self.run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks.append(descriptor)

    def let_go(self) -> None:
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project."""
    return tmp_path


@pytest.fixture
def build(folder: Path) -> Iterator[Callable[..., Builder]]:
    """Makes run folders below the project; locks are let go at the end."""
    made: list[Builder] = []

    def make(*args: Any, **options: Any) -> Builder:
        made.append(Builder(folder, *args, **options))
        return made[-1]

    yield make
    for builder in made:
        builder.let_go()


@dataclass(frozen=True)
class Said:
    """A tool's answer."""

    text: str
    facts: dict[str, Any]
    is_error: bool


class Desk:
    """The watching tools behind the real server object, called as a client calls them."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.server = Stationmaster("test", log_level="ERROR")
        watch.register(self.server, Roots((project,)))
        report.register(self.server, Roots((project,)))

    async def call(self, tool: str, /, **arguments: Any) -> Said:
        arguments.setdefault("project_dir", str(self.project))
        result = await self.server.call_tool(tool, arguments)
        text = "\n".join(part.text for part in result.content)
        return Said(text, facts_of(result), bool(result.is_error))

    def __call__(self, tool: str, /, **arguments: Any) -> Said:
        return anyio.run(partial(self.call, tool, **arguments))

    def poll(self, **arguments: Any) -> Said:
        """`poll_status`; the test fails when it is refused."""
        said = self("poll_status", **arguments)
        assert not said.is_error, said.text
        return said


@pytest.fixture
def desk(folder: Path) -> Desk:
    return Desk(folder)
