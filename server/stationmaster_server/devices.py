"""The hardware a run may use: processor cores, memory, GPUs and disk, as the operating system and nvidia-smi tell them.

Standard library only; no framework is asked. Not covered: AMD GPUs and TPUs.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from . import children

_QUERY = "name,memory.total,memory.free,compute_cap,driver_version,uuid"
_SMI = ("/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi", "/usr/local/nvidia/bin/nvidia-smi")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    index: int
    name: str
    memory_total: int | None
    """Bytes; None where the driver does not tell (MIG, missing permission)."""
    memory_free: int | None
    compute_capability: str
    """For example `9.0`; bf16 is fast from 8.0 on."""
    driver: str
    uuid: str = ""
    """`GPU-…`; empty where the driver does not tell."""


@dataclass(frozen=True)
class Hardware:
    """What this machine offers to this process, limits of its container included."""

    cpu_cores: int
    """Usable cores: the affinity of this process, capped by its cgroup's quota."""
    memory_total: int | None
    """Bytes, capped by the cgroup's limit; None where the system does not tell."""
    memory_free: int | None
    """Bytes that can be had without swapping."""
    gpus: tuple[Gpu, ...]
    mps: bool
    """Apple silicon, where PyTorch can use the GPU as `mps`."""
    disk_free: int | None
    """Bytes that this user can still write where the project lies."""
    notes: tuple[str, ...] = ()


def hardware(project: Path) -> Hardware:
    """Looks at the machine; takes milliseconds, and at most 5 s where a driver does not answer."""
    total, free = _memory()
    found, notes = gpus()
    return Hardware(
        cpu_cores=_cores(),
        memory_total=total,
        memory_free=free,
        gpus=found,
        mps=sys.platform == "darwin" and os.uname().machine == "arm64",
        disk_free=_disk_free(project),
        notes=notes,
    )


def _cores() -> int:
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        affinity = os.cpu_count() or 1
    quota = _cpu_quota()
    return affinity if quota is None else max(1, min(affinity, int(quota)))


def _cpu_quota() -> float | None:
    """Cores granted by the cgroup, v2 (`cpu.max`: quota and period) or v1; None without a limit."""
    for folder in _cgroup_folders(""):
        parts = _read(folder / "cpu.max").split()
        if len(parts) == 2 and parts[0].isdigit() and parts[1].isdigit():
            return int(parts[0]) / max(1, int(parts[1]))
    for folder in _cgroup_folders("cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            return quota / period
    return None


def _memory() -> tuple[int | None, int | None]:
    total, free = _meminfo()
    limit, used = _memory_limit()
    if limit is None or (total is not None and limit >= total):
        return total, free
    left = max(0, limit - used)
    return limit, left if free is None else min(free, left)


def _meminfo() -> tuple[int | None, int | None]:
    if sys.platform == "darwin":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    fields: dict[str, int] = {}
    for line in _read(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if value.strip().endswith("kB"):
            fields[name] = int(value.split()[0]) * 1024
    return fields.get("MemTotal"), fields.get("MemAvailable")


def _memory_limit() -> tuple[int | None, int]:
    """The tightest memory limit of the cgroups above this process and what is used of it, page cache not counted."""
    found: list[tuple[int, int]] = []
    for folder in _cgroup_folders(""):
        limit = _number(folder / "memory.max")
        if limit is not None:
            found.append((limit, _used(folder / "memory.current", folder / "memory.stat", "inactive_file")))
    for folder in _cgroup_folders("memory"):
        limit = _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < 1 << 60:  # v1 writes a huge number for "no limit"
            used = _used(folder / "memory.usage_in_bytes", folder / "memory.stat", "total_inactive_file")
            found.append((limit, used))
    return min(found, key=lambda pair: pair[0] - pair[1]) if found else (None, 0)


def _used(current: Path, stat: Path, reclaimable: str) -> int:
    for line in _read(stat).splitlines():
        name, _, value = line.partition(" ")
        if name == reclaimable and value.isdigit():
            return max(0, (_number(current) or 0) - int(value))
    return _number(current) or 0


def _cgroup_folders(controller: str) -> list[Path]:
    """This process's cgroup and those above it: v2 for `""`, else the v1 hierarchy of `controller`."""
    base = Path("/sys/fs/cgroup") / controller
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        controllers, _, name = line.partition(":")[2].partition(":")
        if controller in controllers.split(",") if controller else not controllers:
            own = base / name.lstrip("/")
            return [own, *(folder for folder in own.parents if folder == base or base in folder.parents)]
    return []


def gpus() -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The NVIDIA GPUs, and what is to be said about them; at most 5 s."""
    program = shutil.which("nvidia-smi") or next((path for path in _SMI if os.access(path, os.X_OK)), None)
    if program is None:
        return (), ()
    argv = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        ended = children.run(argv, cwd=Path("/"), timeout=5)
    except OSError as error:
        return (), (f"{program} cannot be started: {error.strerror}.",)
    if ended.code is None:
        return (), ("nvidia-smi did not answer within 5 s; GPUs were not looked at.",)
    if ended.code != 0:
        return (), ("nvidia-smi is installed but reports no usable GPU.",)
    found = parse_gpus(ended.output)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found, () if visible is None else (f"CUDA_VISIBLE_DEVICES is {visible!r}: a run sees only those GPUs.",)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """GPUs from nvidia-smi's CSV of name, total and free memory in MiB, compute capability, driver version and
    UUID."""
    gpus: list[Gpu] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) in (5, 6):
            gpus.append(Gpu(len(gpus), cells[0], _mebibytes(cells[1]), _mebibytes(cells[2]), *cells[3:]))
    return tuple(gpus)


def _mebibytes(cell: str) -> int | None:
    return int(cell) << 20 if cell.isdigit() else None


def _disk_free(project: Path) -> int | None:
    try:
        stat = os.statvfs(project)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None
