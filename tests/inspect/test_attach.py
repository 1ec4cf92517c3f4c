"""A training of somebody else: its log is found, who writes it is told, and it is judged while it grows, read-only."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stationmaster_server import inspection, inspection_facts, live, livewords, logs, writers
from stationmaster_server.diagnose import diagnose
from stationmaster_server.project import inspect

Write = Callable[[dict[str, "str | bytes"]], Path]
WRITER = """
import math, sys, time
with open(sys.argv[1], "a") as log:
    for step in range(1, int(sys.argv[2]) + 1):
        log.write(f"step {step} loss {2 * math.exp(-step / 60) + 0.001 * (step % 7):.4f}\\n")
        log.flush()
        time.sleep(0.02)
    sys.stdin.read()
"""


def loss(step: int) -> float:
    return 2 * math.exp(-step / 300) + 0.01 * (step % 7)


def csv_row(step: int) -> str:
    return f"{step},{loss(step):.5f},{f'{loss(step) + 0.1:.4f}' if step % 50 == 0 else ''}\n"


def json_row(step: int) -> str:
    row: dict[str, Any] = {"step": step, "loss": loss(step)}
    return json.dumps(row | ({"eval_loss": loss(step) + 0.1} if step % 50 == 0 else {})) + "\n"


def text_row(step: int) -> str:
    return f"iter {step}: loss {loss(step):.4f}, time 12.3ms\n" + (f"val loss {loss(step):.3f}\n" * (step % 50 == 0))


FORMS = {"log.csv": ("step,loss,val_loss\n", csv_row), "log.jsonl": ("", json_row), "log.txt": ("", text_row)}


def answered(seen: live.Live) -> dict[str, Any]:
    return seen.look().answer()


@pytest.mark.parametrize("name", FORMS)
def test_what_was_added_is_all_that_is_read_and_the_answer_is_that_of_the_whole(tmp_path: Path, name: str) -> None:
    head, row = FORMS[name]
    path = tmp_path / name
    path.write_text(head + "".join(map(row, range(1, 801))))
    seen = live.Live(path)
    assert answered(seen) == diagnose(path)
    before = seen.reads
    assert answered(seen) == diagnose(path) and seen.reads == before
    with path.open("a") as log:
        for first in range(801, 1201, 80):
            log.write("".join(map(row, range(first, first + 80))))
            log.flush()
            assert answered(seen) == diagnose(path)
    assert seen.reads == before + 400 + 8  # its validations are records of their own


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 7_000), max_size=6), name=st.sampled_from(sorted(FORMS)))
def test_however_a_log_grows_it_is_judged_as_if_read_at_once(tmp_path: Path, cuts: list[int], name: str) -> None:
    head, row = FORMS[name]
    whole = (head + "".join(map(row, range(1, 500)))).encode()
    path = tmp_path / name
    path.write_bytes(whole[:200])
    seen = live.Live(path)
    for cut in [*sorted(cuts), len(whole)]:
        path.write_bytes(whole[: max(200, cut)])
        seen.look()
    assert answered(seen) == diagnose(path)


def test_a_line_that_is_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,val_loss\n" + "".join(map(csv_row, range(1, 500))) + "500,0.12")
    seen = live.Live(path)
    assert seen.look().newest.step == 499  # type: ignore[union-attr]
    with path.open("a") as log:
        log.write("345,\n")
    assert seen.look().newest.loss == 0.12345  # type: ignore[union-attr]


def test_a_log_that_begins_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,val_loss\n" + "".join(map(csv_row, range(1, 600))))
    seen = live.Live(path)
    seen.look()
    path.write_text("step,loss,val_loss\n" + "".join(map(csv_row, range(1, 20))))
    assert seen.look().account.last_step == 19


def test_the_newest_checkpoint_of_a_trainer_is_taken_when_it_comes(tmp_path: Path) -> None:
    def saved(step: int) -> None:
        rows = [{"step": at, "loss": loss(at), "learning_rate": 1e-4} for at in range(10, step + 1, 10)]
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": rows, "max_steps": 1000}))

    saved(100)
    seen = live.Live(tmp_path)
    assert seen.look().account.last_step == 100
    saved(200)
    seen.look()
    pulse = seen.pulse()
    assert (pulse.step, pulse.total_steps) == (200, 1000)


@pytest.fixture
def training(write: Write) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A process that has written 300 lines of a log and holds it open; and a file that another one only reads."""
    root = write({"train.py": WRITER, "out/run.log": "", "other.log": "step 1 loss 2\n"})
    words = [sys.executable, "train.py", "out/run.log", "300"]
    made = subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, text=True)
    try:
        yield root, made
    finally:
        made.kill()
        made.communicate()


