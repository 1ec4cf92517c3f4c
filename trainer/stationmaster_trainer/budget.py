"""The plan's limits on time and disk: measured by the supervisor, which asks the worker to save and stop."""

from __future__ import annotations

import dataclasses
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import control, manifest
from .contract import Launch, Spec
from .ending import Ending
from .rundir import AttemptDir

STOP = "budget_stop"
"""Verb of the request."""
GB = 1e9
KEYS = ("max_hours", "max_disk_gb")
DISK_SECONDS = 5.0
"""Shortest time between two measurements of the disk; a slow one makes the next come later."""
SHARE_OF_TIME = 50.0


def limits(spec: Spec, launch: Launch) -> dict[str, float | None]:
    """The limits in force, by key: those of the configuration, unless a resume changed them."""
    return {key: launch.changes.get(key, getattr(spec.config, key)) for key in KEYS}


WAY_OUT = "To go on: resume_run with a higher limit that the person agreed to."


class Budget:
    """One per supervised attempt. `reached` says which limit ended it, in words; empty before."""

    def __init__(self, attempt: AttemptDir, spec: Spec, launch: Launch, say: Callable[[str], None]) -> None:
        self._attempt, self._spec, self._say = attempt, spec, say
        self._limits = limits(spec, launch)
        self._disk_at = 0.0
        self._placed = False
        self.reached = ""

    def look(self, seconds: float) -> bool:
        """Whether a limit is reached; the request to the worker is out then. `seconds`: of all attempts so far."""
        self.reached = self.reached or self._hours(seconds) or self._disk()
        if self.reached and not self._placed:
            try:
                control.place(self._attempt, STOP, {"verb": STOP, "time": time.time(), "reached": self.reached})
                self._placed = True
                self._say(self.reached)
            except OSError as error:
                self._say(f"the request to stop at the limit cannot be written: {error}")
        return self._placed

    def ending(self, ending: Ending) -> Ending:
        """The end of the attempt with the limit named, where it was a limit that ended it."""
        if ending.cause != "budget" or not self.reached:
            return ending
        message = f"{ending.message.rstrip('.')}: {self.reached}."
        return dataclasses.replace(ending, message=message, way_out=WAY_OUT)

    def _hours(self, seconds: float) -> str:
        most = self._limits["max_hours"]
        return "" if most is None or seconds < most * 3600 else f"max_hours {most:g} reached: {_hours(seconds)} used"

    def _disk(self) -> str:
        """One more checkpoint must still fit, unless one is just being written or replaced."""
        most, now = self._limits["max_disk_gb"], time.monotonic()
        if most is None or now < self._disk_at:
            return ""
        folder = Path(self._spec.checkpoint_dir)
        used = size((Path("."), folder))
        self._disk_at = now + max(DISK_SECONDS, SHARE_OF_TIME * (time.monotonic() - now))
        next_one = 0 if _in_flux(folder, self._spec.config.keep_checkpoints) else _newest_bytes(folder)
        if used + next_one <= most * GB:
            return ""
        beside = f", and one more checkpoint takes {next_one / GB:.3g} GB" if next_one else ""
        return f"max_disk_gb {most:g} reached: {used / GB:.3g} GB are used{beside}"


def size(folders: Iterable[Path]) -> int:
    """Bytes that the plain files below the folders take; several names of one file count once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                try:
                    found = os.lstat(os.path.join(place, name))
                except OSError:  # deleted meanwhile
                    continue
                if stat.S_ISREG(found.st_mode):
                    seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


def _in_flux(folder: Path, keep: int) -> bool:
    """Whether a checkpoint is being written, or older ones have not been deleted yet."""
    try:
        names = os.listdir(folder)
    except OSError:
        return True
    return any(name.startswith(".") for name in names) or len(manifest.list_checkpoints(folder)) > keep + 1


def _newest_bytes(folder: Path) -> int:
    found = manifest.list_checkpoints(folder)
    return size([found[-1][1]]) if found else 0


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s"


def valid(key: str, value: Any) -> bool:
    """Whether a limit can be set to this."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1e6 and key in KEYS
