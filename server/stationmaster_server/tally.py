"""The numbers of a whole run, gathered in one pass over the streams of all its attempts, in memory that does not grow.

Rows of an attempt beyond the step that a later attempt continued from are left out of every figure but the time: that
was spent. What cannot be read is counted and named, the rest still stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from stationmaster_trainer import contract, stream
from stationmaster_trainer.errors import FormatError
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.verdict import Account

from .series import Thinner

KEPT_NOTES = 40
KEPT_BAD_STEPS = 200


@dataclass
class Tally:
    """What the streams add up to."""

    train: Thinner = field(default_factory=Thinner)
    validation: Thinner = field(default_factory=Thinner)
    course: Account = field(default_factory=Account)
    """What the verdict is made from."""
    evals: int = 0
    last_train: contract.Train | None = None
    last_eval: contract.Eval | None = None
    best_eval: contract.Eval | None = None
    """Lowest finite validation loss, the first of equals."""
    step: int = 0
    """Last optimizer step that stands."""
    samples: int = 0
    """Training samples in the windows that stand."""
    train_seconds: float = 0.0
    """Seconds behind those samples, validation and saving left out."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Attempt → seconds from its worker's start to its last record."""
    nonfinite: int = 0
    skipped: int = 0
    bad_steps: list[int] = field(default_factory=list)
    """First non-finite step of each window that has one, at most KEPT_BAD_STEPS."""
    checkpoints: dict[int, contract.Checkpoint] = field(default_factory=dict)
    """Step → checkpoint, those deleted later left out."""
    notes: list[contract.Note] = field(default_factory=list)
    """Different ones, at most KEPT_NOTES."""
    probes: list[contract.Note] = field(default_factory=list)
    """The first and the newest look into the model: update-to-weight ratio by layer group and the like."""
    started: contract.Started | None = None
    """Of the newest attempt that got so far."""
    failure: contract.Failure | None = None
    finished: contract.Finished | None = None
    """Both of the newest attempt alone: an earlier attempt's end is no longer the run's."""
    superseded: int = 0
    """Records left out."""
    resumed: dict[int, int] = field(default_factory=dict)
    """Attempt → step that it continued from, for the second and later ones."""
    damage: list[str] = field(default_factory=list)
    """Unreadable pieces: file, byte and reason."""

    @property
    def total_seconds(self) -> float:
        """Seconds of all attempts."""
        return sum(self.seconds.values())

    @property
    def throughput(self) -> float | None:
        """Samples per second of training, over all windows that stand; None before the first."""
        return self.samples / self.train_seconds if self.train_seconds > 0 else None

    def take(self, record: contract.Record) -> None:
        """One record that stands."""
        self.course.see(record)
        if isinstance(record, contract.Train):
            self._train(record)
        elif isinstance(record, contract.Eval):
            self._eval(record)
        elif isinstance(record, contract.Checkpoint):
            self._checkpoint(record)
        elif isinstance(record, contract.Started):
            self.started = record
        elif isinstance(record, contract.Note):
            self._note(record)
        elif isinstance(record, contract.Failure):
            self.failure = record
        elif isinstance(record, contract.Finished):
            self.finished, self.step = record, max(self.step, record.step)

    def _train(self, record: contract.Train) -> None:
        self.last_train, self.step = record, max(self.step, record.step)
        weight = max(record.window_samples, record.steps)
        self.train.add(record.step, record.loss, weight, record.loss_min, record.loss_max)
        if record.samples_per_second > 0 and math.isfinite(record.samples_per_second):
            self.samples += record.window_samples
            self.train_seconds += record.window_samples / record.samples_per_second
        self.nonfinite += record.nonfinite
        self.skipped += record.skipped
        if record.nonfinite and len(self.bad_steps) < KEPT_BAD_STEPS:
            self.bad_steps.append(record.nonfinite_step or record.step)

    def _eval(self, record: contract.Eval) -> None:
        self.evals += 1
        self.last_eval = record
        self.validation.add(record.step, record.loss, max(record.samples, 1))
        if math.isfinite(record.loss) and (self.best_eval is None or record.loss < self.best_eval.loss):
            self.best_eval = record

    def _checkpoint(self, record: contract.Checkpoint) -> None:
        self.checkpoints[record.step] = record
        gone = set(record.removed)
        self.checkpoints = {step: one for step, one in self.checkpoints.items() if one.path not in gone}

    def _note(self, record: contract.Note) -> None:
        if "update_ratio" in record.facts:
            self.probes = [*self.probes[:1], record]
            return
        known = any(note.message == record.message for note in self.notes)
        if not known and len(self.notes) < KEPT_NOTES:
            self.notes.append(record)


def tally(run: RunDir) -> Tally:
    """Reads the whole run. An attempt whose stream cannot be opened is named in `damage`; nothing is raised."""
    total = Tally()
    for number, limit in stream.limits(run).items():
        total.failure = total.finished = None
        damage: list[stream.Damage] = []
        try:
            _attempt(total, run, number, limit, damage)
        except FormatError as error:
            total.damage.append(error.message)
        total.damage += [f"{one.path}, byte {one.offset:,}: {one.message}" for one in damage]
    return total


def _attempt(total: Tally, run: RunDir, number: int, limit: int | None, damage: list[stream.Damage]) -> None:
    for record in stream.records(run.attempt(number).stream, damage=damage):
        total.seconds[number] = max(total.seconds.get(number, 0.0), record.elapsed)
        if number > 1 and isinstance(record, contract.Started):
            total.resumed[number] = record.step
        if stream.counts(record, limit):
            total.take(record)
        else:
            total.superseded += 1
