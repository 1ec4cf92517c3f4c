"""A real client's visit to a public script: through the gates, to its end, and once more to be stopped half-way."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stationmaster_server.answer import facts_of

from .case import Case, changes

FINAL = ("succeeded", "failed", "stopped", "lost")
LONGEST = 900.0
"""Seconds that a run may take, and that one may need to its first steps."""
UNSEEN = 45.0
"""Seconds after which a run is stopped whose steps cannot be seen."""


@dataclass
class Seen:
    """What stationmaster saw of one run."""

    folder: Path
    state: str = ""
    cause: str = ""
    message: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)
    """metrics.csv."""
    output: str = ""
    """worker.log: what the script printed."""
    sight: str = ""
    """What the status says about what can be seen."""
    found_validation: bool = False
    """Whether the gate found a validation in the source."""


@dataclass
class Stopped:
    """How a run was stopped in its middle."""

    folder: str
    state: str
    steps: int
    seconds: float
    left: int
    """Processes of it that lived ten seconds later."""


class Visit:
    """A client of a server on one project."""

    def __init__(self, portal: Any, client: Any, project: Path) -> None:
        self.portal, self.client, self.project = portal, client, project

    def say(self, tool: str, **arguments: Any) -> tuple[str, dict[str, Any], bool]:
        """Text, facts, and whether it was refused."""
        found = self.portal.call(self._call, tool, {"project_dir": str(self.project), **arguments})
        return "\n".join(part.text for part in found.content if part.type == "text"), facts_of(found), found.is_error

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        return await self.client.call_tool(tool, arguments)

    def must(self, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Raises RuntimeError with the refusal."""
        text, facts, refused = self.say(tool, **arguments)
        if refused:
            raise RuntimeError(f"{tool}: {text}")
        return text, facts

    def begin(self, asked: dict[str, Any]) -> Path:
        """Passes the gates and starts; the folder of the run."""
        self.must("choose_logging", backends=["file"])
        self.must("propose_config", changes=asked)
        if self.say("check_validation", val_data="script")[2]:
            self.must("check_validation", waive_reason="the script has none that could be found")
        _, facts = self.must("propose_config")
        _, started = self.must("start_run", digest=facts["digest"])
        return self.project / "runs" / str(started["run"])


@contextmanager
def visiting(project: Path, environment: dict[str, str], log: Path) -> Iterator[Visit]:
    """A server over stdio and a client of the SDK on it."""
    from anyio.from_thread import start_blocking_portal
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    command = ["-m", "stationmaster_server", "serve", "--root", str(project)]
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("a"))
        portal = stack.enter_context(start_blocking_portal())
        server = StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=str(project))
        client = Client(stdio_client(server, errlog=errors), read_timeout_seconds=300)
        yield Visit(portal, stack.enter_context(portal.wrap_async_context_manager(client)), project)


def run(visit: Visit, case: Case) -> Seen:
    """The script from its proposal to its end."""
    visit.must("inspect_project")
    folder = visit.begin(case.changes)
    until(lambda: status_of(folder).get("state") in FINAL)
    visit.must("poll_status", run=folder.name)
    return look(folder)


def look(folder: Path) -> Seen:
    """What a finished run's folder holds."""
    status = status_of(folder)
    config = json.loads((folder / "spec.json").read_text())["config"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return Seen(
        folder,
        state=str(status.get("state")),
        cause=str(status.get("cause") or ""),
        message=str(status.get("message") or ""),
        rows=rows,
        output=(folder / "attempts" / "001" / "worker.log").read_text(errors="replace"),
        sight=str(status.get("sight") or ""),
        found_validation=config["val_data"] != "none",
    )


def stop(visit: Visit, case: Case, steps: int = 3) -> Stopped:
    """The longer command, stopped after `steps` steps, or after a while where none can be seen."""
    folder = visit.begin(dict(changes(case.long or case.command)))
    since: list[float] = []
    until(lambda: _under_way(folder, steps, since))
    token = f"STATIONMASTER_TOKEN={status_of(folder)['worker']['token']}".encode()
    before, began = len(_family(token, folder)), time.monotonic()
    visit.must("stop_run", run=folder.name, wait_seconds=45)
    status = until(lambda: found if (found := status_of(folder)).get("state") in FINAL else None)
    seconds = time.monotonic() - began
    left = until(lambda: not (alive := _family(token, folder)) or -len(alive), 10.0, otherwise=-1)
    if not before:
        raise RuntimeError("no process of the run was found while it ran")
    return Stopped(
        str(folder), str(status["state"]), int(status.get("step") or 0), seconds, 0 if left is True else -int(left)
    )


def until(look: Callable[[], Any], seconds: float = LONGEST, otherwise: Any = None) -> Any:
    """The first true value; after `seconds` RuntimeError, or `otherwise`."""
    deadline = time.monotonic() + seconds
    while not (value := look()) or (isinstance(value, int) and value < 0):
        if time.monotonic() > deadline:
            if otherwise is not None:
                return value or otherwise
            raise RuntimeError(f"not so within {seconds:.0f} s")
        time.sleep(0.2)
    return value


def _under_way(folder: Path, steps: int, since: list[float]) -> bool:
    """Whether it has made `steps` steps, or runs for `UNSEEN` seconds without one that could be seen."""
    status = status_of(folder)
    if status.get("state") in FINAL:
        raise RuntimeError(f"it ended before it was stopped: {status.get('state')} {status.get('message')}")
    if status.get("state") == "running" and not since:
        since.append(time.monotonic())
    return int(status.get("step") or 0) >= steps or (bool(since) and time.monotonic() - since[0] > UNSEEN)


def status_of(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "status.json").read_text()))
    except FileNotFoundError:
        return {}


def _family(token: bytes, folder: Path) -> list[int]:
    """Live processes that carry the run's token, or name its folder on their command line; servers left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            inside = token in (entry / "environ").read_bytes().split(b"\0") or (
                f"{folder}/".encode() in (entry / "cmdline").read_bytes()
            )
        except OSError:
            continue
        if inside and state != "Z":
            found.append(int(entry.name))
    return found
