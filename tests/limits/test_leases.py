"""A device belongs to runs that live: the kernel gives it back, whoever is killed; those that wait come in turn."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stationmaster_server import leases
from stationmaster_server.devices import Gpu, parse_gpus
from stationmaster_trainer import clearing, lease
from stationmaster_trainer.contract import Status
from stationmaster_trainer.errors import RunError
from stationmaster_trainer.lease import Claim, Seat
from stationmaster_trainer.process import take_lock

GPU = "GPU-7a1c0000-1111-2222-3333-444455556666"
OTHER = "GPU-7a1c0000-1111-2222-3333-777788889999"
HOLD = r"""
import os, sys, time
from stationmaster_trainer.lease import Claim, Seat
device, name, fork = sys.argv[1], sys.argv[2], len(sys.argv) > 3
seat = Seat(device, Claim(name, "/projects/" + name, "/nowhere"))
if fork and os.fork() == 0:
    os.write(1, b"child %d\n" % os.getpid())  # in one piece: both write into the same pipe
    time.sleep(600)
os.write(1, b"held\n" if seat.take() else b"waits\n")
while not seat.take():
    time.sleep(0.01)
os.write(1, b"turn\n")
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person of this test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def hold() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that claim a device; they are gone afterwards."""
    started: list[subprocess.Popen[str]] = []

    def begin(device: str, name: str, *more: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, device, name, *more]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it forked, too
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def names(device: str) -> list[str]:
    return [one.claim.run for one in lease.claims(device)]


def test_a_killed_holder_gives_its_device_to_those_that_wait_in_the_order_in_which_they_came(
    hold: Callable[..., subprocess.Popen[str]],
) -> None:
    first = hold(GPU, "first")
    assert said(first) == "held" and said(first) == "turn"
    second = hold(GPU, "second")
    assert said(second) == "waits"
    third = hold(GPU, "third")
    assert said(third) == "waits"
    assert names(GPU) == ["first", "second", "third"]
    assert "run first of /projects/first has been using GPU-7a1c" in lease.describe(GPU, lease.claims(GPU))
    assert names(OTHER) == [], "another GPU is another device"
    begun = time.monotonic()
    first.kill()
    assert said(second) == "turn"
    assert time.monotonic() - begun < 30
    assert names(GPU) == ["second", "third"]
    second.send_signal(signal.SIGSTOP)
    assert names(GPU) == ["second", "third"], "who is only stopped keeps the device"
    second.kill()
    assert said(third) == "turn"


def test_what_inherited_the_claim_keeps_the_device_when_the_holder_dies(
    hold: Callable[..., subprocess.Popen[str]],
) -> None:
    holder = hold(GPU, "holder", "fork")
    lines = {said(holder), said(holder), said(holder)}
    child = int(next(line for line in lines if line.startswith("child")).split()[1])
    holder.kill()
    holder.wait()
    assert names(GPU) == ["holder"]
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while names(GPU):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_of_twenty_that_claim_at_once_one_holds() -> None:
    def claim(number: int) -> Seat:
        seat = Seat(GPU, Claim(f"run-{number}", "/p", "/nowhere"))  # a lock is the open file's: threads are rivals, too
        seat.take()
        return seat

    with ThreadPoolExecutor(20) as pool:
        seats = list(pool.map(claim, range(20)))
    assert sum(seat.held for seat in seats) == 1
    assert [one.held for one in lease.claims(GPU)] == [True] + [False] * 19
    for seat in seats:
        seat.release()
    assert names(GPU) == []


def test_sharers_hold_together_and_a_file_that_nobody_locks_is_no_claim() -> None:
    seats = [Seat("cpu", Claim(name, "/p", "/nowhere")) for name in ("a", "b", "c")]
    assert seats[0].take() and seats[1].take(share=True) and not seats[2].take()
    assert names("cpu") == ["a", "b", "c"]
    (lease.folder() / "cpu.000000099.held").write_text('{"run": "ghost"}')
    assert names("cpu") == ["a", "b", "c"]
    for seat in seats[:2]:
        seat.release()
    assert seats[2].take() and names("cpu") == ["c"]
    seats[2].release()
    assert not [path for path in lease.folder().iterdir() if path.suffix == ".held" and "99" not in path.name]


def test_a_claim_that_is_renamed_while_somebody_looks_still_counts_and_locked_claims_let_nobody_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (Seat(GPU, Claim(name, "/p", "/nowhere")) for name in ("first", "second"))
    listed = lease._files(GPU)
    with monkeypatch.context() as patch:
        patch.setattr(lease, "_files", lambda device: listed)
        assert first.take() and names(GPU) == ["first", "second"] and not second.take()
    first.release()
    guard = take_lock(lease.folder() / f"{GPU}.guard")
    assert guard is not None
    monkeypatch.setattr(lease, "GUARD_SECONDS", 0.1)
    with pytest.raises(RunError, match="locked by another process"):
        second.take()
    with pytest.raises(RunError, match="locked by another process"):
        Seat(GPU, Claim("third", "/p", "/nowhere"))
    os.close(guard)
    assert second.take() and names(GPU) == ["second"]
    second.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 100, b"x" * 200_000])
def test_a_damaged_claim_of_a_living_run_still_counts(content: bytes) -> None:
    seat = Seat("cpu", Claim("a", "/p", "/nowhere"))
    assert seat.take()
    held = next(lease.folder().glob("cpu.*.held"))
    held.write_bytes(content)
    assert names("cpu") == ["?"]
    seat.release()


def test_the_device_of_the_configuration_is_a_gpu_by_its_uuid() -> None:
    text = (
        "NVIDIA A100-SXM4-40GB, 40960, 40000, 8.0, 550.54.15, GPU-aaaa\n"
        "NVIDIA A100-SXM4-40GB, 40960, 40000, 8.0, 550.54.15, GPU-bbbb\n"
    )
    found: tuple[Gpu, ...] = parse_gpus(text)
    assert [gpu.uuid for gpu in found] == ["GPU-aaaa", "GPU-bbbb"]
    assert leases.gpu(0, None, found) == "GPU-aaaa" and leases.gpu(1, None, found) == "GPU-bbbb"
    assert leases.gpu(0, "1", found) == "GPU-bbbb"
    assert leases.gpu(1, "GPU-b,GPU-a", found) == "GPU-aaaa"
    assert leases.gpu(0, "MIG-cccc", found) == "MIG-cccc"
    assert leases.gpu(3, None, ()) == "cuda-3"
    assert leases.named("auto", "cpu") == leases.named("cpu", "cuda:0") == leases.named("auto", "") == "cpu"
    assert leases.named("auto", "mps") == "mps"
    assert leases.usual("auto", "cpu") == "share"


def test_processes_on_a_gpu_are_read_from_nvidia_smi() -> None:
    text = f"{GPU}, 4711\n{OTHER}, 4712\n{GPU}, [N/A]\n\n"
    assert clearing.parse_apps(text, GPU) == {4711}
    assert clearing.GpuWatch("cpu").after() == "", "nothing is said where nothing was seen"


def test_how_far_the_holder_is_comes_from_its_status(tmp_path: Path) -> None:
    from stationmaster_trainer import codec

    folder = tmp_path / "run"
    folder.mkdir()
    status = Status("a", 1, "running", 1, 0.0, 0.0, step=40, total_steps=900, eta_seconds=301.0)
    (folder / "status.json").write_text(codec.dumps(status))
    seat = Seat("cpu", Claim("a", "/p", str(folder)))
    assert seat.take()
    assert "(step 40/900, ETA 5 min)" in lease.describe("cpu", lease.claims("cpu"))
    seat.release()
