"""The validation decision counted and judged: what every split is told, whatever kind of data it is of."""

from __future__ import annotations

from . import copies, coverage, noise
from .dataset import Data
from .facts import Finding, SplitFacts


def split_facts(data: Data) -> SplitFacts:
    """What `Request.what == "split"` answers: the counts and every finding, the worst first."""
    train_counts, val_counts = (coverage.class_counts(data, part) for part in (data.train, data.val))
    overlap, shared = copies.equal(data)
    found = [*data.findings, *shared, *copies.nearly(data), *coverage.of(data, train_counts, val_counts)]
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
