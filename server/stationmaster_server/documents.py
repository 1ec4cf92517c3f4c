"""The generated parts of the documents: tables of defaults, keys, early warnings and tools, between markers."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stationmaster_trainer import contract, judge
from stationmaster_trainer.errors import FormatError

from .policy.policy import Row, policy

BLOCK = re.compile(r"(<!-- generated: (\w+)[^>]*-->\n).*?(<!-- end: \2 -->)", re.DOTALL)
"""One generated block; its name is a key of `TABLES`."""


def refresh(text: str, source: str) -> str:
    """The document with every generated block written anew. FormatError for an unknown block name, naming `source`."""

    def one(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise FormatError(f"{source}: unknown generated block {name!r}.", f"Known: {', '.join(TABLES)}.")
        return f"{match[1]}\n{TABLES[name]().strip()}\n\n{match[3]}"

    return BLOCK.sub(one, text)


def documents(root: Path) -> list[Path]:
    """Every Markdown file of the checkout that holds a generated block."""
    names = [*root.glob("*.md"), *root.glob("skill/**/*.md"), *root.glob("server/*.md"), *root.glob("trainer/*.md")]
    return sorted(path for path in names if not path.is_symlink() and BLOCK.search(path.read_text("utf-8")))


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; line breaks and bars in cells are made harmless."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def checklist_table() -> str:
    """The checklist's own defaults."""
    cells = policy().checklist.items()
    return table(("key", "value", "reason", "source"), ((f"`{k}`", _value(d), d.reason, d.source) for k, d in cells))


def epochs_table() -> str:
    """Passes over the data by its size."""
    rows = ((_up_to(up_to), f"{value:g}", reason) for up_to, value, reason in policy().epochs)
    return table(("training samples", "epochs", "reason"), rows)


def tasks_table() -> str:
    """What public practice takes, by kind of training and size of the model."""
    head = ("kind of training", "learning rate", "effective batch", "betas", "decay", "warm-up", "schedule", "source")
    return table(head, (_task(row) for row in policy().rows))


def keys_table() -> str:
    """Every key of the configuration with the sentence that the contract has for it."""
    fields = {item.name: item for item in dataclasses.fields(contract.TrainingConfig)}
    rows = ((f"`{name}`", _default(fields[name]), text) for name, text in _sentences(contract.TrainingConfig).items())
    return table(("key", "when left out", "meaning"), rows)


def rules_table() -> str:
    """The early warnings: what each means and what to do."""
    rules = judge.all_rules()
    return table(
        ("rule", "severity", "what it usually means", "what to do"),
        ((f"`{rule.name}`", rule.severity, rule.meaning, rule.advice) for rule in rules),
    )


def settings_table() -> str:
    """The thresholds of the rules."""
    rows = [
        (f"`{rule.name}.{name}`", f"{setting.value:g}", setting.why)
        for rule in judge.all_rules()
        for name, setting in rule.settings.items()
    ]
    return table(("setting", "default", "what it is"), rows)


def tools_table() -> str:
    """The MCP tools as a client lists them."""
    import anyio

    from .app import build_server
    from .roots import Roots

    listed = anyio.run(build_server(Roots.of(None)).list_tools)
    rows = ((f"`{tool.name}`", " ".join((tool.description or "").split())) for tool in listed)
    return table(("tool", "what it does"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "checklist": checklist_table,
    "epochs": epochs_table,
    "tasks": tasks_table,
    "keys": keys_table,
    "rules": rules_table,
    "settings": settings_table,
    "tools": tools_table,
}
"""Block name → what stands in it."""


def _sentences(cls: type) -> dict[str, str]:
    """Field → the docstring under it, read from the class's source; fields without one are left out."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    found: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name], name = " ".join(str(node.value.value).split()), ""
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "computed" if field.default_factory is dataclasses.MISSING else "{}"
    return json.dumps(field.default)


def _task(row: Row) -> tuple[Any, ...]:
    unit = "tokens" if row.in_tokens else (row.batch_unit or "samples")
    rate = row.learning_rate if isinstance(row.learning_rate, str) else f"{row.learning_rate:g}"
    betas = "" if row.betas is None else f"{row.betas[0]:g}, {row.betas[1]:g}"
    decay = "" if row.weight_decay is None else f"{row.weight_decay:g}"
    return (
        row.name,
        rate,
        f"{row.effective_batch:,} {unit}",
        betas,
        decay,
        row.warmup or "",
        row.lr_schedule or "",
        row.source,
    )


def _value(default: Any) -> str:
    return "" if default.value is None else str(default.value)


def _up_to(samples: float) -> str:
    return "more" if samples == float("inf") else f"up to {samples:,.0f}"


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
