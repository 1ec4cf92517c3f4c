"""Foreign rows to records: which column is what, by the names that the usual tools give them, and one record per row
or window."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..contract import Eval, Train
from ..errors import ConfigError

Row = Mapping[str, Any]
Records = Iterator[Train | Eval]

NAMES: dict[str, tuple[str, ...]] = {
    "step": (
        *(
            "step",
            "global_step",
            "train_global_step",
            "trainer_global_step",
            "iteration",
            "iter",
            "iter_num",
            "it",
            "_step",
        ),
        *("num_updates", "update", "updates", "steps", "current_steps", "train_step", "global_steps", "iterations"),
    ),
    "epoch": ("epoch", "epochs", "train_epoch", "ep", "current_epoch"),
    "loss": (
        *(
            "loss",
            "train_loss",
            "training_loss",
            "loss_train",
            "train_loss_step",
            "loss_step",
            "lm_loss",
            "train_lm_loss",
        ),
        *(
            "total_loss",
            "train_total_loss",
            "loss_total",
            "train_nll",
            "train_nll_loss",
            "nll_loss",
            "train_ce",
            "ce_loss",
        ),
        *("train_cross_entropy", "train_loss_epoch", "trainloss", "tr_loss", "train_mse", "avg_loss", "mean_loss"),
        *(
            "train_avg_loss",
            "train_loss_avg",
            "metrics_loss",
            "losses_total",
            "batch_loss",
            "running_loss",
            "epoch_loss",
        ),
    ),
    "eval_loss": (
        *("eval_loss", "val_loss", "valid_loss", "validation_loss", "dev_loss", "loss_val", "loss_valid", "loss_eval"),
        *(
            "loss_validation",
            "val_total_loss",
            "valid_total_loss",
            "eval_total_loss",
            "val_nll",
            "val_nll_loss",
            "val_ce",
        ),
        *("valid_nll_loss", "val_loss_epoch", "valid_loss_epoch", "validloss", "valloss", "val_mse", "eval_lm_loss"),
        *("val_avg_loss", "val_loss_avg", "valid_ce", "eval_nll", "test_loss", "loss_test"),
    ),
    "learning_rate": (
        *(
            "learning_rate",
            "lr",
            "train_lr",
            "train_learning_rate",
            "optim_lr",
            "opt_lr",
            "lr_adamw",
            "lr_adam",
            "lr_sgd",
        ),
        *("lr_group0", "lr_pg0", "lr_adamw_pg1", "current_lr", "optimizer_lr", "lr_0", "trainer_lr", "train_lr_step"),
    ),
    "grad_norm": (
        *("grad_norm", "gradnorm", "gnorm", "gradient_norm", "grad_norm_total", "total_grad_norm", "global_grad_norm"),
        *(
            "train_grad_norm",
            "train_gnorm",
            "optim_total_grad_norm",
            "grad_norm_2_0_total",
            "train_gradient_norm",
            "norm",
        ),
        *("grad_l2_norm", "gradients_norm", "train_global_grad_norm", "grad_2_0_norm_total"),
    ),
    "split": ("split", "mode", "phase", "stage", "subset", "partition"),
}
"""Role → normalised names (lower case, every other sign an underscore), the likelier first."""
PARTS = {
    "loss": ("train_box_loss", "train_cls_loss", "train_dfl_loss", "train_obj_loss", "train_seg_loss"),
    "eval_loss": ("val_box_loss", "val_cls_loss", "val_dfl_loss", "val_obj_loss", "val_seg_loss"),
}
"""Parts that make up the loss where no total is logged (Ultralytics): their sum is taken."""
VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "test"})
NOT_METRICS = ("loss", "runtime", "per_second", "time", "step", "epoch", "samples")
ROLES = tuple(NAMES)


def normalise(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") or name


def recognise(names: Iterable[str], mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Role → column (or columns joined by `+`), the person's `mapping` first; an empty column in it switches a role
    off.

    Raises ConfigError for a role that does not exist or a column that the log does not have.
    """
    present: dict[str, str] = {}
    for name in names:
        present.setdefault(normalise(name), name)
    found = {role: hit for role, wanted in NAMES.items() if (hit := _first(wanted, present)) is not None}
    for role, parts in PARTS.items():
        summed = [present[part] for part in parts if part in present]
        if role not in found and summed:
            found[role] = "+".join(summed)
    for role, column in (mapping or {}).items():
        if role not in ROLES:
            raise ConfigError(f"unknown role {role!r} in the column mapping.", f"Roles: {', '.join(ROLES)}.")
        unknown = [part for part in column.split("+") if part and part not in present.values()]
        if unknown:
            shown = ", ".join(sorted(present.values())[:40])
            raise ConfigError(f"the log has no column {unknown[0]!r} (mapped to {role}).", f"Its columns: {shown}.")
        found[role] = column
    return {role: column for role, column in found.items() if column}


def _first(wanted: Iterable[str], present: Mapping[str, str]) -> str | None:
    return next((present[name] for name in wanted if name in present), None)


