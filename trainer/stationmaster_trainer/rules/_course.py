"""The whole course of a series in at most 64 points, however long the run: each point is the mean of a block, blocks
grow in pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from ._window import median

CAPACITY = 64


@dataclass
class Course:
    """Block means of everything added so far. `noise` is the deviation of one block about its neighbours."""

    blocks: list[float] = field(default_factory=list)
    stride: int = 1
    """Values in a full block."""
    pending: float = 0.0
    waiting: int = 0
    """Values in the block that is being filled."""

    def add(self, value: float) -> None:
        self.pending += value
        self.waiting += 1
        if self.waiting < self.stride:
            return
        self.blocks.append(self.pending / self.waiting)
        self.pending, self.waiting = 0.0, 0
        if len(self.blocks) == CAPACITY:
            self.blocks = [fmean(pair) for pair in zip(self.blocks[::2], self.blocks[1::2], strict=True)]
            self.stride *= 2

    def part(self, start: float, end: float) -> float:
        """Median of the blocks between two shares of the run, in [0, 1]; at least one block is taken."""
        count = len(self.blocks)
        first = min(int(start * count), count - 1)
        return median(self.blocks[first : max(first + 1, round(end * count))])

    def noise(self) -> float:
        """Robust deviation of one block: median |difference of neighbours|, which is 0.954 σ for normal noise."""
        steps = [abs(later - earlier) for earlier, later in zip(self.blocks, self.blocks[1:], strict=False)]
        return median(steps) / 0.954 if steps else 0.0
