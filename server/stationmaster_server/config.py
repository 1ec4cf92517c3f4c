"""What a person may change in the configuration: every key with its type and limits, and the errors that name them.

Types come from `contract.TrainingConfig` through pydantic; a number in quotes (`"1e-3"`, which YAML 1.1 makes of 1e-3)
is taken as the number. Limits that need the measured data are in `consistent`. Not covered: whether a value is wise.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from stationmaster_trainer import actions, plugins
from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import ConfigError
from stationmaster_trainer.judge import all_rules

from . import extras
from .policy.formulas import total_steps

KEYS = tuple(field.name for field in dataclasses.fields(TrainingConfig))
"""All keys, the checklist's first, in its order."""
BACKENDS = ("file", "tensorboard", "wandb", "trackio")
NO_END = 1e12
"""A limit that is only there to keep a slip of the hand from filling memory or disk."""
KEEP_DROPOUT = "keep model default"
NICKNAMES = {
    **dict.fromkeys(("lr", "rate", "max_lr", "peak_lr"), "learning_rate"),
    **dict.fromkeys(("wd", "decay", "l2"), "weight_decay"),
    **dict.fromkeys(("bs", "batch", "micro_batch_size", "per_device_train_batch_size"), "batch_size"),
    **dict.fromkeys(("accumulation", "grad_accum", "accumulate_grad_batches"), "gradient_accumulation"),
    **dict.fromkeys(("steps", "max_steps", "num_steps"), "total_steps"),
    **dict.fromkeys(("num_epochs", "epoch", "num_train_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("warmup", "num_warmup_steps"), "warmup_steps"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_scheduler_type"), "lr_schedule"),
    **dict.fromkeys(("clip", "max_grad_norm", "gradient_clip_val", "clip_grad_norm"), "gradient_clip"),
    **dict.fromkeys(("save_every", "save_steps"), "checkpoint_every"),
    **dict.fromkeys(("eval_every", "eval_steps", "val_every"), "validate_every"),
    **dict.fromkeys(("label", "label_column", "target_column"), "target"),
    **dict.fromkeys(("dtype", "fp16", "bf16", "amp"), "precision"),
    **dict.fromkeys(("patience", "early_stopping"), "early_stopping_patience"),
    **dict.fromkeys(("on_alert", "alert_actions", "rollback"), "actions"),
    **dict.fromkeys(("max_time", "time_limit", "hours", "budget"), "max_hours"),
    **dict.fromkeys(("max_disk", "disk_limit", "max_gb"), "max_disk_gb"),
    **dict.fromkeys(("name", "run"), "run_name"),
    **dict.fromkeys(("model", "entry"), "model_path"),
    **dict.fromkeys(("data", "dataset"), "train_data"),
}
"""Other tools' words for our keys, for the suggestion in an error."""


@dataclass(frozen=True)
class Allowed:
    """What a key may be, in words and as a test of a value that already has the right type."""

    words: str
    test: Callable[[Any], bool] = lambda value: True


def _between(low: float, high: float, *, above: bool = False, below: bool = False, whole: bool = False) -> Allowed:
    start = f"above {low:g}" if above else f"from {low:g}"
    end = "" if high == NO_END else f" to below {high:g}" if below else f" to {high:,.10g}"
    kind = "a whole number" if whole else "a number"

    def test(value: float) -> bool:
        return (value > low if above else value >= low) and (value < high if below else value <= high)

    return Allowed(f"{kind} {start}{end}", test)


def _whole(low: int, high: float = NO_END) -> Allowed:
    return _between(low, high, whole=True)


