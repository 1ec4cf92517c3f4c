"""The validation gate's decision: a path, a split or a waiver; carried out, counted, and recorded with who took it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stationmaster_trainer.errors import ConfigError, GateError
from stationmaster_trainer.facts import Finding, Request, SplitFacts

from . import config, measured, measuring
from .answer import clean, fence
from .digest import SCRIPT
from .plan import ASSISTANT, Plan, Validation
from .subject import Subject, checked_data, subject
from .words import short

SPLIT = 0.2
"""The checklist's 80/20."""
MOST_ROWS = 10
"""Rows that are shown at once."""
_ALLOWED = "a fraction above 0 to 0.9, or true for 80/20"
_AUTO = ("split", "auto", "auto-split")


def choice(val_data: str | None, split: bool | float | str | None, waive_reason: str | None) -> dict[str, Any] | None:
    """The one decision among the three arguments, as keys of the configuration; None when none is given.

    Raises GateError when more than one is given, ConfigError for a value that is none.
    """
    if val_data in _AUTO and split in (None, True):
        val_data, split = None, True
    given = {"val_data": val_data, "split": None if split is False else split, "waive_reason": waive_reason}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise GateError(f"{' and '.join(named)} exclude each other.", "Give one of val_data, split and waive_reason.")
    if not named:
        return None
    if waive_reason is not None:
        if len(waive_reason.strip()) < 3:
            raise GateError(f"waive_reason is {waive_reason!r}.", "Say in words why there is no validation.")
        return {"val_data": "none", "waive_reason": short(clean(waive_reason), 500)}
    if split is not None:
        return {"val_data": "split", "val_fraction": _fraction(split)}
    if not val_data or val_data == "none":
        raise ConfigError(
            config.refused("val_data", val_data, "a data file inside the project"), "To waive: waive_reason."
        )
    return {"val_data": val_data}


def decide(
    project: Path, plan: Plan, decision: Mapping[str, Any], changes: Mapping[str, Any], by: str = ASSISTANT
) -> tuple[Plan, Subject]:
    """Carries a decision out and records it; `changes` are the person's, by key of the configuration.

    Raises DataError for data that cannot be used, GateError for a finding that forbids the start; the plan stays then.
    """
    if changes.get("framework") == SCRIPT:
        from . import adopt

        return adopt.decide(project, plan, decision, changes, by), adopt.subject(project, changes)
    found = subject(project, changes)
    val_data = str(decision["val_data"])
    if val_data not in ("split", "none"):
        val_data = checked_data(project, val_data, "val_data")
    wanted = data_config(found, changes, {**decision, "val_data": val_data})
    facts = measured.split(found, wanted, None)
    _refuse_errors(facts)
    validation = Validation(
        val_data=val_data,
        config=wanted,
        facts=facts,
        by=by,
        time=time.time(),
        waive_reason=str(decision.get("waive_reason", "")),
        notes=notes(found),
        key=measured.split_key(found, wanted),
    )
    stale = "the validation decision changed" if plan.proposal is not None else ""
    same = plan.validation is not None and plan.validation.key == validation.key
    plan = replace(plan, validation=validation, changes=dict(changes), stale=plan.stale if same else stale)
    return plan, found


