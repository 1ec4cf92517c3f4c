"""Projects with real data, trained by a real worker."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent / "pytorch"))  # its project of a real worker is used here too

from training_project import Project


@pytest.fixture
def digits(tmp_path: Path) -> Project:
    """1,797 handwritten digits, the last 297 apart in val.npz, and a small network."""
    from sklearn.datasets import load_digits

    made = Project(tmp_path / "project")
    found = load_digits()
    inputs = found.data.astype(np.float32)
    made.arrays(inputs[:1500], found.target[:1500])
    made.arrays(inputs[1500:], found.target[1500:], "val.npz")
    return made
