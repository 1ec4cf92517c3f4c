"""What the tests of the readers share: a log's points as plain tuples."""

from __future__ import annotations

import math
from pathlib import Path

from stationmaster_trainer.contract import Eval, Train
from stationmaster_trainer.readers._folder import open_log
from stationmaster_trainer.readers._reading import Reading

Points = list[tuple[int, float]]


def points(path: Path, mapping: dict[str, str] | None = None, run: str | None = None) -> tuple[Reading, Points, Points]:
    """(reading, (step, train loss), (step, validation loss)) of a log that is short enough not to be folded."""
    reading = open_log(path, mapping, run)
    records = list(reading.records)
    train = [(one.step, one.loss) for one in records if isinstance(one, Train)]
    return reading, train, [(one.step, one.loss) for one in records if isinstance(one, Eval)]


def last_train(path: Path) -> Train:
    """The newest train record of a log."""
    return [one for one in open_log(path).records if isinstance(one, Train)][-1]


def same(left: Points, right: Points, tolerance: float = 0.0) -> bool:
    """Whether both hold the same steps with the same values, NaN equal to NaN."""
    if [step for step, _ in left] != [step for step, _ in right]:
        return False
    return all(
        a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=tolerance)
        for (_, a), (_, b) in zip(left, right, strict=True)
    )
