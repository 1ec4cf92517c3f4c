"""Keeps compiled functions, so that measuring, running and resuming one model compile it once.

JAX's own persistent cache, per kind of processor: code for one need not run on another. Where it cannot be written,
everything is compiled again. Not covered: its size without the package `filelock`, with which JAX bounds it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
from pathlib import Path

import jax

SHORTEST = 0.05
"""Seconds of compiling from which the result is kept."""
MAX_BYTES = 2 << 30


def switch_on() -> None:
    """Before the first compilation. A cache that the user set (`JAX_COMPILATION_CACHE_DIR`) is left as it is."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = place()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    if importlib.util.find_spec("filelock") is not None:
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)


def place() -> Path:
    """Below the user's cache folder, by what this processor can do."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "stationmaster", f"jax-{hashlib.sha256(_processor().encode()).hexdigest()[:16]}")


def _processor() -> str:
    """Name and abilities of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "features", "cpu implementer", "cpu part")
    first = lines[: lines.index("")] if "" in lines else lines
    return "\n".join([platform.machine(), *(line for line in first if line.lower().startswith(wanted))])
