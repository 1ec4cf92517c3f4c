"""Long logs of one form are cut into whole columns: what comes out is what a look at each line gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationmaster_trainer.contract import Eval, Record, Train
from stationmaster_trainer.readers import _strides
from stationmaster_trainer.readers._folder import open_log

ROWS = 3000


def told(path: Path) -> tuple[list[Any], int, int]:
    """(what the records say, rows, rows that could not be read)."""
    reading = open_log(path)
    records = [said(record) for record in reading.records]
    return records, reading.rows, reading.skipped


def said(record: Record) -> tuple[Any, ...]:
    assert isinstance(record, (Train, Eval))
    figures = (record.grad_norm, record.learning_rate) if isinstance(record, Train) else tuple(record.metrics.items())
    return record.kind, record.step, repr(record.loss), *map(repr, figures)


def json_line(step: int) -> str:
    if step % 500 == 0:
        return json.dumps({"step": step, "eval_loss": 3.0 - step / ROWS, "eval_accuracy": 0.5})
    loss = None if step == 700 else float("nan") if step == 900 else 2.0 + 1.0 / step
    row = {"note": f"at {step}, {{fine", "step": step, "loss": loss, "learning_rate": 1e-3, "grad_norm": 0.5 + step % 7}
    if step == 1100:
        row = dict(reversed(row.items()))
    return '{"step": 1300, "loss": 1.' if step == 1300 else json.dumps(row)


def text_line(step: int) -> str:
    if step % 500 == 0:
        return f"step {step} | val loss {3.0 - step / ROWS:.4f}"
    loss = "nan" if step == 900 else f"{2.0 + 1.0 / step:.4f}"
    if step == 1100:
        return "a line that says nothing: restarted 3 workers"
    return f"step {step:6d}/{ROWS} | loss {loss} | norm {0.5 + step % 7:.4f} | lr {1e-3:.2e} | 305.{step % 9} ms"


def table_line(step: int) -> str:
    checked = f"{3.0 - step / ROWS:.4f}" if step % 500 == 0 else ""
    loss = "nan" if step == 900 else f"{2.0 + 1.0 / step:.4f}"
    row = f"{step},{loss},{checked},0.001,{0.5 + step % 7}"
    return {1100: "1100,1.0", 1300: f"1300,{loss},,0.001", 1700: f'"{step}",{loss},,0.001,1.5'}.get(step, row)


@pytest.mark.parametrize(
    ("name", "line", "head"),
    [
        ("log.jsonl", json_line, ""),
        ("train.log", text_line, ""),
        ("metrics.csv", table_line, "step,train_loss,val_loss,lr,grad_norm\n"),
    ],
)
def test_whole_columns_say_what_each_line_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: Callable[[int], str], head: str
) -> None:
    path = tmp_path / name
    path.write_text(head + "\n".join(map(line, range(1, ROWS + 1))) + "\n")
    fast = told(path)
    for reader in ("jsonl.cut", "text.cut", "csv._plain"):
        monkeypatch.setattr(f"stationmaster_trainer.readers.{reader}", lambda *rest: None)
    assert fast == told(path)
    trains = [one for one in fast[0] if one[0] == "train"]
    assert len(trains) > 0.99 * (ROWS - ROWS // 500) - 3 and any(one[2] == "nan" for one in trains)
    assert len(fast[0]) - len(trains) == ROWS // 500


def test_a_line_whose_pieces_stand_in_another_order_is_not_of_the_form() -> None:
    lines = [f"a={n} b={n + 1}" for n in range(20)]
    lines[7] = "b=1 a=2"
    columns, others = _strides.cut(lines, ("a=", " b=")) or ([], [])
    assert others == [7] and len(columns[1]) == 19 and columns[2][7] == "9"
    lines[3] = "a=1 b=2 b=3"
    assert (_strides.cut(lines, ("a=", " b=")) or ([], []))[1] == [3, 7]


def test_a_log_that_holds_the_marks_themselves_is_not_cut() -> None:
    assert _strides.cut(["a=1\x01 b=2", "a=1 b=2", "a=3 b=4"], ("a=", " b=")) is None
