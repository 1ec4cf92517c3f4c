"""A run that waits for the device is a true state: told, stoppable, started by itself, and lost when it is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_bench import Bench, end_processes, eventually, pid_of, until

from stationmaster_server import runs
from stationmaster_trainer import lease, process
from stationmaster_trainer.rundir import RunDir

DEVICE = "GPU-of-these-tests"
LONG: dict[str, Any] = {"total_steps": 100_000, "sleep": 0.01}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A project of a person of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = tmp_path / "project"
    project.mkdir()
    yield Bench(project)
    end_processes(project)


def start(bench: Bench, name: str, when_busy: str = "queue", **changes: Any) -> RunDir:
    run = bench.create(name, when_busy=when_busy, **changes)
    runs.start_attempt(run, sys.executable, device=DEVICE)
    return run


def test_a_second_run_waits_behind_the_first_and_starts_by_itself_when_that_is_killed(bench: Bench) -> None:
    first = start(bench, "first", **LONG)
    until(first, "running")
    second = start(bench, "second", total_steps=20, sleep=0.0)
    waiting = until(second, "queued")
    os.kill(pid_of(waiting, "supervisor"), signal.SIGHUP)  # a terminal that closes
    assert f"run first of {bench.project} has been using {DEVICE} since" in waiting.message
    assert waiting.message.endswith("It starts by itself.") and waiting.step == 0
    assert [one.claim.run for one in lease.claims(DEVICE)] == ["first", "second"]
    held = pid_of(until(first, "running"), "supervisor")
    worker = pid_of(until(first, "running"), "worker")
    os.kill(worker, signal.SIGSTOP)
    os.kill(held, signal.SIGKILL)
    assert [one.claim.run for one in lease.claims(DEVICE)] == ["first", "second"], "its worker still has the device"
    os.kill(worker, signal.SIGKILL)
    assert until(second, "succeeded", 60).step == 20
    eventually(lambda: not lease.claims(DEVICE))


def test_a_waiting_run_can_be_stopped_and_continued_and_a_killed_one_is_lost_and_starts_again(bench: Bench) -> None:
    first = start(bench, "first", **LONG)
    until(first, "running")
    second = start(bench, "second", total_steps=20, sleep=0.0)
    until(second, "queued")
    assert runs.request_stop(second)[0] == "requested"
    ended = until(second, "stopped")
    assert (ended.cause, ended.step) == ("user", 0) and "while it waited" in ended.message
    runs.start_attempt(second, sys.executable, device=DEVICE, again=True)
    waiting = until(second, lambda status: status.state == "queued" and status.supervisor is not None)
    assert waiting.attempt == 2
    os.kill(pid_of(waiting, "supervisor"), signal.SIGKILL)
    lost = until(second, "lost")
    assert "while the run waited for its turn" in lost.message and runs.view(second).over
    module = second.lib / "stationmaster_trainer" / "lease.py"
    module.write_text(module.read_text().replace("GUARD_SECONDS = 10.0", "GUARD_SECONDS = 0.2"))
    runs.start_attempt(second, sys.executable, device=DEVICE, again=True)
    eventually(lambda: [one.claim.run for one in lease.claims(DEVICE)] == ["first", "second"])
    guard = process.take_lock(lease.folder() / f"{DEVICE}.guard", 10.0)
    assert guard is not None
    runs.request_stop(first)
    until(first, "stopped")
    eventually(lambda: "are locked by another process" in second.attempt(2).supervisor_log.read_text())
    assert runs.view(second).state == "queued", "it does not go on without the device"
    os.close(guard)
    assert until(second, "succeeded", 60).step == 20


def test_refuse_ends_the_attempt_with_the_holder_named_and_share_runs_beside_it(bench: Bench) -> None:
    first = start(bench, "first", **LONG)
    until(first, "running")
    second = start(bench, "second", "refuse", **LONG)
    ended = until(second, "stopped")
    assert ended.cause == "busy" and f"run first of {bench.project}" in ended.message
    third = start(bench, "third", "share", **LONG)
    until(third, "running")
    assert [one.claim.run for one in lease.claims(DEVICE)] == ["first", "third"]
    runs.start_attempt(second, sys.executable, device=DEVICE, again=True, changes={"when_busy": "share"})
    assert until(second, "running").attempt == 2


def test_a_stop_is_verified_down_to_grandchildren_that_ignore_it_in_sessions_of_their_own(bench: Bench) -> None:
    run = bench.create("stubborn", ignore_sigterm=True, **LONG)
    runs.start_attempt(run, sys.executable, device=DEVICE)
    until(run, "running")
    runs.request_stop(run)
    ended = until(run, "stopped", 60)
    assert ended.cleared is not None
    assert (ended.cleared.forced, ended.cleared.left, ended.cleared.gpu) == (2, (), "")
    assert 0 < ended.cleared.seconds < 60
    eventually(lambda: not lease.claims(DEVICE))


@pytest.mark.parametrize("limit", [{"max_hours": 1 / 3600}, {"max_disk_gb": 1e-6}])
def test_at_a_limit_the_run_saves_and_stops_and_a_higher_one_lets_it_go_on(
    bench: Bench, limit: dict[str, float]
) -> None:
    run = bench.start("limited", **LONG, **limit)
    ended = until(run, "stopped", 60)
    (key,) = limit
    assert ended.cause == "budget" and f"{key} {limit[key]:g} reached" in ended.message
    assert ended.checkpoint is not None and ended.checkpoint.step == ended.step > 0
    saved = str(bench.project / ended.checkpoint.path)
    runs.start_attempt(
        run, sys.executable, resume_from=saved, resume_step=ended.step, changes={key: 1000.0}, patience=None
    )
    until(run, lambda status: status.attempt == 2 and status.state == "running" and status.step > ended.step, 60)
    runs.request_stop(run)
    assert until(run, "stopped").cause == "user"
