"""The recorder and its loggers: every row once, whatever dies; one logger's trouble is nobody else's."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from process_bench import Bench, eventually, processes_of, until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stationmaster_server import runs
from stationmaster_trainer import codec, ledger, stream
from stationmaster_trainer.contract import Eval, LoggerState, Record, Train
from stationmaster_trainer.feeder import Feeder
from stationmaster_trainer.ledger import Entry
from stationmaster_trainer.loggers import csv as csv_logger
from stationmaster_trainer.loggers import json as json_logger
from stationmaster_trainer.loggers import memory
from stationmaster_trainer.loggers import tensorboard as tensorboard_logger
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.window import Window


@pytest.mark.fault("F22")
def test_a_recorder_that_is_killed_again_and_again_loses_and_doubles_nothing(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, logging=("file", "tensorboard"))
    pid = 0
    for _ in range(2):
        pid = eventually(lambda last=pid: found if (found := _recorder(run)) != last else None)
        before = run.metrics_csv.stat().st_size if run.metrics_csv.exists() else 0
        eventually(lambda size=before: run.metrics_csv.exists() and run.metrics_csv.stat().st_size > size)
        os.kill(pid, signal.SIGKILL)
    runs.request_stop(run)
    until(run, "stopped")
    eventually(lambda: not processes_of(run.path))
    _same_figures(run)


def test_tensorboard_reads_back_every_scalar_and_the_configuration(bench: Bench) -> None:
    run = bench.start(total_steps=100, logging=("file", "tensorboard"))
    until(run, "succeeded")
    board = EventAccumulator(str(run.tensorboard))
    board.Reload()
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "train/samples_per_second"} <= set(
        board.Tags()["scalars"]
    )
    assert {"eval/loss", "eval/accuracy"} <= set(board.Tags()["scalars"])
    records = [record for _, record in stream.merged(run)]
    losses = [(record.step, record.loss) for record in records if isinstance(record, Train)]
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [
        (step, pytest.approx(loss)) for step, loss in losses
    ]
    assert [event.step for event in board.Scalars("eval/accuracy")] == [50, 100]
    text = board.Tensors("config")[0].tensor_proto.string_val[0].decode()
    assert "| learning_rate | 0.001 |" in text


def test_a_session_start_makes_tensorboard_forget_superseded_steps(bench: Bench) -> None:
    run = bench.create()
    logger = tensorboard_logger.open(run, bench.spec(), {})
    for record in _records(100):
        logger.write(record)
    mark = logger.flush()
    logger.close()
    logger = tensorboard_logger.open(run, bench.spec(), mark)
    logger.rewind(50)
    for record in _records(80)[5:]:
        logger.write(record)
    logger.close()
    board = EventAccumulator(str(run.tensorboard))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(10, 81, 10))


@pytest.mark.parametrize("name", ["csv", "json", "tensorboard"])
def test_what_was_written_after_the_mark_is_taken_back(bench: Bench, name: str) -> None:
    module = {"csv": csv_logger, "json": json_logger, "tensorboard": tensorboard_logger}[name]
    run, spec, records = bench.create(), bench.spec(), _records(200)
    logger = module.open(run, spec, {})
    for record in records[:10]:
        logger.write(record)
    mark = json.loads(json.dumps(logger.flush()))
    for record in records[10:17]:
        logger.write(record)
    logger.flush()  # and killed before the cursor was saved
    logger.close()
    logger = module.open(run, spec, mark)
    for record in records[10:]:
        logger.write(record)
    logger.flush()
    logger.close()
    if name == "tensorboard":
        board = EventAccumulator(str(run.tensorboard))
        board.Reload()
        steps = [event.step for event in board.Scalars("train/loss")]
    elif name == "csv":
        steps = [int(row["step"]) for row in _rows(run) if row["train/loss"]]
    else:
        lines = [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]
        steps = [line["step"] for line in lines if "train/loss" in line]
    assert steps == [record.step for record in records if isinstance(record, Train)]


def test_the_header_of_the_csv_stays_and_a_new_metric_adds_a_column_at_the_end(bench: Bench) -> None:
    run = bench.create()
    logger = csv_logger.open(run, bench.spec(), {})
    logger.flush()
    first = run.metrics_csv.read_text().splitlines()[0].split(",")
    for record in _records(50):
        logger.write(record)
    logger.write(Eval(0.0, 0.0, 50, 1.0, {"f1": 0.5, "accuracy": 0.25}, 10, 0.1))
    mark = logger.flush()
    logger.close()
    logger = csv_logger.open(run, bench.spec(), mark)
    logger.rewind(50)
    logger.flush()
    logger.close()
    rows = [line.split(",") for line in run.metrics_csv.read_text().splitlines()]
    assert rows[0] == [*first, "eval/accuracy", "eval/f1"] and {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1][-2:] == ["0.25", "0.5"] and len(rows) == 8


@pytest.mark.fault("F22")
def test_a_logger_that_fails_is_one_warning_and_the_others_are_complete(bench: Bench) -> None:
    run = bench.create(total_steps=3000, sleep=0.001, logging=("file", "tensorboard"))
    run.tensorboard.write_text("a file in the place of the folder")
    runs.start_attempt(run, sys.executable)
    status = until(run, lambda status: any(one.rule == "logging_degraded" for one in status.alerts_open))
    assert {one.name: one.state for one in status.loggers} == {"csv": "ok", "json": "ok", "tensorboard": "degraded"}
    run.tensorboard.unlink()  # put right: the logger comes back from its cursor
    until(run, lambda status: all(one.state == "ok" for one in status.loggers))
    until(run, "succeeded")
    lines = run.attempt(1).alerts.read_text().splitlines()
    alerts = [alert for alert in map(json.loads, lines) if alert["rule"] == "logging_degraded"]
    assert [(alert["severity"], alert["open"]) for alert in alerts] == [("warning", True), ("warning", False)]
    eventually(lambda: not processes_of(run.path))
    _same_figures(run)


@pytest.mark.fault("F22")
def test_a_logger_whose_package_is_missing_is_degraded_with_its_name(bench: Bench) -> None:
    run = bench.create(total_steps=300, logging=("file", "absent"))
    place = run.lib / "stationmaster_trainer" / "loggers" / "absent.py"
    place.write_text("import no_such_package\n")
    runs.start_attempt(run, sys.executable)
    status = until(run, "succeeded")
    state = next(one for one in status.loggers if one.name == "absent")
    assert state.state == "degraded" and "no_such_package" in state.message
    assert run.metrics_csv.read_text().count("\n") == 1 + 30 + 6


@pytest.mark.fault("F22")
def test_a_logger_that_hangs_holds_up_nobody(bench: Bench) -> None:
    run = bench.create(total_steps=100, logging=("file", "stuck"))
    place = run.lib / "stationmaster_trainer" / "loggers" / "stuck.py"
    place.write_text("import time\n\n\ndef open(run, spec, mark):\n    time.sleep(600)\n")
    began = time.monotonic()
    runs.start_attempt(run, sys.executable)
    until(run, "succeeded")
    assert time.monotonic() - began < 10
    assert run.metrics_csv.read_text().count("\n") == 1 + 10 + 2


def test_a_lost_cursor_writes_everything_anew_without_doubles(bench: Bench) -> None:
    run = bench.start(total_steps=1500, sleep=0.001, logging=("file", "tensorboard"))
    eventually(lambda: run.recorder.exists() and run.metrics_csv.exists())
    pid = eventually(lambda: _recorder(run))
    os.kill(pid, signal.SIGKILL)
    run.recorder.write_text("{")
    until(run, "succeeded")
    eventually(lambda: not processes_of(run.path))
    _same_figures(run)


def test_a_row_is_readable_within_two_seconds(bench: Bench) -> None:
    run = bench.start(total_steps=100_000, log_every=50)
    until(run, lambda status: status.loss is not None)
    ages = []
    for _ in range(5):
        size = run.metrics_csv.stat().st_size
        eventually(lambda size=size: run.metrics_csv.stat().st_size > size)
        last = run.metrics_csv.read_text().splitlines()[-1].split(",")
        ages.append(time.time() - float(last[3]))
    assert max(ages) < 2.0


def test_a_feeder_hands_a_resumed_run_to_its_logger_with_one_rewind(bench: Bench) -> None:
    """The fake of the seam, driven as the recorder drives every logger."""
    run = bench.start(total_steps=60, fault="exit", at=55)
    until(run, "failed")
    eventually(lambda: not runs.view(run).alive)
    runs.start_attempt(run, sys.executable, resume_from="x", resume_step=50)
    until(run, lambda status: status.attempt == 2 and status.state in ("succeeded", "failed"))
    feeder = Feeder(run, bench.spec(), 2, Entry(LoggerState("memory", "")), lambda line: None)
    opened: list[memory.MemoryLogger] = []
    original = memory.open
    memory.open = lambda *given: opened.append(original(*given)) or opened[-1]  # type: ignore[assignment,func-returns-value]
    try:
        feeder.thread.start()
        eventually(feeder.must_save.is_set)
        feeder.must_save.clear()
        feeder.finish()
        feeder.thread.join(10)
    finally:
        memory.open = original
    assert opened[0].calls == ["open {}", "rewind 50", "close"]
    assert opened[0].records == [record for _, record in stream.merged(run)]
    assert feeder.entry.mark == {"records": len(opened[0].records)}


def _records(steps: int) -> list[Record]:
    """A train record every ten steps, and a validation at every fifty."""
    window, found = Window(), []
    for step in range(1, steps + 1):
        window.add(step, 1.0 / step, 1.0, 8, 0.1)
        if step % 10 == 0:
            found.append(window.take(elapsed=1.0, epoch=1.0, samples=step * 8))
    found += [Eval(float(step), 0.0, step, 1.0, {"accuracy": 0.5}, 10, 0.1) for step in range(50, steps + 1, 50)]
    return sorted(found, key=lambda record: record.step)


def _rows(run: RunDir) -> list[dict[str, str]]:
    with run.metrics_csv.open() as file:
        return list(csv.DictReader(file))


def _recorder(run: RunDir) -> int | None:
    """Pid of the recorder that works."""
    for pid in processes_of(run.path):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"stationmaster_recorder" in command:
            return pid
    return None


def _same_figures(run: RunDir) -> None:
    """Stream, CSV, JSON lines and TensorBoard hold the same steps, each once."""
    records = [record for _, record in stream.merged(run)]
    train = [record.step for record in records if isinstance(record, Train)]
    evals = [record.step for record in records if isinstance(record, Eval)]
    rows = _rows(run)
    assert [int(row["step"]) for row in rows if row["train/loss"]] == train
    assert [int(row["step"]) for row in rows if row["eval/loss"]] == evals
    lines = [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == train
    board = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == train
    assert [event.step for event in board.Scalars("eval/loss")] == evals
    assert all(entry.logger.state == "ok" for entry in ledger.load(run).entries)
    assert codec.loads(ledger.Ledger, run.recorder.read_bytes()).entries
