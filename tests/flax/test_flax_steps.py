"""The jitted step: the same numbers as PyTorch's, accumulated or not, and nothing that is not finite gets through."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax import nnx
from flax_project import LINEN, NNX_NORM, PLAIN, FlaxProject

from stationmaster_trainer import data, failure, order, user_model
from stationmaster_trainer.adapters._flax_trainee import AHEAD, FlaxTrainee
from stationmaster_trainer.contract import Note, Train
from stationmaster_trainer.feed import Batch

SETTINGS: dict[str, Any] = {"batch_size": 32, "gradient_clip": 0.5, "weight_decay": 0.1, "num_threads": 1}
RATES = (0.0, 3e-3, 1e-2, 1e-2, 5e-3)


@pytest.fixture
def plain(tmp_path: Path) -> FlaxProject:
    """A network without random numbers and statistics."""
    return FlaxProject(tmp_path / "plain", PLAIN)


def rows(trainee: FlaxTrainee, start: int, stop: int) -> Batch:
    """These rows of a fixed draw as a batch."""
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(200, 64)).astype(np.float32)
    targets = generator.integers(0, 10, 200)
    return trainee.convert(inputs[start:stop], targets[start:stop], stop - start)


def close(one: FlaxTrainee, other: FlaxTrainee, most: float = 1e-5) -> bool:
    """Whether all parameters and figures agree."""
    for name, value in one.now.params.items():
        np.testing.assert_allclose(value, other.now.params[name], atol=most, rtol=0)
    pairs = zip(one.drain(), other.drain(), strict=True)
    return all(abs(a.loss - b.loss) < most and abs(a.grad_norm - b.grad_norm) < most for a, b in pairs)  # type: ignore[operator]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_the_steps_are_those_of_pytorch(plain: FlaxProject, optimizer: str) -> None:
    trainee = plain.trainee(**SETTINGS, optimizer=optimizer)
    weights = {name: torch.tensor(np.asarray(value), requires_grad=True) for name, value in trainee.now.params.items()}
    if optimizer == "AdamW":
        theirs: torch.optim.Optimizer = torch.optim.AdamW(weights.values(), lr=1.0, weight_decay=0.1)
    else:
        theirs = torch.optim.SGD(weights.values(), lr=1.0, momentum=0.9, weight_decay=0.1)
    for at, rate in enumerate(RATES):
        batch = rows(trainee, 32 * at, 32 * at + 32)
        trainee.step((batch,), rate)
        theirs.zero_grad()
        hidden = torch.tanh(torch.tensor(batch.inputs) @ weights["first/kernel"] + weights["first/bias"])
        logits = hidden @ weights["last/kernel"] + weights["last/bias"]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batch.targets).long())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), 0.5)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
        (seen,) = trainee.drain()
        assert seen.loss == pytest.approx(loss.item(), abs=1e-5)
        assert seen.grad_norm == pytest.approx(norm.item(), abs=1e-5)
        assert norm.item() > 0.5, "clipped"
    for name, value in weights.items():
        np.testing.assert_allclose(trainee.now.params[name], value.detach().numpy(), atol=2e-5, rtol=0)


def test_a_run_is_the_loop_that_a_person_would_write_with_optax(plain: FlaxProject) -> None:
    """Same initial values, order, schedule, clipping and updates; the clip's factor has 1e-6 more below the line."""
    plain.train_here(
        batch_size=32, gradient_clip=0.5, weight_decay=0.1, betas=(0.9, 0.95), learning_rate=1e-2, warmup_steps=6,
        total_steps=24, min_lr_ratio=0.1, val_data="none", checkpoint_every=24, validate_every=24,
    )  # fmt: skip
    config, records = plain.config, plain.records(Train)
    train = data.load(config, plain.path).train
    rate = optax.join_schedules(
        (optax.linear_schedule(1e-2 / 6, 1e-2, 5), optax.cosine_decay_schedule(1e-2, 24 - 6, alpha=0.1)), (6,)
    )
    updates = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(rate, 0.9, 0.95, weight_decay=0.1))
    model = user_model.load(plain.path / "model.py", plain.path).Net(64, 10, rngs=nnx.Rngs(config.seed))
    optimizer = nnx.Optimizer(model, updates, wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, inputs: Any, targets: Any) -> Any:
        def loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(model(inputs), targets).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value, optax.tree.norm(gradients)

    for at, record in enumerate(records):
        batch = train.batch(order.batch_indices(config.seed, at, 32, len(train)))
        loss, norm = step(model, optimizer, batch[0], batch[1].astype(np.int32))
        assert record.loss == pytest.approx(float(loss), rel=2e-5)
        assert record.grad_norm == pytest.approx(float(norm), rel=2e-4)
        assert record.learning_rate == pytest.approx(float(rate(at)), rel=1e-5)
    saved = ocp.PyTreeCheckpointer().restore(plain.checkpoints / "checkpoint-24" / "model")
    for layer in ("first", "last"):
        for name in ("kernel", "bias"):
            np.testing.assert_allclose(saved[layer][name], getattr(getattr(model, layer), name)[...], atol=2e-5)


