"""Scores a run as its scoring process does, and runs the lines of its model card in a Python of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from training_project import Project

import stationmaster_trainer
from stationmaster_trainer import codec, evaluation
from stationmaster_trainer.contract import Checkpoint
from stationmaster_trainer.facts import EvaluationFacts, EvaluationRequest


def score(project: Project, test_data: str, looks: tuple[str, ...] = ()) -> EvaluationFacts:
    """What the scoring process answers for the best checkpoint; the answer lies in the run's folder."""
    best = [record for record in project.records(Checkpoint) if record.best][-1]
    folder = project.run.evaluations
    folder.mkdir(exist_ok=True)
    number = len(list(folder.glob("*.request.json"))) + 1
    place = (str(project.run.path), str(project.path / best.path), best.step, test_data)
    request = EvaluationRequest(number, *place, f"content of {test_data}", looks, dict(best.metrics), time.time())
    (folder / f"{number:03d}.request.json").write_text(codec.dumps(request))
    assert evaluation.main(str(folder / f"{number:03d}.request.json")) == 0
    return codec.loads(EvaluationFacts, (folder / f"{number:03d}.json").read_bytes())


def folder_of(project: Project) -> Path:
    return project.checkpoints / "model"


def card_of(project: Project) -> str:
    return (folder_of(project) / "README.md").read_text("utf-8")


def by_the_card(project: Project, after: str = "", warn: bool = True) -> str:
    """Runs the card's lines as they stand in a Python of its own, in the project's folder; returns what it printed."""
    lib = project.run.path / "lib"
    shutil.copytree(Path(stationmaster_trainer.__file__).parent, lib / "stationmaster_trainer", dirs_exist_ok=True)
    lines = "\n".join(re.findall(r"```python\n(.*?)```", card_of(project), re.DOTALL))
    fresh = [sys.executable, "-I", *(["-W", "error"] if warn else []), "-c", lines + after]
    ran = subprocess.run(fresh, cwd=project.path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def scored(chat: Any, test_data: str) -> Any:
    """The reply of `evaluate_run` with the figures, or the refusal; asked again while a busy machine still scores."""
    while not (reply := chat("evaluate_run", test_data=test_data)).is_error and not reply.facts["done"]:
        pass
    return reply


def accepted(chat: Any, test_data: str) -> Any:
    """The reply with the figures."""
    reply = scored(chat, test_data)
    assert not reply.is_error, reply.text
    return reply


def refused(chat: Any, test_data: str) -> str:
    """The words of the refusal."""
    reply = scored(chat, test_data)
    assert reply.is_error, reply.text
    return str(reply.text)
