"""The hardware as told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stationmaster_server.devices import hardware, parse_gpus


def test_this_machines_processor_memory_and_disk_are_told(tmp_path: Path) -> None:
    found = hardware(tmp_path)
    assert 1 <= found.cpu_cores <= (os.cpu_count() or 1)
    assert found.memory_total is not None and found.memory_total > 1 << 28
    assert found.disk_free is not None and found.disk_free > 0
    if found.memory_free is not None:
        assert 0 < found.memory_free <= found.memory_total


def test_cores_that_this_process_may_not_use_do_not_count(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert hardware(tmp_path).cpu_cores == 1
    finally:
        os.sched_setaffinity(0, before)


def test_gpus_are_read_from_what_nvidia_smi_prints() -> None:
    first, second = parse_gpus(
        "NVIDIA H200, 143771, 143156, 9.0, 570.86.15\nNVIDIA A100-SXM4-40GB MIG 1g.5gb, [N/A], [N/A], 8.0, 570.86.15\n"
    )
    assert (first.name, first.index, first.compute_capability) == ("NVIDIA H200", 0, "9.0")
    assert first.memory_total == 143771 << 20
    assert (second.index, second.memory_total, second.memory_free) == (1, None, None)


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo 'No devices were found' >&2; exit 6", "reports no usable GPU"),
        ("echo 'NVIDIA H200, 143771, 143156, 9.0, 570.86.15'", ""),
    ],
)
def test_a_driver_with_or_without_a_gpu_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, note: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = hardware(tmp_path)
    assert note in "".join(found.notes)
    assert len(found.gpus) == (0 if note else 1)
