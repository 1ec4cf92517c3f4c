"""Power loss and torn files: every small file of a run cut at any length; the state stays readable and true.

Each reader is tried at every length. The state as a whole, which takes milliseconds, is derived at every length by
`make soak`, and at some by `make test`: the ends, and evenly between them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from process_bench import Bench, eventually, pid_of, until

from stationmaster_server import decisions, plan, runs, seal
from stationmaster_server.views import read_spec
from stationmaster_trainer import alertbook, codec, control, ledger, manifest, orders
from stationmaster_trainer.contract import Status
from stationmaster_trainer.errors import CheckpointError, FormatError
from stationmaster_trainer.rundir import RunDir

Cuts = Callable[[int], list[int]]
STEPS = 60
SOME = 12
"""Lengths between the ends that the quick version takes."""


@pytest.fixture(params=["some lengths", pytest.param("every length", marks=pytest.mark.soak)])
def cuts(request: pytest.FixtureRequest) -> Cuts:
    """Lengths below `whole` at which a file is cut, the longest first."""

    def lengths(whole: int) -> list[int]:
        if request.param == "every length":
            return list(range(whole - 1, -1, -1))
        ends = {0, 1, whole // 2, whole - 2, whole - 1}
        return sorted({*(at for at in ends if 0 <= at < whole), *range(0, whole, max(1, whole // SOME))}, reverse=True)

    return lengths


@pytest.fixture(scope="module")
def runs_of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDir]:
    """A finished run, and one whose supervisor and worker were killed."""
    bench = Bench(tmp_path_factory.mktemp("torn"))
    found = {"succeeded": bench.start("done", total_steps=STEPS, checkpoint_every=20, log_every=20)}
    found["lost"] = bench.start("killed", total_steps=100_000)
    status = until(found["lost"], lambda status: status.checkpoint is not None)
    for who in ("supervisor", "worker"):
        os.kill(pid_of(status, who), signal.SIGKILL)
    for state, run in found.items():
        until(run, state)
        eventually(lambda run=run: not runs.view(run).alive)
    return found


@pytest.mark.timeout(900)
@pytest.mark.fault("F8", "F14")
@pytest.mark.parametrize("state", ["succeeded", "lost"])
@pytest.mark.parametrize(
    "name",
    ["status.json", "spec.json", "recorder.json", "attempts/001/final.json", "attempts/001/launch.json"],
)
def test_a_small_file_cut_at_any_length_never_changes_what_the_run_is(
    runs_of_each_kind: dict[str, RunDir], cuts: Cuts, tmp_path: Path, state: str, name: str
) -> None:
    run = RunDir(Path(shutil.copytree(runs_of_each_kind[state].path, tmp_path / "runs" / "toy")))
    path = run.path / name
    if not path.exists():  # a run whose supervisor was killed has no final.json
        path.write_bytes((runs_of_each_kind["succeeded"].path / name).read_bytes().replace(b'"succeeded"', b'"failed"'))
    whole = path.read_bytes()
    for length in cuts(len(whole)):
        os.truncate(path, length)
        seen = runs.view(run)
        assert seen.state == state or (name.endswith("final.json") and seen.state in ("failed", state)), length
        assert name != "status.json" or seen.problems, f"{length} bytes were read without a word"


@pytest.mark.timeout(900)
@pytest.mark.fault("F8", "F14")
def test_a_stream_cut_at_any_length_is_no_success_before_its_last_byte(
    runs_of_each_kind: dict[str, RunDir], cuts: Cuts, tmp_path: Path
) -> None:
    """What a power loss leaves when only the stream was on the disk: status and final.json are gone."""
    run = RunDir(Path(shutil.copytree(runs_of_each_kind["succeeded"].path, tmp_path / "runs" / "toy")))
    run.status.unlink()
    run.attempt(1).final.unlink()
    whole = run.attempt(1).stream.read_bytes()
    assert runs.view(run).state == "succeeded"
    steps = []
    for length in cuts(len(whole)):
        os.truncate(run.attempt(1).stream, length)
        seen = runs.view(run)
        assert seen.state == "lost", length
        steps.append(seen.status.step)
    assert steps == sorted(steps, reverse=True) and steps[0] == STEPS and steps[-1] <= 1


@pytest.mark.fault("F2", "F8", "F14")
def test_a_checkpoint_cut_at_any_length_is_refused_and_the_one_before_is_used(cuts: Cuts, tmp_path: Path) -> None:
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(os.urandom(200))
        manifest.write(folder, step)
    assert manifest.newest_verified(tmp_path).step == 20
    for path in sorted((tmp_path / "checkpoint-20").iterdir()):
        whole = path.read_bytes()
        for length in cuts(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=path.name):
                manifest.verify(tmp_path / "checkpoint-20")
            assert length % 37 or manifest.newest_verified(tmp_path).step == 10
        path.write_bytes(whole)


@pytest.mark.fault("F8")
def test_what_a_power_loss_keeps_of_a_replaced_file_is_the_old_or_the_new_one(
    runs_of_each_kind: dict[str, RunDir], cuts: Cuts, tmp_path: Path
) -> None:
    """Not yet renamed: the temporary file beside it, at any length, is nobody's status."""
    run = RunDir(Path(shutil.copytree(runs_of_each_kind["lost"].path, tmp_path / "runs" / "toy")))
    lie = json.dumps({**json.loads(run.status.read_bytes()), "state": "succeeded"}).encode()
    for length in (len(lie), *cuts(len(lie))):
        (run.path / ".status.json.tmp").write_bytes(lie[:length])
        assert runs.view(run).state == "lost"


