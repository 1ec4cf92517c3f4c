"""The reporter of a process below the worker: holds its tongue until it makes an optimizer step, then is the only one.

Each process that speaks writes a file of its own in `told/`, which the worker reads (`hearing.py`). Ranks other than 0
and processes that come second stay silent; when the one that speaks has ended, another may follow.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from . import codec, failure, rundir
from .contract import Checkpoint, Eval, Failure, Note, Phase, Record, Spec, Started, Train
from .reporter import Reporter, StopReason
from .rundir import AttemptDir, RunDir

ATTEMPT = "STATIONMASTER_ATTEMPT"
"""Environment variable: the attempt's folder, for processes below the worker."""
BEGAN = "STATIONMASTER_BEGAN"
"""Environment variable: when the worker began, on the monotonic clock of this machine."""
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "LOCAL_RANK")
"""Variables by which launchers tell a process its place, the most telling first."""
MOST_HELD = 20
RETRY_SECONDS = 1.0
"""Between two looks whether the process that speaks is gone."""


def env_rank() -> int | None:
    """The rank that a launcher gave this process; None outside one."""
    for name in RANKS:
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return None


def rank() -> int | None:
    """The rank as torch.distributed has it, once it is set up; else the launcher's."""
    distributed: Any = sys.modules.get("torch.distributed")
    try:
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank())
    except Exception:  # nosec B110 # the environment tells it as well
        pass
    return env_rank()


def one_of_several() -> bool:
    """Whether this process is one of several that train together, or may be: started by a launcher or another one."""
    sizes = [os.environ.get(name, "") for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")]
    if any(size.isdigit() and int(size) > 1 for size in sizes) or multiprocessing.parent_process() is not None:
        return True
    distributed: Any = sys.modules.get("torch.distributed")
    try:
        return bool(distributed.is_initialized() and distributed.get_world_size() > 1)
    except Exception:  # not loaded, or not built in
        return False


def tell_failure(attempt: AttemptDir, error: BaseException, spec: Spec, step: int, elapsed: float) -> None:
    """Leaves the exception that ends this process where the worker finds it; never raises."""
    with contextlib.suppress(Exception):
        told = failure.describe(error, spec, step=step, elapsed=elapsed)
        place = rank()
        words = f"rank {place}: {told.message}" if place is not None else told.message
        leave(attempt, replace(told, message=words))


def leave(attempt: AttemptDir, told: Failure) -> None:
    """Writes the failure file of this process, once."""
    attempt.told.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        rundir.create(attempt.told / f"{os.getpid()}.failure", codec.line(told))


class Messenger:
    """A `Probe`'s reporter. Before the word is claimed, the first records wait; those behind them are lost."""

    def __init__(self, attempt: AttemptDir) -> None:
        self.attempt = attempt
        self.spec = codec.loads(Spec, rundir.read(RunDir(attempt.path.parent.parent).spec), "spec.json")
        self._began = float(os.environ.get(BEGAN) or time.monotonic())
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._reporter: Reporter | None = None
        self._held: list[Record] = []
        self._next_try = 0.0
        self._lock: int | None = None
        self._step = 0

    def elapsed(self) -> float:
        """Seconds since the worker started."""
        return time.monotonic() - self._began

    @property
    def step(self) -> int:
        """The newest step that was told or held."""
        return self._step

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that is heard."""
        return self._reporter is not None and self._owner == os.getpid()

    @property
    def stop_requested(self) -> StopReason | None:
        """Why the script has to end, or None; known to the process that speaks alone."""
        return self._reporter.stop_requested if self._reporter is not None and self.speaks else None

    @property
    def checkpoint_requested(self) -> bool:
        """Whether a checkpoint was asked for; known to the process that speaks alone."""
        return self._reporter is not None and self.speaks and self._reporter.checkpoint_requested

    def write(self, record: Record) -> None:
        """Tells a record, or keeps it as long as nothing shows that this process trains."""
        self._step = max(self._step, getattr(record, "step", 0))
        own = isinstance(record, Note) and record.facts.get("sight_level") == "full"  # the script says that it trains
        reporter = self._heard(own or isinstance(record, (Started, Train, Eval)))
        if reporter is not None:
            reporter.write(record)
            if isinstance(record, Checkpoint):  # the process may be ended for a stop as soon as it is saved
                reporter.flush()
        elif len(self._held) < MOST_HELD and not isinstance(record, (Train, Eval)):
            self._held.append(record)

    def beat(self, step: int) -> None:
        """A step is done."""
        self._step = step
        reporter = self._heard(True)
        if reporter is not None:
            reporter.beat(step)

    def phase(self, name: str, step: int = 0, output: int = 0) -> None:
        """The script enters a phase."""
        self.write(Phase(time.time(), self.elapsed(), name, step, output=output))

    def note(self, message: str, step: int = 0, level: Literal["info", "warning"] = "info", **facts: Any) -> None:
        """A fact worth telling that is no number of the curve."""
        self.write(Note(time.time(), self.elapsed(), step, message, level, facts))

    def ack(self, step: int) -> None:
        """Says that every request seen so far was obeyed at this step."""
        if self._reporter is not None and self.speaks:
            self._reporter.ack(step)

    def flush(self) -> None:
        """Writes what is queued; a warning that waits is a reason to speak."""
        warns = any(isinstance(record, Note) and record.level == "warning" for record in self._held)
        reporter = self._heard(warns)
        if reporter is not None:
            with contextlib.suppress(OSError):
                reporter.flush()

    def close(self) -> None:
        """Writes what is queued; nothing is told after that."""
        self.flush()
        if self._reporter is not None and self.speaks:
            with contextlib.suppress(OSError):
                self._reporter.close()

    def _heard(self, trains: bool) -> Reporter | None:
        """The reporter of this process when it is the one that speaks, or becomes it now."""
        if self._owner != os.getpid():  # forked: what the parent claimed is not this process's
            self._reset()
        if self._reporter is None and trains and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + RETRY_SECONDS
            with contextlib.suppress(OSError):
                self._claim()
        return self._reporter

    def _claim(self) -> None:
        """Takes the word unless another process of this attempt holds it, or this one is not rank 0."""
        if rank() not in (None, 0):
            return
        told = self.attempt.told
        told.mkdir(exist_ok=True)
        lock = os.open(told / "speaker", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the process: a fork does not inherit it
        except OSError:
            os.close(lock)
            return
        self._lock = lock
        self._show_stacks()
        number = 1 + len(list(told.glob("*.jsonl")))
        self._reporter = Reporter(self.attempt, self.spec, _name(told, number), self._began)
        for record in self._held:
            self._reporter.write(record)
        self._held = []

    def _show_stacks(self) -> None:
        """On SIGUSR1, as the worker does it, unless the script has a use of its own for that signal."""
        if signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL:
            return
        stacks = os.open(self.attempt.stacks, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)


def _name(told: Path, number: int) -> Path:
    return told / f"{number:04d}-{os.getpid()}.jsonl"
