"""Why a command that trains ended badly: the exception that came first in the processes below, else what it printed.

A launcher that says only that one of its processes failed is not the cause. Not covered: a signal that ended the
command itself, which its exit code tells.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from . import failure, redact, rundir
from .contract import Failure, Spec
from .ending import signal_name
from .errors import FormatError
from .logfile import last_line
from .reaching import LAUNCHERS
from .reporter import Reporter
from .user_model import is_user_file

RECENT_SECONDS = 120.0
"""Exceptions older than this when the command ends are those of earlier processes that it got over."""
TAIL = 1 << 18
"""Bytes of the output's end that are searched for a traceback."""
WAY_OUT = "Correct the code at the place named, then start again."
_START = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s+File "(.+?)", line (\d+)')
_ERROR = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Failure|Timeout)\w*)(?::\s?(.*))?$")
_RANK = re.compile(r"^\[(?:default|rank)?(\d+)\]:\s?")
_LAUNCHER_FRAMES = (
    "torch/distributed/",
    "accelerate/commands/",
    "deepspeed/launcher/",
    "torch/multiprocessing/spawn.py",
)


def find(told: list[Failure], code: int, spec: Spec, reporter: Reporter, step: int) -> Failure:
    """The one account of the end. `told`: what processes left, oldest first; `code`: the command's exit code."""
    recent = [one for one in told if time.time() - one.time < RECENT_SECONDS]
    own = [one for one in recent if one.error not in LAUNCHERS]
    printed = _printed(reporter, spec) if not own else []
    launchers = [one for one in recent if one.error in LAUNCHERS]
    first = next(iter([*own, *printed, *launchers]), None)
    if first is None:
        first = _of_code(code, reporter)
    elif "terminated with the following error" in first.message:  # torch.multiprocessing.spawn: the cause is text in it
        first = _unwrapped(first, spec)
    return replace(first, step=max(step, first.step), elapsed=reporter.elapsed())


def tracebacks(text: str, project: Path) -> list[tuple[str, str, str, str]]:
    """(error, message, file:line of the innermost frame of the project, rank) of each traceback in a text."""
    lanes: dict[str, list[str]] = {}
    for line in text.splitlines():
        rank = _RANK.match(line)
        lanes.setdefault(rank[1] if rank else "", []).append(line[rank.end() :] if rank else line)
    return [(*one, rank) for rank, lines in lanes.items() for one in _in_lane(lines, project)]


def _in_lane(lines: list[str], project: Path) -> Iterable[tuple[str, str, str]]:
    inside, where, last, own = False, "", "", False
    for line in lines:
        frame = _FRAME.match(line) if inside else None
        error = _ERROR.match(line) if inside else None
        if line.strip() == _START:
            inside, where, last, own = True, "", "", False
        elif frame:
            last = f"{_relative(frame[1], project)}:{frame[2]}"
            if is_user_file(str(project / frame[1]), project):
                where, own = last, True
        elif error and last:
            inside = False
            yield error[1].rpartition(".")[2], error[2] or "", where if own else last


def _relative(name: str, project: Path) -> str:
    path = Path(name)
    root = project.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else name


def _printed(reporter: Reporter, spec: Spec) -> list[Failure]:
    """The first cause among the tracebacks at the end of the output; those of launchers are none."""
    try:
        text = rundir.read(reporter.attempt.worker_log, TAIL, tail=True).decode("utf-8", "replace")
    except (OSError, FormatError):
        return []
    found = [
        one for one in tracebacks(text, Path(spec.project_dir)) if one[0] not in LAUNCHERS and not _outside(one[2])
    ]
    return [_failure(*one, spec) for one in found[-1:]]


def _outside(where: str) -> bool:
    return any(part in where for part in _LAUNCHER_FRAMES)


def _failure(error: str, message: str, where: str, rank: str, spec: Spec) -> Failure:
    cause, way_out = failure.told_by(f"{error}: {message}", spec)
    words = redact.text(f"rank {rank}: {message}" if rank else message, redact.values())[:1000]
    return Failure(time.time(), 0.0, 0, cause, error, words, way_out or WAY_OUT, where, "")


def _unwrapped(told: Failure, spec: Spec) -> Failure:
    project = Path(spec.project_dir)
    found = tracebacks(told.traceback, project) or tracebacks(told.message, project)
    if not found:
        return told
    error, message, where, _ = found[-1]
    return replace(told, error=error, message=message, where=where)


def _of_code(code: int, reporter: Reporter) -> Failure:
    """From the exit code alone; a shell reports a signal as 128 and its number."""
    said = last_line(reporter.attempt.worker_log)
    words = f" Its last words: {said}" if said else ""
    way_out = "Look at the end of worker.log."
    if 128 < code < 128 + 65:
        message = f"a process of the command was ended by {signal_name(code - 128)} (exit code {code}).{words}"
        return Failure(time.time(), 0.0, 0, "signal", f"exit code {code}", message, way_out, "", "")
    message = f"the command ended with exit code {code}.{words}"
    return Failure(time.time(), 0.0, 0, "exited_early", f"exit code {code}", message, way_out, "", "")
