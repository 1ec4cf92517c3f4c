"""The order of an attempt, `launch.json`, and the folder that it stands in: made as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import Any

from . import codec, rundir
from .contract import Launch
from .errors import FormatError
from .rundir import AttemptDir, RunDir


def read(attempt: AttemptDir) -> Launch:
    """The order. Raises OSError and FormatError."""
    return codec.loads(Launch, rundir.read(attempt.launch), str(attempt.launch))


def begun(attempt: AttemptDir) -> bool:
    """Whether a supervisor has started this attempt's worker, or was about to."""
    return attempt.worker_log.exists()


def taken(attempt: AttemptDir) -> bool:
    """Whether nobody may start this attempt any more: it has begun, or has ended while it waited."""
    return begun(attempt) or attempt.final.exists()


def changes(run: RunDir) -> dict[str, Any]:
    """Limits that the newest attempt's order changed; nothing when it cannot be read."""
    attempts = run.attempts()
    try:
        return dict(read(attempts[-1]).changes) if attempts else {}
    except (OSError, FormatError):
        return {}


def make(attempt: AttemptDir, launch: Launch) -> None:
    """Makes the attempt's folder as a whole; of several that do it at once, the first one's order stands."""
    parent = attempt.path.parent
    draft = AttemptDir(parent / f".{attempt.path.name}.{secrets.token_hex(6)}")
    draft.control.mkdir(mode=0o700, parents=True)
    draft.path.chmod(0o700)
    rundir.create(draft.launch, codec.dumps(launch, indent=1).encode())
    try:
        os.rename(draft.path, attempt.path)
        rundir.sync_folder(parent)
    except OSError:
        shutil.rmtree(draft.path, ignore_errors=True)
        if not attempt.path.is_dir():
            raise
        if not begun(attempt) and _differs(read(attempt), launch):  # the newer order counts
            rundir.replace(attempt.launch, codec.dumps(launch, indent=1).encode())


def _differs(one: Launch, other: Launch) -> bool:
    return (one.resume_from, one.changes, one.lease) != (other.resume_from, other.changes, other.lease)
