"""The tool that opens the conversation: what the project holds, what would be trained, on what, with which Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_types import CallToolResult, ToolAnnotations

from ..answer import answer, clean
from ..app import Stationmaster
from ..roots import Roots

if TYPE_CHECKING:
    from stationmaster_trainer.facts import Finding

    from ..devices import Hardware
    from ..project import DataCandidate, ProjectFacts

_SHOWN = 4


def register(server: Stationmaster, roots: Roots) -> None:
    """Adds `inspect_project`."""

    @server.tool(
        title="Inspect a project",
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
        structured_output=False,
    )
    def inspect_project(project_dir: str) -> CallToolResult:
        """Looks at a project without importing its code. Returns the framework, entry points, models, data files with
        rows and classes, the Python that would train, the hardware, what is missing and the next step."""
        from ..project import default_data, default_entry, inspect

        facts = inspect(roots.project(project_dir))
        entry, data = default_entry(facts), default_data(facts)
        return answer(
            text(facts),
            project_dir=facts.project_dir,
            framework=facts.framework,
            entry_points=facts.entry_points,
            models=facts.models,
            functions=facts.functions,
            pretrained=facts.pretrained,
            data=facts.data,
            notebooks=facts.notebooks,
            python={"interpreter": facts.python, "environment": facts.environment, "missing": facts.missing},
            hardware=facts.hardware,
            findings=facts.findings,
            default={"entry": entry._asdict(), "data": data._asdict()},
            next=next_step(facts),
        )


def text(facts: ProjectFacts) -> str:
    """The facts in some 200 tokens: one line each, what cannot go on last but the next step."""
    lines = [
        f"Framework: {facts.framework.name or 'none'} ({_name(facts.framework.why, 160)})",
        f"Model: {_model(facts)}",
        f"Data: {_data(facts)}",
        f"Python: {_python(facts)}",
        f"Hardware: {_hardware(facts.hardware)}",
    ]
    if facts.notebooks:
        lines.append(f"Notebooks (not trained from): {_listed(list(facts.notebooks))}")
    lines += _findings(facts)
    return "\n".join([*lines, f"Next: {next_step(facts)}"])


def next_step(facts: ProjectFacts) -> str:
    """What to do now: correct what refuses a start, else ask for the logging backend."""
    from ..project import default_data, default_entry

    errors = [finding for finding in facts.findings if finding.severity == "error"]
    if errors:
        return "correct the errors above, then inspect_project again; choose_logging can be asked meanwhile."
    if not default_entry(facts).path:
        return "a Python file with the model (an nn.Module class or build_model()), then inspect_project again."
    if not default_data(facts).train:
        return "ask where the training data are; then ask for the logging backend and call choose_logging."
    return "ask the person for the logging backend (file, tensorboard, wandb), then choose_logging."


def _model(facts: ProjectFacts) -> str:
    from ..project import default_entry

    entry = default_entry(facts)
    if not entry.path:
        return f"none: {entry.why}"
    chosen = next((m for m in facts.models if m.name == entry.model_name and m.path == entry.path), None)
    if chosen is None:
        return f"{_name(entry.path)} by default ({_name(entry.why, 160)})"
    signature = ", ".join(p.name if p.default is None else f"{p.name}={p.default}" for p in chosen.parameters)
    return f"{_name(chosen.name)}({_name(signature, 100)}) by default ({_name(entry.why, 160)})"


def _data(facts: ProjectFacts) -> str:
    from ..project import default_data

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
    for part, chosen in zip(("train", "val", "test"), data[:3], strict=False):
        if path == chosen:
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
    from ..words import size

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
    advice = f" {finding.advice}" if finding.advice else ""
    return f"{finding.severity.title()}: {clean(finding.message.rstrip('.') + '.' + advice, 600)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(_name(name) for name in names[:3]) + more


def _name(text: str, limit: int = 120) -> str:
    """A name or line of the project on one line, harmless to show."""
    return clean(" ".join(text.split()), limit)
