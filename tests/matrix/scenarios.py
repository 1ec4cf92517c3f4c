"""One small real training for each framework: the project's files, what the person changes, the server's variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_project import save_tokenizer
from real_text import sentences

FLAX_MODEL = Path(__file__).resolve().parent.parent / "projects" / "flax_nnx" / "model.py"
SHAKY = {"rules": {"grad_norm_spike.ratio": 1.05, "grad_norm_spike.tails": 0.1}}
"""The person wants to hear of every gradient norm that sticks out: a warning that each real training gives soon."""


@dataclass(frozen=True)
class Scenario:
    """A project and a configuration whose run takes seconds, and lasts long enough to be killed in its middle."""

    prepare: Callable[[Any], None]
    """Completes the project's folder, which holds digits.csv and a model of PyTorch."""
    total_steps: int
    save_every: int
    """Steps between checkpoints, and between validations."""
    log_every: int
    environment: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the configuration."""

    @property
    def changes(self) -> dict[str, Any]:
        """What is asked of `propose_config`."""
        every = {"checkpoint_every": self.save_every, "validate_every": self.save_every, "log_every": self.log_every}
        fixed = {"total_steps": self.total_steps, "device": "cpu", "num_threads": 1, "extra": SHAKY}
        return {**fixed, **every, **self.more}

    @property
    def logged_steps(self) -> list[int]:
        """The steps that a complete log of the run has, each once."""
        return list(range(self.log_every, self.total_steps + 1, self.log_every))


def _pytorch(project: Any) -> None:
    """Everything is there already."""


def _flax(project: Any) -> None:
    project.write("model.py", FLAX_MODEL.read_text())


def _transformers(project: Any) -> None:
    """Which library is a sentence about? Asked of a Bert of random weights that reads bytes."""
    from transformers import AutoModelForSequenceClassification, BertConfig

    for name in ("model.py", "digits.csv"):
        (project.path / name).unlink()
    folder = project.path / "tiny-bert"
    size = save_tokenizer(folder, chat=False)
    config = BertConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, pad_token_id=256,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    rows = [(text, library) for library in ("sklearn", "numpy") for _, text in sentences(library, 150)]
    lines = [f'"{text.replace(chr(34), chr(39))}",{library}' for text, library in rows]
    project.write("sentences.csv", "\n".join(["text,label", *lines]) + "\n")


XLA = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0", "NPROC": "1", "PJRT_NPROC": "1"}
SCENARIOS = {
    "pytorch": Scenario(_pytorch, 4000, 500, 10),
    "transformers": Scenario(
        _transformers, 400, 50, 5, {"HF_HUB_OFFLINE": "1"}, {"batch_size": 8, "sequence_length": 32}
    ),
    "flax": Scenario(_flax, 4000, 500, 10, XLA),
}
"""By the name of the adapter; one without a scenario has no tick in the table, and a test says so."""
ALONE = Scenario(_pytorch, 300, 100, 10)
"""For the runs with one logger only."""
