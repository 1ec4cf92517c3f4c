"""The jitted functions of a run: one optimizer step, its parts when micro-batches are gathered, and a validation batch.

Learning rate, step and weights come in as arguments, so that each function is compiled once per shape. An update with a
loss or gradient that is not finite is left out inside the step: nothing waits for the device to know it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..contract import TrainingConfig
from ._flax_loss import Objective, output_of
from ._flax_model import Arrays, Pure

STREAM = 0x7261696E
"""Sets the random numbers of training apart from those of the initialisation, which start from the same seed."""


class State(NamedTuple):
    """Everything that training changes, on the device."""

    params: Arrays
    state: Arrays
    optimizer: Any


class Seen(NamedTuple):
    """What a step showed, on the device."""

    figures: Any
    """float32 (3,): mean loss before the update, global gradient norm before clipping, 1 where it was left out."""
    norms: Any
    """float32 (params,): gradient norm of each parameter, sorted by name."""


class Sums(NamedTuple):
    """What was gathered of a step's micro-batches so far."""

    gradients: Arrays
    loss: Any


@dataclass(frozen=True)
class Steps:
    """Compiled at their first call. Arguments that end in `now` are used up, their memory is written into."""

    whole: Any
    """(now, inputs, targets, numbers, counts) → State, Seen: one optimizer step of one batch; see `arguments`."""
    nothing: Any
    """(params) → Sums: what is gathered before the first micro-batch."""
    add: Any
    """(sums_now, params, state, inputs, targets, numbers, counts) → Sums, state: gradients of one more micro-batch."""
    finish: Any
    """(now, state, sums, numbers) → State, Seen: the update of what was gathered; `state` is that after the last."""
    score: Any
    """(params, state, inputs, targets) → a validation batch, see `_scored`."""


def arguments(rate: float, weight: float, step: int, part: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """`numbers` (learning rate, the step's whole weight) and `counts` (step, micro-batch, real rows of it)."""
    return np.array((rate, weight), np.float32), np.array((step, part, samples), np.uint32)


def start(pure: Pure, config: TrainingConfig) -> State:
    """The state before the first step."""
    return State(pure.params, pure.state, _optimizer(config, config.learning_rate).init(pure.params))


def make(
    pure: Pure, objective: Objective, config: TrainingConfig, precision: str, want_output: bool, want_classes: bool
) -> Steps:
    """The functions for a model. `want_output`: validation shows outputs, `want_classes`: predicted classes."""
    half = jnp.bfloat16 if precision == "bf16" else None

    def loss(params: Arrays, state: Arrays, inputs: Any, targets: Any, numbers: Any, counts: Any) -> tuple[Any, Arrays]:
        step, part, samples = counts
        key = jax.random.fold_in(jax.random.key(config.seed), STREAM)
        key = jax.random.fold_in(jax.random.fold_in(key, step), part)
        total, after = pure.use(
            _cast(params, half),
            state,
            key,
            True,
            lambda model: objective.total(model, _cast(inputs, half), targets, samples),
        )
        return total / numbers[1], _like(after, state)

    gradients_of = jax.value_and_grad(loss, has_aux=True)

    def whole(now: State, inputs: Any, targets: Any, numbers: Any, counts: Any) -> tuple[State, Seen]:
        (value, after), gradients = gradients_of(now.params, now.state, inputs, targets, numbers, counts)
        return _updated(now, after, Sums(gradients, value), numbers[0], config)

    def add(
        sums: Sums, params: Arrays, state: Arrays, inputs: Any, targets: Any, numbers: Any, counts: Any
    ) -> tuple[Sums, Arrays]:
        (value, after), gradients = gradients_of(params, state, inputs, targets, numbers, counts)
        return Sums(jax.tree.map(jnp.add, sums.gradients, gradients), sums.loss + value), after

    def finish(now: State, state: Arrays, sums: Sums, numbers: Any) -> tuple[State, Seen]:
        return _updated(now, state, sums, numbers[0], config)

    def score(params: Arrays, state: Arrays, inputs: Any, targets: Any) -> dict[str, Any]:
        def function(model: Any) -> dict[str, Any]:
            return _scored(objective, model, _cast(inputs, half), targets, want_output, want_classes)

        return pure.use(_cast(params, half), state, jax.random.key(config.seed), False, function)[0]

    return Steps(
        whole=jax.jit(whole, donate_argnums=0),
        nothing=jax.jit(lambda params: Sums(jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))),
        add=jax.jit(add, donate_argnums=0),
        finish=jax.jit(finish, donate_argnums=0),
        score=jax.jit(score),
    )


def _scored(
    objective: Objective, model: Any, inputs: Any, targets: Any, want_output: bool, want_classes: bool
) -> dict[str, Any]:
    """`each` (B,) or `mean` of the losses; `predicted` classes (B,) and `output` float32 where they are wanted."""
    found: dict[str, Any] = {}
    output = None
    if objective.by_sample or want_output or want_classes:
        output = output_of(model(inputs)).astype(jnp.float32)
    if objective.by_sample:
        found["each"] = objective.each(output, targets)
    else:
        found["mean"] = objective.user_mean(model, inputs, targets)
    if want_output:
        found["output"] = output
    if want_classes and output is not None:
        one_logit = output.ndim == 1 or output.shape[-1] == 1
        found["predicted"] = (output.reshape(len(output)) > 0).astype(jnp.int32) if one_logit else output.argmax(-1)
    return found


def _updated(now: State, state: Arrays, sums: Sums, rate: Any, config: TrainingConfig) -> tuple[State, Seen]:
    """Clipping by the global norm (as torch's clip_grad_norm_), update, and the choice of old or new."""
    squares = [jnp.sum(jnp.square(gradient.astype(jnp.float32))) for _, gradient in sorted(sums.gradients.items())]
    norms = jnp.sqrt(jnp.stack(squares))
    norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))
    bad = ~(jnp.isfinite(sums.loss) & jnp.isfinite(norm))
    gradients = sums.gradients
    if config.gradient_clip > 0:
        factor = jnp.where(norm > config.gradient_clip, config.gradient_clip / (norm + 1e-6), 1.0)
        gradients = jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients)
    updates, optimizer = _optimizer(config, rate).update(gradients, now.optimizer, now.params)
    new = State(optax.apply_updates(now.params, updates), state, optimizer)
    kept = jax.tree.map(lambda old, new: jnp.where(bad, old, new), now, new)
    return kept, Seen(jnp.stack((sums.loss, norm, bad.astype(jnp.float32))), norms)


def _optimizer(config: TrainingConfig, rate: Any) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), or SGD with momentum and, as in torch, the decay inside the gradient."""
    if config.optimizer == "AdamW":
        return optax.adamw(rate, b1=config.betas[0], b2=config.betas[1], weight_decay=config.weight_decay)
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optax.sgd(rate, momentum=config.betas[0] or None))


def _cast(tree: Any, dtype: Any) -> Any:
    """Floating-point arrays in another precision; None leaves them."""
    if dtype is None:
        return tree
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _like(new: Arrays, old: Arrays) -> Arrays:
    """State keeps its number format whatever the model computes in."""
    return {
        name: new[name].astype(old[name].dtype) if new[name].dtype != old[name].dtype else new[name] for name in old
    }
