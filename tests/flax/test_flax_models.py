"""What a user's Flax file may hold, and what is said when it cannot be trained."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax_project import LINEN, NNX, NNX_NORM, PLAIN, FlaxProject

from stationmaster_trainer import codec, facts
from stationmaster_trainer.adapters import _flax_device
from stationmaster_trainer.contract import Eval, Note
from stationmaster_trainer.errors import ConfigError, DataError, ModelError


@pytest.mark.parametrize(
    ("source", "arguments", "normalised"),
    [(NNX_NORM, {"in_features": 64, "num_classes": 10}, "nnx"), (LINEN, {"num_classes": 10}, "linen")],
    ids=["nnx", "linen"],
)
def test_the_measured_facts_are_those_of_the_run(
    tmp_path: Path, source: str, arguments: dict[str, int], normalised: str
) -> None:
    project = FlaxProject(tmp_path / "project", source)
    found = project.measure(batch_size=32, num_threads=1)
    assert (found.model_name, found.model_args) == ("DigitNet", arguments)
    assert found.parameters == found.trainable_parameters == 64 * 32 + 32 + 2 * 32 + 32 * 10 + 10
    assert found.parameter_bytes == 4 * found.parameters
    assert (found.output_shape, found.dropout_layers) == ((32, 10), 1)
    assert (found.device, found.precisions, found.findings) == ("cpu", ("fp32",), ())
    assert found.expected_loss == pytest.approx(math.log(10))
    assert found.seconds_per_batch and found.free_memory_bytes and len(found.entry_sha256) == 64
    project.train_here(total_steps=1, num_threads=1)
    (first,) = [note for note in project.records(Note) if "initial_loss" in note.facts]
    assert found.initial_loss == pytest.approx(first.facts["initial_loss"], rel=1e-6)
    assert not [path.name for path in project.path.iterdir() if path.name.startswith(".")]


TEXT = """
from flax import nnx


def build_model(vocab_size, *, rngs: nnx.Rngs):
    return nnx.Sequential(nnx.Embed(vocab_size, 12, rngs=rngs), nnx.Linear(12, vocab_size, rngs=rngs))
"""
IMAGES = """
from flax import linen as nn


class Net(nn.Module):
    channels: int
    num_classes: int

    def setup(self):
        self.conv = nn.Conv(4, (3, 3))
        self.head = nn.Dense(self.num_classes)

    def __call__(self, x):
        assert x.shape[1:] == (12, 16, self.channels), x.shape
        return {"logits": self.head(nn.relu(self.conv(x)).mean((1, 2)))}
"""
OWN_LOSS = """
import jax.numpy as jnp
import optax
from flax import linen as nn


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Dropout(0.2, deterministic=deterministic)(x)
        return nn.Dense(10)(self.features(x, not deterministic))

    @nn.compact
    def features(self, x, train):
        return nn.tanh(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x)))


def loss(model, batch):
    inputs, targets = batch
    kernel = model.variables["params"]["Dense_0"]["kernel"]
    return optax.softmax_cross_entropy_with_integer_labels(model(inputs), targets).mean() + 1e-4 * jnp.sum(kernel**2)


def metrics(predictions, targets):
    return {"top3": (predictions.argsort(1)[:, -3:] == targets[:, None]).any(1).mean()}
"""
REGRESSION = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, din, dout, rngs):
        self.layers = nnx.Sequential(nnx.Linear(din, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, dout, rngs=rngs))

    def __call__(self, x, train, rngs):
        noise = 0.01 * nnx.initializers.normal()(rngs.noise(), x.shape) if train else 0.0
        return self.layers(x + noise).squeeze(-1)


def loss(predictions, targets):
    return abs(predictions - targets).mean()
"""


def test_text_images_numbers_and_losses_of_the_users_own_are_learnt(tmp_path: Path) -> None:
    short = {"total_steps": 60, "checkpoint_every": 60, "validate_every": 60, "learning_rate": 3e-2, "log_every": 20}
    text = FlaxProject(tmp_path / "text", TEXT)
    (text.path / "poem.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    text.train_here(
        **short, train_data="poem.txt", task="language_modeling", sequence_length=16, batch_size=10, warmup_steps=2
    )
    assert text.records(Eval)[-1].metrics["perplexity"] < 6, "28 characters"
    owned = FlaxProject(tmp_path / "owned", OWN_LOSS)
    owned.train_here(**short, warmup_steps=2)
    found = owned.records(Eval)[-1]
    assert found.metrics["accuracy"] > 0.8 and found.metrics["top3"] > found.metrics["accuracy"]
    assert found.loss_sem is None
    numbers = FlaxProject(tmp_path / "numbers", REGRESSION)
    x = np.random.default_rng(0).normal(size=(300, 5))
    numbers.arrays(x, 50 + 20 * np.tanh(x[:, 0]))
    numbers.train_here(**short, task="regression")
    assert numbers.records(Eval)[-1].metrics["r2"] > 0.9
    assert numbers.records(Eval)[-1].metrics["mae"] < 5


