"""Proof that an attempt is over: its whole process tree is gone, and its GPU holds nothing of it any more.

Whether a GPU is free is only said when its driver had listed a process of the run before: inside a container it may
list none, or under other numbers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

from . import ladder, process
from .child import Child
from .contract import Cleared

SMI_SECONDS = 10.0
"""Longest wait for an answer of nvidia-smi."""
LOOK_SECONDS = 5.0
FREE_SECONDS = 5.0
"""How long the driver may take to give the memory of an ended process back."""


def clear(keep: set[int], child: Child, gpu: GpuWatch, say: Callable[[str], None]) -> Cleared:
    """Ends what is left of the tree below this process except `keep`, and tells what it came to."""
    asked = child.ladder.asked_at
    begun = time.monotonic() if asked is None else asked
    forced = len(ladder.remaining(keep))
    left = tuple(ladder.clear_tree(keep, say))
    return Cleared(time.monotonic() - begun, forced, left, "" if left else gpu.after())


class GpuWatch:
    """Sees which processes of this run the driver lists on a GPU; nothing for another device."""

    def __init__(self, device: str) -> None:
        """`device`: the UUID of a GPU, else there is nothing to watch."""
        self._device, self._ours = device, set[int]()
        if device.startswith("GPU-"):
            threading.Thread(target=self._watch, name="gpu-watch", daemon=True).start()

    def after(self) -> str:
        """`free` or `held`, for the processes that were seen there; empty when none was, or nobody answers."""
        if not self._ours:
            return ""
        deadline = time.monotonic() + FREE_SECONDS
        while (listed := pids_on(self._device)) is not None:
            if not listed & self._ours:
                return "free"
            if time.monotonic() >= deadline:
                return "held"
            time.sleep(0.2)
        return ""

    def _watch(self) -> None:
        """Until the run is seen there once, or nvidia-smi does not answer."""
        while not self._ours and (listed := pids_on(self._device)) is not None:
            self._ours = listed & set(process.descendants(os.getpid()))
            time.sleep(LOOK_SECONDS)


def pids_on(device: str) -> set[int] | None:
    """Processes that hold memory of the GPU with this UUID; None when nvidia-smi cannot say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    argv = [program, "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SMI_SECONDS)  # nosec B603 # no shell
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return None if done.returncode else parse_apps(done.stdout, device)


def parse_apps(text: str, device: str) -> set[int]:
    """Process ids on one GPU from nvidia-smi's CSV of UUID and pid."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return {int(row[1]) for row in rows if len(row) == 2 and row[0] == device and row[1].isdigit()}
