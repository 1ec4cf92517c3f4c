"""Servers that die at any instant of any tool, lose their client or get a signal: nothing half done, nothing left."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from process_bench import Bench, end_processes, eventually, pid_of, until
from soaking.client import Reply, Server, ServerDiedError
from soaking.projects import program

from stationmaster_server import runs
from stationmaster_trainer.process import state

SEED = int(os.environ.get("STATIONMASTER_TEST_SEED", "20261123"))
MODEL = "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
PLAN = {"total_steps": 60, "checkpoint_every": 10, "validate_every": 20, "num_threads": 1}
BEFORE = ("inspect_project", "choose_logging", "check_validation", "propose_config")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that is trained by a stand-in of PyTorch: which framework a server dies beside does not matter to it."""
    monkeypatch.setenv("PYTHONPATH", str(program(tmp_path)))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "numbers.csv").write_text("a,b,label\n" + "".join(f"{i},{i * i % 7},{i % 3}\n" for i in range(300)))
    return folder


@pytest.fixture(scope="module")
def going(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A project with a run that goes on, for servers to leave."""
    bench = Bench(tmp_path_factory.mktemp("going"))
    until(bench.start(total_steps=1_000_000), lambda status: status.loss is not None)
    yield bench
    end_processes(bench.project)


def _asked(server: Server, tool: str, arguments: dict[str, Any]) -> Reply:
    """The answer of a call that nobody disturbs; asked again while measuring goes on."""
    while (reply := server.call(tool, **arguments)).facts.get("state") == "measuring":
        pass
    assert not reply.refused, reply.text
    return reply


@pytest.mark.timeout(400)
@pytest.mark.fault("F5")
def test_a_server_killed_at_any_instant_of_any_tool_leaves_nothing_half_done(
    project: Path, serve: Callable[[Path], Server]
) -> None:
    """Each tool is broken off once, and asked again of a new server, which is the next one to die.

    One that has answered before its server died is tried again, with a shorter time to live.
    """
    dice, digest = random.Random(SEED), ""
    calls: list[tuple[str, dict[str, Any], float]] = [
        ("inspect_project", {}, 1.0),
        ("choose_logging", {"backends": ["file"]}, 0.05),
        ("check_validation", {"split": 0.2}, 2.0),
        ("propose_config", {"changes": PLAN}, 1.0),
        ("start_run", {}, 1.0),
        ("poll_status", {"wait_seconds": 1}, 1.0),
        ("stop_run", {}, 0.05),
        ("resume_run", {}, 1.0),
        ("summarize", {}, 0.3),
        ("list_runs", {}, 0.05),
    ]
    server = serve(project)
    with ThreadPoolExecutor(1) as pool:
        for tool, arguments, seconds in calls:
            arguments = {**arguments, "digest": digest} if tool == "start_run" else arguments
            broken = False
            while not broken:
                broken_off = pool.submit(server.call, tool, **arguments)
                time.sleep(dice.uniform(0.0, seconds))
                os.kill(server.pid, signal.SIGKILL)
                try:
                    broken_off.result(30)
                except ServerDiedError:
                    broken = True
                seconds /= 4
                server.close()
                server = serve(project)
            if tool == "resume_run":  # one that has succeeded meanwhile is refused, which is an answer
                reply = server.call(tool, **arguments)
                assert not reply.refused or "has succeeded" in reply.text, reply.text
                continue
            reply = _asked(server, tool, arguments)
            digest = reply.facts.get("digest") or digest
            assert len(runs.list_runs(project)) == (1 if digest and tool not in BEFORE else 0)
    (run,) = runs.list_runs(project)
    assert run.problems == ()
    if run.state != "succeeded":
        until(run.run, "succeeded", 60.0)


@pytest.mark.fault("F6")
def test_after_the_death_of_all_three_one_call_of_a_new_server_says_lost(
    bench: Bench, serve: Callable[[Path], Server]
) -> None:
    run = bench.start(total_steps=100_000)
    status = until(run, lambda status: status.checkpoint is not None)
    server = serve(bench.project)
    for pid in (server.pid, pid_of(status, "supervisor"), pid_of(status, "worker")):
        os.kill(pid, signal.SIGKILL)
    reply = serve(bench.project).call("poll_status")
    assert (reply.facts["state"], reply.facts["cause"]) == ("lost", "supervisor_gone")
    assert reply.facts["step"] >= status.step and reply.facts["checkpoint"]["step"] >= 50
    assert "resume_run" in reply.text


@pytest.mark.fault("F7")
@pytest.mark.parametrize("how", ["stdin closed", "SIGTERM"])
@pytest.mark.parametrize(
    "busy", [pytest.param(False, id="idle", marks=pytest.mark.soak), pytest.param(True, id="in a call")]
)
def test_a_server_that_loses_its_client_is_gone_and_the_run_goes_on(
    going: Bench, serve: Callable[[Path], Server], how: str, busy: bool
) -> None:
    server = serve(going.project)
    with ThreadPoolExecutor(1) as pool:
        if busy:
            pool.submit(server.call, "poll_status", wait_seconds=45)
            time.sleep(0.3)  # the call shall be under way; if it is not, the test is one of an idle server
        if how == "stdin closed":
            server.hang_up()
        else:
            os.kill(server.pid, signal.SIGTERM)
        eventually(lambda: state(server.pid) in ("", "Z"), 30.0)  # a call of 45 s would hold it up for longer
    run = runs.find_run(going.project)
    step = runs.view(run).status.step
    assert until(run, lambda status: status.step > step + 20).state == "running"
