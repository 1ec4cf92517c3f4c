"""`bad_initial_loss`, `frozen_parameters`, `vanishing_gradient`, `dead_units`: what no curve shows, from the facts that
the worker notes.

The facts come at step 1 and at some validations (`grad_norm` by layer group, `unchanged`, `dead_units` by layer,
`expected_loss`). A log without them is not checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..contract import Note
from ._rule import Known, Rule, Setting, Severity, Sight, Watcher

NO_FACTS = "no facts about the model's layers in this log"


@dataclass
class InitialLoss(Watcher):
    """The first loss against that of a model that knows nothing: ln(classes)."""

    series: ClassVar[str] = "notes"
    judges: ClassVar[str] = "note"
    takes: ClassVar[tuple[str, ...]] = ("note",)
    calm: ClassVar[int] = 1
    known: Known
    judged: bool = False

    def note(self, record: Note) -> Sight | None:
        first, expected = _number(record.facts, "initial_loss"), _number(record.facts, "expected_loss")
        if first is None or expected is None:
            return None
        self.judged = True
        settings = self.known.settings
        if first <= max(settings["ratio"] * expected, expected + settings["margin"]):
            return None
        message = f"the first loss is {first:.4g}; a model that knows nothing has {expected:.4g}"
        seen = {"initial_loss": first, "expected_loss": expected}
        return Sight(record.step, record.step, first / max(expected, 1e-12), "warning", message, seen)

    def missing(self) -> str:
        return "" if self.judged else "the loss of a model that knows nothing is not known for this task"


@dataclass
class Frozen(Watcher):
    """Trainable parameters that an optimizer step leaves as they are, at two looks in a row."""

    series: ClassVar[str] = "notes"
    judges: ClassVar[str] = "note"
    takes: ClassVar[tuple[str, ...]] = ("note",)
    calm: ClassVar[int] = 1
    known: Known
    looks: int = 0
    before: list[str] = field(default_factory=list)
    """Unchanged parameters at the last look."""
    first_step: int = 0

    def note(self, record: Note) -> Sight | None:
        share = _number(record.facts, "unchanged_share")
        if share is None:
            return None
        self.looks += 1
        names = [str(name) for name in record.facts.get("unchanged") or ()]
        again = [name for name in names if name in self.before]
        if not self.before:
            self.first_step = record.step
        self.before = names
        if not again:
            return None
        severity: Severity = "warning" if share >= self.known.settings["share"] else "info"
        message = (
            f"{100 * share:.0f} % of the trainable parameters did not change in the steps looked at, "
            f"for example {', '.join(again[:3])}"
        )
        return Sight(self.first_step, record.step, max(share, 1e-6), severity, message, {"share": share})

    def missing(self) -> str:
        return "" if self.looks >= 2 else NO_FACTS if not self.looks else "facts about the layers only once so far"


@dataclass
class Vanishing(Watcher):
    """A layer group whose gradient is next to nothing beside the largest one, at two looks in a row."""

    series: ClassVar[str] = "notes"
    judges: ClassVar[str] = "note"
    takes: ClassVar[tuple[str, ...]] = ("note",)
    calm: ClassVar[int] = 1
    known: Known
    looks: int = 0
    before: list[str] = field(default_factory=list)
    first_step: int = 0

    def note(self, record: Note) -> Sight | None:
        norms = _by_layer(record.facts, "grad_norm") or {}
        if len(norms) < 2:
            return None
        self.looks += 1
        high = max(norms.values())
        low = {group: norm for group, norm in norms.items() if 0.0 < norm < self.known.settings["share"] * high}
        again = [group for group in low if group in self.before]
        if not self.before:
            self.first_step = record.step
        self.before = list(low)
        if not again:
            return None
        worst = min(again, key=lambda group: low[group])
        message = (
            f"the gradient of {worst} has the norm {low[worst]:.3g}, the largest group's is {high:.3g} "
            f"({len(again)} of {len(norms)} layer groups are that small)"
        )
        seen = {"norm": low[worst], "largest": high}
        return Sight(self.first_step, record.step, high / low[worst], "warning", message, seen)

    def missing(self) -> str:
        return "" if self.looks >= 2 else NO_FACTS if not self.looks else "facts about the layers only once so far"


@dataclass
class Dead(Watcher):
    """Units that get no gradient from any sample of a batch, at two looks in a row: they never switch on."""

    series: ClassVar[str] = "notes"
    judges: ClassVar[str] = "note"
    takes: ClassVar[tuple[str, ...]] = ("note",)
    calm: ClassVar[int] = 1
    known: Known
    looks: int = 0
    before: list[str] = field(default_factory=list)
    """Layers that were mostly silent at the last look."""
    first_step: int = 0

    def note(self, record: Note) -> Sight | None:
        shares = _by_layer(record.facts, "dead_units")
        if shares is None or self.few():
            return None
        self.looks += 1
        silent = {layer: share for layer, share in shares.items() if share >= self.known.settings["share"]}
        again = [layer for layer in silent if layer in self.before]
        if not self.before:
            self.first_step = record.step
        self.before = list(silent)
        if not again:
            return None
        worst = max(reversed(again), key=lambda layer: silent[layer])  # a dead layer silences those before it
        message = (
            f"{100 * silent[worst]:.0f} % of the units of {worst} got no gradient from any sample of the batch, "
            f"twice in a row ({len(again)} such layers)"
        )
        return Sight(self.first_step, record.step, silent[worst], "warning", message, {"share": silent[worst]})

    def few(self) -> bool:
        """Whether a batch is so small that silence of a unit in it is no news (or its size is not known)."""
        return (self.known.plan.samples_per_step or 0) < self.known.settings["samples"]

    def missing(self) -> str:
        if self.few():
            return f"needs {self.known.settings['samples']:g} samples a step to call a unit dead"
        return "" if self.looks >= 2 else NO_FACTS if not self.looks else "facts about the layers only once so far"


def _number(facts: dict[str, Any], name: str) -> float | None:
    value = facts.get(name)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and value is not None else None


def _by_layer(facts: dict[str, Any], name: str) -> dict[str, float] | None:
    """Layer (or layer group) → finite number; None where the fact is not noted."""
    found = facts.get(name)
    if not isinstance(found, dict):
        return None
    return {str(layer): value for layer in found if (value := _number(found, layer)) is not None}


RULES = (
    Rule(
        name="bad_initial_loss",
        severity="warning",
        meaning="The untrained model is confidently wrong: inputs or the last layer's weights are badly scaled, or the "
        "loss does not fit the output.",
        advice=(
            "Scale the inputs, start the last layer near zero, and give the loss what it expects (logits, not "
            "probabilities; class indices from 0)."
        ),
        watch=lambda known: [InitialLoss(known)],
        settings={
            "ratio": Setting(3.0, "times the loss of a model that knows nothing"),
            "margin": Setting(3.0, "and at least so much above it"),
        },
    ),
    Rule(
        name="frozen_parameters",
        severity="warning",
        meaning=(
            "Part of the model is not trained though it should be: a detached output, an unused layer, or an "
            "optimizer that was given other parameters."
        ),
        advice=(
            "Look for detach(), no_grad and layers that forward() does not use; freeze on purpose with "
            "requires_grad=False, which is not reported."
        ),
        watch=lambda known: [Frozen(known)],
        settings={"share": Setting(0.1, "share of the parameters from which it is a warning; below it is info")},
    ),
    Rule(
        name="vanishing_gradient",
        severity="warning",
        meaning=(
            "Early layers hardly learn: saturating activations, a deep net without shortcuts, or a bad "
            "scale at the start."
        ),
        advice="Use residual connections or normalisation, ReLU-like activations, and an initialisation for the depth.",
        watch=lambda known: [Vanishing(known)],
        settings={
            "share": Setting(1e-6, "share of the largest group's gradient norm below which a group gets nothing")
        },
    ),
    Rule(
        name="dead_units",
        severity="warning",
        meaning=(
            "Most units of a layer are switched off for every input: a step that was too large, or a bias far "
            "below zero, has pushed them where ReLU has no slope. They cannot come back by themselves."
        ),
        advice="Lower the learning rate or lengthen the warm-up, use LeakyReLU or GELU, and scale the inputs.",
        watch=lambda known: [Dead(known)],
        settings={
            "share": Setting(0.5, "share of a layer's units; SageMaker Debugger's DeadRelu takes the same half"),
            "samples": Setting(16, "samples a step below which a silent unit may just have had nothing to say"),
        },
    ),
)