def test_the_host_is_two_steps_ahead_of_the_device_and_no_further(plain: FlaxProject) -> None:
    slow = "jax.lax.scan(lambda h, _: (h + 1e-6 * (h @ m), None), h, length=40_000)[0]"
    plain.model(
        PLAIN.replace("from flax", "import jax\nfrom flax").replace(
            "return self.last(nnx.tanh(self.first(x)))",
            f"h, m = nnx.tanh(self.first(x)), jax.numpy.eye(8)\n        return self.last({slow})",
        )
    )
    trainee = plain.trainee(**SETTINGS)
    batches = [(rows(trainee, 32 * at, 32 * at + 32),) for at in range(4)]
    trainee.step(batches[0], 1e-3)  # compiles
    assert len(trainee.drain()) == 1
    for batch in batches[1:3]:
        trainee.step(batch, 1e-3)
        assert not trainee.now.params["last/bias"].is_ready(), "nobody waited for it"
    trainee.step(batches[3], 1e-3)
    assert len(trainee._seen) == AHEAD, "for the first of them it waited"
    assert len(trainee.drain()) == 3


def test_accumulated_batches_of_which_the_last_is_short_are_the_big_batch(plain: FlaxProject) -> None:
    big = plain.trainee(**{**SETTINGS, "batch_size": 25})
    small = plain.trainee(**{**SETTINGS, "batch_size": 10, "gradient_accumulation": 3})
    for start in (0, 25, 50, 75):
        big.step((rows(big, start, start + 25),), 1e-2)
        small.step([rows(small, start + a, start + b) for a, b in ((0, 10), (10, 20), (20, 25))], 1e-2)
    small.step([rows(small, 100, 110)], 1e-2)
    big.step((rows(big, 100, 110),), 1e-2)
    assert close(big, small)


