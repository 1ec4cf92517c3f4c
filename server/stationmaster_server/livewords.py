"""The words of a log that may still grow: who writes it, how far it came, how fast; the same as a status to draw."""

from __future__ import annotations

import math
from typing import Any

from stationmaster_trainer.contract import Status

from .answer import clean, plain
from .diagnose import Diagnosis
from .live import Pulse
from .logs import LogFacts
from .words import count, duration, number


def line(pulse: Pulse, found: Diagnosis, now: float) -> str:
    """Everything in one line, the state first."""
    parts = [f"step {_steps(pulse.step, pulse.total_steps)}"]
    if found.newest is not None:
        parts.append(f"loss {number(found.newest.loss)} (avg {number(found.average)})")
    if found.validation is not None:
        parts.append(f"validation {number(found.validation.loss)} at {count(found.validation.step)}")
    parts += [f"{number(pulse.pace)} steps/s"] if pulse.pace else []
    parts += [f"ETA {duration(pulse.eta)}"] if pulse.eta is not None else []
    return f"{state(pulse.running, pulse.changed, str(pulse.writer or ''), now)}: {', '.join(parts)}"


def state(running: bool, changed: float, writer: str, now: float) -> str:
    """Whether it is being written, by whom, since when not."""
    age = f"last line {duration(now - changed)} ago"
    if not running:
        return f"Not being written, {age}" + (f"; {writer} runs in the project" if writer else "")
    return f"Being written, {age}, by {writer}" if writer else f"Just written, {age}, and no process found that does it"


def facts(pulse: Pulse, now: float) -> dict[str, Any]:
    """The same under fixed names."""
    writer = pulse.writer
    return {
        "running": pulse.running,
        "age_seconds": round(max(0.0, now - pulse.changed), 1),
        "step": pulse.step,
        "total_steps": pulse.total_steps,
        "steps_per_second": pulse.pace,
        "eta_seconds": pulse.eta,
        "writer": writer
        and {
            "pid": writer.pid,
            "command": writer.command,
            "sure": writer.sure,
            "cpu": writer.cpu,
            "state": writer.state,
        },
    }


def told(log: LogFacts, now: float) -> str:
    """A log of a project in one line, with the call that says more."""
    parts = [plain(log.path, 120)]
    if log.source:
        parts.append(f" ({log.source})")
    parts.append(f": {_lower(state(log.running, log.changed, str(log.writer or ''), now))}")
    if log.source:
        losses = [f"loss {number(log.loss)}"] if log.loss is not None else []
        losses += [f"validation {number(log.eval_loss)}"] if log.eval_loss is not None else []
        losses += [f"{number(log.pace)} steps/s"] if log.pace and log.running else []
        open_alerts = f", alerts {', '.join(log.alerts[:3])}" if log.alerts else ""
        so_far = "so far " if log.running else ""
        parts.append(f", step {_steps(log.step, log.total_steps)}, {', '.join(losses)}; {so_far}")
        parts.append(f"{log.verdict.replace('_', ' ')}{open_alerts}")
    return "".join(parts)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def status(pulse: Pulse, found: Diagnosis, now: float, revision: int) -> Status:
    """The same as the status of a run, for a bar on a terminal."""
    newest, alerts = found.newest, found.judge.open_alerts()
    return Status(
        run=clean(pulse.path.name, 80),
        attempt=1,
        state="running",
        revision=revision,
        updated=now,
        started=pulse.began,
        step=pulse.step,
        total_steps=pulse.total_steps or 0,
        loss=newest.loss if newest else None,
        loss_average=found.average,
        learning_rate=newest.learning_rate if newest and math.isfinite(newest.learning_rate) else None,
        grad_norm=newest.grad_norm if newest else None,
        eta_seconds=pulse.eta,
        eval=found.validation,
        alerts_open=tuple(alerts[:5]),
        alerts_total=found.judge.total(),
    )


def beside(pulse: Pulse) -> str:
    """What a drawing of the status does not hold: the pace, and the process."""
    pace = f", {number(pulse.pace)} steps/s" if pulse.pace else ""
    writer = pulse.writer
    return pace + (
        f", pid {writer.pid}" + (f" {writer.state}" if writer.state else "") if writer and writer.sure else ""
    )


def _steps(step: int, total: int | None) -> str:
    return f"{count(step)} of {count(total)}" if total else count(step)
