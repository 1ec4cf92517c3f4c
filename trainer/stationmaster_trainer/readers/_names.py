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
    updates steps current_steps train_step global_steps iterations current_iteration global_iter position batch
    batch_idx"""
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
    {
        "set",
        "epoch",
        "step",
        "avg",
        "average",
        "mean",
        "total",
        "batch",
        "iter",
        "running",
        "value",
        "metrics",
        "losses",
    }
) | {"smoothed", "scalar", "scalars", "per", "all", "global", "current", "the", "vs", "iterations"}
LOSSES = frozenset({("loss",), ("nll",), ("nll", "loss"), ("lm", "loss"), ("ce",), ("ce", "loss"), ("xent",)}) | {
    ("cross", "entropy"),
    ("cross", "entropy", "loss"),
    ("objective",),
}
NORM_WORDS = frozenset({"grad", "grads", "gradient", "gradients", "norm", "l2", "2", "0", "optim", "unclipped", "pre"})
NOT_RATES = frozenset({"scale", "scaler", "min", "max", "mult", "ratio", "factor", "decay", "end", "init", "final"}) | {
    "base",
    "warmup",
    "peak",
    "embed",
    "ppl",
}
NOT_METRICS = ("loss", "runtime", "per_second", "time", "step", "epoch", "samples")
ROLES = tuple(NAMES)
RARE = 5
"""A column that is filled so many times less often than another of the same role is a summary, not the series."""


CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where the words of `CrossEntropyLoss` meet."""


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
    for name in tuple(present.values()):
        present.setdefault(normalise(CAMEL.sub("_", name)), name)
    counts = _counts(rows)
    found = {role: hit for role in NAMES if (hit := _likely(role, present, counts)) is not None}
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


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    """In how many of the first rows each column is filled."""
    counts: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None and value != "":
                counts[name] = counts.get(name, 0) + 1
    return counts


def _likely(role: str, present: Mapping[str, str], counts: Mapping[str, int]) -> str | None:
    """The first of the role's names that is not rare beside the others, else one that says the same in other words."""
    exact = [present[name] for name in NAMES[role] if name in present]
    if not exact and role not in ("step", "epoch", "split"):
        exact = [name for plain, name in present.items() if _says(role, plain)]
    most = max((counts.get(name, 0) for name in exact), default=0)
    return next((name for name in exact if RARE * counts.get(name, 0) >= most), None)


def _says(role: str, name: str) -> bool:
    """Whether the words of a normalised name, without what only decorates them, mean the role."""
    words = name.split("_")
    core = tuple(word for word in words if word not in VALIDATION and word not in TRAINING and word not in FILLERS)
    if role in ("loss", "eval_loss"):
        checked = any(word in VALIDATION for word in words)
        return core in LOSSES and checked == (role == "eval_loss")
    if role == "learning_rate":
        return ("lr" in core or core[:2] == ("learning", "rate")) and not NOT_RATES & set(core)
    return "norm" in core and any(word.startswith("grad") for word in core) and set(core) <= NORM_WORDS


def _beside_the_loss(role: str, found: Mapping[str, str], present: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Of several columns of steps, that of the most different values among those that at least half of the rows with
    a loss have; else one that stands in lines of its own, about as often. A constant is none; empty when none fits."""
    parts = (found.get("loss") or found.get("eval_loss") or "").split("+")
    carrying = [row for row in rows if any(row.get(part) is not None for part in parts)]
    if not carrying:
        return found[role]
    best, most = "", 1 if role == "step" and len(carrying) > 2 else 0
    for name in (present[name] for name in NAMES[role] if name in present):
        cells = [row[name] for row in carrying if row.get(name) is not None]
        if not cells:  # the step stands in a line of its own before its figures
            cells = [row[name] for row in rows if row.get(name) is not None]
        if 2 * len(cells) >= len(carrying) and len(set(map(str, cells))) > most:
            best, most = name, len(set(map(str, cells)))
    return best


def useful(name: str, mapping: Mapping[str, str] | None = None) -> bool:
    """Whether a column could have a role or be a validation figure: what else a log holds need not be kept."""
    if name in _mapped(tuple((mapping or {}).values())):
        return True
    plain = normalise(name)
    if plain in KNOWN or any(plain in parts for parts in PARTS.values()):
        return True
    words = normalise(CAMEL.sub("_", name))
    return any(_says(role, words) for role in ROLES[2:6]) or bool(metric_columns([name], {}))


@cache
def _mapped(columns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(part.strip() for column in columns for part in (column, *column.split("+")))


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
