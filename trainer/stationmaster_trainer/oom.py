"""Out of memory: evidence that the kernel's killer ended a process (cgroup, kernel log), and what fits better."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from collections import deque
from pathlib import Path

from .contract import SCRIPT, TrainingConfig

CGROUPS = Path("/sys/fs/cgroup")


RECENT_SECONDS = 10.0
"""How long before the worker's end a kill may lie: the counter is that of the whole group, other runs included."""


class KernelWitness:
    """Made before the worker starts; `look` from time to time, so that `killed` compares with a short while ago."""

    def __init__(self) -> None:
        self._files = _counter_files()
        self._counts = deque([(time.monotonic(), _count(self._files))])
        self._log = _open_kernel_log()

    def look(self, now: float) -> None:
        """Notes how many were killed so far."""
        self._counts.append((now, _count(self._files)))
        while now - self._counts[1][0] >= RECENT_SECONDS:
            self._counts.popleft()

    def killed(self, pid: int) -> str:
        """What shows that process `pid` was killed for memory; empty when nothing does."""
        lines = self._new_lines()
        named = next((line for line in lines if re.search(rf"[Kk]illed process {pid}\b", line)), "")
        if named:
            return f"kernel log: {named}"
        more = _count(self._files) - self._counts[0][1]
        return f"the cgroup's oom_kill counter grew by {more}" if more > 0 else ""

    def _new_lines(self) -> list[str]:
        lines: list[str] = []
        if self._log is None:
            return lines
        for _ in range(10_000):
            try:
                lines.append(os.read(self._log, 8192).decode(errors="replace").partition(";")[2].splitlines()[0])
            except (BlockingIOError, IndexError):
                break
            except OSError:  # EPIPE: messages were lost meanwhile; the next read goes on
                continue
        return lines


def smaller_batch(config: TrainingConfig) -> str:
    """A configuration that needs less memory and keeps the effective batch."""
    if config.framework == SCRIPT:
        return "Give the script a smaller batch, in its code or by an option of its own."
    batch, accumulation = config.batch_size, config.gradient_accumulation
    if batch == 1:
        return "batch_size is 1 already: use a smaller model, shorter samples, or another precision."
    half = batch // 2
    more = -(-batch * accumulation // half)  # rounded up
    return (
        f"Try batch_size {half} with gradient_accumulation {more} (now {batch} and {accumulation}): "
        f"the effective batch stays at {half * more}, the memory shrinks."
    )


def way_out(config: TrainingConfig, *, device: bool) -> str:
    """Which memory was full, and a configuration that fits better."""
    what = "The memory of the device (GPU) was full." if device else "The memory of the host (RAM) was full."
    return f"{what} {smaller_batch(config)}"


def peak_memory_bytes() -> int:
    """Largest resident memory of any child that was waited for."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _counter_files() -> list[Path]:
    """Of this process's cgroup, which the worker inherits: version 2 and version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(CGROUPS / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    return [file for file in found if file.is_file()]


def _count(files: list[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += sum(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))
        except (OSError, ValueError, IndexError):
            continue
    return total


def _open_kernel_log() -> int | None:
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
