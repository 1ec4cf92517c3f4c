"""A run from its start to its end: what the folder says meanwhile, and what it says afterwards."""

from __future__ import annotations

import csv
import json
import math
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, until

from stationmaster_server import runs
from stationmaster_trainer import codec, stream
from stationmaster_trainer.contract import Ack, Finished, Note, Status, Train
from stationmaster_trainer.process import descendants
from stationmaster_trainer.states import FINAL


def test_a_finished_run_says_succeeded_with_its_numbers_and_leaves_no_process(bench: Bench) -> None:
    run = bench.start(total_steps=200)
    running = until(run, lambda status: status.state == "running" and status.loss is not None)
    assert running.worker is not None and running.samples_per_second
    status = until(run, "succeeded")
    assert (status.cause, status.step, status.total_steps, status.samples) == ("completed", 200, 200, 1600)
    assert status.loss == pytest.approx(sum(2 * math.exp(-s / 100) for s in range(191, 201)) / 10)
    assert status.loss_average is not None and status.loss_average > status.loss
    assert status.best is not None and (status.best.step, status.best.metric) == (200, "eval/loss")
    assert status.best.path == "checkpoints/toy/checkpoint-200"
    assert status.eta_seconds is None and status.ended is not None and status.elapsed > 0.3
    assert len(status.curve) == 20 and [step for step, _ in status.eval_curve] == [50, 100, 150, 200]
    assert not descendants(pid_of(status, "supervisor"))
    eventually(lambda: not runs.view(run).alive)


def test_the_moving_average_has_a_half_life_of_fifty_steps_over_samples(bench: Bench) -> None:
    status = until(bench.start(total_steps=200), "succeeded")
    weights = [0.5 ** ((200 - step) / 50) for step in range(1, 201)]
    losses = [2 * math.exp(-step / 100) for step in range(1, 201)]
    exact = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
    assert status.loss_average == pytest.approx(exact, rel=0.01)  # windows of ten steps stand for their steps


def test_csv_and_json_lines_hold_every_figure_of_the_stream_once(bench: Bench) -> None:
    run = bench.start(total_steps=100, fault="nan", at=35)
    until(run, "succeeded")
    with run.metrics_csv.open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]
    losses = [(int(row["step"]), float(row["train/loss"])) for row in rows if row["train/loss"]]
    expected = [(r.step, r.loss) for _, r in stream.merged(run) if isinstance(r, Train)]
    assert losses == expected and len(losses) == 10
    assert [line["train/loss"] for line in lines if "train/loss" in line] == [loss for _, loss in losses]
    assert [row["eval/accuracy"] for row in rows if row["eval/loss"]] == [
        str(line["eval/accuracy"]) for line in lines if "eval/loss" in line
    ]
    assert sum(int(row["train/nonfinite"]) for row in rows if row["train/loss"]) == 1


@pytest.mark.fault("F23")
def test_a_nan_is_valid_json_an_alert_and_named_by_its_first_step(bench: Bench) -> None:
    run = bench.start(total_steps=120, fault="nan", at=35)
    until(run, "succeeded")

    def strict(text: str) -> None:
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    for line in run.attempt(1).stream.read_text().splitlines() + run.attempt(1).alerts.read_text().splitlines():
        strict(line)
    train = [record for _, record in stream.merged(run) if isinstance(record, Train) and record.nonfinite]
    assert [(r.step, r.nonfinite_step, r.nonfinite_what, r.worst_samples) for r in train] == [
        (40, 35, "loss", tuple(range(8)))
    ]
    alerts = [json.loads(line) for line in run.attempt(1).alerts.read_text().splitlines()]
    assert any(alert["first_step"] == 35 and alert["severity"] == "critical" for alert in alerts)


def test_a_stop_request_ends_with_a_checkpoint_and_is_idempotent(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, save_seconds=0.3)
    until(run, "running")
    assert runs.request_stop(run)[0] == "requested"
    assert runs.request_stop(run)[0] == "already_requested"
    assert until(run, lambda status: status.state in ("stopping", "stopped")).cause == "user"
    status = until(run, "stopped")
    assert status.checkpoint is not None and status.checkpoint.step == status.step > 0
    records = [record for _, record in stream.merged(run)]
    assert [record.control for record in records if isinstance(record, Ack)] == ["0001-stop.json"]
    assert isinstance(records[-1], Finished) and records[-1].reason == "user"
    assert runs.request_stop(run)[0] == "not_running"


