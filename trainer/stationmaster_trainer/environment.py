"""What a run ran with, for `environment.json`: command, configuration, approval, Python, packages, hardware, commit.

The names of the environment variables are in it, their values never. What differs from the commit: `dirty.diff`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import __version__, codec, repository, rundir
from .contract import Launch, Spec
from .errors import FormatError
from .rundir import AttemptDir, RunDir

PACKAGES = (
    *("torch", "torchvision", "torchaudio", "triton", "flash-attn", "bitsandbytes", "lightning", "timm", "einops"),
    *("transformers", "accelerate", "peft", "datasets", "tokenizers", "safetensors", "trl"),
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint"),
    *("numpy", "pandas", "pyarrow", "pillow", "scikit-learn", "scipy"),
)
"""Distributions whose version can change a result."""


def write(attempt: AttemptDir, spec: Spec, launch: Launch) -> None:
    """Writes the record of an attempt, each file once. OSError when it cannot be written."""
    facts, diff = describe(spec, launch, decided(attempt))
    if diff:
        rundir.create(attempt.diff, diff.encode("utf-8", "replace"))
    rundir.create(attempt.environment, codec.dumps(facts, indent=1).encode("utf-8", "replace"))


def describe(spec: Spec, launch: Launch, gates: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Everything in plain values, and the difference from the commit. Takes some tenths of a second."""
    around, diff = surroundings(Path(spec.project_dir))
    return {
        **around,
        "argv": list(launch.argv),
        "cwd": launch.cwd,
        "variables": sorted({*launch.env, *launch.env_names}),
        "config": codec.to_plain(spec.config),
        "changes": gates.get("changes", {}),
        "approval": gates.get("approval", {}),
        "seed": spec.config.seed,
        "data_fingerprint": spec.facts.fingerprint,
        "entry_sha256": spec.facts.entry_sha256,
        "digest": spec.digest,
        "attempt": launch.attempt,
        "resumed_from": launch.resume_from,
    }, diff


def surroundings(project: Path) -> tuple[dict[str, Any], str]:
    """Python, packages, hardware and repository as they are now; the same later and elsewhere can be compared."""
    found = repository.look(project)
    return {
        "stationmaster": __version__,
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "hash_seed": os.environ.get("PYTHONHASHSEED", ""),
        },
        "platform": platform.platform(),
        "cpu": {"model": _cpu_model(), "count": os.cpu_count(), "usable": _usable_cpus()},
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
        "packages": _packages(),
        "distributions": _distributions(),
        "git": found.facts if found else None,
    }, found.diff if found else ""


def decided(attempt: AttemptDir) -> dict[str, Any]:
    """From the run's checklist: what was changed from the computed defaults, and who approved; else empty."""
    try:
        plain = codec.parsed(rundir.read(RunDir(attempt.path.parent.parent).checklist), "checklist.json")
        gates = {gate["gate"]: gate for gate in plain["gates"]}
        approval = gates.get("approval", {})
        return {
            "changes": gates.get("configuration", {}).get("evidence", {}).get("changes", {}),
            "approval": {key: approval[key] for key in ("by", "words", "time") if key in approval},
        }
    except (OSError, FormatError, TypeError, KeyError, AttributeError):
        return {}


def _distributions() -> dict[str, str]:
    """Every installed distribution with its version."""
    found = ((item.metadata["Name"], item.version) for item in importlib.metadata.distributions())
    return dict(sorted((str(name), str(version)) for name, version in found if name))


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> list[dict[str, str]]:
    fields = ("name", "driver_version", "memory.total")
    said = _said("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = [[part.strip() for part in line.split(",")] for line in said.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def _said(*command: str) -> str:
    """What a program prints; empty when it is missing, fails or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)  # nosec B603 # argv list, no shell
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
