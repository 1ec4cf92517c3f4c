"""The tools that start, stop and resume a run."""

# Annotations are evaluated here: `Resolve(ask)` names a function that is local to the registration.

import math
import time
from typing import TYPE_CHECKING, Annotated, Any

from anyio import sleep, to_thread
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from ..answer import answer, clean, fence
from ..app import Stationmaster
from ..roots import Roots

if TYPE_CHECKING:
    from ..resume import Resumed
    from ..start import Started
    from ..views import RunView

MAX_WAIT = 45.0
"""Seconds that a tool may wait; clients cut calls at sixty."""
LOOK_SECONDS = 0.1
_ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


class Approve(BaseModel):
    """What a person answers to the question before a start; accepting the question is the yes."""

    start: bool = Field(default=True, description="Start this training run")


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `start_run`, `stop_run` and `resume_run`."""
    _start_run(server, roots)
    _stop_run(server, roots)
    _resume_run(server, roots)


def _start_run(server: Stationmaster, roots: Roots) -> None:
    def ask(project_dir: str, digest: str, context: Context[Any, Any]) -> Elicit[Approve] | None:
        from ..start import question

        words = question(roots.project(project_dir), digest, can_ask=_can_ask(context))
        return Elicit(words, Approve) if words is not None else None

    @server.tool(title="Start the run", annotations=_ACTS, structured_output=False)
    def start_run(
        project_dir: str, digest: str, yes: Annotated[ElicitationResult[Approve], Resolve(ask)]
    ) -> CallToolResult:
        """Starts the configuration with this digest, which propose_config showed and the person confirmed, in a
        process of its own. Returns the run's name and first state. The same digest again returns the same run."""
        from .. import approval, checklist
        from ..start import start

        project = roots.project(project_dir)
        asked = not isinstance(yes, AcceptedElicitation) or yes.data is not None
        if asked and not (isinstance(yes, AcceptedElicitation) and yes.data.start):
            raise approval.refused(project)
        started = start(project, digest, elicited=asked)
        facts = {"digest": digest, "approved_by": started.by, "new": started.new}
        return answer(_started(started), plan=checklist.overview(started.plan), **facts, **_facts(started.view))


def _started(started: "Started") -> str:
    approved = {"assistant": "declared by the assistant"}.get(started.by, f"given by a {started.by}")
    first = f"Approval {approved}." if started.new else f"This digest was started before (approval {approved})."
    shared = started.beside and started.view.state != "queued"
    beside = [f"Beside it, {clean(started.beside, 300)}: both are slower."] if shared else []
    return "\n".join([first, *beside, _text(started.view), *_traceback(started.view)])


def _stop_run(server: Stationmaster, roots: Roots) -> None:
    annotations = ToolAnnotations(
        read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
    )

    @server.tool(title="Stop a run", annotations=annotations, structured_output=False)
    async def stop_run(project_dir: str, run: str | None = None, wait_seconds: float = 30) -> CallToolResult:
        """Asks a run (default: the newest) to save a checkpoint and end, and waits up to wait_seconds (at most 45)
        for it. Returns its state and checkpoint; it can be resumed."""
        from .. import runs

        project, seconds = roots.project(project_dir), _seconds(wait_seconds)
        found = await to_thread.run_sync(runs.find_run, project, run)
        said, seen = await to_thread.run_sync(runs.request_stop, found)
        if said != "not_running":
            seen = await _ended(seen, seconds)
        first = {
            "not_running": f"{seen.name} is not running: nothing was asked.",
            "already_requested": f"{seen.name} was asked to stop before.",
            "requested": f"{seen.name} was asked to save a checkpoint and end.",
        }[said]
        if seen.status.checkpoint is None and await to_thread.run_sync(runs.is_script, found):
            first = first.replace("asked to save a checkpoint and end", "sent SIGTERM: nothing but the script saves it")
        checked = _cleared(seen) if said != "not_running" else ""
        return answer("\n".join([first, *([checked] if checked else []), _text(seen)]), requested=said, **_facts(seen))


