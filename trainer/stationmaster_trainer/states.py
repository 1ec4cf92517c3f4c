"""The states of a run, the moves between them, and the causes of an end. `lost` is never written, only derived
by a reader."""

from __future__ import annotations

from .errors import TransitionError

MOVES: dict[str, tuple[str, ...]] = {
    "queued": ("starting", "failed", "stopped"),
    "starting": ("running", "stopping", "succeeded", "failed", "stopped"),
    "running": ("paused", "stopping", "succeeded", "failed", "stopped"),
    "paused": ("running", "stopping", "succeeded", "failed", "stopped"),
    "stopping": ("succeeded", "failed", "stopped"),
    "succeeded": (),
    "failed": (),
    "stopped": (),
}
FINAL = frozenset(state for state, moves in MOVES.items() if not moves)
DERIVED = "lost"
"""Derived by a reader: the supervisor's lock is free and the state is not final."""

CAUSES: dict[str, str] = {
    "completed": "every planned step was done",
    "early_stopping": "the validation metric stopped improving for the confirmed patience",
    "script_ended": "the script ended by itself with exit code 0",
    "user": "stopped on request",
    "exception": "the training code raised an exception",
    "signal": "the worker was killed by a signal that this run did not send",
    "oom": "the host or the device ran out of memory",
    "hang": "no sign of life for longer than the learned time-out",
    "disk_full": "no space left on the device",
    "disk_error": "the file system became read-only, or its disk fails",
    "budget": "a limit of the confirmed plan was reached",
    "busy": "another run uses the device, and the plan refuses to share it",
    "rule": "a warning rule that the plan allows to act stopped the run",
    "rollback": "a warning rule that the plan allows to act took the run back to an earlier checkpoint",
    "exited_early": "the worker exited without finishing",
    "supervisor_gone": "the supervisor died; the worker saved and stopped itself",
    "run_folder_gone": "the run folder was deleted or replaced",
    "rebooted": "the machine restarted while the run was going",
}


def check_move(now: str, to: str) -> None:
    """Raises TransitionError unless the table has the move `now` → `to`; the message names the legal ones."""
    if now not in MOVES:
        raise TransitionError(f"unknown run state {now!r}", f"Known states: {', '.join(MOVES)}.")
    if to not in MOVES[now]:
        legal = ", ".join(MOVES[now]) or "none, it is final"
        raise TransitionError(f"a run cannot go from {now!r} to {to!r}", f"Legal from {now!r}: {legal}.")
