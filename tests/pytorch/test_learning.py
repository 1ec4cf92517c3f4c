"""Real data of each task: what is learnt, which loss is taken, and what the metrics mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_project import Project

from stationmaster_trainer import data
from stationmaster_trainer.contract import Eval, Note, Started, Train
from stationmaster_trainer.errors import DataError, ModelError
from stationmaster_trainer.preprocessing import Preprocessing


def last_eval(project: Project) -> Eval:
    return project.records(Eval)[-1]


def predictions(project: Project, source: str) -> tuple[np.ndarray, data.Data]:
    """The newest checkpoint's output on the validation data, computed here, without ours but the data."""
    import torch
    from safetensors.torch import load_file

    found = data.load(project.config, project.path)
    scope: dict[str, Any] = {"__name__": "fresh"}
    exec(source, scope)
    model = scope["build_model"]() if "build_model" in scope else scope["Net"](found.input_shape[0], found.outputs)
    newest = max(project.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    model.load_state_dict(load_file(str(newest / "model.safetensors")))
    assert found.val is not None
    inputs, _ = found.val.batch(np.arange(len(found.val)))
    with torch.no_grad():
        return model.eval()(torch.from_numpy(inputs)).numpy(), found


def test_digits_are_learnt_and_the_accuracy_is_that_of_the_saved_model(project: Project) -> None:
    project.train_here(total_steps=400, log_every=20, checkpoint_every=200, validate_every=200)
    (started,) = project.records(Started)
    assert (started.framework, started.device, started.precision) == ("pytorch", "cpu", "fp32")
    found = last_eval(project)
    assert found.metrics["accuracy"] >= 0.95
    assert "macro_f1" not in found.metrics
    from training_project import MLP

    logits, loaded = predictions(project, MLP)
    assert loaded.val is not None
    targets = loaded.val.batch(np.arange(len(logits)))[1]
    assert targets is not None
    assert found.metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).mean()))
    losses = np.log(np.exp(logits.astype(float)).sum(1)) - logits[np.arange(len(logits)), targets]
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert found.loss_sem == pytest.approx(losses.std(ddof=1) / math.sqrt(len(losses)), rel=1e-4)
    assert found.samples == len(logits)


CANCER = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_features, outputs={outputs}):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 16), nn.ReLU(), nn.Linear(16, outputs))

    def forward(self, x):
        return {value}
"""


@pytest.mark.parametrize(
    ("outputs", "value"),
    [
        (2, "self.layers(x)"),
        (1, "self.layers(x)"),
        (1, "self.layers(x).squeeze(-1)"),
        (2, "{'logits': self.layers(x), 'more': x}"),
        (2, "(self.layers(x), x)"),
    ],
)
def test_two_classes_are_learnt_with_two_logits_or_one_in_whatever_form_they_come(
    tmp_path: Path, outputs: int, value: str
) -> None:
    from sklearn.datasets import load_breast_cancer

    project = Project(tmp_path / "project")
    cancer = load_breast_cancer()
    project.arrays(cancer.data, cancer.target)
    project.model(CANCER.format(outputs=outputs, value=value))
    project.train_here(total_steps=80, learning_rate=1e-2, log_every=20, checkpoint_every=80, validate_every=80)
    found = last_eval(project)
    assert found.metrics["accuracy"] >= 0.93
    assert found.metrics["macro_f1"] >= 0.92, "357 against 212: imbalanced"
    (note, *_) = [note for note in project.records(Note) if "expected_loss" in note.facts]
    assert note.facts["expected_loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("value", ["self.layers(x)", "self.layers(x).squeeze(-1)"])
def test_a_regression_is_measured_in_the_targets_own_units(tmp_path: Path, value: str) -> None:
    from sklearn.datasets import load_diabetes

    project = Project(tmp_path / "project")
    diabetes = load_diabetes()
    project.arrays(diabetes.data, diabetes.target)
    source = f"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_features, 16), nn.ReLU(), nn.Linear(16, out_features))

    def forward(self, x):
        return {value}
"""
    project.model(source)
    project.train_here(task="regression", total_steps=150, log_every=50, checkpoint_every=150, validate_every=150)
    found = last_eval(project)
    assert 35 < found.metrics["mae"] < 55
    assert 45 < found.metrics["rmse"] < 70
    assert 0.3 < found.metrics["r2"] < 0.7
    output, loaded = predictions(project, source)
    folder = project.checkpoints / "checkpoint-150"
    guess = Preprocessing.load(folder).unscale_targets(output.reshape(-1))
    assert loaded.val is not None
    truth = diabetes.target[loaded.val.rows - 1]
    assert found.metrics["mae"] == pytest.approx(np.abs(guess - truth).mean(), rel=1e-4)


