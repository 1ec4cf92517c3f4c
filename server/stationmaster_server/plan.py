"""The plan of a project, `<project>/.stationmaster/plan.json`: what was decided at each gate, by whom and when.

Replaced as a whole, read and written under one lock per project, so that two servers agree, and sealed, so that no
project brings decisions with it. A plan that is damaged, or not as this installation wrote it, is set aside under a new
name and said; decisions are asked again then, never guessed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stationmaster_trainer import codec, rundir
from stationmaster_trainer.contract import FORMAT, DataFacts, TrainingConfig
from stationmaster_trainer.errors import FormatError, RunError
from stationmaster_trainer.facts import Finding, ModelFacts, SmokeFacts, SplitFacts

from . import seal

FOLDER = ".stationmaster"
MAX_BYTES = 4 << 20
"""Bytes of the largest plan that is read."""
SEAL = "seal"
"""Key of the file under which its seal stands."""
LOCK_SECONDS = 50.0
"""How long a call waits for another one that is deciding on the same project."""

ASSISTANT = "assistant"
ELICITED = "person (elicitation)"
TERMINAL = "person (terminal)"


@dataclass(frozen=True)
class Logging:
    """The logging gate's decision."""

    backends: tuple[str, ...]
    by: str
    time: float


@dataclass(frozen=True)
class Validation:
    """The validation gate's decision and what was counted for it."""

    val_data: str
    """As in the configuration: a path, `split`, `build_data`, or `none` (waived)."""
    config: dict[str, Any]
    """The keys of the configuration that the split was measured with."""
    facts: SplitFacts
    by: str
    time: float
    waive_reason: str = ""
    notes: tuple[str, ...] = ()
    """Which data and model file were taken, and why."""
    key: str = ""
    """Hash over everything that `facts` follows from; another key means: measure again."""


@dataclass(frozen=True)
class Model:
    """What was measured about the model, and the hash over what it follows from."""

    facts: ModelFacts
    key: str
    batch: int = 0
    """Batch that it was measured with."""
    fits: int | None = None
    """That batch, where a larger one did not fit in memory."""


@dataclass(frozen=True)
class Smoke:
    """A smoke test and what it was of."""

    facts: SmokeFacts
    basis: dict[str, str]
    """Hash of each key of the configuration that matters, of the model file, the data and the Python."""
    time: float


@dataclass(frozen=True)
class Proposal:
    """The configuration that was last shown."""

    config: TrainingConfig
    facts: DataFacts
    digest: str
    parts: dict[str, str]
    """What the digest is made of, hashed one by one: `configuration`, `model file`, `data`, `python`, `command`."""
    python: str
    """Interpreter that will train."""
    yaml: str
    """The configuration as it was shown."""
    findings: tuple[Finding, ...]
    summary: str
    """The essentials in one or two lines, for the question to the person."""
    by: str
    time: float
    signature: str = ""
    """Names, sizes and times of the data files; unchanged means that their content need not be read again."""
    smoke: Smoke | None = None
    """The smoke test of this configuration, as a part of what is confirmed."""


@dataclass(frozen=True)
class Approval:
    """A yes to one digest."""

    digest: str
    by: str
    time: float
    seal: str = ""
    """Of a person's own yes: this installation wrote it (`seal.py`); without, it is nobody's."""


@dataclass(frozen=True)
class Plan:
    """Everything decided for a project so far."""

    id: str = ""
    revision: int = 0
    logging: Logging | None = None
    validation: Validation | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    """What the person changed from the defaults, by key."""
    model: Model | None = None
    smoke: Smoke | None = None
    """The last smoke test, of whatever configuration."""
    proposal: Proposal | None = None
    stale: str = ""
    """What was decided anew since the proposal was shown; empty while it stands."""
    approvals: tuple[Approval, ...] = ()
    """The last twenty."""
    shown: dict[str, dict[str, str]] = field(default_factory=dict)
    """Digest → parts of the last twenty proposals, to name what changed."""
    run_name: str = ""
    """Name kept for the next run, so that showing the configuration again does not change it."""
    notice: str = ""
    """Said with every answer until the configuration is shown again: a damaged plan was set aside."""
    format: int = FORMAT


