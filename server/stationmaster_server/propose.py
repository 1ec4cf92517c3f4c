"""The configuration gate: measures, computes every value, applies the changes, checks, and binds it to a digest."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.contract import DataFacts, TrainingConfig
from stationmaster_trainer.errors import ConfigError, RunError
from stationmaster_trainer.facts import Finding
from stationmaster_trainer.rundir import RUNS

from . import (
    adopt,
    backends,
    checks,
    configfile,
    digest,
    leases,
    notebook,
    preflight,
    preflight_text,
    proposal_text,
    trust,
)
from .checks import Known as Checked
from .config import consistent, refuse, refused
from .devices import hardware
from .ground import Ground, grounded
from .plan import ASSISTANT, Plan, Proposal, Smoke, with_proposal
from .policy.choice import Choice, choices
from .policy.formulas import steps_per_epoch
from .proposal_text import Shown
from .roots import inside
from .subject import checked_data

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainingConfig)} | {"actions": {}}
_ELSEWHERE = ("logging", "val_data", "val_fraction")
"""Keys that are other gates' decisions; they are taken there, and recorded there."""


def propose(project: Path, plan: Plan, changes: Mapping[str, Any], by: str = ASSISTANT) -> tuple[Plan, Shown]:
    """The plan with the configuration as it is now shown, and what the text is made of.

    The plan's proposal has a digest only when logging and validation are decided. Raises ConfigError that names each
    impossible value, and what measuring raises; the plan is left as it was then.
    """
    started = time.monotonic()
    typed = adopt.parse(project, changes)
    given = accumulated(adopt.kept(plan.changes, typed), typed)
    plan = adopt.settled(plan, given)
    _check_paths(project, given)
    if "logging" in typed:
        plan = backends.choose(plan, typed["logging"] or ("file",), by)
    if adopt.is_script(given):
        return _propose_script(project, plan, given, by, str(changes.get("script") or "").endswith(notebook.SUFFIX))
    plan, found = grounded(project, plan, given, typed, started)
    plan = replace(plan, run_name=str(found.given.get("run_name") or _run_name(project, plan, found.model.model_name)))
    shown = _shown(project, plan, found)
    if plan.logging is None or plan.validation is None:
        return replace(plan, changes=found.given, proposal=None), shown
    parts = digest.parts(project, shown.config, found.subject.python.path)
    smoke = preflight.standing(plan, shown.config, parts)
    shown = _shown(project, plan, found, smoke) if smoke is not None else _without(plan, shown, parts)
    proposal = _proposal(project, found, shown, by, preflight.bound(parts, smoke), smoke)
    return with_proposal(replace(plan, changes=found.given), proposal), shown


def _without(plan: Plan, shown: Shown, parts: Mapping[str, str]) -> Shown:
    """What is shown where no smoke test stands: how there could be one."""
    since = plan.smoke.time if plan.smoke is not None else 0.0
    return replace(shown, smoke=preflight_text.missing(preflight.void(plan, shown.config, parts), since))


def _propose_script(project: Path, plan: Plan, given: dict[str, Any], by: str, exported: bool) -> tuple[Plan, Shown]:
    """The same for a script that runs as it is."""
    stem = Path(str(given["model_path"])).stem
    plan = replace(plan, changes=given, run_name=str(given.get("run_name") or _run_name(project, plan, stem)))
    plan, shown, proposal = adopt.propose(project, plan, given, plan.run_name, by, exported)
    return (with_proposal(plan, proposal) if proposal else replace(plan, proposal=None)), shown


