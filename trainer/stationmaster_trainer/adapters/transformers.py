"""Trains a model of Hugging Face Transformers through its Trainer, and measures model and data before the start.

Causal language models (texts, conversations, prompts with answers), classification of texts, words and images; whole or
by LoRA. Not covered: encoder-decoder models, several processes, quantised training.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import attempt, findings, manifest, pretrained, testdata
from ..contract import Launch, Spec, TrainingConfig
from ..facts import ModelFacts, SplitFacts
from ..model_card import Exported
from ..reporter import Outcome, Reporter
from ..testdata import Tested
from . import _hf_arguments, _hf_card, _hf_data, _hf_findings, _hf_lora, _hf_model, _hf_source, _torch_device
from ._hf_columns import CAUSAL, TOKEN
from ._hf_data import Material
from ._hf_loss import HeadObjective
from ._hf_metrics import TokenTally
from ._hf_model import Built
from ._hf_sampled import Unread
from ._hf_samples import Part
from ._hf_source import Source
from ._torch_metrics import Tally
from ._torch_trainee import TorchTrainee


def train(spec: Spec, launch: Launch, reporter: Reporter, run: attempt.Runner = attempt.run) -> Outcome:
    """One attempt: reads, builds, resumes where ordered, trains. Raises errors of `errors.py`.

    `run`: what is done with the built trainee; another than the attempt is the preflight's.
    """
    config, project = spec.config, Path(spec.project_dir)
    device = _begin(config)
    from ._hf_trainer import StepTrainer  # seconds

    reporter.phase("data")
    source, material = _read(config, project)
    attempt.check_unchanged(spec, material.data.fingerprint, reporter, pretrained.sha256(source.named))
    reporter.phase("model")
    precision = _precision(config.precision, device, reporter)
    built = _build(config, source, material, precision, device)
    objective = objective_of(built, material)
    use_cache = bool(getattr(built.model.config, "use_cache", False))
    folder = Path(spec.checkpoint_dir)
    trainer = StepTrainer(built.model, _hf_arguments.arguments(config, device.type, folder, use_cache), objective)
    groups = _groups(trainer, built.model, config.weight_decay)
    trainee = trainee_of(config, project, device, material, built, objective, precision, groups)
    for finding in built.findings:
        reporter.note(finding.message, launch.resume_step, **finding.facts)

    def restore(folder: Path) -> None:
        _torch_device.set_rng_state(trainee.restore(folder))

    _torch_device.seed_everything(config.seed)
    device_name = _torch_device.describe(device)
    return run(
        spec, launch, reporter, material.data, trainee, restore, device_name, lambda loop: trainer.drive(loop, trainee)
    )


def evaluate(spec: Spec, folder: Path, data: str) -> Tested:
    """Scores the model of a checkpoint on another file or folder of the project, as a validation does.

    Raises CheckpointError for a checkpoint that does not verify, DataError for data that do not fit the training's or
    were not held out.
    """
    config, project = replace(spec.config, val_data=data), Path(spec.project_dir)
    device = _begin(config)
    manifest.verify(folder)
    trained = _read(spec.config, project)[1].data
    source, material = _read(config, project)
    part = material.parts[1]
    assert part is not None and material.data.val is not None  # `data` names them
    test = testdata.TestData(material.data.val, part.told.silent + part.told.dropped)
    overlap, found_before = testdata.overlap(trained, test, data)
    built = _build(config, source, material, "fp32", device)
    built.form.read(folder)
    built.model.to(device)
    found = trainee_of(config, project, device, material, built, objective_of(built, material)).evaluate(lambda: False)
    assert found is not None  # there is a test set, and nobody stops it
    said = (*testdata.changed(spec, trained, pretrained.sha256(source.named)), *found_before)
    return Tested(found, _torch_device.describe(device), test.dropped, overlap, said)


def export(spec: Spec, folder: Path, target: Path) -> Exported:
    """Copies from a checkpoint what `from_pretrained` or PEFT reads: see `_hf_card`."""
    return _hf_card.export(spec, folder, target)


def measure(config: Mapping[str, Any], project_dir: Path) -> ModelFacts:
    """Builds the model, with LoRA where a full fine-tuning would not fit, and feeds it: see `_hf_measure`."""
    from . import _hf_measure

    quiet()
    return _hf_measure.measure(config, project_dir)


def split(config: Mapping[str, Any], project_dir: Path) -> SplitFacts:
    """The data divided, tokenised and counted, with what was taken for what. DataError, ModelError, ConfigError."""
    quiet()
    _hf_arguments.check(config.get("extra") or {})
    source = _hf_source.find(config, project_dir)
    return split_facts(_hf_data.load(config, project_dir, source, source.config(), look=True))


def split_facts(material: Material) -> SplitFacts:
    """As for every framework; of tags the classes are counted in words."""
    train, val = material.parts
    if material.roles.kind != TOKEN:
        return _less(findings.split_facts(material.data), material.roles.kind, train, val)
    facts = findings.split_facts(replace(material.data, classes=()))
    return replace(
        facts,
        classes=material.data.classes,
        train_counts=_hf_findings.label_counts(train),
        val_counts=_hf_findings.label_counts(val),
    )


def _less(facts: SplitFacts, kind: str, train: Part, val: Part | None) -> SplitFacts:
    """Where some rows stood for all: without those that are left out, about as many as these say."""
    parts = [part for part in (train, val) if part is not None]
    looked_at = any(isinstance(part.samples, Unread) for part in parts)
    if kind != CAUSAL or not looked_at:  # where there are classes no row is left out
        return facts
    kept = [len(part.samples) - part.told.silent - part.told.dropped for part in parts]
    held = kept[1] if val is not None else 0
    about = any(part.told.seen for part in parts)
    return replace(facts, about=about, train_samples=kept[0], val_samples=held, overlap=min(facts.overlap, held))


def objective_of(built: Built, material: Material) -> HeadObjective:
    """The loss of this model on these data."""
    return HeadObjective(built.kind, material.data.outputs, built.regime == "scratch")


def tally_of(material: Material) -> Any:
    """A fresh count for one validation."""
    data, kind = material.data, material.roles.kind
    if data.task == "language_modeling" or kind == TOKEN:
        return TokenTally(kind, len(data.classes))
    return Tally(data.task, len(data.classes))


def trainee_of(
    config: TrainingConfig,
    project: Path,
    device: torch.device,
    material: Material,
    built: Built,
    objective: HeadObjective,
    precision: str = "fp32",
    groups: Sequence[dict[str, Any]] = (),
) -> TorchTrainee:
    """The model, on its device already, with its optimizer, the validation data and the form of its checkpoints."""

    def beside(folder: Path) -> None:
        material.processor.save_pretrained(folder)
        labels = 0 if built.kind == CAUSAL else len(material.data.classes) or 1
        _hf_card.remember(folder, built, config.model_path, labels)

    return TorchTrainee(
        built.model,
        objective,
        config,
        device,
        precision,
        project,
        val=material.data.val,
        tally=partial(tally_of, material),
        write_more=beside,
        groups=groups,
        form=built.form,
    )


def _begin(config: TrainingConfig) -> torch.device:
    """Threads and device, after the options were checked."""
    quiet()
    _hf_arguments.check(config.extra)
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    return _device(config.device)


def _read(config: TrainingConfig, project: Path) -> tuple[Source, Material]:
    """The model's place and the samples, which are the same for the same content, configuration and seed."""
    plain = asdict(config)
    source = _hf_source.find(plain, project)
    _torch_device.seed_everything(config.seed)
    return source, _hf_data.load(plain, project, source, source.config())


def _build(config: TrainingConfig, source: Source, material: Material, precision: str, device: torch.device) -> Built:
    fitted = _hf_model.fitted(source, source.config(), material, config.dropout)
    frozen = torch.bfloat16 if precision == "bf16" and device.type == "cuda" else torch.float32
    return _hf_model.build(source, fitted, material, asdict(config), _hf_lora.settings(config.extra), frozen)


def quiet() -> None:
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
