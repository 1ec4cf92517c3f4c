"""The proposal as a person reads it: the checklist's YAML with its reasons, the findings, the changes, the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.facts import Finding, ModelFacts, SplitFacts

from . import configfile, validate
from .answer import clean
from .checklist import QUESTION
from .digest import SCRIPT, TRANSFORMERS
from .policy.choice import Choice
from .words import count, duration, many, short

ALWAYS = ("columns", "loss_tokens")
"""Findings on the data that are told here too: what was taken for what, and how much of it carries loss."""
SHOWN = ("run_name", "epochs", "seed", "precision", "device", "actions")
"""Keys outside the checklist that are always shown; others when changed, or when they are not the usual value."""


@dataclass(frozen=True)
class Shown:
    """Everything the text is made of."""

    config: TrainingConfig
    choices: dict[str, Choice]
    why: dict[str, str]
    """Reasons of the keys that are not computed."""
    split: SplitFacts
    model: ModelFacts
    findings: tuple[Finding, ...]
    changes: dict[str, tuple[Any, Any]]
    """Changed key → (value, default)."""
    decided: bool
    """Whether the validation gate is passed."""
    seconds: float | None
    """Estimated training time."""
    exported: str = ""
    """A script that this call made from a notebook, to be shown as a whole."""
    smoke: str = ""
    """What a smoke test found, or that there is none; empty while a gate before the configuration is open."""


def comments(shown: Shown) -> dict[str, str]:
    """Key → the comment behind its value: reason, source, and what another source says."""
    found = {key: short(clean(why), 90) for key, why in shown.why.items()}
    for key, choice in shown.choices.items():
        source = f" [{choice.source}]" if choice.source else ""
        beside = f"; {_origin(choice)}: {choice.beside}" if choice.beside else ""
        found[key] = f"{choice.reason}{source}{beside}"
    for key, (_, default) in shown.changes.items():
        found[key] = f"changed, default {configfile.scalar(key, default)}"
    layers = shown.model.dropout_layers
    if shown.config.dropout is None and "dropout" not in shown.changes:
        found["dropout"] = many(layers, "dropout layer") if layers else "the model has no dropout layer"
    return found


def yaml(shown: Shown, *, whole: bool = False) -> str:
    """The configuration with its comments; with `whole`, every key (the run's `config.yaml`)."""
    keys = configfile.RUN if whole else run_keys(shown)
    return configfile.render(shown.config, comments(shown), keys)


def run_keys(shown: Shown) -> tuple[str, ...]:
    """Keys outside the checklist that are worth a line."""
    config = shown.config
    also = {key for key in shown.changes if key in configfile.RUN}
    also |= {key for key in ("model_name", "target", "group_column", "time_column") if getattr(config, key) is not None}
    also |= {"min_lr_ratio"} if config.min_lr_ratio else set()
    also |= {"sequence_length"} if config.task == "language_modeling" or _reads_text(shown) else set()
    also |= {"extra"} if config.extra else set()
    also |= {"when_busy"} if config.when_busy != "share" else set()
    also |= {"rollback_rate_factor"} if "rollback" in config.actions.values() else set()
    return tuple(key for key in configfile.RUN if key in SHOWN or key in also)


def _reads_text(shown: Shown) -> bool:
    return shown.config.framework == TRANSFORMERS and len(shown.split.sample_shape) == 1


def text(shown: Shown, digest: str | None, gates: str, before: str | None = None) -> str:
    """The whole answer; it ends with the checklist's question.

    before: the YAML that the same client has been shown, of which only the lines that differ are told again.
    """
    if shown.config.framework == SCRIPT:
        from . import adopt_text

        return adopt_text.text(shown, digest, gates)
    now = yaml(shown)
    lines = [heading(shown), "```yaml", *(_again(now, before) if before else [now.rstrip()]), "```"]
    held = "Validation" if shown.decided else "Validation (not decided, shown as an 80/20 split)"
    lines.append(f"{held}: {clean(shown.split.method, 200)}. {validate.counts(shown.split)}")
    lines += tried(shown)
    if shown.changes:
        lines.append("Changed: " + "; ".join(difference(key, *pair) for key, pair in shown.changes.items()) + ".")
    lines.append(gates)
    lines.append(f"Digest: {digest}" if digest else "No digest yet: it comes when these gates are passed.")
    return "\n".join([*lines, QUESTION])


def tried(shown: Shown) -> list[str]:
    """The smoke test, or that there is none, and every finding."""
    return [*([shown.smoke] if shown.smoke else []), *_findings(shown)]


def _again(now: str, before: str) -> list[str]:
    """The lines that differ from what was shown, and how many do not."""
    known, lines = set(before.splitlines()), [line for line in now.splitlines() if line.strip()]
    different = [line for line in lines if line not in known]
    rest = f"{len(lines) - len(different)} other lines are as shown before; propose_config without changes shows all"
    return [*different, f"# {rest}"]


def _findings(shown: Shown) -> list[str]:
    """Every finding but the mere notes on the data, which check_validation has told."""
    told = [
        finding
        for finding in shown.split.findings
        if finding.severity == "info" and shown.decided and finding.check not in ALWAYS
    ]
    lines = [clean(validate.finding_line(finding), 500) for finding in shown.findings if finding not in told]
    return [*lines, f"({many(len(told), 'note')} on the data, told by check_validation.)"] if told else lines


def heading(shown: Shown) -> str:
    """Model, size, task, device and time in one line."""
    model, config = shown.model, shown.config
    name = clean(model.model_name, 80)
    time = f", about {duration(max(1.0, shown.seconds))}" if shown.seconds is not None else ""
    loss = f", first loss {model.initial_loss:.3g}" if model.initial_loss is not None else ""
    learning = model.trainable_parameters
    part = f", {count(learning)} of them learn" if learning != model.parameters else ""
    return f"{name}: {count(model.parameters)} parameters{part}{loss}; {config.task} on {model.device}{time}."


def summary(shown: Shown) -> str:
    """The essentials in one line, for the question to the person and for the run's checklist."""
    config = shown.config
    split, about = shown.split, "about " if shown.split.about else ""
    data = f"{config.train_data}: {about}{count(split.train_samples)} train, {count(split.val_samples)} validation"
    plan = f"{config.epochs:g} epochs = {count(config.total_steps)} steps, batch {config.batch_size}"
    rate = f"{config.optimizer} at {config.learning_rate:g}"
    return clean(f"{heading(shown)[:-1]}; {data}; {plan}; {rate}; logging {', '.join(config.logging)}.", 600)


def difference(key: str, value: Any, default: Any) -> str:
    """`learning_rate: 0.01 (default 0.001)`."""
    return f"{key}: {configfile.scalar(key, value)} (default {configfile.scalar(key, default)})"


def differences(changes: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """One line per changed key, for structured content."""
    return [difference(key, *pair) for key, pair in changes.items()]


def _origin(choice: Choice) -> str:
    return "table" if choice.source.startswith("checklist") or not choice.source else "also"
