"""The arithmetic of a step under the Trainer: its losses, weights over micro-batches, clipping, non-finite steps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hf_project import QUESTIONS, HfProject, save_llama

from stationmaster_trainer import order
from stationmaster_trainer.adapters import _hf_data, _hf_source
from stationmaster_trainer.contract import Checkpoint, Eval, Note, Train
from stationmaster_trainer.errors import ModelError


@pytest.fixture
def calm(tmp_path: Path) -> HfProject:
    """Answers of very different length, and a model without dropout."""
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model", attention_dropout=0.0)
    project.rows({"prompt": asked, "completion": answer * (1 + n % 9)} for n, (asked, answer) in enumerate(QUESTIONS))
    return project


def plain_trainer_losses(project: HfProject, steps: int, tmp_path: Path) -> list[float]:
    """What transformers' own Trainer logs on the same rows in the same order, with nothing of ours in it."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainingArguments

    config = {"train_data": "data.jsonl", "model_path": "model", "sequence_length": 64, "val_data": "split"}
    source = _hf_source.find(config, project.path)
    train = _hf_data.load(config, project.path, source, source.config()).data.train
    rows = [train.batch(np.array([at])) for at in order.epoch_order(42, 0, len(train)).tolist()]

    def collate(samples: list[Any]) -> dict[str, torch.Tensor]:
        pad = torch.nn.utils.rnn.pad_sequence
        ids = [torch.from_numpy(inputs["input_ids"][0]) for inputs, _ in samples]
        labels = [torch.from_numpy(wanted[0]) for _, wanted in samples]
        return {
            "input_ids": pad(ids, batch_first=True),
            "attention_mask": pad([torch.ones_like(one) for one in ids], batch_first=True),
            "labels": pad(labels, batch_first=True, padding_value=-100),
        }

    torch.manual_seed(42)
    model = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(project.path / "model"))
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "plain"), per_device_train_batch_size=4, gradient_accumulation_steps=2,
        max_steps=steps, learning_rate=3e-3, weight_decay=0.01, lr_scheduler_type="constant", max_grad_norm=1.0,
        logging_steps=1, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True,
        train_sampling_strategy="sequential", remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_losses_are_those_of_a_plain_trainer_on_the_same_order(calm: HfProject, tmp_path: Path) -> None:
    """Also the short last step of the epoch: 80 samples are ten steps of eight."""
    calm.train_here(
        gradient_accumulation=2, total_steps=10, warmup_steps=0, lr_schedule="constant", validate_every=10,
        checkpoint_every=10,
    )  # fmt: skip
    ours = [record.loss for record in calm.records(Train)]
    assert ours == pytest.approx(plain_trainer_losses(calm, 10, tmp_path), abs=2e-4)
    assert ours[-1] < ours[0] - 1


def test_however_a_step_is_divided_every_token_weighs_the_same(calm: HfProject) -> None:
    """Micro-batches of 8, 4 and 2 rows with answers of 2 to 19 tokens."""
    seen = []
    for size in (8, 4, 2):
        project = HfProject(calm.path.parent / f"by-{size}")
        save_llama(project.path / "model", attention_dropout=0.0)
        (project.path / "data.jsonl").write_bytes((calm.path / "data.jsonl").read_bytes())
        project.train_here(
            batch_size=size, gradient_accumulation=8 // size, total_steps=2, validate_every=2, checkpoint_every=2
        )
        records = project.records(Train)
        assert [record.window_samples for record in records] == [8, 8]
        seen.append([value for record in records for value in (record.loss, record.grad_norm)])
    assert seen[0] == pytest.approx(seen[1], abs=2e-5)
    assert seen[0] == pytest.approx(seen[2], abs=2e-5)


def test_validation_is_the_mean_over_answer_tokens_with_its_standard_error(calm: HfProject) -> None:
    from transformers import AutoModelForCausalLM

    calm.train_here(total_steps=3)
    (record,) = calm.records(Eval)
    (saved,) = calm.records(Checkpoint)
    model = AutoModelForCausalLM.from_pretrained(calm.path / saved.path)
    config = {"train_data": "data.jsonl", "model_path": "model", "sequence_length": 64, "val_data": "split"}
    source = _hf_source.find(config, calm.path)
    val = _hf_data.load(config, calm.path, source, source.config()).data.val
    assert val is not None
    sums, counts = [], []
    for at in range(len(val)):
        inputs, labels = val.batch(np.array([at]))
        with torch.no_grad():
            loss = model(torch.from_numpy(inputs["input_ids"]), labels=torch.from_numpy(labels)).loss
        counts.append(int((labels[:, 1:] != -100).sum()))
        sums.append(float(loss) * counts[-1])
    mean = sum(sums) / sum(counts)
    assert record.loss == pytest.approx(mean, abs=1e-5)
    assert record.metrics == {"perplexity": pytest.approx(math.exp(mean), rel=1e-5)}
    n = len(sums)
    spread = sum((s - mean * c) ** 2 for s, c in zip(sums, counts, strict=True))
    assert record.loss_sem == pytest.approx(math.sqrt(spread * n / (n - 1)) / sum(counts), rel=1e-4)


