"""One real run of HuggingFace's Trainer, read three times: from its checkpoints, from its event file, and from what it
printed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reading_help import points, same

from stationmaster_server.diagnose import diagnose
from stationmaster_trainer.errors import FormatError

SCRIPT = """
import sys, torch
from transformers import Trainer, TrainingArguments
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def forward(self, x, labels=None):
        out = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(out, labels), "logits": out}
torch.manual_seed(0)
inputs = torch.randn(320, 4)
data = [{"x": x, "labels": (x.sum() > 0).long()} for x in inputs]
arguments = TrainingArguments(
    sys.argv[1], max_steps=60, logging_steps=2, eval_strategy="steps", eval_steps=20, save_steps=30, use_cpu=True,
    per_device_train_batch_size=16, learning_rate=0.05, report_to=["tensorboard"],
)
Trainer(Net(), arguments, train_dataset=data, eval_dataset=data[:64]).train()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the run, with its printed text as train.log beside the checkpoints."""
    folder = tmp_path_factory.mktemp("trainer") / "out"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "train.log").write_text(done.stdout)
    return folder


def history(folder: Path, name: str) -> list[tuple[int, float]]:
    state = json.loads((folder / "checkpoint-60" / "trainer_state.json").read_text())
    return [(row["step"], row[name]) for row in state["log_history"] if name in row]


def test_the_folder_is_read_from_its_newest_checkpoint(written: Path) -> None:
    reading, train, evals = points(written)
    assert reading.path == written / "checkpoint-60" / "trainer_state.json" and reading.total_steps == 60
    assert same(train, history(written, "loss")) and len(train) == 30
    assert same(evals, history(written, "eval_loss")) and len(evals) == 3
    assert "also here" in reading.notes[0] and "train.log" in reading.notes[0] and "runs/" in reading.notes[0]


def test_the_event_file_tells_the_same(written: Path) -> None:
    reading, train, evals = points(written, run="runs")
    assert reading.source == "TensorBoard event files"
    assert same(train, history(written, "loss"), 1e-6) and same(evals, history(written, "eval_loss"), 1e-6)


def test_the_printed_lines_tell_the_same_but_for_the_steps(written: Path) -> None:
    reading, train, evals = points(written / "train.log")
    assert reading.source == "text log" and {"learning_rate", "grad_norm"} <= set(reading.columns)
    printed = [value for _, value in history(written, "loss")]
    assert [value for _, value in train] == pytest.approx(printed, rel=2e-3)
    assert [value for _, value in evals] == pytest.approx([v for _, v in history(written, "eval_loss")], rel=2e-3)


def test_the_rules_know_the_planned_steps_of_the_state(written: Path) -> None:
    answer = diagnose(written / "checkpoint-30")
    assert answer["best"]["step"] == 20 and answer["columns"]["loss"] == "loss"
    assert [alert for alert in answer["alerts"] if alert["rule"] == "learning_rate_near_zero"] == []


def test_a_damaged_state_is_refused_by_name(written: Path, tmp_path: Path) -> None:
    shutil.copytree(
        written / "checkpoint-30", tmp_path / "checkpoint-30", ignore=shutil.ignore_patterns("*.pt", "*.bin")
    )
    path = tmp_path / "checkpoint-30" / "trainer_state.json"
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 211):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"trainer_state\.json"):
            points(tmp_path)
