"""One public script: where it comes from, how it is started, and what it prints itself of its steps and losses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Printed:
    """A figure that the script prints itself, found in its output by a pattern with the group `value`."""

    column: str
    """The column of metrics.csv that has to hold it, such as `train/loss`."""
    pattern: str
    per: float = 1
    """What the group `at` (samples, batches) is divided by to give a step. Without that group matches are counted."""
    first: int = 1
    """The optimizer step of `at` 0, or of the first match."""
    skip: int = 0
    """Matches left out at the beginning."""
    factor: float = 1
    """What is recorded of a printed 1: 0.5 where the script prints the sum of two losses, of which the mean is seen."""
    every: int = 1
    """Optimizer steps from one match to the next, without the group `at`."""
    mean: bool = False
    """Whether the printed figure is the mean of the last `every` steps."""

    def found(self, output: str) -> list[tuple[int, float, float]]:
        """(optimizer step, value, how far off it may be: half its last printed digit) of each match."""
        pattern = re.compile(self.pattern)
        placed = []
        for number, match in enumerate(pattern.finditer(output)):
            said = match["value"].strip("',%}")
            at = int(match["at"]) / self.per if "at" in pattern.groupindex else number * self.every
            if number >= self.skip:
                value, half = float(said) * self.factor, _half_a_digit(said) * self.factor
                placed.append((round(at + self.first), value, max(half, 1e-6 * abs(value))))  # 1e-6: single precision
        return placed


def _half_a_digit(said: str) -> float:
    mantissa, _, exponent = said.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.51 * 10.0 ** (int(exponent or 0) - digits)


@dataclass(frozen=True)
class Case:
    """A script of a public repository, prepared with its data in a folder of its own."""

    name: str
    kind: str
    """What drives its loop, in the table's words."""
    repository: str
    commit: str
    path: str
    """Of the script, in its repository."""
    folder: str
    """The project that the person opens, below the folder of all."""
    command: tuple[str, ...]
    """As it is typed there; arguments of the script itself keep it short."""
    steps: int | None = None
    """Optimizer steps that this command makes, counted from data and arguments; None: only the output is compared."""
    validates: bool = False
    """Whether the script has a validation that a look at its source can find."""
    printed: tuple[Printed, ...] = ()
    long: tuple[str, ...] = field(default=())
    """The command that is stopped in its middle."""
    endless: bool = False
    """Whether the script has no short form: it is stopped in its middle, and what was seen until then compared."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the person has set, such as KERAS_BACKEND."""

    @property
    def changes(self) -> dict[str, object]:
        """What is asked of `propose_config` for the command."""
        return changes(self.command)


def changes(command: tuple[str, ...]) -> dict[str, object]:
    """`python train.py` as a script with arguments, anything else as the command that it is."""
    if command[0] == "python":
        return {"script": command[1], "script_args": list(command[2:]), "log_every": 1}
    return {"command": list(command), "log_every": 1}


def read(projects: Path) -> list[Case]:
    """The cases of `projects.json` in the folder."""
    rows = json.loads((projects / "projects.json").read_text("utf-8"))
    return [_case(row) for row in rows]


def _case(row: dict[str, object]) -> Case:
    known = {**row, "command": tuple(row["command"]), "long": tuple(row.get("long", ()))}  # type: ignore[arg-type]
    printed = tuple(Printed(**one) for one in row.get("printed", ()))  # type: ignore[attr-defined]
    return Case(**{**known, "printed": printed})  # type: ignore[arg-type]
