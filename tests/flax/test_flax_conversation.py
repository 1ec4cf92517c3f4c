"""A conversation about a Flax project through a real client: inspected, gated, trained, summarized."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_project import until

PROJECTS = Path(__file__).parent.parent / "projects"
NAMES = ("JAX_PLATFORMS", "NPROC", "PJRT_NPROC", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")


def source(kind: str) -> str:
    return (PROJECTS / f"flax_{kind}" / "model.py").read_text()


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_both_kinds_are_recognised_without_being_run(
    kind: str, make_project: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    said = connect(make_project(model=source(kind))).accepted("inspect_project")
    assert "flax" in said.text and "DigitNet" in said.text
    assert "not yet built" not in said.text


def test_a_network_of_nnx_is_trained_in_a_conversation(
    make_project: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    project = make_project(model=source("nnx"))
    chat = connect(project, **{name: os.environ[name] for name in NAMES})
    proposal = chat.confirmed(epochs=6, device="cpu")
    assert "DigitNet" in proposal.text and "framework: flax" in proposal.text
    assert (proposal.facts["config"]["precision"], proposal.facts["config"]["framework"]) == ("fp32", "flax")
    chat.accepted("start_run", digest=proposal.facts["digest"])
    final = ("succeeded", "failed", "stopped", "lost")

    def ended() -> Any:
        reply = chat.accepted("poll_status", wait_seconds=5)
        return reply if reply.facts["state"] in final else None

    last = until(ended, "the end of the run")
    assert last.facts["state"] == "succeeded", last.text
    summary = chat.accepted("summarize")
    assert "Training Complete" in summary.text
    assert "accuracy 0.9" in summary.text
    assert list((project.path / "checkpoints").glob("*/checkpoint-*/model/_METADATA"))
