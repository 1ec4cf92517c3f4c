"""One yes, one digest, one run: what voids the yes, who gave it, and that asking again starts nothing more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitResult
from pseudo_terminal import Terminal

SHORT = {"total_steps": 60, "num_threads": 1}
ERAS = ["legacy", "2026-07-28"]


def person(*answers: tuple[str, dict[str, Any] | None]) -> Any:
    """A person at an elicitation form who answers so, one question after the other; the questions are kept."""
    asked: list[str] = []

    async def callback(context: Any, params: Any) -> ElicitResult:
        action, content = answers[len(asked)]
        asked.append(params.message)
        return ElicitResult(action=action, content=content)

    callback.asked = asked  # type: ignore[attr-defined]
    return callback


def checklist_of(project: Any, run: str) -> dict[str, dict[str, Any]]:
    gates = json.loads((project.path / "runs" / run / "checklist.json").read_text())["gates"]
    return {gate["gate"]: gate for gate in gates}


def runs_of(project: Any) -> list[str]:
    folder = project.path / "runs"
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")) if folder.exists() else []


def end_runs(project: Any) -> None:
    """Ends every process of the project's runs and leaves its servers alone."""
    for status in project.path.glob("runs/*/status.json"):
        for name in ("worker", "supervisor"):
            identity = json.loads(status.read_text()).get(name)
            if identity:
                with suppress(ProcessLookupError):
                    os.kill(identity["pid"], signal.SIGKILL)


