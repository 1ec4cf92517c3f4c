"""The one place that knows every file name of a run folder, and how a file there is replaced. Who writes what:
trainer/README.md."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import FormatError

RUNS = "runs"
"""Folder of all runs, below the project."""
MAX_BYTES = 4 << 20
"""Bytes of the largest file that `read` takes unless told otherwise: specs, statuses, orders, cursors."""


@dataclass(frozen=True)
class AttemptDir:
    """`attempts/<nnn>/`: one start or resume of a run."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def launch(self) -> Path:
        return self.path / "launch.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def diff(self) -> Path:
        """What differed from the commit, secrets removed."""
        return self.path / "dirty.diff"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def stream(self) -> Path:
        return self.path / "stream.jsonl"

    @property
    def alerts(self) -> Path:
        return self.path / "alerts.jsonl"

    @property
    def final(self) -> Path:
        """The attempt's last status, written once by its supervisor."""
        return self.path / "final.json"

    @property
    def worker_log(self) -> Path:
        return self.path / "worker.log"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def recorder_log(self) -> Path:
        return self.path / "recorder.log"

    @property
    def told(self) -> Path:
        """What processes below the worker tell, for a script that runs as it is: one writer a file (`messenger.py`)."""
        return self.path / "told"

    @property
    def stacks(self) -> Path:
        """Stack dumps of the worker (faulthandler), appended on SIGUSR1."""
        return self.path / "stacks.txt"


@dataclass(frozen=True)
class RunDir:
    """`<project>/runs/<run_name>/`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def checklist(self) -> Path:
        return self.path / "checklist.json"

    @property
    def seal(self) -> Path:
        """The server's word that it made this folder: hashes of what runs in it, under a key of the person's."""
        return self.path / "seal.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def lock(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def lib(self) -> Path:
        return self.path / "lib"

    @property
    def metrics_csv(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def metrics_jsonl(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def wandb(self) -> Path:
        return self.path / "wandb"

    @property
    def wandb_run(self) -> Path:
        """Which W&B run this is: it stays the same over all attempts."""
        return self.path / "wandb.json"

    @property
    def trackio(self) -> Path:
        return self.path / "trackio"

    @property
    def recorder(self) -> Path:
        """The recorder's cursor: per logger, attempt and byte offset written so far, and its state."""
        return self.path / "recorder.json"

    @property
    def recorder_lock(self) -> Path:
        """Held by the recorder: one at a time writes the files of the loggers."""
        return self.path / "recorder.lock"

    @property
    def reserve(self) -> Path:
        """Room that the supervisor gives back when the disk is full, so that the last status can still be written."""
        return self.path / ".reserve"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    @property
    def picture(self) -> Path:
        """The loss curves beside the report."""
        return self.path / "report.svg"

    @property
    def evaluations(self) -> Path:
        """`<n>.request.json`, `<n>.begun`, `<n>.json` and `<n>.log` of each evaluation on a test set."""
        return self.path / "evaluations"

    def attempt(self, number: int) -> AttemptDir:
        return AttemptDir(self.path / "attempts" / f"{number:03d}")

    def attempts(self) -> list[AttemptDir]:
        """Every attempt, oldest first."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.path / "attempts") if entry.name.isdigit())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [AttemptDir(self.path / "attempts" / name) for name in names]


def identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode: tells a folder from a later one of the same name; None when there is none."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read(path: Path, most: int = MAX_BYTES, *, tail: bool = False) -> bytes:
    """A plain file's content of at most `most` bytes, or with `tail` its last `most` bytes. Never waits for a FIFO.

    Raises OSError for what cannot be opened, FormatError for what is no plain file, or longer without `tail`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{path} is not a plain file", "Something replaced it; move it away.")
        if found.st_size > most and not tail:
            raise FormatError(f"{path} is longer than {most} bytes")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(max(0, found.st_size - most))
            return file.read(most)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file as a whole: temporary file beside it, fsync, rename, fsync of the folder. Readers see old
    or new, never half."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    sync_folder(path.parent)


def create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a file that must not exist yet (FileExistsError), fsynced. Readers see all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        _name(temporary, path)
    finally:
        os.unlink(temporary)
    sync_folder(path.parent)


def _name(temporary: str, path: Path) -> None:
    """Gives a complete file its name, which must be free; where the file system has no hard links, not at once."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, os.stat(temporary).st_mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Path(temporary).read_bytes())
            file.flush()
            os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """fsync of a folder, so that a rename in it survives a power loss; silently nothing where folders cannot be
    opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, AttributeError):
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
