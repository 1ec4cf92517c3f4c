"""Scores a run's best checkpoint on a held-out test set: once per model and set, every look at a set counted.

The scoring is a process of its own in the project's Python, which survives this server; whoever asks again gets its
answer. Not covered: test sets that a person looked at by other means.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import stationmaster_trainer
from stationmaster_trainer import codec, fingerprint, manifest, process, rundir
from stationmaster_trainer.contract import Spec
from stationmaster_trainer.errors import DataError, FormatError, RunError
from stationmaster_trainer.facts import EvaluationFacts, EvaluationRequest
from stationmaster_trainer.logfile import last_line
from stationmaster_trainer.rundir import RunDir

from . import place, plan, testreport, trust
from .detach import spawn
from .dossier import gather
from .interpreter import find_python
from .roots import inside
from .run_environment import run_environment
from .runs import find_run, list_runs, view
from .views import read_spec

SCRIPT = Path(stationmaster_trainer.__file__).parent / "scripts" / "stationmaster_evaluate.py"
BUILD_DATA = "build_data"
LOCK = ".lock"
"""File in `evaluations/` that the scoring process holds."""
LOOK_SECONDS = 0.1
ORDER_SECONDS = 60.0
"""How long an order waits for another one, which hashes nothing: milliseconds, but for a slow disk."""
BEGIN_SECONDS = 20.0
"""How long a scoring process may take to take its lock; after that it counts as dead."""


@dataclass(frozen=True)
class Scored:
    """One evaluation as it stands."""

    run: RunDir
    request: EvaluationRequest
    facts: EvaluationFacts | None
    """None while it goes on."""
    new: bool
    """False when the same model was scored on the same content before."""


def evaluate(project: Path, name: str | None, test_data: str, wait_seconds: float) -> Scored:
    """Scores the best checkpoint of a run (default: the newest) and waits up to that long for the figures.

    Raises RunError for a run that goes on or has no best checkpoint, DataError for a test set that is not there or was
    trained or validated on, and the error of the scoring itself.
    """
    found = view(find_run(project, name))
    run = found.run
    if not found.over:
        raise RunError(f"run {run.name} is {found.state}.", "Its best model is known when it has ended.")
    spec = read_spec(run)
    trust.require_remote_code(project, spec.config.model_path, spec.config.extra)
    place.require(run, spec, "scored")
    content = _content(project, spec, test_data)
    with _alone(project):
        if (going := _going(run)) is not None:
            if going.test_data != test_data:
                raise RunError(f"run {run.name} is being scored on {going.test_data}.", "Ask again when that is done.")
            request = going
        else:
            step, checkpoint = _best(project, run)
            for facts in testreport.evaluations(run):
                if content and facts.request.fingerprint == content and facts.request.step == step:
                    return Scored(run, facts.request, facts, new=False)
            request = _order(run, step, checkpoint, test_data, content, _looks(project, content))
            _start(project, run, request)
    return _wait(run, request, wait_seconds, new=True)


@contextmanager
def _alone(project: Path) -> Iterator[None]:
    """One order at a time in a project, so that two that come together count each other's look."""
    folder = project / plan.FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = process.take_lock(folder / "evaluate.lock", ORDER_SECONDS)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.", "Check space and rights.") from None
    if lock is None:
        raise RunError("another evaluation of this project is being ordered.", "Try again.")
    try:
        yield
    finally:
        os.close(lock)


def _content(project: Path, spec: Spec, test_data: str) -> str:
    """The hash of the test set's content. Raises DataError when it is what the run learnt or chose its model from."""
    config = spec.config
    if test_data == BUILD_DATA:
        return ""
    path = inside(project, test_data, "test_data")
    if not path.exists():
        raise DataError(
            f"test_data {test_data!r} does not exist in {project}.", "Name a file or folder of the project."
        )
    content = fingerprint.of_paths([path])
    if path.is_dir() or path.suffix == ".npz":  # may hold several parts: what overlaps is seen sample by sample
        return content
    for role, named in (("trained", config.train_data), ("validated", config.val_data)):
        other = (project / named).resolve()
        if other.is_file() and fingerprint.of_paths([other]) == content:
            raise DataError(
                f"{test_data} is what the run was {role} on ({named}).", "A test set must not have been used before."
            )
    return content


def _best(project: Path, run: RunDir) -> tuple[int, Path]:
    dossier = gather(project, view(run))
    step, why = dossier.best_checkpoint()
    if step is None:
        raise RunError(f"run {run.name} has no best checkpoint: {why}.", "There is nothing to score.")
    return step, dossier.checkpoints[step]


