"""Carries out what the confirmed plan allows a rule to do: decides once per attempt, asks the worker, sets the next
attempt up."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable

from . import actions, codec, control, orders, rundir
from .contract import Action, Alert, Failure, Finished, Launch, Spec, Status
from .ending import Ending
from .errors import FormatError
from .rundir import AttemptDir


class Signals:
    """One per supervised attempt. `asked` is the decision; there is at most one, and it stands in `control/`."""

    def __init__(self, attempt: AttemptDir, spec: Spec, launch: Launch, say: Callable[[str], None]) -> None:
        self._attempt, self._spec, self._launch, self._say = attempt, spec, launch, say
        self._earlier = _stops_before(attempt)
        self._unwritten, self._over = "", False
        self.asked: Action | None = None

    def see(self, alerts: Iterable[Alert]) -> bool:
        """Takes in what changed with a record; whether something was decided now. A stop goes before a rollback."""
        if self.asked is not None:
            return False
        found = [alert for alert in alerts if actions.wanted(alert, self._spec) != "alert"]
        if not found:
            return False
        first = min(found, key=lambda alert: actions.wanted(alert, self._spec) != "stop")
        verb, asked = actions.decide(first, self._spec, self._launch)
        if self._over and verb == actions.STOP:  # it has stopped already
            return False
        self._unwritten, self.asked = verb, asked
        self._say(f"rule {self.asked.rule}, step {self.asked.first_step}: {self.asked.action}: {self.asked.message}")
        self.place()
        return True

    def place(self) -> None:
        """Writes the request; a full disk is tried again with the next call."""
        if self.asked is None or not self._unwritten:
            return
        try:
            control.place(self._attempt, self._unwritten, self.asked)
            self._unwritten = ""
        except OSError as error:
            self._say(f"the request of a rule cannot be written: {error}")

    @property
    def cause(self) -> str:
        """Cause of the end that was asked for."""
        return "rollback" if self.asked is not None and self.asked.action == "rollback" else "rule"

    def words(self) -> str:
        """The decision in a sentence."""
        if self.asked is None:
            return ""
        what = "Going back" if self.asked.action == "rollback" else "Stopping"
        return f"{what}: rule {self.asked.rule} at step {self.asked.first_step}: {self.asked.message}."

    def told(self) -> tuple[Action, ...]:
        """Actions of the run so far, for the status; a rollback that was only asked for is none yet."""
        stop = (self.asked,) if self.asked is not None and self.asked.action == "stop" else ()
        return (*sorted((*self._launch.rollbacks, *self._earlier), key=lambda one: one.time), *stop)

    def worker_gone(self) -> None:
        """From now on records only come late: a stop has nothing left to stop."""
        self._over = True

    def goes_back(self, finished: Finished | None, failure: Failure | None, ended_by_us: bool) -> bool:
        """Whether the worker's end is to be followed by the attempt of a rollback."""
        if self.asked is None or self.cause != "rollback" or control.named(self._attempt, "stop"):
            return False
        return actions.obeyed(finished, failure.cause if failure is not None else None, ended_by_us)

    def prepare(self) -> Action | None:
        """Chooses the checkpoint, verified, and deletes those behind it; None when none verifies any more."""
        self.place()
        try:
            return actions.carry_out(self._spec, self._attempt)
        except (OSError, FormatError) as error:
            self._say(f"the rollback cannot be prepared: {error}")
            return None

    def next_attempt(self, action: Action) -> AttemptDir:
        """Makes the folder of the attempt that continues from the checkpoint. Raises OSError on a full disk."""
        attempt = AttemptDir(self._attempt.path.parent / f"{self._launch.attempt + 1:03d}")
        orders.make(attempt, actions.order(self._spec, action, self._launch))
        if control.named(self._attempt, "stop"):  # it came too late for the attempt that it was meant for
            control.place(attempt, "stop", {"verb": "stop", "time": action.time})
        log = os.open(attempt.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, 2)
        os.close(log)
        return attempt

    def ending(self, ending: Ending, step: int) -> Ending:
        """The end of the attempt with the rule named, where it was a rule that ended it; else its action was none."""
        if self.asked is None or ending.cause not in ("rule", "rollback"):
            self.asked = None
            return ending
        self.asked = dataclasses.replace(self.asked, action="stop", step=step)
        if ending.cause == "rollback" and control.named(self._attempt, "stop"):
            message = f"stopped on request, while rule {self.asked.rule} asked for a rollback: {self.asked.message}."
            self.asked = None
            return Ending("stopped", "user", message, "resume_run goes back first, as the plan has it.")
        if ending.cause == "rollback":
            message = f"rule {self.asked.rule} asked for a rollback at step {step}, and no older checkpoint verifies"
            return Ending("stopped", "rule", f"{message}: {self.asked.message}.", "Plan a new run, or resume this one.")
        message = f"Stopped by rule {self.asked.rule} at step {step}: {self.asked.message}."
        return dataclasses.replace(ending, message=message, way_out="Look at what it saw, then resume or plan anew.")


def _stops_before(attempt: AttemptDir) -> tuple[Action, ...]:
    """Stops of earlier attempts, as the newest of their last statuses has them."""
    for number in range(attempt.number - 1, 0, -1):
        try:
            path = AttemptDir(attempt.path.with_name(f"{number:03d}")).final
            found = codec.loads(Status, rundir.read(path), path.name)
        except (OSError, FormatError):
            continue
        return tuple(action for action in found.actions if action.action == "stop")
    return ()


def went_back(action: Action) -> Ending:
    """The end of the attempt that is left."""
    message = f"rule {action.rule} at step {action.first_step}: the next attempt continues from step {action.step}."
    return Ending("stopped", "rollback", message, "Nothing to do: it goes on by itself; resume_run if it does not.")
