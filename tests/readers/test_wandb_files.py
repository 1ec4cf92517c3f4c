"""W&B's offline files, written by W&B itself, compared value by value; then damaged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from log_forms import checked, loss
from reading_help import points, same

from stationmaster_trainer.errors import FormatError

SCRIPT = """
import json, math, os, sys
import wandb
sys.path.insert(0, sys.argv[2])
from log_forms import checked, loss
with wandb.init(project="p", dir=sys.argv[1], mode="offline", settings=wandb.Settings(silent=True)) as run:
    run.config.update({"lr": 0.1})
    for i in range(120):
        row = {"train/loss": math.nan if i == 60 else loss(i), "train/grad_norm": math.inf if i == 7 else 1.5}
        row |= {"train": {"lr": 0.001}, "note": "x" * (40_000 if i == 30 else 5)}
        if i % 20 == 19:
            row |= {"eval/loss": checked(i), "eval/accuracy": 0.5}
        run.log(row)
"""
"""A row of 40,000 characters does not fit into one block of the file."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that W&B has left, offline."""
    folder = tmp_path_factory.mktemp("offline")
    command = [sys.executable, "-c", SCRIPT, str(folder), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "wandb").glob("offline-run-*")
    return run


def whole(run: Path) -> bytes:
    (path,) = run.glob("*.wandb")
    return path.read_bytes()


def test_the_history_has_the_values_that_were_logged(written: Path) -> None:
    for path in (written, next(written.glob("*.wandb")), written.parent):
        reading, train, evals = points(path)
        assert reading.source == "W&B offline file" and reading.skipped == 0
        assert reading.columns == {
            "step": "_step", "loss": "train/loss", "eval_loss": "eval/loss", "learning_rate": "train/lr",
            "grad_norm": "train/grad_norm",
        }  # fmt: skip
        assert same(train, [(i, math.nan if i == 60 else loss(i)) for i in range(120)])
        assert same(evals, [(i, checked(i)) for i in range(19, 120, 20)])


def test_what_is_logged_beside_the_roles_is_named_as_ignored(written: Path) -> None:
    reading, _, _ = points(written)
    assert "note" in reading.ignored and "_timestamp" in reading.ignored


def test_a_file_cut_short_gives_what_is_whole(written: Path, tmp_path: Path) -> None:
    data, path = whole(written), tmp_path / "run-cut.wandb"
    counts = []
    for size in range(0, len(data), 997):
        path.write_bytes(data[:size])
        try:
            _, train, _ = points(path)
        except FormatError as error:
            assert path.name in error.message
            train = []
        counts.append(len(train))
        assert same(train, [(i, math.nan if i == 60 else loss(i)) for i in range(len(train))])
    assert counts == sorted(counts) and counts[-1] >= 110


def test_a_flipped_byte_is_counted_and_never_believed(written: Path, tmp_path: Path) -> None:
    data, path = whole(written), tmp_path / "run-flipped.wandb"
    for place in range(3000, len(data), 4999):
        path.write_bytes(data[:place] + bytes((data[place] ^ 4,)) + data[place + 1 :])
        reading, train, _ = points(path)
        assert reading.skipped or len(train) == 120
        assert all(math.isnan(value) or value == loss(step) for step, value in train)


def test_the_history_that_older_versions_left_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "run-20200101_000000-abc"
    folder.mkdir()
    rows = [{"_step": i, "loss": loss(i), "_runtime": 1.0} for i in range(50)]
    (folder / "wandb-history.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "wandb-summary.json").write_text(json.dumps(rows[-1]))
    reading, train, _ = points(folder)
    assert reading.source == "W&B history" and same(train, [(i, loss(i)) for i in range(50)])


def test_a_run_without_history_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run-empty.wandb"
    path.write_bytes(b":W&B\xe1\xbe\x00")
    with pytest.raises(FormatError, match=r"run-empty\.wandb holds no history"):
        points(path)
