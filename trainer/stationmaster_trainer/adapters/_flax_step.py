"""The jitted functions of a run: one optimizer step, its parts when micro-batches are gathered, and a validation batch.

Learning rate, step and weights come in as arguments, so that each function is compiled once per shape. An update with a
loss or gradient that is not finite is left out inside the step: nothing waits for the device to know it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..contract import TrainingConfig
from ._flax_loss import Objective, output_of
from ._flax_model import Arrays, Pure


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
    silent: Any
    """float32 (params,): share of a vector's elements whose gradient is exactly zero; NaN for other shapes."""


class Sums(NamedTuple):
    """What was gathered of a step's micro-batches so far."""

    gradients: Arrays
    loss: Any


class Numbers(NamedTuple):
    """What comes into a step as one float32 array."""

    rate: Any
    weight: Any
    """Of the whole step: samples, or tokens that count."""
    clip: Any
    """Largest norm; infinite without clipping."""
    weight_decay: Any
    beta1: Any
    beta2: Any


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


def arguments(
    config: TrainingConfig, rate: float, weight: float, step: int, part: int, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """`numbers` (see `Numbers`) and `counts` (two words of random key, real rows).

    The key is a hash of (seed, step, micro-batch), made here: in the compiled step it would be three more generators.
    What a person may change is no constant of the compiled step, so that measuring and training compile the same.
    """
    words = hashlib.blake2b(struct.pack("<qqq", config.seed, step, part), digest_size=8, person=b"dropout").digest()
    counts = np.array((*np.frombuffer(words, np.uint32), samples), np.uint32)
    numbers = (rate, weight, config.gradient_clip or np.inf, config.weight_decay, *config.betas)
    return np.array(numbers, np.float32), counts


def start(pure: Pure, config: TrainingConfig) -> State:
    """The state before the first step. It takes over the model's arrays: a step writes into their memory."""
    return State(pure.params, pure.state, _optimizer(config, Numbers(0.0, 1.0, 0.0, 0.0, 0.9, 0.999)).init(pure.params))


def make(
    pure: Pure, objective: Objective, config: TrainingConfig, precision: str, want_output: bool, want_classes: bool
) -> Steps:
    """The functions for a model. `want_output`: validation shows outputs, `want_classes`: predicted classes."""
    half = jnp.bfloat16 if precision == "bf16" else None

    def loss(params: Arrays, state: Arrays, inputs: Any, targets: Any, numbers: Any, counts: Any) -> tuple[Any, Arrays]:
        key, samples = jax.random.wrap_key_data(counts[:2], impl="threefry2x32"), counts[2]
        total, after = pure.use(
            _cast(params, half),
            state,
            key,
            True,
            lambda model: objective.total(model, _cast(inputs, half), targets, samples),
        )
        return total / Numbers(*numbers).weight, _like(after, state)

    gradients_of = jax.value_and_grad(loss, has_aux=True)

    def whole(now: State, inputs: Any, targets: Any, numbers: Any, counts: Any) -> tuple[State, Seen]:
        (value, after), gradients = gradients_of(now.params, now.state, inputs, targets, numbers, counts)
        return _updated(now, after, Sums(gradients, value), Numbers(*numbers), config)

    def add(
        sums: Sums, params: Arrays, state: Arrays, inputs: Any, targets: Any, numbers: Any, counts: Any
    ) -> tuple[Sums, Arrays]:
        (value, after), gradients = gradients_of(params, state, inputs, targets, numbers, counts)
        return Sums(jax.tree.map(jnp.add, sums.gradients, gradients), sums.loss + value), after

    def finish(now: State, state: Arrays, sums: Sums, numbers: Any) -> tuple[State, Seen]:
        return _updated(now, state, sums, Numbers(*numbers), config)

    def score(params: Arrays, state: Arrays, inputs: Any, targets: Any) -> dict[str, Any]:
        def function(model: Any) -> dict[str, Any]:
            return _scored(objective, model, _cast(inputs, half), targets, want_output, want_classes)

        return pure.use(_cast(params, half), state, jax.random.key(0), False, function)[0]

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


def _updated(now: State, state: Arrays, sums: Sums, numbers: Numbers, config: TrainingConfig) -> tuple[State, Seen]:
    """Clipping by the global norm (as torch's clip_grad_norm_), update, and the choice of old or new."""
    squares = [jnp.sum(jnp.square(gradient.astype(jnp.float32))) for _, gradient in sorted(sums.gradients.items())]
    norms = jnp.sqrt(jnp.stack(squares))
    norm = jnp.sqrt(jnp.sum(jnp.stack(squares)))
    bad = ~(jnp.isfinite(sums.loss) & jnp.isfinite(norm))
    factor = jnp.where(norm > numbers.clip, numbers.clip / (norm + 1e-6), 1.0)
    gradients = jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), sums.gradients)
    updates, optimizer = _optimizer(config, numbers).update(gradients, now.optimizer, now.params)
    new = State(optax.apply_updates(now.params, updates), state, optimizer)
    kept = jax.tree.map(lambda old, new: jnp.where(bad, old, new), now, new)
    silent = [jnp.mean(one == 0) if one.ndim == 1 else jnp.nan for _, one in sorted(sums.gradients.items())]
    return kept, Seen(jnp.stack((sums.loss, norm, bad.astype(jnp.float32))), norms, jnp.stack(silent))


def _optimizer(config: TrainingConfig, numbers: Numbers) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), or SGD with momentum and, as in torch, the decay inside the gradient."""
    if config.optimizer == "AdamW":
        return optax.adamw(numbers.rate, numbers.beta1, numbers.beta2, weight_decay=numbers.weight_decay)
    return optax.chain(optax.add_decayed_weights(numbers.weight_decay), optax.sgd(numbers.rate, numbers.beta1))


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
