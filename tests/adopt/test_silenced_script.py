"""`python -I` keeps the probe out: the run is looked at through the logs that it writes, else through its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adopted_runs import ended, eventually, log, rows, status
from test_wrapped_command import WAIVED, started

pytestmark = pytest.mark.timeout(400)
LOOP = """
import csv, json, os, sys, time

kind, steps, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def figures():
    step = 0
    while step != steps:
        step += 1
        time.sleep(pause)
        yield step, 2.0 / step, 0.1, 2.5 / step if step % 4 == 0 else None


if kind == "events":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter("logs/first", flush_secs=1)
    for step, loss, rate, val in figures():
        for name, value in {"train/loss": loss, "lr": rate, "eval/loss": val}.items():
            if value is not None:
                summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
                writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
    print("loss 9.0 at step 1")
elif kind == "csv":
    with open("metrics.csv", "a", newline="") as file:
        table = csv.writer(file)
        for step, loss, rate, val in figures():
            table.writerow([step, loss, rate, "" if val is None else val])
elif kind == "jsonl":
    with open("out/log.jsonl", "w") as file:
        for step, loss, rate, val in figures():
            row = {"step": step, "loss": loss, "lr": rate} | ({} if val is None else {"val_loss": val})
            file.write(json.dumps(row) + chr(10))
            file.flush()
elif kind == "state":
    history = []
    for step, loss, rate, val in figures():
        history.append({"step": step, "loss": loss, "learning_rate": rate, "epoch": step / 4})
        if val is not None:
            history.append({"step": step, "eval_loss": val, "epoch": step / 4})
    os.makedirs("model/checkpoint-12")
    with open("model/checkpoint-12/trainer_state.json", "w") as file:
        json.dump({"global_step": steps, "max_steps": steps, "log_history": history}, file)
elif kind == "output":
    for step, loss, rate, val in figures():
        print(f"step {step} loss {loss:.6f} lr {rate}" + ("" if val is None else f" val_loss {val:.6f}"), flush=True)
else:
    print("nothing that could be read")
    sys.exit(int(kind))
"""
LOGS = {
    "events": "logs/first/events.out",
    "csv": "metrics.csv",
    "jsonl": "out/log.jsonl",
    "state": "trainer_state.json",
}
TRAIN = [(step, pytest.approx(2.0 / step, rel=1e-5)) for step in range(1, 13)]
EVALS = [(step, pytest.approx(2.5 / step, rel=1e-5)) for step in (4, 8, 12)]


@pytest.fixture(scope="module")
def silenced(desk: Any, hall: Any) -> tuple[Any, Any, dict[str, Path]]:
    """One run for each kind of log, all over: client, project, kind → run."""
    project = hall.make("silenced", model=None)
    project.write("loop.py", LOOP)
    project.write("out/about.txt", "logs go here")
    project.write("metrics.csv", "step,loss,lr,val_loss\n1,77.0,0.1,\n2,76.0,0.1,70.0\n")  # of an earlier training
    chat, runs = None, {}
    for kind in (*LOGS, "output", "3"):
        command = ["python", "-I", "loop.py", kind, "12", "0"]
        if chat is None:
            chat, runs[kind] = started(desk, project, WAIVED, command=command)
        else:
            digest = chat.accepted("propose_config", changes={"command": command}).facts["digest"]
            runs[kind] = project.path / "runs" / chat.accepted("start_run", digest=digest).facts["run"]
        ended(runs[kind])
    return chat, project, runs


@pytest.mark.parametrize("kind", [*LOGS, "output"])
def test_each_kind_of_log_gives_its_rows_once_and_in_order(
    silenced: tuple[Any, Any, dict[str, Path]], kind: str
) -> None:
    found = rows(silenced[2][kind])
    assert [(int(row["step"]), float(row["train/loss"])) for row in found if row["train/loss"]] == TRAIN
    assert [(int(row["step"]), float(row["eval/loss"])) for row in found if row["eval/loss"]] == EVALS
    assert [float(row["train/learning_rate"]) for row in found if row["train/loss"]] == pytest.approx([0.1] * 12)


@pytest.mark.parametrize("kind", [*LOGS, "output"])
def test_the_source_is_named_and_what_it_means_is_said(silenced: tuple[Any, Any, dict[str, Path]], kind: str) -> None:
    chat, _, runs = silenced
    sight = status(runs[kind])["sight"]
    assert sight.startswith("output (worker.log)" if kind == "output" else "files (") and LOGS.get(kind, "") in sight
    assert "Not seen: gradient norm" in sight and "resume_run: not available" in sight
    assert status(runs[kind])["state"] == "succeeded" and "12 optimizer steps" in status(runs[kind])["message"]
    assert "Training Complete" in chat.accepted("summarize", run=runs[kind].name).text


def test_a_run_without_figures_has_a_true_end_and_its_last_words(silenced: tuple[Any, Any, dict[str, Path]]) -> None:
    found = status(silenced[2]["3"])
    assert (found["state"], found["cause"], found["step"]) == ("failed", "exited_early", 0)
    assert "exit code 3" in found["message"] and "nothing that could be read" in found["message"]
    assert found["sight"].startswith("output (worker.log): its last lines and its end")


def test_a_silent_run_is_followed_while_it_goes_on_and_stopped(
    silenced: tuple[Any, Any, dict[str, Path]],
) -> None:
    chat, project, _ = silenced
    command = ["python", "-I", "loop.py", "output", "-1", "0.2"]
    digest = chat.accepted("propose_config", changes={"command": command}).facts["digest"]
    run = project.path / "runs" / chat.accepted("start_run", digest=digest).facts["run"]
    seen = eventually(lambda: found if (found := status(run))["step"] > 3 else None)
    assert seen["state"] == "running" and seen["sight"].startswith("output (worker.log)")
    eventually(lambda: status(run)["step"] > seen["step"])
    chat.accepted("stop_run", run=run.name, wait_seconds=45)
    assert ended(run)["state"] == "stopped"
    steps = [int(row["step"]) for row in rows(run) if row["train/loss"]]
    assert steps == sorted(set(steps)) and f"step {steps[-1]} " in log(run)
