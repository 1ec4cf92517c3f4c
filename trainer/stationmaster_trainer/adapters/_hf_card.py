"""The model card of a checkpoint: what the model is, what it was trained on and how, and how it is loaded.

The figures of validation stand in `manifest.json` beside it, which is written after the card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..contract import TrainingConfig
from ..dataset import Data
from ._hf_columns import CAUSAL, IMAGE, SEQUENCE, TOKEN

NAME = "README.md"
PIPELINES = {
    CAUSAL: "text-generation",
    SEQUENCE: "text-classification",
    TOKEN: "token-classification",
    IMAGE: "image-classification",
}
"""Kind of head → task of `transformers.pipeline`."""
_SHOWN = (
    "optimizer", "learning_rate", "weight_decay", "betas", "batch_size", "gradient_accumulation", "warmup_steps",
    "lr_schedule", "total_steps", "gradient_clip", "precision", "seed",
)  # fmt: skip


def write(folder: Path, config: TrainingConfig, data: Data, kind: str, lora: bool, base: str) -> None:
    """Puts the card into a checkpoint's folder. `base`: the model that training started from."""
    head = {"library_name": "peft" if lora else "transformers", "pipeline_tag": PIPELINES[kind], "base_model": base}
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    values = "\n".join(f"| {key} | {_plain(getattr(config, key))} |" for key in _SHOWN)
    val = 0 if data.val is None else len(data.val)
    text = f"""---
{front}
---

# {config.run_name}

{base}, {"fine-tuned by LoRA" if lora else "trained"} for {PIPELINES[kind].replace("-", " ")} on `{config.train_data}`:
{len(data.train):,} training and {val:,} validation {data.sample_unit} ({data.method}).
{f"Classes: {', '.join(data.classes)}." if data.classes else ""}

```python
{_usage(kind, lora, base)}
```

| setting | value |
|---|---|
{values}

The figures of validation at this step stand in `manifest.json`. Not covered here: what the model may be used for, and
what it may get wrong.
"""
    (folder / NAME).write_text(text, encoding="utf-8")


def _usage(kind: str, lora: bool, base: str) -> str:
    if lora:
        return (
            f"from peft import PeftModel\nfrom transformers import AutoModel\n\n"
            f"model = PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}), folder)"
        ).replace("AutoModel", _auto(kind))
    return f"from transformers import pipeline\n\nmodel = pipeline({PIPELINES[kind]!r}, model=folder)"


def _auto(kind: str) -> str:
    from ._hf_model import AUTO

    return AUTO[kind]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