def test_a_checkpoint_request_saves_and_the_run_goes_on(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, checkpoint_every=100_000)
    until(run, "running")
    assert runs.request_checkpoint(run)[0] == "requested"
    status = until(run, lambda status: status.checkpoint is not None)
    assert status.state == "running"
    ack = eventually(lambda: next((r for _, r in stream.merged(run) if isinstance(r, Ack)), None))
    assert ack.control == "0001-checkpoint.json"
    runs.request_stop(run)
    until(run, "stopped")


@pytest.mark.parametrize(
    ("fault", "cause", "words"),
    [
        ("exception", "exception", "IndexError: list index out of range"),
        ("memory", "oom", "out of memory"),
        ("limit", "oom", "MemoryError"),
        ("exit", "exited_early", "exit code 0"),
        ("exit_hard", "exited_early", "exit code 0"),
        ("abort", "signal", "SIGABRT"),
    ],
)
@pytest.mark.fault("F11", "F19")
def test_a_fault_of_the_training_code_is_failed_with_its_cause(
    bench: Bench, fault: str, cause: str, words: str
) -> None:
    status = until(bench.start(total_steps=100, fault=fault, at=45), lambda status: status.state in FINAL)
    assert (status.state, status.cause) == ("failed", cause)
    assert words in status.message and status.way_out
    assert status.step >= 40 or fault in ("exit_hard", "abort")  # these take the newest rows with them
    if fault == "exception":
        assert status.where == "user_code.py:2"
    if cause == "oom":
        assert "batch_size 4 with gradient_accumulation 2" in status.way_out


def test_the_failure_record_holds_the_users_frames_and_no_others(bench: Bench) -> None:
    run = bench.start(total_steps=100, fault="exception", at=15)
    until(run, "failed")
    failure = next(record for _, record in stream.merged(run) if record.kind == "failure")
    assert "user_code.py:2 in forward: return batch[5]" in failure.traceback
    assert "toy" not in failure.traceback and len(failure.traceback) < 4000


@pytest.mark.fault("F3")
def test_no_reader_ever_sees_half_a_status(bench: Bench) -> None:
    run = bench.start(total_steps=400, checkpoint_every=10, sleep=0.001)
    revisions: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            revisions.append(codec.loads(Status, run.status.read_bytes()).revision)

    reader = threading.Thread(target=read)
    reader.start()
    until(run, "succeeded")
    stop.set()
    reader.join()
    assert len(revisions) > 100 and revisions == sorted(revisions) and len(set(revisions)) > 3
    assert not list(run.path.glob(".status.json.*"))


def test_the_folder_is_for_its_owner_only(bench: Bench) -> None:
    run = bench.start(total_steps=20, logging=("file", "tensorboard"))
    until(run, "succeeded")

    def modes() -> Iterator[tuple[Path, int]]:
        for path in [run.path, *run.path.rglob("*")]:
            if "__pycache__" not in path.parts:
                yield path, stat.S_IMODE(path.stat().st_mode)

    assert [(path, oct(mode)) for path, mode in modes() if mode & 0o077] == []


def test_environment_json_says_what_ran_without_a_value_of_a_variable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", "/somewhere/secretly-named")
    run = bench.start(total_steps=20)
    until(run, "succeeded")
    text = run.attempt(1).environment.read_text()
    found = json.loads(text)
    assert found["python"]["version"].startswith("3.") and found["seed"] == 42 and "HF_HOME" in found["variables"]
    assert "secretly-named" not in text


@pytest.mark.fault("F21")
def test_a_log_without_end_is_cut_in_the_middle(bench: Bench) -> None:
    run = bench.start(total_steps=3000, fault="chatter", at=5, sleep=0.001)
    until(run, "succeeded")
    log = run.attempt(1).worker_log.read_bytes()
    assert len(log) < 16 << 20
    assert b"bytes were left out here" in log and log.startswith(b"\x1b[31mxxx")


def test_notes_pass_through(bench: Bench) -> None:
    run = bench.create()
    from stationmaster_trainer.reporter import Reporter

    attempt = run.attempt(1)
    attempt.path.mkdir(parents=True)
    reporter = Reporter(attempt, bench.spec())
    reporter.note("rows dropped", 3, "warning", rows=[1, {"a": math.inf}])
    reporter.close()
    notes = [record for record in stream.records(attempt.stream) if isinstance(record, Note)]
    assert [(n.message, n.step, n.level, n.facts) for n in notes] == [
        ("rows dropped", 3, "warning", {"rows": [1, {"a": "Infinity"}]})
    ]
