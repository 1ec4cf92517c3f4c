"""The configuration as the checklist's YAML: its keys under its headings, each with a short comment; and read back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stationmaster_trainer.contract import TrainingConfig

from .config import KEEP_DROPOUT

HEADINGS: dict[str, tuple[str, ...]] = {
    "Model": ("model_path", "framework"),
    "Data": ("train_data", "val_data", "batch_size", "gradient_accumulation"),
    "Optimizer": ("optimizer", "learning_rate", "weight_decay", "betas"),
    "Schedule": ("warmup_steps", "lr_schedule", "total_steps"),
    "Regularization": ("gradient_clip", "dropout"),
    "Checkpointing": ("checkpoint_every", "checkpoint_dir"),
    "Logging": ("log_every", "validate_every", "logging"),
}
"""The checklist's headings and keys, in its order (`logging`, the chosen backends, is ours)."""
CHECKLIST = tuple(key for keys in HEADINGS.values() for key in keys)
RUN = tuple(field.name for field in dataclasses.fields(TrainingConfig) if field.name not in CHECKLIST)
"""The other keys, under `# Run`."""
_BARE = re.compile(r"(\.{0,2}/)?[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", ".nan", ".inf", "~"}


def render(config: TrainingConfig, comments: Mapping[str, str], run_keys: Iterable[str] = RUN) -> str:
    """YAML text; `comments` by key stand behind the values. `run_keys`: keys outside the checklist that are shown."""
    lines = []
    for heading, keys in {**HEADINGS, "Run": tuple(run_keys)}.items():
        lines.append(f"# {heading}")
        lines += [line(key, getattr(config, key), comments.get(key, "")) for key in keys]
    return "\n".join(lines) + "\n"


def scalar(key: str, value: Any) -> str:
    """One value as YAML that loads back as itself (a bare 1e-05 would load as text)."""
    if key == "dropout" and value is None:
        return KEEP_DROPOUT
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        mantissa, mark, exponent = repr(value).partition("e")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}{mark}{exponent}"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(scalar('', item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(str(name))}: {scalar('', item)}" for name, item in value.items()) + "}"
    return str(value)


def _quoted(text: str) -> str:
    """Double-quoted YAML; what does not print stands as an escape."""
    escaped = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    return f'"{"".join(escaped)}"'


def line(key: str, value: Any, comment: str) -> str:
    """One key with its value and the comment behind it."""
    if key == "epochs" and float(value).is_integer():
        value = int(value)
    text = f"{key}: {scalar(key, value)}"
    return f"{text}  # {' '.join(comment.split())}" if comment else text