def test_characters_are_modelled_and_the_perplexity_is_that_of_the_loss(project: Project) -> None:
    project.model(
        """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self, vocab_size, block_size=8, width=32):
                super().__init__()
                self.embed = nn.Embedding(vocab_size, width)
                self.cells = nn.GRU(width, width, batch_first=True)
                self.head = nn.Linear(width, vocab_size)
                assert block_size == 24

            def forward(self, tokens):
                return self.head(self.cells(self.embed(tokens))[0])
        """
    )
    text = "".join(f"{number} is followed by {number + 1}.\n" for number in range(2000))
    (project.path / "counting.txt").write_text(text)
    project.train_here(
        train_data="counting.txt",
        task="language_modeling",
        sequence_length=24,
        learning_rate=1e-2,
        total_steps=60,
        log_every=20,
        checkpoint_every=60,
        validate_every=60,
    )
    found = last_eval(project)
    assert found.loss < 1.0
    assert found.metrics["perplexity"] == pytest.approx(math.exp(found.loss))
    assert found.loss_sem is not None


def test_the_users_own_loss_metrics_and_data_win(project: Project) -> None:
    project.model(
        """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.only = nn.Linear(3, 1)

            def forward(self, x):
                return self.only(x)

        def build_data(split):
            generator = torch.Generator().manual_seed({"train": 0, "val": 1}[split])
            x = torch.randn(200, 3, generator=generator)
            return x.numpy(), (x @ torch.tensor([1.0, -2.0, 3.0])).numpy()

        def loss(model, batch):
            inputs, targets = batch
            return (model(inputs).squeeze(1) - targets).abs().mean()

        def metrics(predictions, targets):
            return {"worst": (predictions.squeeze(1) - targets).abs().max()}
        """
    )
    project.train_here(
        train_data="build_data",
        val_data="build_data",
        task="custom",
        learning_rate=0.1,
        total_steps=60,
        log_every=60,
        checkpoint_every=60,
        validate_every=60,
    )
    found = last_eval(project)
    assert found.loss < 0.3
    assert set(found.metrics) == {"worst"}
    assert found.metrics["worst"] > found.loss
    assert found.loss_sem is None


def test_a_loss_written_for_predictions_and_targets_is_called_with_those(project: Project) -> None:
    from training_project import MLP

    project.model(MLP + "\ndef loss(logits, targets):\n    return nn.functional.cross_entropy(logits, targets)\n")
    project.train_here(total_steps=20)
    assert project.records(Train)[-1].loss < project.records(Train)[0].loss


def test_dropout_is_set_on_every_layer_when_the_configuration_says_so(project: Project) -> None:
    """With the same seed two runs without dropout are one; with it they differ from that."""
    project.train_here(total_steps=5, dropout=0.0)
    without = [record.loss for record in project.records(Train)]
    project.train_here(total_steps=5, dropout=0.6)
    assert [record.loss for record in project.records(Train)][1:] != without[1:]
    from torch import nn

    from stationmaster_trainer.adapters._torch_build import dropout_layers

    net = nn.Sequential(nn.Dropout(0.1), nn.Dropout2d(), nn.MultiheadAttention(4, 1), nn.LSTM(3, 3), nn.Linear(1, 1))
    assert [(type(module).__name__, name) for module, name in dropout_layers(net)] == [
        ("Dropout", "p"),
        ("Dropout2d", "p"),
        ("MultiheadAttention", "dropout"),
    ]


