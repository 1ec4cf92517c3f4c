"""Lets these tests use the projects of their neighbours."""

from __future__ import annotations

import sys
from pathlib import Path

for _folder in ("actions", "flax", "process", "pytorch", "transformers"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))
