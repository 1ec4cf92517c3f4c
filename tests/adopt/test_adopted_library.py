"""Scripts of training libraries run unchanged: what the library tells is what the records hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import library_scripts as scripts
import pytest
from adopted_runs import QUIET, ended, log, rows, started

COLUMNS = {
    "loss": "train/loss", "lr": "train/learning_rate", "norm": "train/grad_norm", "val": "eval/loss",
    "accuracy": "eval/accuracy",
}  # fmt: skip
"""Word that a script prints before a figure → its column of metrics.csv."""


OURS = ("XLA_FLAGS", "NPROC", "PJRT_NPROC")
"""What the Flax adapter sets in the process of other tests: more threads add up in another order."""


class Run:
    """One adopted script, over."""

    def __init__(self, desk: Any, project: Any, text: str) -> None:
        self.project = project
        self.chat, self.path = started(desk, project, text, validation={"val_data": "script"})
        self.status = ended(self.path)
        self.log = log(self.path)
        assert self.status["state"] == "succeeded", self.log[-3000:]

    def printed(self, *names: str) -> dict[int, list[float]]:
        """Step → the figures that the script printed in one line under these names."""
        pattern = r"step (\d+)" + "".join(rf" {name} (\S+)" for name in names)
        return {int(found[0]): [float(one) for one in found[1:]] for found in re.findall(pattern, self.log)}

    def recorded(self, *names: str) -> dict[int, list[float]]:
        """The same from metrics.csv, of the rows that have all of them."""
        found = {}
        for row in rows(self.path):
            values = [row.get(COLUMNS[name], "") for name in names]
            if all(values):
                found[int(row["step"])] = [float(value) for value in values]
        return found

    def notes(self) -> list[dict[str, Any]]:
        """The notes of the record stream."""
        lines = (self.path / "attempts" / "001" / "stream.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["kind"] == "note"]

    def bare_log(self) -> str:
        """What the script prints when it runs alone."""
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=self.project.path,
            env={**{name: value for name, value in os.environ.items() if name not in OURS}, **QUIET},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def agrees(self, *names: str, relative: float = 1e-5) -> int:
        """Compares what was recorded with what was printed; the number of steps."""
        printed, recorded = self.printed(*names), self.recorded(*names)
        assert printed, self.log[-3000:]
        assert sorted(recorded) == sorted(printed)
        for step, values in printed.items():
            assert recorded[step] == pytest.approx(values, rel=relative, abs=1e-7), f"step {step} of {names}"
        return len(printed)


def weights(text: str) -> list[str]:
    """The last line of a script: a number made of all its weights."""
    return re.findall(r"weights (\S+)", text)


@pytest.fixture(scope="module")
def trainer(desk: Any, hall: Any) -> Run:
    return Run(desk, hall.make("trainer", model=None), scripts.TRAINER)


def test_every_step_of_the_trainer_is_recorded_as_it_logs_it_itself(trainer: Run) -> None:
    assert trainer.agrees("loss", "lr", "norm", relative=1e-4) == 10


def test_the_trainers_evaluations_total_and_checkpoints_are_told(trainer: Run) -> None:
    assert trainer.agrees("val", "accuracy") == 2
    assert (trainer.status["total_steps"], trainer.status["epoch"], trainer.status["samples"]) == (10, 2.0, 140)
    assert [one["facts"]["saved"] for one in trainer.notes() if "saved" in one["facts"]] == [
        "out/checkpoint-5", "out/checkpoint-10"
    ]  # fmt: skip
    text = trainer.chat.accepted("poll_status", run=trainer.path.name).text
    assert "succeeded, step 10/10" in text and "Sight: library (Transformers' Trainer)" in text


def test_the_trainer_learns_bit_for_bit_what_it_learns_alone(trainer: Run) -> None:
    assert weights(trainer.bare_log()) == weights(trainer.log) != []


@pytest.mark.soak
def test_trl_is_followed_as_the_trainer_that_it_is(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("trl", model=None), scripts.TRL)
    assert run.agrees("loss", "lr", "norm", relative=1e-4) == 6
    assert run.agrees("val") == 2
    assert run.status["total_steps"] == 6
    assert "library (Transformers' Trainer)" in run.status["sight"]
    assert weights(run.bare_log()) == weights(run.log) != []


def test_a_validation_that_the_source_promises_and_that_never_comes_is_a_warning(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("promised", model=None), scripts.PROMISED)
    told = [one for one in run.notes() if "no validation was seen while the script ran" in one["message"]]
    assert [one["level"] for one in told] == ["warning"]
    assert run.status["eval"] is None


def test_lightning_is_followed_under_its_first_name(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("lightning", model=None), scripts.LIGHTNING.format(name="lightning.pytorch"))
    assert run.agrees("loss", "lr", "norm") == 8
    assert run.agrees("val", "accuracy") == 2
    assert run.status["total_steps"] == 8
    saved = [one["facts"]["saved"] for one in run.notes() if "saved" in one["facts"]]
    assert [name.rpartition("/")[2] for name in saved] == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]
    assert weights(run.bare_log()) == weights(run.log) != []


def test_lightning_is_followed_under_its_second_name(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("pytorch-lightning", model=None), scripts.LIGHTNING.format(name="pytorch_lightning"))
    assert run.agrees("loss", "lr", "norm") == 8
    assert run.agrees("val", "accuracy") == 2
    assert "library (PyTorch Lightning)" in run.status["sight"]


@pytest.mark.soak
def test_keras_on_pytorch_gives_the_loss_of_each_batch_and_the_gradient_norm(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("keras-torch", model=None), scripts.KERAS.format(backend="torch"))
    assert run.agrees("loss", "lr", relative=1e-4) == 10
    assert run.agrees("val", "accuracy") == 2
    assert run.status["total_steps"] == 10 and len(run.recorded("norm")) == 10
    assert [one["facts"]["saved"] for one in run.notes() if "saved" in one["facts"]] == ["model.keras"]


def test_keras_on_jax_gives_the_loss_of_each_step_and_says_that_gradient_norms_are_not_seen(
    desk: Any, hall: Any
) -> None:
    run = Run(desk, hall.make("keras-jax", model=None), scripts.KERAS.format(backend="jax"))
    printed, recorded = run.printed("loss"), run.recorded("loss")
    assert len(printed) == 10 and recorded[10] == pytest.approx(printed[10], rel=1e-4)
    assert run.agrees("val", "accuracy") == 2
    assert "Not seen: gradient norm" in run.status["sight"] and run.recorded("norm") == {}


def test_a_jax_loop_gives_the_loss_that_was_differentiated_and_never_another(desk: Any, hall: Any) -> None:
    run = Run(desk, hall.make("jax", model=None), scripts.JAX)
    printed = run.printed("loss")
    stream = [json.loads(line) for line in (run.path / "attempts" / "001" / "stream.jsonl").read_text().splitlines()]
    trained = [record for record in stream if record["kind"] == "train"]
    assert len(printed) == run.status["step"] == 8 == sum(record["steps"] for record in trained)
    for record in trained:  # a record may hold several steps, and one whose loss was not ready when it was asked for
        steps = range(record["step"] - record["steps"] + 1, record["step"] + 1)
        window = [printed[step][0] for step in steps]
        assert min(window) * (1 - 1e-5) <= record["loss"] <= max(window) * (1 + 1e-5)
        norms = [norm for step, (_, norm) in run.printed("loss", "norm").items() if step in steps]
        assert record["step"] < 8 or min(norms) * (1 - 1e-5) <= record["grad_norm"] <= max(norms) * (1 + 1e-5)
    assert "loop (JAX with optax)" in run.status["sight"]
    assert not any("no validation was seen" in note["message"] for note in run.notes())
    assert weights(run.bare_log()) == weights(run.log) != []


def test_a_loop_under_accelerate_is_seen_through_accumulation_and_what_it_logs_by_name_counts(
    desk: Any, hall: Any
) -> None:
    run = Run(desk, hall.make("accelerate", model=None), scripts.ACCELERATE)
    assert run.agrees("loss", "lr", "norm") == 6
    assert run.agrees("val") == 2
    assert "loop (PyTorch under Accelerate)" in run.status["sight"]
    assert [one["facts"]["saved"] for one in run.notes() if "saved" in one["facts"]] == ["out", "out"]
