"""Logs whose truth is known: healthy runs that look alarming and runs with one fault each, from a seed.

Each kind is a function of a random generator; its name says what it is. Nothing here comes from anybody's log: made
ones have the usual shapes (power laws, multiplicative noise, heavy tails, schedules), real ones (`real.py`) are trained
here. Sizes, lengths and noise are drawn anew for every seed, so that no threshold can be tuned to one of them; the
held-out part draws from other ranges and other seeds.
"""

from __future__ import annotations

from collections.abc import Callable

from . import courses, events, foreign, healthy, rates, real
from .shapes import Log, Rng, evaluation, scaled, shape, train, trains

Kind = Callable[[Rng], Log]

HEALTHY: tuple[Kind, ...] = (*healthy.KINDS, *foreign.HEALTHY)
FAULTY: tuple[Kind, ...] = (*events.KINDS, *courses.KINDS, *rates.KINDS, *foreign.FAULTY)
REAL_HEALTHY: tuple[Kind, ...] = real.HEALTHY
REAL_FAULTY: tuple[Kind, ...] = real.FAULTY


def make(kind: Kind, seed: int, held_out: bool = False) -> Log:
    """The log of a kind and a seed; the same on every machine (real ones: on every machine with the same torch)."""
    if kind in REAL_HEALTHY or kind in REAL_FAULTY:
        return real.cached(kind, seed + (1000 if held_out else 0))
    rng = Rng(f"{'held out ' if held_out else ''}{kind.__name__} {seed}")
    rng.held_out = held_out
    return kind(rng)


def named(name: str) -> Kind:
    """The kind of that name."""
    return next(kind for kind in (*HEALTHY, *FAULTY, *REAL_HEALTHY, *REAL_FAULTY) if kind.__name__ == name)


__all__ = [
    "FAULTY",
    "HEALTHY",
    "REAL_FAULTY",
    "REAL_HEALTHY",
    "Log",
    "evaluation",
    "make",
    "named",
    "scaled",
    "shape",
    "train",
    "trains",
]
