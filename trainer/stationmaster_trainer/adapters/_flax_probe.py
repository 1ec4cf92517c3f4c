"""Measures what one optimizer step does to each parameter, for the facts of `layers.py`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import layers
from ._flax_model import Arrays

SAMPLE = 1 << 18
"""Elements of a parameter that are compared; larger ones are sampled evenly."""


class Probe:
    """`sample` before the step and after it, then `facts`. Compiled at the first use."""

    def __init__(self) -> None:
        self._sample = jax.jit(_sample)
        self._compare = jax.jit(_compare)

    def sample(self, params: Arrays) -> Arrays:
        """Copies that the next step does not write into."""
        found: Arrays = self._sample(params)
        return found

    def facts(self, before: Arrays, after: Arrays, norms: Any) -> dict[str, Any]:
        """See `layers.facts`. `norms`: gradient norm of each parameter, sorted by name.

        Without a gradient is what has exactly none: JAX gives zeros where nothing depends on a parameter, and weight
        decay alone may still move it.
        """
        weights, updates = (np.asarray(found).tolist() for found in self._compare(before, after))
        rows = zip(sorted(before), weights, updates, np.asarray(norms).tolist(), strict=True)
        moved = [layers.Moved(name, w, u, g, unchanged=u == 0.0 or g == 0.0) for name, w, u, g in rows]
        return layers.facts(moved, [one.name for one in moved if one.gradient == 0.0], separator="/")


def _sample(params: Arrays) -> Arrays:
    return {name: jnp.copy(value.reshape(-1)[:: max(1, value.size // SAMPLE)]) for name, value in params.items()}


def _compare(before: Arrays, after: Arrays) -> tuple[Any, Any]:
    """Norms of each parameter and of its difference, sorted by name: float32 (params,) each."""
    names = sorted(before)
    weights = jnp.stack([jnp.linalg.norm(before[name].astype(jnp.float32)) for name in names])
    return weights, jnp.stack([jnp.linalg.norm((after[name] - before[name]).astype(jnp.float32)) for name in names])