def test_the_norm_is_recorded_before_clipping_and_biases_and_norms_do_not_decay(calm: HfProject) -> None:
    """SGD with rate 1: what decays shrinks by 0.5 beside the clipped step; the norms' weights hardly move."""
    from safetensors.torch import load_file

    calm.train_here(
        optimizer="SGD", betas=(0.0, 0.0), weight_decay=0.5, learning_rate=1.0, warmup_steps=0, gradient_clip=0.01,
        total_steps=1, validate_every=1, checkpoint_every=1, lr_schedule="constant",
    )  # fmt: skip
    (record,) = calm.records(Train)
    assert record.grad_norm is not None and record.grad_norm > 1
    weights = load_file(str(calm.checkpoints / "checkpoint-1" / "model.safetensors"))
    assert weights["model.norm.weight"].sub(1).abs().max() < 0.011
    (note,) = [note for note in calm.records(Note) if "update_ratio" in note.facts]
    assert note.facts["update_ratio"]["lm_head"] == pytest.approx(0.5, abs=0.02)
    assert note.facts["update_ratio"]["model.norm"] < 0.01


def test_non_finite_steps_are_recorded_raw_left_out_and_end_a_run_that_stays_so(calm: HfProject) -> None:
    """The Trainer's own log would show an average instead."""
    with pytest.raises(ModelError, match=r"not finite for 1\d\d steps in a row"):
        calm.train_here(
            optimizer="SGD", learning_rate=99.0, gradient_clip=0.0, warmup_steps=0, total_steps=400, log_every=5,
            lr_schedule="constant", checkpoint_every=400, validate_every=400,
        )  # fmt: skip
    records = calm.records(Train)
    assert sum(record.nonfinite for record in records) >= 100
    assert all(record.skipped == record.nonfinite for record in records)
    assert math.isnan(records[-1].loss)


def test_arguments_of_the_trainer_reach_it_by_their_own_names(calm: HfProject) -> None:
    plain = {"total_steps": 2, "validate_every": 2, "checkpoint_every": 2, "warmup_steps": 0}
    calm.train_here(**plain)
    smoothed = HfProject(calm.path.parent / "smoothed")
    save_llama(smoothed.path / "model", attention_dropout=0.0)
    (smoothed.path / "data.jsonl").write_bytes((calm.path / "data.jsonl").read_bytes())
    smoothed.train_here(**plain, extra={"label_smoothing_factor": 0.5, "gradient_checkpointing": True})
    one, other = (project.records(Train)[1].loss for project in (calm, smoothed))
    assert abs(one - other) > 1e-3
    assert calm.records(Eval)[0].loss == pytest.approx(smoothed.records(Eval)[0].loss, abs=0.1)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"per_device_train_batch_size": 8}, "Use the key batch_size"),
        ({"num_train_epochs": 3}, "Use the key epochs"),
        ({"report_to": "wandb"}, "Use the key logging"),
        ({"bf16": True}, "Use the key precision"),
        ({"deepspeed": "zero.json"}, "extra has no option 'deepspeed'"),
        ({"lora_rank": 8}, "Did you mean 'lora_r'?"),
        ({"lora_r": 0}, "whole number from 1 to 4,096"),
        ({"trust_remote_code": "yes"}, "true or false"),
        ({"overlong": "split"}, "truncate or drop"),
        ({"label_smoothing_factor": 2}, "a number from 0 to below 1"),
    ],
)
def test_an_option_that_contradicts_the_configuration_names_the_key_to_use(
    calm: HfProject, extra: dict[str, Any], words: str
) -> None:
    refusal = calm.refusal(extra=extra)
    assert refusal.startswith("ConfigError: ")
    assert words in refusal


def test_dropout_is_set_where_the_configuration_of_the_model_keeps_it(calm: HfProject) -> None:
    losses = {}
    for dropout in (0.0, 0.9):
        project = HfProject(calm.path.parent / f"dropout-{dropout}")
        save_llama(project.path / "model", attention_dropout=0.3)
        (project.path / "data.jsonl").write_bytes((calm.path / "data.jsonl").read_bytes())
        assert project.measure().dropout_layers == 1
        project.train_here(dropout=dropout, total_steps=1, validate_every=1, checkpoint_every=1)
        losses[dropout] = project.records(Train)[0].loss
    assert losses[0.0] != losses[0.9]
