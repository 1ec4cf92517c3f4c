"""Whatever stands in a file that somebody else may have written: an answer or a named error, soon; no other run harmed.

Driven through the server's own tools, most of them in this process, so that thousands of cases take seconds.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from damage import FACTOR, PLACES, damaged, remove, replaced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stationmaster_server import plan
from stationmaster_server.answer import facts_of
from stationmaster_server.app import Stationmaster, build_server
from stationmaster_server.roots import Roots
from stationmaster_trainer import manifest
from stationmaster_trainer.errors import StationmasterError

SECONDS = 40.0
"""Longest that all looks at one damage may take on a busy machine."""
MEMORY = 700 << 20
"""Bytes that all cases together may add to this process."""
RUN_FILES = (
    *("status.json", "spec.json", "checklist.json", "config.yaml", "recorder.json", "seal.json", "metrics.csv"),
    *("metrics.jsonl", "report.md", "report.svg", "supervisor.lock", "recorder.lock"),
    *("attempts/001/launch.json", "attempts/001/final.json", "attempts/001/stream.jsonl", "attempts/001/alerts.jsonl"),
    *(
        "attempts/001/environment.json",
        "attempts/001/worker.log",
        "attempts/001/stacks.txt",
        "attempts/001/supervisor.log",
    ),
    *(
        "evaluations/001.json",
        "evaluations/001.request.json",
        "attempts/001/control",
        "attempts/001",
        "attempts",
        "lib",
    ),
)
FILES = tuple(name for name in RUN_FILES if "." in name.rpartition("/")[2])


class Target(NamedTuple):
    """A project with two copies of a finished run, and its tools."""

    path: Path
    server: Stationmaster
    kept: Path
    chat: Any

    def call(self, tool: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """One tool's answer; the test fails for a defect, a traceback or an answer without words."""
        if tool == "start_run":  # asks what its client can do
            reply = self.chat(tool, **arguments)
            text, facts = reply.text, reply.facts
        else:
            result: Any = anyio.run(self.server.call_tool, tool, {"project_dir": str(self.path), **arguments})
            text, facts = "\n".join(part.text for part in result.content), facts_of(result)
        assert text.strip() and "defect" not in text and "Traceback" not in text, (tool, text)
        assert len(text) < 50_000
        return text, facts

    def restore(self, name: str) -> None:
        """The victim's file as it was."""
        path, kept = self.path / name, self.kept / name
        remove(path)
        if kept.is_dir():
            shutil.copytree(kept, path, symlinks=True)
        elif kept.exists():
            shutil.copy2(kept, path)


@pytest.fixture(scope="module")
def target(hall: Any) -> Iterator[Target]:
    """One real run, evaluated, then copied."""
    project = hall.make("fuzzed")
    chat = hall.connect(project)
    (project.path / "held.csv").write_bytes(
        b"\n".join(project.path.joinpath("digits.csv").read_bytes().split(b"\n")[:80])
    )
    digest = chat.confirmed(total_steps=60, num_threads=1, log_every=5, checkpoint_every=20).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    while chat("poll_status", run=run, wait_seconds=20).facts["state"] != "succeeded":
        pass
    chat("evaluate_run", run=run, test_data="held.csv")
    chat.accepted("summarize", run=run)
    runs = project.path / "runs"
    for name in ("victim", "other"):
        shutil.copytree(runs / run, runs / name)
        shutil.copytree(project.path / "checkpoints" / run, project.path / "checkpoints" / name)
        for path in (runs / name).glob("*.json"):
            path.write_text(path.read_text().replace(run, name))
        attempt = runs / name / "attempts" / "001"
        (attempt / "alerts.jsonl").touch()
        (attempt / "stacks.txt").touch()
        (runs / name / "evaluations").mkdir(exist_ok=True)
        for more in ("001.json", "001.request.json"):
            (runs / name / "evaluations" / more).touch()
    kept = hall.folder / "kept-project"
    shutil.copytree(project.path, kept, symlinks=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(project.home))  # where the key of the seals lies
        yield Target(project.path, build_server(Roots.of([str(project.path)])), kept, chat)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY, f"{grown >> 20} MiB"


