"""The computed defaults hold the checklist's words, whatever was measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationmaster_server.policy import formulas
from stationmaster_server.policy.choice import Choice, Known, choices
from stationmaster_server.policy.policy import choose, policy


def known(**changes: Any) -> Known:
    facts: dict[str, Any] = {
        "framework": "pytorch",
        "task": "classification",
        "input": "table",
        "train_samples": 1437,
        "val_samples": 360,
        "parameters": 2410,
    }
    return Known(**{**facts, **changes})


measured = st.builds(
    known,
    task=st.sampled_from(["classification", "regression"]),
    input=st.sampled_from(["table", "images"]),
    train_samples=st.integers(1, 3_000_000),
    parameters=st.integers(0, 10_000_000_000),
    batch_that_fits=st.one_of(st.none(), st.integers(1, 64)),
)
texts = st.builds(
    known,
    task=st.just("language_modeling"),
    input=st.just("text"),
    train_samples=st.integers(1, 3_000_000),
    parameters=st.integers(1000, 10_000_000_000),
    tokens_per_sample=st.integers(2, 4096),
)


@given(st.one_of(measured, texts))
def test_every_default_keeps_the_checklist_s_words(facts: Known) -> None:
    found = choices(facts, {})
    value = {key: choice.value for key, choice in found.items()}
    assert (value["optimizer"], value["weight_decay"], value["lr_schedule"]) == ("AdamW", 0.01, "cosine")
    assert value["betas"] in ((0.9, 0.999), (0.9, 0.95))
    assert (value["gradient_clip"], value["dropout"]) == (1.0, None)
    assert value["warmup_steps"] == min(value["total_steps"] // 10, 2000) < value["total_steps"]
    assert value["validate_every"] == value["checkpoint_every"] <= min(1000, value["total_steps"])
    assert 1 <= value["batch_size"] <= facts.train_samples
    assert 1 <= value["log_every"] <= 100
    steps = formulas.steps_per_epoch(facts.train_samples, value["batch_size"], value["gradient_accumulation"])
    assert value["total_steps"] == math.ceil(value["epochs"] * steps)
    assert all(choice.reason for choice in found.values())


@given(measured)
def test_a_run_never_has_more_than_about_fifty_checkpoints_of_short_epochs(facts: Known) -> None:
    value = {key: choice.value for key, choice in choices(facts, {"epochs": 300}).items()}
    every, total = value["checkpoint_every"], value["total_steps"]
    steps = formulas.steps_per_epoch(facts.train_samples, value["batch_size"], value["gradient_accumulation"])
    assert every >= min(1000, total, steps)
    assert every == min(1000, total) or total / every <= 51


def test_tiny_epochs_are_put_together_and_the_reason_says_so() -> None:
    every = choices(known(train_samples=40), {"epochs": 50})["checkpoint_every"]
    assert (every.value, every.reason) == (20, "every 4 epochs: an epoch is only 5 steps")


def test_very_little_data_is_passed_more_often() -> None:
    found = choices(known(train_samples=10), {})
    assert (found["epochs"].value, found["total_steps"].value) == (150, 300)
    assert "2 steps" in found["epochs"].reason


def test_an_epoch_longer_than_a_thousand_steps_is_saved_within() -> None:
    assert choices(known(train_samples=1_000_000), {})["checkpoint_every"].value == 1000


def test_a_short_run_logs_more_often_and_says_why() -> None:
    log_every = choices(known(), {"total_steps": 60})["log_every"]
    assert log_every.value == 3
    assert "60 steps" in log_every.reason


def test_large_language_models_take_the_second_betas() -> None:
    facts = known(task="language_modeling", input="text", parameters=124_000_000, tokens_per_sample=1024)
    found = choices(facts, {})
    assert found["betas"].value == (0.9, 0.95)
    assert found["learning_rate"].value == 6e-4


def test_where_the_table_is_more_specific_both_values_are_shown() -> None:
    facts = known(task="language_modeling", input="text", parameters=1_000_000, tokens_per_sample=128)
    decay: Choice = choices(facts, {})["weight_decay"]
    assert decay.value == 0.01
    assert decay.beside == "0.1 (nanoGPT char config)"


def test_sgd_scales_its_rate_with_the_batch() -> None:
    facts = known(input="images", train_samples=60_000)
    assert choices(facts, {"optimizer": "SGD"})["learning_rate"].value == pytest.approx(0.1)
    assert choices(facts, {"optimizer": "SGD", "batch_size": 64})["learning_rate"].value == pytest.approx(0.025)


def test_naming_the_steps_gives_the_epochs_that_they_amount_to() -> None:
    found = choices(known(), {"total_steps": 90})
    assert (found["epochs"].value, found["warmup_steps"].value) == (2.0, 9)


def test_memory_that_is_too_small_is_made_up_for_by_accumulation() -> None:
    found = choices(known(train_samples=100_000, batch_that_fits=64), {})
    assert (found["batch_size"].value, found["gradient_accumulation"].value) == (64, 4)


def test_every_row_has_a_source_and_a_rate() -> None:
    for row in policy().rows:
        assert row.source and row.name and row.learning_rate and row.effective_batch


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [(10e6, 1e-3), (124e6, 6e-4), (410e6, 3e-4), (1.5e9, 3e-4), (7e9, 3e-4)],
)
def test_the_rate_of_a_language_model_follows_its_size(parameters: float, rate: float) -> None:
    row = choose(int(parameters), task="language_modeling", regime="scratch", framework="pytorch", optimizer="AdamW")
    assert row.learning_rate == rate


def test_the_formulas_give_the_published_numbers() -> None:
    assert formulas.warmup_steps(1350) == 135
    assert formulas.warmup_steps(100_000) == 2000
    assert formulas.lora_learning_rate(2e-5) == pytest.approx(2e-4)
    assert formulas.porian(108e6) == (pytest.approx(0.0047), pytest.approx(327_680))
    rate, batch = formulas.step_law(1e9, 100e9)
    assert rate == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    assert batch == pytest.approx(0.58 * 1e11**0.571)
    assert formulas.scaled_beta2(0.999, 32, 256) == pytest.approx(0.999 ** (1 / 8))
    assert formulas.steps_per_epoch(1437, 32) == 45
    assert formulas.steps_per_epoch(1437, 32, 4) == 12
    assert formulas.small_data_batch(1437) == 32
    assert formulas.small_data_batch(5) == 5
