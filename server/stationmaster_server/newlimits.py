"""The limits of a run that a person may change when it is resumed: hours, disk, and what happens on a busy device.

The confirmed configuration and its digest stay as they are; the change stands in the new attempt's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stationmaster_trainer import budget, orders
from stationmaster_trainer.contract import Spec
from stationmaster_trainer.errors import ConfigError, GateError, RunError
from stationmaster_trainer.rundir import RunDir

from . import approval, leases
from .config import parse
from .views import RunView
from .words import duration

CHANGEABLE = (*budget.KEYS, "when_busy")


def checked(changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """The changes with their types. ConfigError for another key or an impossible value."""
    given = dict(changes or {})
    if others := [key for key in given if key not in CHANGEABLE]:
        raise ConfigError(
            f"{others[0]} cannot be changed at a resume, allowed: {', '.join(CHANGEABLE)}.",
            "For another configuration call propose_config: it starts as a new run.",
        )
    return {key: value for key, value in parse(given).items() if value is not None}


def in_force(run: RunDir, spec: Spec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Every changeable key as the next attempt will have it."""
    before = orders.changes(run)
    return {key: changes.get(key, before.get(key, getattr(spec.config, key))) for key in CHANGEABLE}


def question(project: Path, run: RunDir, spec: Spec, changes: Mapping[str, Any], *, can_ask: bool) -> str | None:
    """What a person is asked before limits that were confirmed are changed; None without a change, or nobody to ask.

    Raises GateError when the policy wants a person's yes and the client cannot ask.
    """
    now = in_force(run, spec, {})
    new = [f"{key} {now[key]} becomes {value}" for key, value in changes.items() if value != now[key]]
    if not new:
        return None
    if not can_ask and approval.person_required(project):
        raise GateError(
            f"the limits of run {run.name} were confirmed, and this client cannot ask a person: nothing was started.",
            "Plan a new run with other limits (propose_config), which a person approves in a terminal.",
        )
    return f"Resume training {run.name} with other limits? {'; '.join(new)}." if can_ask else None


def require(run: RunDir, spec: Spec, seen: RunView, changes: Mapping[str, Any]) -> None:
    """RunError when the run's hours are used up, or its device is taken and the plan refuses to share it."""
    now = in_force(run, spec, changes)
    most = now["max_hours"]
    if most is not None and seen.status.elapsed >= most * 3600:
        raise RunError(
            f"run {run.name} has used {duration(seen.status.elapsed)} of max_hours {most:g}.",
            'With the person\'s consent, resume_run with changes={"max_hours": …}.',
        )
    holder = leases.busy(leases.device(spec)) if now["when_busy"] == "refuse" else ""
    if holder:
        raise RunError(
            f"{holder}: nothing was started.", 'Wait, or resume_run with changes={"when_busy": "queue"} (or "share").'
        )
