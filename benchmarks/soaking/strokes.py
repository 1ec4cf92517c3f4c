"""What a stroke needs to know: which processes a run has, what it was doing, and how long a true state took."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from stationmaster_server import runs
from stationmaster_trainer import stream
from stationmaster_trainer.contract import Phase, Started
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.states import DERIVED, FINAL

from .account import Account

TRUTH_SECONDS = 60.0
"""How long a true state may take before it counts as none."""


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; one that is gone is gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def targets(run: RunDir | None, target: str, server: list[int]) -> list[int]:
    """Pids of `worker`, `supervisor`, `server` or `all three`, as far as they are there."""
    found: dict[str, list[int]] = {"server": server, "worker": [], "supervisor": []}
    if run is not None:
        for pid in processes_of(run.path):
            for role in ("worker", "supervisor"):
                if f"stationmaster_{role}.py" in command(pid):
                    found[role].append(pid)
    return [pid for pids in found.values() for pid in pids] if target == "all three" else found[target]


def phase(checkpoints: Path, run: RunDir | None) -> str:
    """What the run is doing, as far as a reader can know: one of account.PHASES."""
    attempt = next(reversed(run.attempts()), None) if run is not None else None
    records = stream.last_records(attempt.stream) if attempt is not None and attempt.stream.exists() else []
    ready = any(isinstance(record, Started) or getattr(record, "step", 0) for record in records)
    newest = next((record.phase for record in reversed(records) if isinstance(record, Phase)), "train")
    if run is None or attempt is None or not ready or newest == "resume":
        return "resume" if attempt is not None and attempt.number > 1 else "start"
    if any(checkpoints.glob(".checkpoint-*.partial")):
        return "save"
    return newest if newest in ("eval", "save", "finish") else "train"


def truth(run: RunDir, died: float, account: Account) -> float | None:
    """Seconds until no reader is told that the run goes on; None when that took too long."""
    while time.monotonic() - died < TRUTH_SECONDS:
        if not derivable(run, account):
            return None
        seen = runs.view(run)
        if seen.state in FINAL or seen.state == DERIVED or (seen.state == "queued" and not seen.alive):
            return time.monotonic() - died
        time.sleep(0.02)
    return None


def derivable(run: RunDir, account: Account) -> bool:
    """Whether the state can be told at all."""
    try:
        return bool(runs.view(run).state)
    except Exception as error:
        account.fault("unreadable states", f"{run.name}: {type(error).__name__}: {error}")
        return False


def processes_of(folder: Path) -> list[int]:
    """Live processes that name `folder` on their command line or work in it; this one left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        if state != "Z" and (f"{folder}/" in f"{place}/" or f"{folder}/" in f"{words}/".replace("\0", "/")):
            found.append(int(entry.name))
    return found


def command(pid: int) -> str:
    """The command line; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
