"""W&B where something is missing or breaks: no key, no network, a dead or silent service, a folder that is taken."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, processes_of, until
from read_back import csv_rows, ended, figures, same, wandb_records, wandb_rows, working_recorder
from wandb_server import serve

from stationmaster_server import runs
from stationmaster_server.page import summarize
from stationmaster_trainer import wandb_account
from stationmaster_trainer.contract import Status
from stationmaster_trainer.loggers import wandb as wandb_logger
from stationmaster_trainer.rundir import RunDir

KEY = "feed0123456789abcdef0123456789abcdef0123"


@pytest.mark.fault("F22")
def test_a_service_that_dies_or_hangs_is_told_and_started_again(bench: Bench) -> None:
    run = bench.create(total_steps=100_000, sleep=0.01, logging=("file", "wandb"))
    _replace(run, "loggers/wandb.py", "ANSWER_SECONDS = 20", "ANSWER_SECONDS = 4")
    runs.start_attempt(run, sys.executable)
    offset = 0
    for blow in (signal.SIGKILL, signal.SIGSTOP):
        _, offset = eventually(lambda last=offset: working_recorder(run, "wandb", last), 40.0)
        os.kill(_service(run), blow)
        until(run, lambda status: _states(status).get("wandb") == "degraded")
        assert _states(runs.view(run).status)["csv"] == "ok"
    eventually(lambda: working_recorder(run, "wandb", offset), 40.0)
    until(run, lambda status: not [alert for alert in status.alerts_open if alert.rule == "logging_degraded"])
    runs.request_stop(run)
    until(run, "stopped")
    told = ended(run)
    assert told["wandb"].state == "ok", (told, run.attempt(1).recorder_log.read_text())
    assert same(wandb_rows(wandb_records(run.path / told["wandb"].where)), csv_rows(run))
    lines = run.attempt(1).alerts.read_text().splitlines()
    alerts = [alert for alert in map(json.loads, lines) if alert["rule"] == "logging_degraded"]
    assert [alert["open"] for alert in alerts] in ([True, False], [True, False, True, False])


@pytest.mark.fault("F22")
def test_a_folder_that_cannot_be_made_is_told_and_the_files_are_complete(bench: Bench) -> None:
    run = bench.create(total_steps=100, logging=("file", "wandb", "trackio"))
    run.wandb.write_text("a file in the place of the folder")
    run.trackio.write_text("a file in the place of the folder")
    runs.start_attempt(run, sys.executable)
    until(run, "succeeded")
    told = ended(run)
    assert {name: state.state for name, state in told.items()} == {
        "csv": "ok", "json": "ok", "wandb": "degraded", "trackio": "degraded",
    }  # fmt: skip
    assert "wandb" in told["wandb"].message and "trackio" in told["trackio"].message
    assert len(csv_rows(run)) == 10


def test_a_run_goes_from_offline_to_online_and_the_server_has_every_row_once(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is down at the first attempt; at the second a recorder is killed while it uploads."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        run = bench.create("night", total_steps=100_000, sleep=0.002, checkpoint_every=400, logging=("file", "wandb"))
        runs.start_attempt(run, sys.executable)
        eventually(lambda: working_recorder(run, "wandb"), 40.0)
        status = until(run, lambda status: status.checkpoint and any(logger.message for logger in status.loggers))
        message = next(logger.message for logger in status.loggers if logger.name == "wandb")
        assert message.startswith("offline, 127.0.0.1 cannot be reached (") and "wandb sync" in message
        os.kill(pid_of(status, "worker"), signal.SIGKILL)
        checkpoint = until(run, "failed").checkpoint
        assert checkpoint is not None
        told = ended(run)
        offline = run.path / told["wandb"].where
        assert wandb_records(offline)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        runs.start_attempt(run, sys.executable, resume_from="x", resume_step=checkpoint.step)
        pid, offset = eventually(lambda: working_recorder(run, "wandb"), 40.0)
        assert not offline.exists()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: working_recorder(run, "wandb", offset), 40.0)
        runs.request_stop(run)
        until(run, "stopped")
        told = ended(run)
        page = server.the_run()
        assert [row["_step"] for row in page.rows] == [step for step, _ in csv_rows(run)]
        assert same([(row["_step"], figures(row)) for row in page.rows], csv_rows(run))
    assert page.name == "night" and page.summary["state"] == "stopped" and page.exit_code == 0
    assert page.config["learning_rate"]["value"] == 0.001
    assert told["wandb"].where.startswith(f"{server.url}/someone/elsewhere/runs/")
    assert told["wandb"].where in summarize(bench.project, "night")[1]["logs"]
    files = [path for folder in (bench.project, home) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_key_that_the_server_refuses_leads_offline_and_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with serve() as server:
        server.refuse = 401
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        run = bench.start(total_steps=100, logging=("file", "wandb"))
        until(run, "succeeded")
        told = ended(run)
    assert told["wandb"].state == "ok" and told["wandb"].message.startswith("offline, W&B refused: ")
    assert KEY not in told["wandb"].message
    assert same(wandb_rows(wandb_records(run.path / told["wandb"].where)), csv_rows(run))


def test_what_the_user_has_set_decides_between_online_offline_and_nothing(home: Path) -> None:
    def mode(**env: str) -> str:
        return wandb_account.account({"HOME": str(home), **env}).mode

    assert mode() == "offline" and mode(WANDB_API_KEY=KEY) == "online"
    assert mode(WANDB_API_KEY=KEY, WANDB_MODE="offline") == mode(WANDB_API_KEY=KEY, WANDB_MODE="dryrun") == "offline"
    assert mode(WANDB_API_KEY=KEY, WANDB_MODE="disabled") == mode(WANDB_DISABLED="true") == "disabled"
    assert mode(WANDB_MODE="online") == "offline", "without a key there is nobody to ask"
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    (home / ".netrc").chmod(0o600)
    assert mode() == "online" and mode(WANDB_BASE_URL="https://wandb.example.org") == "offline"
    settings = home / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nmode = offline\n")
    assert mode() == "offline" and mode(WANDB_MODE="online") == "online"


def test_switched_off_wandb_writes_nothing_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = bench.create()
    logger = wandb_logger.open(run, bench.spec(), {})
    assert logger.state == "off" and "switched off" in logger.message  # type: ignore[union-attr]
    assert not run.wandb.exists()


def _replace(run: RunDir, module: str, old: str, new: str) -> None:
    """Changes a constant in the run's own copy of the trainer."""
    path = run.lib / "stationmaster_trainer" / module
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _states(status: Status) -> dict[str, str]:
    return {logger.name: logger.state for logger in status.loggers}


def _service(run: RunDir) -> int:
    """Pid of W&B's own process."""
    pids = [pid for pid in processes_of(run.path) if "wandb-core" in Path(f"/proc/{pid}/comm").read_text()]
    assert len(pids) == 1
    return pids[0]
