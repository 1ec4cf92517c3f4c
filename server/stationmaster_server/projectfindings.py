"""What is wrong or worth knowing in a project's folder, as findings: its sources, saved models, what was left out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from stationmaster_trainer.facts import Finding

from . import savedmodel
from .framework import FrameworkFacts, is_beside
from .interpreter import Interpreter
from .listing import Listing
from .sources import SourceFacts

_PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\b")
"""A shard, as data sets on hubs are named: `train-00000-of-00004.parquet`."""


def of_source(
    listing: Listing, files: list[SourceFacts], framework: FrameworkFacts, python: Interpreter | None
) -> list[Finding]:
    """Files that cannot be read, no framework or several, models outside any class, training on import."""
    findings = [_unreadable(file, python) for file in files if file.problem]
    if framework.name is None:
        beside = f" Of other libraries: {framework.others[0]}." if framework.others else ""
        advice = "Write the model as an nn.Module (or flax nnx.Module) in a Python file."
        findings.append(Finding("framework", "error", f"{framework.why}.{beside}", advice))
    elif framework.others:
        names = " and ".join(dict.fromkeys(other.rpartition(" ")[2] for other in framework.others))
        message = f"{names} seen ({framework.others[0].partition(' ')[0]}): its own training loop is not used"
        findings.append(Finding("framework", "info", message))
    if not any(file.models or file.functions or file.pretrained for file in files):
        for file in (file for file in files if file.inline_models):
            made = file.inline_models[0]
            message = f"{file.path}:{made.line} makes the model outside any class: {made.what}"
            findings.append(Finding("source", "warning", message, "Return it from a function build_model()."))
    for file in files:
        if file.trains_on_import and not is_beside(file.path):
            message = f"{file.path}:{file.trains_on_import} starts training when the file is imported"
            advice = 'Put the training below `if __name__ == "__main__":`.'
            entry = file.models or file.functions or file.inline_models  # what holds none can only be run as it is
            findings.append(Finding("source", "warning" if entry else "info", message, advice))
    return findings


def of_model(project: Path, listing: Listing, framework: FrameworkFacts) -> list[Finding]:
    """Of saved models where they may be what is trained; beside another framework they are none of its business."""
    if framework.name != "transformers":
        return []
    return [finding for folder in listing.model_folders[:3] for finding in savedmodel.findings(project, folder)]


def of_listing(listing: Listing) -> list[Finding]:
    """What the walk left out, and data in several parts."""
    findings: list[Finding] = []
    for note in listing.notes[:10]:
        link = "is a link that leaves" in note
        findings.append(Finding("listing", "warning", note, "Copy it.") if link else Finding("listing", "info", note))
    parts = [item.path for item in listing.data if _PART.search(item.path)]
    if parts:
        message = f"{parts[0]} is one of several parts, and a run reads one file"
        findings.append(Finding("data", "warning", message, "Join the parts into one file."))
    return findings


def _unreadable(file: SourceFacts, python: Interpreter | None) -> Finding:
    where = f"{file.path}:{file.line}" if file.line else file.path
    own = ".".join(map(str, sys.version_info[:2]))
    newer = python is not None and tuple(map(int, python.version.split(".")[:2])) > sys.version_info[:2]
    hint = f"Read as Python {own}; {python.version} may accept it." if newer and python else ""
    return Finding("source", "info" if is_beside(file.path) else "warning", f"{where}: {file.problem}", hint)
