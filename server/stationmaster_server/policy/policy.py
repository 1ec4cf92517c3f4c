"""The table of defaults (`defaults.yaml`) as rows, and the choice of the row that fits what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("defaults.yaml")
_MATCHED = ("framework", "task", "input", "regime", "optimizer")


@dataclass(frozen=True)
class Default:
    """A value with the reason for it and where it comes from."""

    value: Any
    reason: str
    source: str


@dataclass(frozen=True)
class Row:
    """One kind of training and what public practice takes for it; None where the row says nothing."""

    name: str
    source: str
    learning_rate: float | str
    """Peak rate; `0.1 per 256` scales with the effective batch."""
    effective_batch: int
    """Samples, or tokens for language models (unless `batch_unit` says sequences)."""
    up_to: float | None = None
    """Parameters up to which the row holds."""
    framework: str | None = None
    task: str | None = None
    input: str | None = None
    """`table`, `images`, `text`, `audio`."""
    regime: str | None = None
    """`scratch`, `continued`, `fine-tune`, `sft`, `lora`, `embedding`."""
    optimizer: str | None = None
    batch_unit: str = ""
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    warmup: str | None = None
    lr_schedule: str | None = None
    min_lr_ratio: float | None = None
    precision: str | None = None
    epochs: float | None = None
    beside: dict[str, str] = field(default_factory=dict)
    """Key → another common choice, in words."""

    def fits(self, known: dict[str, str], parameters: int) -> bool:
        """Whether every criterion that the row names equals what is known, and the model is not too large."""
        named = {key: getattr(self, key) for key in _MATCHED if getattr(self, key) is not None}
        if self.optimizer is None and known.get("optimizer") == "SGD":
            return False
        return all(known.get(key) == value for key, value in named.items()) and parameters <= (self.up_to or parameters)

    @property
    def in_tokens(self) -> bool:
        """Whether `effective_batch` counts tokens."""
        return self.task == "language_modeling" and self.batch_unit != "sequences"


@dataclass(frozen=True)
class Policy:
    """The whole table."""

    checklist: dict[str, Default]
    epochs: tuple[tuple[float, float, str], ...]
    """(up to this many samples, passes, reason), rising."""
    rows: tuple[Row, ...]


@cache
def policy() -> Policy:
    """Reads the table once."""
    import yaml

    plain = yaml.safe_load(TABLE.read_text("utf-8"))
    return Policy(
        checklist={key: Default(**cell) for key, cell in plain["checklist"].items()},
        epochs=tuple((cell.get("up_to", float("inf")), cell["value"], cell["reason"]) for cell in plain["epochs"]),
        rows=tuple(_row(cell) for cell in plain["tasks"]),
    )


def choose(parameters: int, **known: str) -> Row:
    """The first row that fits. `known`: framework, task, input, regime, optimizer; the last row fits all else."""
    rows = policy().rows
    return next((row for row in rows if row.fits(known, parameters)), rows[-1])


def epochs(samples: int) -> Default:
    """Passes over the data by its size."""
    value, reason = next((value, reason) for up_to, value, reason in policy().epochs if samples <= up_to)
    return Default(value, reason, "own rule by data size")


def _row(cell: dict[str, Any]) -> Row:
    betas = cell.pop("betas", None)
    return Row(**cell, betas=tuple(betas) if betas else None)
