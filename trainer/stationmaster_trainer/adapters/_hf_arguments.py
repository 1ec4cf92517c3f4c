"""`extra` of a Transformers run: our own options, and arguments of the Trainer by its own names.

An argument that says what a key of the configuration says already is refused with that key; so is an unknown one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..contract import TrainingConfig
from ..errors import ConfigError
from ..table import closest
from . import _hf_lora

OWN = (
    *_hf_lora.KEYS, "trust_remote_code", "revision", "tokenizer", "columns", "chat_template", "overlong",
)  # fmt: skip
"""Our options: LoRA, where the model comes from, what the columns are, how conversations are written and cut."""
PASSED = (
    "activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "label_smoothing_factor", "liger_kernel_config", "neftune_noise_alpha", "tf32",
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps", "use_liger_kernel",
)  # fmt: skip
"""Arguments of the Trainer that are handed on."""
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
    "run_name": "run_name",
}  # fmt: skip
"""Arguments of the Trainer that a key of the configuration stands for."""
_KINDS: dict[str, tuple[type, ...]] = {
    "trust_remote_code": (bool,), "revision": (str,), "tokenizer": (str,), "columns": (dict,), "overlong": (str,),
    "chat_template": (bool,),
}  # fmt: skip


def check(extra: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the first impossible option and what to use instead."""
    for key, value in extra.items():
        if key in _KINDS and not isinstance(value, _KINDS[key]):
            raise ConfigError(f"extra.{key} is {value!r}.", f"Give {_words(_KINDS[key][0])}.")
        if key in OWN or key in PASSED:
            continue
        if key in INSTEAD:
            raise ConfigError(f"extra.{key} is set by the configuration.", f"Use the key {INSTEAD[key]} for it.")
        raise _unknown(key)
    _hf_lora.settings(extra)


def arguments(config: TrainingConfig, device: str, folder: Path, use_cache: bool) -> Any:
    """`TrainingArguments` of the run. Steps, rates, records, validation and checkpoints are our callback's work.

    Raises ConfigError for a value that the Trainer does not take.
    """
    from transformers import TrainingArguments

    known = {field.name for field in fields(TrainingArguments)}
    passed = {_newer(key, known): value for key, value in config.extra.items() if key in PASSED}
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


def _unknown(key: str) -> ConfigError:
    from transformers import TrainingArguments

    if key in {field.name for field in fields(TrainingArguments)}:
        return ConfigError(f"extra.{key} is an argument of the Trainer that this run cannot use.", f"Known: {_KNOWN}.")
    close = closest(key, (*OWN, *PASSED, *INSTEAD))
    hint = f"Did you mean {INSTEAD.get(close, close)!r}? " if close else ""
    return ConfigError(f"extra.{key} is unknown.", f"{hint}Known: {_KNOWN}.")


_KNOWN = ", ".join((*OWN, *PASSED))


def _words(kind: type) -> str:
    return {bool: "true or false", str: "a text", dict: "an object"}[kind]
