"""An inspected project as it is told: a text of some 200 tokens; `inspection_facts` has the same for programs."""

from __future__ import annotations

import json
import time

from stationmaster_trainer.facts import Finding

from . import livewords, offers
from .answer import clean
from .devices import Hardware
from .notebooks import NotebookFacts
from .offers import chosen, offer, unchanged
from .project import DataCandidate, ProjectFacts, default_data, default_entry
from .words import size

_SHOWN = 4
_LOGS = 3


def text(facts: ProjectFacts) -> str:
    """The facts in some 200 tokens: one line each, what cannot go on last but the next step."""
    lines = [
        f"Framework: {facts.framework.name or 'none'} ({_name(facts.framework.why, 160)})",
        *_loop(facts),
        f"Model: {_model(facts)}",
        f"Data: {_data(facts)}",
        f"Python: {_python(facts)}",
        f"Hardware: {_hardware(facts.hardware)}",
    ]
    lines += _notebooks(facts)
    if facts.foreign:
        lines.append(f"Also: {_listed([f'{one.path} ({one.detail})' for one in facts.foreign])}")
    lines += [f"Config: {_name(offers.tool_config(facts, one), 700)}" for one in facts.configs[:2]]
    lines += [f"{len(facts.configs) - 2} more configurations of training tools."] if len(facts.configs) > 2 else []
    lines += _logs(facts)
    if default_entry(facts).path and (script := chosen(facts)):
        lines.append(f"Script: {_name(unchanged(script), 600)}")
    lines += _findings(facts)
    return "\n".join([*lines, f"Next: {next_step(facts)}"])


def next_step(facts: ProjectFacts) -> str:
    """What to do now: correct what refuses a start, else ask for the logging backend."""
    errors = [finding for finding in facts.findings if finding.severity == "error"]
    if chosen(facts) or offers.notebook(facts):  # no framework of ours is needed for a script of theirs
        errors = [finding for finding in errors if finding.check != "framework"]
    if errors:
        return "correct the errors above, then inspect_project again; choose_logging can be asked meanwhile."
    if not default_entry(facts).path:
        if offered := offer(facts):
            return f"{offered} Or write the model in a Python file; then inspect_project again."
        return "a Python file with the model (an nn.Module class or build_model()), then inspect_project again."
    if not default_data(facts).train:
        return "ask where the training data are; then ask for the logging backend and call choose_logging."
    return "ask the person for the logging backend (file, tensorboard, wandb), then choose_logging."


def _notebooks(facts: ProjectFacts) -> list[str]:
    """The one that trains with its offer, and what else there is."""
    if not facts.notebooks:
        return []
    offered = offers.notebook(facts) if default_entry(facts).path or chosen(facts) else ""
    lines = [f"Notebook: {offered}"] if offered else []
    others = facts.notebooks[1:] if offered else facts.notebooks
    told = [f"{one.path} ({one.problem or _cells(one)})" for one in others]
    return [*lines, f"Notebooks: {_listed(told)}"] if told else lines


def _logs(facts: ProjectFacts) -> list[str]:
    """The newest logs, with the call that says more of the first."""
    if not facts.logs:
        return []
    now, shown = time.time(), facts.logs[:_LOGS]
    call = f"diagnose log={json.dumps(facts.logs[0].path, ensure_ascii=False)}"
    lines = [_name(f"Log: {livewords.told(log, now)}", 400) for log in shown]
    lines[0] += f"; more: {call}"
    more = len(facts.logs) - len(shown)
    return [*lines, f"{more:,} older logs."] if more else lines


def _cells(one: NotebookFacts) -> str:
    trains = f"cell {', '.join(map(str, one.trains[:4]))} trains: {one.drives[0].name}" if one.trains else "no training"
    return f"{one.cells} cells, {trains}"


def _loop(facts: ProjectFacts) -> list[str]:
    """What drives the loop of the likeliest script, what else might, and the other scripts."""
    if not facts.scripts:
        return ["Loop: none in the project; stationmaster's own trains the model"] if facts.models else []
    first, *others = facts.scripts
    drive = first.drives[0]
    line = f"Loop: {drive.name} in {first.path} ({'; '.join(drive.evidence[:2])})"
    line += "".join(f"; less likely {other.name} ({other.evidence[0]})" for other in first.drives[1:3])
    if first.reasons and others:
        line += f"; first of {len(facts.scripts)}, {first.reasons[0]}"
    shown = [f"{one.path} ({one.drives[0].name}{'' if one.runs else ', no script'})" for one in others[:3]]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return [_name(line + (f"; also {', '.join(shown)}{more}" if shown else ""), 600)]


