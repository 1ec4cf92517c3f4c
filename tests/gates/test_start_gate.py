"""One yes, one digest, one run: what voids the yes, who gave it, and that asking again starts nothing more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitResult

SHORT = {"total_steps": 60, "num_threads": 1}
ERAS = ["legacy", "2026-07-28"]


def says(action: str, content: dict[str, Any] | None = None) -> Any:
    """A person at an elicitation form; the questions are kept."""
    asked: list[str] = []

    async def callback(context: Any, params: Any) -> ElicitResult:
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


def test_a_changed_local_import_voids_the_digest(hall: Any) -> None:
    project = hall.make("imports", model="from parts import Net\n\n\ndef build_model():\n    return Net(64, 10)\n")
    project.write("parts.py", (hall.folder / "office" / "model.py").read_text())
    chat = hall.connect(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    (project.path / "parts.py").write_text((project.path / "parts.py").read_text().replace("32", "33"))
    assert "The model file changed" in chat.refused("start_run", digest=digest)


def test_changed_data_void_the_digest_and_touched_data_do_not(desk: Any, digest: str, office: Any) -> None:
    path = office.path / "digits.csv"
    before, stamp = path.read_bytes(), path.stat()
    path.write_bytes(before.replace(b"0", b"1", 1))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert desk.refused("start_run", digest=digest).startswith("The data changed since the configuration was shown.")
    path.write_bytes(before)
    assert desk.accepted("propose_config").facts["digest"] == digest


def test_a_plan_edited_by_hand_voids_the_digest(desk: Any, digest: str, office: Any) -> None:
    path = office.path / ".stationmaster" / "plan.json"
    before = path.read_text()
    path.write_text(before.replace('"learning_rate": 0.001', '"learning_rate": 0.5'))
    assert desk.refused("start_run", digest=digest).startswith("The configuration changed since")
    path.write_text(before)


@pytest.mark.parametrize("mode", ERAS)
def test_a_start_that_is_declined_or_not_shown_starts_nothing(hall: Any, office: Any, digest: str, mode: str) -> None:
    for answer in (says("decline"), says("cancel"), says("accept", {"start": False})):
        words = hall.connect(office, mode=mode, elicit=answer).refused("start_run", digest=digest)
        assert words.startswith("The start was declined or not shown: nothing was started.")
        assert f"stationmaster approve --project {office.path}" in words
        (asked,) = answer.asked
        assert "2,410 parameters" in asked and "learning_rate" not in asked and digest[:12] in asked
    assert runs_of(office) == []


def test_nobody_is_asked_about_what_cannot_start(hall: Any, office: Any, digest: str) -> None:
    person = says("accept", {})
    assert "not that of" in hall.connect(office, elicit=person).refused("start_run", digest="f" * 64)
    assert person.asked == []


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
    approved = approve(office, "--yes")
    assert approved.returncode == 0 and digest in approved.stdout and "total_steps: 60" in approved.stdout

    started = desk.accepted("start_run", digest=digest)
    run = started.facts["run"]
    assert started.facts["approved_by"] == "person (terminal)"
    assert checklist_of(office, run)["approval"]["by"] == "person (terminal)"
    policy.unlink()


def test_the_same_digest_is_the_same_run_for_twenty_calls_and_two_servers(hall: Any) -> None:
    project = hall.make("many")
    chat, other = hall.connect(project), hall.connect(project)
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


def test_a_run_that_was_created_and_never_started_is_started_by_the_same_digest(hall: Any) -> None:
    """A server killed between making the folder and starting leaves exactly this behind."""
    project = hall.make("crashed")
    chat = hall.connect(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    first = chat.accepted("start_run", digest=digest).facts
    end_runs(project)
    shutil.rmtree(project.path / "runs" / first["run"] / "attempts")
    for name in ("status.json", "supervisor.lock"):
        (project.path / "runs" / first["run"] / name).unlink(missing_ok=True)
    again = chat.accepted("start_run", digest=digest).facts
    assert (again["run"], again["new"]) == (first["run"], True)
    assert again["state"] in ("running", "stopping", "succeeded")


@pytest.mark.parametrize("mode", ERAS)
def test_an_accepted_elicitation_starts_and_is_recorded_as_a_person_s(hall: Any, mode: str) -> None:
    project = hall.make(f"person-{mode}")
    person = says("accept", {"start": True})
    chat = hall.connect(project, mode=mode, elicit=person)
    digest = chat.confirmed(**SHORT).facts["digest"]
    (project.path / ".stationmaster" / "policy.yaml").write_text("require_approval: person\n")
    facts = chat.accepted("start_run", digest=digest).facts
    assert facts["approved_by"] == "person (elicitation)"
    assert checklist_of(project, facts["run"])["approval"]["words"] == "given by a person (elicitation)"
    assert chat.accepted("start_run", digest=digest).facts["new"] is False
    assert len(person.asked) == 1


def test_a_model_that_fails_only_in_the_run_is_reported_at_once_with_its_place(hall: Any) -> None:
    project = hall.make("fails")
    source = (project.path / "model.py").read_text()
    project.write(
        "model.py",
        f"import os\n{source}\nif os.path.exists('go'):\n    raise RuntimeError('no luck')\n",
    )
    chat = hall.connect(project)
    digest = chat.confirmed(**SHORT).facts["digest"]
    (project.path / "go").touch()
    reply = chat.accepted("start_run", digest=digest)
    assert (reply.facts["state"], reply.facts["cause"]) == ("failed", "exception")
    assert "no luck" in reply.text and "model.py:" in reply.text and "untrusted text" in reply.text


def test_paths_that_leave_the_roots_are_refused(hall: Any, desk: Any, office: Any, tmp_path: Path) -> None:
    (office.path / "out").symlink_to(tmp_path)
    for place in ("/", str(tmp_path), str(office.path / ".."), str(office.path / "out"), "a\0b"):
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


def test_a_plan_folder_that_is_a_link_is_refused(hall: Any, tmp_path: Path) -> None:
    project = hall.make("linked")
    (project.path / ".stationmaster").symlink_to(tmp_path)
    assert "is not a folder of its own" in hall.connect(project).refused("choose_logging", backends=["file"])
    assert list(tmp_path.iterdir()) == []
