"""Conversations about Flax projects through a real client: gated, trained, killed, resumed, ended early, tested."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flax_project import PROJECTS
from training_project import until

NAMES = ("JAX_PLATFORMS", "NPROC", "PJRT_NPROC", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
FINAL = ("succeeded", "failed", "stopped", "lost")


def confirmed(hall: Any, kind: str, digits: bytes, **changes: Any) -> tuple[Any, Any]:
    """A chat on a project whose digits are divided into train.csv and test.csv, and its confirmed proposal."""
    project = hall.make(f"flax-{kind}", model=(PROJECTS / f"flax_{kind}" / "model.py").read_text())
    (project.path / "digits.csv").unlink()
    rows = list(csv.reader(io.StringIO(digits.decode())))
    for name, part in (("train.csv", rows[1:1301]), ("test.csv", rows[1301:])):
        with (project.path / name).open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *part])
    chat = hall.connect(project, **{name: os.environ[name] for name in NAMES})
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("check_validation", split=0.2, train_data="train.csv")
    proposal = chat.accepted("propose_config", changes={"device": "cpu", "learning_rate": 0.01, **changes})
    return chat, proposal


def ended(chat: Any) -> Any:
    """The first look after the run's end."""

    def look() -> Any:
        reply = chat.accepted("poll_status", wait_seconds=5)
        return reply if reply.facts["state"] in FINAL else None

    return until(look, "the end of the run")


def best(chat: Any, run: str) -> dict[str, Any]:
    """The manifest of the best checkpoint."""
    found = [json.loads(path.read_text()) for path in (chat.project / "checkpoints" / run).glob("*/manifest.json")]
    best: dict[str, Any] = min(found, key=lambda manifest: manifest["eval_loss"])
    return best


@pytest.fixture(scope="module")
def nnx(hall: Any, digits_csv: bytes) -> tuple[Any, str]:
    """A run whose worker was killed by kill -9 and that was resumed; the chat on it, and its name."""
    chat, proposal = confirmed(hall, "nnx", digits_csv, epochs=30, checkpoint_every=60, validate_every=60, log_every=1)
    assert "DigitNet" in proposal.text and "framework: flax" in proposal.text
    assert (proposal.facts["config"]["precision"], proposal.facts["config"]["framework"]) == ("fp32", "flax")
    run = chat.accepted("start_run", digest=proposal.facts["digest"]).facts["run"]
    until(lambda: list((chat.project / "checkpoints" / run).glob("checkpoint-*")), "a checkpoint")
    status = json.loads((chat.project / "runs" / run / "status.json").read_text())
    os.kill(status["worker"]["pid"], signal.SIGKILL)
    failed = ended(chat)
    assert (failed.facts["state"], failed.facts["cause"]) == ("failed", "signal"), failed.text
    chat.accepted("resume_run")
    last = ended(chat)
    assert (last.facts["state"], last.facts["step"]) == ("succeeded", last.facts["total_steps"]), last.text
    return chat, run


def test_a_run_of_nnx_that_was_killed_and_resumed_has_every_row_once(nnx: tuple[Any, str]) -> None:
    chat, run = nnx
    folder = chat.project / "runs" / run
    assert len(list((folder / "attempts").iterdir())) == 2
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    total = int(rows[-1]["step"])
    assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(1, total + 1))
    due = {*range(60, total + 1, 60), total}
    assert [int(row["step"]) for row in rows if row["eval/loss"]] == sorted(due)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, total + 1))
    summary = chat.accepted("summarize")
    assert "Training Complete" in summary.text
    assert best(chat, run)["metrics"]["accuracy"] >= 0.95, summary.text


def test_a_run_of_linen_ends_when_its_patience_is_exhausted(hall: Any, digits_csv: bytes) -> None:
    chat, proposal = confirmed(
        hall, "linen", digits_csv, epochs=100, validate_every=33, checkpoint_every=33, early_stopping_patience=3
    )
    run = chat.accepted("start_run", digest=proposal.facts["digest"]).facts["run"]
    last = ended(chat)
    assert last.facts["state"] == "succeeded", last.text
    found = best(chat, run)
    assert last.facts["step"] == found["step"] + 3 * 33 < last.facts["total_steps"]
    assert last.facts["cause"] == "early_stopping"
    assert found["metrics"]["accuracy"] >= 0.95
    scored(chat, run, found)


def test_the_best_model_of_nnx_is_scored_on_a_held_out_set(nnx: tuple[Any, str]) -> None:
    chat, run = nnx
    scored(chat, run, best(chat, run))
    assert chat.refused("evaluate_run", test_data="train.csv").startswith("train.csv is what the run was trained on")


def scored(chat: Any, run: str, saved: dict[str, Any]) -> None:
    """The test set's figures, with interval and overlap; its digits are of other writers than the training's."""
    reply = chat.accepted("evaluate_run", test_data="test.csv")
    facts = reply.facts
    assert (facts["run"], facts["samples"], facts["overlap"]) == (run, 497, {"training": 0, "validation": 0})
    interval = facts["intervals"]["accuracy"]
    assert interval["low"] < facts["metrics"]["accuracy"] < interval["high"]
    assert facts["metrics"]["accuracy"] >= 0.86
    assert f"checkpoint-{saved['step']}" in reply.text
