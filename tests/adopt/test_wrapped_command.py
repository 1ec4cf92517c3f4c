"""Commands of launchers run as they are: torchrun, accelerate, shell scripts, modules; rank 0 tells, the tree ends."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import wrapped_scripts as scripts
from adopted_runs import ended, eventually, log, rows, status

pytestmark = pytest.mark.timeout(400)
WAIVED = {"waive_reason": "a test of the run alone"}


def proposed(desk: Any, project: Any, validation: dict[str, Any], **changes: Any) -> Any:
    """The client on the project, and the proposal of what `changes` name."""
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("propose_config", changes={"log_every": 1, **changes})
    chat.accepted("check_validation", **validation)
    return chat, chat.accepted("propose_config")


def started(desk: Any, project: Any, validation: dict[str, Any], **changes: Any) -> tuple[Any, Path]:
    chat, shown = proposed(desk, project, validation, **changes)
    run = chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]
    return chat, project.path / "runs" / run


def printed(run: Path, pattern: str) -> list[tuple[int, float]]:
    return [(int(step), float(loss)) for step, loss in re.findall(pattern, log(run))]


def logged(run: Path) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row["train/loss"])) for row in rows(run) if row["train/loss"]]


@pytest.fixture(scope="module")
def ranks(desk: Any, hall: Any) -> tuple[Any, Any, Path]:
    """Two gloo ranks under torchrun, over: client, project, run."""
    project = hall.make("ranks", model=None)
    project.write("train.py", scripts.RANKS)
    project.write("loss.py", scripts.LOSS)
    command = "torchrun --standalone --nproc-per-node 2 train.py --steps 12"
    chat, run = started(desk, project, {"val_data": "script"}, command=command)
    ended(run)
    return chat, project, run


def test_of_torchruns_ranks_the_first_alone_tells_and_no_row_is_doubled(ranks: tuple[Any, Any, Path]) -> None:
    _, _, run = ranks
    assert len(printed(run, r"rank 1 step (\d+) loss (\S+)")) == 12
    assert logged(run) == printed(run, r"rank 0 step (\d+) loss (\S+)")
    assert "exit code 0; 12 optimizer steps were seen" in status(run)["message"]
    assert status(run)["sight"] and status(run)["cleared"]["left"] == []


def test_the_exception_of_another_rank_is_the_cause_with_file_and_line(ranks: tuple[Any, Any, Path]) -> None:
    chat, project, _ = ranks
    shown = chat.accepted("propose_config", changes={"script_args": ["--fail-at", "3"]})
    run = project.path / "runs" / chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]
    found = ended(run)
    assert (found["state"], found["cause"], found["where"]) == ("failed", "exception", "train.py:19")
    assert "ValueError: rank 1: the second shard is empty" in found["message"]
    assert "ChildFailedError" in log(run)  # what torchrun itself made of it


@pytest.fixture(scope="module")
def wrapper(desk: Any, hall: Any) -> tuple[Any, Any, Path]:
    """A shell script around `accelerate launch`, over: client, project, run."""
    project = hall.make("wrapper", model=None)
    project.write("train.sh", scripts.WRAPPER.lstrip())
    project.write("single.py", scripts.SINGLE)
    chat, run = started(desk, project, WAIVED, script="train.sh", script_args=["6"])
    ended(run)
    return chat, project, run


def test_a_shell_script_around_accelerate_is_seen_through(wrapper: tuple[Any, Any, Path]) -> None:
    _, _, run = wrapper
    assert logged(run) == printed(run, r"step (\d+) loss (\S+)") and len(logged(run)) == 6
    text = log(run)
    assert "the wrapper got: 6" in text and "behind the training" in text and "a short call" in text
    assert status(run)["learning_rate"] == 0.02
    assert "command: [bash, train.sh]" in (run / "config.yaml").read_text()


def test_stop_reaches_the_training_below_a_shell_and_the_whole_tree_is_gone(wrapper: tuple[Any, Any, Path]) -> None:
    chat, project, _ = wrapper
    shown = chat.accepted("propose_config", changes={"script_args": ["-1"]})
    run = project.path / "runs" / chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]
    eventually(lambda: status(run)["step"] > 5)
    reply = chat.accepted("stop_run", run=run.name, wait_seconds=45)
    found = ended(run)
    assert (found["state"], found["cause"]) == ("stopped", "user")
    assert "Verified: no process of it is left" in reply.text
    assert "behind the training" not in log(run)


@pytest.mark.soak
def test_an_exception_below_two_launchers_is_the_cause_and_their_exit_code_is_not(
    wrapper: tuple[Any, Any, Path],
) -> None:
    chat, project, _ = wrapper
    shown = chat.accepted("propose_config", changes={"script_args": ["9", "boom"]})
    run = project.path / "runs" / chat.accepted("start_run", digest=shown.facts["digest"]).facts["run"]
    found = ended(run)
    assert (found["state"], found["cause"], found["where"]) == ("failed", "exception", "single.py:21")
    assert "no column label" in found["message"]


def test_the_yes_covers_every_local_file_that_the_command_names(wrapper: tuple[Any, Any, Path]) -> None:
    chat, project, _ = wrapper
    project.write("cfg.yaml", "lr: 0.1\n")
    chat.accepted("propose_config", changes={"script": "train.sh", "script_args": ["2", "--config=cfg.yaml"]})
    chat.accepted("check_validation", **WAIVED)
    digest = chat.accepted("propose_config").facts["digest"]
    for name, text in (("cfg.yaml", "lr: 0.2\n"), ("single.py", scripts.SINGLE + "# more\n")):
        before = (project.path / name).read_text()
        project.write(name, text)
        assert "The model file changed" in chat.refused("start_run", digest=digest), name
        (project.path / name).write_text(before)


def test_commands_that_cannot_run_are_refused_in_words(wrapper: tuple[Any, Any, Path]) -> None:
    chat, _, _ = wrapper
    for command, words in (
        ("torchrum train.py", "'torchrum' is neither in"),
        ("./missing.sh 3", "does not exist"),
        ("python single.py > out.txt", "not run through a shell, which '>'"),
        ("torchrun $ARGS single.py", "not run through a shell"),
        ('python "single.py', "cannot be split"),
    ):
        assert words in chat.refused("propose_config", changes={"command": command}), command
    shown = chat.accepted("propose_config", changes={"command": "CUDA_VISIBLE_DEVICES=0 python -m single 3"})
    assert 'command: [env, "CUDA_VISIBLE_DEVICES=0", python, "-m", single, "3"]' in shown.text
    assert "model_path: single.py" in shown.text
    assert "script_args: []" in chat.accepted("propose_config", changes={"command": "python single.py"}).text


def test_processes_that_a_plain_script_starts_are_reached_and_their_exception_is_the_cause(
    desk: Any, hall: Any
) -> None:
    project = hall.make("spawns", model=None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project.write("spawns.py", scripts.SPAWNS.replace("29541", str(port)))
    _, run = started(desk, project, WAIVED, script="spawns.py")
    found = ended(run)
    assert logged(run) == printed(run, r"rank 0 step (\d+) loss (\S+)") and len(logged(run)) == 6
    assert (found["state"], found["cause"], found["where"]) == ("failed", "exception", "spawns.py:24")
    assert "ValueError: the last shard is missing" in found["message"]
