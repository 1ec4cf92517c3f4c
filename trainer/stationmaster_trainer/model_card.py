"""The card of a run's best model, in Hugging Face's form: what it is, what it learnt from, how good, how to load it.

Standard library only; every adapter's models get the same card. Not covered: what a model may be used for, and what it
may get wrong. To a card that a person edited nothing is added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import codec, rundir
from .contract import Spec
from .errors import FormatError
from .facts import EvaluationFacts
from .rundir import RunDir

FOLDER = "model"
"""Folder of the best model, beside the checkpoints."""
NAME = "README.md"
ORIGIN = "origin.json"
SETTINGS = (
    "optimizer", "learning_rate", "weight_decay", "betas", "batch_size", "gradient_accumulation", "warmup_steps",
    "lr_schedule", "total_steps", "gradient_clip", "dropout", "precision", "seed",
)  # fmt: skip
"""Keys of the configuration that the card shows."""
MAX_CLASSES = 20


@dataclass(frozen=True)
class Exported:
    """What an adapter's `export(spec, folder, target)` says of the model that it wrote into `target`."""

    library: str
    """`library_name` of the card: `pytorch`, `transformers`, `peft`, `flax`, …"""
    loading: tuple[str, ...]
    """Lines of Python that load the model; `folder` is the path of the folder, set by a line above them."""
    using: tuple[str, ...] = ()
    """Lines after those that apply it to data; run in the project's folder."""
    head: dict[str, Any] = field(default_factory=dict)
    """More of the card's YAML head, for example `pipeline_tag`."""
    about: str = ""
    """What it is and what the lines need, in a sentence or two."""


@dataclass(frozen=True)
class Origin:
    """`origin.json`: where the model of this folder comes from."""

    run: str
    digest: str
    """Digest of the confirmed configuration."""
    step: int
    """Of the checkpoint."""
    seal: str
    """Of the checkpoint's manifest."""
    exported: Exported
    eval_loss: float | None = None
    """Validation loss of the checkpoint; None when validation was waived."""
    metrics: dict[str, float] = field(default_factory=dict)
    card_sha256: str = ""
    """Of the card as it was last written: another one was edited, and is left alone."""
    format: int = 1


def read_origin(folder: Path) -> Origin | None:
    """Where a model folder comes from; None when it is none of ours, or damaged."""
    try:
        return codec.loads(Origin, rundir.read(folder / ORIGIN), ORIGIN)
    except (OSError, FormatError):
        return None


def write(folder: Path, spec: Spec, origin: Origin, newest: EvaluationFacts | None = None) -> None:
    """Writes card and origin, each as a whole; `newest` is an evaluation that the run folder lacks yet."""
    tests = _tests(RunDir(Path(spec.run_dir)), origin.step) + ([newest] if newest is not None else [])
    text = render(spec, origin, tests).encode("utf-8", "replace")
    rundir.replace(folder / NAME, text, 0o644)
    known = {**codec.to_plain(origin), "card_sha256": hashlib.sha256(text).hexdigest()}
    rundir.replace(folder / ORIGIN, codec.dumps(known, indent=1).encode("utf-8", "replace"), 0o644)


def refresh(spec: Spec, found: EvaluationFacts) -> str:
    """Writes the card anew, with the test results so far and this one. Returns why not; empty when there is no card."""
    folder = Path(spec.checkpoint_dir) / FOLDER
    origin = read_origin(folder)
    if origin is None or (origin.run, origin.step) != (spec.config.run_name, found.request.step):
        return ""
    try:
        present = hashlib.sha256(rundir.read(folder / NAME)).hexdigest()
        if present != origin.card_sha256:
            return f"{folder / NAME} was edited: the test results were not added to it."
        write(folder, spec, origin, found)
    except (OSError, FormatError) as error:
        return f"{folder / NAME} could not be written: {error}"
    return ""


