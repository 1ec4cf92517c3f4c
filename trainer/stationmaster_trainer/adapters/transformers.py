"""Trains a model of Hugging Face Transformers through its Trainer, and measures model and data before the start.

Causal language models (texts, conversations, prompts with answers), classification of texts, words and images; whole or
by LoRA. Not covered: encoder-decoder models, several processes, quantised training.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import attempt, findings, pretrained
from ..contract import Launch, Spec
from ..facts import ModelFacts, SplitFacts
from ..reporter import Outcome, Reporter
from . import _hf_arguments, _hf_data, _hf_findings, _hf_lora, _hf_model, _hf_source, _torch_device
from ._hf_columns import TOKEN
from ._hf_data import Material
from ._hf_loss import HeadObjective
from ._hf_metrics import TokenTally
from ._hf_model import Built
from ._torch_metrics import Tally
from ._torch_trainee import TorchTrainee


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """One attempt: reads, builds, resumes where ordered, trains. Raises errors of `errors.py`."""
    config, project, plain = spec.config, Path(spec.project_dir), asdict(spec.config)
    _quiet()
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    _hf_arguments.check(config.extra)
    device = _device(config.device)
    from ._hf_trainer import StepTrainer  # seconds

    reporter.phase("data")
    source = _hf_source.find(plain, project)
    model_config = source.config()
    _torch_device.seed_everything(config.seed)
    material = _hf_data.load(plain, project, source, model_config)
    sha256 = pretrained.sha256(source.named)
    attempt.check_unchanged(spec, material.data.fingerprint, reporter, sha256)
    reporter.phase("model")
    precision = _precision(config.precision, device, reporter)
    lora = _hf_lora.settings(config.extra)
    use_cache = bool(getattr(model_config, "use_cache", False))
    fitted = _hf_model.fitted(source, model_config, material, config.dropout)
    frozen = torch.bfloat16 if precision == "bf16" and device.type == "cuda" else torch.float32
    built = _hf_model.build(source, fitted, material, plain, lora, frozen)
    objective = objective_of(built, material)
    trainer = StepTrainer(
        built.model, _hf_arguments.arguments(config, device.type, Path(spec.checkpoint_dir), use_cache), objective
    )
    trainee = TorchTrainee(
        built.model,
        objective,
        config,
        device,
        precision,
        project,
        val=material.data.val,
        tally=partial(tally_of, material),
        write_more=material.processor.save_pretrained,
        groups=_groups(trainer, built.model, config.weight_decay),
        form=built.form,
    )
    for finding in built.findings:
        reporter.note(finding.message, launch.resume_step, **finding.facts)

    def restore(folder: Path) -> None:
        _torch_device.set_rng_state(trainee.restore(folder))

    _torch_device.seed_everything(config.seed)
    return attempt.run(
        spec, launch, reporter, material.data, trainee, restore, _torch_device.describe(device),
        lambda loop: trainer.drive(loop, trainee),
    )  # fmt: skip


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Builds the model, with LoRA where a full fine-tuning would not fit, and feeds it: see `_hf_measure`."""
    from . import _hf_measure

    _quiet()
    return _hf_measure.measure(config, project_dir)


def split(config: Mapping[str, Any], project_dir: Path) -> SplitFacts:
    """The data divided, tokenised and counted, with what was taken for what. DataError, ModelError, ConfigError."""
    _quiet()
    _hf_arguments.check(config.get("extra") or {})
    source = _hf_source.find(config, project_dir)
    return split_facts(_hf_data.load(config, project_dir, source, source.config()))


def split_facts(material: Material) -> SplitFacts:
    """As for every framework; of tags the classes are counted in words."""
    if material.roles.kind != TOKEN:
        return findings.split_facts(material.data)
    train, val = material.parts
    facts = findings.split_facts(replace(material.data, classes=()))
    return replace(
        facts,
        classes=material.data.classes,
        train_counts=_hf_findings.label_counts(train),
        val_counts=_hf_findings.label_counts(val),
    )


def objective_of(built: Built, material: Material) -> HeadObjective:
    """The loss of this model on these data."""
    return HeadObjective(built.kind, material.data.outputs, built.regime == "scratch")


def tally_of(material: Material) -> Any:
    """A fresh count for one validation."""
    data, kind = material.data, material.roles.kind
    if data.task == "language_modeling" or kind == TOKEN:
        return TokenTally(kind, len(data.classes))
    return Tally(data.task, len(data.classes))


def _quiet() -> None:
    """Bars and hints of the library do not belong into the log; tokenizers may use every core before training."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from transformers.utils import logging as hf

    hf.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def _device(name: str) -> torch.device:
    """The device; the Trainer's own choice is led to it."""
    device = _torch_device.choose(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    return device


def _precision(wanted: str, device: torch.device, reporter: Reporter) -> str:
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32 for what stays in fp32
    if wanted in _torch_device.precisions(device):
        return wanted
    reporter.note(f"{wanted} is not faster on {device}: fp32 is used", level="warning", precision="fp32")
    return "fp32"


def _groups(trainer: Any, model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and norms do not decay, as the Trainer has it."""
    decaying = set(trainer.get_decay_parameter_names(model))
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for name, p in learning if name in decaying], "weight_decay": weight_decay},
        {"params": [p for name, p in learning if name not in decaying], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
