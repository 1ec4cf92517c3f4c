"""Peak resident memory of the processes of a chat and its run, read from /proc while they live (Linux only)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from stationmaster_trainer import codec, process
from stationmaster_trainer.contract import Status
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.rundir import RUNS, RunDir

from .. import lasting
from ..measured import ANSWERS
from ..plan import FOLDER


@dataclass
class Peaks:
    """Largest resident memory so far by process: `server`, `measuring`, `supervisor`, `recorder`, `worker`."""

    project: Path
    bytes: dict[str, int] = field(default_factory=dict)
    """Process → peak in bytes."""

    def look(self, run: str | None = None) -> None:
        """Looks once at this process's server and its children, and at the processes of `run`."""
        for server in children(os.getpid()):
            self._saw("server", server)
            for child in children(server):
                self._saw("measuring", child)
        for measuring in lasting.pids(self.project / FOLDER / ANSWERS):
            for child in (measuring, *process.descendants(measuring)):
                self._saw("measuring", child)
        status = None if run is None else self._status(run)
        if status is not None and status.supervisor is not None:
            worker = status.worker.pid if status.worker else None
            self._saw("supervisor", status.supervisor.pid)
            for child in children(status.supervisor.pid):
                self._saw("worker" if child == worker else "recorder", child)

    def _status(self, run: str) -> Status | None:
        path = RunDir(self.project / RUNS / run).status
        try:
            return codec.loads(Status, path.read_bytes(), str(path))
        except (OSError, FormatError):
            return None

    def _saw(self, name: str, pid: int) -> None:
        peak = peak_memory(pid)
        if peak:
            self.bytes[name] = max(peak, self.bytes.get(name, 0))


def children(pid: int) -> list[int]:
    """Process ids of the living children of a process."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in tasks.read_text().split()]
        except OSError:
            continue
    return found


def peak_memory(pid: int) -> int | None:
    """Largest resident memory of a living process so far, in bytes; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