def test_without_validation_the_train_loss_decides_which_checkpoint_is_the_best(project: Project) -> None:
    from stationmaster_trainer.contract import Checkpoint

    project.train_here(val_data="none", total_steps=40, log_every=10)
    assert project.records(Eval) == []
    saved = project.records(Checkpoint)
    assert [record.best for record in saved] == [True] * 4
    assert all(record.eval_loss is None for record in saved)


def test_other_data_than_those_that_were_confirmed_are_refused(project: Project) -> None:
    from dataclasses import replace

    from stationmaster_trainer import codec, rundir

    spec = project.spec()
    confirmed = data.load(project.config, project.path).fingerprint
    spec = replace(spec, facts=replace(spec.facts, fingerprint=confirmed))
    rundir.replace(project.run.spec, codec.dumps(spec).encode())
    assert project.train_here().step == 40
    content = dict(np.load(project.path / "data.npz"))
    project.arrays(content["x"] + 1, content["y"])
    with pytest.raises(DataError, match=r"data changed since they were confirmed: 'data\.npz'"):
        project.train_here()


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("self.layers(x)[:, :4]", r"shape \(32, 4\), wanted \(32, 10\): one logit for each class"),
        ("self.layers(x).mean()", r"shape \(\), wanted \(32, 10\)"),
        (
            "self.layers(x[:, :3])",
            r"first batch \(inputs \(32, 64\) float32, targets \(32,\) int64\) at model\.py:\d+: ",
        ),
        ("None", "returned NoneType, in which no tensor was found"),
        ("self.layers(x).detach()", "first batch"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_with_the_shapes(
    project: Project, forward: str, message: str
) -> None:
    from training_project import MLP

    project.model(MLP.replace("return self.layers(x)", f"return {forward}"))
    with pytest.raises(ModelError, match=message):
        project.train_here()


def test_a_regression_never_broadcasts(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    generator = np.random.default_rng(0)
    project.arrays(generator.normal(size=(100, 4)), generator.normal(size=100))
    project.model(
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self, in_features):
                super().__init__()
                self.only = nn.Linear(in_features, 2)

            def forward(self, x):
                return self.only(x)
        """
    )
    with pytest.raises(ModelError, match=r"output has shape \(32, 2\), wanted \(32,\)"):
        project.train_here(task="regression")


def test_images_are_decoded_ahead_in_the_same_order_and_a_resume_changes_nothing(tmp_path: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    project = Project(tmp_path / "project")
    digits = load_digits()
    for at, (image, label) in enumerate(zip(digits.images[:300], digits.target, strict=False)):
        folder = project.path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / f"{at}.png")
    project.model(
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self, in_channels, image_size, num_classes):
                super().__init__()
                side = image_size - 2
                self.layers = nn.Sequential(
                    nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * side * side, num_classes)
                )

            def forward(self, x):
                return self.layers(x)
        """
    )
    settings: dict[str, Any] = {"train_data": "images", "lr_schedule": "constant", "batch_size": 24, "total_steps": 40}
    project.train_here(**settings)
    whole = [(record.loss, record.worst_samples) for record in project.records(Train)]
    assert last_eval(project).metrics["accuracy"] > 0.6
    import shutil

    shutil.rmtree(project.checkpoints)
    project.train_here(**{**settings, "total_steps": 10})
    project.train_here(resume=True, **settings)
    resumed = [(record.loss, record.worst_samples) for record in project.records(Train)]
    assert resumed == whole[10:]
