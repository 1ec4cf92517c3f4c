"""Whatever bytes a file holds, reading it ends soon with an answer or a named error."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_forms import FORMS, loss
from reading_help import points

from stationmaster_trainer.errors import ConfigError, FormatError

NAMES = ["log.jsonl", "log.csv", "log.tsv", "log.json", "train.log", "events.out.tfevents.1", "run-1.wandb"]
WORDS = [
    "loss",
    "step",
    ": ",
    "=",
    "nan",
    "-inf",
    "1e999",
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    "\n",
    "\r",
    "\0",
    "1",
    "-",
    "/",
]
LINES = st.lists(st.sampled_from(WORDS), max_size=60).map("".join).map(str.encode)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


def read(path: Path) -> None:
    """An answer, or an error that names the file."""
    try:
        points(path)
    except (FormatError, ConfigError) as error:
        assert path.name in error.message


@settings(max_examples=150)
@given(data=st.one_of(st.binary(max_size=400), LINES), name=st.sampled_from(NAMES))
def test_any_bytes_end_in_an_answer_or_a_named_error(folder: Path, data: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(data)
    read(path)


@settings(max_examples=60)
@given(cut=st.integers(0, 5000), junk=st.one_of(st.binary(max_size=40), LINES), name=st.sampled_from(NAMES[:5]))
def test_junk_in_the_middle_of_a_log_leaves_the_rest_readable(folder: Path, cut: int, junk: bytes, name: str) -> None:
    path = folder / name
    rows = [{"step": i, "loss": loss(i), "lr": 0.1} for i in range(60)]
    texts = {
        "log.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "log.json": json.dumps(rows, indent=1),
        "train.log": FORMS["llm.c"].text(),
    }
    sign = "\t" if name.endswith(".tsv") else ","
    table = "\n".join([sign.join(("step", "loss", "lr")), *(sign.join(map(str, row.values())) for row in rows)])
    data = texts.get(name, table).encode()
    path.write_bytes(data[: cut % len(data)] + junk + data[cut % len(data) :])
    read(path)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"loss": ' + b"9" * 100_000 + b"}\n",
        b"loss " * 400_000,
        b"1" * 3_000_000,
        b"a,b,loss\n" + b"," * 2_000_000,
        b"\r" * 2_000_000,
        b"loss=nan " * 200_000,
        b'"' + b"step,loss\n1,2\n" * 50_000,
        b"\n".join(b"x%d loss %d" % (i, i) for i in range(30_000)),
    ],
    ids=["brackets", "nested", "digits", "words", "one number", "commas", "returns", "nan", "open quote", "all forms"],
)
@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.json", "train.log"])
def test_hostile_files_take_bounded_time(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    began = time.process_time()
    read(path)
    assert time.process_time() - began < 15.0


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(FormatError, match=r"no plain file|no log"):
        points(path)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(FormatError, match=name):
        points(path)


def test_a_line_longer_than_any_row_is_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [json.dumps({"step": i, "loss": loss(i)}) for i in range(50)]
    path.write_text("\n".join([*rows[:25], json.dumps({"dump": "x" * 5_000_000}), *rows[25:]]))
    reading, train, _ = points(path)
    assert (len(train), reading.skipped) == (50, 1)
