"""One conversation about one run: gated, warned, killed with kill -9, resumed, ended, summarized; and what was seen.

A story is told once and stops at the first thing that goes wrong; each cell judges one part of it for one logger.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logbooks import Logbook, Rows, read_all, told
from process_bench import eventually, pid_of
from scenarios import ALONE, Scenario

from stationmaster_server import runs
from stationmaster_trainer import manifest, stream
from stationmaster_trainer.contract import Checkpoint, Train
from stationmaster_trainer.rundir import RunDir

DEADLINE = 120.0
FINAL = ("succeeded", "failed", "stopped", "lost")


@dataclass
class Story:
    """What was seen of one run."""

    scenario: Scenario
    run: RunDir
    warned: dict[str, Any] = field(default_factory=dict)
    """The alert as `poll_status` told it while the run went on."""
    checkpoints: dict[int, manifest.Manifest] = field(default_factory=dict)
    """Step → manifest of every verified checkpoint that lay on the disk after the kill."""
    killed_state: str = ""
    killed_rows: Rows = field(default_factory=list)
    """What the first worker had told before it was killed."""
    killed_logs: dict[str, Logbook | Exception] = field(default_factory=dict)
    resumed_from: int = -1
    state: str = ""
    rows: Rows = field(default_factory=list)
    """What stands of both attempts."""
    logs: dict[str, Logbook | Exception] = field(default_factory=dict)
    summary: str = ""
    summary_facts: dict[str, Any] = field(default_factory=dict)

    def log(self, backend: str, killed: bool = False) -> Logbook:
        """What a logger held after the kill, or at the end; raises what reading it raised."""
        found = (self.killed_logs if killed else self.logs)[backend]
        if isinstance(found, Exception):
            raise found
        return found


def whole(chat: Any, scenario: Scenario, backends: tuple[str, ...]) -> Story:
    """The story with everything in it."""
    story = _begin(chat, scenario, backends)
    story.warned = _warning(chat, story)
    eventually(lambda: _in_the_middle(story), DEADLINE)
    status = runs.view(story.run).status
    os.kill(pid_of(status, "worker"), signal.SIGKILL)
    story.killed_state = _end(chat, story)["state"]
    story.killed_logs = read_all(story.run, backends)
    story.killed_rows = told(story.run, attempt=1)
    folder = chat.project / "checkpoints" / story.run.name
    story.checkpoints = {step: manifest.verify(path) for step, path in manifest.list_checkpoints(folder)}
    story.resumed_from = chat.accepted("resume_run", run=story.run.name).facts["resumed_from"]
    return _finish(chat, story, backends)


def alone(chat: Any, backend: str) -> Callable[[], Story]:
    """Starts a run with one logger besides the file; the result waits for its end."""
    story = _begin(chat, ALONE, (backend,))
    return lambda: _finish(chat, story, (backend,))


def _begin(chat: Any, scenario: Scenario, backends: tuple[str, ...]) -> Story:
    chat.accepted("choose_logging", backends=list(backends))
    _asked(chat, "check_validation", split=0.2)
    shown = _asked(chat, "propose_config", changes=scenario.changes)
    started = chat.accepted("start_run", digest=shown["digest"]).facts
    return Story(scenario, RunDir(Path(chat.project) / "runs" / started["run"]))


def _asked(chat: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """Facts of an accepted call; asked again, as an assistant is told to, while a busy machine is still measuring."""

    def look() -> Any:
        reply = chat.accepted(tool, **arguments)
        return None if reply.text.startswith("Still measuring") else reply

    return dict(eventually(look, DEADLINE).facts)


def _warning(chat: Any, story: Story) -> dict[str, Any]:
    """The alert in the words of `poll_status`, while the run goes on."""

    def look() -> dict[str, Any] | None:
        facts = chat.accepted("poll_status", run=story.run.name, wait_seconds=1).facts
        assert facts["state"] not in FINAL, facts
        return next((alert for alert in facts["alerts"] if alert["rule"] == "grad_norm_spike"), None)

    return eventually(look, DEADLINE)


def _in_the_middle(story: Story) -> bool:
    """Whether rows beyond the newest checkpoint are told, and the next checkpoint is not due yet."""
    records = stream.last_records(story.run.attempt(1).stream)
    saved = max((record.step for record in records if isinstance(record, Checkpoint)), default=0)
    step = max((record.step for record in records if isinstance(record, Train)), default=0)
    assert step < story.scenario.total_steps, "the run was over before it could be killed"
    every, logged = story.scenario.save_every, story.scenario.log_every
    return saved >= 2 * every and step > saved + logged and logged < step % every < 0.6 * every


def _end(chat: Any, story: Story) -> dict[str, Any]:
    """Facts of the run once it has ended."""

    def look() -> dict[str, Any] | None:
        facts: dict[str, Any] = chat.accepted("poll_status", run=story.run.name, wait_seconds=2).facts
        return facts if facts["state"] in FINAL else None

    return eventually(look, DEADLINE)


def _finish(chat: Any, story: Story, backends: tuple[str, ...]) -> Story:
    story.state = _end(chat, story)["state"]
    story.logs = read_all(story.run, backends)
    story.rows = told(story.run)
    reply = chat.accepted("summarize", run=story.run.name)
    story.summary, story.summary_facts = reply.text, reply.facts
    return story
