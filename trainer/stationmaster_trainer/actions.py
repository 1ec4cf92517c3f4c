"""What a rule may do beyond its alert, as far as the confirmed plan allows it: stop the run, or take it back.

The supervisor decides and puts the decision into `control/`; from there it holds, whoever dies. The worker saves and
stops (`rule_stop`), or stops as it is (`rollback`); the next attempt then continues from a verified checkpoint that is
older than the alert, with a lower learning rate, and leaves out the data in between.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import codec, control, manifest, orders, rundir
from .contract import Action, Alert, Finished, Launch, Spec
from .errors import CheckpointError, ConfigError, FormatError
from .rundir import AttemptDir, RunDir

ACTIONS = ("alert", "stop", "rollback")
CAN_ROLL_BACK = ("divergence", "grad_norm_spike", "loss_spike", "non_finite", "unstable")
"""Rules whose fault an older checkpoint, a lower rate and other data can undo."""
MOST_ROLLBACKS = 2
"""A run that asks for one more is stopped: neither the data nor the rate was it."""
STOP, ROLLBACK = "rule_stop", "rollback"
"""Verbs of the control files."""


def check(actions: Mapping[str, Any], rules: Iterable[str]) -> None:
    """ConfigError that names an unknown rule, an unknown action, or a rollback that a rule does not allow."""
    known = sorted(rules)
    for rule, action in actions.items():
        if rule not in known:
            raise ConfigError(f"actions names the unknown rule {rule!r}.", f"Known rules: {', '.join(known)}.")
        if action not in ACTIONS:
            raise ConfigError(f"actions.{rule} is {action!r}.", f"Allowed: {', '.join(ACTIONS)}.")
        if action == ROLLBACK and rule not in CAN_ROLL_BACK:
            allowed = ", ".join(CAN_ROLL_BACK)
            raise ConfigError(f"the rule {rule!r} cannot roll back.", f"It may stop. Rules that can: {allowed}.")


@dataclass(frozen=True)
class Detours:
    """The rollbacks that are in force: which data and what share of the rate each optimizer step takes."""

    rollbacks: tuple[Action, ...] = ()

    @classmethod
    def of(cls, rollbacks: Sequence[Action]) -> Detours:
        """Of all rollbacks so far, those that a later one has not gone back behind."""
        standing: list[Action] = []
        for one in rollbacks:
            standing = [*(earlier for earlier in standing if earlier.step < one.step), one]
        return cls(tuple(standing))

    def data_step(self, step: int) -> int:
        """Step of the order without gaps whose data optimizer step `step` takes."""
        newest = self._before(step)
        return step if newest is None else newest.skipped_last + step - newest.step

    def rate_factor(self, step: int) -> float:
        """What the schedule's learning rate is multiplied by at `step`."""
        newest = self._before(step)
        return 1.0 if newest is None else newest.rate_factor

    def _before(self, step: int) -> Action | None:
        return next((one for one in reversed(self.rollbacks) if one.step < step), None)


def wanted(alert: Alert, spec: Spec) -> str:
    """`stop`, `rollback`, or `alert` for what is no more than that: an episode that is over or only told as info."""
    serious = alert.open and alert.severity in ("warning", "critical")
    return spec.config.actions.get(alert.rule, "alert") if serious else "alert"


def decide(alert: Alert, spec: Spec, launch: Launch) -> tuple[str, Action]:
    """The verb of the request and the action. A rollback that cannot be is a stop, and its message says why."""
    action = Action(
        time=time.time(),
        elapsed=0.0,
        step=alert.last_step,
        action="stop",
        rule=alert.rule,
        message=alert.message,
        first_step=alert.first_step,
        last_step=alert.last_step,
        series=alert.series,
        samples=alert.samples,
        number=len(launch.rollbacks),
    )
    if wanted(alert, spec) != ROLLBACK:
        return STOP, action
    if len(launch.rollbacks) >= MOST_ROLLBACKS:
        return STOP, replace(action, message=f"{alert.message}; the run was taken back {MOST_ROLLBACKS} times before")
    if _older(spec, alert.first_step, verify=False) is None:
        return STOP, replace(action, message=f"{alert.message}; no checkpoint is older than that")
    return ROLLBACK, replace(action, action="rollback", number=len(launch.rollbacks) + 1, attempt=launch.attempt + 1)


