"""Secrets are planted everywhere a run may meet them; not one byte that the program writes or says holds one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from guarded import FAILS, MODEL, SECRETS, finished, found_in, leaks, plant, record_of, watched

from stationmaster_trainer import redact

SHORT = {"total_steps": 30, "num_threads": 1, "seed": 7}
GIVEN = {"HF_TOKEN", "HTTPS_PROXY"}
"""Secrets that training may need, by name: they reach the worker and nothing else."""


class Trained(NamedTuple):
    """A run that succeeded and one that raised, with everything that was said and every command line."""

    project: Any
    chat: Any
    run: str
    failed: str
    said: str
    commands: list[bytes]
    environ: dict[str, str]


@pytest.fixture(scope="module")
def trained(hall: Any) -> Trained:
    project = hall.make("planted")
    plant(project)
    before = os.umask(0)  # the rights of what a run writes must not rest on the person's umask
    try:
        chat = hall.connect(project, **SECRETS, WANDB_MODE="offline")
    finally:
        os.umask(before)
    said = []
    with watched(project.path) as commands:
        said.append(chat("inspect_project"))
        said.append(chat.accepted("choose_logging", backends=["file", "wandb", "tensorboard"]))
        said.append(chat.accepted("check_validation", split=0.2))
        shown = chat.accepted("propose_config", changes=SHORT)
        started = chat.accepted("start_run", digest=shown.facts["digest"])
        run = started.facts["run"]
        said += [shown, started]
        assert finished(chat, run)["state"] == "succeeded"
        environ = json.loads((project.path / "seen.json").read_text())
        (project.path / "seen.json").unlink()
        project.write("model.py", MODEL.replace("Path(__file__)", "0 and Path(__file__)") + FAILS)
        shown = chat("propose_config", changes=SHORT)
        said.append(shown)
        failed = ""
        if not shown.is_error:
            failed = chat("start_run", digest=shown.facts["digest"]).facts["run"]
            said.append(chat("poll_status", run=failed, wait_seconds=20))
        for name in filter(None, (run, failed)):
            finished(chat, name)
            said.append(chat("summarize", run=name))
            said.append(chat("poll_status", run=name))
        said.append(chat("list_runs"))
    words = "\n".join(reply.text + json.dumps(reply.facts) for reply in said)
    return Trained(project, chat, run, failed, words, commands, environ)


def test_no_file_that_the_program_writes_holds_a_secret(trained: Trained) -> None:
    folders = [trained.project.path / name for name in ("runs", "checkpoints", ".stationmaster")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert leaks(*folders) == {}
    assert leaks(trained.project.home) == {str(trained.project.home / ".netrc"): ["netrc"]}


def test_no_answer_and_no_command_line_holds_a_secret(trained: Trained) -> None:
    assert found_in(trained.said.encode()) == []
    assert len(trained.commands) >= 4, trained.commands
    assert [line for line in trained.commands if found_in(line)] == []


def test_the_worker_gets_what_training_may_need_and_no_other_secret(trained: Trained) -> None:
    assert set(SECRETS) & set(trained.environ) == GIVEN
    assert found_in("\n".join(trained.environ.values()).encode()) == [name for name in SECRETS if name in GIVEN]
    named = set(record_of(trained.project, trained.run)["variables"])
    assert set(trained.environ) - {"STATIONMASTER_TOKEN", "LC_CTYPE"} <= named | {"PWD", "SHLVL", "_"}


def test_a_token_in_an_exception_is_taken_out_of_records_log_and_answer(trained: Trained) -> None:
    assert "[secret removed]" in trained.said and "cannot reach https://" in trained.said


def test_everything_that_a_run_writes_is_its_owners_alone(trained: Trained) -> None:
    places = [trained.project.path / "runs" / trained.run, trained.project.path / "checkpoints" / trained.run]
    places += [trained.project.path / ".stationmaster", trained.project.home / ".local" / "state" / "stationmaster"]
    wrong, seen = [], 0
    for place in places:
        for path in [place, *place.rglob("*")]:
            if path.is_symlink() or "model" in path.relative_to(place).parts:  # to be handed on; below a closed folder
                continue
            seen += 1
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                wrong.append((str(path.relative_to(place.parent)), oct(mode)))
    assert seen > 150 and wrong == []


def test_the_record_says_what_ran_before_the_first_step(trained: Trained) -> None:
    found = record_of(trained.project, trained.run)
    attempt = trained.project.path / "runs" / trained.run / "attempts" / "001"
    assert len(found["git"]["commit"]) == 40 and found["git"]["dirty"] and found["git"]["changed_files"] == 1
    assert (
        found["git"]["branch"] == "main"
        and found["git"]["remote"] == "https://[secret removed]@example.org/project.git"
    )
    untracked = {entry["path"]: entry["sha256"] for entry in found["git"]["untracked"]}
    assert "notes.txt" in untracked and len(untracked["notes.txt"]) == 64
    diff = (attempt / "dirty.diff").read_text()
    assert "+rate = 0.125" in diff and diff.count("[secret removed]") == 2
    assert found["config"]["learning_rate"] > 0 and found["config"]["total_steps"] == 30
    assert {"total_steps", "seed"} <= set(found["changes"]) and found["seed"] == 7
    assert found["approval"]["by"] == "assistant" and len(found["digest"]) == 64
    assert found["packages"]["torch"] and len(found["distributions"]) > 30 and "torch" in found["distributions"]
    assert len(found["data_fingerprint"]) == 64 and len(found["entry_sha256"]) == 64 and found["argv"][0]
    lines = (attempt / "stream.jsonl").read_text().splitlines()
    first = next(line for line in lines if '"kind":"train"' in line)
    assert (attempt / "environment.json").stat().st_mtime <= json.loads(first)["time"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"changes": {"model_args": {"api_key": "an ordinary phrase"}}},
        {"changes": {"extra": {"hub_token": SECRETS["HF_TOKEN"]}}},
        {"changes": {"run_name": SECRETS["GITHUB_TOKEN"]}},
        {"changes": {"train_data": f"https://me:{SECRETS['DATABASE_PASSWORD']}@example.org/x.csv"}},
        {"changes": {"model_args": {"deep": [{"er": ["x", SECRETS["OPENAI_API_KEY"]]}]}}},
    ],
)
def test_a_secret_among_the_arguments_is_refused_and_not_repeated(trained: Trained, arguments: dict[str, Any]) -> None:
    words = trained.chat.refused("propose_config", **arguments)
    assert "secret" in words and "environment" in words
    assert found_in(words.encode()) == [] and "ordinary phrase" not in words


@pytest.mark.parametrize(
    "text", [f"see {value} there" for value in SECRETS.values() if not value.startswith("planted")]
)
def test_known_forms_are_found_without_their_names(text: str) -> None:
    known = text in (f"see {SECRETS[name]} there" for name in ("WANDB_API_KEY", "DATABASE_PASSWORD"))
    assert (redact.GONE in redact.text(text)) is not known
    assert redact.GONE in redact.text(text, SECRETS.values())


@pytest.mark.parametrize(
    "code",
    [
        "token = tokenizer.encode(text)",
        "max_tokens = 2048",
        "def forward(self, tokens): return self.embed(tokens)",
        "attention_mask = mask",
        "https://example.org/a:b/c@d",
        "digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "checkpoint-000900 and hf_model",
        "sk-learn, task-based, disk-full",
    ],
)
def test_ordinary_text_is_left_alone(code: str) -> None:
    assert redact.text(code) == code


def test_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    from guarded import git

    from stationmaster_trainer import repository

    mark = tmp_path / "ran"
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.txt").write_text("one\n")
    (project / "b.bin").write_text("one\n")
    inner = project / "inner"
    inner.mkdir()
    (inner / "c.txt").write_text("one\n")
    for folder in (inner, project):
        git(folder, "init")
        git(folder, "add", "-A")
        git(folder, "commit", "-m", "first")
    (inner / "c.txt").write_text("two\n")
    (inner / ".gitattributes").write_text("*.txt filter=evil\n")
    (project / "b.bin").write_text("two\n")
    (project / "a.txt").write_text("two\n")
    (project / ".gitattributes").write_text("*.txt diff=evil filter=evil\n*.bin filter=evil=two.x\n")
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
    evil.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "core.pager"):
        git(project, "config", key, str(evil))
    for key in ("filter.evil.clean", "filter.evil=two.x.process", "filter.evil.smudge"):
        git(project, "config", key, str(evil))
    git(project, "config", "filter.evil.required", "true")
    git(inner, "config", "core.fsmonitor", str(evil))
    git(inner, "config", "filter.evil.clean", str(evil))
    found = repository.look(project)
    assert found is not None and "+two" in found.diff and found.facts["changed_files"] == 2
    assert not mark.exists()
    subprocess.run(["git", "-C", str(project), "status"], capture_output=True, timeout=60)
    assert mark.exists(), "what is planted works where nobody guards"


DEEP: Any = SECRETS["OPENAI_API_KEY"]
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        {"command": "env DATABASE_PASSWORD=correct-horse-battery python train.py"},
        {"command": "python train.py --api-key 'an-ordinary-phrase'"},
        {"script_args": ["--hub-token", "an-ordinary-phrase"]},
        {"script_args": ["--password=an-ordinary-phrase"]},
        {SECRETS["GITHUB_TOKEN"]: 1},
        DEEP,
    ],
)
def test_a_secret_is_seen_however_it_is_given(value: Any) -> None:
    assert redact.holds_secret({"changes": value})


def test_what_only_sounds_like_a_secret_may_be_given() -> None:
    command = "TOKENIZERS_PARALLELISM=false accelerate launch a.py --max-tokens 10000000 tokenizer=bert-base-uncased"
    special = [
        "--eos_token=<|endoftext|>",
        "--pad-token",
        "<|padding|>",
        "--token",
        "--verbose-output",
        "author=somebody1",
    ]
    assert not redact.holds_secret(
        {"command": command, "script_args": special, "model_args": {"pad_token": "paddings"}}
    )
