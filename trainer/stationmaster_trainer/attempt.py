"""One attempt of a run in this process: what every adapter does around its trainee, in whatever framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from . import best_model, entry, manifest, model_card, plugins, stream
from .actions import Detours
from .checkpoint import Saver, read_position
from .contract import Action, Eval, Launch, Spec
from .dataset import Data, Dataset, LazyDataset
from .early_stopping import Progress
from .errors import CheckpointError, DataError, ModelError
from .feed import Batch, Feed, Plan
from .loop import Loop, Trainee
from .reporter import Outcome, Reporter
from .rundir import RunDir


class Continuable(Trainee, Protocol):
    """A trainee that the whole attempt is run with."""

    precision: str
    """Number format in use."""
    val: Dataset | None
    """What `evaluate` scores."""

    def convert(self, inputs: Any, targets: Any, samples: int) -> Batch:
        """Arrays of a data set as a batch of the framework."""

    def peak_memory(self) -> int | None:
        """Most bytes so far: allocated on the device, on the CPU resident, libraries included. None where unknown."""

    def room(self) -> int | None:
        """Bytes that this process has and can still get, in the same terms. None where unknown."""


Runner = Callable[..., Outcome]
"""What has the arguments of `run`."""


def run(
    spec: Spec,
    launch: Launch,
    reporter: Reporter,
    data: Data,
    trainee: Continuable,
    restore: Callable[[Path], object],
    device: str,
    drive: Callable[[Loop], Outcome] = Loop.run,
) -> Outcome:
    """From a built trainee to the end of the attempt. `restore` fills it from the folder of a verified checkpoint.

    `drive`: who drives the loop, when it is not the loop itself (see `Loop.begin`).
    """
    config = spec.config
    saver = saver_of(spec, reporter)
    step, progress = resume(spec, launch, saver, reporter, restore)
    reporter.started(device, trainee.precision, step, (len(data.train), len(data.val) if data.val is not None else 0))
    _tell_rollback(launch, reporter)
    if launch.attempt == 1:
        for message in data.notes:
            reporter.note(message, step)
    feed = feed_of(spec, data, trainee.convert, launch.rollbacks)
    owed = data.val is not None and _owed(spec, launch, reporter)
    loop = Loop(config, trainee, feed, saver, reporter, data.val is not None, progress, step, owed)
    try:
        outcome = drive(loop)
    finally:
        feed.close()
        saver.close()
    _leave_model(spec, saver, outcome, reporter)
    return outcome


def _owed(spec: Spec, launch: Launch, reporter: Reporter) -> Eval | bool:
    """Whether the step continued from lacks its validation, because a stop did not wait for it.

    The Eval, when an attempt since then has made it and died before it was in a checkpoint.
    """
    config, step = spec.config, launch.resume_step
    due = step % config.validate_every == 0 or step % config.checkpoint_every == 0 or step == config.total_steps
    if launch.resume_from is None or not due or manifest.read(Path(launch.resume_from)).eval_loss is not None:
        return False
    run = RunDir(reporter.attempt.path.parent.parent)
    for number, limit in stream.limits(run).items():
        path = run.attempt(number).stream
        around = (*(record for _, record in stream.read(path).records), *stream.last_records(path))
        for record in around:
            if isinstance(record, Eval) and record.step == step and stream.counts(record, limit):
                return record
    return True


def _leave_model(spec: Spec, saver: Saver, outcome: Outcome, reporter: Reporter) -> None:
    """The best model in its users' form, see `best_model`; what is wrong with it is a note."""
    step = saver.best_step
    if step is None or outcome.reason in ("run_folder_gone", "rollback"):
        return
    reporter.phase("finish", outcome.step)
    problem = best_model.leave(spec, plugins.find("adapters", spec.config.framework), step)
    if problem:
        message = f"the best model was not written to {model_card.FOLDER}/: {problem}"
        reporter.note(message, outcome.step, level="warning", model=problem)


def check_unchanged(spec: Spec, fingerprint: str, reporter: Reporter, model_sha256: str | None = None) -> None:
    """Refuses other data and another model than those that were confirmed. Raises DataError, ModelError.

    `model_sha256`: of the model as it is now; None: of the model file that the configuration names.
    """
    if spec.facts.fingerprint and fingerprint != spec.facts.fingerprint:
        raise DataError(
            f"the data changed since they were confirmed: {spec.config.train_data!r} has another content.",
            "Put the files back as they were, or plan a new run with the new ones.",
        )
    name, found = Path(spec.config.model_path).name, model_sha256
    if found is None:
        path = entry.resolve(spec.config.model_path, Path(spec.project_dir))
        name, found = f"{path.name} or a file it imports", entry.entry_sha256(path, Path(spec.project_dir))
    if spec.facts.entry_sha256 and found != spec.facts.entry_sha256:
        raise ModelError(
            f"{name} changed since it was confirmed.",
            "Put it back as it was, or show the configuration again and start a new run.",
        )


def saver_of(spec: Spec, reporter: Reporter) -> Saver:
    """Writes the checkpoints that the configuration asks for."""
    keep, folder = spec.config.keep_checkpoints, Path(spec.checkpoint_dir)
    return Saver(folder, Path(spec.project_dir), keep, spec.digest, reporter.write, reporter.elapsed)


def _tell_rollback(launch: Launch, reporter: Reporter) -> None:
    """The record of the newest rollback, once: unless an attempt since then has told it before it was broken off."""
    if not launch.rollbacks:
        return
    newest, run = launch.rollbacks[-1], RunDir(reporter.attempt.path.parent.parent)
    for number in range(newest.attempt, launch.attempt):
        head = stream.read(run.attempt(number).stream).records
        if any(isinstance(record, Action) and record.number == newest.number for _, record in head):
            return
    reporter.write(replace(newest, time=time.time(), elapsed=reporter.elapsed()))


def feed_of(
    spec: Spec, data: Data, convert: Callable[[Any, Any, int], Batch], rollbacks: Sequence[Action] = ()
) -> Feed:
    """The batches of the training data, in the run's order."""
    config, detours = spec.config, Detours.of(rollbacks)
    plan = Plan(config.seed, config.batch_size, config.gradient_accumulation, len(data.train), detours)
    # Image files are decoded ahead; the user's own data set may draw random numbers, which a thread would shuffle.
    ahead = isinstance(data.train, LazyDataset) and data.train.digest is not None
    return Feed(data.train, plan, convert, ahead)


def resume(
    spec: Spec, launch: Launch, saver: Saver, reporter: Reporter, restore: Callable[[Path], object]
) -> tuple[int, Progress]:
    """The step to continue from and the progress so far; what an interrupted save left is gone. CheckpointError."""
    reporter.phase("resume", launch.resume_step)
    swept = saver.prepare()
    if swept:
        reporter.note(f"removed what an interrupted save left: {', '.join(swept)}", launch.resume_step)
    if launch.resume_from is None:
        return 0, Progress()
    folder = Path(launch.resume_from)
    found = manifest.verify(folder)
    if found.digest and spec.digest and found.digest != spec.digest:
        raise CheckpointError(f"{folder} was written under another configuration.", "Start a new run for the new one.")
    position = read_position(folder)
    progress = Progress.restored(position.get("progress", {}))
    saver.best_step = progress.best_saved_step
    restore(folder)
    return found.step, progress
