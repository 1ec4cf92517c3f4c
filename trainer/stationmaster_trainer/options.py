"""Options below the key `extra` that one adapter takes: what each may be, and which key to use instead of a wrong one.

Standard library only: the server checks them before anything is measured, the adapter again before it trains.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One option: what is allowed in words, and a test that is false or raises ConfigError for anything else."""

    words: str
    test: Callable[[Any], bool]


def _is(kind: type | tuple[type, ...], words: str) -> Option:
    return Option(words, lambda value: isinstance(value, kind))


def _whole(low: int, high: int) -> Option:
    return Option(
        f"a whole number from {low} to {high:,}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
    )


def _share(words: str = "a number from 0 to below 1") -> Option:
    return Option(
        words, lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
    )


def _names(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair)


_FLAG = _is(bool, "true or false")
_OBJECT = _is(dict, "an object")
OWN: dict[str, Option] = {
    "lora": _FLAG,
    "lora_r": _whole(1, 4096),
    "lora_alpha": _whole(1, 4096),
    "lora_dropout": _share(),
    "lora_target_modules": _is((str, list), 'a list of layer names, or "all-linear"'),
    "trust_remote_code": _FLAG,
    "revision": _is(str, "a branch, tag or commit of the hub"),
    "tokenizer": _is(str, "an identifier or a folder inside the project"),
    "columns": Option("an object of role and column, such as {text: body}", _names),
    "chat_template": _FLAG,
    "overlong": Option("truncate or drop", lambda value: value in ("truncate", "drop")),
}
"""Ours for Transformers: LoRA, where the model comes from, what the columns are, how texts are written and cut."""
PASSED: dict[str, Option] = {
    "activation_checkpointing": _FLAG,
    "activation_checkpointing_kwargs": _OBJECT,
    "gradient_checkpointing": _FLAG,
    "gradient_checkpointing_kwargs": _OBJECT,
    "label_smoothing_factor": _share(),
    "liger_kernel_config": _OBJECT,
    "neftune_noise_alpha": _is((int, float), "a number"),
    "tf32": _FLAG,
    "torch_compile": _FLAG,
    "torch_compile_backend": _is(str, "a backend's name"),
    "torch_compile_mode": _is(str, "a mode's name"),
    "torch_empty_cache_steps": _whole(1, 1_000_000),
    "use_liger_kernel": _FLAG,
}
"""Arguments of Transformers' Trainer that are handed on, by its own names."""
TRANSFORMERS = {**OWN, **PASSED}
INSTEAD = {
    "per_device_train_batch_size": "batch_size", "per_device_eval_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation", "learning_rate": "learning_rate",
    "weight_decay": "weight_decay", "lr_scheduler_type": "lr_schedule", "lr_scheduler_kwargs": "min_lr_ratio",
    "warmup_steps": "warmup_steps", "warmup_ratio": "warmup_steps", "optim": "optimizer", "adam_beta1": "betas",
    "adam_beta2": "betas", "max_grad_norm": "gradient_clip", "num_train_epochs": "epochs", "max_steps": "total_steps",
    "bf16": "precision", "fp16": "precision", "seed": "seed", "data_seed": "seed", "use_cpu": "device",
    "logging_steps": "log_every", "logging_strategy": "log_every", "report_to": "logging",
    "eval_steps": "validate_every", "eval_strategy": "validate_every", "save_steps": "checkpoint_every",
    "save_strategy": "checkpoint_every", "save_total_limit": "keep_checkpoints", "output_dir": "checkpoint_dir",
    "run_name": "run_name", "max_length": "sequence_length", "max_seq_length": "sequence_length",
}  # fmt: skip
"""Arguments of the Trainer that a key of the configuration stands for."""


def check(options: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """Raises ConfigError that names the first impossible option, its value and what is allowed, or what to use."""
    for name, value in options.items():
        if name in INSTEAD and name not in known:
            raise ConfigError(f"extra.{name} is set by the configuration.", f"Use the key {INSTEAD[name]} for it.")
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"extra has no option {name!r}.", f"{hint}Known: {', '.join(known)}.")
        if not known[name].test(value):
            raise ConfigError(f"extra.{name} is {value!r:.60}, allowed: {known[name].words}.")
