"""Full and failing disks under real PyTorch runs: the cause with the bytes needed, and a resume once there is room."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from process_bench import Bench, end_processes, eventually, until

from stationmaster_server import runs
from stationmaster_trainer import manifest
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.states import FINAL

pytestmark = pytest.mark.soak


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield place
    end_processes(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


def _pytorch(project: Path) -> RunDir:
    """A run of PyTorch whose checkpoints are of 3 MiB; 10 GiB would not be needed."""
    (project / "model.py").write_text(
        "import time, torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layers = nn.Linear(500, 500)\n\n"
        "    def forward(self, x):\n        time.sleep(0.005)\n        return self.layers(x)[:, :3]\n\n\n"
        "def build_data(split):\n    x = torch.randn(200, 500)\n"
        "    return torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))\n"
    )
    bench = Bench(project)
    spec = bench.spec("run", framework="pytorch", model_path="model.py", train_data="build_data", num_threads=1,
                      val_data="build_data", total_steps=3000, checkpoint_every=20, validate_every=40)  # fmt: skip
    spec = replace(spec, facts=replace(spec.facts, classes=("a", "b", "c")))
    run = runs.create_run(spec, "run_name: run\n", {})
    runs.start_attempt(run, sys.executable)
    return run


def _fill(place: Path, leave: int) -> Path:
    """Takes the room but for `leave` bytes."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    filler.open("ab").truncate(max(0, filler.stat().st_size - leave))
    return filler


@pytest.mark.fault("F9")
@pytest.mark.parametrize("leave", [0, 1_500_000], ids=["not a byte free", "room for logs but not for a checkpoint"])
def test_a_full_disk_ends_the_run_with_the_bytes_needed_and_it_goes_on_when_there_is_room(
    small: Path, leave: int
) -> None:
    run = _pytorch(small)
    until(run, lambda status: status.checkpoint is not None, 90.0)
    filler = _fill(small, leave)
    status = until(run, lambda status: status.state in FINAL, 90.0)
    assert (status.state, status.cause) == ("failed", "disk_full"), status.message
    assert "free" in status.way_out.lower() or "free" in status.message
    if leave:
        assert "bytes are needed" in status.message, status.message
    assert runs.view(run).problems == ()
    eventually(lambda: not runs.view(run).alive)
    kept = manifest.newest_verified(small / "checkpoints" / "run")
    assert kept.step > 0 and kept.path is not None
    filler.unlink()
    runs.start_attempt(run, sys.executable, resume_from=str(kept.path), resume_step=kept.step)
    assert until(run, lambda status: status.attempt == 2 and status.step > kept.step, 90.0).state == "running"


@pytest.mark.fault("F10")
def test_a_file_system_that_turns_read_only_is_told_and_other_runs_go_on(small: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Bench(elsewhere).start(total_steps=100_000)
    run = Bench(small).start(total_steps=100_000)
    until(run, lambda status: status.checkpoint is not None)
    done = subprocess.run(["mount", "-o", "remount,ro", str(small)], capture_output=True, text=True)
    if done.returncode:  # files are open for writing: forced, as a kernel does it that has met an error of the disk
        subprocess.run(["umount", "-r", str(small)], capture_output=True)
        pytest.skip(f"remounting is not possible here: {done.stderr.strip()}")
    seen = until(run, lambda status: status.state in (*FINAL, "lost"), 90.0)
    assert seen.state != "succeeded" and seen.message
    step = runs.view(other).status.step
    assert until(other, lambda status: status.step > step + 20).state == "running"
    end_processes(elsewhere)


@pytest.mark.fault("F9")
def test_where_no_file_may_grow_the_run_ends_with_the_cause_and_its_last_words(bench: Bench) -> None:
    """A limit on the size of files, as a quota is one; needs no rights."""
    run = bench.create(total_steps=100_000, fault="small_files", at=300)
    runs.start_attempt(run, sys.executable)
    status = until(run, lambda status: status.state in FINAL, 60.0)
    assert (status.state, status.cause) == ("failed", "disk_full"), status.message
    assert status.checkpoint is not None and runs.view(run).problems == ()
