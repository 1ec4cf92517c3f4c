"""Notices that optax applies updates: what makes a step of a JAX loop one. The looking itself stands in `jax.py`."""

from __future__ import annotations

import functools
from typing import Any

from ._probe import Probe

MODULE = "optax"


def install(optax: Any, probe: Probe) -> None:
    """Wraps `apply_updates`, which Flax's train states and optimizers call too."""
    look, original = probe.shared["jax"], optax.apply_updates

    @functools.wraps(original)
    def apply_updates(params: Any, updates: Any) -> Any:
        result = original(params, updates)
        with probe.harmless("noticing an update"):
            look.updated(params)
        return result

    optax.apply_updates = apply_updates
