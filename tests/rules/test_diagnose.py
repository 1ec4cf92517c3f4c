"""`diagnose`: foreign JSON lines with any usual names, nulls and NaN, our own streams and run folders; the answer's
form."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from courses import evaluation, falling

from stationmaster_server.diagnose import diagnose
from stationmaster_trainer import codec
from stationmaster_trainer.contract import Finished, Launch, Train
from stationmaster_trainer.errors import ConfigError, FormatError
from stationmaster_trainer.readers import jsonl
from stationmaster_trainer.rundir import RunDir


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def losses(points: int = 200) -> list[float]:
    return [record.loss for record in falling(points) if isinstance(record, Train)]


def rules(answer: dict[str, Any]) -> set[str]:
    return {alert["rule"] for alert in answer["alerts"] if alert["severity"] != "info"}


@pytest.mark.parametrize(
    ("train", "validation", "rate", "norm", "step"),
    [
        ("loss", "eval_loss", "learning_rate", "grad_norm", "step"),
        ("train/loss", "eval/loss", "train/learning_rate", "train/grad_norm", "train/global_step"),
        ("train_loss", "val_loss", "lr", "gnorm", "iter"),
        ("Train Loss", "Valid Loss", "LR", "Grad Norm", "Iteration"),
        ("lm loss", "validation_loss", "lr-AdamW", "global_grad_norm", "_step"),
        ("train_loss_epoch", "val_loss_epoch", "lr/pg0", "gradient_norm", "epoch"),
    ],
)
def test_usual_column_names_are_recognised(
    tmp_path: Path, train: str, validation: str, rate: str, norm: str, step: str
) -> None:
    values = losses()
    values[150] *= 8
    rows = [{step: at, train: loss, rate: 1e-3, norm: 1.0} for at, loss in enumerate(values)]
    rows[99][validation] = 0.9
    answer = diagnose(write(tmp_path / "log.jsonl", rows))
    assert answer["columns"]["loss"] == train and answer["columns"]["eval_loss"] == validation
    assert answer["columns"]["learning_rate"] == rate and answer["columns"]["grad_norm"] == norm
    assert (answer["rows"], rules(answer), answer["alerts"][0]["first_step"]) == (200, {"loss_spike"}, 150)


def test_the_answer_has_the_promised_form(tmp_path: Path) -> None:
    rows = [{"step": at, "loss": loss} for at, loss in enumerate(losses())]
    rows[50]["loss"] = math.nan
    answer = diagnose(write(tmp_path / "log.jsonl", rows))
    assert {"source", "columns", "rows", "verdict", "alerts", "not_checked", "best"} <= answer.keys()
    (alert,) = answer["alerts"]
    assert {"rule", "severity", "first_step", "last_step", "message", "advice"} <= alert.keys()
    assert {"overfitting", "grad_norm_spike", "learning_rate_near_zero"} <= {
        item["rule"] for item in answer["not_checked"]
    }
    assert answer["best"]["metric"] == "train/loss"
    json.dumps(answer, allow_nan=False)


def test_a_loss_written_as_null_or_nan_or_text_is_not_finite(tmp_path: Path) -> None:
    for bad in (None, math.nan, "NaN", math.inf, "-inf"):
        rows: list[dict[str, Any]] = [{"step": at, "loss": loss} for at, loss in enumerate(losses())]
        rows[120]["loss"] = bad
        assert rules(diagnose(write(tmp_path / "log.jsonl", rows))) == {"non_finite"}, bad


def test_empty_cells_of_a_wide_table_are_no_nan(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for at, loss in enumerate(losses()):
        rows.append({"_step": 2 * at, "loss": loss, "val_loss": None, "gpu": None})
        rows.append({"_step": 2 * at + 1, "loss": None, "val_loss": 0.9 if at % 50 == 0 else None, "gpu": 0.7})
    answer = diagnose(write(tmp_path / "log.jsonl", rows))
    assert rules(answer) == set()


def test_rows_of_system_figures_between_the_losses_are_no_nan(tmp_path: Path) -> None:
    rows = [{"step": at, "loss": loss if at % 4 == 0 else None, "gpu": 0.5} for at, loss in enumerate(losses(800))]
    assert rules(diagnose(write(tmp_path / "log.jsonl", rows))) == set()


def test_validation_rows_marked_by_a_split_column_are_told_apart(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for at, loss in enumerate(losses()):
        rows.append({"step": at, "split": "train", "loss": loss})
        if at % 20 == 19:
            rows.append({"step": at, "split": "val", "loss": 3.0 * loss})
    answer = diagnose(write(tmp_path / "log.jsonl", rows))
    assert rules(answer) == set() and answer["best"]["metric"] == "eval/loss"


def test_nested_rows_are_flattened(tmp_path: Path) -> None:
    rows = [{"step": at, "train": {"loss": loss, "lr": 1e-3}} for at, loss in enumerate(losses())]
    answer = diagnose(write(tmp_path / "log.jsonl", rows))
    assert answer["columns"] == {"step": "step", "loss": "train/loss", "learning_rate": "train/lr"}


def test_a_mapping_corrects_the_columns(tmp_path: Path) -> None:
    rows = [{"step": at, "loss": 1.0, "objective": loss} for at, loss in enumerate(losses())]
    path = write(tmp_path / "log.jsonl", rows)
    assert diagnose(path)["verdict"] == "not_learning"
    answer = diagnose(path, {"loss": "objective"})
    assert (answer["columns"]["loss"], answer["verdict"]) == ("objective", "converged")


@pytest.mark.parametrize(("mapping", "names"), [({"loss": "objektive"}, "objektive"), ({"lost": "loss"}, "lost")])
def test_a_mapping_that_does_not_fit_is_refused_with_what_there_is(
    tmp_path: Path, mapping: dict[str, str], names: str
) -> None:
    path = write(tmp_path / "log.jsonl", [{"step": 1, "loss": 1.0}])
    with pytest.raises(ConfigError) as refused:
        diagnose(path, mapping)
    assert names in refused.value.message and "loss" in refused.value.way_out


@pytest.mark.parametrize("content", ["", "hello\n", '{"step": 1, "speed": 3}\n', '{"loss": "many"}\n', "[1, 2]\n"])
def test_a_file_without_a_loss_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(content)
    with pytest.raises(FormatError) as refused:
        diagnose(path)
    assert "log.jsonl" in refused.value.message


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nowhere"):
        diagnose(tmp_path / "nowhere.jsonl")


def test_torn_lines_are_counted_and_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [{"step": at, "loss": loss} for at, loss in enumerate(losses())])
    path.write_bytes(path.read_bytes()[:-9] + b"\n\xff\xfe{\n")
    answer = diagnose(path)
    assert (answer["rows"], answer["skipped"]) == (199, 2)


def test_a_very_long_log_is_folded_without_losing_a_spike_of_one_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    values = losses(60_000)
    values[45_007] = 9.0
    with path.open("w") as file:
        file.writelines(f'{{"step": {at}, "loss": {loss:.5f}}}\n' for at, loss in enumerate(values))
    answer = diagnose(path)
    assert answer["rows"] == 60_000 and "folded" in answer["notes"][0]
    found = [(alert["rule"], alert["first_step"]) for alert in answer["alerts"] if alert["severity"] != "info"]
    assert found == [("loss_spike", 45_007)]


def test_our_own_stream_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    path.write_bytes(b"".join(codec.line(record) for record in [*falling(100), evaluation(100, 0.6)]))
    answer = diagnose(path)
    assert answer["source"].startswith("stationmaster stream") and answer["rows"] == 101
    assert answer["best"] == {"step": 100, "value": 0.6, "metric": "eval/loss", "near": [100]}


def test_a_run_folder_is_judged_without_its_superseded_records(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    records = falling(200)
    wild = [codec.line(record) for record in records[:100]] + [b'{"kind": "train", "torn\n']
    again = [codec.line(record) for record in records[80:]] + [codec.line(Finished(0.0, 0.0, 200, "completed", 1.0, 1))]
    for number, lines, start in ((1, wild, 0), (2, again, 80)):
        attempt = run.attempt(number)
        attempt.path.mkdir(parents=True)
        attempt.stream.write_bytes(b"".join(lines))
        launch = Launch(number, ("python",), str(tmp_path), {}, (), resume_step=start)
        attempt.launch.write_text(codec.dumps(launch))
    answer = diagnose(run.path)
    assert (answer["rows"], answer["skipped"], rules(answer)) == (201, 1, set())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no training log"):
        diagnose(tmp_path)


def test_reading_starts_with_the_columns_and_ends_with_the_count(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", [{"step": at, "loss": loss} for at, loss in enumerate(losses(50))])
    reading = jsonl.read(path)
    assert (reading.columns, reading.rows) == ({"step": "step", "loss": "loss"}, 0)
    assert len(list(reading.records)) == 50 == reading.rows
