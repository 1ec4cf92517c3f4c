"""Which column of a foreign log is what: the names that the usual tools give to step, losses, learning rate and
gradient norm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from ..errors import ConfigError

Row = Mapping[str, Any]

STEP = """step global_step train_global_step trainer_global_step iteration iter iter_num it _step num_updates update
    updates steps current_steps train_step global_steps iterations current_iteration global_iter position"""
EPOCH = "epoch epochs train_epoch ep current_epoch epoch_num trainer_epoch"
LOSS = """loss train_loss training_loss loss_train train_loss_step loss_step lm_loss train_lm_loss total_loss
    train_total_loss loss_total train_nll train_nll_loss nll_loss train_ce ce_loss train_cross_entropy train_loss_epoch
    trainloss tr_loss train_mse avg_loss mean_loss train_avg_loss train_loss_avg metrics_loss losses_total batch_loss
    running_loss epoch_loss train_epoch_loss train_batch_loss closs lm_loss_lm_loss"""
EVAL_LOSS = """eval_loss val_loss valid_loss validation_loss dev_loss loss_val loss_valid loss_eval loss_validation
    val_total_loss valid_total_loss eval_total_loss val_nll val_nll_loss val_ce valid_nll_loss val_loss_epoch
    valid_loss_epoch validloss valloss val_mse eval_lm_loss val_avg_loss val_loss_avg valid_ce eval_nll
    validation_epoch_loss test_loss loss_test"""
LEARNING_RATE = """learning_rate lr train_lr train_learning_rate optim_lr opt_lr lr_adamw lr_adam lr_sgd lr_group0
    lr_pg1 lr_pg0 lr_adamw_pg1 x_lr1 x_lr0 current_lr optimizer_lr lr_0 trainer_lr train_lr_step"""
GRAD_NORM = """grad_norm gradnorm gnorm gradient_norm grad_norm_total total_grad_norm global_grad_norm train_grad_norm
    train_gnorm optim_total_grad_norm grad_norm_2_0_total train_gradient_norm norm grad_l2_norm gradients_norm
    train_global_grad_norm grad_2_0_norm_total"""
NAMES: dict[str, tuple[str, ...]] = {
    "step": tuple(STEP.split()),
    "epoch": tuple(EPOCH.split()),
    "loss": tuple(LOSS.split()),
    "eval_loss": tuple(EVAL_LOSS.split()),
    "learning_rate": tuple(LEARNING_RATE.split()),
    "grad_norm": tuple(GRAD_NORM.split()),
    "split": ("split", "mode", "phase", "stage", "subset", "partition"),
}
"""Role → normalised names (lower case, every other sign an underscore), the likelier first."""
KNOWN = frozenset(name for names in NAMES.values() for name in names)
_PARTS = ("box", "cls", "dfl", "obj", "seg", "pose", "kobj", "giou", "l1")
PARTS = {
    "loss": tuple(f"train_{part}_loss" for part in _PARTS),
    "eval_loss": tuple(f"val_{part}_loss" for part in _PARTS),
}
"""Parts that make up the loss where no total is logged (Ultralytics): their sum is taken."""
VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "test"})
TRAINING = frozenset({"train", "training", "tr"})
FILLERS = frozenset(
    {"epoch", "step", "avg", "average", "mean", "total", "batch", "iter", "running", "value", "metrics", "losses"}
) | {"smoothed", "scalar", "scalars", "per", "all", "global", "current", "the", "vs", "iterations"}
LOSSES = frozenset({("loss",), ("nll",), ("nll", "loss"), ("lm", "loss"), ("ce",), ("ce", "loss"), ("xent",)}) | {
    ("cross", "entropy"),
    ("cross", "entropy", "loss"),
    ("objective",),
}
NORM_WORDS = frozenset({"grad", "grads", "gradient", "gradients", "norm", "l2", "2", "0", "optim", "unclipped", "pre"})
RATE_WORDS = frozenset({"lr", "learning", "rate", "optim", "optimizer", "adamw", "adam", "sgd", "group", "pg"}) | {
    "0",
    "1",
}
NOT_METRICS = ("loss", "runtime", "per_second", "time", "step", "epoch", "samples")
ROLES = tuple(NAMES)


@cache
def normalise(name: str) -> str:
    """Lower case, every run of other signs an underscore: `train/Loss` → `train_loss`."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") or name


