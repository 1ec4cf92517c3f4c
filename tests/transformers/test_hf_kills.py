"""Through the real server: a run killed by kill -9 in a save, in a resume or anywhere ends as the one that was not."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hf_project import QUESTIONS, history_of, save_llama

from stationmaster_trainer.rundir import RunDir

SEED = int(os.environ.get("STATIONMASTER_TEST_SEED", "20261123"))


class Line:
    """One project with a client, on which two runs of the same configuration are made."""

    def __init__(self, chat: Any, path: Path, changes: dict[str, Any]) -> None:
        self.chat, self.path, self.changes = chat, path, changes
        self.dice = random.Random(SEED)
        chat.accepted("choose_logging", backends=["file"])
        self.patiently("check_validation", split=0.2)

    def patiently(self, tool: str, **arguments: Any) -> Any:
        """Asks again while it is told that measuring goes on."""
        while (reply := self.chat.accepted(tool, **arguments)).facts.get("state") == "measuring":
            pass
        return reply

    def start(self) -> RunDir:
        digest = self.patiently("propose_config", changes=self.changes).facts["digest"]
        name = self.chat.accepted("start_run", digest=digest).facts["run"]
        return RunDir(self.path / "runs" / name)

    def finish(self, run: RunDir) -> dict[str, Any]:
        return self.until(run, lambda facts: facts["state"] == "succeeded")

    def until(self, run: RunDir, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while True:
            facts: dict[str, Any] = self.chat.accepted("poll_status", run=run.name, wait_seconds=2).facts
            if enough(facts):
                return facts
            assert facts["state"] in ("queued", "starting", "running", "paused"), facts
            assert time.monotonic() < deadline, facts

    def kill(self, run: RunDir, *who: str) -> None:
        """kill -9, in this order."""
        status = json.loads(run.status.read_text())
        for name in who:
            os.kill(status[name]["pid"], signal.SIGKILL)
        expected = "lost" if "supervisor" in who else "failed"
        facts = self.chat.accepted("poll_status", run=run.name).facts
        while facts["state"] not in ("lost", "failed"):
            facts = self.chat.accepted("poll_status", run=run.name, wait_seconds=1).facts
        assert facts["state"] == expected, facts
        if expected == "failed":
            assert facts["cause"] == "signal", facts

    def resume(self, run: RunDir) -> int:
        return int(self.chat.accepted("resume_run", run=run.name).facts["resumed_from"])

    def has_worker(self, run: RunDir) -> None:
        """Waits for the status of a new attempt that names its worker."""
        number = run.attempts()[-1].number
        look(lambda: (status := json.loads(run.status.read_text()))["attempt"] == number and status["worker"])

    def partial(self, run: RunDir) -> list[Path]:
        return list((self.path / "checkpoints" / run.name).glob(".checkpoint-*.partial"))


def look(condition: Callable[[], Any], seconds: float = 60.0, pause: float = 0.002) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(pause)
    return found


def steps_shown(run: RunDir) -> list[int]:
    """Steps of the rows with a training loss in metrics.csv."""
    with run.metrics_csv.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.soak  # `test_hf_resume.py` does it to a worker alone
@pytest.mark.timeout(400)
@pytest.mark.fault("F1", "F2", "F6")
def test_a_fine_tuning_killed_in_a_save_and_in_its_resume_is_the_run_that_was_not(shop: Any) -> None:
    """Dropout and noise on the embeddings draw from the generators in every step."""
    project = shop.make(model=None)
    (project.path / "digits.csv").unlink()
    save_llama(project.path / "model")
    rows = [{"prompt": asked, "completion": answer} for asked, answer in QUESTIONS]
    project.write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    steps = 160
    changes = {
        "total_steps": steps, "checkpoint_every": 8, "validate_every": 32, "log_every": 1, "batch_size": 4,
        "gradient_accumulation": 2, "sequence_length": 64, "num_threads": 1, "extra": {"neftune_noise_alpha": 5},
    }  # fmt: skip
    line = Line(shop.connect(project), project.path, changes)
    whole = line.start()
    line.finish(whole)
    broken = line.start()
    assert broken.name != whole.name

    look(lambda: line.partial(broken), pause=0.0005)
    line.kill(broken, "supervisor", "worker")  # nobody is left who could tell of it
    assert line.resume(broken) < steps

    line.has_worker(broken)
    time.sleep(line.dice.uniform(0, 2))  # somewhere in loading or restoring; an idle machine is through in six seconds
    line.kill(broken, "worker")
    line.resume(broken)
    line.finish(broken)
    assert len(broken.attempts()) == 3
    assert history_of(broken) == history_of(whole)
    assert steps_shown(broken) == steps_shown(whole) == list(range(1, steps + 1))
