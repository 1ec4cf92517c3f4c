"""The validation decision counted and judged: what every split is told, whatever kind of data it is of."""

from __future__ import annotations

import re

import numpy as np

from . import copies, coverage, noise, pictures, texts
from .dataset import Data, WindowDataset
from .facts import Finding, SplitFacts


def split_facts(data: Data) -> SplitFacts:
    """What `Request.what == "split"` answers: the counts and every finding, the worst first."""
    train_counts, val_counts = (coverage.class_counts(data, part) for part in (data.train, data.val))
    overlap, shared = copies.equal(data)
    found = [
        *data.findings,
        *shared,
        *copies.nearly(data),
        *_paragraphs(data),
        *pictures.of(data),
        *coverage.of(data, train_counts, val_counts),
    ]
    found += [*noise.of(data), *(Finding("note", "info", note) for note in data.notes)]
    order = {"error": 0, "warning": 1, "info": 2}
    return SplitFacts(
        method=data.method,
        task=data.task,
        task_why=data.task_why,
        target=data.target,
        train_samples=len(data.train),
        val_samples=0 if data.val is None else len(data.val),
        dropped=data.dropped,
        classes=data.classes,
        train_counts=train_counts,
        val_counts=val_counts,
        overlap=overlap,
        sample_shape=data.input_shape,
        fingerprint=data.fingerprint,
        findings=tuple(sorted(found, key=lambda finding: order[finding.severity])),
    )


def _paragraphs(data: Data) -> list[Finding]:
    """A plain text's paragraphs, looked at as texts; their rows are lines."""
    if data.preprocessing.kind != "text" or not data.preprocessing.characters:
        return []
    parts = [part for part in (data.train, data.val) if isinstance(part, WindowDataset)]
    found = [_divided(data.preprocessing.decode(part.tokens), int(part.rows[0])) for part in parts]
    held = found[1] if len(found) > 1 else None
    return texts.of(found[0][0], held and held[0], found[0][1], None if held is None else held[1], "paragraphs")


def _divided(text: str, line: int) -> tuple[list[str], np.ndarray]:
    """Paragraphs between blank lines, and the line that each begins in, int64 (N,)."""
    found, lines, at = [], [], 0
    for end in [*re.finditer(r"\n\s*\n", text), None]:
        paragraph = text[at : end.start() if end else len(text)]
        if paragraph.strip():
            found.append(paragraph)
            lines.append(line)
        line += paragraph.count("\n") + (end[0].count("\n") if end else 0)
        at = end.end() if end else len(text)
    return found, np.array(lines, dtype=np.int64)