def recognise(
    names: Iterable[str], mapping: Mapping[str, str] | None = None, rows: Sequence[Row] = ()
) -> dict[str, str]:
    """Role → column (or columns joined by `+`), the person's `mapping` first; an empty column in it switches a role
    off. Among several columns of steps, the one that the rows with a loss carry is taken.

    Raises ConfigError for a role that does not exist or a column that the log does not have.
    """
    present: dict[str, str] = {}
    for name in names:
        present.setdefault(normalise(name), name)
    found = {role: hit for role in NAMES if (hit := _likely(role, present)) is not None}
    for role, parts in PARTS.items():
        summed = [present[part] for part in parts if part in present]
        if role not in found and summed:
            found[role] = "+".join(summed)
    found.update(_checked(mapping or {}, present))
    for role in ("step", "epoch"):
        if role in found and role not in (mapping or {}):
            found[role] = _beside_the_loss(role, found, present, rows)
    return {role: column for role, column in found.items() if column}


def _checked(mapping: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """The person's columns, written as the log writes them."""
    found = {}
    for role, column in mapping.items():
        if role not in ROLES:
            raise ConfigError(f"unknown role {role!r} in the column mapping.", f"Roles: {', '.join(ROLES)}.")
        names = [] if not column else [column] if column in present.values() else column.split("+")
        unknown = [part for part in names if part.strip() not in present.values()]
        if unknown:
            shown = ", ".join(sorted(present.values())[:40])
            raise ConfigError(f"the log has no column {unknown[0]!r} (mapped to {role}).", f"Its columns: {shown}.")
        found[role] = "+".join(part.strip() for part in names)
    return found


def _likely(role: str, present: Mapping[str, str]) -> str | None:
    """The first of the role's names, else one that says the same in other words."""
    exact = next((present[name] for name in NAMES[role] if name in present), None)
    if exact is not None or role in ("step", "epoch", "split"):
        return exact
    return next((name for plain, name in present.items() if _says(role, plain)), None)


def _says(role: str, name: str) -> bool:
    """Whether the words of a normalised name, without what only decorates them, mean the role."""
    words = name.split("_")
    core = tuple(word for word in words if word not in VALIDATION and word not in TRAINING and word not in FILLERS)
    if role in ("loss", "eval_loss"):
        checked = any(word in VALIDATION for word in words)
        return core in LOSSES and checked == (role == "eval_loss")
    if role == "learning_rate":
        return ("lr" in core or core[:2] == ("learning", "rate")) and set(core) <= RATE_WORDS
    return "norm" in core and any(word.startswith("grad") for word in core) and set(core) <= NORM_WORDS


def _beside_the_loss(role: str, found: Mapping[str, str], present: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Of several columns of steps, the first that at least half of the rows with a loss have."""
    column = found.get("loss") or found.get("eval_loss") or ""
    parts = column.split("+")
    carrying = [row for row in rows if any(row.get(part) is not None for part in parts)]
    for name in NAMES[role]:
        if name in present and 2 * sum(row.get(present[name]) is not None for row in carrying) >= len(carrying):
            return present[name]
    return found[role]


def metric_columns(names: Iterable[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Column → metric name, for further validation figures such as `eval_accuracy`."""
    found = {}
    for name in names:
        prefix, _, rest = normalise(name).partition("_")
        if prefix not in VALIDATION or not rest or name in columns.values():
            continue
        if not any(word in rest for word in NOT_METRICS):
            found[name] = rest
    return found


def ignored(names: Iterable[str], columns: Mapping[str, str], metrics: Mapping[str, str]) -> list[str]:
    """Columns that no role took."""
    taken = {part for column in columns.values() for part in (column, *column.split("+"))} | set(metrics)
    return [name for name in names if name not in taken]
