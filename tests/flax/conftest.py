"""Projects whose model is one of Flax, on the CPU."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "pytorch"))  # its project of a real worker is used here too
CACHE = tempfile.mkdtemp(prefix="stationmaster-jax-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ.update({"JAX_PLATFORMS": "cpu", "NPROC": "1", "PJRT_NPROC": "1"})
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # these tests compile more than they compute
os.environ.update({"JAX_COMPILATION_CACHE_DIR": CACHE, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"})

from flax_project import FlaxProject  # noqa: E402


@pytest.fixture
def project(tmp_path: Path) -> FlaxProject:
    """Digits (1,797 × 64, ten classes) and a small NNX network."""
    return FlaxProject(tmp_path / "project")
