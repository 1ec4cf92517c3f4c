"""What was odd in a smoke test, each as a finding with its advice. Thresholds are wide: a sound project has none.

Not covered: what needs more than the first steps to show (overfitting, divergence late in the schedule).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from ..contract import Eval, Note, Train, TrainingConfig
from ..facts import BatchFacts, Finding, SmokeFacts
from .stage import Part

Severity = Literal["info", "warning", "error"]
ROOM = 0.9
"""Share of the free memory from which on it is said that little is left."""
EXACT = 1e-5
"""Relative difference after a resume that is none: sums over threads come out in another order."""
EXACT_DEVICE = 1e-2
"""The same on a GPU, whose atomic sums differ from run to run."""
HARDLY = 0.1
"""Share of its loss by which a model must be able to improve on a few samples trained on alone."""
BLIND, EVEN = 0.8, 0.5
"""Share of the loss of answering blindly that must be reached; entropy below which blind answers are good ones."""
LOW, ZERO = 0.1, 1e-6
"""Share of the loss of knowing nothing below which a first loss is odd; loss that counts as zero."""
SAME = 1e-7
SLOW_DATA = 2e-3
"""Seconds of waiting for data in a step below which nobody cares."""


def find(
    config: TrainingConfig, facts: SmokeFacts, first: Part, again: Part | None, fits: BatchFacts | None
) -> list[Finding]:
    """Every finding, in no order. `fits`: what was found when memory ran out."""
    found = [*_failures(config, first, again, fits)]
    steps = [one for one in first.records if isinstance(one, Train)]
    if not steps:
        return found
    found += [*_labels(first), *_losses(config, steps, first)]
    found += [*_parameters(config, first), *_evaluation(facts, first), *_loader(facts), *_memory(facts)]
    if again is not None and again.failure is None:
        found += _resume(facts)
    if not any(one.check in ("labels", "loss") for one in found):
        found += _by_heart(config, facts, first)
    return found


def _failures(config: TrainingConfig, first: Part, again: Part | None, fits: BatchFacts | None) -> Iterator[Finding]:
    """What ended a process: one finding, with its place."""
    for part, name in ((first, ""), (again, "resume")):
        failure = part.failure if part is not None else None
        if part is None or failure is None:
            continue
        facts = {"phase": part.phase, "step": failure.step, "traceback": failure.traceback}
        where = f" ({failure.where})" if failure.where else ""
        told = f"{failure.error + ': ' if failure.error else ''}{failure.message}{where}"
        if failure.cause == "oom":
            yield _out_of_memory(config, part, fits)
        elif part.phase == "save":
            message = f"saving a checkpoint failed: {told}"
            yield Finding("save", "error", message, failure.way_out or "Correct what is saved.", facts)
        elif name == "resume":
            message = f"reloading the checkpoint failed: {told}"
            yield Finding("reload", "error", message, failure.way_out or "A run could not be resumed.", facts)
        else:
            yield Finding("failure", _gravity(part), f"it failed {_when(part)}: {told}", failure.way_out, facts)


def _gravity(part: Part) -> Severity:
    """A run does not learn a small batch by heart: it can start although that failed."""
    return "warning" if part.phase == "one small batch" else "error"


def _when(part: Part) -> str:
    if part.phase in ("longest batch", "one small batch"):
        return {"longest batch": "on the longest batch"}.get(part.phase, "on one small batch")
    step = part.failure.step if part.failure is not None else 0
    return f"after step {step}" if step else f"before the first step (phase: {part.phase})"


def _out_of_memory(config: TrainingConfig, part: Part, fits: BatchFacts | None) -> Finding:
    message = f"it does not fit: memory ran out with batch_size {config.batch_size} (phase: {part.phase})."
    if fits is not None and fits.batch_size:
        advice = (
            f"Set batch_size to {fits.batch_size} and gradient_accumulation to {fits.gradient_accumulation}: "
            "the same effective batch, and it fits."
        )
        facts: dict[str, Any] = {
            "batch_size": fits.batch_size, "gradient_accumulation": fits.gradient_accumulation,
        }  # fmt: skip
    else:
        advice, facts = "Not even one sample fits: take a smaller model, shorter samples, or a larger device.", {}
    return Finding("memory", "error", message, advice, facts)


def _labels(first: Part) -> Iterator[Finding]:
    share = float(first.seen.get("masked", 0.0))
    if share == 0.0:
        return
    advice = "-100 means: no loss. Look at how the labels are made; a cut-off prompt may leave no answer."
    what = "no label counts in any batch" if share == 1.0 else f"no label counts in {share:.0%} of the batches"
    yield Finding("labels", "error" if share == 1.0 else "warning", f"{what} (all are -100).", advice, {"share": share})


def _losses(config: TrainingConfig, steps: Sequence[Train], first: Part) -> Iterator[Finding]:
    """The train loss of the first steps, and the very first one."""
    losses = [one.loss for one in steps]
    facts = {"losses": losses}
    bad = [one.step for one in steps if one.nonfinite and (config.precision != "fp16" or one.loss != one.loss)]
    if bad:
        message = f"loss or gradient is not finite in {len(bad)} of {len(steps)} steps, first at step {bad[0]}."
        advice = "Lower learning_rate, or look for divisions by zero, logarithms of zero and huge values."
        yield Finding("loss", "error" if 2 * len(bad) >= len(steps) else "warning", message, advice, facts)
        return
    if max(abs(loss) for loss in losses) <= ZERO:
        message = f"the loss is zero from the first step on ({losses[0]:.3g})."
        yield Finding("loss", "warning", message, "Nothing can be learnt from it: look at loss and labels.", facts)
        return
    if len(losses) > 2 and max(losses) - min(losses) <= SAME * abs(losses[0]):
        message = f"the loss is {losses[0]:.4g} at each of {len(losses)} steps."
        yield Finding("loss", "warning", message, "It does not depend on the data: look at model and loss.", facts)
        return
    yield from _first_loss(config, first)


def _first_loss(config: TrainingConfig, first: Part) -> Iterator[Finding]:
    told = next((note.facts for note in _probes(first)), {})
    loss, expected = told.get("loss"), told.get("expected_loss")
    if not isinstance(loss, float) or not isinstance(expected, float) or config.framework == "transformers":
        return  # what a model of Transformers already knows is measured before: see `_hf_measure`
    facts = {"initial_loss": loss, "expected_loss": expected}
    message = f"the first loss is {loss:.3g}; a model that knows nothing has {expected:.3g}."
    if loss < LOW * expected:
        advice = "Right for trained weights; otherwise the loss is divided once too often, or the label is an input."
        yield Finding("initial_loss", "warning", message, advice, facts)
    elif loss > max(3.0 * expected, expected + 3.0):
        yield Finding("initial_loss", "warning", message, "Inputs or last layer are badly scaled.", facts)


def _probes(first: Part) -> list[Note]:
    """What the loop wrote of the layers, at the first step and at the evaluation."""
    return [one for one in first.records if isinstance(one, Note) and "unchanged" in one.facts]


def _parameters(config: TrainingConfig, first: Part) -> Iterator[Finding]:
    """Parameters that were left alone at the first step and again later."""
    probes = [note.facts for note in _probes(first)]
    if len(probes) < 2:
        return
    without, unchanged = (
        [name for name in probes[0].get(key, ()) if all(name in one.get(key, ()) for one in probes)]
        for key in ("without_gradient", "unchanged")
    )
    still = [name for name in unchanged if name not in without]
    usual = config.framework == "transformers"  # an unused pooler is part of many of its models
    if without and not usual:
        message = f"{_named(without)} no gradient, at the first step and at step {_probes(first)[-1].step}."
        yield Finding("gradients", "warning", message, "Is a layer unused, or its output detached?", {"names": without})
    if still:
        message = f"{_named(still)} not changed by the updates of {_probes(first)[-1].step} steps."
        yield Finding("unchanged", "warning", message, "Gradients reach them: are they in the optimizer?", {"n": still})


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more} get" if len(names) > 1 else f"{shown} gets"


def _evaluation(facts: SmokeFacts, first: Part) -> Iterator[Finding]:
    if not first.seen.get("has_validation"):
        return
    found = next((one for one in first.records if isinstance(one, Eval)), None)
    if found is None or found.samples == 0:
        if first.failure is None:
            yield Finding("evaluation", "error", "the evaluation scored no sample.", "Look at the validation data.")
    elif not math.isfinite(found.loss):
        message = f"the validation loss is {found.loss} over {found.samples:,} samples."
        yield Finding("evaluation", "warning", message, "Look for odd rows in the validation data.")
    elif found.loss == 0.0:
        message = f"the validation loss is exactly zero over {found.samples:,} samples."
        yield Finding("evaluation", "warning", message, "It says nothing: look at the labels of the validation data.")


def _loader(facts: SmokeFacts) -> Iterator[Finding]:
    step, wait = facts.step_seconds, facts.data_seconds
    if step is None or wait is None or wait < SLOW_DATA or wait <= step - wait:
        return
    message = f"data take {_ms(wait)} of each step of {_ms(step)}: the model waits for them."
    advice = "Prepare the data once and read them prepared, or do less for each sample."
    yield Finding("data_loader", "warning", message, advice, {"data_seconds": wait, "step_seconds": step})


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _memory(facts: SmokeFacts) -> Iterator[Finding]:
    peak, free = facts.peak_memory, facts.free_memory
    if peak is None or not free or peak <= ROOM * free:
        return
    message = f"it fits with little to spare: {peak / 1e9:.3g} GB of {free / 1e9:.3g} GB."
    advice = "Take a smaller batch_size with more gradient_accumulation; preflight batch_size proposes one."
    yield Finding("memory", "warning", message, advice, {"peak": peak, "free": free})


def _resume(facts: SmokeFacts) -> Iterator[Finding]:
    """The same steps twice."""
    apart = facts.resume_difference
    if apart is None:
        yield Finding("resume", "warning", "after the resume no step was done.", "Look at the log of the resume.")
        return
    if apart <= (EXACT if facts.device.startswith("cpu") else EXACT_DEVICE):
        return
    message = f"after a resume the next steps differ by {apart:.2g} (relative) from not having stopped."
    advice = (
        "Something is neither a parameter nor a buffer, so no checkpoint has it: a counter, a generator or a cache of "
        "the model or the data."
    )
    yield Finding("resume", "warning", message, advice, {"difference": apart})


def _by_heart(config: TrainingConfig, facts: SmokeFacts, first: Part) -> Iterator[Finding]:
    """Whether a few samples alone can be learnt, at one of three rates."""
    if facts.overfit is None:
        return
    before, best = facts.overfit
    known = next((note.facts.get("expected_loss") for note in _probes(first)), None)
    done = abs(before) < LOW * (known if isinstance(known, float) else LOW)
    if not math.isfinite(before) or done:
        return
    blind = first.seen.get("overfit", {}).get("blind") if isinstance(known, float) else None
    seen = {"first": before, "best": best, "blind": blind}
    message = f"a few samples cannot be learnt by heart: loss {before:.3g}, {best:.3g} at best"
    advice = "Inputs may not reach the output, or not differ; or the loss does not depend on the labels."
    if before - best < HARDLY * abs(before):
        yield Finding("overfit", "warning", f"{message}.", advice, seen)
    elif isinstance(blind, float) and blind > EVEN and best > BLIND * blind:
        without = f"; {blind:.3g} needs no look at the inputs."
        yield Finding("overfit", "warning", message + without, advice, seen)
