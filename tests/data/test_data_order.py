"""The data order is a pure function: complete, seeded, the same everywhere, and resumed at once."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stationmaster_trainer import order

SEEDS = st.integers(-(2**70), 2**70)


@given(seed=SEEDS, epoch=st.integers(0, 1000), n=st.integers(1, 400))
def test_each_epoch_holds_every_sample_once(seed: int, epoch: int, n: int) -> None:
    assert sorted(order.epoch_order(seed, epoch, n).tolist()) == list(range(n))


@given(seed=SEEDS, n=st.integers(1, 200), batch_size=st.integers(1, 50), epochs=st.integers(1, 3))
@settings(max_examples=50)
def test_micro_batches_cover_each_epoch_in_order_and_never_mix_two(
    seed: int, n: int, batch_size: int, epochs: int
) -> None:
    per_epoch = order.batches_per_epoch(batch_size, n)
    for epoch in range(epochs):
        batches = [order.batch_indices(seed, epoch * per_epoch + number, batch_size, n) for number in range(per_epoch)]
        assert all(len(batch) == batch_size for batch in batches[:-1]) and 1 <= len(batches[-1]) <= batch_size
        assert np.concatenate(batches).tolist() == order.epoch_order(seed, epoch, n).tolist()


def test_epochs_and_seeds_differ() -> None:
    orders = {order.epoch_order(seed, epoch, 50).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_is_this_one_on_every_machine_and_version() -> None:
    assert order.epoch_order(42, 0, 10).tolist() == [0, 2, 6, 9, 3, 5, 4, 8, 7, 1]
    code = "from stationmaster_trainer.order import epoch_order; print(epoch_order(42, 7, 1000).tobytes().hex())"
    said = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert said == {order.epoch_order(42, 7, 1000).tobytes().hex() + "\n"}


def test_positions_are_evenly_spread() -> None:
    first = [int(order.epoch_order(1, epoch, 20)[0]) for epoch in range(2000)]
    counts = np.bincount(first, minlength=20)
    chi_square = float(((counts - 100) ** 2 / 100).sum())
    assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001


def test_a_batch_far_into_the_run_costs_no_more_than_the_first() -> None:
    order.epoch_order.cache_clear()
    started = time.perf_counter()
    order.batch_indices(0, 10**12, 32, 10_000)
    assert time.perf_counter() - started < 1.0


def test_the_caller_cannot_change_the_order() -> None:
    assert not order.epoch_order(0, 0, 5).flags.writeable
