"""A script whose validations nothing tells: their losses are taken from what it prints, at the steps they belong to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import adopted_scripts as scripts
import pytest
from adopted_runs import ended, log, rows, started

from stationmaster_trainer.contract import Eval, Note, Phase, Train
from stationmaster_trainer.printed import Printed, figures


def test_printed_validations_stand_at_their_steps_and_a_test_is_no_validation(desk: Any, hall: Any) -> None:
    project = hall.make("prints", model=None)
    chat, run = started(desk, project, scripts.PRINTS, validation={"val_data": "script"})
    found = ended(run)
    assert found["state"] == "succeeded", log(run)
    printed = {int(step): float(loss) for step, loss in re.findall(r"step (\d+).*, val loss ([\d.]+)", log(run))}
    told = {int(row["step"]): row for row in rows(run) if row["eval/loss"]}
    assert {step: float(row["eval/loss"]) for step, row in told.items()} == pytest.approx(printed)
    assert sorted(printed) == [0, 30, 60, 90, 120]
    assert {step: float(row["eval/acc"]) for step, row in told.items() if step} == {
        30: 0.03,
        60: 0.06,
        90: 0.09,
        120: 0.12,
    }
    best = min((loss, step) for step, loss in printed.items())
    assert (found["best"]["metric"], found["best"]["step"]) == ("eval/loss", best[1])
    stream = (run / "attempts" / "001" / "stream.jsonl").read_text()
    assert "validation figures are those that the script prints: val_loss" in stream
    assert "no validation was seen" not in stream
    assert "a validation loss that it prints" in chat.accepted("poll_status", run=run.name).text


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("step 20: train loss 3.5441, val loss 3.5379", ("val_loss", 3.5379, {})),
        (
            "| end of epoch   2 | time:  0.41s | valid loss  7.12 | valid ppl  123.9",
            ("valid_loss", 7.12, {"ppl": 123.9}),
        ),
        ("Epoch [1/10], Loss: 0.5, Val Loss: 0.4", ("val_loss", 0.4, {})),
        ("Epoch: 01 | Train Loss: 0.649 | \t Val. Loss: 0.510 |  Val. Acc: 76.10%", ("val_loss", 0.51, {"acc": 76.1})),
        ("Validation | loss: 0.5 | acc: 0.7", ("eval_loss", 0.5, {"acc": 0.7})),
        ("\x1b[32mvalidation loss = nan\x1b[0m", ("validation_loss", float("nan"), {})),
    ],
)
def test_lines_that_tell_a_validation(line: str, found: tuple[str, float, dict[str, float]]) -> None:
    name, loss, metrics = figures(line) or ("", 0.0, {})
    assert (name, metrics) == (found[0], found[2])
    assert loss == pytest.approx(found[1], nan_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        "loss 0.3 lr 0.1",
        "best val loss 0.2",
        "val_loss improved from 0.5 to 0.4",
        "saved ckpt-val_loss=0.31.pt",
        "early stopping: val loss did not fall below 0.3",
        "Test: [2/3]  Time: 0.118 (0.118)  Loss:   4.395 ( 4.395)  Acc@1:  50.000 ( 50.000)",
        "Testing: 100%|####| 10/10 [00:01<00:00, loss=0.3]",
        "the value of the loss is 3",
    ],
)
def test_lines_that_tell_none(line: str) -> None:
    assert figures(line) is None


def train(step: int) -> Train:
    """Ten steps up to this one."""
    return Train(0.0, 0.0, step, 0.0, 0, 1.0, 1.0, 1.0, None, None, 0.1, 0.0, 10, 0)


def validating(step: int, output: int) -> Phase:
    return Phase(0.0, 0.0, "eval", step, output=output)


def told(printed: Printed, records: list[Any], step: int = 0) -> list[tuple[int, float]]:
    """(step, loss) of what is told before these records and behind the last."""
    found = []
    printed.look(records)
    for record in records:
        found.append(printed.before(record, step))
        step = max(step, record.step)
    found.append(printed.after(step))
    found.append(printed.left(step))
    return [(one.step, one.loss) for one in found if one is not None]


def test_a_line_belongs_to_the_validation_that_began_before_it_however_late_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    lines = ["val loss 9", "val loss 0.5", "val loss 0.4", "x", "val loss 0.2", "test loss 7"]
    path.write_text("\n".join(lines) + "\n")
    at = [sum(len(line) + 1 for line in lines[:place]) for place in range(len(lines))]
    records = [
        Phase(0.0, 0.0, "train", 0, output=at[1]),
        train(10),
        validating(10, at[1]),
        train(20),
        validating(20, at[3]),
        validating(20, at[4]),
        train(30),
    ]
    assert told(Printed(path), records) == [(0, 9.0), (10, 0.4), (20, 0.2)]


def test_without_a_visible_beginning_the_last_line_counts_at_the_last_step(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("val loss 0.5\nval loss 0.4\n")
    printed = Printed(path)
    assert told(printed, [train(20)], step=10) == [(20, 0.4)]
    with path.open("a") as file:
        file.write("val loss 0.3")
    assert told(printed, [train(30)], step=20) == []
    with path.open("a") as file:
        file.write("\n")
    assert told(printed, [], step=30) == [(30, 0.3)]


def test_what_a_process_tells_itself_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("val loss 0.5\n")
    own = Eval(0.0, 0.0, 10, 0.5, {}, 0, 0.0)
    assert told(Printed(path), [validating(10, 0), own, train(20)]) == []
    library = Note(0.0, 0.0, 0, "sight", facts={"sight_level": "library"})
    assert told(Printed(path), [library, train(20)]) == []


def test_a_log_that_was_cut_is_read_on_from_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("x" * 3000 + "\n")
    printed = Printed(path)
    assert told(printed, [train(10)]) == []
    path.write_text("cut\n")
    assert told(printed, [train(20)], step=10) == []
    with path.open("a") as file:
        file.write("val loss 0.5\n")
    assert told(printed, [train(30)], step=20) == [(30, 0.5)]