def _looks(project: Path, content: str) -> tuple[str, ...]:
    """Evaluations of the whole project that scored a model on this content before, or are about to."""
    if not content:
        return ()
    found = []
    for seen in reversed(list_runs(project)):
        for _, path in sorted(_requests(seen.run)):
            request = _read(path)
            if request is not None and request.fingerprint == content and _counts(seen.run, request):
                found.append(f"{seen.name}/{request.number}")
    return tuple(found)


def _counts(run: RunDir, request: EvaluationRequest) -> bool:
    """Whether somebody has seen its figures, or will."""
    facts = testreport.read(run, request.number)
    return not facts.error if facts is not None else _alive(run, request)


def _order(
    run: RunDir, step: int, checkpoint: Path, test_data: str, content: str, looks: tuple[str, ...]
) -> EvaluationRequest:
    """Writes the request under the next free number."""
    if run.evaluations.is_symlink():  # a run folder from elsewhere would have us write where it likes
        raise RunError(f"{run.evaluations} is a link, not a folder of the run.", "Remove it, then evaluate again.")
    run.evaluations.mkdir(mode=0o700, exist_ok=True)
    number, saved = 1 + max((number for number, _ in _requests(run)), default=0), manifest.read(checkpoint)
    validation = {} if saved.eval_loss is None else {"loss": saved.eval_loss, **saved.metrics}
    while True:
        place = (str(run.path), str(checkpoint), step, test_data, content)
        request = EvaluationRequest(number, *place, looks, validation, time.time())
        try:
            rundir.create(_request_path(run, number), codec.dumps(request, indent=1).encode("utf-8", "replace"))
            return request
        except FileExistsError:
            number += 1
        except OSError as error:
            raise RunError(
                f"{run.evaluations} cannot be written: {error.strerror}.", "Check space and rights."
            ) from None


def _start(project: Path, run: RunDir, request: EvaluationRequest) -> None:
    environment = run_environment()
    names = (*environment.written, *environment.named)
    spawn(
        [find_python(project).path, str(SCRIPT), str(_request_path(run, request.number))],
        cwd=project,
        env={name: environment.supervisor[name] for name in names},
        stderr=_log(run, request),
    )


def _wait(run: RunDir, request: EvaluationRequest, seconds: float, new: bool) -> Scored:
    """The answer, or none when the time is up. Raises the error of the scoring, RunError when it died."""
    deadline = time.monotonic() + seconds
    while True:
        alive = _alive(run, request)  # before the answer: what a dead process wrote is complete by then
        facts = testreport.read(run, request.number)
        if facts is not None:
            testreport.raise_error(facts)
            return Scored(run, request, facts, new)
        if not alive:
            said = last_line(_log(run, request)) or "nothing"
            raise RunError(f"the scoring of run {run.name} ended without an answer; it said: {said}", "Try again.")
        if time.monotonic() >= deadline:
            return Scored(run, request, None, new)
        time.sleep(LOOK_SECONDS)


def _going(run: RunDir) -> EvaluationRequest | None:
    """The newest request, while it is being worked on."""
    newest = max(_requests(run), default=None, key=lambda found: found[0])
    if newest is None:
        return None
    request = _read(newest[1])
    if request is None or (run.evaluations / f"{request.number:03d}.json").exists():
        return None
    return request if _alive(run, request) else None


def _read(path: Path) -> EvaluationRequest | None:
    try:
        return codec.loads(EvaluationRequest, rundir.read(path), path.name)
    except (OSError, FormatError):
        return None


def _alive(run: RunDir, request: EvaluationRequest) -> bool:
    """Whether the scoring goes on, or has only just been ordered."""
    begun = (run.evaluations / f"{request.number:03d}.begun").exists()  # it holds the lock since before that
    return process.is_locked(run.evaluations / LOCK) or (not begun and time.time() - request.time < BEGIN_SECONDS)


def _requests(run: RunDir) -> Iterator[tuple[int, Path]]:
    for path in run.evaluations.glob("*.request.json"):
        number = path.name.partition(".")[0]
        if number.isdigit():
            yield int(number), path


def _request_path(run: RunDir, number: int) -> Path:
    return run.evaluations / f"{number:03d}.request.json"


def _log(run: RunDir, request: EvaluationRequest) -> Path:
    return run.evaluations / f"{request.number:03d}.log"