def data_config(found: Subject, changes: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the configuration that decide what the data is, as far as they are known."""
    known = {key: changes[key] for key in measured.DATA_KEYS if changes.get(key) is not None}
    known |= {"framework": found.framework, "train_data": found.train_data, "val_data": decision["val_data"]}
    if decision["val_data"] == "split":
        known["val_fraction"] = decision.get("val_fraction") or SPLIT
    known.setdefault("seed", 42)
    return known


def again(found: Subject, plan: Plan) -> tuple[Plan, bool]:
    """The decision counted anew when data, seed or columns changed since; and whether they had."""
    validation = plan.validation
    assert validation is not None  # called only after the decision
    wanted = data_config(found, plan.changes, {**validation.config, "val_data": validation.val_data})
    key = measured.split_key(found, wanted)
    if key == validation.key:
        return plan, False
    facts = measured.split(found, wanted, None)
    _refuse_errors(facts)
    return replace(plan, validation=replace(validation, config=wanted, facts=facts, key=key, notes=notes(found))), True


def notes(found: Subject) -> tuple[str, ...]:
    """What was taken by default, and why."""
    data = f" ({found.why['train_data']})" if "train_data" in found.why else ""
    return (f"Training data: {found.train_data}{data}.",)


def report(validation: Validation) -> str:
    """The decision with its evidence, for the person: method, counts, classes, overlap, findings."""
    facts = validation.facts
    target = f", target {facts.target}" if facts.target else ""
    lines = [f"Validation: {facts.method}. {counts(facts)}", *validation.notes]
    lines.append(f"Task: {facts.task}{target} ({short(facts.task_why, 160)}).")
    lines += [finding_line(finding) for finding in facts.findings]
    if validation.waive_reason:
        lines.append(f"Waived, reason given: {validation.waive_reason}")
    return clean("\n".join(lines), 3000)


def examples(project: Path, validation: Validation, check: str) -> str:
    """The rows that the findings of one check name, fenced. GateError when the check names none."""
    found = [each for each in validation.facts.findings if each.facts.get("examples")]
    pairs = [pair for each in found if each.check == check for pair in each.facts["examples"]]
    if not pairs:
        known = ", ".join(dict.fromkeys(each.check for each in found)) or "none"
        raise GateError(f"no finding {short(clean(check), 40)!r} names rows.", f"Findings that do: {known}.")
    wanted = [[pair[at], pair[at + 1]] for pair in pairs for at in range(0, len(pair), 2)]
    named = {"train_data": validation.config["train_data"], "val_data": validation.val_data, "rows": wanted[:MOST_ROWS]}
    python = subject(project, validation.config).python.path
    shown = measuring.measure(Request("rows", str(project), config=named), python).rows or ()
    return fence("\n".join(shown), "rows of the data", 4000)


def counts(facts: SplitFacts) -> str:
    """`1,437 train, 360 validation samples; 10 classes, all in both; overlap 0.`"""
    if not facts.train_samples and not facts.val_samples:
        return "Samples are not counted."
    text = f"{'about ' if facts.about else ''}{facts.train_samples:,} train, {facts.val_samples:,} validation samples"
    if facts.dropped:
        text += f", {facts.dropped:,} rows dropped"
    if not facts.val_samples:
        return f"{text}."
    if facts.classes:
        absent = [name for name in facts.classes if not facts.val_counts.get(name)]
        seen = f"{len(absent)} missing from validation" if absent else "all in both"
        text += f"; {len(facts.classes)} classes, {seen}"
    return f"{text}; overlap {facts.overlap:,}."


def finding_line(finding: Finding) -> str:
    """`warning overlap: 12 validation samples … Advice.`"""
    return f"{finding.severity} {finding.check}: {finding.message} {finding.advice}".rstrip()


def _refuse_errors(facts: SplitFacts) -> None:
    errors = [finding for finding in facts.findings if finding.severity == "error"]
    if errors:
        raise GateError(
            " ".join(clean(finding.message, 600) for finding in errors),
            " ".join(dict.fromkeys(clean(finding.advice, 300) for finding in errors if finding.advice)),
        )


def _fraction(split: bool | float | str) -> float:
    """0.2, true, `0.2`, `80/20` and `20%` all mean a fifth."""
    if split is True:
        return SPLIT
    text = str(split).strip().lower()
    if text in ("true", *_AUTO):
        return SPLIT
    try:
        if "/" in text:
            train, held = (float(part) for part in text.split("/"))
            value = held / (train + held)
        else:
            value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not 0 < value <= 0.9:
        raise ConfigError(config.refused("split", split, _ALLOWED))
    return round(value, 6)
