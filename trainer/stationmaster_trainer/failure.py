"""From an exception to a `Failure` record: its cause, the place in the user's code, a short traceback, the way out."""

from __future__ import annotations

import errno
import re
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from . import oom, redact
from .contract import Failure, Spec
from .ending import DISK_ERROR
from .errors import StationmasterError
from .user_model import is_user_file, place

MAX_TRACEBACK = 4000
"""Characters of a traceback in a record."""
MAX_MESSAGE = 1000
_OUT_OF_MEMORY = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|is killed by signal: Killed",
    re.IGNORECASE,
)
"""Wordings of torch, CUDA and XLA; the last is torch's, for a data-loader process that the kernel killed."""
_DEVICE = re.compile(r"CUDA|HIP|CUBLAS|MPS backend|RESOURCE_EXHAUSTED|XLA", re.IGNORECASE)
"""What stands in the words of a device's allocator; the host's own is a MemoryError, or speaks of `CPUAllocator`."""
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|\bENOSPC\b")


def describe(error: BaseException, spec: Spec, *, step: int, elapsed: float) -> Failure:
    """The record of an exception that ended the training. Its message and traceback are the user's text: untrusted."""
    project = Path(spec.project_dir)
    cause = cause_of(error)
    message = error.message if isinstance(error, StationmasterError) else str(error)
    return Failure(
        time=time.time(),
        elapsed=elapsed,
        step=step,
        cause=cause,
        error=type(error).__name__,
        message=_capped(message, MAX_MESSAGE),
        way_out=_way_out(error, cause, spec),
        where=where(error, project),
        traceback=trimmed(error, project),
    )


def cause_of(error: BaseException) -> str:
    """A key of `states.CAUSES`, by the type and text of the exception or of one that it came from."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return "disk_full"
        if isinstance(link, OSError) and link.errno in (errno.EROFS, errno.EIO):
            return "disk_error"
        if isinstance(link, MemoryError) or "OutOfMemory" in type(link).__name__:
            return "oom"
        if isinstance(link, StationmasterError):
            continue
        if _DISK_FULL.search(str(link)):
            return "disk_full"
        if _OUT_OF_MEMORY.search(str(link)):
            return "oom"
    return "exception"


def _way_out(error: BaseException, cause: str, spec: Spec) -> str:
    if isinstance(error, StationmasterError) and error.way_out:
        return error.way_out
    if cause == "oom":
        return oom.way_out(spec.config, device=_of_device(error))
    if cause == "disk_full":
        return f"Free space on the disk of {spec.project_dir} ({_free(spec.project_dir)} are free), then resume."
    if cause == "disk_error":
        return DISK_ERROR
    return "Correct the code at the place named, then resume or start again."


def _of_device(error: BaseException) -> bool:
    """Whether it was the memory of a device, and not the host's."""
    words = " ".join(f"{type(link).__name__}: {link}" for link in _chain(error))
    host = "CPUAllocator" in words or any(isinstance(link, MemoryError) for link in _chain(error))
    return not host and _DEVICE.search(words) is not None


def where(error: BaseException, project: Path) -> str:
    """The innermost frame of the user's code in the exception, or else in one that it came from."""
    for link in _chain(error):
        frames = traceback.extract_tb(link.__traceback__)
        if isinstance(link, SyntaxError) or any(is_user_file(frame.filename, project) for frame in frames):
            return place(link, project)
    return place(error, project)


def trimmed(error: BaseException, project: Path) -> str:
    """The traceback with the user's frames only (where there are none, the last three), capped."""
    lines: list[str] = []
    for link in _chain(error):
        frames = traceback.extract_tb(link.__traceback__)
        own = [frame for frame in frames if is_user_file(frame.filename, project)] or list(frames)[-3:]
        if lines:
            lines.append("Raised from:\n")
        for frame in own:
            name = _relative(frame.filename, project)
            lines.append(f"  {name}:{frame.lineno} in {frame.name}: {frame.line or ''}\n")
        lines.extend(traceback.format_exception_only(type(link), link))
    return _capped("".join(lines), MAX_TRACEBACK)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised from, at most ten."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _relative(filename: str, project: Path) -> str:
    path = Path(filename)
    for root in (project.resolve(), Path(sys.prefix), Path(__file__).parents[1]):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return filename


def _capped(text: str, limit: int) -> str:
    """Without secrets; start and end of a text that is too long."""
    text = redact.text(text, redact.values())
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]}\n…\n{text[-half:]}"


def _free(folder: str) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB"
    except OSError:
        return "an unknown number of bytes"
