"""Decides how an attempt ended, from the worker's records, its exit status and what this run itself asked for."""

from __future__ import annotations

import errno
import re
import signal
from dataclasses import dataclass, replace

from .contract import Failure, Finished
from .states import CAUSES

SUCCESSES = ("completed", "early_stopping", "script_ended")
EXIT_DISK_FULL, EXIT_DISK_ERROR = errno.ENOSPC, errno.EROFS
"""Exit codes of a worker that could not even write its failure record."""
SCRIPT_AGAIN = "Start it anew with propose_config; if it can continue by itself, name its option in script_args."
DISK_ERROR = "Look at the disk (dmesg names the fault); once it can be written again, resume."


@dataclass(frozen=True)
class Ending:
    """The final part of a status."""

    state: str
    cause: str
    message: str
    way_out: str = ""
    where: str = ""


def decide(
    exit_code: int,
    finished: Finished | None,
    failure: Failure | None,
    *,
    stop_cause: str | None = None,
    killed: bool = False,
    oom_evidence: str = "",
    peak_bytes: int = 0,
    last_words: str = "",
) -> Ending:
    """The one true ending.

    `exit_code` is negative for a signal; `stop_cause` is set when a stop was asked for; `killed` when this run sent
    SIGKILL; `last_words` is the last line of the worker's output (untrusted).
    """
    if finished is not None:
        return of_finished(finished)
    if failure is not None:
        return _of_failure(failure, oom_evidence)
    if stop_cause is not None and exit_code < 0:
        how = "killed" if killed else f"ended by {signal_name(-exit_code)}"
        message = f"It did not stop by itself in time and was {how}: steps after the newest checkpoint are lost."
        return Ending("stopped", stop_cause, message, "Resume from the newest checkpoint.")
    if exit_code < 0:
        return _of_signal(-exit_code, oom_evidence, peak_bytes)
    if exit_code == EXIT_DISK_FULL:
        message = "No space left on the device: not even the log could be written."
        return Ending("failed", "disk_full", message, "Free space on the disk of the project, then resume.")
    if exit_code == EXIT_DISK_ERROR:
        message = "The file system of the run cannot be written any more: not even the log could."
        return Ending("failed", "disk_error", message, DISK_ERROR)
    said = f" Its last words: {last_words}" if last_words else ""
    return Ending(
        "failed",
        "exited_early",
        f"The worker ended with exit code {exit_code} and without its finished record.{said}",
        "Look for sys.exit() or os._exit() in the training code, and at the end of worker.log.",
    )


def of_finished(finished: Finished) -> Ending:
    """From the worker's own last record."""
    if finished.reason == "script_ended":
        seen = f"{finished.step} optimizer steps were seen"
        return Ending("succeeded", finished.reason, f"{CAUSES[finished.reason]}; {seen}.")
    if finished.reason in SUCCESSES:
        return Ending("succeeded", finished.reason, f"{CAUSES[finished.reason]} (step {finished.step}).")
    if finished.reason in CAUSES:
        return Ending("stopped", finished.reason, f"{CAUSES[finished.reason]} (step {finished.step}).")
    return Ending("failed", "exited_early", f"the worker gave an unknown reason for its end: {finished.reason!r}")


def of_failure(failure: Failure) -> Ending:
    """From the worker's own account of an exception."""
    return _of_failure(failure, "")


def _of_failure(failure: Failure, oom_evidence: str) -> Ending:
    cause = failure.cause if failure.cause in CAUSES else "exception"
    message = f"{failure.error}: {failure.message}" if failure.message else failure.error
    if cause in ("exception", "signal") and oom_evidence:
        return Ending("failed", "oom", f"{message} ({oom_evidence})", "", failure.where)
    return Ending("failed", cause, message, failure.way_out, failure.where)


def _of_signal(number: int, oom_evidence: str, peak_bytes: int) -> Ending:
    name = signal_name(number)
    peak = f" Its peak of resident memory was {peak_bytes / 2**20:,.0f} MiB." if peak_bytes else ""
    if oom_evidence:
        message = f"Killed by the kernel's out-of-memory killer ({oom_evidence}).{peak}"
        return Ending("failed", "oom", message, "")
    message = f"The worker was killed by {name}, which this run did not send.{peak}"
    if number == signal.SIGKILL:
        way_out = "If nobody sent it, the host ran out of memory: see the kernel's log (dmesg). Resume when it is safe."
    elif number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        way_out = "A crash in native code: the end of worker.log holds the stack. Check the versions of the packages."
    else:
        way_out = "Resume from the newest checkpoint."
    return Ending("failed", "signal", message, way_out)


def of_script(ending: Ending) -> Ending:
    """The same for a script that runs as it is and has no checkpoint of ours, so that nothing can be resumed."""
    if ending.state == "succeeded":
        return ending
    message = ending.message.replace("steps after the newest checkpoint are lost", "what it had not saved is lost")
    parts = re.split(r"(?<=[.;])\s+", ending.way_out)
    kept = [part for part in parts if part and "resume" not in part.lower()]
    return replace(ending, message=message, way_out=" ".join([*kept, SCRIPT_AGAIN]))


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 63` where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
