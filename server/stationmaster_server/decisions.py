"""What was decided before the start and by whom: `checklist.json` read back for the report, in a line per gate.

Texts in it (a reason for a waiver, a file name) came from outside: cleaned and shortened. A damaged file is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, rundir
from stationmaster_trainer.errors import FormatError

from . import preflight_text
from .answer import plain
from .words import count, many

MAX_BYTES = 4 << 20
"""Bytes of the largest checklist that is read."""

Gates = dict[str, dict[str, Any]]


def read(path: Path, problems: list[str]) -> Gates:
    """Gate name → its entry (`checklist.Gate`). What cannot be read is added to `problems` and left out."""
    try:
        plain = codec.parsed(rundir.read(path, MAX_BYTES), path.name)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing: what was decided before the start is not known")
        return {}
    except (OSError, FormatError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return {}
    listed = plain.get("gates", plain) if isinstance(plain, dict) else plain
    if isinstance(listed, dict):
        listed = [{"gate": name, **gate} for name, gate in listed.items() if isinstance(gate, dict)]
    found = listed if isinstance(listed, list) else []
    return {str(gate["gate"]): gate for gate in found if isinstance(gate, dict) and "gate" in gate}


def validation(gates: Gates) -> str:
    """The validation decision with its counts: method, samples in both parts, classes, overlap, findings, who."""
    gate = gates.get("validation", {})
    evidence = _evidence(gate)
    if not gate:
        return ""
    parts = [_text(gate.get("words") or evidence.get("method") or "decided", 120)]
    if evidence.get("waive_reason"):
        parts.append(f'reason given: "{_text(evidence["waive_reason"], 100)}"')
    train, held = evidence.get("train_samples"), evidence.get("val_samples")
    if isinstance(train, int) and isinstance(held, int) and held:
        about = "about " if evidence.get("about") is True else ""
        parts.append(f"{about}{count(train)} train and {count(held)} validation samples")
        parts += _classes(evidence)
        if isinstance(evidence.get("overlap"), int):
            parts.append(f"overlap {count(evidence['overlap'])}")
    return f"{', '.join(parts)}; {_who(gate)}"


def _classes(evidence: dict[str, Any]) -> list[str]:
    train, held = evidence.get("train_counts"), evidence.get("val_counts")
    if not isinstance(train, dict) or not isinstance(held, dict) or not train:
        return []
    absent = [name for name in train if not held.get(name)]
    if not absent:
        return [f"{many(len(train), 'class', 'classes')}, all in both"]
    return [f"{count(len(absent))} of {many(len(train), 'class', 'classes')} missing from validation"]


def findings(gates: Gates) -> list[str]:
    """What the check of the data saw."""
    found = _evidence(gates.get("validation", {})).get("findings")
    return [_text(one, 300) for one in found if isinstance(one, str)] if isinstance(found, list) else []


def approval(gates: Gates) -> str:
    """Who said yes, and to which digest."""
    gate = gates.get("approval", {})
    digest = _evidence(gate).get("digest")
    if not gate:
        return ""
    return _text(gate.get("words") or gate.get("by") or gate.get("state") or "", 100) + (
        f", digest {_text(digest, 12).rstrip('…')}" if digest else ""
    )


def changes(gates: Gates) -> dict[str, Any]:
    """What the person changed from the computed defaults, by key."""
    found = _evidence(gates.get("configuration", {})).get("changes")
    return {_text(key, 60): value for key, value in found.items()} if isinstance(found, dict) else {}


def smoke(gates: Gates) -> str:
    """The smoke test before the start in a line; empty when there was none."""
    found = _evidence(gates.get("configuration", {})).get("smoke_test")
    return preflight_text.recorded(found.get("facts")) if isinstance(found, dict) else ""


def rows(gates: Gates) -> list[tuple[str, str, str, str]]:
    """(gate, state, decision, who) of every gate, for a table."""
    return [
        (name, _text(gate.get("state"), 20), _text(gate.get("words"), 200), _text(gate.get("by"), 60))
        for name, gate in gates.items()
    ]


def _who(gate: dict[str, Any]) -> str:
    return f"decided by {_text(gate.get('by') or 'nobody that is recorded', 60)}"


def _evidence(gate: dict[str, Any]) -> dict[str, Any]:
    found = gate.get("evidence")
    return found if isinstance(found, dict) else {}


def _text(value: Any, limit: int) -> str:
    return plain("" if value is None else str(value), limit)
