"""Stands in for the PyTorch adapter where the framework does not matter: a linear model, standard library alone.

`projects.py` puts it into a copy of the trainer as `adapters/pytorch.py`; gates, start, saves, resumes and records are
the real ones. It draws from a random generator at every step, so that only an exact resume ends with the same numbers.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import entry, manifest  # type: ignore[import-not-found]
from ..checkpoint import Label, Saver, Snapshot  # type: ignore[import-not-found]
from ..contract import Eval, Launch, Spec  # type: ignore[import-not-found]
from ..facts import ModelFacts  # type: ignore[import-not-found]
from ..reporter import Outcome, Reporter  # type: ignore[import-not-found]
from ..window import Window  # type: ignore[import-not-found]

SIZE = 8
STEP_SECONDS = 0.005


@dataclass
class State:
    """All that a resume needs."""

    weights: list[float]
    momentum: list[float]
    step: int = 0
    samples: int = 0
    best: float = math.inf
    best_step: int | None = None
    dice: Any = field(default_factory=lambda: random.Random(42))


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """What the gates want to know of the model."""
    path = entry.resolve(config["model_path"], project_dir)
    return ModelFacts(
        model_name="Net", model_args={}, parameters=SIZE, trainable_parameters=SIZE, device="cpu",
        precisions=("fp32",), initial_loss=2.3, expected_loss=2.3, output_shape=(10,), parameter_bytes=8 * SIZE,
        seconds_per_batch=STEP_SECONDS, entry_sha256=entry.entry_sha256(path, project_dir),
    )  # fmt: skip


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """One attempt, from the checkpoint that was ordered."""
    config, begun, window = spec.config, time.perf_counter(), Window()
    saver = Saver(
        Path(spec.checkpoint_dir), Path(spec.project_dir), config.keep_checkpoints, spec.digest, reporter.write,
        reporter.elapsed,
    )  # fmt: skip
    reporter.phase("resume", launch.resume_step)
    saver.prepare()
    state = State([0.0] * SIZE, [0.0] * SIZE)
    if launch.resume_from is not None:
        manifest.verify(Path(launch.resume_from))
        state = _restored(Path(launch.resume_from))
        saver.best_step = state.best_step
    reporter.started("cpu", "fp32", state.step)
    reason = "completed"
    try:
        while state.step < config.total_steps:
            loss, norm, rows = _update(state, config.batch_size, config.learning_rate)
            window.add(state.step, loss, norm, config.batch_size, config.learning_rate, indices=rows)
            reporter.beat(state.step)
            last = state.step == config.total_steps
            save = last or state.step % config.checkpoint_every == 0
            if save or state.step % config.log_every == 0:
                epoch = state.samples / 1000
                reporter.write(window.take(elapsed=reporter.elapsed(), epoch=epoch, samples=state.samples))
            score = _evaluate(state, reporter) if last or state.step % config.validate_every == 0 else None
            stop = reporter.stop_requested
            if save or stop is not None:
                _save(state, saver, reporter, score)
            if stop is not None:
                reason = stop
                break
        saver.wait()
    finally:
        saver.close()
    return Outcome(reason, state.step, state.samples, time.perf_counter() - begun)


def _update(state: State, batch: int, rate: float) -> tuple[float, float, list[int]]:
    """One step of gradient descent with momentum on random rows of a line with noise."""
    time.sleep(STEP_SECONDS)
    rows = [state.dice.randrange(1000) for _ in range(batch)]
    loss, gradient = 0.0, [0.0] * SIZE
    for row in rows:
        x = [math.sin((row + 1) * (at + 1)) for at in range(SIZE)]
        error = sum(w * v for w, v in zip(state.weights, x, strict=True)) - sum(x) + state.dice.gauss(0.0, 0.1)
        loss += error * error / batch
        gradient = [g + 2.0 * error * v / batch for g, v in zip(gradient, x, strict=True)]
    state.momentum = [0.9 * m + g for m, g in zip(state.momentum, gradient, strict=True)]
    state.weights = [w - rate * m for w, m in zip(state.weights, state.momentum, strict=True)]
    state.step, state.samples = state.step + 1, state.samples + batch
    return loss, math.sqrt(sum(g * g for g in gradient)), rows


def _evaluate(state: State, reporter: Reporter) -> float:
    reporter.phase("eval", state.step)
    loss = sum((w - 1.0) ** 2 for w in state.weights) / SIZE
    if loss < state.best:
        state.best, state.best_step = loss, state.step
    reporter.write(Eval(time.time(), reporter.elapsed(), state.step, loss, {"accuracy": 1 / (1 + loss)}, 100, 0.01))
    reporter.phase("train", state.step)
    return loss


def _save(state: State, saver: Saver, reporter: Reporter, score: float | None) -> None:
    reporter.phase("save", state.step)
    plain = {**asdict(State(state.weights, state.momentum, state.step, state.samples, state.best, state.best_step)),
             "dice": state.dice.getstate()}  # fmt: skip
    data = json.dumps(plain).encode()

    def write(folder: Path) -> None:
        for name, content in (("model.weights", json.dumps(plain["weights"]).encode()), ("state.json", data)):
            with (folder / name).open("wb") as file:
                file.write(content)
                os.fsync(file.fileno())

    label = Label(state.step, {"step": state.step}, state.best_step == state.step, score)
    saver.save(label, lambda: Snapshot(2 * len(data), write))
    reporter.ack(state.step)
    reporter.phase("train", state.step)


def _restored(folder: Path) -> State:
    found = json.loads((folder / "state.json").read_text())
    version, internal, rest = found.pop("dice")
    state = State(**found)
    state.dice.setstate((version, tuple(internal), rest))
    return state
