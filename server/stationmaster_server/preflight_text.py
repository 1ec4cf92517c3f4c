"""What a preflight found, in words: a short paragraph for the proposal, a table with curves for batch and rates."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from stationmaster_trainer import codec
from stationmaster_trainer.contract import TrainingConfig
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.facts import BatchFacts, RateCurve, RateFacts, SmokeFacts

from .answer import clean, plain
from .charts import sparkline
from .plan import Smoke
from .words import count, duration, loss, many, number, size

OFFER = 'Smoke test: not done. Recommended: propose_config with preflight "smoke" tries 20 real steps, save and resume.'
OFFER_SCRIPT = (
    'Smoke test: not done. propose_config with preflight "smoke" looks whether the script compiles and finds its '
    "imports and arguments; its loop cannot be tried without running it."
)
ROOM = 0.9


def eta(facts: SmokeFacts, config: TrainingConfig, val_samples: int) -> float | None:
    """Seconds of the whole run: start, steps, validations and what checkpoints hold up; None when not measured."""
    if facts.step_seconds is None or not config.total_steps:
        return None
    total = config.total_steps
    seconds = total * facts.step_seconds + (facts.startup_seconds or 0.0)
    seconds += total / config.checkpoint_every * (facts.stall_seconds or 0.0)
    return seconds + total / config.validate_every * (full_evaluation(facts, val_samples) or 0.0)


def full_evaluation(facts: SmokeFacts, val_samples: int) -> float | None:
    """Seconds of one validation over all samples, from those that were scored."""
    if facts.eval_seconds is None or not facts.eval_samples:
        return None
    return facts.eval_seconds * max(1.0, val_samples / facts.eval_samples)


def disk(facts: SmokeFacts, config: TrainingConfig) -> int | None:
    """Bytes of the checkpoints that are kept, the best one and the one being written."""
    return None if facts.checkpoint_bytes is None else facts.checkpoint_bytes * (config.keep_checkpoints + 2)


def smoke(found: Smoke, config: TrainingConfig, val_samples: int) -> str:
    """Time, memory, disk and resume of the smoke test that stands, in a few sentences."""
    facts = found.facts
    when = time.strftime("%H:%M", time.localtime(found.time))
    if facts.checked:
        parts = [f"Smoke test ({when}) of a script that runs as it is: {'; '.join(facts.checked)}."]
    else:
        parts = [f"Smoke test ({when}, {many(facts.steps, 'step')} on {plain(facts.device, 60) or 'no device'}):"]
        parts.append(f"{'; '.join(_figures(facts, config, val_samples)) or 'nothing could be measured'}.")
    parts += [f"Not checked: {name}, {plain(why, 160)}." for name, why in facts.not_checked.items()]
    if facts.beside:
        parts.append(f"Meanwhile {plain(facts.beside, 200)}: alone it is faster.")
    parts.append(f"{many(len(facts.findings), 'finding')}, see below." if facts.findings else "Nothing odd was found.")
    return clean(" ".join(parts), 1500)


def _figures(facts: SmokeFacts, config: TrainingConfig, val_samples: int) -> list[str]:
    found = []
    whole = eta(facts, config, val_samples)
    if facts.step_seconds is not None and whole is not None:
        found.append(f"{milliseconds(facts.step_seconds)} a step, about {duration(max(1.0, whole))} in all")
    if facts.peak_memory is not None:
        found.append(f"peak memory {size(facts.peak_memory)}{_fits(facts)}")
    needed = disk(facts, config)
    if needed is not None and facts.checkpoint_bytes is not None:
        copies = config.keep_checkpoints + 2
        found.append(f"checkpoint {size(facts.checkpoint_bytes)}, {size(needed)} of disk for {copies}")
    if len(facts.losses) > 1:
        found.append(f"loss {loss(facts.losses[0])} to {loss(facts.losses[-1])}")
    if facts.resumed_steps and facts.resume_difference is not None:
        apart = facts.resume_difference
        same = "exact" if apart == 0.0 else f"within {number(apart, 2)}" if math.isfinite(apart) else "different"
        found.append(f"saved, reloaded, resume {same}")
    return found


def _fits(facts: SmokeFacts) -> str:
    if not facts.free_memory or facts.peak_memory is None:
        return ""
    verdict = "fits" if facts.peak_memory <= ROOM * facts.free_memory else "fits barely"
    return f" of {size(facts.free_memory)}: {verdict}"


def milliseconds(seconds: float) -> str:
    """`18 ms`, or seconds from one on."""
    return f"{number(seconds * 1000)} ms" if seconds < 1 else f"{number(seconds)} s"


def missing(what: str, when: float, *, script: bool = False) -> str:
    """Why no smoke test stands."""
    if not what:
        return OFFER_SCRIPT if script else OFFER
    at = time.strftime("%H:%M", time.localtime(when))
    return f'Smoke test: the one of {at} no longer holds, {what} changed since; propose_config with preflight "smoke".'


def batch(facts: BatchFacts, config: TrainingConfig) -> str:
    """The line that was fitted, what it proposes, the ready change, and its limits."""
    points = ", ".join(f"{number} → {size(memory)}" for number, memory in facts.points)
    lines = [f"Peak memory by batch_size on {plain(facts.device, 60)}, each in a process of its own: {points}."]
    free = f"; {size(facts.free_memory)} are free" if facts.free_memory else ""
    if len(facts.points) > 1 and facts.per_sample:
        lines.append(f"Fitted: {size(facts.base)} + {size(int(facts.per_sample))} per sample{free}.")
    else:
        lines.append(f"The sizes do not differ beyond noise: a sample costs next to nothing{free}.")
    if facts.failed:
        lines.append(f"Did not fit: {', '.join(map(str, facts.failed))}.")
    lines += _proposed(facts, config)
    if facts.device.startswith("cpu"):
        lines.append(
            "Limits: resident memory, libraries included, and what the allocator does not give back; other programs "
            "may take more meanwhile."
        )
    else:
        lines.append("Limits: what the allocator handed out; fragmentation in a long run may need more.")
    return "\n".join([*lines, *_company(facts.beside)])


def _proposed(facts: BatchFacts, config: TrainingConfig) -> list[str]:
    if not facts.batch_size:
        return ["Not even the smallest batch fits: take a smaller model, shorter samples, or a larger device."]
    checked = f", verified in one run: {size(facts.verified)}" if facts.verified else ", measured"
    pair = {"batch_size": facts.batch_size, "gradient_accumulation": facts.gradient_accumulation}
    same = (config.batch_size, config.gradient_accumulation) == (facts.batch_size, facts.gradient_accumulation)
    what = f"Largest micro-batch at the effective batch of {count(facts.effective)}: {facts.batch_size}{checked}."
    if same:
        return [f"{what} That is what is configured: nothing to change."]
    return [what, f"Change ready for propose_config: {json.dumps(pair)}"]


def rates(facts: RateFacts, config: TrainingConfig) -> str:
    """A row and a curve for each rate, the ready change, and the limits."""
    warm = f", {facts.warmup_steps} of them warm-up" if facts.warmup_steps else ""
    where = f"same start, same data, on {plain(facts.device, 60)}"
    lines = [f"Three learning rates, {many(facts.steps, 'step')} each{warm}, {where}:"]
    best = config.learning_rate if facts.best is None else facts.best
    lines += [_row(curve, curve.learning_rate == best) for curve in facts.curves]
    if facts.best is None and facts.curves[1].diverged:
        lines.append("None of them is sound: try a tenth.")
    elif facts.best is None:
        lines.append("No other rate is better beyond noise: keep the one that is configured.")
    else:
        lines.append(f"Change ready for propose_config: {json.dumps({'learning_rate': facts.best})}")
    lines.append(
        "Limits: short runs favour higher rates, without the schedule's decay; one seed; take it as a hint, and prefer "
        "the lower of two that are close."
    )
    return "\n".join([*lines, *_company(facts.beside)])


def _row(curve: RateCurve, best: bool) -> str:
    end = "diverged" if curve.diverged else f"train {loss(curve.final_loss)}"
    if curve.eval_loss is not None:
        noise = f" ± {number(curve.eval_sem, 2)}" if curve.eval_sem is not None else ""
        end += f", validation {loss(curve.eval_loss)}{noise}"
    return f"  {number(curve.learning_rate):>8}  {sparkline(curve.losses)}  {end}{'  ←' if best else ''}"


def _company(beside: str) -> list[str]:
    return [f"Meanwhile {plain(beside, 200)}."] if beside else []


def recorded(found: Any) -> str:
    """The smoke test of a run's `checklist.json` in a line for its report; empty when there is none."""
    if not isinstance(found, dict):
        return ""
    try:
        facts = codec.from_plain(SmokeFacts, found, "checklist.json")
    except FormatError as error:
        return plain(str(error), 160)
    if facts.checked:
        return f"script only: {plain('; '.join(facts.checked), 200)}"
    step = f", {milliseconds(facts.step_seconds)} a step" if facts.step_seconds is not None else ""
    memory = f", peak memory {size(facts.peak_memory)}" if facts.peak_memory is not None else ""
    odd = "; ".join(plain(one.message, 120) for one in facts.findings if one.severity != "info")
    return f"{many(facts.steps, 'step')}{step}{memory}; {odd or 'nothing odd'}"
