"""CSV, TSV and JSON tables: the forms of Lightning, Keras and Ultralytics, sparse rows, padding, holes, repeated
headers, steps within epochs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from log_forms import checked, loss
from reading_help import last_train, points, same

from stationmaster_trainer.errors import ConfigError, FormatError


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_lightnings_sparse_rows_are_put_together(tmp_path: Path) -> None:
    """Rates, train losses and validations stand in rows of their own, as CSVLogger writes them."""
    rows = ["epoch,lr-AdamW,step,train_loss_epoch,train_loss_step,val_acc,val_loss"]
    for i in range(50):
        rows += [f",0.01,{5 * i + 4},,,,", f"{i // 10},,{5 * i + 4},,{loss(i)},,"]
        if i % 10 == 9:
            rows += [f"{i // 10},,{5 * i + 4},,,0.5,{checked(i)}", f"{i // 10},,{5 * i + 4},{loss(i)},,,"]
    path = table(tmp_path / "metrics.csv", "\n".join(rows) + "\n")
    reading, train, evals = points(path)
    assert (reading.source, reading.columns["loss"], reading.columns["learning_rate"]) == (
        "Lightning CSV log",
        "train_loss_step",
        "lr-AdamW",
    )
    assert same(train, [(5 * i + 4, loss(i)) for i in range(50)])
    assert same(evals, [(5 * i + 4, checked(i)) for i in range(9, 50, 10)])
    assert last_train(path).learning_rate == 0.01


def test_keras_epochs_stand_for_steps(tmp_path: Path) -> None:
    rows = ["epoch,accuracy,loss,val_accuracy,val_loss,learning_rate"]
    rows += [f"{i},0.9,{loss(i)},0.8,{checked(i)},0.001" for i in range(40)]
    reading, train, evals = points(table(tmp_path / "log.csv", "\r\n".join(rows)))
    assert reading.source == "Keras CSV log" and "epochs are taken" in reading.notes[0]
    assert same(train, [(i, loss(i)) for i in range(40)]) and same(evals, [(i, checked(i)) for i in range(40)])


V5: str = """epoch train/box_loss train/obj_loss train/cls_loss metrics/precision metrics/mAP_0.5 val/box_loss
val/obj_loss val/cls_loss x/lr0 x/lr1 x/lr2"""
V8: str = """epoch time train/box_loss train/cls_loss train/dfl_loss metrics/precision(B) metrics/mAP50(B) val/box_loss
val/cls_loss val/dfl_loss lr/pg0 lr/pg1 lr/pg2"""


@pytest.mark.parametrize("header", [V5, V8], ids=["v5", "v8"])
def test_ultralytics_parts_are_summed_and_its_padding_is_no_obstacle(tmp_path: Path, header: str) -> None:
    names = header.split()
    rows = [",".join(f"{name:>23}" for name in names)]
    for i in range(30):
        cells = dict.fromkeys(names, 0.5)
        cells |= {name: loss(i) / 4 for name in names if name.startswith("train/")}
        cells |= {name: checked(i) / 4 for name in names if name.startswith("val/")}
        cells |= {"epoch": i, "x/lr0": 0.1, "lr/pg0": 0.1, "x/lr1": 0.01, "lr/pg1": 0.01}
        rows.append(",".join(f"{cells[name]:>23}" for name in names))
    path = table(tmp_path / "results.csv", "\n".join(rows) + "\n")
    reading, train, evals = points(path)
    assert reading.source == "Ultralytics results" and reading.columns["loss"].count("+") == 2
    assert same(train, [(i, 3 * loss(i) / 4) for i in range(30)], 1e-12)
    assert same(evals, [(i, 3 * checked(i) / 4) for i in range(30)], 1e-12)
    assert last_train(path).learning_rate == 0.01  # the first group is the biases', whose warm-up falls


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_other_delimiters_quotes_and_a_mark_at_the_start(tmp_path: Path, delimiter: str) -> None:
    rows = [["step", '"Train Loss"', "note"], *([str(i), f'"{loss(i)}"', '"a, b; c"'] for i in range(40))]
    path = tmp_path / "table.txt"
    path.write_text("\ufeff" + "\n".join(delimiter.join(row) for row in rows))
    reading, train, _ = points(path)
    assert reading.columns == {"step": "step", "loss": "Train Loss"} and reading.ignored == ["note"]
    assert same(train, [(i, loss(i)) for i in range(40)])


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-Infinity", "-inf", "Inf"])
def test_cells_that_are_not_finite_stay_so(tmp_path: Path, cell: str) -> None:
    rows = ["step,loss", *(f"{i},{cell if i == 20 else loss(i)}" for i in range(40))]
    _, train, _ = points(table(tmp_path / "log.csv", "\n".join(rows)))
    assert [step for step, value in train if not math.isfinite(value)] == [20]


def test_an_empty_loss_in_a_usual_row_is_not_finite_and_in_a_row_of_another_kind_is_a_gap(tmp_path: Path) -> None:
    rows = ["step,loss,lr,gpu", *(f"{i},{'' if i == 20 else loss(i)},0.1," for i in range(40)), "40,,,77"]
    _, train, _ = points(table(tmp_path / "log.csv", "\n".join(rows)))
    assert [step for step, value in train if math.isnan(value)] == [20] and train[-1][0] == 39


def test_a_header_that_a_resumed_run_wrote_again_is_no_row(tmp_path: Path) -> None:
    rows = [f"{i},{loss(i)}" for i in range(40)]
    text = "\n".join(["step,loss", *rows[:20], "step,loss", *rows[20:], "41", "42,1.0,7"])
    reading, train, _ = points(table(tmp_path / "log.csv", text))
    assert same(train, [(i, loss(i)) for i in range(40)]) and reading.skipped == 2


def test_steps_that_begin_anew_with_each_epoch_are_counted_on(tmp_path: Path) -> None:
    rows = ["epoch,step,loss", *(f"{i // 20},{i % 20},{loss(i)}" for i in range(60))]
    _, train, _ = points(table(tmp_path / "log.csv", "\n".join(rows)))
    assert same(train, [(i, loss(i)) for i in range(60)])


def test_steps_that_a_resumed_run_repeats_are_left_as_they_are(tmp_path: Path) -> None:
    steps = [*range(30), *range(20, 50)]
    rows = ["epoch,step,loss", *(f"{step // 10},{step},{loss(step)}" for step in steps)]
    _, train, _ = points(table(tmp_path / "log.csv", "\n".join(rows)))
    assert [step for step, _ in train] == steps


def test_a_column_that_is_filled_in_one_row_only_is_not_the_series(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": i, "train/nll": loss(i)} for i in range(60)]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"step": 60, "loss": 99.0}])))
    reading, train, _ = points(path)
    assert reading.columns["loss"] == "train/nll" and len(train) == 60


@pytest.mark.parametrize(
    "document",
    [
        [{"step": i, "loss": loss(i)} for i in range(40)],
        {"loss": [loss(i) for i in range(40)], "val_loss": [checked(i) for i in range(40)]},
        {"params": {"epochs": 40}, "history": {"loss": [loss(i) for i in range(40)]}},
        {"log": [{"train": {"loss": loss(i)}} for i in range(40)], "args": {"lr": 0.1}},
    ],
    ids=["rows", "columns", "columns below", "nested rows below"],
)
def test_json_documents_are_read(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps(document, indent=1))
    reading, train, _ = points(path)
    assert reading.source == "JSON document"
    assert [value for _, value in train] == [loss(i) for i in range(40)]


def test_a_mapping_may_sum_columns_and_leave_a_role_out(tmp_path: Path) -> None:
    rows = ["step,a,b,norm", *(f"{i},{loss(i)},1,5" for i in range(40))]
    path = table(tmp_path / "log.csv", "\n".join(rows))
    reading, train, _ = points(path, {"loss": "a+b", "grad_norm": ""})
    assert same(train, [(i, loss(i) + 1) for i in range(40)], 1e-12) and "grad_norm" not in reading.columns
    assert reading.ignored == ["norm"]


def test_a_mapping_that_does_not_fit_names_the_columns(tmp_path: Path) -> None:
    path = table(tmp_path / "log.csv", "step,cost\n1,2\n3,4\n")
    with pytest.raises(FormatError, match="'step', 'cost'"):
        points(path)
    with pytest.raises(ConfigError) as refused:
        points(path, {"loss": "costs"})
    assert "cost" in refused.value.way_out