def wait_for(path: Path, lines: int) -> None:
    deadline = time.monotonic() + 120
    while path.read_text().count("\n") < lines:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_a_training_that_goes_on_is_told_with_its_process_and_followed_to_its_end(
    training: tuple[Path, subprocess.Popen[str]],
) -> None:
    root, made = training
    log = root / "out" / "run.log"
    wait_for(log, 300)
    with (root / "other.log").open() as reading:
        found = writers.find([log, root / "other.log", Path(reading.name)])
    assert list(found) == [log] and found[log].sure and found[log].pid == made.pid
    assert "train.py out/run.log 300" in found[log].command and found[log].cpu is not None

    facts = inspect(root, setting=sys.executable)
    told = {one.path: one for one in facts.logs}
    assert told["out/run.log"].running and told["out/run.log"].writer.pid == made.pid  # type: ignore[union-attr]
    assert (told["out/run.log"].step, told["out/run.log"].verdict) == (300, "converged")
    text = inspection.text(facts)
    assert "out/run.log (text log): being written, last line" in text and f"by pid {made.pid} (python" in text
    assert "step 300" in text and 'more: diagnose log="' in text
    assert inspection_facts.plain(facts)["logs"][0]["step"] in (1, 300)

    before = snapshot(root)
    words = [sys.executable, "-m", "stationmaster_server", "attach", "out/run.log"]
    attached = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True)
    assert attached.stdout is not None
    assert "run.log: running 300/?, loss 0." in attached.stdout.readline()
    assert made.poll() is None and snapshot(root) == before
    assert made.stdin is not None
    made.stdin.close()
    said, _ = attached.communicate(timeout=120)
    assert attached.returncode == 0 and made.wait(60) == 0
    assert f"pid {made.pid} no longer writes it." in said and "Verdict: converged" in said
    assert snapshot(root) == before


def test_a_log_that_is_over_is_told_as_that_and_attaching_ends_at_once(write: Write) -> None:
    root = write({"a.log": "".join(map(text_row, range(1, 300)))})
    os.utime(root / "a.log", (time.time() - 7200, time.time() - 7200))
    seen = live.Live(root / "a.log")
    line = livewords.line(seen.pulse(), seen.look(), time.time())
    assert line.startswith("Not being written, last line 2h ago: step ")
    words = [sys.executable, "-m", "stationmaster_server", "attach", str(root)]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0 and "Not being written" in said.stdout and "Verdict: " in said.stdout


def test_logs_are_listed_newest_first_and_data_and_own_runs_are_none(write: Write) -> None:
    files: dict[str, str | bytes] = {
        "old/metrics.csv": "epoch,loss,val_loss\n" + "".join(f"{at},{1 / at},{1 / at}\n" for at in range(1, 20)),
        "new/log.jsonl": "".join(map(json_row, range(1, 50))),
        "data/train.csv": "x,y\n1,2\n" * 10,
        "runs/mine/attempts/001/stream.jsonl": "",
        "runs/mine/attempts/001/metrics.csv": "step,loss\n1,2\n",
        "README.txt": "the loss was 3",
    }
    root = write(files)
    os.utime(root / "old" / "metrics.csv", (1e9, 1e9))
    found, note = logs.find(root)
    assert [log.path for log in found] == ["new/log.jsonl", "old/metrics.csv"] and note == ""
    assert not found[1].running and found[1].verdict and found[0].eval_loss is None
    facts = inspect(root, setting=sys.executable)
    assert [item.path for item in facts.data] == ["data/train.csv"]


def test_deep_folders_links_in_circles_and_many_files_hide_no_log(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for at in range(3_000):
        os.close(os.open(tmp_path / "many" / f"{at}.csv", os.O_CREAT | os.O_WRONLY))
    deep = tmp_path
    for _ in range(30):
        deep = deep / "x"
        deep.mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "x" / "run.log").write_text("".join(map(text_row, range(1, 50))))
    assert [log.path for log in logs.find(tmp_path)[0]] == ["x/run.log"]


def test_a_search_that_takes_too_long_is_cut_and_says_so(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({f"{at}.jsonl": json_row(1) for at in range(20)})
    monkeypatch.setattr(logs, "MAX_SECONDS", 0.0)
    found, note = logs.find(root)
    assert len(found) == 1 and "there may be more" in note


def test_the_tool_says_whether_a_log_is_being_written_and_reads_it_once(desk: Any, office: Any) -> None:
    path = Path(office.path) / "foreign.log"
    path.write_text("".join(map(text_row, range(1, 500))))
    first = desk.accepted("diagnose", log="foreign.log")
    assert "Just written, last line" in first.text and first.facts["live"]["step"] == 499
    os.utime(path, (1e9, 1e9))
    assert "Not being written" in desk.accepted("diagnose", log="foreign.log").text