def looks(target: Target) -> None:
    """Every tool that reads runs, at the victim; the other run is as it was."""
    began = time.monotonic()
    target.call("poll_status", run="victim")
    target.call("summarize", run="victim")
    text, facts = target.call("list_runs")
    found = {run["run"]: run for run in facts["runs"]}
    assert found["other"]["state"] == "succeeded" and "victim" in text, text
    assert time.monotonic() - began < SECONDS


def profile(count: int) -> settings:
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=count * FACTOR, deadline=None, suppress_health_check=checks, derandomize=FACTOR == 1)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("name", RUN_FILES)
def test_something_else_in_the_place_of_a_file_of_a_run(target: Target, name: str, kind: str) -> None:
    place = f"runs/victim/{name}"
    replaced(target.path / place, kind)
    try:
        looks(target)
    finally:
        target.restore(place)


@pytest.mark.parametrize("name", FILES)
def test_any_bytes_in_a_file_of_a_run(target: Target, name: str) -> None:
    place = f"runs/victim/{name}"
    data = (target.kept / place).read_bytes()

    @profile(12)
    @given(damaged(data))
    def check(changed: bytes) -> None:
        remove(target.path / place)
        (target.path / place).write_bytes(changed)
        looks(target)

    try:
        check()
    finally:
        target.restore(place)


def test_any_bytes_in_the_plan(target: Target) -> None:
    place = ".stationmaster/plan.json"
    data = (target.kept / place).read_bytes()

    @profile(100)
    @given(damaged(data), st.sampled_from(["choose_logging", "check_validation", "start_run"]))
    def check(changed: bytes, tool: str) -> None:
        (target.path / place).write_bytes(changed)
        began = time.monotonic()
        target.call(tool, **{"start_run": {"digest": "0" * 64}, "choose_logging": {"backends": ["file"]}}.get(tool, {}))
        assert time.monotonic() - began < SECONDS

    try:
        check()
    finally:
        for path in (target.path / ".stationmaster").glob("plan.damaged-*"):
            path.unlink()
        target.restore(place)


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("name", ["plan.json", "policy.yaml", "settings.yaml", "lock", "plan folder"])
def test_something_else_in_the_place_of_a_file_of_the_project(target: Target, name: str, kind: str) -> None:
    place = ".stationmaster" if name == "plan folder" else f".stationmaster/{name}"
    replaced(target.path / place, kind)
    try:
        began = time.monotonic()
        for tool, arguments in (("choose_logging", {"backends": ["file"]}), ("start_run", {"digest": "0" * 64})):
            target.call(tool, **arguments)
        assert time.monotonic() - began < 2 * SECONDS
    finally:
        target.restore(".stationmaster")


@pytest.mark.parametrize("name", ["manifest.json", "position.json"])
def test_any_bytes_in_a_checkpoint_never_verify_and_an_older_one_is_found(target: Target, name: str) -> None:
    folder = target.path / "checkpoints" / "victim"
    newest = manifest.newest_verified(folder)
    assert newest.path is not None
    place = f"checkpoints/victim/{newest.path.name}/{name}"
    data = (target.kept / place).read_bytes()

    @profile(60)
    @given(damaged(data))
    def check(changed: bytes) -> None:
        (target.path / place).write_bytes(changed)
        found = manifest.newest_verified(folder)
        same = changed == data or (name == "manifest.json" and _equal(changed, data))
        assert same or (found.path != newest.path and found.rejected), changed[:200]

    try:
        check()
    finally:
        target.restore(place)
    for kind in PLACES:
        replaced(target.path / place, kind)
        try:
            assert manifest.newest_verified(folder).path != newest.path
        finally:
            target.restore(place)


def _equal(one: bytes, other: bytes) -> bool:
    """Whether both say the same, for a manifest is sealed over its values."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


@profile(60)
@given(st.binary(max_size=400) | st.text(alphabet="ab:-*&!{}[]<>|'\"#%@,?\n \\x0", max_size=120).map(str.encode))
def test_any_text_as_policy_is_a_policy_or_a_named_error(data: bytes) -> None:
    from stationmaster_server import yamlfile

    try:
        assert isinstance(yamlfile.parse(data, "policy.yaml"), dict)
    except StationmasterError as error:
        assert "policy.yaml" in error.message and len(error.message) < 600


def test_the_plan_survives_what_it_writes(target: Target) -> None:
    with plan.locked(target.path):
        now = plan.load(target.path)
        assert now.proposal is not None and not now.notice
        assert plan.save(target.path, now).revision == now.revision + 1