def metric_columns(names: Iterable[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Column → metric name, for further validation figures such as `eval_accuracy`."""
    found = {}
    for name in names:
        prefix, _, rest = normalise(name).partition("_")
        if (
            prefix in VALIDATION
            and rest
            and name not in columns.values()
            and not any(word in rest for word in NOT_METRICS)
        ):
            found[name] = rest
    return found


def number(value: Any) -> float | None:
    """A cell as a float (NaN and infinities included); None for what is no number."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, str):
        try:
            return float(value.strip().replace(",", "") or "x")
        except ValueError:
            return None
    return None


@dataclass
class Converter:
    """Turns rows into records. Rows of a very long log are folded: `every` of them make one window with its mean and
    extremes."""

    columns: dict[str, str]
    metrics: dict[str, str] = field(default_factory=dict)
    every: int = 1
    gaps: bool = False
    """Whether an empty loss cell means "not logged in this row" rather than "not a number"."""
    rows: int = 0
    trains: int = 0
    evals: int = 0
    step: int = 0
    rate: float = math.nan
    gradients: list[float] = field(default_factory=list)
    window: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss) of the rows that are being folded."""

    def __post_init__(self) -> None:
        order = ("step", "loss", "eval_loss", "learning_rate", "grad_norm", "split")
        self.names = tuple(self.columns.get(role, "") for role in order)
        """Columns of the roles in that order."""

    def records(self, rows: Iterable[Row]) -> Records:
        """One pass over the rows; at most one Train and one Eval each."""
        for row in rows:
            self.rows += 1
            if self._plain(row):
                if len(self.window) >= self.every:
                    yield from self._fold()
                continue
            self._position(row)
            yield from self._row(row)
        yield from self._fold()

    def _plain(self, row: Row) -> bool:
        """Takes the usual row (a step, a train loss, perhaps a rate and a norm, all plain numbers) in a fraction of
        the time; False, and nothing taken, for any other."""
        get, (step_name, loss_name, eval_name, rate_name, norm_name, split_name) = row.get, self.names
        step, loss, rate, norm = get(step_name), get(loss_name), get(rate_name), get(norm_name)
        if type(step) is not int or type(loss) is not float or split_name or get(eval_name) is not None:
            return False
        if (rate is not None and type(rate) is not float) or (norm is not None and type(norm) is not float):
            return False
        self.step = step
        if rate is not None:
            self.rate = rate
        if norm is not None:
            self.gradients.append(norm)
        self.window.append((step, loss))
        return True

    def _position(self, row: Row) -> None:
        column = self.columns.get("step") or self.columns.get("epoch")
        value = number(row.get(column)) if column else None
        if value is None or not math.isfinite(value) or (column == self.columns.get("epoch") and value != int(value)):
            self.step = self.rows if not column else self.step
            return
        self.step = int(value)

    def _row(self, row: Row) -> Records:
        loss, eval_loss = self._losses(row)
        rate = self._cell(row, "learning_rate")
        if rate is not None:
            self.rate = rate
        norm = self._cell(row, "grad_norm")
        if norm is not None:
            self.gradients.append(norm)
        if loss is not None:
            self.window.append((self.step, loss))
            if len(self.window) >= self.every:
                yield from self._fold()
        if eval_loss is not None:
            yield from self._fold()
            self.evals += 1
            metrics = {name: value for key, name in self.metrics.items() if (value := number(row.get(key))) is not None}
            yield Eval(time=0.0, elapsed=0.0, step=self.step, loss=eval_loss, metrics=metrics, samples=0, seconds=0.0)

    def _losses(self, row: Row) -> tuple[float | None, float | None]:
        loss, eval_loss = self._cell(row, "loss"), self._cell(row, "eval_loss")
        column = self.columns.get("loss")
        split = self.columns.get("split")
        if split and str(row.get(split, "")).lower() in VALIDATION and eval_loss is None:
            return None, loss
        if loss is None and eval_loss is None and not self.gaps:
            other = self.columns.get("eval_loss")
            empty = column is not None and column in row and row[column] is None
            other_empty = other is not None and other in row and row[other] is None
            if empty and other not in row:
                return math.nan, None
            if other_empty and column not in row:
                return None, math.nan
        return loss, eval_loss

    def _cell(self, row: Row, role: str) -> float | None:
        column = self.columns.get(role)
        if column is None:
            return None
        if column in row:
            return number(row[column])
        if "+" not in column:
            return None
        parts = [number(row.get(part)) for part in column.split("+")]
        known = [part for part in parts if part is not None]
        return sum(known) if known else None

    def _fold(self) -> Records:
        if not self.window:
            return
        window, self.window = self.window, []
        norms, self.gradients = self.gradients, []
        self.trains += len(window)
        yield fold(window, norms, self.rate)


def fold(window: list[tuple[int, float]], norms: list[float], rate: float) -> Train:
    """One Train of the rows (step, loss) of a window, with their largest value's own step and the first non-finite
    one."""
    finite = [(step, loss) for step, loss in window if math.isfinite(loss)]
    bad = [step for step, loss in window if not math.isfinite(loss)]
    high = max(finite, key=lambda pair: pair[1], default=(None, math.nan))
    good_norms = [norm for norm in norms if math.isfinite(norm)]
    bad_norm = len(norms) > len(good_norms)
    return Train(
        time=0.0,
        elapsed=0.0,
        step=window[-1][0],
        epoch=0.0,
        samples=0,
        loss=sum(loss for _, loss in finite) / len(finite) if finite else math.nan,
        loss_max=high[1],
        loss_min=min((loss for _, loss in finite), default=math.nan),
        grad_norm=None if not norms else math.nan if bad_norm else sum(good_norms) / len(good_norms),
        grad_norm_max=max(good_norms, default=None),
        learning_rate=rate,
        samples_per_second=0.0,
        steps=len(window),
        nonfinite=len(bad),
        nonfinite_step=bad[0] if bad else None,
        nonfinite_what="loss" if bad else None,
        loss_max_step=high[0],
    )
