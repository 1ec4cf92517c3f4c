"""Projects that are tried before they are started; those with a fault are built here."""

from __future__ import annotations

import sys
from pathlib import Path

for _name in ("pytorch", "flax", "transformers"):
    sys.path.append(str(Path(__file__).parent.parent / _name))  # their projects are used here too
