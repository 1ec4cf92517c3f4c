"""What one look at a run says: a few lines for the assistant, the same facts under fixed names, and when to look again.

It sees the status alone, never the stream, so that a look costs the same at step ten and at step ten million. Lines
about things that the cursor had already seen are left out; the numbers of the newest window always stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stationmaster_trainer.contract import Alert, Status
from stationmaster_trainer.states import CAUSES, DERIVED, FINAL

from . import deeds
from .answer import fence, plain
from .charts import sparkline
from .cursor import Cursor, mark
from .views import RunView, last_lines, stacks
from .words import count, duration, many, number, percent

SPARK = 16
"""Bars of the sparkline: each costs a client up to three tokens."""
DONE = ("completed", "script_ended")
"""Causes of an end that need no word in the headline."""
SHOWN_ALERTS = 3
LISTED_ALERTS = 8
OURS = frozenset(CAUSES) - {"exception", "oom", "disk_full", "disk_error", "exited_early"}
"""Causes whose evidence is our own words; that of the others may quote the user's code and is fenced."""


def text(
    view: RunView,
    since: Cursor | None = None,
    closed: Sequence[Alert] = (),
    now: float = 0.0,
    for_person: bool = False,
) -> str:
    """The whole look. `closed`: alerts that ended since the cursor; `now`: wall clock, for ages.

    `for_person`: without the last line, which says when to look again and with which cursor.
    """
    status = view.status
    lines = [_headline(view, now)]
    if status.state in FINAL or status.state == DERIVED:
        lines += end(status)
    elif not status.step or status.state == "queued":
        lines += _starting(status, now)
    if status.loss is not None:
        lines += _numbers(status)
    lines += [f"Sight: {plain(status.sight, 300)}"] if status.sight and since is None else []
    lines += _news(status, since)
    lines += _alerts(status, since, closed)
    lines += [f"Action: {line}" for line in deeds.lines(deeds.new(status, since))]
    lines += _loggers(status)
    lines += [f"Damaged: {plain(problem, 160)}" for problem in view.problems[:2]]
    lines += [] if for_person and not view.over else [_next(view)]
    return "\n".join([*lines, *foreign(status), *evidence(view)])


def facts(view: RunView, since: Cursor | None = None, closed: Sequence[Alert] = ()) -> dict[str, Any]:
    """The structured content: the newest values whatever the cursor, five significant digits, alerts shortened."""
    status = view.status
    newest, best, saved = status.eval, status.best, status.checkpoint
    return {
        "run": view.name,
        "state": status.state,
        "cause": status.cause,
        "step": status.step,
        "total_steps": status.total_steps,
        "loss": _five(status.loss),
        "loss_average": _five(status.loss_average),
        "learning_rate": _five(status.learning_rate),
        "grad_norm": _five(status.grad_norm),
        "samples_per_second": _five(status.samples_per_second),
        "eta_seconds": None if view.over else _five(status.eta_seconds),
        "eval": newest and {"step": newest.step, "loss": _five(newest.loss), "metrics": _rounded(newest.metrics)},
        "best": best and {"step": best.step, "value": _five(best.value), "metric": best.metric, "path": best.path},
        "checkpoint": saved and {"step": saved.step, "path": plain(saved.path, 200)},
        "actions": [deeds.facts(action) for action in status.actions],
        "alerts": [_brief(alert, since) for alert in (*status.alerts_open, *closed)[:LISTED_ALERTS]],
        "cursor": str(Cursor.of(status)),
        "next_poll_seconds": next_poll(view),
    }


def next_poll(view: RunView) -> int | None:
    """Seconds until another look is worth it; None at the end.

    A tenth of the remaining time, so that a run is told in ten to thirty looks whatever its length, at least 5 s and at
    most 10 min; sooner while it starts or stops, when the end is near, or while a critical alert is open.
    """
    status = view.status
    if view.over:
        return None
    if status.state == "queued" and view.alive:
        return 30
    if status.step and not status.total_steps and status.state == "running":  # nobody knows how long it will take
        return min(600, max(5, round(status.elapsed / 10)))
    if status.state in ("queued", "starting", "stopping", DERIVED) or status.eta_seconds is None:
        return 5
    if not math.isfinite(status.eta_seconds):
        return 30
    if status.eta_seconds <= 30:
        return max(2, math.ceil(status.eta_seconds) + 1)
    seconds = min(600, max(5, round(status.eta_seconds / 10)))
    return min(seconds, 30) if any(alert.severity == "critical" for alert in status.alerts_open) else seconds