def _cut(path: Path, read: Callable[[], object]) -> None:
    """Cuts the file at every length; `read` may raise FormatError, and must not take a part for the whole."""
    whole = path.read_bytes()
    said, missed = read(), []
    for length in range(len(whole) - 1, -1, -1):
        os.truncate(path, length)
        with contextlib.suppress(FormatError):
            if read() == said:
                missed.append(length)
    assert not missed, f"{path.name} cut at {missed[:5]} was read as if it were whole"
    path.write_bytes(whole)
    assert read() == said


@pytest.mark.fault("F8", "F14")
@pytest.mark.parametrize("name", ["status", "final", "spec", "launch", "recorder", "checklist", "seal", "alerts",
                                  "control", "manifest", "plan"])  # fmt: skip
def test_no_reader_takes_a_file_that_is_cut_at_any_length_for_a_whole_one(
    runs_of_each_kind: dict[str, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The files that decide: what a run is, what was confirmed, what may be continued, who asked for a stop."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = RunDir(Path(shutil.copytree(runs_of_each_kind["succeeded"].path, tmp_path / "runs" / "toy")))
    attempt = run.attempt(1)
    record = alertbook.AlertBook(attempt.alerts, read_spec(run), print)
    record.open("stall", "critical", 1, "x", meaning="y", advice="z")
    attempt.alerts.write_bytes(attempt.alerts.read_bytes().rstrip())  # a line that lacks nothing but its end is whole
    shutil.rmtree(run.lib)
    seal.seal_run(run, run.name)
    saved = tmp_path / "checkpoint-10"
    saved.mkdir()
    (saved / "weights").write_bytes(b"12")
    manifest.write(saved, 10)
    control.place(attempt, "stop", {"verb": "stop", "by": "person"})
    asked = attempt.control / control.named(attempt, "stop")[0]
    decided = replace(plan.Plan("0badcafe"), run_name="toy")
    with plan.locked(tmp_path):
        plan.save(tmp_path, decided)

    def loaded(kind: type[object], path: Path) -> Callable[[], object]:
        return lambda: codec.loads(kind, path.read_bytes(), path.name)

    def verified() -> object:
        try:
            return manifest.verify(saved)
        except CheckpointError:
            return None

    def planned() -> object:
        found = plan.load(tmp_path)
        for aside in (tmp_path / plan.FOLDER).glob("plan.damaged-*"):
            aside.rename(tmp_path / plan.FOLDER / "plan.json")
        return (found.id, found.run_name, found.notice)

    readers: dict[str, tuple[Path, Callable[[], object]]] = {
        "status": (run.status, loaded(Status, run.status)),
        "final": (attempt.final, loaded(Status, attempt.final)),
        "spec": (run.spec, lambda: read_spec(run)),
        "launch": (attempt.launch, lambda: orders.read(attempt)),
        "recorder": (run.recorder, lambda: ledger.load(run)),
        "checklist": (run.checklist, lambda: decisions.read(run.checklist, problems := []) or not problems),
        "seal": (run.seal, lambda: seal._sealed(run)),
        "alerts": (attempt.alerts, lambda: alertbook.earlier_episodes(run, 2)),
        "control": (asked, lambda: control.asked_by(attempt)),
        "manifest": (saved / manifest.NAME, verified),
        "plan": (tmp_path / plan.FOLDER / "plan.json", planned),
    }
    _cut(*readers[name])


@pytest.mark.fault("F8", "F14")
def test_a_stream_is_no_success_however_much_of_its_last_line_is_missing(
    runs_of_each_kind: dict[str, RunDir], tmp_path: Path
) -> None:
    run = RunDir(Path(shutil.copytree(runs_of_each_kind["succeeded"].path, tmp_path / "runs" / "toy")))
    run.status.unlink()
    run.attempt(1).final.unlink()
    whole = run.attempt(1).stream.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    assert runs.view(run).state == "succeeded" and b'"finished"' in whole[-last:]
    for missing in range(1, last + 1):
        os.truncate(run.attempt(1).stream, len(whole) - missing)
        seen = runs.view(run)
        assert (seen.state, seen.status.step) == ("lost", STEPS), missing