def approve(project: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stationmaster_server", "approve", "--project", str(project.path), *arguments],
        env={**os.environ, **project.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def typed(project: Any, yes: bool) -> str:
    """What `stationmaster approve` shows a person at a terminal of their own who types the code, or not."""
    command = [sys.executable, "-m", "stationmaster_server", "approve", "--project", str(project.path)]
    screen = Terminal(command, project)
    code = screen.until(rb"Type (\w{4}) to approve")
    screen.type(code if yes else "no")
    return screen.rest()


@pytest.fixture(scope="module")
def digest(desk: Any) -> str:
    """The digest of a short run, shown and not started."""
    return str(desk.confirmed(**SHORT).facts["digest"])


def test_a_digest_that_was_never_shown_starts_nothing(desk: Any, digest: str, office: Any) -> None:
    for made_up in ("0" * 64, digest[:32], "", digest.upper()):
        assert "is not that of the configuration last shown" in desk.refused("start_run", digest=made_up)
    assert runs_of(office) == []


def test_an_outdated_digest_names_what_changed(desk: Any, digest: str, office: Any) -> None:
    desk.accepted("propose_config", changes={"learning_rate": 0.002})
    words = desk.refused("start_run", digest=digest)
    assert words.startswith("That digest is outdated: the configuration changed since it was shown.")
    assert desk.accepted("propose_config", changes={"learning_rate": None}).facts["digest"] == digest


def test_a_changed_model_file_voids_the_digest(desk: Any, digest: str, office: Any) -> None:
    before = (office.path / "model.py").read_text()
    (office.path / "model.py").write_text(before + "\n# changed\n")
    assert desk.refused("start_run", digest=digest).startswith("The model file changed since the configuration")
    (office.path / "model.py").write_text(before)


def test_changed_data_void_the_digest_and_touched_data_do_not(desk: Any, digest: str, office: Any) -> None:
    path = office.path / "digits.csv"
    before, stamp = path.read_bytes(), path.stat()
    path.write_bytes(before.replace(b"0", b"1", 1))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert desk.refused("start_run", digest=digest).startswith("The data changed since the configuration was shown.")
    path.write_bytes(before)
    assert desk.accepted("propose_config").facts["digest"] == digest


def test_a_plan_edited_by_hand_opens_the_gates_again(desk: Any, digest: str, office: Any) -> None:
    path = office.path / ".stationmaster" / "plan.json"
    before = path.read_text()
    path.write_text(before.replace('"learning_rate": 0.001', '"learning_rate": 0.5'))
    words = desk.refused("start_run", digest=digest)
    assert words.startswith("I need logging configured before training.")
    assert "(it is not as this installation wrote it); it was set aside as .stationmaster/plan.damaged-" in words
    path.write_text(before)


def test_a_policy_can_demand_a_person_and_the_terminal_is_one(hall: Any, desk: Any, office: Any, digest: str) -> None:
    policy = office.path / ".stationmaster" / "policy.yaml"
    policy.write_text("require_approval: robot\n")
    assert "require_approval is 'robot', allowed: person or assistant." in desk.refused("start_run", digest=digest)
    policy.write_text("require_approval: person\n")
    words = desk.refused("start_run", digest=digest)
    assert "demands that a person approves" in words and "stationmaster approve" in words
    assert runs_of(office) == []

    unasked = approve(office)
    assert unasked.returncode == 2 and "there is no terminal to ask in" in unasked.stderr
    assert "Not approved." in typed(office, yes=False)
    assert "demands that a person approves" in desk.refused("start_run", digest=digest)
    shown = typed(office, yes=True)
    assert digest in shown and "total_steps: 60" in shown and "Approved: " in shown

    started = desk.accepted("start_run", digest=digest)
    run = started.facts["run"]
    assert started.facts["approved_by"] == "person (terminal)"
    assert checklist_of(office, run)["approval"]["by"] == "person (terminal)"
    policy.unlink()


@dataclass
class Many:
    """A project that several runs are started in, one after the other."""

    project: Any
    chat: Any


@pytest.fixture(scope="module")
def many(hall: Any) -> Many:
    project = hall.make("many")
    return Many(project, hall.connect(project))


@pytest.mark.fault("F16")
def test_the_same_digest_is_the_same_run_for_twenty_calls_and_two_servers(hall: Any, many: Many) -> None:
    project, chat, other = many.project, many.chat, hall.connect(many.project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    futures = [client.soon("start_run", digest=digest) for client in (chat, other) * 10]
    replies = [future.result() for future in futures]
    assert not any(reply.is_error for reply in replies), [reply.text for reply in replies]
    assert {reply.facts["run"] for reply in replies} == set(runs_of(project))
    assert len(runs_of(project)) == 1
    assert sum(reply.facts["new"] for reply in replies) == 1
    run = runs_of(project)[0]
    assert [entry.name for entry in (project.path / "runs" / run / "attempts").iterdir()] == ["001"]
    gate = checklist_of(project, run)["approval"]
    assert (gate["by"], gate["words"], gate["evidence"]["digest"]) == ("assistant", "declared by the assistant", digest)
    config = (project.path / "runs" / run / "config.yaml").read_text()
    assert "learning_rate: 0.001  # " in config and "keep_checkpoints: 2" in config


@pytest.mark.fault("F5")
def test_a_run_that_was_created_and_never_started_is_started_by_the_same_digest(many: Many) -> None:
    """A server killed between making the folder and starting leaves exactly this behind."""
    project, chat = many.project, many.chat
    digest = chat.accepted("propose_config", changes=SHORT).facts["digest"]
    first = chat.accepted("start_run", digest=digest).facts
    end_runs(project)
    shutil.rmtree(project.path / "runs" / first["run"] / "attempts")
    shutil.rmtree(project.path / "checkpoints" / first["run"], ignore_errors=True)
    for name in ("status.json", "supervisor.lock"):
        (project.path / "runs" / first["run"] / name).unlink(missing_ok=True)
    again = chat.accepted("start_run", digest=digest).facts
    assert (again["run"], again["new"]) == (first["run"], True)
    assert again["state"] in ("starting", "running", "stopping", "succeeded")


@pytest.mark.parametrize("mode", ERAS)
def test_a_person_is_asked_and_only_a_yes_starts(hall: Any, many: Any, mode: str) -> None:
    answers = person(("decline", None), ("cancel", None), ("accept", {"start": False}), ("accept", {"start": True}))
    chat = hall.connect(many.project, mode=mode, elicit=answers)
    digest = chat.accepted("propose_config", changes=SHORT).facts["digest"]
    assert "not that of" in chat.refused("start_run", digest="f" * 64)
    assert answers.asked == [], "nobody is asked about what cannot start"
    before = runs_of(many.project)
    for _ in range(3):
        words = chat.refused("start_run", digest=digest)
        assert words.startswith("The start was declined or not shown: nothing was started.")
        assert f"stationmaster approve --project {many.project.path}" in words
    assert runs_of(many.project) == before

    (many.project.path / ".stationmaster" / "policy.yaml").write_text("require_approval: person\n")
    facts = chat.accepted("start_run", digest=digest).facts
    assert facts["approved_by"] == "person (elicitation)"
    assert checklist_of(many.project, facts["run"])["approval"]["words"] == "given by a person (elicitation)"
    assert chat.accepted("start_run", digest=digest).facts["new"] is False
    assert len(answers.asked) == 4
    assert "2,410 parameters" in answers.asked[0] and "60 steps" in answers.asked[0] and digest[:12] in answers.asked[0]


def test_a_local_import_is_part_of_the_digest_and_a_failure_in_it_is_reported_at_once(hall: Any, desk: Any) -> None:
    project = hall.make("imports", model="from parts import Net\n\n\ndef build_model():\n    return Net(64, 10)\n")
    source = (hall.folder / "office" / "model.py").read_text()
    failing = f"import os\n{source}\nif os.path.exists('go'):\n    raise RuntimeError('no luck')\n"
    project.write("parts.py", failing)
    chat = desk.on(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    project.write("parts.py", failing + "\n")
    assert "The model file changed" in chat.refused("start_run", digest=digest)
    project.write("parts.py", failing)
    (project.path / "go").touch()
    reply = chat.accepted("start_run", digest=digest)
    while reply.facts["state"] == "starting":  # a machine so busy that ten seconds were not enough
        reply = chat.accepted("start_run", digest=digest)
    assert (reply.facts["state"], reply.facts["cause"]) == ("failed", "exception")
    assert "no luck" in reply.text and "parts.py:" in reply.text and "untrusted text" in reply.text


def test_paths_that_leave_the_roots_are_refused(hall: Any, desk: Any, office: Any, tmp_path: Path) -> None:
    (office.path / "out").symlink_to(tmp_path)
    for place in ("/", str(tmp_path), str(hall.folder / ".."), str(office.path / "out"), "a\0b"):
        for tool, arguments in (
            ("choose_logging", {"backends": ["file"]}),
            ("check_validation", {}),
            ("propose_config", {}),
            ("start_run", {"digest": "0" * 64}),
            ("stop_run", {}),
            ("resume_run", {}),
        ):
            words = desk.refused(tool, project_dir=place, **arguments)
            assert "outside the folders" in words or "NUL" in words
    assert "lies outside the project" in desk.refused("check_validation", val_data="out/x.csv")
    (office.path / "out").unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_plan_folder_that_is_a_link_is_refused(hall: Any, desk: Any, tmp_path: Path) -> None:
    project = hall.make("linked")
    (project.path / ".stationmaster").symlink_to(tmp_path)
    assert "is not a folder of its own" in desk.on(project).refused("choose_logging", backends=["file"])
    assert list(tmp_path.iterdir()) == []
