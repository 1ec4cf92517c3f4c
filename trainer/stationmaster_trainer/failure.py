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
SHARED_FULL = (
    "The shared memory of the machine (/dev/shm) was full: give the container more (--shm-size), or use fewer "
    "data-loader processes (num_workers). Then resume."
)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED|can(?:'t|not) allocate memory|not enough memory"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED|is killed by signal: Killed",
    re.IGNORECASE,
)
"""Wordings of torch, CUDA and XLA; the last is torch's, for a data-loader process that the kernel killed."""
_SHARED = re.compile(r"out of shared memory|unable to (?:write to file|open shared memory object) </torch_")
"""Of torch, where processes of a data loader hand over batches in /dev/shm: a file system, but no disk."""
_DEVICE = re.compile(r"CUDA|HIP|CUBLAS|CUDNN|CUSOLVER|CUSPARSE|MPS backend", re.IGNORECASE)
"""What stands in the words of a device's allocator."""
_ANY_DEVICE = re.compile(r"RESOURCE_EXHAUSTED|XLA", re.IGNORECASE)
"""XLA's, whose wording is the same on a CPU."""
_HOST = re.compile(r"\w*(?<!OutOf)MemoryError\b|CPUAllocator|\[Errno 12\]|Cannot allocate memory")
"""What stands in those of the host's."""
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
        if isinstance(link, MemoryError) or _enomem(link) or "OutOfMemory" in type(link).__name__:
            return "oom"
        if not isinstance(link, StationmasterError) and (told := cause_in(str(link))) != "exception":
            return told
    return "exception"


def cause_in(words: str) -> str:
    """The same by the words of an exception alone."""
    if _SHARED.search(words):
        return "oom"
    if _DISK_FULL.search(words):
        return "disk_full"
    return "oom" if _OUT_OF_MEMORY.search(words) else "exception"


def told_by(words: str, spec: Spec) -> tuple[str, str]:
    """Cause and way out of an exception that another process printed as `Error: message`; no way out for its code."""
    cause = "oom" if _HOST.match(words) else cause_in(words)
    return cause, _way_out_of(words, cause, spec)


def _way_out(error: BaseException, cause: str, spec: Spec) -> str:
    if isinstance(error, StationmasterError) and error.way_out:
        return error.way_out
    words = " ".join(f"{type(link).__name__}: {link}" for link in _chain(error))
    return _way_out_of(words, cause, spec) or "Correct the code at the place named, then resume or start again."


def _way_out_of(words: str, cause: str, spec: Spec) -> str:
    if cause == "oom" and _SHARED.search(words):
        return SHARED_FULL
    if cause == "oom":
        return oom.way_out(spec.config, device=_of_device(words, spec))
    if cause == "disk_full":
        return f"Free space on the disk of {spec.project_dir} ({_free(spec.project_dir)} are free), then resume."
    return DISK_ERROR if cause == "disk_error" else ""


def _of_device(words: str, spec: Spec) -> bool:
    """Whether it was the memory of a device, and not the host's."""
    if _HOST.search(words):
        return False
    trained_on = spec.facts.device if spec.config.device == "auto" else spec.config.device
    xla = _ANY_DEVICE.search(words) is not None and not trained_on.startswith("cpu")
    return xla or _DEVICE.search(words) is not None


def _enomem(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOMEM


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