def pending(attempt: AttemptDir) -> Action | None:
    """The rollback that was decided in this attempt."""
    found = (placed(attempt, name) for name in control.named(attempt, ROLLBACK))
    return next((action for action in found if action is not None), None)


def placed(attempt: AttemptDir, name: str) -> Action | None:
    """The action inside a control file; None for a request of another kind, or a damaged one."""
    try:
        return codec.loads(Action, rundir.read(attempt.control / name), name)
    except (OSError, FormatError):
        return None


def target(spec: Spec, asked: Action, launch: Launch) -> Action | None:
    """The rollback with its checkpoint, data and rate: from the newest older checkpoint that verifies, if one does.

    `launch`: the order of the attempt that is left.
    """
    found = _older(spec, asked.first_step, verify=True)
    if found is None:
        return None
    step, folder = found
    detours = Detours.of(launch.rollbacks)
    before = launch.rollbacks[-1].rate_factor if launch.rollbacks else 1.0
    return replace(
        asked,
        step=step,
        checkpoint=_relative(folder, spec),
        skipped_first=detours.data_step(step) + 1,
        skipped_last=detours.data_step(max(step, asked.last_step)),
        rate_factor=before * spec.config.rollback_rate_factor,
        removed=tuple(_relative(path, spec) for _, path in _newer(spec, step)),
    )


def order(spec: Spec, action: Action, launch: Launch) -> Launch:
    """The order of the attempt that the rollback begins."""
    number = f"{launch.attempt:03d}"

    def moved(argv: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_next_attempt(part, number, launch.attempt + 1) for part in argv)

    return replace(
        launch,
        attempt=launch.attempt + 1,
        argv=moved(launch.argv),
        recorder_argv=moved(launch.recorder_argv),
        resume_from=str(Path(spec.project_dir) / action.checkpoint),
        resume_step=action.step,
        rollbacks=(*launch.rollbacks, action),
    )


def carry_out(spec: Spec, attempt: AttemptDir) -> Action | None:
    """Prepares the rollback that was decided in `attempt`: deletes the checkpoints of the steps that are given up.

    None when no rollback was decided, or no older checkpoint verifies. Only once the worker is gone.
    """
    asked = pending(attempt)
    found = target(spec, asked, orders.read(attempt)) if asked is not None else None
    if found is not None:
        for _, path in _newer(spec, found.step):
            shutil.rmtree(path, ignore_errors=True)
    return found


def rollbacks(run: RunDir) -> tuple[Action, ...]:
    """Every rollback of the run so far, from its newest readable order."""
    for attempt in reversed(run.attempts()):
        try:
            return orders.read(attempt).rollbacks
        except (OSError, FormatError):
            continue
    return ()


def obeyed(finished: Finished | None, cause: str | None, ended_by_us: bool) -> bool:
    """Whether a worker that was told to go back ended in a way that a rollback may follow.

    `cause`: of its failure record. Completed, stopped as asked, or failed over what the rule saw; not ended by a user,
    for want of memory or disk, or by somebody else's signal.
    """
    if finished is not None:
        return finished.reason in ("completed", "early_stopping", ROLLBACK)
    return cause == "exception" if cause is not None else ended_by_us


def _older(spec: Spec, first_step: int, *, verify: bool) -> tuple[int, Path] | None:
    """The newest checkpoint before the step that led to the alert: what was seen at a step, the one before it did."""
    for step, path in reversed(manifest.list_checkpoints(Path(spec.checkpoint_dir))):
        if step >= first_step - 1:
            continue
        try:
            found = manifest.verify(path) if verify else manifest.read(path)
        except (CheckpointError, OSError):
            continue
        if not found.digest or found.digest == spec.digest:
            return step, path
    return None


def _newer(spec: Spec, step: int) -> list[tuple[int, Path]]:
    return [(at, path) for at, path in manifest.list_checkpoints(Path(spec.checkpoint_dir)) if at > step]


def _relative(path: Path, spec: Spec) -> str:
    project = Path(spec.project_dir)
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def _next_attempt(part: str, number: str, following: int) -> str:
    """A path of an attempt as that of the next one; anything else as it is."""
    path = Path(part)
    same = path.name == number and path.parent.name == "attempts"
    return str(path.with_name(f"{following:03d}")) if same else part
