"""Which device JAX trains on, which number formats it does well, what is free on it, and how JAX is set up before.

JAX reads its settings when it first looks for devices: `prepare` comes before anything else. Not covered: several
devices at once.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import jax

from .. import memory
from ..errors import ConfigError
from . import _flax_cache

NVIDIA = Path("/proc/driver/nvidia/version")
"""Exists where the driver of an NVIDIA GPU is loaded."""


def prepare(device: str, num_threads: int = 0) -> None:
    """Settings that must stand before the first look at the devices; what the user set wins.

    Memory of a GPU is taken as it is needed: by default JAX takes three quarters of it at once, and the measurement
    before a run, a second run, or a data loader on the same GPU would find nothing left. Kernels on a GPU are the
    deterministic ones, so that a resumed run can repeat what it repeats. On the CPU only the CPU is looked for.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    flags = os.environ.get("XLA_FLAGS", "")
    if device != "cpu" and NVIDIA.exists() and "deterministic" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if num_threads > 0:  # the size of XLA's thread pool; the second name is that of newer versions
        os.environ["NPROC"] = os.environ["PJRT_NPROC"] = str(num_threads)
    for name in ("jax._src.xla_bridge", "absl"):  # "a GPU may be present …": a finding of ours says it better
        logging.getLogger(name).setLevel(logging.ERROR)
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    _flax_cache.switch_on()


def choose(name: str) -> Any:
    """The `jax.Device`: `auto` takes JAX's own first (GPU, TPU, CPU). ConfigError for one that is not there."""
    if name == "auto":
        return _devices(None)[0]
    platform, _, index = name.partition(":")
    if platform not in ("cpu", "cuda") or not (index or "0").isdigit():
        raise ConfigError(f"unknown device {name!r} for JAX.", "Use auto, cpu, cuda or cuda:0.")
    found = _devices(platform)
    if int(index or 0) >= len(found):
        raise ConfigError(f"device {name!r}: JAX sees {len(found)} CUDA devices.", "Use auto or cpu.")
    return found[int(index or 0)]


def describe(device: Any) -> str:
    """As shown to people: `cpu`, `cuda:0 (NVIDIA H200)`."""
    if device.platform == "cpu":
        return "cpu"
    return f"{'cuda' if device.platform == 'gpu' else device.platform}:{device.id} ({device.device_kind})"


def precisions(device: Any) -> tuple[str, ...]:
    """Number formats that the device computes faster than fp32, best first, then fp32. CPUs: fp32 alone."""
    if device.platform == "tpu":
        return ("bf16", "fp32")
    capability = str(getattr(device, "compute_capability", "") or "0").partition(".")[0]
    return ("bf16", "fp32") if device.platform == "gpu" and capability.isdigit() and int(capability) >= 8 else ("fp32",)


def free_memory(device: Any) -> int | None:
    """Bytes free on the device; for the CPU what the system calls available. None where unknown."""
    if device.platform == "cpu":
        return memory.available()
    stats = device.memory_stats() or {}
    limit, used = stats.get("bytes_limit"), stats.get("bytes_in_use", 0)
    return None if limit is None else int(limit - used)


def held_memory(device: Any) -> int:
    """Bytes that this process holds of it; on the CPU its resident memory."""
    return memory.resident() if device.platform == "cpu" else int((device.memory_stats() or {}).get("bytes_in_use", 0))


def peak_memory(device: Any) -> int | None:
    """Most bytes that this process had allocated on the device; on the CPU its largest resident memory."""
    if device.platform == "cpu":
        return memory.peak()
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return None if peak is None else int(peak)


def overlooked_gpu(device: Any) -> str:
    """What to tell when JAX trains on the CPU of a machine with an NVIDIA GPU; empty otherwise."""
    if device.platform != "cpu" or not NVIDIA.exists():
        return ""
    return "this machine has an NVIDIA GPU, but the jaxlib of this Python sees only the CPU"


def _devices(platform: str | None) -> list[Any]:
    """Devices of a platform, [] where JAX has none of it. ConfigError when JAX cannot start at all."""
    try:
        return list(jax.devices(platform) if platform else jax.devices())
    except RuntimeError as error:
        if platform:
            return []
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(f"JAX finds no device: {error}", f"JAX_PLATFORMS is {asked!r}." if asked else "") from None
