"""LoRA through PEFT: small matrices beside every linear layer are trained instead of the model's own weights.

Taken when asked for, and proposed when a full fine-tuning would not fit in memory, with that reason.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ModelError
from ..packages import need
from ._hf_columns import CAUSAL, SEQUENCE
from ._hf_memory import ROOM, state_bytes

RANK, ALPHA = 16, 32
"""Rank 16 to 64 and alpha 32 on all linear layers (Thinking Machines 2025, "LoRA Without Regret"; axolotl, Unsloth)."""
ADAPTER = "adapter_model.safetensors"
HEADS = ("score", "classifier", "classification_head", "head")
"""Names of the layers that are new for a task: trained whole, beside the adapter."""
KEYS = ("lora", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


@dataclass(frozen=True)
class Lora:
    """The settings of an adapter."""

    r: int = RANK
    alpha: int = ALPHA
    dropout: float = 0.0
    target_modules: tuple[str, ...] | str = "all-linear"

    def plain(self) -> dict[str, Any]:
        """As keys of `extra`."""
        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        return {
            "lora_r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout, "lora_target_modules": targets,
        }  # fmt: skip


def settings(extra: Mapping[str, Any]) -> Lora | None:
    """What a checked `extra` asks for; None for a full fine-tuning."""
    if not extra.get("lora", any(key in extra for key in KEYS)):
        return None
    targets = extra.get("lora_target_modules", "all-linear")
    return Lora(
        r=int(extra.get("lora_r", RANK)),
        alpha=int(extra.get("lora_alpha", ALPHA)),
        dropout=float(extra.get("lora_dropout", 0.0)),
        target_modules=targets if isinstance(targets, str) else tuple(map(str, targets)),
    )


def proposed(parameters: int, free: int | None, device: str) -> str:
    """Why a full fine-tuning would not fit; empty when it does, or when the free memory is unknown."""
    needed = state_bytes(parameters, 0, device)
    if free is None or needed <= ROOM * free:
        return ""
    copy = " and the copy for checkpoints" if device == "cpu" else ""
    return (
        f"a full fine-tuning of {parameters:,} parameters needs about {needed / 2**30:,.1f} GiB for weights, "
        f"gradients, AdamW's moments{copy}, {free / 2**30:,.1f} GiB are free"
    )


def apply(model: Any, lora: Lora, kind: str) -> Any:
    """The model with its adapter; only that (and the head of a classifier) learns. Raises ModelError, PluginError."""
    peft = need("peft", "LoRA")
    heads = [] if kind == CAUSAL else [name for name in HEADS if hasattr(model, name)]
    task = {CAUSAL: "CAUSAL_LM", SEQUENCE: "SEQ_CLS"}.get(kind)
    targets = lora.target_modules
    config = peft.LoraConfig(
        task_type=task,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        exclude_modules=heads or None,
        modules_to_save=heads or None,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of one library about the other
            return peft.get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"LoRA does not fit this model: {' '.join(str(error).split())[:400]}",
            "Set extra.lora_target_modules to names of its layers, or extra.lora to false.",
        ) from error


def weights(model: Any) -> dict[str, Any]:
    """The adapter's tensors (and a trained head) by PEFT's names."""
    found: dict[str, Any] = need("peft", "LoRA").get_peft_model_state_dict(model, save_embedding_layers=False)
    return found


def write(model: Any, folder: Path, copies: dict[str, Any]) -> None:
    """An adapter folder as PEFT reads it."""
    from safetensors.torch import save_file

    save_file(copies, str(folder / ADAPTER), metadata={"format": "pt"})
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.save_pretrained(str(folder))


def read(model: Any, folder: Path) -> None:
    """Fills the adapter from a verified checkpoint. CheckpointError when it is of another model or rank."""
    from safetensors.torch import load_file

    peft = need("peft", "LoRA")
    if not (folder / ADAPTER).is_file():
        raise CheckpointError(f"{folder} is of another model: it holds no LoRA adapter.", "Start a new run.")
    wanted = weights(model)
    found = load_file(str(folder / ADAPTER))
    for name in [*wanted, *found]:
        ours, theirs = wanted.get(name), found.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            shapes = [tuple(one.shape) if one is not None else "absent" for one in (theirs, ours)]
            raise CheckpointError(
                f"{folder} is of another model: {name} is {shapes[0]} in the checkpoint, {shapes[1]} in the model.",
                "Restore the model as it was, or start a new run.",
            )
    peft.set_peft_model_state_dict(model, found)
