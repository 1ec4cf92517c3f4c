"""`checkpoints/<run>/model/`: the best model as its users load it, by the lines of its own card."""

from __future__ import annotations

import errno
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_bench import by_the_card, card_of, folder_of
from training_project import KILLED, MLP, Project

from stationmaster_trainer import best_model, manifest, model_card
from stationmaster_trainer.contract import Checkpoint, Eval, Finished, Note

SCORE = "\nprint('accuracy', float((outputs.argmax(1).numpy() == targets).mean()))\n"
TIED = """
from torch import nn

from .parts import block


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.first, self.last = block(in_features), nn.Linear(in_features, num_classes)
        self.second = self.first

    def forward(self, x):
        return self.last(self.second(self.first(x)))
"""
PART = """
from torch import nn


def block(size):
    return nn.Sequential(nn.Linear(size, size), nn.Tanh())
"""
EXTRA = """
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x):
        self.seen += self.training
        return x

    def get_extra_state(self):
        return torch.tensor(self.seen)

    def set_extra_state(self, state):
        self.seen = int(state)


class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int):
        super().__init__()
        self.norm, self.last = Norm(), nn.Linear(in_features, num_classes)

    def forward(self, x):
        return self.last(self.norm(x))
"""


def trouble(project: Project) -> list[str]:
    """What the newest attempt said of the best model."""
    return [note.message for note in project.records(Note) if "model" in note.facts]


@pytest.mark.parametrize("kind", ["plain", "tied parts in a package", "extra state"])
def test_the_lines_of_the_card_give_the_recorded_validation_accuracy(digits: Project, kind: str) -> None:
    settings: dict[str, Any] = {}
    if kind == "tied parts in a package":
        (digits.path / "nets").mkdir()
        for name, text in (("__init__", ""), ("parts", PART), ("tied", TIED)):
            (digits.path / "nets" / f"{name}.py").write_text(textwrap.dedent(text))
        settings["model_path"] = "nets/tied.py"
    elif kind == "extra state":
        digits.model(EXTRA)
    digits.train_here(val_data="val.npz", total_steps=60, **settings)
    assert trouble(digits) == []
    best = [record for record in digits.records(Checkpoint) if record.best][-1]
    assert f"step {best.step} of 60 planned" in card_of(digits)
    (digits.path / "nets" / "tied.py").unlink(missing_ok=True)  # the folder has its own copy
    digits.model("raise SystemExit('not this one')")
    said = by_the_card(digits, SCORE)
    assert float(said.split()[-1]) == pytest.approx(best.metrics["accuracy"], abs=1e-9)


def test_the_card_has_the_head_of_the_hub_and_says_what_is_known(digits: Project) -> None:
    import yaml

    digits.train_here(val_data="val.npz", total_steps=20)
    text = card_of(digits)
    head = yaml.safe_load(text.split("---")[1])
    assert (head["library_name"], head["datasets"], head["metrics"]) == ("pytorch", ["data.npz"], ["accuracy"])
    (result,) = head["model-index"][0]["results"]
    evals = digits.records(Eval)
    assert result["metrics"][0] == {"type": "accuracy", "value": pytest.approx(evals[-1].metrics["accuracy"])}
    assert result["dataset"] == {"name": "val.npz", "type": "local", "split": "validation"}
    assert "| learning_rate | 0.003 |" in text and "It was not scored on a held-out test set" in text
    from huggingface_hub import ModelCard

    assert ModelCard(text).data.library_name == "pytorch"  # as the Hub's own reader sees it
    names = sorted(path.relative_to(folder_of(digits)).as_posix() for path in folder_of(digits).rglob("*"))
    assert names == ["README.md", "code", "code/model.py", "model.safetensors", "origin.json", "preprocessing.json"]


def test_a_resumed_run_with_a_better_best_replaces_it_and_an_equal_one_leaves_it(digits: Project) -> None:
    digits.train_here(val_data="val.npz", total_steps=20)
    first = model_card.read_origin(folder_of(digits))
    assert first is not None and first.step == 20
    made = folder_of(digits).stat().st_ino
    digits.train_here(resume=True)  # nothing is left to do
    assert folder_of(digits).stat().st_ino == made
    digits.train_here(resume=True, total_steps=60)
    second = model_card.read_origin(folder_of(digits))
    assert second is not None and second.step > 20
    assert second.eval_loss is not None and first.eval_loss is not None and second.eval_loss < first.eval_loss
    weights = (digits.checkpoints / f"checkpoint-{second.step}" / "model.safetensors").read_bytes()
    assert (folder_of(digits) / "model.safetensors").read_bytes() == weights
    assert [path.name for path in digits.checkpoints.iterdir() if path.name.startswith(".")] == []
    steps = [step for step, _ in manifest.list_checkpoints(digits.checkpoints)]
    assert steps == sorted({40, 50, 60} & set(steps) | {second.step})  # `model` is none of them


