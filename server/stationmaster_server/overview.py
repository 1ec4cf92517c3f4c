"""The runs of a project, a line each: what each one is, how far it came and how well, and what is damaged."""

from __future__ import annotations

from . import progress
from .answer import plain
from .views import RunView
from .words import count, duration, loss, many


def lines(views: list[RunView], now: float, most: int) -> list[str]:
    """A line per run, newest first, at most `most`, and how many there are beyond."""
    if not views:
        return ["There is no run in this project yet."]
    shown = [_line(view, now) for view in views[:most]]
    left = len(views) - len(shown)
    return [*shown, f"and {many(left, 'older run')}"] if left > 0 else shown


def _line(view: RunView, now: float) -> str:
    status = view.status
    cause = f" ({status.cause})" if status.cause and status.cause != "completed" else ""
    total = count(status.total_steps) if status.total_steps else "?"
    best = ""
    if status.best is not None:
        what = "validation" if status.best.metric == "eval/loss" else "train loss"
        best = f", best {what} {loss(status.best.value)} at {count(status.best.step)}"
    age = f", {duration(now - view.created)} old" if view.created else ""
    broken = f"; damaged: {plain(view.problems[0], 120)}" if view.problems else ""
    said = progress.why(status) if view.over else ""
    told = f": {said}" if said else ""
    return f"{plain(view.name, 100)}: {view.state}{cause}{told}, step {count(status.step)}/{total}{best}{age}{broken}"


def row(view: RunView) -> dict[str, object]:
    """The same as facts."""
    status = view.status
    return {
        "run": view.name,
        "state": view.state,
        "cause": status.cause,
        "why": progress.why(status) if view.over else "",
        "step": status.step,
        "total_steps": status.total_steps,
        "best": status.best.value if status.best else None,
        "created": round(view.created),
        "problems": [plain(problem, 200) for problem in view.problems],
    }
