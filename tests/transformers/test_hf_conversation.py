"""A whole conversation through a real client: a saved model and chat data, no line of Python in the project."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hf_project import QUESTIONS, save_llama


@pytest.fixture
def folder(make_project: Callable[..., Any]) -> Any:
    """A project with a tiny Llama of random weights and a hundred conversations."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    project = make_project(model=None, data=b"")
    (project.path / "digits.csv").unlink()
    save_llama(project.path / "tiny-llama")
    made = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(project.path / "tiny-llama"))
    made.save_pretrained(project.path / "tiny-llama")
    rows = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in QUESTIONS]
    text = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
    project.write("chats.jsonl", text)
    return project


def test_from_a_saved_model_and_chats_to_a_finished_run(folder: Any, connect: Callable[..., Any]) -> None:
    chat = connect(folder, HF_HUB_OFFLINE="1")
    seen = chat.accepted("inspect_project")
    assert "Framework: transformers (a saved model, tiny-llama/config.json)" in seen.text
    assert "chats.jsonl (100 rows, 1 columns, language modeling)" in seen.text
    chat.accepted("choose_logging", backends=["file"])
    validated = chat.accepted("check_validation", split=0.2)
    assert "80 train, 20 validation samples" in validated.text
    assert "'messages' is the messages; trained as causal lm" in validated.text
    assert "of them carry loss (11." in validated.text
    refused = chat.refused("propose_config", changes={"extra": {"report_to": "wandb"}})
    assert "Use the key logging for it" in refused
    changes = {"total_steps": 12, "sequence_length": 64, "extra": {"lora_r": 4}, "log_every": 1}
    shown = chat.accepted("propose_config", changes=changes)
    config = shown.facts["config"]
    assert (config["framework"], config["model_path"]) == ("transformers", "tiny-llama")
    assert (config["learning_rate"], config["batch_size"]) == (2e-4, 8)
    assert "axolotl, Unsloth" in shown.text  # the row of LoRA
    assert "loss_tokens" in shown.text
    assert "of them learn" in shown.text
    assert 'extra: {"lora_r": 4}' in shown.text
    started = chat.accepted("start_run", digest=shown.facts["digest"])
    poll = {"run": started.facts["run"], "wait_seconds": 2}
    done = eventually(lambda: ended(chat.accepted("poll_status", **poll)), 120)
    assert done.facts["state"] == "succeeded", done.text
    checkpoints = folder.path / "checkpoints" / started.facts["run"]
    assert (checkpoints / "checkpoint-12" / "adapter_model.safetensors").is_file()


def ended(reply: Any) -> Any:
    return reply if reply.facts["state"] in ("succeeded", "failed", "stopped") else None


def eventually(look: Callable[[], Any], seconds: float) -> Any:
    """The first true value of `look`, which waits by itself."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
    return value


def test_an_option_of_transformers_is_refused_for_another_framework(make_project: Any, connect: Any) -> None:
    chat = connect(make_project("digits"))
    words = chat.refused("propose_config", changes={"extra": {"lora_r": 4}})
    assert "extra.lora_r is for transformers, the framework is pytorch" in words
