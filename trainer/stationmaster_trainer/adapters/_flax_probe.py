"""Measures what one optimizer step does to each parameter, for the facts of `layers.py`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .. import layers
from ._flax_model import Arrays

SAMPLE = 1 << 18
"""Elements of a parameter that are compared; larger ones are sampled evenly."""


class Probe:
    """`sample` before the step and after it, then `facts`."""

    def __init__(self) -> None:
        self._sample = jax.jit(_sample)

    def sample(self, params: Arrays) -> Arrays:
        """Copies on the host."""
        return {name: np.array(value, np.float32) for name, value in jax.device_get(self._sample(params)).items()}

    def facts(self, before: Arrays, after: Arrays, norms: Any) -> dict[str, Any]:
        """See `layers.facts`. `norms`: gradient norm of each parameter, sorted by name.

        Without a gradient is what has exactly none: JAX gives zeros where nothing depends on a parameter, and weight
        decay alone may still move it.
        """
        moved = []
        for name, gradient in zip(sorted(before), np.asarray(norms).tolist(), strict=True):
            update = float(np.linalg.norm(after[name] - before[name]))
            unchanged = update == 0.0 or gradient == 0.0
            moved.append(layers.Moved(name, float(np.linalg.norm(before[name])), update, gradient, unchanged))
        return layers.facts(moved, [one.name for one in moved if one.gradient == 0.0], separator="/")


def _sample(params: Arrays) -> Arrays:
    return {name: value.reshape(-1)[:: max(1, value.size // SAMPLE)] for name, value in params.items()}