def news(view: RunView, since: Cursor) -> list[str]:
    """What happened since the cursor, a line each: state, validation, checkpoint, new alerts."""
    status = view.status
    state = [f"state: {status.state}"] if status.state != since.state else []
    return [*state, *_news(status, since), *(_alert(alert) for alert in _unseen(status, since))]


def bar(status: Status, width: int = 24) -> str:
    """A progress bar of `width` characters for a terminal."""
    share = min(1.0, status.step / status.total_steps) if status.total_steps else 0.0
    full = int(share * width)
    return "█" * full + "░" * (width - full)


def one_line(status: Status) -> str:
    """State, step and the newest numbers in one line for a terminal or a log."""
    parts = [f"{status.state} {_steps(status)}"]
    if status.eta_seconds is not None and status.state not in FINAL and status.state != DERIVED:
        parts.append(f"ETA {duration(status.eta_seconds)}")
    if status.loss is not None:
        parts.append(f"loss {number(status.loss)} (avg {number(status.loss_average)})")
        parts.append(f"lr {number(status.learning_rate)}")
        parts.append(f"grad norm {number(status.grad_norm)}")
        parts += [f"{number(status.samples_per_second)} samples/s"] if status.samples_per_second is not None else []
    elif status.state == "starting" and status.phase:
        parts.append(f"phase {status.phase}")
    if status.eval is not None:
        parts.append(f"validation {number(status.eval.loss)}{_metrics(status)}")
    if status.alerts_open:
        parts.append(f"{many(len(status.alerts_open), 'alert')} open")
    return ", ".join(parts)


# --- the lines --------------------------------------------------------------------------------------------------------


def _headline(view: RunView, now: float) -> str:
    status = view.status
    ended = status.state in FINAL
    cause = f" ({status.cause})" if status.cause and ended and status.cause not in DONE else ""
    attempt = f", attempt {status.attempt} from step {count(status.resumed_from)}" if status.attempt > 1 else ""
    done = percent(status.step, status.total_steps)
    line = f"{plain(view.name, 100)}: {status.state}{cause}, step {_steps(status)} ({done}){attempt}"
    if ended:
        return f"{line}, {duration(status.elapsed)} in all"
    if status.state == DERIVED:
        return f"{line}, last word {duration(now - status.updated)} ago"
    return line if status.eta_seconds is None else f"{line}, ETA {duration(status.eta_seconds)}"


def _steps(status: Status) -> str:
    return f"{count(status.step)}/{count(status.total_steps) if status.total_steps else '?'}"


def _starting(status: Status, now: float) -> list[str]:
    if status.state == "queued" and status.supervisor is not None:
        return [plain(status.message, 300)]
    waited = f" for {duration(now - status.started)}" if now > status.started else ""
    return [f"Starting{waited}, phase: {status.phase or 'launch'}. No step yet."]


def _numbers(status: Status) -> list[str]:
    """The checklist's Monitoring: loss, moving average, learning rate, gradient norm, throughput; then the curve."""
    line = (
        f"train loss {number(status.loss)}, moving average {number(status.loss_average)}, "
        f"learning rate {number(status.learning_rate)}, gradient norm {number(status.grad_norm)}, "
        f"{number(status.samples_per_second)} samples/sec"
    )
    values = [value for _, value in status.curve]
    if len(values) < 4:
        return [line]
    return [line, f"train loss curve {number(values[0])} {sparkline(values, SPARK)} {number(values[-1])}"]


def _news(status: Status, since: Cursor | None) -> list[str]:
    """The newest validation and the newest checkpoint, when the cursor has not seen them."""
    lines = []
    newest, best, saved = status.eval, status.best, status.checkpoint
    if newest is not None and (since is None or newest.step != since.eval_step):
        line = f"validation loss {number(newest.loss)}{_metrics(status)} at step {count(newest.step)}"
        if best is not None and best.metric == "eval/loss":
            line += ", the best so far" if best.step == newest.step else f"; best {number(best.value)} at {best.step:,}"
        lines.append(line)
    if saved is not None and (since is None or saved.step != since.checkpoint_step):
        lines.append(f"newest checkpoint: {plain(saved.path, 120)}")
    return lines


def _metrics(status: Status) -> str:
    if status.eval is None or not status.eval.metrics:
        return ""
    pairs = list(status.eval.metrics.items())[:2]
    return f" ({', '.join(f'{plain(name, 24)} {number(value)}' for name, value in pairs)})"


