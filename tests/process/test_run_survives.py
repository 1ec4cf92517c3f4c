"""Kills, pauses and vanished folders: what survives whom, and that the state afterwards is the true one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from process_bench import Bench, eventually, pid_of, processes_of, until

from stationmaster_server import runs
from stationmaster_trainer import stream
from stationmaster_trainer.contract import Finished
from stationmaster_trainer.process import state
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.states import FINAL

STARTER = """
import sys
from pathlib import Path
from stationmaster_server import runs
from stationmaster_trainer.rundir import RunDir
runs.start_attempt(RunDir(Path(sys.argv[1])), sys.executable)
"""
SERVER = """
import sys, threading, time
from pathlib import Path
from stationmaster_server import runs
from stationmaster_trainer.rundir import RunDir
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
runs.start_attempt(RunDir(Path(sys.argv[1])), sys.executable)
print("started", flush=True)
sys.stdin.read()
time.sleep(600)
"""
"""A server with a thread, a pipe on its stdin and one on its stdout, that starts a run and stays."""


@pytest.mark.fault("F1")
def test_a_killed_worker_is_failed_by_signal_within_two_seconds(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    status = until(run, lambda status: status.checkpoint is not None)
    os.kill(pid_of(status, "worker"), signal.SIGKILL)
    killed = time.monotonic()
    status = until(run, lambda status: status.state in FINAL)
    assert time.monotonic() - killed < 2.0
    assert (status.state, status.cause) == ("failed", "signal")
    assert "SIGKILL" in status.message and "out of memory" in status.way_out


@pytest.mark.fault("F4")
def test_a_worker_without_supervisor_saves_and_stops_and_the_reader_tells_it(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, save_seconds=0.5)
    status = until(run, lambda status: status.loss is not None)
    os.kill(pid_of(status, "supervisor"), signal.SIGKILL)
    lost = until(run, "lost")
    assert lost.cause == "supervisor_gone" and runs.view(run).worker_alive and not runs.view(run).over
    status = until(run, "stopped")
    assert status.cause == "supervisor_gone" and status.checkpoint is not None
    assert status.checkpoint.step == status.step
    eventually(lambda: not processes_of(run.path))  # the recorder has left as well
    rows = run.metrics_csv.read_text().splitlines()
    assert rows[-1].startswith(f"{status.step},")


@pytest.mark.fault("F11")
def test_the_kernels_out_of_memory_killer_is_named_as_the_cause(bench: Bench) -> None:
    """A memory cgroup of its own (version 1), around supervisor and worker; needs the right to make one."""
    group = Path("/sys/fs/cgroup/memory") / f"stationmaster-{os.getpid()}"
    run = bench.create(total_steps=100_000, fault="eat", at=20)
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
    except OSError:
        pytest.skip("making a memory cgroup is not allowed here")
    try:
        enter = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        command = [sys.executable, "-c", enter + STARTER, str(run.path)]
        subprocess.run(command, check=True, capture_output=True)
        status = until(run, lambda status: status.state in FINAL)
        assert (status.state, status.cause) == ("failed", "oom"), status.message
        assert "oom_kill counter grew by 1" in status.message or "Killed process" in status.message
        eventually(lambda: not processes_of(bench.project))
    finally:
        group.rmdir()


@pytest.mark.fault("F6")
def test_after_the_death_of_supervisor_and_worker_one_call_says_lost_with_step_and_checkpoint(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    status = until(run, lambda status: status.checkpoint is not None)
    for who in ("supervisor", "worker"):
        os.kill(pid_of(status, who), signal.SIGKILL)
    seen = eventually(lambda: found if not ((found := runs.view(run)).worker_alive or found.alive) else None)
    assert (seen.state, seen.status.cause, seen.over) == ("lost", "supervisor_gone", True)
    assert seen.status.step >= status.step and seen.status.checkpoint is not None and "esume" in seen.status.way_out


@pytest.mark.parametrize("how", ["stdin closed", "SIGTERM", "killpg", "kill -9", "kill all its children"])
@pytest.mark.fault("F7")
def test_the_run_goes_on_when_its_server_goes(bench: Bench, how: str) -> None:
    run = bench.create(total_steps=100_000)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdin is not None and server.stdout is not None
    assert server.stdout.readline() == b"started\n"
    until(run, lambda status: status.loss is not None)
    if how == "kill all its children":
        subprocess.run(["pkill", "-KILL", "-P", str(server.pid)], check=False)
        server.kill()
    elif how == "killpg":
        os.killpg(server.pid, signal.SIGKILL)
    elif how == "SIGTERM":
        server.terminate()
    elif how == "kill -9":
        server.kill()
    server.stdin.close()
    if how == "stdin closed":
        server.kill()
    server.wait(10)
    assert server.stdout.read() == b""  # the pipe is closed: nothing of the run holds it
    server.stdout.close()
    step = runs.view(run).status.step
    assert until(run, lambda status: status.step > step + 20).state == "running"


@pytest.mark.fault("F13")
def test_a_held_worker_is_paused_and_goes_on_by_itself(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    worker = pid_of(until(run, lambda status: status.loss is not None), "worker")
    os.kill(worker, signal.SIGSTOP)
    assert "SIGSTOP" in until(run, "paused").message
    os.kill(worker, signal.SIGCONT)
    assert until(run, "running").message == ""


@pytest.mark.fault("F13")
def test_a_stop_reaches_a_held_worker(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    worker = pid_of(until(run, lambda status: status.loss is not None), "worker")
    os.kill(worker, signal.SIGSTOP)
    until(run, "paused")
    runs.request_stop(run)
    assert until(run, "stopped").cause == "user"


@pytest.mark.fault("F20")
def test_a_worker_that_ignores_everything_is_killed_with_its_whole_tree(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, deaf=True, ignore_sigterm=True, patience=runs.Patience(grace_seconds=0.5))
    until(run, lambda status: status.loss is not None)
    project = str(bench.project)
    assert len([pid for pid in processes_of(bench.project) if _argument(pid, 3) == project]) == 2
    runs.request_stop(run)
    messages: set[str] = set()

    def over() -> bool:
        status = runs.view(run).status
        messages.add(status.message)
        return status.state in FINAL

    eventually(over, 30.0)
    status = runs.view(run).status
    assert (status.state, status.cause) == ("stopped", "user")
    assert "killed" in status.message and "newest checkpoint" in status.message
    assert any("SIGTERM;" in message for message in messages)
    log = run.attempt(1).supervisor_log.read_text()
    order = [log.index(rung) for rung in ("asked to stop", "SIGTERM; SIGKILL follows", "SIGKILL to its process group")]
    assert order == sorted(order) and "all of them are gone" in log
    eventually(lambda: not processes_of(bench.project))


def test_sigterm_to_the_supervisor_is_a_graceful_stop(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    status = until(run, lambda status: status.loss is not None)
    os.kill(pid_of(status, "supervisor"), signal.SIGTERM)
    status = until(run, "stopped")
    assert status.cause == "user" and status.checkpoint is not None and status.checkpoint.step == status.step


@pytest.mark.fault("F12")
def test_silence_longer_than_learned_is_one_lasting_alert_with_stacks_and_no_kill(bench: Bench) -> None:
    run = bench.start(
        total_steps=100_000, fault="hang", at=100, patience=runs.Patience(stall_seconds=1.0, first_stall_seconds=1.0)
    )
    status = until(run, lambda status: status.state == "running" and _stalled(status))
    alert = next(alert for alert in status.alerts_open if alert.rule == "stall")
    assert alert.severity == "critical" and alert.seen["silent_seconds"] > 1.0 and "CPU time" in alert.message
    stacks = run.attempt(1).stacks
    assert "_fault" in eventually(lambda: stacks.read_text())
    assert state(pid_of(status, "worker")) == "S"
    status = until(run, lambda status: status.step == 99, 40.0)  # the heartbeat tells the last step, late
    beats = [json.loads(line) for line in run.attempt(1).stream.read_text().splitlines() if '"ago":' in line]
    assert beats[-1]["step"] == 99 and beats[-1]["ago"] > 5.0
    assert _stalled(status), "a thread that lives is no step that lives"
    told = [json.loads(line) for line in run.attempt(1).alerts.read_text().splitlines() if '"rule":"stall"' in line]
    assert [line["open"] for line in told if line["first_step"] >= 90] == [True], told


@pytest.mark.fault("F12")
def test_long_validations_are_normal_and_do_not_make_a_hang_of_the_training_wait_for_them(bench: Bench) -> None:
    patience = runs.Patience(stall_seconds=0.5, first_stall_seconds=30.0)
    run = bench.start(
        total_steps=100_000, fault="hang", at=120, log_every=1, eval_seconds=3.0, patience=patience
    )  # validated at 50 and 100
    status = until(run, lambda status: status.step == 119 and _stalled(status), 60.0)
    alert = next(alert for alert in status.alerts_open if alert.rule == "stall")
    assert "in phase 'train'" in alert.message and alert.seen["limit_seconds"] < 5 * 3.0
    assert "phase 'eval'" not in run.attempt(1).alerts.read_text()


@pytest.mark.fault("F12")
def test_a_stall_alert_clears_when_records_flow_again(bench: Bench) -> None:
    run = bench.start(
        total_steps=200,
        fault="hang",
        hang_seconds=6.0,  # a busy machine makes gaps that count for the pace, of which five times is waited
        at=100,
        patience=runs.Patience(stall_seconds=0.7, first_stall_seconds=0.7),
    )
    assert until(run, "succeeded").alerts_open == ()
    lines = [line for line in run.attempt(1).alerts.read_text().splitlines() if '"rule":"stall"' in line]
    opened = ['"open":true' in line for line in lines]
    assert opened == [True, False] * (len(opened) // 2), "a busy machine may be silent longer, more than once"
    assert opened


@pytest.mark.fault("F13")
def test_a_held_worker_is_no_stall(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, patience=runs.Patience(stall_seconds=1.0, first_stall_seconds=1.0))
    worker = pid_of(until(run, lambda status: status.loss is not None), "worker")
    os.kill(worker, signal.SIGSTOP)
    until(run, "paused")
    time.sleep(1.5)  # longer than the limit: nothing may happen in this time
    assert not runs.view(run).status.alerts_open
    os.kill(worker, signal.SIGCONT)
    step = until(run, "running").step
    until(run, lambda status: status.step > step)
    assert not runs.view(run).status.alerts_open


def _removed(folder: Path) -> bool:
    """Whether the folder is gone; a process that writes into it may need a second stroke."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.fault("F17")