def _cleared(seen: "RunView") -> str:
    """What was verified once the run was over, and how long it took."""
    found = seen.status.cleared
    if not seen.over:
        return "It has not ended yet: nothing is verified."
    if found is None:
        return "Not verified: its supervisor is gone." if seen.status.worker else ""
    if found.left:
        return f"Not verified: processes {', '.join(map(str, found.left))} cannot be ended."
    forced = f" ({found.forced} had to be ended)" if found.forced else ""
    gpu = {"free": ", its GPU memory is free", "held": ", but its GPU memory is still held"}.get(found.gpu, "")
    return f"Verified: no process of it is left{forced}{gpu}; {found.seconds:.1f} s after the request."


async def _ended(seen: "RunView", seconds: float) -> "RunView":
    """The view once the run is over, or when the time is up; only the looks take a thread."""
    from ..views import view

    deadline = time.monotonic() + seconds
    while not seen.over and time.monotonic() < deadline:
        await sleep(LOOK_SECONDS)
        seen = await to_thread.run_sync(view, seen.run)
    return seen


def _resume_run(server: Stationmaster, roots: Roots) -> None:
    def ask(
        project_dir: str, context: Context[Any, Any], run: str | None = None, changes: dict[str, Any] | None = None
    ) -> Elicit[Approve] | None:
        from ..resume import question

        words = question(roots.project(project_dir), run, changes, can_ask=_can_ask(context))
        return Elicit(words, Approve) if words is not None else None

    @server.tool(title="Resume a run", annotations=_ACTS, structured_output=False)
    def resume_run(
        project_dir: str,
        yes: Annotated[ElicitationResult[Approve], Resolve(ask)],
        run: str | None = None,
        changes: Annotated[dict[str, Any] | None, Field(description="max_hours, max_disk_gb, when_busy")] = None,
    ) -> CallToolResult:
        """Continues a failed, stopped or lost run (default: the newest) as a new attempt with the same configuration,
        from its newest verified checkpoint. changes: new limits. Returns the step it continues from and the state."""
        from .. import approval
        from ..resume import resume

        project = roots.project(project_dir)
        if not isinstance(yes, AcceptedElicitation) or (yes.data is not None and not yes.data.start):
            raise approval.refused(project)
        resumed = resume(project, run, changes)
        facts = {"resumed_from": resumed.step, "resumed_checkpoint": resumed.checkpoint, "rejected": resumed.rejected}
        return answer(_resumed(resumed), **facts, **_facts(resumed.view))


def _resumed(resumed: "Resumed") -> str:
    if resumed.step is None:
        return f"{resumed.view.name} is already running: nothing was started.\n{_text(resumed.view)}"
    place = f"from {resumed.checkpoint}" if resumed.step else "from step 0: there is no checkpoint that verifies"
    lines = [f"Continued {clean(place, 300)}.", *(f"Not usable: {clean(item, 300)}" for item in resumed.rejected[:3])]
    return "\n".join([*lines, _text(resumed.view), *_traceback(resumed.view)])


def _text(view: "RunView") -> str:
    from .. import progress

    return progress.text(view, now=time.time())


def _facts(view: "RunView") -> dict[str, Any]:
    from .. import progress

    return progress.facts(view)


def _traceback(view: "RunView") -> list[str]:
    """The user's own frames, when the training code raised before the first step."""
    from stationmaster_trainer import stream
    from stationmaster_trainer.contract import Failure
    from stationmaster_trainer.errors import FormatError

    if view.state != "failed" or not view.attempt:
        return []
    try:
        records = stream.last_records(view.run.attempt(view.attempt).stream)
    except FormatError:
        return []
    failures = [record for record in records if isinstance(record, Failure) and record.traceback]
    return [fence(failures[-1].traceback, "traceback", 1200)] if failures else []


def _seconds(wait_seconds: float) -> float:
    from stationmaster_trainer.errors import RunError

    if not math.isfinite(wait_seconds) or wait_seconds < 0:
        raise RunError(f"wait_seconds is {wait_seconds:g}.", f"Give seconds from 0 to {MAX_WAIT:g}.")
    return min(wait_seconds, MAX_WAIT)


def _can_ask(context: Context[Any, Any]) -> bool:
    """Whether the client declared that it can put a form to the person; `elicitation: {}` of older clients counts."""
    capabilities = context.client_capabilities
    asked = capabilities.elicitation if capabilities is not None else None
    return asked is not None and (asked.form is not None or asked.url is None)