def test_a_folder_that_is_not_of_the_run_is_left_alone_and_told(digits: Project) -> None:
    folder_of(digits).mkdir(parents=True)
    (folder_of(digits) / "mine.txt").write_text("mine")
    outcome = digits.train_here(total_steps=20)
    assert outcome.reason == "completed"
    (said,) = trouble(digits)
    assert "is not of this run, and is left as it is" in said
    assert [path.name for path in folder_of(digits).iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("what", ["was changed since", "'model.py' does not exist", "No space left on device"])
def test_a_model_that_cannot_be_written_is_told_and_the_run_succeeds(
    digits: Project, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    take, leave = best_model.take, best_model.leave

    def damaged(folder: Path, target: Path, names: Any) -> None:
        take(folder, target, names)
        for path in target.glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    def late(*given: Any) -> str:
        (digits.path / "model.py").unlink()
        return leave(*given)

    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name, fault = {"was": ("take", damaged), "'model.py'": ("leave", late), "No": ("_sync", full)}[what.split()[0]]
    monkeypatch.setattr(best_model, name, fault)
    assert digits.train_here(total_steps=20).reason == "completed"
    (said,) = trouble(digits)
    assert said.startswith("the best model was not written to model/: ") and what in said
    assert not folder_of(digits).exists() and not (digits.checkpoints / ".model.partial").exists()


def test_a_worker_that_is_killed_while_it_writes_the_model_leaves_the_old_one_whole(digits: Project) -> None:
    digits.train_here(val_data="val.npz", total_steps=20)
    before = card_of(digits)
    kill = """
        import os, signal
        from stationmaster_trainer import best_model
        best_model._swap = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
        """
    digits.spec(total_steps=40)
    assert digits.train(resume=True, prelude=kill) == KILLED
    assert card_of(digits) == before and (digits.checkpoints / ".model.partial").is_dir()
    digits.train_here(resume=True)
    assert card_of(digits) != before and not (digits.checkpoints / ".model.partial").exists()


def test_a_large_model_is_a_hard_link_and_a_file_system_without_exchange_is_served(
    digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_model, "LINKED_BYTES", 5000)
    monkeypatch.setattr(best_model, "_exchange", lambda one, other: False)
    digits.train_here(val_data="val.npz", total_steps=20)
    digits.train_here(resume=True, total_steps=40)
    origin = model_card.read_origin(folder_of(digits))
    assert origin is not None and origin.step > 20
    source = digits.checkpoints / f"checkpoint-{origin.step}" / "model.safetensors"
    assert source.samefile(folder_of(digits) / "model.safetensors")
    assert [path.name for path in digits.checkpoints.iterdir() if path.name.startswith(".")] == []


def test_without_validation_the_best_is_by_train_loss_and_the_card_says_so(digits: Project) -> None:
    digits.train_here(val_data="none", total_steps=20)
    text = card_of(digits)
    assert "waived: this is the checkpoint with the smallest train loss" in text
    origin = json.loads((folder_of(digits) / "origin.json").read_text())
    assert origin["eval_loss"] is None and "validation, " not in text


def test_a_run_that_is_stopped_before_anything_was_compared_leaves_no_model(digits: Project) -> None:
    attempt = digits.prepare()
    (attempt.control / "1-stop.json").write_text("{}")
    assert digits.train_attempt(attempt) == 0, digits.log()
    assert digits.records(Finished)[0].reason == "user"
    assert not folder_of(digits).exists() and trouble(digits) == []


def _table(project: Project, name: str) -> dict[str, Any]:
    import pandas as pd

    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300), "kind": rng.choice(["x", "y"], 300)})
    frame["y"] = 3 * frame["a"] - 2 * frame["b"] + (frame["kind"] == "x")
    getattr(frame, f"to_{name.split('.')[-1]}")(project.path / name, index=False)
    project.model(MLP.replace("num_classes", "out_features"))
    return {"train_data": name, "task": "regression"}


def _text(project: Project, name: str) -> dict[str, Any]:
    (project.path / name).write_text("the quick brown fox jumps over the lazy dog. " * 200)
    project.model(
        """
        from torch import nn


        class Net(nn.Module):
            def __init__(self, vocab_size: int):
                super().__init__()
                self.embed, self.out = nn.Embedding(vocab_size, 16), nn.Linear(16, vocab_size)

            def forward(self, x):
                return self.out(self.embed(x))
        """
    )
    return {"train_data": name, "task": "language_modeling", "sequence_length": 32}


def _images(project: Project, name: str) -> dict[str, Any]:
    from PIL import Image

    rng = np.random.default_rng(2)
    for label, level in (("dark", 40), ("light", 200), ("mid", 120)):
        (project.path / name / label).mkdir(parents=True)
        for at in range(20):
            pixels = rng.integers(level - 30, level + 30, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(project.path / name / label / f"{at}.png")
    project.model(
        """
        from torch import nn


        class Net(nn.Module):
            def __init__(self, in_features: int, num_classes: int):
                super().__init__()
                self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, num_classes))

            def forward(self, x):
                return self.layers(x)
        """
    )
    return {"train_data": name, "val_data": "split"}


@pytest.mark.parametrize(
    ("make", "name", "after"),
    [
        (_table, "rows.csv", "print(values.shape == targets.reshape(values.shape).shape)"),
        (_text, "corpus.txt", "print(outputs.shape[:2] == (1, 32))"),
        (_images, "photos", "print(sum(name == path.parent.name for name, path in zip(names, files)) >= 38)"),
    ],
)
def test_the_lines_of_the_card_run_on_every_kind_of_data(digits: Project, make: Any, name: str, after: str) -> None:
    settings = make(digits, name)
    digits.train_here(total_steps=80, learning_rate=0.02, **settings)
    assert trouble(digits) == []
    files = f"\nfiles = sorted(p for p in __import__('pathlib').Path({name!r}).rglob('*.*') if p.is_file())\n"
    assert by_the_card(digits, files + after + "\n").strip() == "True"
