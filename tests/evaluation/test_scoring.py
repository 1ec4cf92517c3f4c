"""Scoring on test sets of every kind of data and task, and the intervals of the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scoring_bench import score
from training_project import MLP, Project

from stationmaster_trainer import codec, evaluation, manifest, model_card, process, scores
from stationmaster_trainer.contract import DataFacts

LINES = "abcdefghijklmnopqrstuvwxyz "
LM = """
from torch import nn


class Net(nn.Module):
    def __init__(self, vocab_size: int):
        super().__init__()
        self.embed, self.out = nn.Embedding(vocab_size, 16), nn.Linear(16, vocab_size)

    def forward(self, x):
        return self.out(self.embed(x))
"""


def _csv(project: Project) -> tuple[dict[str, Any], str]:
    rng = np.random.default_rng(3)
    for name, n in (("train.csv", 400), ("test.csv", 150)):
        x, kind = rng.normal(size=(n, 2)), rng.choice(["x", "y"], n)
        y = 3 * x[:, 0] - x[:, 1] + (kind == "x") + rng.normal(size=n)
        rows = [f"{a},{b},{k},{t}" for (a, b), k, t in zip(x, kind, y, strict=True)]
        (project.path / name).write_text("a,b,kind,y\n" + "\n".join(rows) + "\n")
    project.model(MLP.replace("num_classes", "out_features"))
    return {"train_data": "train.csv", "task": "regression"}, "test.csv"


def _parquet(project: Project) -> tuple[dict[str, Any], str]:
    import pandas as pd

    settings, _ = _csv(project)
    for name in ("train", "test"):
        pd.read_csv(project.path / f"{name}.csv").to_parquet(project.path / f"{name}.parquet")
    return {**settings, "train_data": "train.parquet"}, "test.parquet"


def _parts(project: Project) -> tuple[dict[str, Any], str]:
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = found.data.astype(np.float32), found.target
    parts = {"x_train": x[:1300], "y_train": y[:1300], "x_test": x[1300:], "y_test": y[1300:]}
    np.savez(project.path / "parts.npz", **parts)
    return {"train_data": "parts.npz", "val_data": "split"}, "parts.npz"


def _images(project: Project) -> tuple[dict[str, Any], str]:
    from PIL import Image

    rng = np.random.default_rng(4)
    for part, n in (("train", 30), ("test", 12)):
        for label, level in (("dark", 60), ("light", 190)):
            (project.path / "photos" / part / label).mkdir(parents=True)
            for at in range(n):
                pixels = rng.integers(level - 50, level + 50, (8, 8)).astype(np.uint8)
                Image.fromarray(pixels).save(project.path / "photos" / part / label / f"{at}.png")
    project.model(MLP.replace("nn.Linear(in_features", "nn.Flatten(), nn.Linear(in_features"))
    return {"train_data": "photos", "val_data": "split", "batch_size": 8}, "photos"


def _text(project: Project) -> tuple[dict[str, Any], str]:
    rng = np.random.default_rng(5)
    for name, n in (("train.txt", 20_000), ("test.txt", 4000)):
        (project.path / name).write_text("".join(rng.choice(list(LINES), n)))
    project.model(LM)
    return {"train_data": "train.txt", "task": "language_modeling", "sequence_length": 32}, "test.txt"


def _own(project: Project) -> tuple[dict[str, Any], str]:
    project.model(
        MLP
        + """

def build_data(split):
    from sklearn.datasets import load_digits
    found = load_digits()
    spans = {"train": (0, 1000), "val": (1000, 1300), "test": (1300, 1797)}
    first, last = spans[split]
    inputs = torch.tensor(found.data[first:last], dtype=torch.float32)
    return torch.utils.data.TensorDataset(inputs, torch.tensor(found.target[first:last]))
