"""The script that a person would write: a plain Trainer of Transformers on our rows, tokenised, in our order.

What it is compared with is the adapter; `benchmarks/trainer.py` times the same pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from stationmaster_trainer import order
from stationmaster_trainer.adapters import _hf_data, _hf_source
from stationmaster_trainer.contract import TrainingConfig


def plain_trainer(
    folder: Path, config: TrainingConfig, model: Any, kind: type[Trainer] = Trainer, callbacks: Sequence[Any] = (),
    **arguments: Any,
) -> Trainer:  # fmt: skip
    """A Trainer that is not ours, for the same run: constant learning rate, `arguments` of TrainingArguments more."""
    plain = asdict(config)
    source = _hf_source.find(plain, folder)
    data = _hf_data.load(plain, folder, source, source.config()).data
    n, size = len(data.train), config.total_steps * config.batch_size * config.gradient_accumulation
    epochs = range(-(-size // n))
    positions = [at for epoch in epochs for at in order.epoch_order(config.seed, epoch, n).tolist()]
    ours: dict[str, Any] = {
        "output_dir": str(folder / "plain"), "max_steps": config.total_steps, "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.batch_size, "gradient_accumulation_steps": config.gradient_accumulation,
        "per_device_eval_batch_size": config.batch_size, "weight_decay": config.weight_decay,
        "max_grad_norm": config.gradient_clip, "lr_scheduler_type": "constant", "seed": config.seed,
        "train_sampling_strategy": "sequential", "dataloader_pin_memory": False, "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no",
    }  # fmt: skip
    return kind(
        model=model,
        args=TrainingArguments(**{**ours, **arguments}),
        train_dataset=_samples(data.train, positions[:size]),
        eval_dataset=_samples(data.val, range(len(data.val))) if data.val is not None else None,
        data_collator=_collate,
        callbacks=list(callbacks),
    )


def _samples(part: Any, positions: Sequence[int]) -> list[dict[str, Any]]:
    batches = [part.batch(np.array([at])) for at in positions]
    return [{**{name: values[0] for name, values in inputs.items()}, "labels": labels[0]} for inputs, labels in batches]


def _collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest row; one label per row stays one."""
    return {
        name: torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(np.asarray(row[name])) for row in rows],
            batch_first=True,
            padding_value=-100 if name == "labels" else 0,
        )
        if np.ndim(rows[0][name])
        else torch.tensor(np.array([row[name] for row in rows]))
        for name in rows[0]
    }