def test_a_deleted_run_folder_stops_the_worker_and_nothing_is_written_into_a_new_one(
    bench: Bench, replaced: bool
) -> None:
    run = bench.start(total_steps=100_000, logging=("file", "tensorboard"))
    until(run, lambda status: status.checkpoint is not None)
    aside = run.path.with_name("aside")
    run.path.rename(aside)
    eventually(lambda: _removed(aside))
    if replaced:
        run.path.mkdir()
    eventually(lambda: not processes_of(bench.project))
    assert not run.path.exists() or list(run.path.iterdir()) == []


@pytest.mark.fault("F17")
def test_a_renamed_run_folder_keeps_the_worker_s_last_word(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    until(run, lambda status: status.checkpoint is not None)
    moved = RunDir(run.path.with_name("moved"))
    run.path.rename(moved.path)
    eventually(lambda: not processes_of(bench.project))
    last = list(stream.records(moved.attempt(1).stream))[-1]
    assert isinstance(last, Finished) and last.reason == "run_folder_gone"
    assert runs.view(moved).state == "stopped"


@pytest.mark.fault("F18")
def test_a_run_of_before_a_restart_of_the_machine_is_lost_by_it(bench: Bench) -> None:
    run = bench.start(total_steps=100_000)
    status = until(run, lambda status: status.loss is not None)
    for who in ("supervisor", "worker"):
        os.kill(pid_of(status, who), signal.SIGKILL)
    eventually(lambda: not runs.view(run).alive)
    assert status.worker is not None
    text = run.status.read_text().replace(status.worker.boot_id, "11111111-2222-3333-4444-555555555555")
    run.status.write_text(text)
    seen = runs.view(run)
    assert (seen.state, seen.status.cause, seen.worker_alive) == ("lost", "rebooted", False)


def _stalled(status: Any) -> bool:
    return any(alert.rule == "stall" for alert in status.alerts_open)


def _argument(pid: int, index: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            parts = file.read().split(b"\0")
    except OSError:
        return ""
    return parts[index].decode() if index < len(parts) else ""


def test_a_defect_in_the_rules_is_one_warning_and_the_run_goes_on(bench: Bench) -> None:
    run = bench.create(total_steps=200)
    judge = run.lib / "stationmaster_trainer" / "judge.py"
    judge.write_text(judge.read_text() + "\n\ndef broken(self, record):\n    raise ZeroDivisionError('a defect')\n")
    judge.write_text(judge.read_text() + "\n\nJudge.see = broken\n")
    runs.start_attempt(run, sys.executable)
    status = until(run, "succeeded")
    assert [(alert.rule, alert.severity) for alert in status.alerts_open] == [("rules_degraded", "warning")]
    assert status.alerts_total == 1 and "a defect" in status.alerts_open[0].message
    assert "Traceback" in run.attempt(1).supervisor_log.read_text()
