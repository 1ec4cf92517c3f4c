"""Names and paths from a model or a project never lead out of the project, and never make a call wait."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stationmaster_trainer import control
from stationmaster_trainer.rundir import AttemptDir

SECONDS = 40.0
"""Longest that one refusal may take on a busy machine."""
NAMES = [
    *("../outside/data.csv", "../../etc/passwd", "/etc/passwd", "/", "//etc/passwd", "/proc/self/environ", "/dev/zero"),
    *("a/../../outside/data.csv", "./../outside/data.csv", "..", "../", "..\\outside\\data.csv", "....//outside"),
    *("~/data.csv", "~root/.ssh/id_rsa", "~", "$HOME/data.csv", "`id`", "$(id)", "; id", "| id", "a\nb", "a\rb"),
    *("link.csv", "linked/data.csv", "dangling.csv", "loop.csv", "linked/../../outside/data.csv", "chain.csv"),
    *("\0", "digits.csv\0.png", "digits.csv\0", "x" * 300, "x/" * 2500, "x" * 100_000, "é" * 200),
    *("-rf", "--help", "-", "--val_data=/etc/passwd", "@file", "file:///etc/passwd", "http://127.0.0.1/x.csv"),
    *("ｅtc/passwd", "․․/outside/data.csv", "‥/outside/data.csv", "\u202ecsv.stigid", "digits\u200b.csv", "ⅾigits.csv"),
    *("fifo.csv", "socket.csv", "device.csv", "zero.csv", "CON", "nul", "C:\\data.csv", "\\\\host\\share\\x.csv"),
    *("runs/../../outside/data.csv", ".stationmaster/../../outside/data.csv", "", " ", "."),
]
INSIDE = {"."}
"""Names that are refused or answered for another reason: they lead nowhere else."""


class Yard(NamedTuple):
    project: Any
    chat: Any
    outside: Path


@pytest.fixture(scope="module")
def yard(hall: Any) -> Iterator[Yard]:
    """A project with links to outside, a FIFO, a socket and devices; what lies outside is watched."""
    project = hall.make("yard")
    outside = hall.folder / "outside"
    outside.mkdir()
    (outside / "data.csv").write_text("secret_column,label\n1,0\n2,1\n" * 50)
    (outside / "model.py").write_text("raise SystemExit('outside code ran')\n")
    place = project.path
    (place / "link.csv").symlink_to(outside / "data.csv")
    (place / "linked").symlink_to(outside)
    (place / "chain.csv").symlink_to("link.csv")
    (place / "dangling.csv").symlink_to("/absent/data.csv")
    (place / "loop.csv").symlink_to("loop.csv")
    (place / "device.csv").symlink_to("/dev/tty")
    (place / "zero.csv").symlink_to("/dev/zero")
    os.mkfifo(place / "fifo.csv")
    os.mkfifo(place / "fifo.py")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(place, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket.csv")
        os.close(here)
        chat = hall.connect(project, HF_HUB_OFFLINE="1")  # a name may be one of a model on the hub
        chat.accepted("choose_logging", backends=["file"])
        yield Yard(project, chat, outside)


def tree(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:40])
@pytest.mark.parametrize("what", ["val_data", "train_data", "model_path", "test_data", "checkpoint_dir"])
def test_a_name_that_leads_elsewhere_is_refused_quickly_and_touches_nothing(yard: Yard, what: str, name: str) -> None:
    before = tree(yard.outside)
    began = time.monotonic()
    if what == "val_data":
        reply = yard.chat("check_validation", val_data=name)
    elif what == "test_data":
        reply = yard.chat("evaluate_run", test_data=name)
    else:
        reply = yard.chat("propose_config", changes={what: name})
    assert time.monotonic() - began < SECONDS
    said = reply.text
    assert "secret_column" not in said and "root:" not in said and "outside code ran" not in said
    assert "Traceback" not in said and "defect" not in said and "Error executing" not in said, said
    assert len(said) < 8000
    if what in ("val_data", "test_data"):
        assert reply.is_error or (what == "val_data" and not name), said
    if what in ("train_data", "model_path") and name:
        assert reply.is_error, said
    if what == "checkpoint_dir":
        yard.chat("propose_config", changes={"checkpoint_dir": None})
    assert tree(yard.outside) == before


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "a/b",
            ".",
            "..",
            "/tmp/x",
            "-rf",
            "",
            "a b",
            "a\0b",
            "x" * 200,
            ".hidden",
            "a\nb",
            "naïve",
            "~",
            "*",
        ),
        *(".building", "\u202eabc", "a;b", "$(id)", "con/"),
    ],
)
def test_a_run_name_is_a_name_and_no_path(yard: Yard, name: str) -> None:
    reply = yard.chat("propose_config", changes={"run_name": name})
    assert reply.is_error and "run_name" in reply.text, reply.text


@pytest.mark.parametrize(
    "name", ["../yard", "../../etc", "/etc", "..", ".", "-rf", "a\0b", "x" * 5000, "\u202e", "~", ""]
)
@pytest.mark.parametrize("tool", ["poll_status", "summarize", "stop_run", "resume_run", "evaluate_run"])
def test_a_run_is_found_by_its_name_alone(yard: Yard, tool: str, name: str) -> None:
    more = {"test_data": "digits.csv"} if tool == "evaluate_run" else {}
    words = yard.chat.refused(tool, run=name, **more)
    assert "there is no run" in words and "\u202e" not in words.replace(repr("\u202e"), "") and len(words) < 6000


def test_a_link_that_is_swapped_in_between_the_check_and_the_reading_shows_nothing_from_outside(yard: Yard) -> None:
    """The data file turns into a link and back, as fast as it goes, while it is measured again and again."""
    place = yard.project.path
    good, over = (place / "digits.csv").read_bytes(), threading.Event()
    (place / "swap.csv").write_bytes(good)

    def swap() -> None:
        while not over.wait(0.0005):
            draft = place / "draft"
            draft.unlink(missing_ok=True)
            draft.symlink_to(yard.outside / "data.csv")
            os.replace(draft, place / "swap.csv")
            draft.write_bytes(good)
            os.replace(draft, place / "swap.csv")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        said = [yard.chat("check_validation", val_data="swap.csv") for _ in range(5)]
    finally:
        over.set()
        thread.join()
    assert not [reply.text for reply in said if "defect" in reply.text or "Traceback" in reply.text]


def test_a_project_outside_the_roots_or_no_folder_is_refused(yard: Yard) -> None:
    for place in ("/", "/etc", "..", "~", "../outside", "linked", "fifo.csv", "digits.csv", "\0", "x" * 5000, "-rf"):
        reply = yard.chat.raw("list_runs", {"project_dir": place})
        assert reply.is_error and "project_dir" in reply.text and "defect" not in reply.text, reply.text


def test_a_link_in_place_of_the_folder_of_requests_is_not_written_through(tmp_path: Path) -> None:
    """As a run folder that comes from elsewhere may hold one."""
    attempt = AttemptDir(tmp_path / "attempts" / "001")
    attempt.path.mkdir(parents=True)
    (outside := tmp_path / "outside").mkdir()
    attempt.control.symlink_to(outside)
    with pytest.raises(OSError, match="it is a link, not a folder of the run"):
        control.place(attempt, "stop", {})
    assert list(outside.iterdir()) == []
