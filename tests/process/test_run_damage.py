"""Damaged files: named, skipped, the rest still read; nothing here may raise or hang."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from process_bench import Bench, eventually, until

from stationmaster_server import runs
from stationmaster_trainer import codec, stream
from stationmaster_trainer.contract import Finished, Launch, Phase, Train
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.states import FINAL

JUNK = [
    b"{not json",
    b"\x00" * 100,
    b"\xff\xfe\xfd",
    b"[1, 2]",
    b'{"kind": "train", "step": 3}',
    b'{"kind": "phase", "time": 1, "elapsed": 1, "phase": 7}',
    b"[" * 100_000,
    b"x" * 3_000_000,
]


@pytest.mark.fault("F14")
def test_every_kind_of_damage_in_a_stream_is_named_by_file_and_offset_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    good = [codec.line(Phase(1.0, 1.0, f"p{number}")) for number in range(len(JUNK) + 1)]
    data = good[0]
    places = []
    for junk, line in zip(JUNK, good[1:], strict=True):
        places.append(len(data))
        data += junk + b"\n" + line
    unknown = b'{"kind": "of a newer version"}\n'
    path.write_bytes(data + unknown + b'{"kind": "phase", "time": 1, "ela')
    damage: list[stream.Damage] = []
    phases = [record.phase for record in stream.records(path, damage=damage) if isinstance(record, Phase)]
    assert phases == [f"p{number}" for number in range(len(JUNK) + 1)]
    assert {place.path for place in damage} == {str(path)}
    assert set(places) <= {place.offset for place in damage}


@pytest.mark.fault("F14")
def test_a_torn_last_line_is_kept_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    line = codec.line(Phase(1.0, 1.0, "a"))
    for cut in range(len(line)):
        path.write_bytes(line + line[:cut])
        chunk = stream.read(path)
        assert ([end for end, _ in chunk.records], chunk.offset, chunk.damage) == ([len(line)], len(line), ())
        path.write_bytes(line + line)
        rest = stream.read(path, chunk.offset)
        assert [end for end, _ in rest.records] == [2 * len(line)]


def test_reading_a_long_stream_takes_it_in_bounded_pieces(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    line = codec.line(Phase(1.0, 1.0, "a" * 1000))
    path.write_bytes(line * 3000)
    pieces, offset = [], 0
    while True:
        chunk = stream.read(path, offset)
        pieces.append(len(chunk.records))
        offset = chunk.offset
        if not chunk.more:
            break
    assert sum(pieces) == 3000 and max(pieces) * len(line) <= stream.CHUNK


@pytest.mark.parametrize("kind", ["fifo", "folder"])
@pytest.mark.fault("F14")
def test_something_else_in_the_place_of_a_stream_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "stream.jsonl"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with pytest.raises(FormatError, match=r"stream\.jsonl"):
        stream.read(path)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x80
    path.write_bytes(bytes(data))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """One finished run, copied for each damage."""
    project = tmp_path_factory.mktemp("damage")
    run = Bench(project).start(total_steps=100)
    until(run, "succeeded")
    eventually(lambda: not runs.view(run).alive)
    return run


@pytest.mark.parametrize("damage", [_truncated, _flipped, _fifo, _folder])
@pytest.mark.parametrize("name", ["status.json", "attempts/001/stream.jsonl", "spec.json", "recorder.json"])
@pytest.mark.fault("F14")
def test_a_damaged_run_is_listed_with_what_is_left_of_it(
    ended: RunDir, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(ended.path, tmp_path / "runs" / "toy")
    shutil.copytree(ended.path, tmp_path / "runs" / "other")
    damage(tmp_path / "runs" / "toy" / name)
    found = {view.name: view for view in runs.list_runs(tmp_path)}
    assert found["other"].state == "succeeded" and found["other"].problems == ()
    assert found["toy"].state == "succeeded", found["toy"]
    assert found["toy"].status.step == 100
    if name == "status.json" and damage is not _flipped:
        assert "status.json" in found["toy"].problems[0]


@pytest.mark.fault("F8")
def test_without_status_and_final_the_workers_own_word_decides(ended: RunDir, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(ended.path, tmp_path / "runs" / "toy")))
    run.status.unlink()
    run.attempt(1).final.unlink()
    seen = runs.view(run)
    assert (seen.state, seen.status.cause, seen.status.step) == ("succeeded", "completed", 100)
    assert "supervisor died" in seen.status.message
    lines = [line for line in run.attempt(1).stream.read_bytes().splitlines(keepends=True) if b"finished" not in line]
    run.attempt(1).stream.write_bytes(b"".join(lines))
    assert runs.view(run).state == "lost"


@pytest.mark.fault("F14")
def test_a_folder_of_junk_is_listed_and_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs" / "junk" / "attempts" / "007").mkdir(parents=True)
    (tmp_path / "runs" / "junk" / "attempts" / "007" / "worker.log").mkdir()
    (tmp_path / "runs" / "a file").write_text("")
    assert [(view.name, view.state) for view in runs.list_runs(tmp_path)] == [("junk", "lost")]


@pytest.mark.fault("F14")
def test_a_status_of_a_newer_version_is_refused_by_name(ended: RunDir, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(ended.path, tmp_path / "runs" / "toy")))
    run.status.write_text(run.status.read_text().replace('"format": 1', '"format": 99'))
    assert "format 99" in runs.view(run).problems[0]


@pytest.mark.fault("F14")
def test_junk_in_the_stream_of_a_live_run_harms_neither_judge_nor_recorder(bench: Bench) -> None:
    run = bench.start(total_steps=400)
    until(run, lambda status: status.loss is not None)
    with run.attempt(1).stream.open("ab") as file:
        file.write(b"{broken\n" + b"\x00\x01\n")
    status = until(run, lambda status: status.state in FINAL)
    assert (status.state, status.step) == ("succeeded", 400)
    log = run.attempt(1).supervisor_log.read_text()
    assert "stream.jsonl, byte" in log and "not readable JSON" in log
    assert run.metrics_csv.read_text().count("\n") == 1 + 40 + 8


def test_superseded_records_are_left_out_over_any_number_of_attempts(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for number, (resume, last) in enumerate([(0, 100), (80, 120), (60, 90)], start=1):
        attempt = run.attempt(number)
        attempt.path.mkdir(parents=True)
        attempt.launch.write_text(codec.dumps(Launch(number, (), "", {}, (), resume_step=resume)))
        records = [Phase(0.0, 0.0, "train", step) for step in range(resume + 10, last + 1, 10)]
        attempt.stream.write_bytes(b"".join(codec.line(record) for record in records))
    assert stream.limits(run) == {1: 60, 2: 60, 3: None}
    steps = [(number, record.step) for number, record in stream.merged(run) if isinstance(record, Phase)]
    assert steps == [(1, step) for step in range(10, 61, 10)] + [(3, step) for step in (70, 80, 90)]


@pytest.mark.fault("F9")
def test_a_full_disk_is_disk_full_with_a_readable_status(tmp_path: Path) -> None:
    """A small file system of its own; needs the right to mount one."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        run = Bench(place).create(total_steps=100_000, sleep=0.001)
        runs.start_attempt(run, sys.executable)
        until(run, lambda status: status.checkpoint is not None)
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        status = until(run, lambda status: status.state in FINAL, 60.0)
        assert (status.state, status.cause) == ("failed", "disk_full")
        assert "Free space" in status.way_out and status.checkpoint is not None
        assert runs.view(run).problems == ()
        eventually(lambda: not runs.view(run).alive)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_the_end_of_a_stream_is_read_without_its_beginning(ended: RunDir) -> None:
    records = stream.last_records(ended.attempt(1).stream, size=2000)
    assert isinstance(records[-1], Finished) and 2 < len(records) < 15
    assert all(record.step > 50 for record in records if isinstance(record, Train))
