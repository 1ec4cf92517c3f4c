"""Projects with real data, trained by a real worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stationmaster_trainer import evaluation

for _name in ("pytorch", "transformers"):  # their projects of a real worker are used here too
    sys.path.append(str(Path(__file__).parent.parent / _name))


@pytest.fixture
def digits(tmp_path: Path) -> Any:
    """1,797 handwritten digits, the last 297 apart in val.npz, and a small network."""
    from sklearn.datasets import load_digits
    from training_project import Project

    made = Project(tmp_path / "project")
    found = load_digits()
    inputs = found.data.astype(np.float32)
    made.arrays(inputs[:1500], found.target[:1500])
    made.arrays(inputs[1500:], found.target[1500:], "val.npz")
    return made


@pytest.fixture(autouse=True)
def _own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scoring sends its standard output to its log; here that is pytest's."""
    monkeypatch.setattr(evaluation.os, "dup2", lambda old, new: new)
