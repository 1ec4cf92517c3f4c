"""Everything known of one run, gathered for its report: what was confirmed, what happened, what lies on the disk.

Any part may be missing or damaged; then its place says so and the rest still stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stationmaster_trainer import manifest, model_card
from stationmaster_trainer.contract import Alert, LoggerState, Spec, Status
from stationmaster_trainer.errors import CheckpointError, FormatError
from stationmaster_trainer.judge import plan_for
from stationmaster_trainer.rundir import RunDir
from stationmaster_trainer.verdict import Verdict, verdict

from . import decisions
from .alerts import Episode, episodes
from .answer import plain
from .decisions import Gates
from .tally import Tally, tally
from .views import RunView, read_spec

GRAVITY = ("critical", "warning", "info")


@dataclass(frozen=True)
class Dossier:
    """One run, read at one time."""

    project: Path
    run: RunDir
    view: RunView
    spec: Spec | None
    tally: Tally
    episodes: list[Episode]
    checkpoints: dict[int, Path]
    """Step → folder, of those on the disk whose manifest is in order, oldest first."""
    gates: Gates
    """What was decided before the start."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, each with its reason."""

    @property
    def status(self) -> Status:
        """As the supervisor wrote it, with the derived state."""
        return self.view.status

    @property
    def state(self) -> str:
        """A key of `states.MOVES`, or `lost`."""
        return self.view.state

    @property
    def step(self) -> int:
        """Last step that stands."""
        return max(self.tally.step, self.status.step)

    @property
    def total_steps(self) -> int | None:
        """Planned steps; None when neither the confirmed configuration nor the status can be read."""
        if self.spec is not None:
            return self.spec.config.total_steps
        return self.status.total_steps or None

    @property
    def seconds(self) -> float:
        """Seconds of all attempts: the supervisor's clock, or the workers' own where that is longer or alone."""
        return max(self.tally.total_seconds, self.status.elapsed)

    @property
    def waived(self) -> bool:
        """Whether the run was confirmed without validation."""
        return self.spec is not None and self.spec.config.val_data == "none"

    def relative(self, path: Path | str) -> str:
        """A path as seen from the project, `/` as separator."""
        try:
            return Path(path).relative_to(self.project).as_posix()
        except ValueError:
            return str(path)

    @property
    def checkpoint_dir(self) -> Path:
        """The run's checkpoint folder."""
        return _checkpoint_dir(self.project, self.run, self.spec)

    def best_checkpoint(self) -> tuple[int | None, str]:
        """Step of the best checkpoint on the disk and by what it is best; or None and why there is none."""
        if not self.checkpoints:
            return None, "none on the disk"
        best = [record for record in self.tally.checkpoints.values() if record.best]
        if best:
            step = best[-1].step
            measure = "train loss" if self.waived else "validation loss"
            return (
                (step, measure) if step in self.checkpoints else (None, f"checkpoint-{step} is no longer on the disk")
            )
        return None, "none was compared"

    def best_model(self) -> tuple[Path | None, int, str]:
        """The folder of the best model in its users' form with its step; or None, 0 and why it could not be written."""
        folder = self.checkpoint_dir / model_card.FOLDER
        origin = model_card.read_origin(folder)
        if origin is not None and origin.run == self.run.name:
            return folder, origin.step, ""
        told = [str(note.facts["model"]) for note in self.tally.notes if "model" in note.facts]
        return None, 0, told[-1] if told else ""

    def standing_alerts(self) -> list[Alert]:
        """The newest form of every episode of the steps that stand, the worst first, then by step."""
        alerts = [episode.alert for episode in self.episodes if not episode.superseded]
        return sorted(alerts, key=lambda alert: (GRAVITY.index(alert.severity), alert.first_step))

    def verdict(self) -> Verdict:
        """The verdict on the steps that stand, from the alerts that were raised while they ran."""
        alerts = sorted(self.standing_alerts(), key=lambda alert: alert.first_step)
        outcome = self.status.cause or ""
        return verdict(self.tally.course, alerts, plan_for(self.spec) if self.spec else None, outcome)

    def logs(self) -> list[str]:
        """Where the numbers are: files and folders as seen from the project, addresses as they are."""
        run = self.run
        paths = [path for path in (run.metrics_csv, run.metrics_jsonl, run.tensorboard) if path.exists()]
        found = [self.relative(path) for path in paths]
        found += [place for logger in self.status.loggers if (place := self._place(logger)) and place not in found]
        if not found:
            found = [self.relative(attempt.stream) for attempt in run.attempts() if attempt.stream.exists()]
        return found

    def log_notes(self) -> list[str]:
        """What a logger says of its place although it works: why it is offline, how to look at it."""
        told = [one for one in self.status.loggers if one.message and one.state != "degraded"]
        return [f"{plain(one.name, 40)}: {plain(one.message, 300)}" for one in told]

    def _place(self, logger: LoggerState) -> str:
        """Where this logger wrote: an address as it is, a path if it is there; empty when there is neither."""
        if logger.where.startswith(("http://", "https://")):
            return plain(logger.where, 160)
        path = self.run.path / logger.where
        return plain(self.relative(path), 200) if logger.where and path.exists() else ""


def gather(project: Path, view: RunView) -> Dossier:
    """Reads spec, streams, alerts and checkpoints of a run that was looked at before. Damage is told, not raised."""
    run, told = view.run, list(view.problems)
    spec = _spec(run, told)
    total = tally(run)
    told += total.damage[:5]
    if len(total.damage) > 5:
        told.append(f"and {len(total.damage) - 5} more damaged places in the streams")
    found, damaged = episodes(run)
    if damaged:
        told.append(f"{damaged} unreadable lines in alerts.jsonl")
    decided = decisions.read(run.checklist, told)
    kept = _kept(_checkpoint_dir(project, run, spec), told)
    return Dossier(project, run, view, spec, total, found, kept, decided, told)


def _spec(run: RunDir, problems: list[str]) -> Spec | None:
    try:
        return read_spec(run)
    except (OSError, FormatError) as error:
        problems.append(str(error))
        return None


def _checkpoint_dir(project: Path, run: RunDir, spec: Spec | None) -> Path:
    return project / (spec.config.checkpoint_dir if spec else f"checkpoints/{run.name}")


def _kept(folder: Path, problems: list[str]) -> dict[int, Path]:
    kept: dict[int, Path] = {}
    for step, path in manifest.list_checkpoints(folder):
        try:
            manifest.read(path)
        except CheckpointError as error:
            problems.append(error.message)
        else:
            kept[step] = path
    return kept
