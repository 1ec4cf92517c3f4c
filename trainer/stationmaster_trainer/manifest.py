"""The manifest of a checkpoint: sizes and SHA-256 of its files, written last; whatever differs from it is refused.

Standard library only; the server uses it to choose what to resume from. It guards against partial writes and changed
bytes, not against somebody who rewrites files and manifest together.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import codec
from .errors import CheckpointError, FormatError
from .rundir import sync_folder

FORMAT = 1
"""Version of `manifest.json`. A larger one is refused by name."""
NAME = "manifest.json"
MAX_BYTES = 16 << 20
"""Bytes of the longest manifest that is read."""
CHUNK = 4 << 20
_FINAL = re.compile(r"checkpoint-(\d+)")
_OTHER = "The newest verified checkpoint is used instead, where there is one."


@dataclass(frozen=True)
class Entry:
    """One file of a checkpoint."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`."""

    step: int
    """Optimizer step that the checkpoint stands after."""
    files: dict[str, Entry]
    """File name → size and content hash; files of a sub-folder by their path (`model/_METADATA`)."""
    eval_loss: float | None = None
    """Validation loss at this step, when it was validated."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Further validation metrics at this step."""
    best: bool = False
    """Whether it was the best of its run when it was written."""
    digest: str = ""
    """Digest of the confirmed configuration (`Spec.digest`)."""
    time: float = 0.0
    """Wall clock of the writing."""
    format: int = FORMAT
    seal: str = ""
    """SHA-256 over the other fields, so that a changed manifest is seen too."""

    @property
    def total_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())


@dataclass(frozen=True)
class Rejected:
    """A checkpoint folder that cannot be resumed from."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Newest:
    """Result of `newest_verified`."""

    path: Path | None
    """The newest checkpoint whose every byte is as written; None when there is none."""
    step: int
    manifest: Manifest | None
    rejected: tuple[Rejected, ...] = ()
    """Newer checkpoints that failed the check, newest first, and the reason for each."""


def folder_name(step: int) -> str:
    """`checkpoint-<step>`, the name of a complete checkpoint."""
    return f"checkpoint-{step}"


def partial_name(step: int) -> str:
    """`.checkpoint-<step>.partial`, the name while it is being written."""
    return f".checkpoint-{step}.partial"


def write(
    folder: Path,
    step: int,
    *,
    eval_loss: float | None = None,
    metrics: dict[str, float] | None = None,
    best: bool = False,
    digest: str = "",
) -> Manifest:
    """Hashes and fsyncs every file of `folder`, then writes and fsyncs `manifest.json` as the last one."""
    files = {name: _seal_file(folder / name) for name in _names(folder) if name != NAME}
    plain = Manifest(step, files, eval_loss, dict(metrics or {}), best, digest, time.time())
    sealed = replace(plain, seal=_seal(plain))
    with open(folder / NAME, "wb") as file:
        file.write(codec.dumps(sealed, indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    return sealed


def read(folder: Path) -> Manifest:
    """Reads and checks `manifest.json` alone, not the files it names. Raises CheckpointError."""
    path = folder / NAME
    if not folder.is_dir():
        raise CheckpointError(f"the checkpoint {folder} does not exist or is not a folder.", _OTHER)
    descriptor = _open_regular(path, "the checkpoint was not written to its end")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CheckpointError(f"{path} is longer than any manifest ({MAX_BYTES} bytes).", _OTHER)
    try:
        plain = codec.parsed(data, NAME)
        version = plain.get("format", FORMAT)
        if isinstance(version, int) and version > FORMAT:
            raise CheckpointError(f"{path} has format {version}, known is {FORMAT}.", "Update stationmaster.")
        found = codec.from_plain(Manifest, plain, str(path))
    except (ValueError, AttributeError, FormatError) as error:
        raise CheckpointError(f"{path} is damaged: {error}", _OTHER) from None
    if found.seal != _seal(found):
        raise CheckpointError(f"{path} was changed since it was written.", _OTHER)
    return found


def verify(folder: Path) -> Manifest:
    """Compares every file with the manifest, size and SHA-256. CheckpointError names the file that differs."""
    found = read(folder)
    named = _FINAL.fullmatch(folder.name)
    if named and int(named[1]) != found.step:
        raise CheckpointError(f"{folder} holds step {found.step}: it was renamed.", _OTHER)
    for name, entry in found.files.items():
        if {"", ".", ".."} & set(name.split("/")):
            raise CheckpointError(f"{folder / NAME} names a file outside its folder: {name!r}.", _OTHER)
        path = folder / name
        descriptor = _open_regular(path, "it belongs to the checkpoint")
        size = os.fstat(descriptor).st_size
        if size != entry.bytes:  # before it is read: it may be as large as a disk
            os.close(descriptor)
            raise CheckpointError(f"{path} has {size} bytes, {entry.bytes} were written.", _OTHER)
        seen = _measure(descriptor)
        if seen != entry:
            raise CheckpointError(f"{path} was changed since it was written (SHA-256 differs).", _OTHER)
    return found


def list_checkpoints(checkpoint_dir: Path) -> list[tuple[int, Path]]:
    """Folders named `checkpoint-<step>` as (step, path), oldest first, unverified."""
    try:
        names = [entry.name for entry in os.scandir(checkpoint_dir)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = sorted((int(match[1]), name) for name in names if (match := _FINAL.fullmatch(name)))
    return [(step, checkpoint_dir / name) for step, name in steps]


def newest_verified(checkpoint_dir: Path) -> Newest:
    """The newest checkpoint that verifies, and those newer ones that do not, with the reason."""
    rejected: list[Rejected] = []
    for step, path in reversed(list_checkpoints(checkpoint_dir)):
        try:
            return Newest(path, step, verify(path), tuple(rejected))
        except (CheckpointError, OSError) as error:
            reason = error.message if isinstance(error, CheckpointError) else f"{path} cannot be read: {error.strerror}"
            rejected.append(Rejected(path, reason))
    return Newest(None, 0, None, tuple(rejected))


def sweep(checkpoint_dir: Path) -> tuple[str, ...]:
    """Deletes what an interrupted save left (`.checkpoint-*`), returns the names. For the run's own worker only."""
    try:
        names = sorted(entry.name for entry in os.scandir(checkpoint_dir) if entry.name.startswith(".checkpoint-"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    for name in names:
        shutil.rmtree(checkpoint_dir / name, ignore_errors=True)
    return tuple(names)


def _seal(manifest: Manifest) -> str:
    plain: dict[str, Any] = {key: value for key, value in asdict(manifest).items() if key != "seal"}
    return hashlib.sha256(json.dumps(codec.to_plain(plain), sort_keys=True).encode()).hexdigest()


def _names(folder: Path, above: str = "") -> list[str]:
    """Paths of the files of a folder and its sub-folders, sorted; the sub-folders are fsynced on the way."""
    found: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            found += _names(folder / entry.name, f"{above}{entry.name}/")
            sync_folder(folder / entry.name)
        else:
            found.append(above + entry.name)
    return found


def _seal_file(path: Path) -> Entry:
    descriptor = _open_regular(path, "it cannot stand in a checkpoint")
    os.fsync(descriptor)
    return _measure(descriptor)


def _open_regular(path: Path, why: str) -> int:
    """Opens without following a link or waiting for a FIFO; CheckpointError when missing or no plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {why}.", _OTHER) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", _OTHER) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path} is not a plain file.", _OTHER)
    return descriptor


def _measure(descriptor: int) -> Entry:
    total, digest = 0, hashlib.sha256()
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            total += len(chunk)
            digest.update(chunk)
    return Entry(total, digest.hexdigest())
