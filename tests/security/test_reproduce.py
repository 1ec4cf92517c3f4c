"""A run can be started once more and gives the same numbers, or it is said what changed since."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from guarded import finished, git
from pseudo_terminal import ASSISTANTS, Terminal

from stationmaster_server import reproduce as reproduction
from stationmaster_trainer import commandline, repository


class Old(NamedTuple):
    project: Any
    chat: Any
    run: str


def reproduce(old: Old, *arguments: str, run: str = "") -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ASSISTANTS}
    return subprocess.run(
        [*command(old), run or old.run, *arguments],
        env={**plain, **old.project.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        start_new_session=True,
    )


def command(old: Old) -> list[str]:
    return [sys.executable, "-m", "stationmaster_server", "reproduce", "--project", str(old.project.path)]


def losses(old: Old, run: str) -> list[tuple[str, int, str]]:
    """Kind, step and loss of every record, to the last bit."""
    stream = old.project.path / "runs" / run / "attempts" / "001" / "stream.jsonl"
    records = [json.loads(line) for line in stream.read_text().splitlines()]
    return [(one["kind"], one["step"], repr(one["loss"])) for one in records if one["kind"] in ("train", "eval")]


@pytest.fixture(scope="module")
def old(hall: Any) -> Old:
    project = hall.make("again")
    project.write(".gitignore", "digits.csv\nruns/\ncheckpoints/\n")
    git(project.path, "init")
    git(project.path, "add", "-A")
    git(project.path, "commit", "-m", "first")
    chat = hall.connect(project)
    digest = chat.confirmed(total_steps=60, num_threads=1, log_every=5).facts["digest"]
    run = chat.accepted("start_run", digest=digest).facts["run"]
    assert finished(chat, run)["state"] == "succeeded"
    return Old(project, chat, run)


def test_nothing_changed_and_a_person_says_yes_gives_the_same_losses_to_the_last_bit(old: Old) -> None:
    checked = reproduce(old, "--check")
    assert checked.returncode == 0 and "Trains model.py (pytorch) on digits.csv." in checked.stdout
    assert "not made by" not in checked.stdout
    screen = Terminal([*command(old), old.run], old.project)
    screen.type(screen.until(rb"Type (\w{4}) to approve"))
    shown = screen.rest()
    assert screen.code == 0 and "Same: configuration, model file, data" in shown and "Differs" not in shown
    again = f"{old.run}-again-001"
    assert finished(old.chat, again)["state"] == "succeeded"
    assert losses(old, again) == losses(old, old.run) and len(losses(old, again)) >= 12
    checklist = json.loads((old.project.path / "runs" / again / "checklist.json").read_text())
    gates = {gate["gate"]: gate for gate in checklist["gates"]}
    assert gates["approval"]["by"] == "person (terminal)" and checklist["reproduces"] == old.run
    assert gates["approval"]["evidence"]["digest"] == checklist["digest"] != ""
    assert set(gates) == {"logging", "validation", "configuration", "approval"}


def test_without_a_terminal_it_is_declared_and_a_policy_refuses_that(old: Old) -> None:
    refused = reproduce(old)
    assert refused.returncode == 2 and "there is no terminal to ask in" in refused.stderr
    policy = old.project.path / ".stationmaster" / "policy.yaml"
    policy.write_text("require_approval: person\n")
    refused = reproduce(old, "--yes")
    policy.unlink()
    assert refused.returncode == 2 and "demands that a person approves" in refused.stderr


def test_what_surrounds_the_training_and_differs_is_said(old: Old) -> None:
    record = old.project.path / "runs" / old.run / "attempts" / "001" / "environment.json"
    before = record.read_text()
    plain = json.loads(before)
    plain["distributions"] |= {"torch": "1.0", "gone": "2"}
    plain["cpu"]["model"] = "a\x1b[31m slower one"
    record.write_text(json.dumps(plain))
    old.project.write("other.py", "x = 1\n")
    try:
        done = reproduce(old, "--check")
    finally:
        record.write_text(before)
        (old.project.path / "other.py").unlink()
    assert done.returncode == 1
    assert "torch: 1.0 then, 2." in done.stdout and "gone: 2 then, none now" in done.stdout
    assert "Differs: untracked files: other.py\n" in done.stdout
    assert "number of untracked files: 0 then, 1 now" in done.stdout
    assert "CPU: a[31m slower one then" in done.stdout and "\x1b" not in done.stdout


@pytest.mark.parametrize(("name", "what"), [("model.py", "the model file"), ("digits.csv", "the data")])
def test_changed_files_are_named_and_nothing_starts(old: Old, name: str, what: str) -> None:
    path = old.project.path / name
    before = path.read_bytes()
    path.write_bytes(before + (b"# more\n" if name.endswith("py") else before.splitlines(keepends=True)[-1]))
    try:
        done = reproduce(old, "--yes")
    finally:
        path.write_bytes(before)
    assert done.returncode == 2
    assert f"run {old.run} cannot be reproduced: {what} changed since it was confirmed." in done.stderr


def test_an_unknown_run_is_answered_with_the_known_ones(old: Old) -> None:
    done = reproduce(old, run="../x")
    assert done.returncode == 2 and f"Known runs: {old.run}" in done.stderr.replace(f"{old.run}-again-001, ", "")


def test_of_a_run_from_elsewhere_the_person_sees_that_and_what_it_would_run(old: Old) -> None:
    run = old.project.path / "runs" / old.run
    kept = {name: (run / name).read_text() for name in ("seal.json", "spec.json")}
    spec = json.loads(kept["spec.json"])
    command = ["python", "model.py", "a\x1b[2Jb\u202e; touch ran"]
    spec["config"] |= {"framework": "script", "command": command}
    spec["facts"]["entry_sha256"] = commandline.sha256(command, old.project.path)
    (run / "seal.json").unlink()
    try:
        (run / "spec.json").write_text(json.dumps(spec))
        done = reproduce(old, "--check")
        assert "Runs as it is: python model.py 'a[2Jb; touch ran'" in done.stdout, done.stdout + done.stderr
        assert "It was not made by this installation: its seal is missing" in done.stdout
        spec = json.loads(kept["spec.json"])
        spec["config"]["extra"] = {"tokenizer": "elsewhere"}
        (run / "spec.json").write_text(json.dumps(spec))
        assert 'Extra: {"tokenizer":"elsewhere"}' in reproduce(old, "--check").stdout
    finally:
        for name, text in kept.items():
            (run / name).write_text(text)
    assert not (old.project.path / "ran").exists()


def test_a_run_without_a_record_says_so(old: Old) -> None:
    record = old.project.path / "runs" / old.run / "attempts" / "001" / "environment.json"
    for junk in (b"", b"[1]", b"\xff" * 10, b"[" * 100_000, b'{"cpu": 7, "git": [], "distributions": "x"}'):
        before = record.read_bytes()
        record.write_bytes(junk)
        try:
            done = reproduce(old, "--check")
        finally:
            record.write_bytes(before)
        assert done.returncode == 1 and ("no readable record" in done.stdout or "then" in done.stdout), done.stderr


def test_without_a_repository_no_commit_is_called_the_same_and_of_many_untracked_files_all_are_counted(
    tmp_path: Path,
) -> None:
    facts = {"stationmaster": "1", "git": None, "distributions": {"numpy": "2"}}
    differences, same = reproduction._compare(facts, facts)
    assert differences == () and "commit" not in same and "stationmaster" in same and "1 packages" in same
    git(tmp_path, "init")
    (tmp_path / "train.py").write_text("x = 1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "first")
    for number in range(repository.MAX_UNTRACKED + 3):
        (tmp_path / f"notes-{number:03d}.txt").write_text("")
    line = "# a line of the difference\n"
    fill = line * (repository.MAX_DIFF // (len(line) + 1) - 40)
    secret = f'password = "planted {"words " * 20}of a pass phrase"\n'
    (tmp_path / "train.py").write_text(fill + secret * 40)  # the longest difference that is kept ends in one of them
    found = repository.look(tmp_path)
    assert found is not None and found.facts["diff_bytes"] > repository.MAX_DIFF >= len(found.diff)
    assert found.facts["untracked_count"] == repository.MAX_UNTRACKED + 3
    assert len(found.facts["untracked"]) == repository.MAX_UNTRACKED and "planted" not in found.diff
    now = repository.look(tmp_path)
    assert now is not None
    (tmp_path / "notes-007.txt").write_text("other")
    later = repository.look(tmp_path)
    assert later is not None
    differences, _ = reproduction._compare({"git": now.facts}, {"git": later.facts})
    assert differences == ("untracked files: notes-007.txt",)
