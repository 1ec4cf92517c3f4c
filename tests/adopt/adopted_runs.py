"""What tests of adopted scripts share: propose, start, wait, and read what the run left."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
SECONDS = 240.0
"""Longest wait for a run: importing torch takes 2 s, and forty on a machine that does much else."""
FINAL = ("succeeded", "failed", "stopped")


def eventually(look: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true value of `look`; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)
    return value


def proposed(desk: Any, project: Any, text: str, *arguments: str, validation: dict[str, Any] | None = None) -> Any:
    """The client on the project and the digest of its script, confirmed."""
    project.write("train.py", text)
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    chat.accepted("propose_config", changes={"script": "train.py", "script_args": list(arguments), "log_every": 1})
    chat.accepted("check_validation", **(validation or {"waive_reason": "a test of the run alone"}))
    return chat, chat.accepted("propose_config").facts["digest"]


def started(desk: Any, project: Any, text: str, *arguments: str, **decided: Any) -> tuple[Any, Path]:
    """The client and the folder of the run."""
    chat, digest = proposed(desk, project, text, *arguments, **decided)
    return chat, project.path / "runs" / chat.accepted("start_run", digest=digest).facts["run"]


def status(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "status.json").read_text()))


def ended(run: Path) -> dict[str, Any]:
    """The status once the run is over."""
    return eventually(lambda: found if (found := status(run))["state"] in FINAL else None)


def rows(run: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, once the recorder has written them."""
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def log(run: Path) -> str:
    return (run / "attempts" / "001" / "worker.log").read_text()
