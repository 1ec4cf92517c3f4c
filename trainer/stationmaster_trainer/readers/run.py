"""Run folders of our own: the records of all attempts, without those that a later attempt did again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import stream
from ..contract import Record
from ..errors import ConfigError
from ..rundir import RunDir
from ._reading import Mapping, Reading

RANK = 10
"""Place among the readers that are asked whether they know a folder."""


def accepts(path: Path) -> bool:
    """Whether it is a folder with attempts."""
    return path.is_dir() and bool(RunDir(path).attempts())


def read(path: Path, mapping: Mapping = None) -> Reading:
    """The run's records. Raises ConfigError for a mapping: our own names need none."""
    if mapping:
        raise ConfigError(f"{path} is a run of stationmaster: its columns are known.", "Leave the mapping out.")
    run = RunDir(path)
    found = Reading("stationmaster run", {}, iter(()), spec=run.spec if run.spec.exists() else None)

    def counted() -> Iterator[Record]:
        damage: list[stream.Damage] = []
        for _, record in stream.merged(run, damage):
            found.rows += 1
            yield record
        found.skipped = len(damage)

    found.records = counted()
    return found