def accumulated(before: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier and new changes together: null takes one back, and epochs and total_steps replace each other."""
    old = dict(before)
    for key, other in (("epochs", "total_steps"), ("total_steps", "epochs")):
        if typed.get(key) is not None and typed.get(other) is None:
            old.pop(other, None)
    merged = {**old, **typed}
    return {key: value for key, value in merged.items() if value is not None and key not in _ELSEWHERE}


def _check_paths(project: Path, given: Mapping[str, Any]) -> None:
    """Paths exist and stay inside the project; names of new folders are free."""
    if "train_data" in given:
        checked_data(project, given["train_data"], "train_data")
    problems = []
    name = given.get("run_name")
    if name is not None and (project / RUNS / name).exists():
        problems.append(refused("run_name", name, f"a name that {RUNS}/ does not have yet"))
    folder = given.get("checkpoint_dir")
    if folder is not None and not _free(project, inside(project, folder, "checkpoint_dir")):
        problems.append(refused("checkpoint_dir", folder, "a new or empty folder inside the project"))
    refuse(problems)
    trust.require_remote_code(project, str(given.get("model_path") or ""), given.get("extra") or {})


def _free(project: Path, path: Path) -> bool:
    if path == project or path.is_relative_to(project / RUNS) or path.is_relative_to(project / ".stationmaster"):
        return False
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _run_name(project: Path, plan: Plan, name: str) -> str:
    """`<model>-<date>-<nnn>`, kept while it is free: showing the configuration again does not rename the run."""
    if plan.run_name and plan.proposal is not None and _unused(project, plan.run_name):
        return plan.run_name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "model"
    stem = f"{slug}-{time.strftime('%Y%m%d')}"
    return next(name for n in range(1, 100_000) if _unused(project, name := f"{stem}-{n:03d}"))


def _unused(project: Path, name: str) -> bool:
    return not (project / RUNS / name).exists() and not (project / "checkpoints" / name).exists()


def _shown(project: Path, plan: Plan, found: Ground, smoke: Smoke | None = None) -> Shown:
    """What the text is made of; what a smoke test measured stands in the place of what was estimated."""
    computed = choices(found.known, found.given)
    config = _config(plan, found, computed)
    steps = steps_per_epoch(found.split.train_samples, config.batch_size, config.gradient_accumulation)
    consistent(
        config, train_samples=found.split.train_samples, steps_per_epoch=steps, precisions=found.model.precisions
    )
    if config.dropout is not None and not found.model.dropout_layers:
        raise ConfigError(refused("dropout", config.dropout, "'keep model default': the model has no dropout layer"))
    tried, val = smoke.facts if smoke is not None else None, found.split.val_samples
    seconds = (preflight_text.eta(tried, config, val) if tried is not None else None) or _seconds(found, config)
    disk = hardware(project).disk_free
    holder = leases.busy(leases.named(config.device, found.model.device))
    written = tried.checkpoint_bytes if tried is not None else None
    seen = checks.run(Checked(config, found.split, found.model, steps, disk, seconds, holder, written))
    known = {(one.check, one.severity) for one in found.model.findings}
    seen += [one for one in (tried.findings if tried is not None else ()) if (one.check, one.severity) not in known]
    return Shown(
        config=config,
        choices=computed,
        why=_why(found, config),
        split=found.split,
        model=found.model,
        findings=_unique([*found.split.findings, *found.model.findings, *seen]),
        changes=_changes(found, computed),
        decided=found.validation is not None,
        seconds=seconds,
        smoke=preflight_text.smoke(smoke, config, val) if smoke is not None else "",
    )


def _config(plan: Plan, found: Ground, computed: Mapping[str, Choice]) -> TrainingConfig:
    split, validation = found.split, found.validation
    values: dict[str, Any] = {
        "model_path": found.subject.model_path,
        "framework": found.subject.framework,
        "train_data": found.subject.train_data,
        "val_data": validation.val_data if validation else "split",
        "checkpoint_dir": f"./checkpoints/{plan.run_name}",
        "logging": plan.logging.backends if plan.logging else ("file",),
        "run_name": plan.run_name,
        "task": split.task,
        "model_name": found.subject.model_name,
        "target": split.target,
        "when_busy": leases.usual(str(found.given.get("device") or "auto"), found.model.device),
        **{key: choice.value for key, choice in computed.items()},
    }
    if validation and "val_fraction" in validation.config:
        values["val_fraction"] = validation.config["val_fraction"]
    if found.model.decided:
        found = replace(found, given={**found.given, "extra": {**found.model.decided, **found.given.get("extra", {})}})
    config = TrainingConfig(**{**values, **found.given})
    return codec.from_plain(TrainingConfig, codec.to_plain(config))  # as it reads back: 30 epochs are 30.0


def _why(found: Ground, config: TrainingConfig) -> dict[str, str]:
    split = found.split
    target = f", target {split.target}" if split.target else ""
    return {
        **found.subject.why,
        "train_data": f"{found.subject.why.get('train_data', 'named')}; {config.task}{target}",
        "val_data": "not decided yet" if found.validation is None else split.method,
        "checkpoint_dir": f"keeps the best and the last {config.keep_checkpoints}",
        "logging": "chosen; the local file log is always written",
        "seed": "initialisation, order and split",
        "device": f"{found.model.device} here",
        "actions": "every rule warns and stops nothing; stop, rollback when set [checklist]",
        "max_hours": "of training, all attempts together; then it saves and stops",
        "max_disk_gb": "run folder and checkpoints; then it saves and stops",
        "when_busy": leases.WHY[config.when_busy],
        "rollback_rate_factor": "halves the rate at each rollback [choice]",
        **({"extra": "what was measured asks for it, see the findings"} if found.model.decided else {}),
    }


def _changes(found: Ground, computed: Mapping[str, Choice]) -> dict[str, tuple[Any, Any]]:
    """Changed key → (value, default); a change to the default itself is none."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for key in configfile.CHECKLIST + configfile.RUN:
        if key not in found.given:
            continue
        value = found.given[key]
        default = computed[key].default if key in computed and computed[key].changed else DEFAULTS.get(key)
        if key in computed and not computed[key].changed:
            continue
        pairs[key] = (value, "inferred" if default is dataclasses.MISSING or default is None else default)
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _seconds(found: Ground, config: TrainingConfig) -> float | None:
    """Training and validation, from one measured batch; None when it was not measured."""
    one = found.model.seconds_per_batch
    if one is None:
        return None
    one *= max(1.0, config.batch_size / found.batch)
    validations = config.total_steps / config.validate_every * found.split.val_samples / config.batch_size / 3
    return one * (config.total_steps * config.gradient_accumulation + validations)


def _proposal(
    project: Path, found: Ground, shown: Shown, by: str, parts: dict[str, str], smoke: Smoke | None
) -> Proposal:
    config, python = shown.config, found.subject.python.path
    facts = _data_facts(project, found, config, parts)
    return Proposal(
        config=config,
        facts=facts,
        digest=digest.digest(parts),
        parts=parts,
        python=python,
        yaml=proposal_text.yaml(shown, whole=True),
        findings=shown.findings,
        summary=proposal_text.summary(shown),
        by=by,
        time=time.time(),
        signature=digest.signature(project, config),
        smoke=smoke,
    )


def _data_facts(project: Path, found: Ground, config: TrainingConfig, parts: Mapping[str, str]) -> DataFacts:
    split, model = found.split, found.model
    if model.entry_sha256 and model.entry_sha256 != parts["model file"]:
        raise RunError("the model file changed while it was being measured.", "Call propose_config again.")
    return DataFacts(
        train_samples=split.train_samples,
        val_samples=split.val_samples,
        steps_per_epoch=steps_per_epoch(split.train_samples, config.batch_size, config.gradient_accumulation),
        parameters=model.parameters,
        trainable_parameters=model.trainable_parameters,
        classes=split.classes,
        sample_unit="sequences" if config.task == "language_modeling" else "samples",
        fingerprint=split.fingerprint,
        entry_sha256=parts["model file"],
        device=model.device,
        about=split.about,
    )


def _unique(findings: list[Finding]) -> tuple[Finding, ...]:
    """The same message only once (split and model see the same data), errors and warnings first."""
    order = {"error": 0, "warning": 1, "info": 2}
    seen = {(finding.check, finding.message): finding for finding in findings}
    return tuple(sorted(seen.values(), key=lambda finding: order[finding.severity]))
