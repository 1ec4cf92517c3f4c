"""Data that cannot be used: each error names the thing, the place and the way out."""

from __future__ import annotations

import os

import numpy as np
import pytest
from data_files import Files, everything

from stationmaster_trainer.errors import ConfigError, DataError

GOOD = "a,b,label\n1,2,x\n3,4,y\n5,6,x\n"


@pytest.mark.parametrize(
    ("content", "said", "way_out"),
    [
        ("", "t.csv is empty (0 bytes)", "holds data"),
        ("\n \n", "t.csv is empty", "holds data"),
        ("a,b,label\n", "has column names but no rows", "holds data"),
        ("a,b,label\n1,2,x\n3,4,y,9\n", "Expected 3 fields in line 3, saw 4", "as many fields"),
        ("a,b,label\n1,2,x\n3,4\n", "row 2 of t.csv has 2 fields, the header names 3", "separator"),
        ("a,b\n1,2,x\n3,4,y\n", "more fields than its header, which names 2", "missing names"),
        ('a,b,label\n1,"2,x\n3,4,y\n', "EOF inside string", "Correct that line"),
        ("a,a,label\n1,2,x\n3,4,y\n", "has the column 'a' 2 times", "a name of its own"),
        (
            "5.1,3.5,1.4,setosa\n4.9,3.0,1.4,virginica\n",
            "looks like data, not like column names: '5.1'",
            "Add a first line",
        ),
        ("39,State,13,No\n50,Self,13,No\n38,State,9,Yes\n39,State,13,Yes\n", "looks like data", "Add a first line"),
        (b"a,b,label\n1,2,caf\xe9\n", "line 2 holds the byte 0xe9", "UTF-8"),
        (GOOD.encode("utf-16"), "encoded in UTF-16", "UTF-8"),
        ("a,b,label\n1,2,x\n3,,y\n5,6,x\n", "column 'b' of t.csv has 1 missing cell in 3 rows (row 2)", "`drop`"),
        ("a,b,label\n1,2,x\n3,inf,y\n5,6,x\n", "column 'b' of t.csv has 1 infinite cell in 3 rows (row 2)", "`mean`"),
        ("a,b,label\n1,2,x\n3,NaN,y\n5,6,x\n", "column 'b' of t.csv has 1 missing cell in 3 rows (row 2)", "`mean`"),
        (
            "a,b,label\n1,2,x\n3,4,\n5,6,y\n",
            "target column 'label' of t.csv has 1 missing cell in 3 rows (row 2)",
            "drop",
        ),
        ("a,b,label\n1,2,\n3,4,\n", "target column 'label' of t.csv is empty in every row", "another target"),
        ("a,b,label\n1,2,x\n3,4,x\n", "holds one value only in 2 rows", "another class"),
        ("a,b,y\n1,2,7.5\n3,4,7.5\n", "holds one value only in 2 rows", "another target"),
        ("label\nx\ny\n", "no column beside the target", "Add columns"),
        ("day,label\n2024-01-01,x\n2024-01-02,y\n", "dates are no quantity", "build_data"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_with_the_reason(
    files: Files, content: str | bytes, said: str, way_out: str
) -> None:
    error = files.refused(files.write("t.csv", content))
    assert isinstance(error, DataError)
    assert said in error.message and way_out in error.way_out, str(error)


def test_a_missing_file_is_named_with_the_closest_one(files: Files) -> None:
    files.write("train.csv", GOOD)
    error = files.refused("trian.csv")
    assert error.message == "trian.csv does not exist." and error.way_out == "Did you mean train.csv?"
    assert "train.csv" in files.refused("other.csv").way_out
    assert "nor does its folder" in files.refused("no/where.csv").message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(files: Files) -> None:
    (files.path / files.write("t.csv", GOOD)).chmod(0)
    assert "Permission denied" in files.refused("t.csv").message


def test_an_unreadable_path_is_named(files: Files) -> None:
    (files.path / "loop.csv").symlink_to("loop.csv")
    assert "loop.csv cannot be read" in files.refused("loop.csv").message


def test_a_pipe_is_refused_at_once(files: Files) -> None:
    os.mkfifo(files.path / "t.csv")
    assert "no regular file" in files.refused("t.csv").message


def test_a_folder_in_place_of_a_file_names_a_file_in_it(files: Files) -> None:
    files.write("data/t.csv", GOOD)
    error = files.refused("data")
    assert "is a folder with 1 data file" in error.message and "data/t.csv" in error.way_out
    (files.path / "nothing").mkdir()
    assert "holds no data" in files.refused("nothing").message


def test_an_unknown_suffix_lists_what_is_supported(files: Files) -> None:
    error = files.refused(files.write("t.xlsx", "x"))
    assert "'.xlsx'" in error.message and "parquet" in error.way_out


def test_a_label_column_that_is_not_there_lists_the_columns_and_the_closest(files: Files) -> None:
    error = files.refused(files.write("t.csv", GOOD), target="Labels")
    assert "no target column 'Labels'" in error.message and "'a', 'b', 'label'" in error.message
    assert error.way_out == "Did you mean 'label'?"
    assert "no group column 'patient'" in files.refused("t.csv", "split", group_column="patient").message


def test_cells_that_are_no_numbers_are_named_with_their_rows(files: Files) -> None:
    ages = [*range(20, 50), "old", 51, "?", "unknown"]
    files.table("t.csv", age=ages, size=range(34), label=["x", "y"] * 17)
    error = files.refused("t.csv")
    assert "column 'age' of t.csv holds numbers except in 2 cells: row 31: 'old', row 34: 'unknown'" in error.message
    data = files.load("t.csv", missing_values="drop")
    assert (len(data.train), data.dropped) == (31, 3)


def test_a_mixed_column_of_few_texts_is_a_category(files: Files) -> None:
    name = files.table("t.csv", grade=["1", "2", "3", "4+"] * 10, size=range(40), label=["x", "y"] * 20)
    assert [feature.kind for feature in files.load(name, scale_inputs=False).preprocessing.features] == ["category"]


def test_missing_cells_are_dropped_or_filled_when_asked(files: Files) -> None:
    columns = {"a": [1.0, None, 3.0, 5.0, 2.0], "b": [1, 2, 3, 4, 9], "c": ["p", "q", None, "p", "q"]}
    name = files.table("t.csv", **columns, y=[0.5, 1.5, 2.5, None, 3.5])
    dropped = files.load(name, missing_values="drop", scale_inputs=False)
    assert (dropped.train.rows.tolist(), dropped.dropped) == ([1, 5], 3)
    filled = files.load(name, missing_values="mean", scale_inputs=False)
    inputs, _ = everything(filled.train)
    assert filled.dropped == 1  # the row without a target
    assert inputs[:, 0].tolist() == [1, 2, 3, 2]  # the mean of 1, 3 and 2
    assert inputs[2, 2:].tolist() == [0, 0]  # no category


def test_a_row_of_missing_cells_everywhere_leaves_none(files: Files) -> None:
    name = files.table("t.csv", a=[1.0, None], b=[None, 2.0], label=["x", "y"])
    assert "none is left" in files.refused(name, missing_values="drop").message


def test_an_empty_column_is_left_out_whatever_the_policy(files: Files) -> None:
    data = files.load(files.table("t.csv", a=[1, 2, 3], b=[None] * 3, label=["x", "y", "x"]))
    assert data.input_shape == (1,) and "no inputs: 'b' (it is empty in every row)" in data.notes


def test_text_inputs_are_refused_when_there_is_nothing_else(files: Files) -> None:
    texts = [f"a sentence of its own, number {index}" for index in range(60)]
    files.table("t.csv", text=texts, label=["x", "y"] * 30)
    error = files.refused("t.csv")
    assert "60 different texts" in error.message and "Transformers" in error.way_out
    files.table("u.csv", text=texts, size=range(0, 120, 2), label=["x", "y"] * 30)
    data = files.load("u.csv")
    assert data.input_shape == (1,) and data.findings[0].check == "left_out" and data.findings[0].severity == "warning"


def test_a_target_of_names_is_no_classification(files: Files) -> None:
    name = files.table("t.csv", size=range(40), name=[f"person {index}" for index in range(40)])
    assert "40 different values in 40 rows" in files.refused(name).message


def test_validation_without_a_column_names_it(files: Files) -> None:
    files.table("t.csv", a=[1, 2, 3], b=[1, 2, 3], label=["x", "y", "x"])
    files.table("v.csv", a=[1, 2], label=["x", "y"])
    assert "v.csv lacks the column 'b' that t.csv has" in files.refused("t.csv", "v.csv").message


def test_validation_with_texts_in_a_numeric_column_is_refused(files: Files) -> None:
    files.table("t.csv", a=[1, 2, 3], label=["x", "y", "x"])
    files.table("v.csv", a=["one", "two"], label=["x", "y"])
    error = files.refused("t.csv", "v.csv")
    assert "'a' of v.csv holds texts, the training data had number cells" in error.message


def test_validation_of_another_kind_is_refused(files: Files) -> None:
    files.write("t.csv", GOOD)
    error = files.refused("t.csv", files.write("v.txt", "text"))
    assert "t.csv holds csv, but v.txt holds text" in error.message


def test_numbers_beyond_single_precision_are_refused(files: Files) -> None:
    name = files.table("t.csv", a=[1.0, 1e300, 3.0], label=["x", "y", "x"])
    assert "too large for single precision (row 2)" in files.refused(name, scale_inputs=False).message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1, "label": "x"}\n{"a": 2, "label"\n', "line 2 of t.jsonl is not readable JSON"),
        ('{"a": 1, "label": "x"}\n[1, 2]\n', "line 2 of t.jsonl holds a list"),
        ("\n\n", "t.jsonl is empty"),
        ('[{"a": 1}, 2]', "something else than objects"),
        ('{"s": [1, 2], "label": "x"}\n{"s": [1], "label": "y"}\n', "lists of different length: 2 and, in row 2, 1"),
        (b'{"a": "\xff", "label": "x"}\n', "line 1 holds the byte 0xff"),
    ],
)
def test_json_lines_that_cannot_be_used_name_the_line(files: Files, content: str | bytes, said: str) -> None:
    assert said in files.refused(files.write("t.jsonl", content)).message


def test_damaged_archives_are_named(files: Files) -> None:
    assert "no readable parquet" in files.refused(files.write("t.parquet", b"PAR1 no more")).message
    assert "no numpy archive" in files.refused(files.write("t.npz", b"PK\x03\x04 cut")).message
    files.arrays("whole.npz", x=np.zeros((50, 50)), y=np.arange(50) % 2)
    content = bytearray((files.path / "whole.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    assert "damaged" in files.refused(files.write("flipped.npz", bytes(content))).message


def test_pickled_objects_are_never_loaded(files: Files) -> None:
    files.arrays("t.npz", x=np.array([{"a": 1}, None], dtype=object), y=np.arange(2))
    assert "could run code" in files.refused("t.npz").message


def test_arrays_of_unequal_length_are_named(files: Files) -> None:
    error = files.refused(files.arrays("t.npz", x=np.zeros((5, 2)), y=np.zeros(4)))
    assert "x (5, 2)" in error.message and "y (4,)" in error.message
    assert "no target" in files.refused(files.arrays("u.npz", x=np.zeros((5, 2)))).message


def test_image_folders_that_cannot_be_used_are_named(files: Files) -> None:
    grey = np.full((4, 4), 9)
    files.images("one", cat=[grey])
    assert "one class only ('cat')" in files.refused("one").message
    files.images("flat/..", flat=[grey])
    assert "no sub-folders with images, but 1 images of its own" in files.refused("flat").message
    files.images("bad", cat=[grey], dog=[grey])
    files.write("bad/dog/1.png", b"\x89PNG broken")
    assert "bad/dog/1.png cannot be read" in files.refused("bad").message


def test_a_cut_off_image_is_found_before_the_start(files: Files) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64))
    files.images("cut", cat=[noise], dog=[noise])
    content = (files.path / "cut/dog/0.png").read_bytes()
    files.write("cut/dog/0.png", content[: len(content) // 2])
    assert "cut/dog/0.png cannot be read" in files.refused("cut").message


def test_a_text_shorter_than_a_window_says_which_length_fits(files: Files) -> None:
    error = files.refused(files.write("t.txt", "short text"), sequence_length=128)
    assert "10 tokens" in error.message and "at most 4" in error.way_out
    assert "holds no text" in files.refused(files.write("u.txt", "  \n")).message
    assert "not UTF-8" in files.refused(files.write("v.txt", b"caf\xe9 " * 99)).message


def test_impossible_keys_are_refused_by_name(files: Files) -> None:
    files.write("t.csv", GOOD)
    for config, said in (
        ({"val_fraction": 1.5}, "val_fraction is 1.5"),
        ({"missing_values": "guess"}, "missing_values is 'guess'"),
        ({"task": "clustering"}, "task is 'clustering'"),
        ({"extra": {"image_size": "big"}}, "extra.image_size is 'big'"),
        ({"sequence_length": 0}, "sequence_length is 0"),
        ({"train_data": ""}, "train_data is not set"),
    ):
        with pytest.raises(ConfigError, match=said):
            files.load(**{"train_data": "t.csv", **config})  # type: ignore[arg-type]
    assert isinstance(files.refused("t.csv", "build_data"), ConfigError)
    assert "no function build_data" in files.refused("build_data").message
