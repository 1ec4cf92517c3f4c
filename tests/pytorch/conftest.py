"""Projects with real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Digits (1,797 × 64, ten classes) and a small network."""
    from sklearn.datasets import load_digits

    made = Project(tmp_path / "project")
    digits = load_digits()
    made.arrays(digits.data.astype(np.float32), digits.target)
    return made
