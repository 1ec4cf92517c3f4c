"""Rows are shown by their numbers, short, whatever the format."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import Files

from stationmaster_trainer import measure, rowtext
from stationmaster_trainer.facts import Request


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_a_row_of_every_format_is_found_by_its_number(files: Files, suffix: str) -> None:
    name = files.table(f"t.{suffix}", size=np.arange(20), text=[f"words, of {at}" for at in range(20)])
    names = {"train": name, "val": name}
    said = rowtext.of(files.path, names, [("train", 3), ("val", 20), ("train", 99)])
    assert said[:2] == ("train row 3: size: 2; text: words, of 2", "val row 20: size: 19; text: words, of 19")
    assert said[2] == "train row 99: not found"


def test_long_cells_and_many_rows_are_cut(files: Files) -> None:
    name = files.table("t.jsonl", text=["x" * 9000] * 30)
    said = rowtext.of(files.path, {"train": name}, [("train", row) for row in range(1, 31)])
    assert len(said) == rowtext.MOST and max(map(len, said)) < 200


def test_images_lines_and_requests(files: Files) -> None:
    folder = files.images("pets", cat=[np.zeros((4, 4))], dog=[np.ones((4, 4))])
    assert rowtext.of(files.path, {"train": folder}, [("train", 2)]) == ("train row 2: dog/0.png",)
    text = files.write("t.txt", "one\n\ntwo\n")
    config = {"train_data": text, "val_data": "split", "rows": [["val", 3]]}
    assert measure.answer(Request("rows", str(files.path), config=config)).rows == ("val row 3: two",)
    arrays = files.arrays("t.npz", x=np.zeros((4, 2)), y=np.arange(4) % 2)
    refused = measure.answer(Request("rows", str(files.path), config={**config, "train_data": arrays}))
    assert refused.error == "DataError" and "cannot be shown" in refused.message
