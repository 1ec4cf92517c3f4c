"""A folder of data files."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty data folder."""
    return Files(tmp_path)
