"""Claims on a device, one file each, held by a lock that the kernel drops when the last process of the run is gone.

`<home>/.local/state/stationmaster/leases/<boot>/<device>.<order>.held` or `.waiting`: a file that nobody locks is a
claim of a dead run and means nothing. The order among those that wait is that in which they came. Not covered: runs of
other people, and programs that do not ask.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import codec, process, rundir
from .contract import Status
from .errors import FormatError, RunError

GUARD_SECONDS = 10.0
"""Longest wait for whoever is just changing the claims of the device: that takes milliseconds."""
HELD, WAITING = "held", "waiting"


@dataclass(frozen=True)
class Claim:
    """Content of a claim's file."""

    run: str
    """Name of the run."""
    project: str
    """Absolute path of its project."""
    run_dir: str
    """Absolute path of its folder."""


@dataclass(frozen=True)
class Found:
    """A claim of a run that lives."""

    claim: Claim
    held: bool
    """False while it waits."""
    since: float
    """Wall clock at which it got the device, or began to wait."""
    order: int


def folder() -> Path:
    """Not below XDG_STATE_HOME: a client may not pass that on, and all servers must agree. One per boot of a machine:
    homes may be shared between machines, and no claim outlives a boot."""
    return Path.home() / ".local" / "state" / "stationmaster" / "leases" / (process.boot_id() or "local")


def claims(device: str, but: Path | None = None) -> list[Found]:
    """Every claim of a living run on the device, those that hold it first, then those that wait, in their order.

    `but`: a claim's file that is left out. Empty when there is no folder.
    """
    found = [one for path in _files(device) if path != but and (one := _look(path)) is not None]
    return sorted(found, key=lambda one: (not one.held, one.order))


def describe(device: str, ahead: Sequence[Found]) -> str:
    """Who is ahead: `run X of /project has been using the CPU since 22:10 (step 40/900, ETA 5 min), 1 more waits`."""
    if not ahead:
        return ""
    first, rest = ahead[0], len(ahead) - 1
    doing = "has been using" if first.held else "has been waiting for"
    since = time.strftime("%H:%M", time.localtime(first.since))
    more = f", {rest} more before this one" if rest else ""
    name = "the CPU" if device == "cpu" else device
    return f"run {first.claim.run} of {first.claim.project} {doing} {name} since {since}{_progress(first)}{more}"


def _progress(found: Found) -> str:
    """How far that run is, as its own status says; empty when that cannot be read."""
    try:
        path = Path(found.claim.run_dir) / "status.json"
        status = codec.loads(Status, rundir.read(path), path.name)
    except (OSError, FormatError, ValueError):
        return ""
    eta = status.eta_seconds
    left = f", ETA {max(1, round(eta / 60))} min" if eta is not None and math.isfinite(eta) else ""
    return f" (step {status.step}/{status.total_steps}{left})" if status.total_steps else ""


class Seat:
    """One run's claim on one device. The lock goes over to every process that inherits `descriptor`."""

    def __init__(self, device: str, claim: Claim) -> None:
        """Takes a place behind all others. Raises OSError and RunError when the folder of leases cannot be used."""
        self.device = device
        home = folder()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _guarded(device):
            _sweep(device)
            order = 1 + max((int(path.name.split(".")[-2]) for path in _files(device)), default=0)
            self._path = home / f"{_safe(device)}.{order:09d}.{WAITING}"
            draft = home / f".{secrets.token_hex(8)}"
            self.descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)  # before it has its name: nobody takes it for a dead one
            os.write(self.descriptor, codec.dumps(claim).encode("utf-8", "replace"))
            os.rename(draft, self._path)
        self._order, self.held = order, False

    def ahead(self) -> list[Found]:
        """Living claims that come before this one: all that hold the device, and those that wait for longer."""
        return [one for one in claims(self.device, self._path) if one.held or one.order < self._order]

    def take(self, *, share: bool = False) -> bool:
        """Takes the device when nobody is ahead, or with `share` in any case; whether it is held now."""
        if self.held or (not share and self.ahead()):
            return self.held
        with _guarded(self.device):
            if share or not self.ahead():
                held = self._path.with_suffix(f".{HELD}")
                os.rename(self._path, held)
                os.utime(held)
                self._path, self.held = held, True
        return self.held

    def release(self, *, all_gone: bool = True) -> None:
        """Gives the device back. With `all_gone` false only this process's share: others that inherited it keep it."""
        if self.descriptor < 0:
            return
        if all_gone:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)
        self.descriptor, self.held = -1, False


@contextlib.contextmanager
def _guarded(device: str) -> Iterator[None]:
    """Alone among those that change the claims of the device."""
    lock = process.take_lock(folder() / f"{_safe(device)}.guard", GUARD_SECONDS)
    if lock is None:
        raise RunError(f"the claims on {device} are locked by another process.", f"Look at {folder()}.")
    try:
        yield
    finally:
        os.close(lock)


def _files(device: str) -> list[Path]:
    form = re.compile(re.escape(_safe(device)) + rf"\.\d{{9}}\.({HELD}|{WAITING})")
    try:
        return [Path(entry.path) for entry in os.scandir(folder()) if form.fullmatch(entry.name)]
    except OSError:
        return []


def _look(path: Path) -> Found | None:
    """The claim when its run lives; a damaged one counts, without its names."""
    if not process.is_locked(path):
        return None if path.exists() else _renamed(path)
    try:
        since = path.stat().st_mtime
        claim = codec.loads(Claim, rundir.read(path, 64 << 10), path.name)
    except FormatError:
        claim, since = Claim("?", "?", ""), time.time()
    except OSError:  # it was renamed or released meanwhile
        return _renamed(path)
    return Found(claim, path.suffix == f".{HELD}", since, int(path.name.split(".")[-2]))


def _renamed(path: Path) -> Found | None:
    held = path.with_suffix(f".{HELD}")
    return _look(held) if path.suffix == f".{WAITING}" and held.exists() else None


def _sweep(device: str) -> None:
    for path in _files(device):
        if not process.is_locked(path):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _safe(device: str) -> str:
    """A file name of it."""
    return re.sub(r"[^A-Za-z0-9-]", "_", device)[:100]
