"""`extra` of a Transformers run, checked, and the Trainer's arguments made of it and of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import options
from ..contract import TrainingConfig
from ..errors import ConfigError

EVERYWHERE = ("rules", "image_size")
"""Options of every framework; they are not this adapter's business."""


def check(extra: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the first impossible option and what to use instead."""
    options.check({key: value for key, value in extra.items() if key not in EVERYWHERE}, options.TRANSFORMERS)


def arguments(config: TrainingConfig, device: str, folder: Path, use_cache: bool) -> Any:
    """`TrainingArguments` of the run. Steps, rates, records, validation and checkpoints are our callback's work.

    Raises ConfigError for a value that the Trainer does not take.
    """
    from transformers import TrainingArguments

    known = {field.name for field in fields(TrainingArguments)}
    passed = {_newer(key, known): value for key, value in config.extra.items() if key in options.PASSED}
    if unknown := sorted(passed.keys() - known):
        raise ConfigError(f"extra.{unknown[0]} is unknown to the Trainer of this Python.", "Update transformers.")
    ours: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": config.total_steps,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "max_grad_norm": 0.0,  # clipped, with the norm recorded before, by the trainee
        "lr_scheduler_type": "constant",
        "logging_strategy": "no",
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "seed": config.seed,
        "use_cpu": device == "cpu",
        "use_cache": use_cache,
        "remove_unused_columns": False,
    }
    try:
        found = TrainingArguments(**{key: value for key, value in ours.items() if key in known}, **passed)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"the Trainer refuses its arguments: {' '.join(str(error).split())[:400]}") from error
    found._n_gpu = min(1, found.n_gpu)  # one process, one device: no DataParallel over those that are visible
    return found


def _newer(key: str, known: set[str]) -> str:
    """The name that this Trainer prefers for an argument it has renamed."""
    new = key.replace("gradient_checkpointing", "activation_checkpointing")
    return new if new in known else key
