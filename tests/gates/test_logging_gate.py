"""No run without a log: the first gate, its exact words, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stationmaster_trainer import plugins

SENTENCE = "I need logging configured before training. Which backend would you like to use?"
CHOICES = [
    "- File-based (CSV/JSON) - zero dependencies",
    "- TensorBoard - local visualization",
    "- Weights & Biases - cloud tracking",
]
WRITTEN = [name for name in ("tensorboard", "wandb") if name in plugins.known("loggers")]


def test_without_logging_nothing_starts_and_the_question_is_the_checklist_s(desk: Any, office: Any) -> None:
    assert desk.refused("start_run", digest="0" * 64).splitlines() == [SENTENCE, *CHOICES]
    for backends in ([], ["mlflow"], ["file", "mlflow"]):
        assert desk.refused("choose_logging", backends=backends).splitlines()[1:] == CHOICES
    assert SENTENCE in desk.refused("start_run", digest="0" * 64)
    assert not (office.path / "runs").exists()


def test_an_unknown_backend_is_named(desk: Any) -> None:
    assert "unknown logging backend 'mlflow'" in desk.refused("choose_logging", backends=["file", "mlflow"])


def test_a_backend_that_is_not_built_yet_says_so_and_what_there_is(desk: Any) -> None:
    if "wandb" in WRITTEN:
        pytest.skip("the writer is there")
    words = desk.refused("choose_logging", backends=["wandb"])
    assert words == "logging to wandb is not yet built: it comes with the next release. Choose file or tensorboard."


def test_the_file_log_is_always_among_the_choice(desk: Any) -> None:
    reply = desk.accepted("choose_logging", backends=["tensorboard", "tensorboard"])
    assert reply.facts["logging"] == ["file", "tensorboard"]
    assert "always written" in reply.text
    assert reply.facts["plan"]["logging"] == "passed"
    assert desk.accepted("choose_logging", backends=["file"]).facts["logging"] == ["file"]


def test_with_logging_the_next_refusal_is_the_validation_s(desk: Any) -> None:
    assert desk.refused("start_run", digest="0" * 64).startswith("No validation dataset specified.")


def test_a_backend_whose_package_is_missing_is_refused_with_the_install_command(
    hall: Any, office: Any, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        f"m.PathFinder.find_spec = lambda n, *a, **k: None if n in {WRITTEN!r} else find(n, *a, **k)\n"
    )
    chat = hall.connect(office, PYTHONPATH=str(tmp_path))
    for backend in WRITTEN:
        words = chat.refused("choose_logging", backends=[backend])
        assert f"logging to {backend} needs {backend}, which" in words
        assert "Install it: " in words and f"install {backend}" in words