def test_a_short_batch_counts_its_own_rows_only_and_nothing_is_compiled_for_it(
    plain: FlaxProject, caplog: pytest.LogCaptureFixture
) -> None:
    whole, exact = plain.trainee(**SETTINGS), plain.trainee(**{**SETTINGS, "batch_size": 7})
    whole.step((rows(whole, 0, 32),), 0.0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        whole.step((rows(whole, 32, 39),), 1e-2)
        whole.drain()
        assert not [text for text in caplog.messages if "Compiling" in text]
        exact.step((rows(exact, 32, 39),), 0.0)
        assert [text for text in caplog.messages if "Compiling" in text], "what is compiled would be seen"
    assert whole.now.params["last/bias"].any()
    exact = plain.trainee(**{**SETTINGS, "batch_size": 7})
    exact.step((rows(exact, 0, 7),), 0.0)
    exact.step((rows(exact, 32, 39),), 1e-2)
    (seen,) = exact.drain()[1:]
    again = plain.trainee(**SETTINGS)
    again.step((rows(again, 32, 39),), 1e-2)
    assert again.drain()[0].loss == pytest.approx(seen.loss, abs=1e-6)


@pytest.mark.parametrize(
    ("source", "accumulation"), [(LINEN, 1), (NNX_NORM, 2)], ids=["linen at once", "nnx accumulated"]
)
def test_a_step_that_is_not_finite_leaves_no_trace(tmp_path: Path, source: str, accumulation: int) -> None:
    project = FlaxProject(tmp_path / "project", source)
    settings = {**SETTINGS, "gradient_accumulation": accumulation}
    clean, hurt = project.trainee(**settings), project.trainee(**settings)
    for step in range(4):
        for trainee in (clean, hurt):
            batches = [rows(trainee, 40 * step + 5 * part, 40 * step + 5 * part + 32) for part in range(accumulation)]
            if step == 2:
                if trainee is clean:
                    trainee.done += 1
                    continue
                batches[-1].inputs[3, 5] = math.nan
            trainee.step(batches, 1e-2)
    assert hurt.pure.state, "batch statistics are among what stays"
    jax.tree.map(np.testing.assert_array_equal, clean.now, hurt.now)
    results = hurt.drain()
    assert [result.skipped for result in results] == [False, False, True, False]
    assert math.isnan(results[2].loss)
    assert results[:2] + results[3:] == clean.drain()


def test_a_run_counts_the_steps_that_were_left_out(plain: FlaxProject) -> None:
    plain.model(
        PLAIN
        + """

def build_data(split):
    import numpy as np
    generator = np.random.default_rng(0)
    x = generator.normal(size=(100, 64)).astype(np.float32)
    y = x[:, :10].argmax(1)
    if split == "train":
        x[17, 3] = np.nan
    return x, y
"""
    )
    plain.train_here(train_data="build_data", val_data="build_data", batch_size=20, total_steps=15, log_every=5)
    records = plain.records(Train)
    assert [(record.nonfinite, record.skipped, record.nonfinite_what) for record in records] == [(1, 1, "loss")] * 3
    assert all(18 in record.worst_samples for record in records), "the row is named"


def test_what_no_curve_shows_is_told_by_layer_and_a_dead_layer_is_named(plain: FlaxProject) -> None:
    plain.model(PLAIN.replace("self.last =", "self.idle = nnx.Linear(3, 3, rngs=rngs)\n        self.last ="))
    assert [(found.check, found.facts["without_gradient"]) for found in plain.measure(num_threads=1).findings] == [
        ("gradients", ["idle/bias", "idle/kernel"])
    ]
    plain.train_here(total_steps=2, validate_every=2, checkpoint_every=2, val_data="none")
    first, second = (note.facts for note in plain.records(Note) if "update_ratio" in note.facts)
    assert set(first["update_ratio"]) == set(first["grad_norm"]) == {"first", "last", "idle"}
    assert first["initial_loss"] == first["loss"] == plain.records(Train)[0].loss
    for facts in (first, second):
        assert facts["unchanged"] == facts["without_gradient"] == ["idle/bias", "idle/kernel"]
        assert facts["unchanged_share"] == pytest.approx(1 / 3)
        assert 1e-5 < facts["update_ratio"]["first"] < 1e-1
        assert math.isclose(math.hypot(*facts["grad_norm"].values()), facts_norm(plain, facts), rel_tol=1e-5)


def facts_norm(project: FlaxProject, facts: dict[str, Any]) -> float:
    """The global norm that was recorded for the step with this loss."""
    (norm,) = [record.grad_norm for record in project.records(Train) if record.loss == facts["loss"]]
    assert norm is not None
    return norm


@pytest.mark.parametrize("source", [NNX_NORM, LINEN], ids=["nnx", "linen"])
def test_the_configured_dropout_reaches_every_dropout_layer_and_its_masks_follow_from_seed_and_step(
    tmp_path: Path, source: str
) -> None:
    project = FlaxProject(tmp_path / "project", source)

    def losses(**changes: Any) -> list[float]:
        trainee = project.trainee(**SETTINGS, **changes)
        for _ in range(3):
            trainee.step((rows(trainee, 0, 32),), 0.0)
        return [result.loss for result in trainee.drain()]

    kept = losses(dropout=0.0)
    assert kept[0] == kept[1] == kept[2]
    dropped = losses(dropout=None)
    assert len({*dropped, *kept}) == 4, "other masks at every step"
    assert losses(dropout=None) == dropped


@pytest.mark.fault("F11")
@pytest.mark.parametrize(("device", "whose"), [("cpu", "host (RAM)"), ("cuda:0", "device (GPU)")])
def test_memory_that_is_full_is_that_of_where_the_run_trained(plain: FlaxProject, device: str, whose: str) -> None:
    """XLA says RESOURCE_EXHAUSTED whatever it runs on."""
    spec = plain.spec(**SETTINGS)
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as raised:
        jax.numpy.zeros((1 << 42,)).block_until_ready()
    there = dataclasses.replace(spec, facts=dataclasses.replace(spec.facts, device=device))
    told = failure.describe(raised.value, there, step=1, elapsed=1.0)
    assert told.cause == "oom" and f"memory of the {whose} was full" in told.way_out
