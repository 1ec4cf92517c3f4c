"""The commands for people, called as the console entry calls them."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stationmaster_server.cli import main


@pytest.fixture
def finished(build: Callable[..., Any]) -> Any:
    run = build()
    run.attempt()
    run.train(1, 400)
    run.end("succeeded", "completed")
    return run


def test_runs_and_status_say_the_same_as_the_tools(
    desk: Any, finished: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--project", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == desk("list_runs").text
    assert main(["status", "digits-01", "--project", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == desk.poll().text
    assert main(["runs", "--json", "--project", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == desk("list_runs").facts["runs"]
    assert main(["status", "digits-01", "--json", "--project", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == desk.poll().facts


def test_status_of_a_going_run_leaves_out_what_is_only_for_the_assistant(
    build: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build()
    run.attempt()
    run.hold()
    run.train(1, 100)
    run.publish()
    assert main(["status", "--project", str(folder)]) == 0
    assert "since=" not in capsys.readouterr().out


def test_summarize_prints_the_report_and_writes_it(
    finished: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["summarize", "digits-01", "--project", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("Training Complete\n================\n")
    assert finished.run.report.is_file()


@pytest.mark.parametrize(
    ("state", "cause", "code"), [("succeeded", "completed", 0), ("stopped", "user", 0), ("failed", "oom", 1)]
)
def test_watch_without_a_terminal_prints_plain_lines_news_and_the_end(
    build: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str], state: str, cause: str, code: int
) -> None:
    run = build()
    run.attempt()
    run.hold()
    run.train(1, 200)
    run.publish()

    def go_on() -> None:
        run.checkpoint(210)
        run.alert()
        run.publish()
        timer = threading.Timer(1.0, lambda: run.end(state, cause))
        timer.start()

    first = threading.Timer(1.0, go_on)
    first.start()
    assert main(["watch", "digits-01", "--project", str(folder)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits-01: running 200/400, ETA 10s, loss 0.311")
    assert "newest checkpoint: checkpoints/digits-01/checkpoint-210" in lines
    assert any(line.startswith("WARNING loss_spike") for line in lines)
    assert any(line.startswith(f"digits-01: {state}") for line in lines)
    assert not any("\x1b" in line or "█" in line.partition("curve")[0] for line in lines)


def test_stop_writes_one_request_and_says_when_there_was_one(
    build: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build()
    run.attempt()
    run.hold()
    run.train(1, 100)
    run.publish()
    for expected in ("is asked to stop", "was asked to stop before"):
        assert main(["stop", "digits-01", "--project", str(folder)]) == 0
        assert expected in capsys.readouterr().out
    assert [path.name for path in run.run.attempt(1).control.iterdir()] == ["0001-stop.json"]


def test_stop_of_an_ended_run_asks_nothing(finished: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "digits-01", "--project", str(folder)]) == 1
    assert "not running: it is succeeded" in capsys.readouterr().out
    assert not list(finished.run.attempt(1).control.iterdir())


@pytest.mark.parametrize("words", [["status", "nope"], ["watch", "nope"], ["stop", "nope"], ["summarize", "nope"]])
def test_an_unknown_run_is_one_sentence_and_exit_code_two(
    finished: Any, folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main([*words, "--project", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"stationmaster {words[0]}: there is no run 'nope'") and "digits-01" in said
    assert said.count("\n") == 1


def log(path: Path) -> Path:
    """The log of a run that turned to NaN, in somebody else's column names."""
    rows = [{"iteration": step, "objective": 2.0 * math.exp(-step / 40)} for step in range(1, 80)]
    rows += [{"iteration": step, "objective": math.nan} for step in range(80, 90)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_diagnose_names_what_a_foreign_log_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log(folder / "log.jsonl")
    words = ["diagnose", str(path), "--map", "loss=objective", "--map", "step=iteration"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Verdict: diverged" in text and "critical non_finite, step 80–89" in text
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "diverged" and found["alerts"][0]["rule"] == "non_finite"


def test_diagnose_reads_a_run_folder_of_ours(finished: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(finished.run.path)]) == 0
    assert "Best eval/loss: 0.04634 at step 400" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["missing.jsonl"], "does not exist"),
        (["log.jsonl", "--map", "loss"], "--map 'loss' is no mapping. Write ROLE=COLUMN"),
        (["log.jsonl", "--map", "loss=nothing"], "nothing"),
    ],
)
def test_diagnose_refuses_what_it_cannot_read(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    log(folder / "log.jsonl")
    monkeypatch.chdir(folder)
    assert main(["diagnose", *words]) == 2
    assert expected in capsys.readouterr().err
