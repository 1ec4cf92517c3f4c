"""Preprocessing: fitted on the training part alone, saved, and applied to new rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from data_files import Files, everything, found
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stationmaster_trainer.columns import from_array
from stationmaster_trainer.errors import DataError, FormatError
from stationmaster_trainer.fitting import fit
from stationmaster_trainer.preprocessing import Preprocessing, TargetSpec
from stationmaster_trainer.table import Table

COLUMNS = {
    "size": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.5],
    "colour": ["red", "blue", "red", "green", "blue", "red", "red", "blue"],
    "alive": [True, False] * 4,
    "label": ["x", "y"] * 4,
}


def test_other_validation_rows_leave_every_statistic_as_it_is(files: Files) -> None:
    frame = pandas.DataFrame(COLUMNS)
    frame.to_csv(files.path / "t.csv", index=False)
    before = files.load("t.csv", "split")
    assert before.val is not None
    frame.loc[before.val.rows - 1, "size"] = 1e6
    frame.to_csv(files.path / "t.csv", index=False)
    after = files.load("t.csv", "split")
    assert after.preprocessing == before.preprocessing
    assert everything(after.val)[0].max() > 1e4  # type: ignore[arg-type]
    frame.loc[before.train.rows - 1, "size"] += 1
    frame.to_csv(files.path / "t.csv", index=False)
    assert files.load("t.csv", "split").preprocessing != before.preprocessing


def test_a_validation_file_changes_no_statistic(files: Files) -> None:
    files.table("t.csv", **COLUMNS)
    alone = files.load("t.csv")
    files.table("v.csv", size=[1e9], colour=["mauve"], alive=[True], label=["x"])
    both = files.load("t.csv", "v.csv")
    assert both.preprocessing == alone.preprocessing
    assert everything(both.val)[0][0, 1:4].tolist() == [0, 0, 0]  # type: ignore[arg-type]
    (unseen,) = found(both, "unseen_category")
    assert unseen.facts == {"colour": 1}


def test_what_was_saved_treats_new_rows_in_the_same_way(files: Files, tmp_path: Path) -> None:
    data = files.load(files.table("t.csv", **COLUMNS), "split")
    data.preprocessing.save(tmp_path)
    loaded = Preprocessing.load(tmp_path)
    assert loaded == data.preprocessing
    frame = pandas.read_csv(files.path / "t.csv")
    inputs, targets = loaded.transform(frame)
    train_inputs, train_targets = everything(data.train)
    assert targets is not None
    assert (inputs[data.train.rows - 1] == train_inputs).all() and (targets[data.train.rows - 1] == train_targets).all()
    again, none = loaded.transform(frame.drop(columns="label")[["alive", "colour", "size"]])
    assert (again == inputs).all() and none is None
    from_dict, _ = loaded.transform({"size": [1.0], "colour": ["red"], "alive": [True]})
    assert (from_dict == inputs[:1]).all()


def test_new_rows_that_do_not_fit_are_refused_by_name(files: Files) -> None:
    fitted = files.load(files.table("t.csv", **COLUMNS)).preprocessing
    frame = pandas.DataFrame(COLUMNS)
    with pytest.raises(DataError, match="lacks the column 'colour', 'alive'"):
        fitted.transform(frame.drop(columns=["colour", "alive"]))
    with pytest.raises(DataError, match=r"'size' of the new data has 1 cells .* \(row 2\)"):
        fitted.transform(frame.assign(size=[1.0, None, *range(6)]))
    with pytest.raises(DataError, match="'size' of the new data holds texts"):
        fitted.transform(frame.assign(size=["big"] * 8))
    with pytest.raises(DataError, match=r"unknown class 'z' \(rows 1, 2"):
        fitted.transform(frame.assign(label="z"))
    with pytest.raises(DataError, match="is a list"):
        fitted.transform([1, 2])


def test_missing_cells_of_new_rows_take_the_training_mean_when_that_was_chosen(files: Files) -> None:
    columns = {**COLUMNS, "size": [2.0, None, 4.0, 6.0, 2.0, 4.0, 6.0, 4.0]}
    fitted = files.load(files.table("t.csv", **columns), missing_values="mean", scale_inputs=False).preprocessing
    inputs, _ = fitted.transform({"size": [np.nan, 1.0], "colour": ["red", "blue"], "alive": [True, True]})
    assert inputs[:, 0].tolist() == [4, 1]


def test_images_and_text_are_treated_as_in_training(files: Files, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files.images("pets", cat=list(rng.integers(0, 256, (3, 6, 6))), dog=list(rng.integers(0, 256, (3, 6, 6))))
    data = files.load("pets")
    data.preprocessing.save(tmp_path)
    loaded = Preprocessing.load(tmp_path)
    inputs, _ = loaded.transform([files.path / "pets/cat/0.png", files.path / "pets/dog/2.png"])
    assert (inputs == data.train.batch(np.array([0, 5]))[0]).all()
    text = files.load(files.write("t.txt", "abcab" * 20), sequence_length=8).preprocessing
    text.save(tmp_path)
    tokens, _ = Preprocessing.load(tmp_path).transform("cab?")
    assert tokens.tolist() == [3, 1, 2, 0] and text.decode(tokens) == "cab\ufffd"


def test_the_vocabulary_knows_the_training_part_only(files: Files) -> None:
    data = files.load(files.write("t.txt", "ab" * 400 + "abz" * 60), "split", sequence_length=10)
    assert data.val is not None and data.preprocessing.characters == "ab"
    assert 0 in everything(data.val)[0]
    assert any("60 of 196 validation characters" in note for note in data.notes)


@given(
    values=arrays.arrays(
        np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32)
    )
)
@settings(max_examples=60)
def test_numbers_are_standardised_and_constant_ones_become_zero(values: np.ndarray) -> None:
    columns = {f"c{index}": from_array(f"c{index}", column) for index, column in enumerate(values.T)}
    table = Table("t", columns, np.arange(1, len(values) + 1))
    roles = dict.fromkeys(columns, "number")
    fitted = fit(table, roles, TargetSpec(), "custom", scale=True, missing_values="error", left_out={})
    inputs = fitted.inputs(table).astype(np.float64)
    assert np.isfinite(inputs).all() and np.abs(inputs.mean(axis=0)).max() < 1e-3
    for column, scaled in zip(values.T, inputs.T, strict=True):
        if np.ptp(column) == 0:
            assert np.abs(scaled).max() < 1e-6
        elif np.ptp(column) > 1e-6 * np.abs(column).max():
            assert abs(scaled.std() - 1) < 1e-3


def test_large_arrays_are_scaled_in_pieces_like_small_ones() -> None:
    values = np.random.default_rng(0).normal(3, 2, (3000, 700)).astype(np.float32)
    table = Table("t", {"x": from_array("x", values)}, np.arange(1, 3001))
    fitted = fit(table, {"x": "array"}, TargetSpec(), "custom", scale=True, missing_values="error", left_out={})
    wanted = (values - values.mean(axis=0, dtype=np.float64)) / values.std(axis=0, dtype=np.float64)
    assert np.abs(fitted.inputs(table) - wanted).max() < 1e-5


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"preprocessing\.json cannot be read"):
        Preprocessing.load(tmp_path)
    (tmp_path / "preprocessing.json").write_text('{"kind": "table"')
    with pytest.raises(FormatError, match=r"preprocessing\.json is not readable JSON"):
        Preprocessing.load(tmp_path)
    (tmp_path / "preprocessing.json").write_text('{"kind": "table", "task": "regression", "format": 99}')
    with pytest.raises(FormatError, match="format 99"):
        Preprocessing.load(tmp_path)
