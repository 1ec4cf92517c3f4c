"""No run without a log: the first gate, its exact words, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SENTENCE = "I need logging configured before training. Which backend would you like to use?"
CHOICES = [
    "- File-based (CSV/JSON) - zero dependencies",
    "- TensorBoard - local visualization",
    "- Weights & Biases - cloud tracking",
]
WRITTEN = ["tensorboard", "wandb", "trackio"]


def test_without_logging_nothing_starts_and_the_question_is_the_checklist_s(desk: Any, office: Any) -> None:
    assert desk.refused("start_run", digest="0" * 64).splitlines() == [SENTENCE, *CHOICES]
    for backends in ([], ["mlflow"], ["file", "mlflow"]):
        assert desk.refused("choose_logging", backends=backends).splitlines()[1:] == CHOICES
    assert SENTENCE in desk.refused("start_run", digest="0" * 64)
    assert not (office.path / "runs").exists()


def test_an_unknown_backend_is_named(desk: Any) -> None:
    assert "unknown logging backend 'mlflow'" in desk.refused("choose_logging", backends=["file", "mlflow"])


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


def test_wandb_without_a_key_is_taken_and_said_to_be_offline(hall: Any, office: Any) -> None:
    """A home without netrc, and no WANDB variable: as the desk has it. A key is told of, never told."""
    reply = hall.connect(office).accepted("choose_logging", backends=["wandb", "trackio"])
    assert reply.facts["logging"] == ["file", "wandb", "trackio"]
    assert "W&B: no W&B key was found: set WANDB_API_KEY, or run `wandb login`; it is written offline" in reply.text
    reply = hall.connect(office, WANDB_API_KEY="not-a-real-key-4711").accepted("choose_logging", backends=["wandb"])
    assert "online at api.wandb.ai if it answers, else offline" in reply.text and "4711" not in reply.text
