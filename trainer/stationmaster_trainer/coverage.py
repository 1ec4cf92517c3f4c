"""Which classes stand on which side, how unequal they are, and what always giving the same answer scores."""

from __future__ import annotations

import numpy as np

from .dataset import Data, Dataset, known_targets
from .facts import Finding
from .table import listed

LOOKED_AT = 20_000
"""Samples of a data set that knows no targets beforehand whose class is counted."""
RARE = 10
"""Samples of a class below which nothing general can be learnt of it, and its validation score is chance."""


def class_counts(data: Data, part: Dataset | None) -> dict[str, int]:
    """Class → samples of a part; empty when there are no classes."""
    if part is None or not data.classes:
        return {}
    targets = known_targets(part)
    if targets is None:
        n = min(len(part), LOOKED_AT)
        batches = [part.batch(np.arange(start, min(start + 256, n)))[1] for start in range(0, n, 256)]
        targets = np.concatenate([batch for batch in batches if batch is not None])
    counts = np.bincount(targets.reshape(-1).astype(np.int64), minlength=len(data.classes)).tolist()
    return dict(zip(data.classes, counts, strict=False))


def of(data: Data, train: dict[str, int], val: dict[str, int]) -> list[Finding]:
    """Findings on the classes of both parts, by their counts."""
    found = []
    only_val = [name for name in val if val[name] and not train.get(name)]
    if only_val:
        samples = sum(val[name] for name in only_val)
        message = f"validation has classes that training lacks: {listed(only_val, 10)} ({samples:,} samples)."
        advice = "The model cannot learn them: add training data, or correct the spelling of the class."
        found.append(Finding("class_missing", "warning", message, advice, {"train": only_val}))
    only_train = [name for name in train if train[name] and not val.get(name)]
    if val and only_train:
        message = f"{len(only_train)} classes are not in validation: {listed(only_train, 10)}."
        advice = "How well they are learnt will not be measured: add samples of them, or hold out more."
        found.append(Finding("class_missing", "warning", message, advice, {"val": only_train}))
    alike: dict[str, list[str]] = {}
    for name in data.classes:
        alike.setdefault(name.strip().casefold(), []).append(name)
    doubles = [names for names in alike.values() if len(names) > 1]
    if doubles:
        message = f"classes differ only in case or spaces: {'; '.join(listed(names) for names in doubles[:5])}."
        found.append(Finding("classes_alike", "warning", message, "If they are the same class, spell them alike."))
    return [*found, *_rare(train, val), *_baseline(data, train, val)]


def _rare(train: dict[str, int], val: dict[str, int]) -> list[Finding]:
    """Classes with so few samples that neither training nor validation says much of them."""
    found: list[Finding] = []
    few = {name: count for name, count in train.items() if 0 < count < RARE}
    if few and len(few) < len(train):
        message = f"{len(few)} of {len(train)} classes have fewer than {RARE} training samples: {_counted(few)}."
        advice = "Collect more of them, or join them with another class."
        found.append(Finding("rare_class", "warning", message, advice, {"train": few}))
    held = {name: count for name, count in val.items() if 0 < count < RARE and name not in few}
    if held and len(held) < len(val):
        message = f"{len(held)} classes have fewer than {RARE} validation samples: {_counted(held)}."
        found.append(Finding("rare_class", "info", message, "Their own scores will be chance.", {"val": held}))
    return found


def _counted(counts: dict[str, int]) -> str:
    rarest = sorted(counts, key=lambda name: counts[name])
    shown = ", ".join(f"{name!r} ({counts[name]})" for name in rarest[:8])
    return f"{shown}, …" if len(rarest) > 8 else shown


def _baseline(data: Data, counts: dict[str, int], val: dict[str, int]) -> list[Finding]:
    """What answering with the training part's largest class scores."""
    total = sum(counts.values())
    if data.task != "classification" or not total:
        return []
    scored = val if sum(val.values()) else counts
    name = max(scored, key=lambda each: scored[each])
    baseline = scored[name] / sum(scored.values())
    where = "validation" if scored is val else "training"
    message = f"always answering {name!r} is right on {baseline:.1%} of the {where} samples: accuracy must beat that."
    most, least = max(counts, key=lambda each: counts[each]), min(counts, key=lambda each: counts[each])
    share = counts[most] / total
    facts = {"class": name, "share": share, "baseline": baseline}
    if share < 0.8:
        return [Finding("baseline", "info", message, facts=facts)]
    message = f"{share:.1%} of the training samples are {most!r}, {counts[least]:,} are {least!r}: {message}"
    return [Finding("imbalance", "warning", message, "Judge by the loss and each class, not by accuracy alone.", facts)]
