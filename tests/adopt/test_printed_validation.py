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
    printed = {int(step): float(loss) for step, loss in re.findall(r"step (\d+): .*, val loss ([\d.]+)", log(run))}
    told = {int(row["step"]): row for row in rows(run) if row["eval/loss"]}
    assert {step: float(row["eval/loss"]) for step, row in told.items()} == pytest.approx(printed)
    assert sorted(printed) == [30, 60, 90, 120]
    assert {step: float(row["eval/acc"]) for step, row in told.items()} == {
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


TOLD = {
    "step 20: train loss 3.5441, val loss 3.5379": ("val_loss", 3.5379, {}),
    "| end of epoch   2 | time:  0.41s | valid loss  7.12 | valid ppl  123.9": ("valid_loss", 7.12, {"ppl": 123.9}),
    "Test set: Average loss: 0.3718, Accuracy: 355/400 (89%)": ("test_loss", 0.3718, {}),
    "Epoch [1/10], Loss: 0.5, Val Loss: 0.4": ("val_loss", 0.4, {}),
    "Epoch: 01 | Train Loss: 0.649 | Train Acc: 61.91% | Val. Loss: 0.510 |  Val. Acc: 76.10%":
        ("val_loss", 0.51, {"acc": 76.1}),
    "Validation | loss: 0.5 | acc: 0.7": ("validation_loss", 0.5, {"acc": 0.7}),
    "{'validation_accuracy': 0.9, 'validation_loss': 0.3}": ("validation_loss", 0.3, {"accuracy": 0.9}),
    '{"epoch": 3, "val_loss": 1.5e-3}': ("val_loss", 0.0015, {}),
    "2026-01-01 10:00:00,123 INFO train.py:10 val loss 0.3": ("val_loss", 0.3, {}),
    "Epoch 3/10: 100%|####| 10/10 [00:01<00:00, val_loss=0.3]": ("val_loss", 0.3, {}),
    "Epoch 4 | val loss 0.4 (best 0.3), saved": ("val_loss", 0.4, {}),
    "val loss 0.4, test loss 0.5": ("val_loss", 0.4, {}),
    "\x1b[32mvalidation loss = nan\x1b[0m": ("validation_loss", float("nan"), {}),
}  # fmt: skip


@pytest.mark.parametrize("line", TOLD)
def test_lines_that_tell_a_validation(line: str) -> None:
    name, loss, metrics = figures(line) or ("", 0.0, {})
    assert (name, metrics) == (TOLD[line][0], TOLD[line][2])
    assert loss == pytest.approx(TOLD[line][1], nan_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        "loss 0.3 lr 0.1",
        "the value of the loss is 3",
        # another figure than a loss, or none of a validation
        "Epoch 3, Loss: 0.5, Val Acc: 0.9",
        "Epoch: 001, Loss: 1.9, Train: 0.93, Val: 0.74, Test: 0.75",
        "epoch 1 took: train 12.5s val 3.5s, loss 0.3",
        "Train/Val loss: 0.3 / 0.4",
        "train/val loss 0.3",
        "[test_run] step 10 loss 2.0",
        "INFO:test:step 10 loss 0.5",
        "step 10 loss 0.5 (next eval in 90)",
        # settings
        "validation_split: 0.1, loss: 0.2",
        "Namespace(lr=0.1, eval_loss=0.3)",
        "Namespace(lr=0.1, test_batch_size=1000, loss=0.5)",
        "params: dev=1, loss=0.5",
        "val_loss_weight=0.1",
        "--val-loss 0.3",
        "target: val loss 3.28",
        # what was before
        "best val loss 0.2",
        "val_loss improved from 0.5 to 0.4",
        "val loss 0.5 -> 0.3",
        "Early stopping. Best epoch: 3, val_loss: 0.31",
        "=> loaded checkpoint 'm.pt' (epoch 3, val_loss 0.31)",
        "Saved to ckpt/epoch=3-val_loss=0.31.ckpt",
        "wandb: eval/loss 0.3",
        "AssertionError: val loss 0.3 is not finite",
        "ema val loss 0.3",
        "val loss 0,31",
        # what goes on
        "Test: [2/3]  Time: 0.118 (0.118)  Loss:   4.395 ( 4.395)  Acc@1:  50.000 ( 50.000)",
        "Test: [3/3]  Time: 0.118 (0.118)  Loss:   4.395 ( 4.395)  Acc@1:  50.000 ( 50.000)",
        "[valid] batch 3/10 loss: 0.3",
        "Val: 30%|###       | 3/10 [00:00, val_loss=2.31]",
        "val loss " + "1" * 900 + "x",
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
    assert told(Printed(path), records) == [(10, 0.4), (20, 0.2)]


def test_without_a_visible_beginning_the_last_line_counts_at_the_last_step(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("val loss 0.5\nval loss 0.4\n")
    printed = Printed(path)
    assert told(printed, [train(20)], step=10) == [(20, 0.4)]
    with path.open("a") as file:
        file.write("val loss 0.35\n")
    printed.look([train(30)])
    assert printed.after(30) is None  # where it began may be on its way still
    printed.look([train(40)])
    assert (found := printed.after(40)) is not None and found.loss == 0.35
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


def test_a_bar_counts_as_it_was_last_and_a_test_gives_way_to_a_validation(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    bars = ["Val:   0%|          | 0/9 [, val_loss=2.31]", "Val: 100%|##########| 9/9 [, val_loss=0.9]"]
    path.write_bytes(("\r".join(["", *bars]) + "\r\n").encode())
    assert told(Printed(path), [train(10)]) == [(10, 0.9)]
    path.write_text("test loss 0.7\nval loss 0.5\ntest loss 0.8\n")
    printed = Printed(path)
    assert told(printed, [train(10)]) == [(10, 0.5)]
    assert printed.name == "val_loss"


def test_steps_without_a_loss_show_too_that_a_validation_is_over(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("val loss 0.9\nval loss 0.5\n")
    plain = [Phase(0.0, 0.0, "train", step) for step in (20, 30)]
    records = [validating(10, 0), plain[0], validating(20, 13), plain[1]]
    records[0] = Phase(0.0, 0.0, "eval", 10, output=0)
    assert told(Printed(path), records, step=10) == [(10, 0.9), (20, 0.5)]
