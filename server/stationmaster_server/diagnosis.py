"""The words of a diagnosis, for the command and the tool: facts first, then what the log itself wrote (column names,
paths), cleaned."""

from __future__ import annotations

import json
from typing import Any

from .answer import clean, fence
from .words import number, short

SHOWN = 12
"""Alerts and ignored columns that are told one by one."""
LONGEST_NAME = 80


def verdict_lines(found: dict[str, Any]) -> list[str]:
    """Verdict, evidence, recommendation with ready changes, the best step."""
    lines = [f"Verdict: {found['verdict'].replace('_', ' ')}"]
    lines += [f"  {clean(one)}" for one in found["evidence"]]
    lines.append(f"Recommendation: {found['recommendation']}")
    lines += [f"  {json.dumps(change['values'])}: {clean(change['reason'])}" for change in found["changes"]]
    best = found["best"]
    if best["step"] is not None:
        lines.append(f"Best {best['metric']}: {number(float(best['value']), 4)} at step {best['step']:,}")
    return lines


def alert_lines(found: dict[str, Any], most: int | None = None) -> list[str]:
    """Each alert with its steps, the worst first when not all are told; then what was not checked and why."""
    alerts = found["alerts"]
    lines = [f"Alerts: {len(alerts) or 'none'}"]
    if most is not None and len(alerts) > most:
        gravity = {"critical": 0, "warning": 1, "info": 2}
        alerts = sorted(alerts, key=lambda alert: (gravity[alert["severity"]], alert["first_step"]))[:most]
        lines[0] += f", the worst {most} of them:"
    for alert in alerts:
        first, last = alert["first_step"], alert["last_step"]
        span = f"{first:,}" + (f"–{last:,}" if last != first else "")
        lines.append(f"  {alert['severity']} {alert['rule']}, step {span}: {short(clean(alert['message']), 200)}")
    lines += [f"Not checked: {one['rule']}, because {clean(one['why'])}" for one in found["not_checked"]]
    if found["skipped"]:
        lines.append(f"{found['skipped']:,} of {found['rows'] + found['skipped']:,} rows could not be read.")
    return lines


def log_lines(found: dict[str, Any]) -> list[str]:
    """What was read: the source, which column was taken for what, what was left, how."""
    lines = [clean(str(found["source"]))]
    taken = [f"{role.replace('_', ' ')} from {_name(column)}" for role, column in found["columns"].items()]
    lines += [f"Read: {', '.join(taken)}; {found['rows']:,} rows"] if taken else []
    ignored = found["ignored"]
    if ignored:
        more = f" and {len(ignored) - SHOWN} more" if len(ignored) > SHOWN else ""
        lines.append(f"Ignored: {', '.join(map(_name, ignored[:SHOWN]))}{more}")
    return [*lines, *(clean(str(note)) for note in found["notes"])]


def lines(found: dict[str, Any]) -> list[str]:
    """Everything, for a terminal."""
    source, *rest = log_lines(found)
    notes = len(found["notes"])
    before, after = (rest[:-notes], rest[-notes:]) if notes else (rest, [])
    return [source, *before, *verdict_lines(found), *alert_lines(found), *after]


def text(found: dict[str, Any], state: str = "") -> str:
    """Everything, for a model: names and paths of the log fenced, after the facts; `state`: what it is doing now."""
    facts = [*verdict_lines(found), *alert_lines(found, SHOWN), *([state] if state else [])]
    return "\n".join([*facts, fence("\n".join(log_lines(found)), "what was read")])


def facts(found: dict[str, Any]) -> dict[str, Any]:
    """The structured content: the same as `--json`, long lists cut."""
    alerts = [{**alert, "message": clean(alert["message"])} for alert in found["alerts"][:SHOWN]]
    names = {role: clean(column, LONGEST_NAME) for role, column in found["columns"].items()}
    ignored = [clean(name, LONGEST_NAME) for name in found["ignored"][:SHOWN]]
    notes = [clean(note, 400) for note in found["notes"]]
    return {**found, "alerts": alerts, "columns": names, "ignored": ignored, "notes": notes}


def _name(column: str) -> str:
    return repr(clean(column, LONGEST_NAME))
