"""A saved model of Transformers is looked at as files: what is wrong with it is said in words, its code is not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stationmaster_server.inspection import text
from stationmaster_server.project import inspect

Write = Callable[[dict[str, "str | bytes"]], Path]
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 4}


def weights(**shapes: tuple[int, ...]) -> bytes:
    """A safetensors file of zeros; a double underscore in a name is a dot."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name.replace("__", ".")] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + bytes(at)


WEIGHTS = weights(model__embed_tokens__weight=(10, 4), lm_head__weight=(10, 4))
GOOD = {
    "models/m/config.json": json.dumps(LLAMA),
    "models/m/tokenizer.json": "{}",
    "models/m/model.safetensors": WEIGHTS,
}
INDEX = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors", "c": "../x.bin"}})


def said(project: Path) -> str:
    return text(inspect(project, measured=False))


def test_a_whole_model_is_the_framework_and_nothing_is_wrong(write: Write) -> None:
    shown = said(write({**GOOD, "train.jsonl": '{"text": "a"}\n'}))
    assert "Framework: transformers" in shown
    assert "Error: models" not in shown and "Warning: models" not in shown


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"config.json": '{"model_type": "llama",'}, "Error: models/m/config.json is not JSON: "),
        ({"config.json": b"\xff\xfe\x00"}, "Error: models/m/config.json is not JSON: its text is damaged"),
        ({"config.json": "[]"}, "Error: models/m/config.json names no model_type: it is no model of Transformers"),
        ({"model.safetensors": None}, "Warning: models/m holds no weights: training would start from random ones"),
        ({"model.safetensors": WEIGHTS[:-9]}, "Error: models/m/model.safetensors is damaged: it has "),
        ({"model.safetensors": b"<html>not found</html>"}, "Error: models/m/model.safetensors is damaged: no weights"),
        ({"model.safetensors": b""}, "Error: models/m/model.safetensors is damaged"),
        ({"model.safetensors": b"\x02" + bytes(7) + b"[]"}, "Error: models/m/model.safetensors is damaged: Attribute"),
        (
            {"model.safetensors.index.json": INDEX},
            "models/m lacks model-00002-of-00002.safetensors, a part of its weights",
        ),
        ({"model.safetensors.index.json": "{"}, "Error: models/m/model.safetensors.index.json is not JSON"),
        (
            {"model.safetensors": weights(model__embed_tokens__weight=(12, 4))},
            "model.embed_tokens.weight is (12, 4), the config.json says vocab_size 10",
        ),
        (
            {"model.safetensors": weights(model__embed_tokens__weight=(10, 8))},
            "model.embed_tokens.weight is (10, 8), the config.json says hidden_size 4",
        ),
    ],
)
def test_a_damaged_model_is_named_with_its_file(
    write: Write, damage: dict[str, str | bytes | None], words: str
) -> None:
    files: dict[str, str | bytes | None] = {**GOOD, **{f"models/m/{name}": what for name, what in damage.items()}}
    project = write({name: what for name, what in files.items() if what is not None})
    shown = said(project)
    assert "Framework: transformers" in shown
    assert words in shown


def test_code_in_the_folder_is_named_and_not_run(write: Write, tmp_path: Path) -> None:
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": ["them--net.Own"]}}
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    shown = said(write({**GOOD, "models/m/config.json": json.dumps(own), "models/m/own.py": code}))
    assert "models/m (own) brings code of its own (net.py, own.py), which is not run unless the person agrees" in shown
    assert "extra.trust_remote_code: true" in shown
    assert not ran.exists()


def test_a_configuration_alone_is_a_model_to_train_from_scratch_and_other_settings_are_none(write: Write) -> None:
    shown = said(write({"tiny/config.json": json.dumps(LLAMA), "web/config.json": '{"port": 80}'}))
    assert "Framework: transformers" in shown
    assert "tiny holds no weights" in shown
    assert "web" not in shown.partition("Hardware")[0].partition("Data")[0]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(write: Write) -> None:
    import os

    project = write({name: what for name, what in GOOD.items() if not name.endswith("config.json")})
    os.mkfifo(project / "models" / "m" / "model.safetensors.index.json")
    (project / "models" / "m" / "config.json").write_text(json.dumps(LLAMA))
    assert "model.safetensors.index.json is not a plain file" in said(project)
