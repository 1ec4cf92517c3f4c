"""On the same rows in the same order the adapter trains what a plain Trainer trains, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hf_project import QUESTIONS, HfProject, save_llama, save_tokenizer

from stationmaster_trainer.contract import Train

SAME: dict[str, Any] = {
    "learning_rate": 3e-3, "warmup_steps": 0, "lr_schedule": "constant", "gradient_clip": 1.0, "batch_size": 8,
    "seed": 7, "total_steps": 40, "validate_every": 40, "checkpoint_every": 40, "val_data": "none",
}  # fmt: skip


def both(project: HfProject, model: Any, **settings: Any) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """(loss, norm) of each step: ours, the plain Trainer's; and its weights at the end."""
    from plain_trainer import plain_trainer
    from transformers import Trainer

    project.train_here(**{**SAME, **settings})
    seen: list[tuple[float, float]] = []

    class Watched(Trainer):  # type: ignore[misc]
        def training_step(self, *some: Any, **more: Any) -> Any:
            loss = super().training_step(*some, **more)
            self.losses = [*getattr(self, "losses", []), float(loss)]
            return loss

        def _get_grad_norm(self, *some: Any, **more: Any) -> Any:
            norm = super()._get_grad_norm(*some, **more)
            seen.append((sum(self.losses), float(norm)))
            self.losses = []
            return norm

    trainer = plain_trainer(project.path, project.config, model, Watched)
    trainer.train()
    ours = [(record.loss, record.grad_norm) for record in project.records(Train)]
    return ours, seen, trainer.model.state_dict()


def weights(project: HfProject) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(str(project.checkpoints / f"checkpoint-{SAME['total_steps']}" / "model.safetensors"))


def tiny_llama(project: HfProject) -> Any:
    """The same random weights as the adapter's."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(SAME["seed"])
    config = LlamaConfig.from_pretrained(project.path / "model", pad_token_id=256)  # the tokenizer's: its row is zero
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture
def sums(tmp_path: Any) -> HfProject:
    """Answers of one to forty tokens; no dropout, whose draws would differ."""
    project = HfProject(tmp_path / "project")
    save_llama(project.path / "model", attention_dropout=0.0)
    rows = [{"prompt": ask, "completion": "so " * (n % 13) + answer} for n, (ask, answer) in enumerate(QUESTIONS[:80])]
    project.rows(rows)
    return project


def test_a_fine_tuning_equals_the_plain_trainers_bit_for_bit(sums: HfProject) -> None:
    """Losses, norms before clipping (every step is clipped) and all weights after forty steps of four epochs."""
    ours, plain, end = both(sums, tiny_llama(sums))
    assert len(plain) == 40
    assert min(norm for _, norm in ours) > 1
    assert ours == plain
    saved = weights(sums)
    assert saved.keys() == end.keys()
    assert all(torch.equal(saved[name], end[name]) for name in saved)


def test_micro_batches_of_different_weight_make_the_same_steps_as_the_plain_trainers(sums: HfProject) -> None:
    """Both take the mean over the tokens of the whole step; the order of that sum is not the same, hence 1e-6."""
    ours, plain, _ = both(sums, tiny_llama(sums), gradient_accumulation=2, batch_size=4)
    assert [loss for loss, _ in ours] == pytest.approx([loss for loss, _ in plain], rel=1e-6)
    assert [norm for _, norm in ours] == pytest.approx([norm for _, norm in plain], rel=1e-4)


def test_a_classifier_equals_the_plain_trainers_bit_for_bit(tmp_path: Any) -> None:
    from transformers import AutoModelForSequenceClassification, BertConfig

    project = HfProject(tmp_path / "project", task="classification")
    size = save_tokenizer(project.path / "model")
    BertConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=96, pad_token_id=256, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    ).save_pretrained(project.path / "model")  # fmt: skip
    project.rows({"text": f"{ask} {answer}", "label": len(answer)} for ask, answer in QUESTIONS[:80])
    torch.manual_seed(SAME["seed"])
    config = BertConfig.from_pretrained(project.path / "model", num_labels=2)
    ours, plain, end = both(project, AutoModelForSequenceClassification.from_config(config), gradient_clip=0.5)
    assert ours == plain
    assert all(torch.equal(tensor, end[name]) for name, tensor in weights(project).items())