@contextmanager
def locked(project: Path, wait_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the project's lock, so that decisions and starts happen one after the other, over all servers.

    Raises RunError when another call holds it for longer than `wait_seconds`, or when the folder cannot be written.
    """
    path = _folder(project) / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        _acquire(descriptor, project, time.monotonic() + wait_seconds)
        yield
    finally:
        os.close(descriptor)


def load(project: Path) -> Plan:
    """The plan, a new one where there is none. To be called under `locked`.

    A plan that cannot be read is renamed, and the new plan's `notice` says so. FormatError for one of a newer version.
    """
    path = _folder(project) / "plan.json"
    try:
        text = _read(path)
        return _parse(text, path)
    except FileNotFoundError:
        return Plan(id=secrets.token_hex(4))
    except _NewerError as error:
        raise FormatError(str(error), "Update stationmaster.") from None
    except (OSError, ValueError, FormatError) as error:
        return Plan(id=secrets.token_hex(4), notice=_set_aside(path, error))


def save(project: Path, plan: Plan) -> Plan:
    """Replaces the plan's file; returns the plan with its new revision. RunError when that cannot be done."""
    plan = replace(plan, revision=plan.revision + 1)
    path = _folder(project) / "plan.json"
    plain = json.loads(codec.dumps(plan).encode("utf-8", "replace"))
    sealed = {**plain, SEAL: seal.sign(*_whole(plain))}
    try:
        rundir.replace(path, codec.dumps(sealed, indent=1).encode())
    except OSError as error:
        raise _unwritable(path, error) from None
    return plan


def approved(plan: Plan, digest: str) -> Approval | None:
    """The newest yes to this digest; one that claims to be a person's and was not written here does not count."""
    return next((found for found in reversed(plan.approvals) if found.digest == digest and _genuine(plan, found)), None)


def with_approval(plan: Plan, digest: str, by: str) -> Plan:
    """The plan with one more yes. RunError when a person's yes cannot be sealed."""
    sealed = "" if by == ASSISTANT else seal.sign(*_words(plan, digest, by))
    return replace(plan, approvals=(*plan.approvals[-19:], Approval(digest, by, time.time(), sealed)))


def _genuine(plan: Plan, found: Approval) -> bool:
    return found.by == ASSISTANT or seal.valid(found.seal, *_words(plan, found.digest, found.by))


def _words(plan: Plan, digest: str, by: str) -> tuple[str, ...]:
    """What is sealed: the yes of one kind, to one digest, in one plan."""
    return ("approval", plan.id, digest, by)


def with_proposal(plan: Plan, proposal: Proposal) -> Plan:
    """The plan after a configuration was shown."""
    shown = dict([*plan.shown.items()][-19:])
    shown[proposal.digest] = proposal.parts
    return replace(plan, proposal=proposal, stale="", shown=shown, notice="")


def _folder(project: Path) -> Path:
    path = project / FOLDER
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RunError(f"{path} is not a folder of its own.", "Move it away; stationmaster keeps its plan there.")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        ignore = path / ".gitignore"
        if not ignore.exists():
            with suppress(FileExistsError):
                rundir.create(ignore, b"*\n")
    except OSError as error:
        raise _unwritable(path, error) from None
    return path


def _acquire(descriptor: int, project: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunError(
                    f"another call has been deciding on {project} for {LOCK_SECONDS:g} s.", "Try again in a moment."
                ) from None
            time.sleep(0.02)


class _NewerError(Exception):
    pass


def _parse(text: bytes, path: Path) -> Plan:
    plain = codec.parsed(text, str(path))
    version = plain.get("format", FORMAT) if isinstance(plain, dict) else FORMAT
    if isinstance(version, int) and version > FORMAT:
        raise _NewerError(f"{path} has format {version}, this program reads up to {FORMAT}.")
    found = codec.from_plain(Plan, plain, str(path))
    if not seal.valid(str(plain.pop(SEAL, "")), *_whole(plain)):
        raise ValueError("it is not as this installation wrote it")
    return found


def _whole(plain: dict[str, Any]) -> tuple[str, str]:
    """What is sealed: every decision, with what was shown for it."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return "plan", hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> bytes:
    """The file's bytes; OSError or ValueError when it is no plain file (nothing is waited for) or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a plain file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return data


def _set_aside(path: Path, error: Exception) -> str:
    name = f"plan.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.json"
    try:
        path.rename(path.with_name(name))
    except OSError as problem:
        raise _unwritable(path, problem) from None
    reason = str(getattr(error, "message", None) or getattr(error, "strerror", None) or error)[:200]
    return f"The plan could not be read ({reason}); it was set aside as {FOLDER}/{name}, so the gates are open again."


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path} cannot be written: {error.strerror or error}.", "Check its permissions and the free space."
    )
