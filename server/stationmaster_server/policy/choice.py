"""The proposed value of every computed key of the configuration, from what was measured and what a person changed.

Each value carries its reason and source, and where the table of defaults is more specific than the checklist, the other
value beside it. Pure: measurements in, choices out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import formulas
from .policy import Default, Row, choose, epochs, policy

FEW_STEPS = 300
"""Fewer optimizer steps rarely teach anything; little data is passed more often, 200 times at most."""


@dataclass(frozen=True)
class Known:
    """What was measured before the start."""

    framework: str
    task: str
    input: str
    """`table`, `images` or `text`."""
    train_samples: int
    val_samples: int
    parameters: int
    precisions: tuple[str, ...] = ("fp32",)
    """Number formats that the device does well, best first."""
    device: str = "cpu"
    tokens_per_sample: int = 1
    """Tokens of one row for language models, else 1."""
    batch_that_fits: int | None = None
    """Largest micro-batch that the device's memory takes, where known."""
    regime: str = "scratch"


@dataclass(frozen=True)
class Choice:
    """One value of the proposal."""

    value: Any
    reason: str
    source: str
    beside: str = ""
    """What another source says, when it differs."""
    default: Any = None
    """The value before the person's change."""
    changed: bool = False


Got = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What a function below sees: the measurements, the row that fits, the values chosen so far."""

    known: Known
    row: Row
    got: Got = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return formulas.steps_per_epoch(
            self.known.train_samples, self.got["batch_size"], self.got["gradient_accumulation"]
        )


def choices(known: Known, changes: Mapping[str, Any]) -> dict[str, Choice]:
    """Every computed key with its choice; `changes` win, and the keys that follow are computed from them."""
    found: dict[str, Choice] = {}
    optimizer = str(changes.get("optimizer", "AdamW"))
    row = _row(known, optimizer)
    got: dict[str, Any] = {}
    for key, function in FUNCTIONS.items():
        default = function(Step(known, row, got))
        choice = (
            replace(default, value=changes[key], default=default.value, changed=True) if key in changes else default
        )
        if choice.changed and choice.value == default.value:
            choice = default
        found[key] = choice
        got[key] = choice.value
    return _with_epochs(found, changes, Step(known, row, got))


def _row(known: Known, optimizer: str) -> Row:
    return choose(
        known.parameters,
        framework=known.framework,
        task=known.task,
        input=known.input,
        regime=known.regime,
        optimizer=optimizer,
    )


def _with_epochs(found: dict[str, Choice], changes: Mapping[str, Any], step: Step) -> dict[str, Choice]:
    """When a person names the steps, the epochs follow from them."""
    if "total_steps" not in changes or "epochs" in changes:
        return found
    passes = found["total_steps"].value / step.steps_per_epoch
    epochs_now = replace(found["epochs"], value=passes, reason="total_steps / steps per epoch", source="")
    return {**found, "epochs": epochs_now}


def _checklist(key: str, beside: str = "") -> Choice:
    default = policy().checklist[key]
    return Choice(default.value, default.reason, default.source, beside)


def _optimizer(step: Step) -> Choice:
    return _checklist("optimizer", step.row.beside.get("optimizer", ""))


def _effective_batch(step: Step) -> tuple[int, str]:
    """The effective batch in samples and why: the row's, never so large that an epoch has too few updates."""
    row, known = step.row, step.known
    wanted = max(1, row.effective_batch // known.tokens_per_sample) if row.in_tokens else row.effective_batch
    small = formulas.small_data_batch(known.train_samples, high=max(8, wanted))
    if small < wanted:
        updates = formulas.steps_per_epoch(known.train_samples, small)
        return small, f"{known.train_samples:,} samples: {updates} updates an epoch (arXiv 1804.07612)"
    tokens = f" = {row.effective_batch:,} tokens" if row.in_tokens else ""
    return wanted, f"effective batch{tokens}, {row.source}"


def _batch_size(step: Step) -> Choice:
    effective, reason = _effective_batch(step)
    row, known = step.row, step.known
    table = f"{row.effective_batch:,}{' tokens' if row.in_tokens else ''} ({row.source})"
    beside = table if "samples:" in reason else ""
    if known.batch_that_fits is not None and known.batch_that_fits < effective:
        return Choice(known.batch_that_fits, "the largest that fits in memory", "measured", beside)
    return Choice(effective, reason, "", beside)


def _accumulation(step: Step) -> Choice:
    effective, _ = _effective_batch(step)
    batch, fits = step.got["batch_size"], step.known.batch_that_fits
    if fits is not None and fits < effective and batch <= fits:
        value = formulas.gradient_accumulation(effective, batch)
        return Choice(value, f"reaches the effective batch of {effective}", "computed")
    return Choice(1, f"effective batch {batch}, fits at once", "arXiv 2507.07101")


def _learning_rate(step: Step) -> Choice:
    row = step.row
    effective = step.got["batch_size"] * step.got["gradient_accumulation"]
    if isinstance(row.learning_rate, str):
        return Choice(formulas.sgd_learning_rate(effective), f"{row.learning_rate} samples", row.source)
    size = f"{step.known.parameters:,} parameters"
    return Choice(row.learning_rate, f"{row.name}" if row.up_to is None else size, row.source, _law(step))


def _law(step: Step) -> str:
    """What the fitted laws would take, for language models from 10M parameters on."""
    known = step.known
    if known.task != "language_modeling" or known.parameters < 10_000_000:
        return ""
    rate, _ = formulas.porian(known.parameters)
    return f"{rate / 2:.2g} (Porian et al., halved)"


def _weight_decay(step: Step) -> Choice:
    return _checklist("weight_decay", _other(step.row.weight_decay, policy().checklist["weight_decay"], step.row))


def _betas(step: Step) -> Choice:
    known, row = step.known, step.row
    large = known.task == "language_modeling" and known.parameters > formulas.LARGE_LANGUAGE_MODEL
    key = "betas_sgd" if step.got["optimizer"] == "SGD" else "betas_large" if large else "betas"
    default = policy().checklist[key]
    other = None if row.betas is None or list(row.betas) == list(default.value) else list(row.betas)
    choice = _checklist(key, f"{other} ({row.source})" if other else "")
    return replace(choice, value=tuple(default.value))


def _total_steps(step: Step) -> Choice:
    steps, passes = step.steps_per_epoch, step.got["epochs"]
    return Choice(formulas.total_steps(passes, steps), f"{passes:g} epochs × {steps:,} steps", "checklist")


def _epochs(step: Step) -> Choice:
    known, row = step.known, step.row
    if row.epochs is not None:
        return Choice(row.epochs, row.name, row.source)
    if known.task == "language_modeling":
        return _language_model_epochs(step)
    default = epochs(known.train_samples)
    enough = min(200, -(-FEW_STEPS // step.steps_per_epoch))
    if enough > default.value:
        return Choice(enough, f"an epoch is {step.steps_per_epoch} steps: about {FEW_STEPS} in all", default.source)
    return Choice(default.value, default.reason, default.source)


def _language_model_epochs(step: Step) -> Choice:
    known = step.known
    wanted = formulas.compute_optimal_tokens(known.parameters)
    have = known.train_samples * known.tokens_per_sample
    passes = max(1, min(4, round(wanted / max(1, have))))
    if passes * step.steps_per_epoch >= 500:
        return Choice(passes, "20 tokens a parameter, 4 passes at most", "arXiv 2203.15556, 2305.16264")
    passes = min(30, -(-500 // step.steps_per_epoch))
    return Choice(passes, "little text: about 500 steps", "choice")


def _warmup(step: Step) -> Choice:
    row = step.row
    beside = f"{row.warmup} ({row.source})" if row.warmup and row.warmup != "10 %" else ""
    return replace(_checklist("warmup_steps", beside), value=formulas.warmup_steps(step.got["total_steps"]))


def _schedule(step: Step) -> Choice:
    return _checklist("lr_schedule", _other(step.row.lr_schedule, policy().checklist["lr_schedule"], step.row))


def _min_lr_ratio(step: Step) -> Choice:
    row = step.row
    if row.min_lr_ratio is not None:
        return Choice(row.min_lr_ratio, f"cosine ends at {row.min_lr_ratio:.0%} of the rate", row.source)
    return Choice(0.0, "cosine ends at zero", "checklist")


def _checkpoint_every(step: Step) -> Choice:
    """Every epoch or 1000 steps, whichever comes first; short epochs are put together."""
    total, epoch = step.got["total_steps"], step.steps_per_epoch
    if epoch > 1000:
        return Choice(min(1000, total), "1000 steps come before the end of an epoch", "checklist")
    together = max(1, -(-total // (50 * epoch)), -(-20 // epoch) if epoch < 20 else 1)
    every = min(epoch * together, 1000, total)
    if together == 1 or every == total:
        return Choice(every, "every epoch", "checklist")
    return Choice(every, f"every {every / epoch:g} epochs: an epoch is only {epoch} steps", "checklist: every epoch")


def _validate_every(step: Step) -> Choice:
    return Choice(step.got["checkpoint_every"], "every checkpoint", "checklist")


def _log_every(step: Step) -> Choice:
    total = step.got["total_steps"]
    if total < 200:
        return Choice(max(1, total // 20), f"only {total} steps: about 20 records", "checklist: 10 to 100")
    nice = next(value for value in (10, 20, 25, 50, 100) if total / value <= 200 or value == 100)
    return Choice(nice, "10 to 100 steps, every step is seen", "checklist")


def _precision(step: Step) -> Choice:
    known, row = step.known, step.row
    best = known.precisions[0] if known.precisions else "fp32"
    beside = f"{row.precision} ({row.source})" if row.precision not in (None, best) else ""
    return Choice(best, f"what {known.device} does well", "measured", beside if best == "fp32" else "")


def _other(value: Any, default: Default, row: Row) -> str:
    return (
        f"{value:g} ({row.source})"
        if isinstance(value, float) and value != default.value
        else (f"{value} ({row.source})" if value is not None and value != default.value else "")
    )


def _plain(key: str) -> Callable[[Step], Choice]:
    return lambda step: _checklist(key)


FUNCTIONS: dict[str, Callable[[Step], Choice]] = {
    "optimizer": _optimizer,
    "batch_size": _batch_size,
    "gradient_accumulation": _accumulation,
    "learning_rate": _learning_rate,
    "weight_decay": _weight_decay,
    "betas": _betas,
    "epochs": _epochs,
    "total_steps": _total_steps,
    "warmup_steps": _warmup,
    "lr_schedule": _schedule,
    "min_lr_ratio": _min_lr_ratio,
    "gradient_clip": _plain("gradient_clip"),
    "dropout": _plain("dropout"),
    "checkpoint_every": _checkpoint_every,
    "validate_every": _validate_every,
    "log_every": _log_every,
    "precision": _precision,
}
"""In the order in which each needs the ones before it."""