def render(spec: Spec, origin: Origin, tests: Sequence[EvaluationFacts] = ()) -> str:
    """The card as Markdown with its YAML head (JSON values, which YAML takes)."""
    parts = [
        f"---\n{_head(spec, origin, tests)}\n---",
        f"# {origin.run}",
        _about(spec, origin),
        _code(spec, origin.exported),
        f"## Results\n\n{_results(spec, origin, tests)}",
        f"## Training\n\n{_training(spec)}",
        _limits(spec, origin, tests),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tests(run: RunDir, step: int) -> list[EvaluationFacts]:
    """Evaluations of this very checkpoint that gave figures, oldest first."""
    found = []
    for path in sorted(run.evaluations.glob("*.json")):
        if path.stem.isdigit():
            try:
                facts = codec.loads(EvaluationFacts, rundir.read(path), path.name)
            except (OSError, FormatError):
                continue
            if not facts.error and facts.request.step == step:
                found.append(facts)
    return found


def _head(spec: Spec, origin: Origin, tests: Sequence[EvaluationFacts]) -> str:
    config = spec.config
    results = [_result(spec, "validation", config.val_data, origin.metrics, origin.eval_loss)]
    results += [_result(spec, "test", facts.request.test_data, facts.metrics, facts.loss) for facts in tests]
    head = {
        "library_name": origin.exported.library,
        "tags": [config.task.replace("_", "-"), config.framework, "stationmaster"],
        "datasets": [config.train_data],
        "metrics": sorted(origin.metrics) or ["loss"],
        **origin.exported.head,
        "model-index": [{"name": origin.run, "results": [result for result in results if result["metrics"]]}],
    }
    return "\n".join(f"{key}: {json.dumps(codec.to_plain(value))}" for key, value in head.items())


def _result(spec: Spec, split: str, data: str, metrics: dict[str, float], loss: float | None) -> dict[str, Any]:
    values = {**metrics, **({} if loss is None else {"loss": loss})}
    return {
        "task": {"type": spec.config.task.replace("_", "-")},
        "dataset": {"name": spec.config.train_data if data == "split" else data, "type": "local", "split": split},
        "metrics": [{"type": name, "value": value} for name, value in values.items()],
    }


def _about(spec: Spec, origin: Origin) -> str:
    facts, config = spec.facts, spec.config
    lines = [
        f"`{_plain(config.model_path)}`, trained for {config.task.replace('_', ' ')} on `{_plain(config.train_data)}` "
        f"({_about_many(facts.about)}{facts.train_samples:,} {facts.sample_unit}); {facts.parameters:,} parameters, "
        f"{facts.trainable_parameters:,} of them trained. This is the best checkpoint of the run, "
        f"step {origin.step:,} of {config.total_steps:,} planned.",
        origin.exported.about,
    ]
    if facts.classes:
        shown = ", ".join(_plain(name) for name in facts.classes[:MAX_CLASSES])
        more = f", … ({len(facts.classes)} in all)" if len(facts.classes) > MAX_CLASSES else ""
        lines.append(f"Classes, in the order of the outputs: {shown}{more}.")
    return "\n\n".join(line for line in lines if line)


def _about_many(estimate: bool) -> str:
    return "about " if estimate else ""


def _code(spec: Spec, exported: Exported) -> str:
    """The lines that load it, then those that apply it."""
    folder, project = Path(spec.checkpoint_dir) / FOLDER, Path(spec.project_dir)
    shown = folder.relative_to(project) if folder.is_relative_to(project) else folder
    lines = "\n".join((f"folder = {json.dumps(str(shown))}  # as seen from the project", *exported.loading))
    told = f"## Load it\n\n```python\n{lines}\n```"
    if exported.using:
        lines = "\n".join(exported.using)
        told += f"\n\nThen, in the project's folder, from raw rows to outputs:\n\n```python\n{lines}\n```"
    return told


def _results(spec: Spec, origin: Origin, tests: Sequence[EvaluationFacts]) -> str:
    if origin.eval_loss is None:
        rows = ["| validation | – | waived: this is the checkpoint with the smallest train loss | |"]
    else:
        values = {**origin.metrics, "loss": origin.eval_loss}
        named = {"split": "held out of the training data"}.get(
            spec.config.val_data, f"`{_plain(spec.config.val_data)}`"
        )
        where = (
            f"validation, {named}, {_about_many(spec.facts.about)}{spec.facts.val_samples:,} {spec.facts.sample_unit}"
        )
        rows = [f"| {where} | {_plain(name)} | {_number(value)} | |" for name, value in values.items()]
    for facts in tests:
        rows += _test_rows(facts)
    return "\n".join(["| data | metric | value | 95 % interval |", "|---|---|---|---|", *rows])


def _test_rows(facts: EvaluationFacts) -> list[str]:
    look = len(facts.request.looks) + 1
    seen = f", look {look} at it" if look > 1 else ""
    warned = "".join(f", {count:,} also in the {part} part" for part, count in facts.overlap.items() if count)
    where = f"test, `{_plain(facts.request.test_data)}`, {facts.samples:,} samples{seen}{warned}"
    values, rows = {**facts.metrics, **({} if facts.loss is None else {"loss": facts.loss})}, []
    for name, value in values.items():
        found = facts.intervals.get(name)
        between = f"{_number(found.low)} to {_number(found.high)} ({_plain(found.method)})" if found else "not known"
        rows.append(f"| {where} | {_plain(name)} | {_number(value)} | {between} |")
    return rows


def _training(spec: Spec) -> str:
    config = spec.config
    rows = "\n".join(f"| {key} | {_setting(getattr(config, key))} |" for key in SETTINGS)
    return (
        f"| setting | value |\n|---|---|\n{rows}\n\n"
        f"Data fingerprint (SHA-256 over every data file): `{spec.facts.fingerprint or 'none'}`  \n"
        f"Model fingerprint (SHA-256 over the model's own files): `{spec.facts.entry_sha256 or 'none'}`  \n"
        f"Confirmed configuration (SHA-256): `{spec.digest}`; in full in `runs/{_plain(config.run_name)}/config.yaml`."
    )


def _limits(spec: Spec, origin: Origin, tests: Sequence[EvaluationFacts]) -> str:
    lines = []
    if not tests:
        lines.append("It was not scored on a held-out test set: the checkpoint was chosen by the figures above.")
    if origin.eval_loss is not None:
        lines.append("The validation figures chose this checkpoint, so they are a little too good.")
    lines.append("Nobody has examined for what it may be used, on whom it errs, or how it does on other data.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _setting(value: Any) -> str:
    return _plain(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))


def _plain(text: str) -> str:
    """One line that cannot end a table cell, a code span or the YAML head."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")[:300]
