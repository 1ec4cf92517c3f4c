"""A smoke test through the tool: its answer is part of what is confirmed, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stationmaster_trainer import lease

pytestmark = pytest.mark.timeout(900)
SETTINGS = {"epochs": 3, "num_threads": 1}


def tried(chat: Any, kind: str) -> Any:
    """The answer, asked for until it is there, as the tool says."""
    reply = chat.accepted("propose_config", preflight=kind)
    while reply.text.startswith("Still "):
        reply = chat.accepted("propose_config", preflight=kind)
    return reply


@contextmanager
def policy(project: Any, text: str) -> Iterator[None]:
    path = project.write(".stationmaster/policy.yaml", text)
    yield
    path.unlink()


@pytest.fixture(scope="module")
def smoked(desk: Any, office: Any) -> Any:
    """The project after its smoke test: what was shown before it and after it."""
    before = desk.confirmed(**SETTINGS)
    return before, tried(desk, "smoke")


def test_without_one_the_proposal_recommends_it_in_one_line(smoked: Any) -> None:
    before, _ = smoked
    (line,) = [line for line in before.text.splitlines() if line.startswith("Smoke test")]
    assert line.startswith("Smoke test: not done. Recommended: propose_config with preflight")


def test_a_sound_project_is_measured_and_nothing_is_found(smoked: Any) -> None:
    _, after = smoked
    (line,) = [line for line in after.text.splitlines() if line.startswith("Smoke test")]
    assert re.search(r"20 steps on cpu\): [\d.,]+ (ms|s) a step, about \w+ in all", line)
    assert re.search(r"peak memory [\d.]+ MB of [\d.]+ GB: fits; checkpoint [\d.]+ kB, [\d.]+ kB of disk for 4", line)
    assert "saved, reloaded, resume exact. Nothing odd was found." in line
    facts = after.facts["smoke_test"]
    assert facts["steps"] == 20 and facts["resumed_steps"] == 2 and facts["findings"] == []
    assert facts["eval_samples"] == 359 and 0 < facts["overfit"][1] < facts["overfit"][0]


def test_it_changes_the_digest_and_only_the_new_one_can_start(smoked: Any, desk: Any) -> None:
    before, after = smoked
    assert before.facts["digest"] != after.facts["digest"]
    assert "the smoke test changed since it was shown" in desk.refused("start_run", digest=before.facts["digest"])


def test_asked_again_it_is_not_done_again(smoked: Any, desk: Any) -> None:
    _, after = smoked
    assert tried(desk, "smoke").facts["digest"] == after.facts["digest"]


def test_a_change_voids_it_and_says_what_changed(smoked: Any, desk: Any) -> None:
    _, after = smoked
    other = desk.accepted("propose_config", changes={"learning_rate": 0.002})
    assert re.search(r"Smoke test: the one of \d\d:\d\d no longer holds, learning_rate changed since", other.text)
    assert other.facts["smoke_test"] is None
    back = desk.accepted("propose_config", changes={"learning_rate": None})
    assert back.facts["digest"] == after.facts["digest"]


def test_a_change_of_the_model_file_voids_it_too(smoked: Any, desk: Any, office: Any) -> None:
    source = (office.path / "model.py").read_text()
    office.write("model.py", source + "\n# another word\n")
    assert "no longer holds, the model file changed since" in desk.accepted("propose_config").text
    office.write("model.py", source)
    assert "resume exact" in desk.accepted("propose_config").text


def test_what_changes_nothing_about_a_step_does_not_void_it(smoked: Any, desk: Any) -> None:
    other = desk.accepted("propose_config", changes={"keep_checkpoints": 8, "max_hours": 1})
    assert "of disk for 10" in other.text and "resume exact" in other.text
    desk.accepted("propose_config", changes={"keep_checkpoints": None, "max_hours": None})


def test_nothing_of_it_is_left(smoked: Any, office: Any) -> None:
    names = {path.relative_to(office.path).as_posix() for path in office.path.rglob("*")}
    assert not [name for name in names if name.endswith(".work") or "checkpoint" in name or name.startswith("runs")]
    assert not lease.claims("cpu") or all(office.path.as_posix() != one.claim.project for one in lease.claims("cpu"))


def test_a_policy_may_demand_it(smoked: Any, desk: Any, hall: Any) -> None:
    other = hall.make("strict")
    chat = desk.on(other)
    shown = chat.confirmed(**SETTINGS)
    with policy(other, "require_preflight: true\n"):
        said = chat.refused("start_run", digest=shown.facts["digest"])
    assert ".stationmaster/policy.yaml demands a smoke test before a start" in said
    assert 'propose_config with preflight "smoke"' in said
    with policy(other, "require_preflight: sometimes\n"):
        assert "require_preflight is 'sometimes', allowed: true or false" in chat.refused(
            "start_run", digest=shown.facts["digest"]
        )


def test_it_stands_in_the_runs_checklist_and_report(smoked: Any, desk: Any, office: Any) -> None:
    with policy(office, "require_preflight: true\n"):
        shown = desk.accepted("propose_config")
        started = desk.accepted("start_run", digest=shown.facts["digest"])
    run = started.facts["run"]
    gates = json.loads((office.path / "runs" / run / "checklist.json").read_text())["gates"]
    (evidence,) = [gate["evidence"] for gate in gates if gate["gate"] == "configuration"]
    assert evidence["smoke_test"]["facts"]["steps"] == 20 and "smoke test" in evidence["parts"]
    desk("poll_status", wait_seconds=45)
    report = desk.accepted("summarize").text
    assert re.search(r"Smoke test before the start: 20 steps, .* a step, peak memory .* MB; nothing odd", report)
    assert "Smoke test" in (office.path / "runs" / run / "report.md").read_text()


def test_before_the_gates_there_is_nothing_to_try(desk: Any, hall: Any) -> None:
    chat = desk.on(hall.make("open"))
    assert "I need logging configured before training." in chat.refused("propose_config", preflight="smoke")


def test_the_command_says_the_same(smoked: Any, office: Any) -> None:
    command = [sys.executable, "-m", "stationmaster_server", "preflight", "--project", str(office.path)]
    env = {**office.environment, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "saved, reloaded, resume exact. Nothing odd was found." in done.stdout and "Digest: " in done.stdout


def test_while_another_run_has_the_device_it_is_refused_or_said(smoked: Any, desk: Any, office: Any) -> None:
    chat = desk
    home = Path(office.environment["HOME"])
    hold = (
        "import sys; from pathlib import Path; from stationmaster_trainer import lease;"
        "seat = lease.Seat('cpu', lease.Claim('other-001', '/elsewhere', ''));"
        "seat.take(share=True); print('held', flush=True); sys.stdin.read()"
    )
    env = {**office.environment, "HOME": str(home), "PATH": "/usr/bin:/bin"}
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        chat.accepted("propose_config", changes={"when_busy": "refuse", "learning_rate": 0.003})
        said = chat.refused("propose_config", preflight="smoke")
        assert said.startswith("run other-001 of /elsewhere has been using the CPU since")
        assert "nothing was tried" in said
    finally:
        holder.communicate("")
        chat.accepted("propose_config", changes={"when_busy": None, "learning_rate": None})
