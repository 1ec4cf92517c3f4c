"""Looks into a PyTorch loop under Accelerate: steps and losses are PyTorch's, this adds what it logs and saves by name.

Accumulation, precision and a loss scaler of Accelerate are seen through in `torch.py`. Not covered: DeepSpeed, whose
engine makes the steps itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import _figures
from ._probe import Probe
from .torch import SEEN

MODULE = "accelerate.accelerator"
UNSEEN = ("total steps", "validation (but what `accelerator.log` or its output names eval_loss or val_loss)")


def install(module: Any, probe: Probe) -> None:
    """Wraps what a loop tells Accelerate."""
    kind = module.Accelerator
    kind.prepare = _after(kind.prepare, probe, _prepared)
    kind.log = _after(kind.log, probe, _logged)
    kind.save_state = _after(kind.save_state, probe, _saved)


def _after(original: Callable[..., Any], probe: Probe, look: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapped(accelerator: Any, *arguments: Any, **named: Any) -> Any:
        result = original(accelerator, *arguments, **named)
        with probe.harmless(f"following Accelerate ({original.__name__})"):
            if accelerator.is_main_process and not probe.driver:
                look(probe, *arguments, **named)
        return result

    return wrapped


def _prepared(probe: Probe, *objects: Any, **named: Any) -> None:
    if not probe.validation_told:
        probe.sight("loop", "PyTorch under Accelerate", SEEN, UNSEEN)


def _logged(probe: Probe, values: Any, *rest: Any, **named: Any) -> None:
    loss, metrics = _figures.split(_figures.held_out(values))
    if loss is not None:
        probe.validation_told = True  # by its name: nothing need be derived any more
        probe.evaluated(loss, metrics)


def _saved(probe: Probe, output_dir: Any = None, *rest: Any, **named: Any) -> None:
    probe.saved(str(output_dir or "a checkpoint of Accelerate"))
