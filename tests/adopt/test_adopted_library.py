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
            env={**os.environ, **QUIET},
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
