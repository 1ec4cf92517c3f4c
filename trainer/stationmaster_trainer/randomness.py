"""The random generators of python and numpy: seeded, saved and put back. An adapter adds its framework's own.

Drawn from by the user's code (`build_data`, augmentation in `__getitem__`), never by ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import getstate, setstate
from random import seed as seed_python
from typing import Any

import numpy as np


def seed(value: int) -> None:
    """Seeds both."""
    seed_python(value)
    np.random.seed(value % 2**32)


def state() -> dict[str, Any]:
    """State of both in plain values, fit for JSON and for `torch.load(weights_only=True)`."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, python, python_gauss = getstate()
    return {
        "numpy": (str(kind), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)),
        "python": (version, list(python), python_gauss),
    }


def restore(found: dict[str, Any]) -> None:
    """Puts both back, from `state()` or its JSON."""
    kind, keys, position, has_gauss, gauss = found["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, python, python_gauss = found["python"]
    setstate((version, tuple(python), python_gauss))


@contextmanager
def preserved() -> Iterator[None]:
    """Random numbers drawn inside (validation, measuring) do not change the training behind it."""
    found = state()
    try:
        yield
    finally:
        restore(found)
