"""The tools that look at runs: one run since the last look, and every run of a project."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from anyio import sleep, to_thread
from mcp_types import CallToolResult, ToolAnnotations

from stationmaster_trainer.errors import RunError

from ..answer import answer
from ..app import Stationmaster
from ..roots import Roots

if TYPE_CHECKING:
    from stationmaster_trainer.contract import Alert

    from ..cursor import Cursor
    from ..views import RunView

MAX_WAIT = 45.0
"""Seconds that a call may block: clients cut calls at 60."""
LOOK_SECONDS = 0.2
"""Between two looks while waiting."""
GATHER_SECONDS = 10.0
"""A run of seconds validates many times in them: an answer for each would cost the assistant its context."""
LISTED = 20
"""Runs that are named one by one."""
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `poll_status` and `list_runs`."""
    _poll_status(server, roots)
    _list_runs(server, roots)


def _poll_status(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="Look at a run", annotations=_READS, structured_output=False)
    async def poll_status(
        project_dir: str, run: str | None = None, since: str | None = None, wait_seconds: float = 0
    ) -> CallToolResult:
        """Returns step, loss, rate, throughput, ETA, alerts and checkpoint of a run (default: the newest), only what is
        new after the cursor since, and when to look again. Waits up to wait_seconds (at most 45) for something new."""
        from ..cursor import Cursor
        from ..runs import find_run, view

        cursor, seconds = Cursor.parse(since), _checked(wait_seconds)
        first = await to_thread.run_sync(lambda: view(find_run(roots.project(project_dir), run)))
        seen = await _awaited(first, cursor, seconds)
        return await to_thread.run_sync(_told, seen, cursor, wait_seconds > MAX_WAIT)


def _checked(wait_seconds: float) -> float:
    if not math.isfinite(wait_seconds) or wait_seconds < 0:
        raise RunError(f"wait_seconds is {wait_seconds:g}.", f"Give seconds from 0 to {MAX_WAIT:g}.")
    return min(wait_seconds, MAX_WAIT)


async def _awaited(seen: RunView, cursor: Cursor | None, seconds: float) -> RunView:
    """The view once something happened that the cursor (or the first look) had not seen, at the end, or at time.

    Only the short looks take a thread, so that many waiting calls hold up neither each other nor the server's end.
    """
    from ..cursor import Cursor
    from ..views import view

    began = time.monotonic()
    baseline = cursor or Cursor.of(seen.status)
    while not seen.over and not _worth_saying(baseline, seen, time.monotonic() - began):
        left = seconds - (time.monotonic() - began)
        if left <= 0:
            break
        await sleep(min(LOOK_SECONDS, left))
        seen = await to_thread.run_sync(view, seen.run)
    return seen


def _worth_saying(baseline: Cursor, seen: RunView, waited: float) -> bool:
    """Alerts and states at once; validations and checkpoints are gathered for up to ten seconds."""
    from .. import progress
    from ..cursor import Cursor

    status, now = seen.status, Cursor.of(seen.status)
    if baseline.urgent(now) or not baseline.differs(now):
        return baseline.urgent(now)
    newest = max((record.time for record in (status.eval, status.checkpoint) if record is not None), default=0.0)
    gathering = min(GATHER_SECONDS, progress.next_poll(seen) or 0)
    return waited >= gathering or time.time() - newest >= gathering


def _told(seen: RunView, cursor: Cursor | None, cut: bool) -> CallToolResult:
    from .. import progress

    closed = _closed(seen, cursor)
    text = progress.text(seen, cursor, closed, time.time())
    if cut:
        text = f"(wait_seconds was cut to {MAX_WAIT:g}, the most.)\n{text}"
    return answer(text, **progress.facts(seen, cursor, closed))


def _closed(seen: RunView, cursor: Cursor | None) -> list[Alert]:
    """Alerts that are over and that the cursor had not seen so. The file is read only when there must be one."""
    from .. import alerts
    from ..cursor import mark

    status = seen.status
    now = {mark(alert) for alert in status.alerts_open}
    before = set(cursor.open) if cursor else set()
    begun = status.alerts_total - (cursor.alerts if cursor else 0)
    if begun <= len(now - before) and before <= now:
        return []
    over = [alert for alert in alerts.recent(seen.run, seen.attempt) if not alert.open]
    unseen = [alert for alert in over if mark(alert) in before]
    fresh = [alert for alert in over if mark(alert) not in before]
    return [*unseen, *fresh[max(0, len(fresh) - max(0, begun - len(now - before))) :]]


def _list_runs(server: Stationmaster, roots: Roots) -> None:
    @server.tool(title="List the runs of a project", annotations=_READS, structured_output=False)
    def list_runs(project_dir: str) -> CallToolResult:
        """Returns every run of the project, newest first: name, state, cause, step of total, best validation loss, age
        and damage. Runs of earlier chats and other servers are found as well."""
        from .. import overview, runs

        views = runs.list_runs(roots.project(project_dir))
        text = "\n".join(overview.lines(views, time.time(), LISTED))
        return answer(text, runs=[overview.row(view) for view in views[:LISTED]], count=len(views))
