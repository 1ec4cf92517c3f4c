"""The validation decision counted and judged: sizes, classes on both sides, overlap by content hash, noise."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from .dataset import Data, Dataset, LazyDataset, WindowDataset, hashes, known_targets
from .facts import Finding, SplitFacts
from .table import listed, listed_rows

LOOKED_AT = 20_000
"""Samples of a lazy dataset that are compared; the finding says when there are more."""
SECONDS = 5.0
"""Time that making samples of a lazy dataset for this comparison may take, per part."""
SMALL = 100
"""Validation samples below which the noise is a warning; 95 % half-width of a share: up to 10 points."""
MEDIUM = 1000
"""Validation samples below which the noise is mentioned; up to 3 points."""
FEW = 50
"""Training samples below which a warning is due."""


def split_facts(data: Data) -> SplitFacts:
    """What `Request.what == "split"` answers: the counts and every finding, the worst first."""
    train_counts, val_counts = class_counts(data, data.train), class_counts(data, data.val)
    overlap, shared = _overlap(data)
    found = [*data.findings, *shared, *_classes(data, train_counts, val_counts), *_sizes(data)]
    found += [*_baseline(data, train_counts, val_counts), *(Finding("note", "info", note) for note in data.notes)]
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


def shared(data: Data, part: Dataset, test: Dataset) -> int:
    """How many samples of `test` also stand in `part`, by the hash of inputs and target; of text, in windows."""
    return _overlap(replace(data, train=part, val=test))[0]


def few_values(part: Dataset) -> bool:
    """Whether the samples take so few different values that equal ones are to be expected."""
    if isinstance(part, (LazyDataset, WindowDataset)):
        return False
    whole = hashes(part)[1]
    return len(np.unique(whole)) < 0.5 * len(whole)


def half_width(n: int, share: float = 0.5) -> float:
    """Half the 95 % interval of a share of n samples: 1.96 · √(p(1 − p)/n), the normal approximation."""
    return 1.96 * math.sqrt(share * (1 - share) / max(1, n))


def _overlap(data: Data) -> tuple[int, list[Finding]]:
    if isinstance(data.train, WindowDataset):
        return _text_overlap(data)
    most = _affordable(data.train) if isinstance(data.train, LazyDataset) and data.train.digest is None else None
    train_inputs, train_whole = hashes(data.train, most)
    found = _inside(train_inputs, train_whole, data)
    if data.val is None:
        return 0, found
    val_inputs, val_whole = hashes(data.val, most)
    same = np.isin(val_whole, train_whole)
    contradicting = np.isin(val_inputs, train_inputs) & ~same
    count, n = int(same.sum()), len(val_whole)
    if count:
        rows = listed_rows(np.asarray(data.val.rows)[same])
        message = f"{count:,} of {n:,} validation samples ({count / n:.1%}) also stand in the training part ({rows})."
        advice = "Remove the duplicates: the validation result is better than it would be on new data."
        if len(np.unique(train_whole)) < 0.5 * len(train_whole):
            advice = (
                "The inputs take few different values, so equal samples are to be expected; more columns tell more."
            )
        found.append(Finding("overlap", "warning", message, advice, {"samples": count, "share": count / n}))
    if contradicting.any():
        many = int(contradicting.sum())
        message = f"{many:,} validation samples have the inputs of a training sample and another target."
        found.append(Finding("contradiction", "info", message, "No model can get both right.", {"samples": many}))
    if most is not None and max(len(data.train), len(data.val)) > most:
        found.append(Finding("overlap", "info", f"only the first {most:,} samples of each part were compared."))
    return count, found


def _affordable(dataset: Dataset) -> int:
    """How many samples of a user's data set can be made in `SECONDS`, judged by the first few."""
    few = np.arange(min(8, len(dataset)))
    started = time.perf_counter()
    dataset.batch(few)
    return int(min(LOOKED_AT, max(len(few), SECONDS * len(few) / (time.perf_counter() - started + 1e-9))))


def _inside(inputs: np.ndarray, whole: np.ndarray, data: Data) -> list[Finding]:
    """Duplicates and contradictions inside the training part."""
    found = []
    twice = len(whole) - len(np.unique(whole))
    if twice:
        share = twice / len(whole)
        message = f"{twice:,} of {len(whole):,} training samples ({share:.1%}) are copies of another one."
        found.append(Finding("duplicates", "info", message, facts={"samples": twice, "share": share}))
    torn = len(np.unique(whole)) - len(np.unique(inputs))
    if torn and data.task == "classification":
        message = f"{torn:,} training inputs occur with more than one class."
        found.append(Finding("contradiction", "info", message, "No model can get all of them right.", {"inputs": torn}))
    return found


def _text_overlap(data: Data) -> tuple[int, list[Finding]]:
    """Windows of the validation text that stand, anywhere, in the training text."""
    train, val = data.train, data.val
    if not isinstance(train, WindowDataset) or not isinstance(val, WindowDataset):
        return 0, []
    everywhere = _rolling(train.tokens, train.length)
    windows = _rolling(val.tokens, val.length)[:: val.length]
    count = int(np.isin(windows, everywhere).sum())
    if not count:
        return 0, []
    share = count / len(windows)
    message = f"{count:,} of {len(windows):,} validation windows ({share:.1%}) also stand in the training text."
    advice = "Remove the repeated passages: the validation loss is lower than it would be on new text."
    return count, [Finding("overlap", "warning", message, advice, {"samples": count, "share": share})]


def _rolling(tokens: np.ndarray, length: int) -> np.ndarray:
    """Polynomial hash modulo 2⁶⁴ of every window of `length` tokens (Karp & Rabin 1987), by prefix sums."""
    base = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2⁶⁴
    inverse = np.uint64(pow(int(base), -1, 1 << 64))
    n = len(tokens)
    values = np.random.Philox(key=np.uint64(1)).random_raw(int(tokens.max()) + 1)[tokens]
    powers = np.full(n, base)
    powers[0] = 1
    inverses = np.full(n, inverse)
    inverses[0] = 1
    np.cumprod(powers, out=powers)
    np.cumprod(inverses, out=inverses)
    sums = np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(values * powers, dtype=np.uint64)))
    starts = n - length + 1
    hashed: np.ndarray = (sums[length:] - sums[:starts]) * inverses[:starts]
    return hashed


def _classes(data: Data, train: dict[str, int], val: dict[str, int]) -> list[Finding]:
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
    return found


def _sizes(data: Data) -> list[Finding]:
    found = []
    train, unit = len(data.train), data.sample_unit
    if train < FEW and data.task != "language_modeling":
        message = f"{train} training {unit} are few: a network can learn them by heart."
        found.append(Finding("few_samples", "warning", message, "Collect more data, or use a much smaller model."))
    if data.val is None:
        return found
    val = len(data.val)
    severity: Any = "warning" if val < SMALL else "info"
    if data.task == "classification" and val < MEDIUM:
        points = 100 * half_width(val)
        message = f"with {val} validation samples, accuracy differences under {points:.0f} points are noise."
        advice = "Hold out more, or compare several seeds." if val < SMALL else ""
        facts = {"samples": val, "points": round(points, 1)}
        found.append(Finding("small_validation", severity, message, advice, facts))
    elif data.task == "regression" and val < SMALL:
        message = (
            f"{val} validation samples are few: the mean error is uncertain by about {100 / math.sqrt(val):.0f} %."
        )
        found.append(Finding("small_validation", "warning", message, "Hold out more, or compare several seeds."))
    return found


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
