"""What a run ran with, for `environment.json`: packages, Python, hardware, commit, seed, data.

The names of the environment variables are in it, their values never.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from .contract import Launch, Spec

PACKAGES = (
    *("torch", "torchvision", "torchaudio", "triton", "flash-attn", "bitsandbytes", "lightning", "timm", "einops"),
    *("transformers", "accelerate", "peft", "datasets", "tokenizers", "safetensors", "trl"),
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint"),
    *("numpy", "pandas", "pyarrow", "pillow", "scikit-learn", "scipy"),
)
"""Distributions whose version can change a result."""


def describe(spec: Spec, launch: Launch) -> dict[str, Any]:
    """Everything in plain values. Takes about a tenth of a second, more where `nvidia-smi` has to answer."""
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "argv": list(launch.argv),
        "cwd": launch.cwd,
        "variables": sorted({*launch.env, *launch.env_names}),
        "platform": platform.platform(),
        "cpu": {"model": _cpu_model(), "count": os.cpu_count(), "usable": _usable_cpus()},
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
        "packages": _packages(),
        "git": _git(spec.project_dir),
        "seed": spec.config.seed,
        "data_fingerprint": spec.facts.fingerprint,
        "entry_sha256": spec.facts.entry_sha256,
        "digest": spec.digest,
    }


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(project: str) -> dict[str, Any] | None:
    """Commit, and whether tracked files differ from it; None outside a repository."""
    commit = _said("git", "-C", project, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _said("git", "-C", project, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed), "changed_files": len(changed.splitlines())}


def _gpus() -> list[dict[str, str]]:
    fields = ("name", "driver_version", "memory.total")
    said = _said("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = [[part.strip() for part in line.split(",")] for line in said.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def _said(*command: str) -> str:
    """What a program prints; empty when it is missing, fails or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
