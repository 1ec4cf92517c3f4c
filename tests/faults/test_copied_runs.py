"""A run folder at another place than where it was made: read for what it is, never continued over the run itself."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from process_bench import TOY, Bench, end_processes, eventually, pid_of, until

from stationmaster_server import evaluate, place, resume, runs, seal
from stationmaster_server.views import read_spec
from stationmaster_trainer import process
from stationmaster_trainer.errors import RunError
from stationmaster_trainer.rundir import RunDir


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _begun(project: Path) -> RunDir:
    """A run as the server makes it: sealed, so that it may be resumed."""
    run = Bench(project).create(total_steps=100_000)
    assert (run.lib / "stationmaster_trainer" / "adapters" / "flax.py").read_bytes() == TOY.read_bytes()
    seal.seal_run(run, run.name)
    runs.start_attempt(run, sys.executable)
    return run


def test_a_copied_project_neither_shows_nor_stops_nor_goes_on_with_the_run_that_it_was_copied_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project, other, third = (tmp_path / name for name in ("project", "copy", "moved"))
    project.mkdir()
    try:
        run = _begun(project)
        status = until(run, lambda status: status.checkpoint is not None)
        shutil.copytree(project, other)
        copy = RunDir(other / "runs" / "toy")
        seen = runs.view(copy)
        assert (seen.state, seen.worker_alive, seen.over) == ("lost", False, True)
        assert runs.request_stop(copy)[0] == "not_running"
        assert until(run, lambda now: now.step > status.step + 20).state == "running"

        for who in ("supervisor", "worker"):
            os.kill(pid_of(status, who), signal.SIGKILL)
        eventually(lambda: runs.view(run).over and not process.is_locked(run.recorder_lock))
        before = _contents(project)
        with pytest.raises(RunError, match=rf"cannot be resumed here: this folder is a copy.* {run.path}") as refused:
            resume.resume(other, None)
        assert "stationmaster reproduce toy" in str(refused.value)
        with pytest.raises(RunError, match="cannot be started here: this folder is a copy"):
            runs.start_attempt(copy, sys.executable, again=True)
        with pytest.raises(RunError, match="cannot be scored here: this folder is a copy"):
            evaluate.evaluate(other, None, "user_code.py", 0.0)
        assert len(copy.attempts()) == 1 and _contents(project) == before

        project.rename(third)
        with pytest.raises(RunError, match=f"cannot be resumed here: it was made in {run.path}.*was moved"):
            resume.resume(third, None)
        third.rename(project)
        (tmp_path / "link").symlink_to(project)
        same = RunDir(tmp_path / "link" / "runs" / "toy")
        assert place.made_at(same, read_spec(run)) == "", "another way to the same folder is no copy"
    finally:
        end_processes(tmp_path)
