"""Feeds one logger from the streams, in a thread of its own: from its cursor, exactly once, again after a failure.

A logger that raises or hangs holds up nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import codec, plugins, rundir
from .contract import Launch, LoggerState, Spec
from .errors import FormatError, PluginError, StationmasterError
from .ledger import Entry
from .loggers._logger import state_of
from .rundir import RunDir
from .stream import Follower

LOOK_SECONDS = 0.2
"""Between two looks at a stream that has nothing new."""
RETRY_SECONDS = (2.0, 10.0, 30.0, 60.0)
"""Pauses before a failed logger is opened again; the last one repeats."""
BLOCKED_SECONDS = 30.0
"""How long one call of a logger may take before it counts as degraded."""


class Feeder:
    """One logger. `entry` is its line of the ledger, replaced as a whole, so that any thread may read it."""

    def __init__(self, run: RunDir, spec: Spec, last: int, entry: Entry, say: Callable[[str], None]) -> None:
        self._run, self._spec, self._last, self._say = run, spec, last, say
        self.name = entry.logger.name
        self.entry = entry
        self._logger: Any = None
        self._follower = Follower(run, last, entry.attempt, entry.offset)
        self._finish = threading.Event()
        self._failures = 0
        self._calling_since: float | None = None
        self.must_save = threading.Event()
        """Set after a rewind: the ledger has to be saved before anything else is written; the saver clears it."""
        self.thread = threading.Thread(target=self._feed, name=f"logger-{self.name}", daemon=True)

    def finish(self) -> None:
        """No more records will come: write the rest and close."""
        self._finish.set()

    @property
    def state(self) -> LoggerState:
        """As the ledger has it; degraded as well while a call does not come back."""
        since = self._calling_since
        if since is not None and time.monotonic() - since > BLOCKED_SECONDS:
            message = f"it has not answered for {time.monotonic() - since:.0f} s"
            return replace(self.entry.logger, state="degraded", message=message)
        return self.entry.logger

    def _feed(self) -> None:
        while True:
            last_round = self._finish.is_set()
            try:
                more = self._pump()
                self._failures = 0
            except PluginError as error:  # a missing package: it will be missing in a minute, too
                self._degrade(error)
                return
            except (Exception, SystemExit) as error:  # a library may want to exit: that is not for it to say
                self._degrade(error)
                if last_round and self._failures > 1:  # once more at the end: nobody would come back to it
                    return
                self._finish.wait(RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1])
                continue
            if not more:
                if last_round:
                    break
                self._finish.wait(LOOK_SECONDS)
        if problem := self._close():
            self.entry = replace(self.entry, logger=replace(self.entry.logger, state="degraded", message=problem))

    def _pump(self) -> bool:
        """One chunk; whether more is waiting."""
        self._calling_since = time.monotonic()
        try:
            if self._logger is None:
                self._open()
            number = self._follower.attempt
            found, more = self._follower.read()
            for damage in self._follower.damage[:20]:
                self._say(f"{damage.path}, byte {damage.offset}: {damage.message}")
            self._follower.damage.clear()
            moved = self._follower.attempt != number
            if moved:
                self._logger.rewind(self._resume_step(self._follower.attempt))
            for record, stands in found:
                if stands:
                    self._logger.write(record)
            if found or moved or not self.entry.mark:
                self._note(self._logger.flush())
            if moved:
                self._wait_until_saved()
            return more
        finally:
            self._calling_since = None

    def _open(self) -> None:
        module = plugins.find("loggers", self.name)
        try:
            self._logger = module.open(self._run, self._spec, self.entry.mark)
        except FormatError as error:
            self._say(f"{self.name}: {error.message}; it is written anew")
            self.entry = replace(self.entry, attempt=1, offset=0, mark={})
            self._logger = module.open(self._run, self._spec, {})
        self._follower = Follower(self._run, self._last, self.entry.attempt, self.entry.offset)
        self.entry = replace(self.entry, logger=state_of(self.name, self._logger))

    def _note(self, mark: dict[str, Any]) -> None:
        state = state_of(self.name, self._logger)
        self.entry = Entry(state, self._follower.attempt, self._follower.offset, mark)

    def _wait_until_saved(self) -> None:
        self.must_save.set()
        while self.must_save.is_set():
            time.sleep(0.02)

    def _degrade(self, error: BaseException) -> None:
        self._failures += 1
        words = _words(error)
        self._say(f"logger {self.name}: {words}")
        where = self.entry.logger.where
        self.entry = replace(self.entry, logger=LoggerState(self.name, where, "degraded", words))
        if self._logger is not None:
            self._close()

    def _close(self) -> str:
        """Ends the logger; what went wrong, in words."""
        logger, self._logger = self._logger, None
        self._calling_since = time.monotonic()
        try:
            logger.close()
        except (Exception, SystemExit) as error:
            self._say(f"logger {self.name}: closing failed: {_words(error)}")
            return _words(error)
        finally:
            self._calling_since = None
        return ""

    def _resume_step(self, attempt: int) -> int:
        launch = self._run.attempt(attempt).launch
        return codec.loads(Launch, rundir.read(launch), str(launch)).resume_step


def _words(error: BaseException) -> str:
    return (str(error) if isinstance(error, StationmasterError) else f"{type(error).__name__}: {error}")[:300]
