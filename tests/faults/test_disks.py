"""Full and failing disks under real runs: the cause with the bytes needed, the rest intact, a resume afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from process_bench import Bench, end_processes, eventually, until
from soaking.client import Server

from stationmaster_server import mounts, runs
from stationmaster_trainer import manifest
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.states import FINAL

STAND_IN = Path(__file__).resolve().parents[2] / "benchmarks" / "soaking" / "stand_in.py"


def _mounted(place: Path, *command: str) -> Iterator[Path]:
    """A file system of its own at `place`; needs the right to mount one."""
    place.mkdir()
    if subprocess.run([*command, str(place)], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield place
    end_processes(place)
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """24 MiB in memory."""
    yield from _mounted(tmp_path / "small", "mount", "-t", "tmpfs", "-o", "size=24m", "none")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB, formatted, that a test may break."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"")
    os.truncate(image, 32 << 20)
    made = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if made is None or subprocess.run([made, "-q", "-F", str(image)], capture_output=True).returncode:
        pytest.skip("there is no mkfs.ext4 here")
    yield from _mounted(tmp_path / "disk", "mount", "-o", "loop", str(image))


def _fail(disk: Path) -> None:
    """What ext4 does by itself at an error of its disk: from now on it refuses every write, also to open files."""
    subprocess.run(["mount", "-o", "remount,abort", str(disk)], check=True)


def _saving(project: Path, framework: str) -> RunDir:
    """A run that saves with the real code, trained by PyTorch or by a stand-in of it."""
    (project / "model.py").write_text(
        "import time, torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layers = nn.Linear(500, 500)\n\n"
        "    def forward(self, x):\n        time.sleep(0.005)\n        return self.layers(x)[:, :3]\n\n\n"
        "def build_data(split):\n    x = torch.randn(200, 500)\n"
        "    return torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))\n"
    )
    spec = Bench(project).spec("run", framework="pytorch", model_path="model.py", train_data="build_data",
                               num_threads=1, val_data="build_data", total_steps=100_000, checkpoint_every=20,
                               validate_every=40)  # fmt: skip
    spec = replace(spec, facts=replace(spec.facts, classes=("a", "b", "c")))
    run = runs.create_run(spec, "run_name: run\n", {})
    if framework == "stand-in":
        shutil.copyfile(STAND_IN, run.lib / "stationmaster_trainer" / "adapters" / "pytorch.py")
    runs.start_attempt(run, sys.executable)
    return run


def _fill(place: Path, leave: int) -> Path:
    """Takes the room but for `leave` bytes."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


@pytest.mark.fault("F9")
@pytest.mark.parametrize("framework", ["stand-in", pytest.param("pytorch", marks=pytest.mark.soak)])
@pytest.mark.parametrize("leave", [0, 500_000], ids=["not a byte free", "room for logs but not for a checkpoint"])
def test_a_full_disk_ends_the_run_with_the_bytes_needed_and_it_goes_on_when_there_is_room(
    small: Path, framework: str, leave: int
) -> None:
    run = _saving(small, framework)
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
def test_a_disk_that_fails_is_told_with_the_last_step_and_other_runs_go_on(
    disk: Path, tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    """Nothing of the end can be written, so it has to be derived; what was saved before is still there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Bench(elsewhere).start(total_steps=1_000_000)
    run = _saving(disk, "stand-in")
    until(run, lambda status: status.checkpoint is not None)
    assert mounts.unwritable(run.path) == ""
    _fail(disk)
    eventually(lambda: any("read-only" in problem for problem in runs.view(run).problems), 60.0)
    seen = until(run, "lost", 120.0)
    eventually(lambda: runs.view(run).over)
    seen = runs.view(run).status
    assert (seen.cause, seen.state) == ("disk_error", "lost")
    assert "emergency_ro" in seen.message or "(ro" in seen.message or "abort" in seen.message, seen.message
    assert f"step known is {seen.step}" in seen.message and "Look at the disk" in seen.way_out
    assert manifest.newest_verified(disk / "checkpoints" / "run").step > 0
    server = serve(tmp_path)
    reply = server.call("poll_status", project_dir=str(disk))
    assert "is read-only" in reply.text and "untrusted" not in reply.text, reply.text
    refused = server.call("resume_run", project_dir=str(disk))
    assert refused.refused and "defect" not in refused.text and "Traceback" not in refused.text, refused.text
    step = runs.view(other).status.step
    assert until(other, lambda status: status.step > step + 20).state == "running"
    assert "running" in server.call("poll_status", project_dir=str(elsewhere)).text


@pytest.mark.fault("F10")
def test_a_start_on_a_file_system_that_is_read_only_is_refused_by_name_and_leaves_nothing(
    disk: Path, tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    (disk / "model.py").write_text("from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n")
    (disk / "digits.csv").write_text("a,label\n1,0\n2,1\n")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    server = serve(tmp_path)
    assert not server.call("inspect_project", project_dir=str(disk)).refused
    reply = server.call("choose_logging", project_dir=str(disk), backends=["file"])
    assert reply.refused and "ead-only file system" in reply.text and str(disk) in reply.text, reply.text
    assert "is read-only (ro)" in mounts.unwritable(disk)
    assert sorted(path.name for path in disk.iterdir()) == ["digits.csv", "lost+found", "model.py"]


@pytest.mark.fault("F9")
def test_where_no_file_may_grow_the_run_ends_with_the_cause_and_its_last_words(bench: Bench) -> None:
    """A limit on the size of files, as a quota is one; needs no rights."""
    run = bench.create(total_steps=100_000, fault="small_files", at=300)
    runs.start_attempt(run, sys.executable)
    status = until(run, lambda status: status.state in FINAL, 60.0)
    assert (status.state, status.cause) == ("failed", "disk_full"), status.message
    assert status.checkpoint is not None and runs.view(run).problems == ()