def _alerts(status: Status, since: Cursor | None, closed: Sequence[Alert]) -> list[str]:
    """New or worsened alerts in full, those already told as a count, those that ended by name."""
    new = _unseen(status, since)
    lines = [_alert(alert) for alert in new[:SHOWN_ALERTS]]
    if len(new) > SHOWN_ALERTS:
        lines.append(f"and {many(len(new) - SHOWN_ALERTS, 'more new alert')}")
    told = len(status.alerts_open) - len(new)
    if told:
        names = ", ".join(plain(alert.rule, 40) for alert in status.alerts_open if alert not in new)
        lines.append(f"still open, told before: {names}")
    if closed:
        names = ", ".join(f"{plain(alert.rule, 40)} (step {span(alert)})" for alert in closed[:SHOWN_ALERTS])
        more = f" and {count(len(closed) - SHOWN_ALERTS)} more" if len(closed) > SHOWN_ALERTS else ""
        lines.append(f"over again: {names}{more}")
    return lines


def _unseen(status: Status, since: Cursor | None) -> list[Alert]:
    return [alert for alert in status.alerts_open if since is None or mark(alert) not in since.open]


def _alert(alert: Alert) -> str:
    seen, advice = plain(alert.message, 150), plain(alert.advice, 110)
    batch = f" ({rows})" if (rows := deeds.rows(alert)) else ""
    return f"{alert.severity.upper()} {plain(alert.rule, 40)}, step {span(alert)}: {seen}{batch} {advice}".rstrip()


def span(alert: Alert) -> str:
    """The steps of an alert: 120, or 120–131."""
    first, last = count(alert.first_step), count(alert.last_step)
    return first if alert.first_step == alert.last_step else f"{first}–{last}"


def _loggers(status: Status) -> list[str]:
    degraded = [logger for logger in status.loggers if logger.state == "degraded"]
    return [
        f"logging degraded: {plain(logger.name, 40)}: {plain(logger.message, 100)} The local stream is complete."
        for logger in degraded[:2]
    ]


def end(status: Status) -> list[str]:
    """Cause, evidence in our own words, and the way out."""
    meaning = CAUSES.get(status.cause or "", "") if status.state != DERIVED else ""
    message = plain(status.message, 240) if _ours(status) else ""
    known = message.lower().startswith(meaning.lower())
    parts = ["" if known or not meaning else f"{meaning}.", message, plain(status.way_out, 200)]
    said = " ".join(part for part in parts if part)
    return [said[:1].upper() + said[1:]] if said else []


def _ours(status: Status) -> bool:
    """Whether the message is in our own words: what a reader derives is."""
    return status.cause in OURS or status.state == DERIVED


def foreign(status: Status) -> list[str]:
    """What the training code itself said at the end, with its place, fenced; to stand behind everything else."""
    if not status.message or status.cause is None or _ours(status):
        return []
    where = plain(status.where, 120)
    return [fence(f"{where + ': ' if where else ''}{plain(status.message, 300)}", "from the training code", 430)]


def evidence(view: RunView) -> list[str]:
    """The last lines that the worker printed, or where its threads hang; fenced, behind everything else."""
    said, hanging = last_lines(view), stacks(view)
    told = [fence("\n".join(said), "end of worker.log", 500)] if said else []
    return [*told, fence("\n".join(hanging), "stacks of the silent worker", 900)] if hanging else told


def why(status: Status) -> str:
    """What ended the run, in a few words for a list; nothing of the user's text but the place."""
    if status.cause in (None, "completed"):
        return ""
    if _ours(status):
        return plain(status.message, 100)
    return f"at {plain(status.where, 60)}" if status.where else plain(CAUSES.get(status.cause or "", ""), 80)


def _next(view: RunView) -> str:
    status, again = view.status, next_poll(view)
    if again is not None:
        return f'Look again in {duration(again)} with since="{Cursor.of(status)}".'
    if status.state == "succeeded":
        return "Next: summarize."
    if status.checkpoint is None:
        return "Next: summarize. No checkpoint is known to resume from."
    return f"Next: summarize, or resume_run (newest checkpoint: checkpoint-{status.checkpoint.step})."


def _brief(alert: Alert, since: Cursor | None) -> dict[str, Any]:
    return {
        "rule": plain(alert.rule, 40),
        "severity": alert.severity,
        "first_step": alert.first_step,
        "last_step": alert.last_step,
        "message": plain(alert.message, 150),
        "samples": list(alert.samples),
        "open": alert.open,
        "new": since is None or mark(alert) not in since.open,
    }


def _rounded(metrics: dict[str, float]) -> dict[str, float | None]:
    return {plain(name, 40): _five(value) for name, value in list(metrics.items())[:6]}


def _five(value: float | None) -> float | None:
    return value if value is None or not math.isfinite(value) else float(f"{value:.5g}")