def test_images_come_with_their_channels_last(tmp_path: Path) -> None:
    from PIL import Image

    project = FlaxProject(tmp_path / "project", IMAGES)
    for label, level in (("dark", 60), ("bright", 190)):
        folder = project.path / "images" / label
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng(number).integers(level - 50, level + 50, (12, 16, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    found = project.measure(train_data="images", batch_size=8, num_threads=1)
    assert found.model_args == {"channels": 3, "num_classes": 2}
    assert found.output_shape[1:] == (2,)


NEEDS_TWO = LINEN.replace("train: bool):", "mask):\n        train = True")


@pytest.mark.parametrize(
    ("source", "known", "error", "message"),
    [
        (NNX + PLAIN.replace("Net", "Other"), {}, ModelError, r"several models: Net, Other.*model_name"),
        ("from flax import nnx", {}, ModelError, r"defines no nnx.Module or linen.Module class and no build_model\(\)"),
        (NNX.replace("in_features: int", "depth: int"), {}, ModelError, r"Net needs the argument 'depth'.*model_args"),
        (NNX, {"model_args": {"rngs": 3}}, ModelError, r"no parameter 'rngs'.*in_features, num_classes, hidden"),
        (NNX, {"model_args": {"in_features": 63}}, ModelError, r"first batch \(inputs \(32, 64\).*model\.py:1\d"),
        (NNX, {"model_args": {"num_classes": 9}}, ModelError, r"shape \(32, 9\), wanted \(32, 10\).*num_classes: 10"),
        (NNX.replace("nnx.List([", "(["), {}, ModelError, r"Net\(.*failed at model\.py.*into nnx\.List"),
        (NEEDS_TWO, {}, ModelError, r"cannot be initialised with the data's inputs, float32 \(2, 64\).*mask"),
        (LINEN.replace("nn.Dense(self.num_classes)(x)", "x"), {}, ModelError, r"wanted \(32, 10\)"),
        ("from flax import nnx\n\ndef build_model():\n    return 3\n", {}, ModelError, "int, not a nnx.Module or"),
        (
            "from flax import nnx\n\nclass Net(nnx.Module):\n    def __call__(self, x):\n        return x\n",
            {}, ModelError, r"no nnx\.Param of floating point: nothing to train",
        ),
        (PLAIN.replace("self.first(x)", "self.missing(x)"), {}, ModelError, r"model\.py:11.*no attribute 'missing'"),
        (NNX, {"task": "custom"}, ModelError, "the model file defines no loss"),
        (NNX + "\n\ndef loss(model, batch):\n    return model(batch[0])\n", {}, ModelError, r"of shape \(32, 10\)"),
        (PLAIN + "\n\ndef loss(model, batch):\n    return float(model(batch[0])[0, 0])\n", {}, ModelError, "no float"),
        (NNX, {"device": "mps"}, ConfigError, "unknown device 'mps' for JAX"),
        (NNX, {"device": "cuda:1"}, ConfigError, "JAX sees 0 CUDA devices"),
        (NNX, {"train_data": "gone.csv"}, DataError, r"gone\.csv"),
        ("import nowhere", {}, ModelError, "No module named 'nowhere'"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_by_name(
    tmp_path: Path, source: str, known: dict[str, Any], error: type[Exception], message: str
) -> None:
    project = FlaxProject(tmp_path / "project", source)
    with pytest.raises(error) as caught:
        project.measure(**{"num_threads": 1, **known})
    assert re.search(message, " ".join(str(caught.value).split())), str(caught.value)


def test_silent_errors_are_found_before_the_start(project: FlaxProject) -> None:
    project.model(PLAIN.replace("self.last(nnx.tanh", "900 * self.last(nnx.tanh"))
    assert [(found.check, found.severity) for found in project.measure().findings] == [("initial_loss", "warning")]
    project.model(
        PLAIN.replace("return self.last(nnx.tanh(self.first(x)))", "return nnx.softmax(self.last(self.first(x)))")
    )
    assert [found.check for found in project.measure().findings] == ["softmax"]


def test_a_zero_last_layer_is_no_dead_model(project: FlaxProject) -> None:
    zero = "nnx.Linear(8, num_classes, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)"
    project.model(PLAIN.replace("nnx.Linear(8, num_classes, rngs=rngs)", zero))
    assert project.measure().findings == ()


def test_a_python_without_flax_is_told_what_it_lacks(project: FlaxProject) -> None:
    script = """
import sys
sys.modules["flax"] = None
from stationmaster_trainer import codec, measure
from stationmaster_trainer.facts import Request
print(codec.dumps(measure.answer(codec.loads(Request, sys.argv[1]))))
"""
    asked = facts.Request("model", str(project.path), config={"framework": "flax", "model_path": "model.py"})
    done = subprocess.run(
        [sys.executable, "-c", script, codec.dumps(asked)], capture_output=True, text=True, timeout=60, env=os.environ
    )
    answer = codec.loads(facts.Answer, done.stdout)
    assert (answer.error, answer.message) == (
        "PluginError", "the adapter 'flax' needs the package 'flax', which this Python does not have.",
    )  # fmt: skip
    assert "pip install flax" in answer.way_out


def test_memory_of_a_gpu_is_not_taken_beforehand_and_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    _flax_device.prepare("cpu")
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/nowhere")
    monkeypatch.setattr(_flax_device, "NVIDIA", Path("/proc/self/stat"))
    _flax_device.prepare("auto")
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/tmp/nowhere --xla_gpu_deterministic_ops=true"
