"""Runs a script or a command that trains as it is, in a process below this one, and says what became of it.

What the processes below tell goes into the stream from here (`hearing.py`). Not covered: how they are looked into
(`scripted.py` for a Python script, `reach/` for what a launcher starts).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from . import blame, commandline, confirmed, process
from .contract import Launch, Spec
from .hearing import Hearing
from .messenger import ATTEMPT, BEGAN
from .onlooker import Onlooker
from .reporter import Outcome, Reporter
from .scripted import REACH

LOOK_SECONDS = 0.1
SECOND_THOUGHT = 1.0
"""Seconds that a command has after a signal that may have reached it as well, before it is sent one."""


def train(spec: Spec, launch: Launch, reporter: Reporter) -> Outcome:
    """Runs the command to its end. Exits with its code when that is no success: why is told before."""
    began = time.perf_counter()
    below = _Below(spec, launch, reporter)
    code = below.wait()
    reporter.refresh()  # a script that looks for a stop itself may have obeyed one that was not seen here yet
    hearing, step = below.hearing, max(below.hearing.step, below.onlooker.step)
    if reporter.stop_requested is not None:
        return Outcome(reporter.stop_requested, step, hearing.samples, time.perf_counter() - began)
    own = None if spec.config.command else hearing.failure(below.pid)
    if code == 0 and own is None:
        if spec.config.val_data != "none" and step and not (hearing.evaluations or below.onlooker.evaluations):
            reporter.note("no validation was seen while the script ran", step, level="warning")
        return Outcome("script_ended", step, hearing.samples, time.perf_counter() - began)
    if own is None and code < 0:
        reporter.close()
        _die(-code)
    told = blame.find([own] if own is not None else hearing.failures(), code, spec, reporter, step)
    reporter.write(told)
    reporter.flush()
    sys.exit(code or 1)


class _Below:
    """The command as a process below this one, in the same process group."""

    def __init__(self, spec: Spec, launch: Launch, reporter: Reporter) -> None:
        self.reporter, self.hearing = reporter, Hearing(reporter)
        self.onlooker = Onlooker(spec, launch, reporter)
        self._asked_at: float | None = None
        self._grace = launch.grace_seconds
        self._signalled_at: float | None = None
        self._last: list[int] = []
        reporter.attempt.told.mkdir(exist_ok=True)
        argv = _argv(spec, reporter)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._popen = subprocess.Popen(  # nosec B603 # argv list, no shell
            argv, cwd=launch.cwd, env=_environment(spec, reporter), stdin=subprocess.DEVNULL
        )
        self.pid = self._popen.pid
        signal.signal(signal.SIGUSR1, self._pass_on)

    def wait(self) -> int:
        """Until the command has ended, and after a request to stop also the process that trains."""
        while self._popen.poll() is None or any(process.state(pid) not in ("", "Z") for pid in self._last):
            self._listen()
            if self.reporter.stop_requested is not None:
                self._stop()
            time.sleep(LOOK_SECONDS)
        self._listen()
        self.hearing.finish()
        self.onlooker.finish()
        return self._popen.wait()

    def _listen(self) -> None:
        """What is told counts; what can be looked at does only while nobody has told anything."""
        if self.hearing.spoken:
            self.onlooker.end()
        self.hearing.listen(after=self.onlooker.step)
        self.onlooker.look(self.pid, reached=self.hearing.reached)

    def _stop(self) -> None:
        """Asks once by SIGTERM: the process that trains, and those above it that would not pass it on."""
        now = time.monotonic()
        if self._asked_at is not None:
            alone = self.reporter.stop_requested in ("supervisor_gone", "run_folder_gone")
            if alone and now - self._asked_at > self._grace:
                os.killpg(os.getpgrp(), signal.SIGKILL)  # nobody is left to take the next rung of the ladder
            return
        if self._signalled_at is not None and now - self._signalled_at < SECOND_THOUGHT:
            return
        self._asked_at = now
        chain = process.chain(self.pid, self.hearing.speaker) if self.hearing.speaker else []
        place = next((place for place, pid in enumerate(chain) if process.catches(pid, signal.SIGTERM)), len(chain) - 1)
        if not chain or place < 0:
            with contextlib.suppress(OSError):
                os.killpg(os.getpgrp(), signal.SIGTERM)
            return
        self._last = [chain[place]]
        for pid in chain[: place + 1]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """One for this process is a request to stop; it may have reached the whole group."""
        if self.reporter.stop_requested is None:
            self._signalled_at = time.monotonic()
            self.reporter.request_stop_by_signal()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """The stacks that matter are those of the process that trains."""
        pid = self.hearing.speaker or self.pid
        if process.catches(pid, signal.SIGUSR1):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGUSR1)


def _argv(spec: Spec, reporter: Reporter) -> list[str]:
    """The command with its programs; a Python script goes through our own, which holds it as it was confirmed."""
    if not spec.config.command:
        return [sys.executable, sys.argv[0], str(reporter.attempt.path), "script"]
    confirmed.hold(spec)
    return commandline.runnable(commandline.words(spec.config), sys.executable, Path(spec.project_dir))


def _environment(spec: Spec, reporter: Reporter) -> dict[str, str]:
    """This process's own, and what carries the probe; the project's environment comes first on PATH."""
    own = {**os.environ, ATTEMPT: str(reporter.attempt.path), BEGAN: repr(time.monotonic() - reporter.elapsed())}
    if not spec.config.command:
        return own
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REACH), own.get("PYTHONPATH")]))
    folder = os.path.dirname(os.path.abspath(sys.executable))
    own["PATH"] = os.pathsep.join(filter(None, [folder, own.get("PATH")]))
    if sys.prefix != sys.base_prefix:
        own["VIRTUAL_ENV"] = sys.prefix
    return own


def _die(number: int) -> None:
    """Ends this process by the signal that ended the command, so that the supervisor sees it as it was."""
    faulthandler.disable()
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)
    time.sleep(60.0)
