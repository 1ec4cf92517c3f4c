"""The configuration as it is shown: all the checklist's keys with reasons, changes as differences, one digest."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

QUESTION = "Does this configuration look correct? Any changes?"
CHECKLIST = [
    "model_path", "framework", "train_data", "val_data", "batch_size", "gradient_accumulation", "optimizer",
    "learning_rate", "weight_decay", "betas", "warmup_steps", "lr_schedule", "total_steps", "gradient_clip", "dropout",
    "checkpoint_every", "checkpoint_dir", "log_every", "validate_every",
]  # fmt: skip
MAX_CHARACTERS = 2900
"""Of a whole proposal; about 900 tokens."""


@pytest.fixture(scope="module")
def shown(desk: Any) -> Any:
    """The configuration with nothing changed, after logging and validation."""
    return desk.confirmed()


def block(text: str) -> str:
    found = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert found is not None
    return found[1]


def test_before_the_other_gates_it_is_shown_without_a_digest(desk: Any) -> None:
    reply = desk.accepted("propose_config")
    assert reply.text.endswith(QUESTION)
    assert reply.facts["digest"] is None
    assert "Gates: logging open, validation open, configuration open" in reply.text
    assert "not decided" in reply.text
    assert not re.search(r"[0-9a-f]{64}", reply.text)


def test_all_keys_of_the_checklist_come_in_its_order_under_its_headings(shown: Any) -> None:
    text = block(shown.text)
    loaded = yaml.safe_load(text)
    assert [key for key in loaded if key in CHECKLIST] == CHECKLIST
    headings = [line for line in text.splitlines() if line.startswith("# ")]
    assert headings[:7] == [
        "# Model", "# Data", "# Optimizer", "# Schedule", "# Regularization", "# Checkpointing", "# Logging",
    ]  # fmt: skip
    assert shown.text.endswith(f"\n{QUESTION}")
    assert len(shown.text) < MAX_CHARACTERS


def test_every_computed_value_has_a_reason_and_a_source(shown: Any) -> None:
    for line in block(shown.text).splitlines():
        key = line.partition(":")[0]
        if key in CHECKLIST:
            assert "  # " in line, line
    assert "learning_rate: 0.001  # 2,410 parameters [Adam's default]" in shown.text
    assert re.search(r"warmup_steps: 135  # 10 % of the steps.*; table: none", shown.text)


def test_the_values_are_the_checklist_s(shown: Any) -> None:
    config = shown.facts["config"]
    assert config["optimizer"] == "AdamW" and config["weight_decay"] == 0.01 and config["betas"] == [0.9, 0.999]
    assert config["lr_schedule"] == "cosine" and config["gradient_clip"] == 1.0 and config["dropout"] is None
    assert config["warmup_steps"] == min(config["total_steps"] // 10, 2000)
    assert config["checkpoint_dir"] == f"./checkpoints/{config['run_name']}"
    assert config["validate_every"] == config["checkpoint_every"] == 45
    assert (config["model_path"], config["train_data"], config["val_data"]) == ("model.py", "digits.csv", "split")
    assert re.fullmatch(r"[0-9a-f]{64}", shown.facts["digest"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rte": 0.1}, "unknown key 'learning_rte'. Did you mean 'learning_rate'?"),
        ({"batch_size": 5000}, "batch_size is 5000, allowed: a whole number from 1 to 1,438 (the training samples)."),
        ({"batch_size": "big"}, "batch_size is 'big', allowed: a whole number from 1."),
        ({"warmup_steps": 5000}, "warmup_steps is 5000, allowed: a whole number from 0 to 1,349 (below total_steps)."),
        ({"learning_rate": -0.001}, "learning_rate is -0.001, allowed: a number above 0 to 100."),
        ({"gradient_accumulation": 99}, "allowed: a whole number from 1 to 45 (the batches of one epoch)."),
        ({"epochs": 2, "total_steps": 1000}, "total_steps is 1000, allowed: 90 (2 epochs of 45); change only one."),
        ({"checkpoint_every": 10_000}, "checkpoint_every is 10000, allowed: a whole number from 1 to 1,350"),
        ({"val_data": "none"}, "check_validation"),
        ({"val_data": "../x.csv"}, "lies outside the project"),
        ({"model_path": "../model.py"}, "lies outside the project"),
        ({"model_path": "absent.py"}, "does not exist"),
        ({"train_data": "absent.csv"}, "train_data 'absent.csv' does not exist"),
        ({"checkpoint_dir": "../elsewhere"}, "lies outside the project"),
        ({"checkpoint_dir": "."}, "allowed: a new or empty folder inside the project."),
        ({"logging": ["mlflow"]}, "logging is ['mlflow'], allowed: a list of file, tensorboard, wandb, trackio."),
        ({"framework": "jax"}, "framework is 'jax', allowed: "),
        ({"dropout": 0.5}, "the model has no dropout layer"),
        ({"device": "gpu"}, "device is 'gpu', allowed: auto, cpu, cuda, cuda:<n> or mps."),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    desk: Any, shown: Any, changes: dict[str, Any], words: str
) -> None:
    assert words in desk.refused("propose_config", changes=changes)
    assert desk.accepted("propose_config").facts["digest"] == shown.facts["digest"]


def test_changes_add_up_are_shown_as_differences_and_null_takes_them_back(desk: Any, shown: Any) -> None:
    first = desk.accepted("propose_config", changes={"learning_rate": "1e-2"})
    assert first.facts["changes"] == ["learning_rate: 0.01 (default 0.001)"]
    assert "Changed: learning_rate: 0.01 (default 0.001)." in first.text
    assert first.facts["digest"] != shown.facts["digest"]
    second = desk.accepted("propose_config", changes={"epochs": 3})
    assert second.facts["changes"] == ["learning_rate: 0.01 (default 0.001)", "epochs: 3.0 (default 30)"]
    assert second.facts["config"]["total_steps"] == 135
    third = desk.accepted("propose_config", changes={"total_steps": 90})
    assert third.facts["config"]["epochs"] == 2.0
    assert third.facts["run"] == shown.facts["run"]
    back = desk.accepted("propose_config", changes={"learning_rate": None, "total_steps": None})
    assert back.facts["changes"] == []
    assert back.facts["digest"] == shown.facts["digest"]


def test_another_seed_splits_anew_and_another_logging_is_recorded_at_its_gate(desk: Any, office: Any) -> None:
    reply = desk.accepted("propose_config", changes={"seed": 7, "logging": ["file", "tensorboard"]})
    assert "seed 7" in reply.text
    assert reply.facts["config"]["logging"] == ["file", "tensorboard"]
    plan = json.loads((office.path / ".stationmaster" / "plan.json").read_text())
    assert plan["logging"]["backends"] == ["file", "tensorboard"]
    assert plan["validation"]["config"]["seed"] == 7
    desk.accepted("propose_config", changes={"logging": ["file"]})


def test_the_plan_survives_the_server(hall: Any, office: Any, desk: Any) -> None:
    before = desk.accepted("propose_config", changes={"weight_decay": 0.05})
    after = hall.connect(office).accepted("propose_config")
    assert after.facts["digest"] == before.facts["digest"]
    assert after.facts["plan"] == before.facts["plan"]
    desk.accepted("propose_config", changes={"weight_decay": None})


def test_a_choice_made_anew_makes_the_shown_configuration_stale(desk: Any) -> None:
    digest = desk.accepted("propose_config").facts["digest"]
    desk.accepted("choose_logging", backends=["tensorboard"])
    words = desk.refused("start_run", digest=digest)
    assert words.startswith("The logging choice changed since the configuration was shown.")
    desk.accepted("choose_logging", backends=["file"])
    assert desk.accepted("propose_config").facts["digest"] == digest


def test_a_damaged_plan_is_set_aside_and_said(hall: Any, desk: Any) -> None:
    project = hall.make("damaged")
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    plan = project.path / ".stationmaster" / "plan.json"
    whole = plan.read_bytes()
    nested = b'{"changes": ' + b'{"a": ' * 400 + b"1" + b"}" * 401
    damages = (whole[: len(whole) // 2], b"\0" * 100, b"[]", b'{"approvals": 3}', b"", nested, b"[" * 100_000)
    for damage in damages:
        plan.write_bytes(damage)
        words = chat.refused("start_run", digest="0" * 64)
        assert "I need logging configured before training." in words
        assert "set aside as .stationmaster/plan.damaged-" in words
    assert len(list(plan.parent.glob("plan.damaged-*.json"))) == len(damages)
    plan.write_bytes(b'{"format": 99}')
    assert "format 99" in chat.refused("choose_logging", backends=["file"])
    assert plan.read_bytes() == b'{"format": 99}'
    plan.unlink()
    plan.mkdir()
    assert "set aside" in chat.accepted("choose_logging", backends=["file"]).text


def test_a_batch_that_does_not_fit_in_memory_is_halved_and_made_up_for(hall: Any, desk: Any) -> None:
    source = (hall.folder / "office" / "model.py").read_text()
    limit = "        if len(x) > 16:\n            raise torch.OutOfMemoryError('CUDA out of memory.')\n"
    project = hall.make(
        "large", model=source.replace("        return self.layers", f"{limit}        return self.layers")
    )
    chat = desk.on(project)
    reply = chat.accepted("propose_config")
    config = reply.facts["config"]
    assert (config["batch_size"], config["gradient_accumulation"]) == (16, 2)
    assert "batch_size: 16  # the largest that fits in memory [measured]" in reply.text
    assert "gradient_accumulation: 2  # reaches the effective batch of 32" in reply.text


def test_a_model_that_cannot_be_imported_is_refused_with_its_place(hall: Any, desk: Any) -> None:
    project = hall.make("broken", model="import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    x = 1 / 0\n")
    chat = desk.on(project)
    chat.accepted("choose_logging", backends=["file"])
    words = chat.refused("propose_config")
    assert "model.py:5" in words and "ZeroDivisionError" in words
    project.write("model.py", "from torch import nn\n\nclass Net(nn.Module:\n")
    words = chat.refused("propose_config")
    assert "model.py:3" in words and "syntax" in words
