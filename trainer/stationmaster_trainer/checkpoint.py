"""Saves checkpoints beside the training: snapshot on its thread, write on another, manifest last, rename, then prune.

Framework-neutral: an adapter hands over a `Snapshot` that knows how to write itself. A checkpoint folder is complete or
absent at every instant. Not covered: several ranks writing parts of one checkpoint.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import codec, manifest
from .contract import Checkpoint
from .errors import CheckpointError, FormatError
from .rundir import sync_folder

POSITION = "position.json"
RESERVE = 1 << 20
"""Bytes that must stay free beside a checkpoint, for the logs and the status."""


@dataclass(frozen=True)
class Snapshot:
    """A copy of the training state that no longer changes."""

    bytes: int
    """Size of the copied state, to compare with the free space."""
    write: Callable[[Path], None]
    """Writes its files into an existing folder; called on another thread."""


@dataclass(frozen=True)
class Label:
    """What a checkpoint says about itself."""

    step: int
    position: Mapping[str, Any]
    """Content of `position.json`: everything of the loop that a resume needs."""
    best: bool = False
    eval_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Saver:
    """Writes a run's checkpoints one at a time; keeps the best and the newest `keep`."""

    def __init__(
        self,
        directory: Path,
        project_dir: Path,
        keep: int,
        digest: str,
        report: Callable[[Checkpoint], None],
        elapsed: Callable[[], float],
    ) -> None:
        """`report` is called on the writing thread, once per complete checkpoint."""
        self.directory = directory
        self.best_step: int | None = None
        """Step of the best checkpoint, which is never pruned; set it after a resume."""
        self._project_dir = project_dir
        self._keep = max(1, keep)
        self._digest = digest
        self._report = report
        self._elapsed = elapsed
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def prepare(self) -> tuple[str, ...]:
        """Makes the folder and deletes what an interrupted save left; returns the names of that."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return manifest.sweep(self.directory)

    def save(self, label: Label, snapshot: Callable[[], Snapshot]) -> None:
        """Takes the snapshot now and writes it in the background. Waits for the one before, whose failure it raises.

        Raises CheckpointError, with OSError(ENOSPC) as its cause, when there is no room for it.
        """
        begun = time.perf_counter()
        self.wait()
        taken = snapshot()
        self._check_room(taken.bytes)
        if label.best:
            self.best_step = label.step
        stall = time.perf_counter() - begun
        self._thread = threading.Thread(target=self._run, args=(label, taken, begun, stall), name="checkpoint-writer")
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the writing thread failed; `wait` raises it."""
        return self._failure is not None

    def wait(self) -> None:
        """Waits for the checkpoint that is being written, and raises its failure."""
        self.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def close(self) -> None:
        """Waits for the checkpoint that is being written, so that its record comes before the run's last one."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, label: Label, snapshot: Snapshot, begun: float, stall: float) -> None:
        partial = self.directory / manifest.partial_name(label.step)
        try:
            final = self._write(label, snapshot, partial)
            seconds = time.perf_counter() - begun
            size = manifest.verify(final).total_bytes
            removed = self._prune(label.step)
            self._report(self._record(label, final, size, seconds, stall, removed))
        except BaseException as error:  # handed to the training thread, which raises it at its next step
            shutil.rmtree(partial, ignore_errors=True)
            self._failure = _explain(error, self.directory, snapshot.bytes)

    def _write(self, label: Label, snapshot: Snapshot, partial: Path) -> Path:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        snapshot.write(partial)
        (partial / POSITION).write_text(codec.dumps(dict(label.position), indent=1), encoding="utf-8")
        manifest.write(
            partial,
            label.step,
            eval_loss=label.eval_loss,
            metrics=label.metrics,
            best=label.best,
            digest=self._digest,
        )
        sync_folder(partial)
        final = self.directory / manifest.folder_name(label.step)
        if os.path.lexists(final):  # of an earlier attempt, which went further than what this one resumed from
            aside = self.directory / f".{final.name}.superseded"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(final, aside)
            os.rename(partial, final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(partial, final)
        sync_folder(self.directory)
        return final

    def _prune(self, newest: int) -> tuple[str, ...]:
        """Deletes older checkpoints beyond the newest `keep` and the best; called only after the new one verified."""
        older = [(step, path) for step, path in manifest.list_checkpoints(self.directory) if step <= newest]
        removed = []
        for step, path in older[: -self._keep]:
            if step == self.best_step:
                continue
            doomed = self.directory / f".{path.name}.removed"
            os.rename(path, doomed)  # a half-deleted folder must not look like a checkpoint
            shutil.rmtree(doomed, ignore_errors=True)
            removed.append(self._relative(path))
        return tuple(removed)

    def _check_room(self, needed: int) -> None:
        needed += RESERVE
        system = os.statvfs(self.directory)
        free = system.f_bavail * system.f_frsize
        if free < needed:
            raise _no_room(self.directory, needed, free) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _record(
        self, label: Label, final: Path, size: int, seconds: float, stall: float, removed: tuple[str, ...]
    ) -> Checkpoint:
        return Checkpoint(
            time=time.time(),
            elapsed=self._elapsed(),
            step=label.step,
            path=self._relative(final),
            bytes=size,
            seconds=seconds,
            stall_seconds=stall,
            best=label.best,
            eval_loss=label.eval_loss,
            metrics=dict(label.metrics),
            removed=removed,
        )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._project_dir)) if path.is_relative_to(self._project_dir) else str(path)


def read_position(folder: Path) -> dict[str, Any]:
    """`position.json` of a verified checkpoint. Raises CheckpointError."""
    try:
        plain = codec.parsed((folder / POSITION).read_bytes(), POSITION)
    except (OSError, FormatError) as error:
        raise CheckpointError(f"{folder / POSITION} cannot be read: {error}") from None
    if not isinstance(plain, dict):
        raise CheckpointError(f"{folder / POSITION} holds no object.")
    return plain


def _explain(error: BaseException, directory: Path, needed: int) -> BaseException:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        system = os.statvfs(directory)
        explained = _no_room(directory, needed + RESERVE, system.f_bavail * system.f_frsize)
        explained.__cause__ = error
        return explained
    return error


def _no_room(directory: Path, needed: int, free: int) -> CheckpointError:
    return CheckpointError(
        f"no room for a checkpoint: {needed:,} bytes are needed in {directory}, {free:,} are free.",
        f"Free at least {max(0, needed - free):,} bytes (or raise the quota), then resume.",
    )
