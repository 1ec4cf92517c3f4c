"""Folders and files of other libraries: told with what they are, not taken for data, opened as little as possible."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stationmaster_server import foreignfolders, inspection
from stationmaster_server.listing import walk
from stationmaster_server.project import inspect

Write = Callable[[dict[str, "str | bytes"]], Path]
KINDS: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "an adapter": (
        {
            "lora/adapter_config.json": '{"base_model_name_or_path": "a/b"}',
            "lora/adapter.safetensors": "x",
        },
        "adapter",
        "lora (PEFT adapter, 35 B, of a/b)",
    ),
    "a pipeline": ({"sd/model_index.json": "{}", "sd/unet/config.json": "{}"}, "pipeline", "sd (Diffusers pipeline)"),
    "a data set of datasets": (
        {"data/d/dataset_info.json": "{}", "data/d/state.json": "{}", "data/d/data-00000-of-00001.arrow": "ab"},
        "datasets folder",
        "data/d (`datasets`, 1 Arrow file, 6 B)",
    ),
    "a dictionary of data sets": (
        {"ds/dataset_dict.json": "{}", "ds/train/dataset_info.json": "{}", "ds/train/data.arrow": ""},
        "datasets folder",
        "ds (DatasetDict of `datasets`)",
    ),
    "web shards": (
        {f"shards/train-{at:06}.tar": "abc" for at in range(3)},
        "shards",
        "shards/train*.tar (3 shards, 9 B)",
    ),
    "shards of records": (
        {f"tf/train-0000{at}-of-00002.tfrecord": "abc" for at in range(2)},
        "shards",
        "tf/train*.tfrecord (2 shards, 6 B)",
    ),
    "binary tokens": ({"data/train.bin": "abcd"}, "data", "data/train.bin (binary tokens, 4 B)"),
    "HDF5": ({"x.h5": "abcd"}, "data", "x.h5 (HDF5, 4 B)"),
    "weights alone": ({"out/best.pt": "abcd"}, "weights", "out/best.pt (weights, 4 B)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_other_libraries_wrote_is_told(write: Write, kind: str) -> None:
    files, name, told = KINDS[kind]
    facts = inspect(write(dict(files)), setting=sys.executable, measured=False)
    assert [one.kind for one in facts.foreign] == [name]
    assert f"Also: {told}" in inspection.text(facts)
    assert facts.data == ()


def test_shards_of_tables_are_told_as_one_and_stay_data(write: Write) -> None:
    root = write({f"data/train-0000{at}-of-00003.parquet": "x" for at in range(3)})
    found = walk(root)
    assert [(one.path, one.detail) for one in found.foreign] == [("data/train*.parquet", "3 shards, 3 B")]
    assert len(found.data) == 3


@pytest.mark.parametrize("settings", [b"[" * 60_000, b"\xff", b'{"base_model_name_or_path": 3}', b"x" * 100_000, b"[]"])
def test_settings_of_an_adapter_that_say_nothing_hide_nothing(write: Write, settings: bytes) -> None:
    root = write({"lora/adapter_config.json": settings})
    (one,) = walk(root).foreign
    assert foreignfolders.with_base(root, one) == one


def test_a_pipe_in_the_place_of_an_adapters_settings_is_not_waited_for(write: Write) -> None:
    root = write({"lora/x.safetensors": ""})
    os.mkfifo(root / "lora" / "adapter_config.json")
    one = foreignfolders.Foreign("lora", "adapter", "PEFT adapter")
    assert foreignfolders.with_base(root, one) == one
