"""A tiny project of each framework whose model draws from every random generator, and the plan of its runs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PYTORCH = """
import random

import numpy
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(in_features, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2))
        self.last = nn.Linear(24, num_classes)

    def forward(self, x):
        if self.training:
            x = x + 0.01 * torch.randn_like(x) + 0.01 * random.random() + 0.01 * float(numpy.random.rand())
        return self.last(self.first(x))
"""
FLAX = """
from flax import nnx


class Net(nnx.Module):
    def __init__(self, in_features: int, num_classes: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(in_features, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(16, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))
"""
COMMON = {"log_every": 1, "num_threads": 1, "keep_checkpoints": 2}


@dataclass(frozen=True)
class Scenario:
    """What the runs of a framework are about."""

    prepare: Callable[[Path], None]
    changes: dict[str, Any]
    """Keys of the configuration."""
    stand_in: bool = False
    """Whether `stand_in.py` trains in place of PyTorch."""


def program(home: Path) -> Path:
    """A copy of the trainer in which the stand-in is the adapter; the folder that goes on the path."""
    import stationmaster_trainer

    target = home / "program" / "stationmaster_trainer"
    shutil.copytree(Path(stationmaster_trainer.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(Path(__file__).with_name("stand_in.py"), target / "adapters" / "pytorch.py")
    return target.parent


def environment(home: Path, path: Path | None = None) -> dict[str, str]:
    """What the server of a lane gets: a home of its own, this Python as the one that trains, one thread, no network.

    `path`: a folder that goes before all others on Python's path.
    """
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "CACHE", "DATA", "STATE")}
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"}
    jax = {"JAX_PLATFORMS": "cpu", "NPROC": "1", "JAX_COMPILATION_CACHE_DIR": str(home / "jax")}
    jax |= {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    hub = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    found = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    if path is not None:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(path), found.get("PYTHONPATH", ""))))
    return {**found, **places, **quiet, **jax, **hub, "HOME": str(home), "STATIONMASTER_PYTHON": sys.executable}


def _digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    with (folder / "digits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"p{i}" for i in range(64)), "label"])
        writer.writerows([*map(int, row), int(label)] for row, label in zip(digits.data, digits.target, strict=True))


def _pytorch(folder: Path) -> None:
    (folder / "model.py").write_text(PYTORCH)
    _digits(folder)


def _stand_in(folder: Path) -> None:
    (folder / "model.py").write_text(PYTORCH)
    with (folder / "numbers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "label"], *((at, at * at % 7, at % 3) for at in range(300))])


def _flax(folder: Path) -> None:
    (folder / "model.py").write_text(FLAX)
    _digits(folder)


def _transformers(folder: Path) -> None:
    """A tiny Llama from its configuration, whose tokens are bytes, and a hundred small sums."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={symbol: at for at, symbol in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in ("<pad>", "<|end|>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<pad>")
    fast.save_pretrained(folder / "model")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaConfig(**sizes, vocab_size=len(fast), attention_dropout=0.1).save_pretrained(folder / "model")
    rows = [{"prompt": f"What is {a} plus {b}?", "completion": str(a + b)} for a in range(10) for b in range(10)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


SCENARIOS = {
    "pytorch": Scenario(
        _pytorch, {**COMMON, "total_steps": 400, "batch_size": 16, "checkpoint_every": 10, "validate_every": 5}
    ),
    "transformers": Scenario(
        _transformers,
        {
            **COMMON, "total_steps": 120, "batch_size": 4, "checkpoint_every": 6, "validate_every": 12,
            "sequence_length": 32, "extra": {"neftune_noise_alpha": 5},
        },
    ),
    "flax": Scenario(
        _flax, {**COMMON, "total_steps": 300, "batch_size": 16, "checkpoint_every": 15, "validate_every": 10}
    ),
    "stand-in": Scenario(
        _stand_in, {**COMMON, "total_steps": 500, "batch_size": 2, "checkpoint_every": 20, "validate_every": 10}, True
    ),
}  # fmt: skip
