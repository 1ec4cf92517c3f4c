"""Whether a run fits in the device's memory: weights, gradients, optimizer and, where it was measured, a batch."""

from __future__ import annotations

from stationmaster_trainer.facts import Finding

from ..policy.formulas import training_bytes
from ..words import size
from . import Known

ROOM = 0.8
"""Share of the free memory from which on it is said: the rest is for what no estimate sees."""


def check(known: Known) -> list[Finding]:
    """An error when it does not fit, a warning from four fifths of the free memory on, each with what to do."""
    model, free = known.model, known.model.free_memory_bytes
    if not free:
        return []
    state = model.state_bytes
    if state is None:
        frozen = model.parameters - model.trainable_parameters
        state = training_bytes(model.trainable_parameters) + 4 * frozen
    sample = model.sample_bytes or 0
    needed = state + sample * known.config.batch_size
    if needed <= ROOM * free:
        return []
    batch = f" and a batch of {known.config.batch_size} {size(needed - state)}" if sample else ""
    message = f"Weights, gradients and optimizer need {size(state)}{batch}; {size(free)} are free ({model.device})."
    facts = {"needed": needed, "free": free, "state": state, "batch": needed - state}
    advice = _advice(known, state, sample, free)
    return [Finding("memory", "error" if needed > free else "warning", message, advice, facts)]


def _advice(known: Known, state: int, sample: int, free: int) -> str:
    """The change that makes it fit, the cheapest first."""
    config, room = known.config, ROOM * free - state
    fits = int(room // sample) if sample and room > 0 else 0
    if 1 <= fits < config.batch_size:
        steps = -(-config.batch_size * config.gradient_accumulation // fits)
        return f"Set batch_size to {fits} and gradient_accumulation to {steps}: the same effective batch."
    if fits:
        return ""
    ways = []
    if config.framework == "transformers" and known.model.regime != "lora":
        ways.append("set extra.lora to true, which trains a small part of the weights")
    if sample and state < free and config.task == "language_modeling":
        ways.append("set a shorter sequence_length, or extra.gradient_checkpointing to true")
    ways.append("take a smaller model or a larger device")
    text = "; or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."
