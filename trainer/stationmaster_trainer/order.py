"""The order of the training data, a pure function of (seed, epoch, index): resuming at any micro-batch costs nothing.

Built on the raw output of Philox 4x64 (Salmon et al. 2011), which numpy guarantees to stay the same across versions and
platforms (unlike the methods of `Generator`), and on a stable sort of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

ORDER, SPLIT = 1, 2
"""Streams of the generator: two uses of one seed never see the same numbers."""
_MASK = (1 << 64) - 1


def random_keys(seed: int, index: int, n: int, stream: int) -> np.ndarray:
    """`n` random uint64 as a function of (seed, index, stream); any integers will do, negative ones too."""
    key = np.array([seed & _MASK, index & _MASK], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=key).random_raw(n)


def permutation(seed: int, index: int, n: int, stream: int) -> np.ndarray:
    """A random permutation of 0 … n-1 as int64 (n,), the same on every machine."""
    return np.argsort(random_keys(seed, index, n, stream), kind="stable").astype(np.int64)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Order of the `n` training samples in `epoch` (counted from 0): a permutation, int64 (n,), read-only."""
    order = permutation(seed, epoch, n, ORDER)
    order.setflags(write=False)
    return order


def batches_per_epoch(batch_size: int, n: int) -> int:
    """Micro-batches of one pass over `n` samples; the last one may be short."""
    return -(-n // batch_size)


def batch_indices(seed: int, step_micro: int, batch_size: int, n: int) -> np.ndarray:
    """Sample indices of micro-batch number `step_micro`, counted from 0 over the whole run: int64 (≤ batch_size,).

    The last micro-batch of an epoch holds what is left; none is dropped and none mixes two epochs.
    """
    epoch, position = divmod(step_micro, batches_per_epoch(batch_size, n))
    return epoch_order(seed, epoch, n)[position * batch_size : (position + 1) * batch_size]
