"""A project whose model is one of Flax: digits, and small networks of both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from training_project import Project

from stationmaster_trainer.adapters import _flax_build, _flax_device
from stationmaster_trainer.adapters._flax_trainee import FlaxTrainee
from stationmaster_trainer.adapters.flax import measure
from stationmaster_trainer.facts import ModelFacts

PROJECTS = Path(__file__).parent.parent / "projects"
NNX = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 16, *, rngs: nnx.Rngs):
        self.layers = nnx.List([
            nnx.Linear(in_features, hidden, rngs=rngs), nnx.Linear(hidden, num_classes, rngs=rngs)
        ])
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(nnx.relu(self.layers[0](x))))
"""
NNX_NORM = (PROJECTS / "flax_nnx" / "model.py").read_text()
LINEN = (PROJECTS / "flax_linen" / "model.py").read_text()
"""Batch statistics, dropout, 32 hidden units; what is compiled for one test serves the others."""
PLAIN = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, in_features: int, num_classes: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(in_features, 8, rngs=rngs)
        self.last = nnx.Linear(8, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.tanh(self.first(x)))
"""


class FlaxProject(Project):
    """One project folder with one run of Flax on digits."""

    def __init__(self, path: Path, source: str = NNX, **settings: Any) -> None:
        super().__init__(path)
        self.spec(framework="flax", **settings)
        self.run.spec.unlink()
        self.model(source)
        self.digits()

    def digits(self, rows: int = 1797) -> None:
        """Writes the first handwritten digits as data.npz."""
        from sklearn.datasets import load_digits

        found = load_digits()
        self.arrays(found.data[:rows].astype(np.float32), found.target[:rows])

    def measure(self, **known: Any) -> ModelFacts:
        """What the measurement before a start finds."""
        asked = {"model_path": "model.py", "train_data": "data.npz", "val_data": "split", "framework": "flax"}
        return measure({**asked, **known}, self.path)

    def trainee(self, **changes: Any) -> FlaxTrainee:
        """The trainee of a run with these keys changed, ready for its first step."""
        config = self.spec(**changes).config
        device = _flax_device.choose("cpu")
        built = _flax_build.build(config, self.path, _flax_build.read(config, self.path), device)
        found = built.source.data
        return FlaxTrainee(
            built.pure, built.objective, config, device, config.precision, self.path, val=found.val, tally=built.tally
        )
