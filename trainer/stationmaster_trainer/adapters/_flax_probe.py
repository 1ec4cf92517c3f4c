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

    def facts(self, before: Arrays, after: Arrays, norms: Any, silent: Any) -> dict[str, Any]:
        """See `layers.facts`. `norms`: gradient norm of each parameter, sorted by name; `silent`: see `_dead`.

        Without a gradient is what has exactly none: JAX gives zeros where nothing depends on a parameter, and weight
        decay alone may still move it.
        """
        moved = []
        for name, gradient in zip(sorted(before), np.asarray(norms).tolist(), strict=True):
            update = float(np.linalg.norm(after[name] - before[name]))
            unchanged = update == 0.0 or gradient == 0.0
            moved.append(layers.Moved(name, float(np.linalg.norm(before[name])), update, gradient, unchanged))
        found = layers.facts(moved, [one.name for one in moved if one.gradient == 0.0], separator="/")
        return found | {"dead_units": _dead(dict(zip(sorted(before), np.asarray(silent).tolist(), strict=True)))}


def _dead(silent: dict[str, float]) -> dict[str, float]:
    """Layer → share of its units whose bias gets exactly no gradient from a batch; 16 layers at most.

    `silent`: that share by the name of the parameter, NaN where it is no vector. Layers without a bias are not seen.
    """
    found: dict[str, float] = {}
    for name, share in silent.items():
        layer, _, last = name.rpartition("/")
        weighed = any(f"{layer}/{kind}".lstrip("/") in silent for kind in ("kernel", "scale"))
        if last == "bias" and weighed and share > 0.0 and len(found) < layers.MAX_GROUPS:
            found[layer or name] = share
    return found


def _sample(params: Arrays) -> Arrays:
    return {name: value.reshape(-1)[:: max(1, value.size // SAMPLE)] for name, value in params.items()}
