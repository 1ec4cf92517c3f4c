"""What happens in a Python below a run's command once it imports a library that a probe looks into, or ends badly."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import time
from multiprocessing import util
from pathlib import Path
from typing import Any, cast

from . import codec, messenger, rundir
from .contract import Failure, Spec
from .messenger import BEGAN, Messenger
from .rundir import AttemptDir, RunDir

_messengers: list[Messenger] = []
LAUNCHERS = ("ChildFailedError", "CalledProcessError", "SignalException", "ProcessExitedException")
"""Exceptions by which a launcher says that a process of it ended badly."""


def begin(attempt_path: str) -> None:
    """Puts the probes' watcher in, unless a launcher says that this is another rank than the first."""
    attempt = AttemptDir(Path(attempt_path))
    with contextlib.suppress(OSError):
        attempt.told.mkdir(exist_ok=True)
        (attempt.told / f"{os.getpid()}.here").touch()
    if messenger.env_rank() not in (None, 0):
        return
    from .probes._probe import Probe
    from .probes._watching import watch
    from .reporter import Reporter

    voice = Messenger(attempt)
    probe = Probe(cast(Reporter, voice), voice.spec.config.log_every)
    _messengers.append(voice)
    with probe.harmless("getting ready"):
        watch(probe)

    def end() -> None:
        if voice.speaks:
            with probe.harmless("writing the last steps"):
                probe.close()
        voice.close()

    atexit.register(end)
    if multiprocessing.parent_process() is not None:  # its processes leave without running what atexit has
        util.Finalize(None, end, exitpriority=0)


def ended(attempt_path: str, error: BaseException) -> None:
    """Leaves the exception that ends this process; of a launcher's only which process it was about."""
    if not isinstance(error, Exception):
        return
    attempt = AttemptDir(Path(attempt_path))
    spec = codec.loads(Spec, rundir.read(RunDir(attempt.path.parent.parent).spec), "spec.json")
    elapsed = time.monotonic() - float(os.environ.get(BEGAN) or time.monotonic())
    if type(error).__name__ in LAUNCHERS:
        messenger.leave(attempt, _of_launcher(error, elapsed))
    else:
        messenger.tell_failure(attempt, error, spec, max((one.step for one in _messengers), default=0), elapsed)


def _of_launcher(error: Any, elapsed: float) -> Failure:
    """torchrun knows each rank's exit code; a negative one is a signal."""
    name = type(error).__name__
    first: Any = error.get_first_failure() if hasattr(error, "get_first_failure") else None  # (rank, its process)
    code = getattr(first[1] if first else error, "exitcode", getattr(error, "returncode", 1))
    who = f"rank {first[0]}" if first else "the process that it started"
    cause = "signal" if isinstance(code, int) and code < 0 else "exited_early"
    words = f"{who} ended with exit code {code}"
    if cause == "signal":
        from .ending import signal_name

        words = f"{who} was ended by {signal_name(-code)}"
    way_out = "Look at the end of worker.log: what the process itself said stands there."
    return Failure(time.time(), elapsed, 0, cause, name, words, way_out, "", "")
