"""What a script's source says of its validation and its checkpoints, for each library that trains by itself."""

from __future__ import annotations

from pathlib import Path

import library_scripts as libraries
import pytest
import watch_scripts as watched

from stationmaster_server import scriptfacts


def look(folder: Path, text: str) -> scriptfacts.ScriptFacts:
    (folder / "train.py").write_text(text)
    return scriptfacts.look(folder, ["python", "train.py"])


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (libraries.TRAINER, "eval_dataset="),
        (libraries.LIGHTNING.format(name="pytorch_lightning"), "def validation_step"),
        (libraries.KERAS.format(backend="jax"), "validation_data="),
        (libraries.JAX, "def eval_step"),
        (libraries.ACCELERATE, "for … in eval_dataloader"),
        (watched.LOOP, "evaluated(loss=…)"),
        ("trainer.fit(model, train_loader, val_loader)", "fit(… val_loader …)"),
    ],
)
def test_validation_is_found_in_the_source(tmp_path: Path, text: str, sign: str) -> None:
    assert sign in " ".join(look(tmp_path, text).validation)


@pytest.mark.parametrize(
    "text",
    [
        "trainer.fit(model, train_loader)",
        "Trainer(model=model, train_dataset=train, eval_dataset=None)",
        "model.fit(x, y, validation_split=0)",
        watched.ONE_LINE,
    ],
)
def test_none_is_found_where_there_is_none(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, text).validation == ()


def test_what_a_library_saves_by_itself_is_known(tmp_path: Path) -> None:
    assert look(tmp_path, "TrainingArguments(output_dir='out')").saves_optimizer
    assert look(tmp_path, "TrainingArguments(output_dir='out', save_strategy='no')").saving == ()
    weights = look(tmp_path, "ModelCheckpoint('best.keras', save_weights_only=True)")
    assert weights.saving and not weights.saves_optimizer


def test_the_line_that_calls_watch_is_found(tmp_path: Path) -> None:
    assert look(tmp_path, watched.ONE_LINE).watches == "train.py:11"
    assert look(tmp_path, "from stationmaster import watch\nwatch(model=model)").watches == "train.py:2"
    assert look(tmp_path, "watch(model=model)").watches == ""
