"""Which device a run claims, and who has it now: in words for the proposal, the question, the start and the queue."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from stationmaster_trainer import lease
from stationmaster_trainer.contract import Spec, TrainingConfig

from .devices import Gpu, gpus

CPU = "cpu"
WHY = {
    "refuse": "a second start on this device is refused: two rarely fit into its memory [choice]",
    "queue": "starts by itself when the run before it is over",
    "share": "the system divides the cores; who else trains is told before the start [choice]",
}


def usual(wanted: str, measured: str) -> str:
    """The default of `when_busy` on a device: a GPU's memory cannot be divided as cores can."""
    return "share" if named(wanted, measured) == CPU else "refuse"


def device(spec: Spec) -> str:
    """What the run claims: `cpu`, `mps`, or the UUID of the GPU that its device means."""
    return named(spec.config.device, spec.facts.device)


def named(wanted: str, measured: str) -> str:
    """The claim for the configuration's `device` and the one that the model was measured on.

    An `auto` that was never measured counts as the CPU.
    """
    place = measured if wanted == "auto" else wanted
    if place.startswith("mps"):
        return "mps"
    if not re.match(r"cuda|gpu", place):
        return CPU
    number = re.search(r":(\d+)", place)
    return gpu(int(number[1]) if number else 0, os.environ.get("CUDA_VISIBLE_DEVICES"), gpus()[0])


def gpu(index: int, visible: str | None, found: Sequence[Gpu]) -> str:
    """UUID of the GPU that a program calls `cuda:<index>`; `cuda-<index>` where the driver does not tell it.

    `visible`: CUDA_VISIBLE_DEVICES, whose entries are indices or UUIDs. Indices are those of nvidia-smi, which CUDA
    shares on machines with GPUs of one kind.
    """
    names = [part.strip() for part in visible.split(",")] if visible else [str(one.index) for one in found]
    name = names[index] if index < len(names) else str(index)
    if name.isdigit():
        return next((one.uuid for one in found if one.index == int(name) and one.uuid), f"cuda-{name}")
    return next((one.uuid for one in found if one.uuid.startswith(name)), name)


def busy(claimed: str) -> str:
    """Who has the device, in words; empty when it is free."""
    return lease.describe(claimed, lease.claims(claimed)) if claimed else ""


def refusal(spec: TrainingConfig, measured: str) -> str:
    """Why a start has to be refused, when the configuration wants that; else empty."""
    return busy(named(spec.device, measured)) if spec.when_busy == "refuse" else ""
