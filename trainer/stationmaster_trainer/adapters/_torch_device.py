"""Which device trains, which number formats it does well, and what is free on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .. import memory, randomness
from ..errors import ConfigError


def choose(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises ConfigError for a device that this machine does not have."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: {error}", "Use auto, cpu, cuda, cuda:0 or mps.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices.", "Use auto or cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not available here.", "Use auto or cpu.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def describe(device: torch.device) -> str:
    """As shown to people: `cpu`, `cuda:0 (NVIDIA H200)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def precisions(device: torch.device) -> tuple[str, ...]:
    """Number formats that the device computes faster than fp32, best first, then fp32. CPUs: fp32 alone."""
    if device.type != "cuda":
        return ("fp32",)
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        return ("bf16", "fp16", "fp32")
    return ("fp16", "fp32") if capability >= (7, 0) else ("fp32",)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on the device; for the CPU what the system calls available. None where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory.available()


def held_memory(device: torch.device) -> int:
    """Bytes that this process holds of it: what the allocator has reserved; on the CPU its resident memory."""
    return int(torch.cuda.memory_reserved(device)) if device.type == "cuda" else memory.resident()


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that this process had allocated on the device; on the CPU its largest resident memory."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else memory.peak()


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch (all devices)."""
    randomness.seed(seed)
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """State of every generator, made of tensors and plain values (loadable with `weights_only=True`)."""
    state: dict[str, Any] = {"torch": torch.get_rng_state(), **randomness.state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Puts every generator back; those of devices that are not here are left out."""
    torch.set_rng_state(state["torch"])
    randomness.restore(state)
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Random numbers drawn inside (validation, probes) do not change the training behind it."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
