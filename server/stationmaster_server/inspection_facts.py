"""An inspected project as plain values, for programs: under the names that clients rely on, long lists cut."""

from __future__ import annotations

from typing import Any

from stationmaster_trainer.codec import to_plain
from stationmaster_trainer.facts import ColumnFacts, FileFacts

from .answer import clean
from .inspection import next_step
from .logs import LogFacts
from .notebooks import NotebookFacts
from .offers import offer
from .project import DataCandidate, ProjectFacts, default_data, default_entry
from .scripts import Script

_LISTED = 20
"""Entry points, models, data and findings that the facts list; `left_out` counts the rest."""
_COLUMNS = 12
"""Columns of a table that are listed one by one, beside its target and those with missing cells."""


def plain(facts: ProjectFacts) -> dict[str, Any]:
    """The facts for a tool's structured content, under the names that clients rely on."""
    lists = {"entry_points": facts.entry_points, "models": facts.models, "data": facts.data, "findings": facts.findings}
    lists |= {"scripts": facts.scripts}
    found = {
        "project_dir": facts.project_dir,
        "framework": facts.framework.name,
        "framework_why": facts.framework.why,
        "framework_evidence": facts.framework.evidence,
        "entry_points": [
            {"path": entry.path, "roles": entry.roles, "evidence": entry.evidence[:4]}
            for entry in facts.entry_points[:_LISTED]
        ],
        "models": [
            {
                "name": model.name,
                "evidence": f"{model.path}:{model.line}",
                "kind": model.kind,
                "parameters": [p.name if p.default is None else f"{p.name}={p.default}" for p in model.parameters],
                "part_of": model.part_of,
            }
            for model in facts.models[:_LISTED]
        ],
        "pretrained": [{"name": name, "evidence": evidence} for name, evidence in facts.pretrained[:_LISTED]],
        "data": [_data_facts(item) for item in facts.data[:_LISTED]],
        "notebooks": [_notebook_facts(one) for one in facts.notebooks[:_LISTED]],
        "scripts": [_script_facts(script) for script in facts.scripts[:_LISTED]],
        **({"configs": facts.configs[:_LISTED]} if facts.configs else {}),
        **({"foreign": facts.foreign[:_LISTED]} if facts.foreign else {}),
        **({"logs": [_log_facts(log) for log in facts.logs[:_LISTED]]} if facts.logs else {}),
        "python": _python_facts(facts),
        "hardware": facts.hardware,
        "findings": facts.findings[:_LISTED],
        "left_out": {name: len(items) - _LISTED for name, items in lists.items() if len(items) > _LISTED},
        "default": {"entry": default_entry(facts)._asdict(), "data": default_data(facts)._asdict()},
        "script": offer(facts),
        "next": next_step(facts),
    }
    harmless: dict[str, Any] = _harmless(to_plain(found))
    return harmless


def _script_facts(script: Script) -> dict[str, Any]:
    drives = [{"driver": d.driver, "weight": d.weight, "evidence": d.evidence} for d in script.drives]
    return {
        "path": script.path,
        "driver": script.drives[0].driver,
        "runs": script.runs,
        "drives": drives,
        "reasons": script.reasons,
        "command": str(script.command) if script.command else None,
    }


def _notebook_facts(one: NotebookFacts) -> dict[str, Any]:
    return {
        "path": one.path,
        "cells": one.cells,
        "trains": one.trains,
        "driver": one.drives[0].driver if one.drives else None,
        "evidence": one.drives[0].evidence if one.drives else (),
        "left_out": one.left_out,
        "problem": one.problem,
    }


def _log_facts(log: LogFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"path": log.path, "changed": round(log.changed), "running": log.running}
    if log.source:
        found |= {"source": log.source, "step": log.step, "total_steps": log.total_steps, "loss": log.loss}
        found |= {"steps_per_second": log.pace, "verdict": log.verdict, "alerts": log.alerts, "writer": log.writer}
    return found


def _harmless(value: Any) -> Any:
    """Plain values with every text of the project cleaned: names of columns and classes may hold anything."""
    if isinstance(value, str):
        return clean(value, 4096)
    if isinstance(value, dict):
        return {clean(key, 200): _harmless(item) for key, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list) else value


def _data_facts(item: DataCandidate) -> dict[str, Any]:
    found: dict[str, Any] = {"path": item.path, "format": item.format, "role": item.role, "bytes": item.bytes}
    about = item.measured
    if about is None:
        return found
    if about.problem:
        return {**found, "problem": about.problem}
    return {
        **found,
        "rows": about.rows,
        "column_count": len(about.columns),
        "columns": [_column(column) for column in _told_columns(about)],
        "target": about.target,
        "target_why": about.target_why,
        "task": about.task,
        "task_why": about.task_why,
        "classes": about.classes,
        "shape": about.shape,
    }


def _told_columns(about: FileFacts) -> list[ColumnFacts]:
    """The first ones, the target, and those with missing cells, in the order of the file."""
    first = {column.name for column in about.columns[:_COLUMNS]}
    gaps = [column.name for column in about.columns if column.missing][:_COLUMNS]
    return [column for column in about.columns if column.name in {*first, *gaps, about.target}]


def _column(column: ColumnFacts) -> dict[str, Any]:
    values = {
        "name": column.name,
        "dtype": column.dtype,
        "unique": column.unique,
        "low": column.low,
        "high": column.high,
    }
    if column.missing:
        values["missing"] = column.missing
    return {key: value for key, value in values.items() if value is not None}


def _python_facts(facts: ProjectFacts) -> dict[str, Any] | None:
    python = facts.python
    if python is None:
        return None
    return {
        "path": python.path,
        "version": python.version,
        "why": python.why,
        "frameworks": python.frameworks,
        "packages": facts.environment.packages if facts.environment else {},
        "missing": facts.missing,
        "others": python.others,
    }
