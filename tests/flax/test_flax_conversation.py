"""Conversations about Flax projects: gated, trained, killed, resumed, ended early, tested, loaded by their card."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from flax_project import PROJECTS
from training_project import until

NAMES = (
    "JAX_PLATFORMS",
    "NPROC",
    "PJRT_NPROC",
    "XLA_FLAGS",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)
FINAL = ("succeeded", "failed", "stopped", "lost")


def confirmed(hall: Any, kind: str, digits: bytes, **changes: Any) -> tuple[Any, Any]:
    """A chat on a project whose digits stand in train.csv, val.csv and test.csv, and its confirmed proposal."""
    project = hall.make(f"flax-{kind}", model=(PROJECTS / f"flax_{kind}" / "model.py").read_text())
    (project.path / "digits.csv").unlink()
    rows = list(csv.reader(io.StringIO(digits.decode())))
    parts = {"val.csv": rows[1:1301:5], "test.csv": rows[1301:]}
    parts["train.csv"] = [row for at, row in enumerate(rows[1:1301]) if at % 5]
    for name, part in parts.items():
        with (project.path / name).open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *part])
    chat = hall.connect(project, **{name: os.environ[name] for name in NAMES})
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("check_validation", val_data="val.csv", train_data="train.csv")
    proposal = chat.accepted("propose_config", changes={"device": "cpu", "learning_rate": 0.01, **changes})
    return chat, proposal


def ended(chat: Any) -> Any:
    """The first look after the run's end."""

    def look() -> Any:
        reply = chat.accepted("poll_status", wait_seconds=5)
        return reply if reply.facts["state"] in FINAL else None

    return until(look, "the end of the run")


@pytest.fixture(scope="module")
def nnx(hall: Any, digits_csv: bytes) -> tuple[Any, str]:
    """A run whose worker was killed by kill -9 and that was resumed; the chat on it, and its name."""
    chat, proposal = confirmed(hall, "nnx", digits_csv, epochs=20, checkpoint_every=90, validate_every=90, log_every=1)
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
    due = {*range(90, total + 1, 90), total}
    assert [int(row["step"]) for row in rows if row["eval/loss"]] == sorted(due)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, total + 1))
    assert "Training Complete" in chat.accepted("summarize").text


@pytest.fixture(scope="module")
def linen(hall: Any, digits_csv: bytes) -> tuple[Any, str]:
    """A run that ended when its patience was exhausted; the chat on it, and its name."""
    chat, proposal = confirmed(
        hall, "linen", digits_csv, epochs=100, validate_every=33, checkpoint_every=66, early_stopping_patience=3
    )
    run = chat.accepted("start_run", digest=proposal.facts["digest"]).facts["run"]
    last = ended(chat)
    assert (last.facts["state"], last.facts["cause"]) == ("succeeded", "early_stopping"), last.text
    assert last.facts["step"] < last.facts["total_steps"]
    return chat, run


@pytest.fixture(params=["nnx", pytest.param("linen", marks=pytest.mark.soak)])
def ready(request: pytest.FixtureRequest) -> tuple[Any, str, dict[str, Any]]:
    """A run of each kind that has ended: the chat on it, its name, the manifest of its best checkpoint."""
    chat, run = request.getfixturevalue(request.param)
    found = [json.loads(path.read_text()) for path in (chat.project / "checkpoints" / run).glob("*/manifest.json")]
    return chat, run, min(found, key=lambda manifest: manifest["eval_loss"])


@pytest.mark.soak
def test_a_run_of_linen_ends_when_its_patience_is_exhausted(linen: tuple[Any, str]) -> None:
    chat, run = linen
    lines = (chat.project / "runs" / run / "metrics.jsonl").read_text().splitlines()
    evals = {line["step"]: line["eval/loss"] for line in map(json.loads, lines) if "eval/loss" in line}
    best = min(evals, key=lambda step: evals[step])
    assert max(evals) == best + 3 * 33


def test_the_best_model_is_scored_on_a_held_out_set(ready: tuple[Any, str, dict[str, Any]]) -> None:
    """The digits of the test set are of other writers than those of the training."""
    chat, run, saved = ready
    assert saved["metrics"]["accuracy"] >= 0.95
    reply = chat.accepted("evaluate_run", test_data="test.csv")
    facts = reply.facts
    assert (facts["run"], facts["samples"], facts["overlap"]) == (run, 497, {"training": 0, "validation": 0})
    interval = facts["intervals"]["accuracy"]
    assert interval["low"] < facts["metrics"]["accuracy"] < interval["high"]
    assert facts["metrics"]["accuracy"] >= 0.86
    assert f"checkpoint-{saved['step']}" in reply.text
    assert chat.refused("evaluate_run", test_data="train.csv").startswith("train.csv is what the run was trained on")


def test_the_lines_of_the_card_load_the_best_model_and_it_does_what_validation_recorded(
    ready: tuple[Any, str, dict[str, Any]],
) -> None:
    chat, run, saved = ready
    folder = chat.project / "checkpoints" / run / "model"
    assert json.loads((folder / "origin.json").read_text())["step"] == saved["step"]
    blocks = (folder / "README.md").read_text().split("```python\n")[1:]
    lines = "".join(block.partition("```")[0] for block in blocks)
    assert "val.csv" in lines and "StandardCheckpointer().restore(" in lines
    scoring = """
import json
import optax
loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()
print(json.dumps([float((numpy.asarray(outputs).argmax(1) == targets).mean()), float(loss), names[:3]]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", lines + "import numpy" + scoring],
        cwd=chat.project, env=os.environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    accuracy, loss, names = json.loads(done.stdout)
    assert accuracy == pytest.approx(saved["metrics"]["accuracy"], abs=1e-12)
    assert loss == pytest.approx(saved["eval_loss"], rel=1e-5)
    assert all(name in "0123456789" for name in names)