def _model(facts: ProjectFacts) -> str:
    entry = default_entry(facts)
    if not entry.path:
        return f"none: {entry.why}"
    chosen = next((m for m in facts.models if m.name == entry.model_name and m.path == entry.path), None)
    if chosen is None:
        return f"{_name(entry.path)} by default ({_name(entry.why, 160)})"
    signature = ", ".join(p.name if p.default is None else f"{p.name}={p.default}" for p in chosen.parameters)
    return f"{_name(chosen.name)}({_name(signature, 100)}) by default ({_name(entry.why, 160)})"


def _data(facts: ProjectFacts) -> str:
    data = default_data(facts)
    if data.train == "build_data":
        return f"build_data by default ({_name(data.why)})"
    if not facts.data:
        return "none found in the project"
    chosen = [path for path in (data.train, data.val, data.test) if path]
    items = sorted(facts.data, key=lambda item: chosen.index(item.path) if item.path in chosen else len(chosen))
    shown = [f"{_one(item)}{_part(item.path, data)}" for item in items[:_SHOWN]]
    more = f"; {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    why = f" ({_name(data.why, 120)})" if len(items) > 1 or not data.train else ""
    return "; ".join(shown) + more + why


def _part(path: str, data: tuple[str, str | None, str | None, str]) -> str:
    for part, taken in zip(("train", "val", "test"), data[:3], strict=False):
        if path == taken:
            return f" → {part}"
    return ""


def _one(item: DataCandidate) -> str:
    """One data file in words: rows, columns, target and its classes."""
    about = item.measured
    if about is None:
        return f"{_name(item.path)} ({item.format}, not measured)"
    if about.problem:
        return f"{_name(item.path)} (cannot be used)"
    parts = [f"{about.rows:,} rows"]
    if about.columns:
        parts.append(f"{len(about.columns)} columns")
    if about.shape and not about.columns:
        parts.append("shape " + "×".join(map(str, about.shape)))
    if about.target:
        parts.append(f"target {_name(about.target, 40)}")
    if about.task:
        classes = f" of {len(about.classes)} classes" if about.classes else ""
        parts.append(f"{about.task.replace('_', ' ')}{classes}")
    return f"{_name(item.path)} ({', '.join(parts)})"


def _python(facts: ProjectFacts) -> str:
    python = facts.python
    if python is None:
        return "none found"
    has = facts.environment.packages if facts.environment else dict.fromkeys(python.frameworks, "")
    known = [f"{name} {has[name]}".strip() for name in ("torch", "transformers", "jax", "flax") if name in has]
    frameworks = ", ".join(known) or "no torch, no jax"
    return f"{_name(python.path)} {python.version} ({_name(python.why)}; {frameworks})"


def _hardware(machine: Hardware) -> str:
    parts = [f"{machine.cpu_cores} CPU core{'s' if machine.cpu_cores > 1 else ''}"]
    if machine.memory_total:
        free = f", {_gigabytes(machine.memory_free)} free" if machine.memory_free is not None else ""
        parts.append(f"{_gigabytes(machine.memory_total)} memory{free}")
    parts += [f"{gpu.name} {_gigabytes(gpu.memory_total)}" for gpu in machine.gpus[:_SHOWN]]
    if len(machine.gpus) > _SHOWN:
        parts.append(f"{len(machine.gpus) - _SHOWN} more GPUs")
    if not machine.gpus:
        parts.append("Apple GPU (mps)" if machine.mps else "no GPU")
    if machine.disk_free is not None:
        parts.append(f"{_gigabytes(machine.disk_free)} disk free")
    return ", ".join(parts)


def _gigabytes(amount: int | None) -> str:
    return "" if amount is None else size(amount)


def _findings(facts: ProjectFacts) -> list[str]:
    """Errors, then warnings, at most four; infos stay in the structured part."""
    order = {"error": 0, "warning": 1, "info": 2}
    told = sorted((f for f in facts.findings if f.severity != "info"), key=lambda finding: order[finding.severity])
    lines = [_finding(finding) for finding in told[:_SHOWN]]
    if len(told) > _SHOWN:
        lines.append(f"{len(told) - _SHOWN} more findings in the structured content.")
    return lines


def _finding(finding: Finding) -> str:
    """One line, but for fenced output that the advice ends with."""
    advice, mark, fenced = finding.advice.partition("\n[")
    message = _name(f"{finding.message.rstrip('.')}. {advice}", 600)
    return f"{finding.severity.title()}: {message}{mark}{clean(fenced, 800)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(_name(name) for name in names[:3]) + more


def _name(text: str, limit: int = 120) -> str:
    """A name or line of the project on one line, harmless to show."""
    return clean(" ".join(text.split()), limit)