def _one_of(*values: str) -> Allowed:
    return Allowed(" or ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values))


def _text(words: str, pattern: str = r"[^\x00-\x1f]{1,500}") -> Allowed:
    return Allowed(words, lambda value: re.fullmatch(pattern, value) is not None)


@cache
def allowed() -> dict[str, Allowed]:
    """The limits of every key that need no measurement."""
    share = _between(0, 1, below=True)
    return {
        "model_path": _text("a Python file inside the project"),
        "framework": _one_of(*(name for name in plugins.known("adapters"))),
        "train_data": _text("a data file or folder inside the project, or build_data"),
        "val_data": Allowed("split, or a data file inside the project (a waiver: check_validation)", _is_val_data),
        "batch_size": _whole(1),
        "gradient_accumulation": _whole(1),
        "optimizer": _one_of("AdamW", "SGD"),
        "learning_rate": _between(0, 100, above=True),
        "weight_decay": _between(0, 10),
        "betas": Allowed("two numbers from 0 to below 1", lambda pair: all(0 <= beta < 1 for beta in pair)),
        "warmup_steps": _whole(0),
        "lr_schedule": _one_of("cosine", "linear", "constant"),
        "total_steps": _whole(1),
        "gradient_clip": _between(0, 1e6),
        "dropout": Allowed(f"a number from 0 to below 1, or {KEEP_DROPOUT!r}", share.test),
        "checkpoint_every": _whole(1),
        "checkpoint_dir": _text("a new folder inside the project"),
        "log_every": _whole(1),
        "validate_every": _whole(1),
        "logging": Allowed(
            f"a list of {', '.join(BACKENDS)}", lambda names: bool(names) and set(names) <= set(BACKENDS)
        ),
        "run_name": _text("a new name of letters, digits, . _ - (64 at most)", r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        "task": _one_of("classification", "regression", "language_modeling", "custom"),
        "epochs": _between(0, 1e6, above=True),
        "seed": _whole(0, 2**32 - 1),
        "precision": _one_of("fp32", "bf16", "fp16"),
        "device": _text("auto, cpu, cuda, cuda:<n> or mps", r"auto|cpu|mps|cuda(:\d{1,2})?"),
        "min_lr_ratio": share,
        "model_name": _text("a class or function of the model file", r"[^\W\d]\w{0,199}"),
        "model_args": Allowed(
            "an object of argument names and values", lambda names: all(map(str.isidentifier, names))
        ),
        "target": _text("a column of the data"),
        "val_fraction": _between(0, 0.9, above=True),
        "group_column": _text("a column of the data"),
        "time_column": _text("a column of the data"),
        "missing_values": _one_of("error", "drop", "mean"),
        "scale_inputs": Allowed("true or false"),
        "sequence_length": _whole(2, 1_000_000),
        "keep_checkpoints": _whole(1, 1000),
        "early_stopping_patience": _whole(1, 1_000_000),
        "num_threads": _whole(0, 1024),
        "actions": Allowed('an object of rules with alert, stop or rollback, as {"non_finite": "stop"}', _actions),
        "rollback_rate_factor": _between(0, 1, above=True),
        "max_hours": _between(0, 1e6, above=True),
        "max_disk_gb": _between(0, 1e6, above=True),
        "when_busy": _one_of("refuse", "queue", "share"),
        "script_args": Allowed("a list of texts", lambda texts: all("\0" not in text for text in texts)),
        "command": Allowed("a list of texts", lambda texts: all("\0" not in text for text in texts)),
        "extra": Allowed("an object of options", extras.check),
    }


def parse(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes with their proper types; null stays null (back to the default).

    Raises ConfigError that names each unknown key, and each key with its value and what is allowed, one a line.
    """
    parsed: dict[str, Any] = {}
    problems = []
    for key, value in changes.items():
        if key not in KEYS:
            problems.append(_unknown(key))
            continue
        try:
            parsed[key] = None if value is None or (key == "dropout" and value == KEEP_DROPOUT) else _typed(key, value)
        except ConfigError as error:
            problems.append(str(error))
        except (ValidationError, TypeError, ValueError):
            problems.append(refused(key, value, allowed()[key].words))
    refuse(problems)
    return parsed


def refused(key: str, value: Any, words: str) -> str:
    """The sentence for one value: key, value, what is allowed."""
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return f"{key} is {shown if len(shown) <= 60 else shown[:57] + '...'}, allowed: {words}."


def refuse(problems: Iterable[str]) -> None:
    """Raises ConfigError with at most eight problems, one a line; nothing when there is none."""
    lines = list(problems)
    if lines:
        raise ConfigError("\n".join(lines[:8]))


def consistent(config: TrainingConfig, *, train_samples: int, steps_per_epoch: int, precisions: Iterable[str]) -> None:
    """Checks the values against each other and the data. ConfigError names each key, its value and the limit."""
    batches = -(-train_samples // config.batch_size)
    total = config.total_steps
    known = tuple(precisions)
    limits: tuple[tuple[str, int, int, str], ...] = (
        ("batch_size", 1, train_samples, "the training samples"),
        ("gradient_accumulation", 1, max(1, batches), "the batches of one epoch"),
        ("warmup_steps", 0, total - 1, "below total_steps"),
        ("checkpoint_every", 1, total, "total_steps"),
        ("validate_every", 1, total, "total_steps"),
        ("log_every", 1, total, "total_steps"),
    )
    problems = [
        refused(key, getattr(config, key), f"a whole number from {low} to {high:,} ({why})")
        for key, low, high, why in limits
        if not low <= getattr(config, key) <= high
    ]
    if total != total_steps(config.epochs, steps_per_epoch):
        passes = total_steps(config.epochs, steps_per_epoch)
        problems.append(
            refused("total_steps", total, f"{passes} ({config.epochs:g} epochs of {steps_per_epoch}); change only one")
        )
    if known and config.precision not in known:
        problems.append(refused("precision", config.precision, f"{' or '.join(known)} on this device"))
    refuse(problems)


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key.lower(), KEYS, n=1, cutoff=0.6)
    guess = NICKNAMES.get(key.lower()) or (close[0] if close else None)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return f"unknown key {key!r}.{hint} Known: {', '.join(KEYS)}."


def _typed(key: str, value: Any) -> Any:
    if isinstance(value, bool) and key != "scale_inputs":
        raise TypeError(key)
    if key == "logging" and isinstance(value, str):
        value = [value]
    literals = typing.get_args(_hints()[key]) if typing.get_origin(_hints()[key]) is typing.Literal else ()
    if isinstance(value, str):
        value = next((known for known in literals if known.lower() == value.lower()), value)
    typed = _adapter(key).validate_python(value)
    if typed is None or not allowed()[key].test(typed):
        raise ValueError(key)
    if literals and key == "framework" and typed not in plugins.known("adapters"):
        raise ValueError(key)
    return typed


def _actions(given: dict[str, str]) -> bool:
    """True, or ConfigError that names the rule, what was asked of it and what is allowed."""
    actions.check(given, (rule.name for rule in all_rules()))
    return True


def _is_val_data(value: str) -> bool:
    return value != "none" and re.fullmatch(r"[^\x00-\x1f]{1,500}", value) is not None


@cache
def _hints() -> dict[str, Any]:
    return typing.get_type_hints(TrainingConfig)


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints()[key], config=ConfigDict(allow_inf_nan=False))