"""
    )
    return {"train_data": "build_data", "val_data": "build_data"}, "build_data"


KINDS: list[tuple[Callable[[Project], tuple[dict[str, Any], str]], int, set[str]]] = [
    (_csv, 150, {"mae", "rmse", "r2", "loss"}),
    (_parquet, 150, {"mae", "rmse", "r2", "loss"}),
    (_parts, 497, {"accuracy", "loss"}),
    (_images, 24, {"accuracy", "loss"}),
    (_text, 124, {"perplexity", "loss"}),
    (_own, 497, {"accuracy", "loss"}),
]


@pytest.mark.parametrize(("make", "samples", "figures"), KINDS, ids=[make.__name__[1:] for make, _, _ in KINDS])
def test_every_kind_of_data_is_scored_with_intervals(digits: Project, make: Any, samples: int, figures: Any) -> None:
    settings, test_data = make(digits)
    digits.train_here(total_steps=30, validate_every=30, checkpoint_every=30, learning_rate=0.01, **settings)
    found = score(digits, test_data)
    assert found.error == "", (found.message, found.traceback)
    assert found.samples == samples and found.overlap == {"training": 0, "validation": 0}
    assert set(found.intervals) == figures
    for name, interval in found.intervals.items():
        value = found.loss if name == "loss" else found.metrics[name]
        assert value is not None and interval.low <= value <= interval.high
        assert interval.low < interval.high or value in (0.0, 1.0)
    card = (digits.checkpoints / "model" / "README.md").read_text()
    main = next(name for name in ("accuracy", "perplexity", "mae") if name in found.metrics)
    assert f"| test, `{test_data}`, {samples} samples | {main} | {found.metrics[main]:.4g} |" in card
    assert "It was not scored on a held-out test set" not in card


def test_a_card_that_was_edited_is_left_as_it_is_and_that_is_told(digits: Project) -> None:
    digits.train_here(val_data="split", total_steps=20)
    card = digits.checkpoints / "model" / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    mine = card.read_text()
    found = score(digits, "val.npz")
    assert found.error == "" and card.read_text() == mine
    assert [finding.check for finding in found.findings] == ["card"]
    assert "was edited: the test results were not added" in found.findings[-1].message


def test_data_and_model_that_changed_since_the_run_are_told(digits: Project) -> None:
    digits.train_here(total_steps=10)
    spec = digits.spec()
    facts = replace(spec.facts, fingerprint="as confirmed", entry_sha256="as confirmed")
    assert isinstance(facts, DataFacts)
    digits.run.spec.write_text(codec.dumps(replace(spec, facts=facts)))
    found = score(digits, "val.npz")
    said = {finding.check: finding.message for finding in found.findings}
    assert "training or validation data changed since the run" in said["data_changed"]
    assert said["model_changed"] == "model.py or a file it imports changed since the run: its present code was scored."


def test_a_checkpoint_that_was_changed_is_refused(digits: Project) -> None:
    digits.train_here(total_steps=10)
    (step, folder), *_ = manifest.list_checkpoints(digits.checkpoints)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    found = score(digits, "val.npz")
    assert (found.error, found.metrics) == ("CheckpointError", {})
    assert "was changed since it was written" in found.message
    origin = model_card.read_origin(digits.checkpoints / "model")
    assert origin is not None and origin.step == step


def test_the_share_of_right_answers_has_wilsons_interval() -> None:
    """Against values of the article's formula as statsmodels' proportion_confint(method="wilson") gives them."""
    for right, n, low, high in ((9, 10, 0.596, 0.982), (0, 20, 0.0, 0.161), (480, 500, 0.939, 0.974)):
        assert evaluation.wilson(right / n, n) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


@pytest.mark.parametrize("metric", ["macro_f1", "r2", "rmse", "mae"])
def test_standard_errors_agree_with_the_bootstrap(metric: str) -> None:
    """The spread of the metric over 2,000 samples of the same size, drawn from the data with replacement."""
    rng = np.random.default_rng(6)
    n = 400
    truth = rng.choice(3, n, p=(0.6, 0.3, 0.1))
    guess = np.where(rng.random(n) < 0.8, truth, rng.choice(3, n))
    values = rng.normal(size=n)
    predicted = values + rng.normal(size=n) * 0.7

    def figures(at: np.ndarray) -> dict[str, float]:
        if metric == "macro_f1":
            return scores.classification(np.bincount(truth[at] * 3 + guess[at], minlength=9).reshape(3, 3))
        return scores.regression(predicted[at], values[at], lambda numbers: numbers)

    drawn = [figures(rng.integers(0, n, n))[metric] for _ in range(2000)]
    told = figures(np.arange(n))[scores.ERROR_OF + metric]
    assert told == pytest.approx(float(np.std(drawn)), rel=0.1)


def test_the_scoring_of_a_run_that_another_process_scores_is_refused(digits: Project) -> None:
    digits.train_here(total_steps=10)
    digits.run.evaluations.mkdir()
    lock = process.take_lock(digits.run.evaluations / evaluation.LOCK)
    assert lock is not None
    assert evaluation.main(str(digits.run.evaluations / "001.request.json")) == 3
