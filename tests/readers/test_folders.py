"""Folders that hold several logs: which one is read, what is said of the others, and that no link leads out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from log_forms import loss
from reading_help import points

from stationmaster_trainer.errors import FormatError


def log(path: Path, last: float, changed: int) -> Path:
    """A log of 30 points that ends with `last`, last written to at `changed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [*map(loss, range(29)), last]
    if path.suffix == ".csv":
        path.write_text("step,loss\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values)))
    elif path.suffix == ".log":
        path.write_text("".join(f"step {i}: loss {value}\n" for i, value in enumerate(values)))
    else:
        path.write_text("".join(json.dumps({"step": i, "loss": value}) + "\n" for i, value in enumerate(values)))
    os.utime(path, (changed, changed))
    return path


def test_the_newest_run_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    for version in range(3):
        log(tmp_path / f"version_{version}" / "metrics.csv", 10.0 + version, 1000 + version)
    reading, train, _ = points(tmp_path)
    assert train[-1] == (29, 12.0) and reading.path == tmp_path / "version_2" / "metrics.csv"
    assert reading.notes[0] == "read: version_2/metrics.csv; also here: version_1/metrics.csv, version_0/metrics.csv"


@pytest.mark.parametrize("name", ["version_1", "version_1/metrics.csv", "ersion_1"])
def test_a_run_is_chosen_by_its_name(tmp_path: Path, name: str) -> None:
    for version in range(3):
        log(tmp_path / f"version_{version}" / "metrics.csv", 10.0 + version, 1000 + version)
    assert points(tmp_path, run=name)[1][-1] == (29, 11.0)


def test_a_name_that_fits_none_is_answered_with_those_there_are(tmp_path: Path) -> None:
    log(tmp_path / "a" / "metrics.csv", 1.0, 1000)
    with pytest.raises(FormatError, match="no run 'b'") as refused:
        points(tmp_path, run="b")
    assert "a/metrics.csv" in refused.value.way_out


def test_what_holds_no_loss_is_passed_over(tmp_path: Path) -> None:
    log(tmp_path / "train.log", 5.0, 1000)
    (tmp_path / "table.csv").write_text("name,price\na,1\nb,2\n")
    (tmp_path / "notes.log").write_text("nothing to see in 3 lines\n" * 3)
    assert points(tmp_path)[1][-1] == (29, 5.0)


def test_many_logs_are_counted(tmp_path: Path) -> None:
    for number in range(20):
        log(tmp_path / f"run{number:02d}.log", 1.0, 1000 + number)
    assert points(tmp_path)[0].notes[0].endswith("and 11 more")


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    secret = log(tmp_path / "elsewhere" / "secret.csv", 7.0, 1000)
    folder = tmp_path / "project"
    (folder / "checkpoint-10").mkdir(parents=True)
    (folder / "log.csv").symlink_to(secret)
    (folder / "events.out.tfevents.1").symlink_to(secret)
    (folder / "run-1.wandb").symlink_to(secret)
    (folder / "below").symlink_to(secret.parent)
    (folder / "checkpoint-10" / "trainer_state.json").symlink_to(secret)
    with pytest.raises(FormatError, match="holds no training log"):
        points(folder)


def test_a_folder_of_very_many_files_is_looked_at_in_bounded_time(tmp_path: Path) -> None:
    deep = tmp_path
    for level in range(12):
        deep = deep / f"level{level}"
    log(deep / "train.log", 1.0, 1000)
    with pytest.raises(FormatError, match="holds no training log"):
        points(tmp_path)  # deeper than any tool puts its logs
    log(tmp_path / "level0" / "train.log", 2.0, 1000)
    assert points(tmp_path)[1][-1] == (29, 2.0)
