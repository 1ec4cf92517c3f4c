"""What the status says of an attempt as such: state, cause and words, moved along the table of `states.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import codec, control, manifest, oom, rundir
from .contract import SCRIPT, Launch, Spec, Status
from .ending import Ending, of_script
from .rundir import RunDir
from .states import check_move
from .statusfile import StatusFile


class Bulletin:
    """One per supervised attempt; the only one that replaces `status.json`."""

    def __init__(self, run: RunDir, spec: Spec, launch: Launch, say: Callable[[str], None]) -> None:
        self._spec, self._launch, self._say = spec, launch, say
        self._file = StatusFile(run, say)
        self._attempt = run.attempt(launch.attempt)
        self._start, self._started = time.monotonic(), time.time()
        self.state, self.message, self.way_out, self.where = "queued", "", "", ""
        self.cause: str | None = None
        self.due = True
        """Whether something happened that is to be told at once."""
        self.written_at = 0.0
        """Monotonic clock of the newest replacement."""

    def move(self, to: str, message: str = "") -> None:
        """Goes to another state; an illegal move raises TransitionError."""
        if to != self.state:
            check_move(self.state, to)
            self.state, self.message, self.due = to, message, True
            self._say(f"state: {to}")

    def tell(self, message: str) -> None:
        """Something new in the same state."""
        self.message, self.due = message, True

    def end(self, ending: Ending) -> None:
        """The final state."""
        if ending.cause == "oom" and not ending.way_out:  # the kernel's killer: it watches the host's memory
            ending = replace(ending, way_out=oom.way_out(self._spec.config, device=False))
        saved = manifest.list_checkpoints(Path(self._spec.checkpoint_dir))  # by a script that asks for it
        if self._spec.config.framework == SCRIPT and not saved:
            ending = of_script(ending)
        self.move(ending.state, ending.message)
        self.cause, self.where, self.way_out = ending.cause, ending.where, ending.way_out
        if ending.cause == "user":
            self.message = f"{ending.message} It was asked for by {control.asked_by(self._attempt)}."
        self._say(f"{self.cause}: {self.message}")

    @property
    def unwritable(self) -> bool:
        """Whether the file system is read-only or fails."""
        return self._file.broken

    def release(self) -> None:
        """Gives the disk's reserve back, for the last words."""
        self._file.release()

    def write(self, status: Status) -> bool:
        """Replaces the file; False when that failed."""
        self.written_at, self.due = time.monotonic(), False
        return self._file.write(status)

    def leave(self, path: Path, status: Status) -> None:
        """Writes the attempt's last status as a whole, once: the recorder reads it as soon as it is there."""
        if path.exists():
            self._say(f"{path.name} is there already")
            return
        try:
            rundir.replace(path, codec.dumps(status, indent=1).encode("utf-8", "replace"))
        except OSError as error:
            self._say(f"{path.name} cannot be written: {error}")

    def status(self, ended: float | None, earlier_seconds: float, **fields: Any) -> Status:
        """The status as it is now; `fields` are all those that are not about the attempt as such."""
        if ended is not None:
            fields["eta_seconds"] = None
        return Status(
            run=self._spec.config.run_name,
            attempt=self._launch.attempt,
            state=self.state,
            revision=self._file.revision + 1,
            updated=time.time(),
            started=self._started,
            ended=ended,
            cause=self.cause,
            message=self.message,
            way_out=self.way_out,
            where=self.where,
            elapsed=earlier_seconds + time.monotonic() - self._start,
            resumed_from=self._launch.resume_step,
            **fields,
        )
