"""Changes to the configuration: what is accepted, and that a refusal names the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
import math
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationmaster_server import configfile
from stationmaster_server.config import KEYS, allowed, consistent, parse
from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import ConfigError

CONFIG = TrainingConfig(
    model_path="model.py",
    framework="pytorch",
    train_data="digits.csv",
    val_data="split",
    batch_size=32,
    gradient_accumulation=1,
    optimizer="AdamW",
    learning_rate=1e-5,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    warmup_steps=135,
    lr_schedule="cosine",
    total_steps=1350,
    gradient_clip=1.0,
    dropout=None,
    checkpoint_every=45,
    checkpoint_dir="./checkpoints/net-20261123-001",
    log_every=10,
    validate_every=45,
    logging=("file", "tensorboard"),
    run_name="net-20261123-001",
    task="classification",
    epochs=30,
)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learning_rate", -0.1, "above 0"),
        ("learning_rate", 0, "above 0"),
        ("learning_rate", math.nan, "above 0"),
        ("learning_rate", math.inf, "above 0"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", True, "a number"),
        ("learning_rate", [0.1], "a number"),
        ("batch_size", 0, "a whole number from 1"),
        ("batch_size", 2.5, "a whole number from 1"),
        ("batch_size", "many", "a whole number from 1"),
        ("betas", [0.9, 1.0], "from 0 to below 1"),
        ("betas", [0.9], "from 0 to below 1"),
        ("betas", 0.9, "from 0 to below 1"),
        ("optimizer", "Adam", "AdamW or SGD"),
        ("lr_schedule", "step", "cosine, linear or constant"),
        ("device", "gpu", "auto, cpu, cuda"),
        ("precision", "fp8", "fp32, bf16 or fp16"),
        ("val_fraction", 1.0, "above 0 to 0.9"),
        ("val_data", "none", "check_validation"),
        ("warmup_steps", -1, "a whole number from 0"),
        ("gradient_clip", -1, "from 0"),
        ("dropout", 1.0, "keep model default"),
        ("min_lr_ratio", 1.0, "from 0 to below 1"),
        ("run_name", "../escape", "letters, digits"),
        ("run_name", "-rf", "letters, digits"),
        ("logging", ["mlflow"], "file, tensorboard, wandb"),
        ("logging", [], "file, tensorboard, wandb"),
        ("model_args", {"no identifier": 1}, "argument names"),
        ("seed", -1, "from 0 to"),
        ("seed", 2**32, "from 0 to"),
        ("framework", "tensorflow", "pytorch"),
        ("missing_values", "ignore", "error, drop or mean"),
        ("scale_inputs", "perhaps", "true or false"),
        ("epochs", 0, "above 0"),
        ("sequence_length", 1, "from 2"),
        ("keep_checkpoints", 0, "from 1"),
    ],
)
def test_an_impossible_value_is_refused_by_key_value_and_limit(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({key: value})
    assert refusal.value.message.startswith(f"{key} is {value!r}, allowed: ")
    assert words in refusal.value.message


def test_an_unknown_key_is_refused_with_the_closest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'lr'. Did you mean 'learning_rate'\?"):
        parse({"lr": 0.1})
    with pytest.raises(ConfigError, match=r"unknown key 'batchsize'. Did you mean 'batch_size'\?"):
        parse({"batchsize": 1})


def test_all_problems_come_in_one_refusal() -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({"lr": 0.1, "batch_size": 0, "seed": -1, "epochs": 3})
    assert len(refusal.value.message.splitlines()) == 3


def test_numbers_in_quotes_are_numbers_and_names_know_no_case() -> None:
    typed = parse({"learning_rate": "1e-3", "batch_size": "32", "optimizer": "adamw", "warmup_steps": 10.0})
    assert typed == {"learning_rate": 0.001, "batch_size": 32, "optimizer": "AdamW", "warmup_steps": 10}


def test_null_and_the_checklist_s_words_take_a_value_back() -> None:
    assert parse({"dropout": "keep model default", "learning_rate": None}) == {"dropout": None, "learning_rate": None}


def test_every_key_of_the_contract_has_a_limit() -> None:
    assert set(allowed()) == set(KEYS) == {field.name for field in dataclasses.fields(TrainingConfig)}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("batch_size", 1438, "from 1 to 1,437 (the training samples)"),
        ("gradient_accumulation", 46, "from 1 to 45 (the batches of one epoch)"),
        ("warmup_steps", 1350, "from 0 to 1,349 (below total_steps)"),
        ("checkpoint_every", 1351, "from 1 to 1,350 (total_steps)"),
        ("validate_every", 1351, "from 1 to 1,350 (total_steps)"),
        ("log_every", 1351, "from 1 to 1,350 (total_steps)"),
        ("total_steps", 1400, "change only one"),
        ("precision", "bf16", "fp32 on this device"),
    ],
)
def test_values_that_contradict_the_data_or_each_other_are_refused(key: str, value: Any, words: str) -> None:
    config = dataclasses.replace(CONFIG, **{key: value})
    with pytest.raises(ConfigError) as refusal:
        consistent(config, train_samples=1437, steps_per_epoch=45, precisions=("fp32",))
    assert f"{key} is {value!r}" in refusal.value.message
    assert words in refusal.value.message


def test_the_configuration_that_is_right_passes() -> None:
    consistent(CONFIG, train_samples=1437, steps_per_epoch=45, precisions=("fp32",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4))
def test_any_value_is_either_typed_or_refused_by_name(changes: dict[str, Any]) -> None:
    try:
        typed = parse(changes)
    except ConfigError as refusal:
        named = refusal.message.splitlines()
        ways = tuple(f"{key}{how}" for key in changes for how in (" is ", ".", " has no "))
        assert any(line.startswith(ways) for line in named)
    else:
        assert set(typed) == set(changes)
        for key, value in typed.items():
            assert value is None or allowed()[key].test(value)


@given(st.dictionaries(st.text(max_size=12).filter(lambda key: key not in KEYS), json_values, min_size=1, max_size=3))
def test_any_unknown_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        parse(changes)


def test_the_yaml_has_the_checklist_s_headings_and_loads_back_as_itself() -> None:
    import yaml

    text = configfile.render(CONFIG, {"learning_rate": "a reason: with # signs"})
    headings = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    assert headings == [
        "Model", "Data", "Optimizer", "Schedule", "Regularization", "Checkpointing", "Logging", "Run",
    ]  # fmt: skip
    loaded = yaml.safe_load(text)
    assert loaded.pop("dropout") == "keep model default"
    plain = dataclasses.asdict(CONFIG)
    plain.pop("dropout")
    assert loaded == {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


texts = st.text(max_size=30)
floats = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


@given(st.one_of(texts, floats.map(lambda value: float(f"{value:.12g}")), st.integers(), st.booleans(), st.none()))
def test_any_scalar_loads_back_as_itself(value: Any) -> None:
    import yaml

    if isinstance(value, str) and any(ord(char) in range(0xD800, 0xE000) for char in value):
        return
    loaded = yaml.safe_load(f"key: {configfile.scalar('', value)}  # comment")["key"]
    assert loaded == value and type(loaded) is type(value)


def test_thresholds_of_the_rules_are_options_and_a_wrong_one_names_the_known() -> None:
    assert parse({"extra": {"rules": {"loss_spike.ratio": 3}}})["extra"]["rules"] == {"loss_spike.ratio": 3}
    with pytest.raises(ConfigError, match=r"unknown rule setting 'loss_spike\.ration'\. Known: .*loss_spike\.ratio"):
        parse({"extra": {"rules": {"loss_spike.ration": 3}}})
    with pytest.raises(ConfigError, match="extra has no option 'rulez'"):
        parse({"extra": {"rulez": {}}})
    with pytest.raises(ConfigError, match=r"extra\.image_size is 0, allowed: a whole number from 1"):
        parse({"extra": {"image_size": 0}})
