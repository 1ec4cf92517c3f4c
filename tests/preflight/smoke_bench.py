"""Smoke tests of small projects, without a server: a model file, digits or its own data, and what is found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from training_project import Project

from stationmaster_trainer import codec, measure
from stationmaster_trainer.contract import DataFacts
from stationmaster_trainer.facts import Answer, Finding, Request, SmokeFacts

QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}


def digits(project: Project) -> None:
    """scikit-learn's digits as data.npz."""
    from sklearn.datasets import load_digits

    found = load_digits()
    project.arrays(found.data.astype(np.float32), found.target)


def made(path: Path, model: str, **changes: Any) -> Project:
    """A PyTorch project on digits whose configuration has these keys changed; 500 steps are planned."""
    project = Project(path)
    project.config = replace(project.config, **{"total_steps": 500, "warmup_steps": 5, **changes})
    project.model(model)
    digits(project)
    return project


def ask(project: Project, kind: Any = "smoke") -> Answer:
    """The answer of the process that the server would start."""
    os.environ.update(QUIET)
    facts = DataFacts(train_samples=1, val_samples=0, steps_per_epoch=1, parameters=1, trainable_parameters=1)
    options = {"run": "run", "facts": codec.to_plain(facts), "lease": "", "share": True}
    before = sorted(path.name for path in project.path.rglob("*"))
    answer = measure.answer(Request(kind, str(project.path), config=codec.to_plain(project.config), options=options))
    left = {path.name for path in project.path.rglob("*")} - set(before)
    assert left <= {"__pycache__"}, left
    return answer


def smoke(project: Project) -> SmokeFacts:
    """What the smoke test saw."""
    answer = ask(project)
    assert answer.smoke is not None, answer
    return answer.smoke


def named(facts: SmokeFacts) -> dict[str, Finding]:
    """Findings by their check."""
    return {one.check: one for one in facts.findings}
