"""A measurement that outlives the call that ordered it: a process of its own, whose answer is kept by content.

Reading a model for the first time can take minutes (a GGUF file is dequantised once), a tool call must end within one.
Whoever asks again under the same key waits for the same process, also another server. One per project: another key ends
the one before. Not covered: a server that dies between starting the process and noting it; that one ends by itself.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stationmaster_trainer import codec, process, rundir
from stationmaster_trainer.contract import Identity
from stationmaster_trainer.errors import FormatError, NotYetError, RunError
from stationmaster_trainer.facts import Answer, Request
from stationmaster_trainer.logfile import cap, last_line

from . import measuring, trust
from .answer import clean, fence
from .children import TAIL, Ended
from .detach import spawn
from .words import duration

LONGEST = 1800.0
"""Seconds after which a measurement ends by itself."""
KEPT = 3600.0
"""Seconds that an answer is good for: after that the machine may be another (free memory, packages)."""
LOOK_SECONDS = 0.02
FILES = ("request", "answer", "process", "status", "log")


@dataclass(frozen=True)
class _Order:
    """One measurement by its key, and its files."""

    folder: Path
    name: str

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}.{suffix}"

    @property
    def identity(self) -> Identity | None:
        try:
            return codec.loads(Identity, rundir.read(self.path("process")), self.name)
        except (OSError, FormatError):
            return None

    @property
    def alive(self) -> bool:
        identity = self.identity
        return identity is not None and process.is_alive(identity)

    @property
    def age(self) -> float:
        """Seconds since it was ordered; infinite when it was not."""
        try:
            return max(0.0, time.time() - self.path("request").stat().st_mtime)
        except OSError:
            return math.inf

    def end(self) -> None:
        """Kills the process and what it started in its group."""
        identity = self.identity
        if identity is not None and process.is_alive(identity):
            os.killpg(identity.pid, signal.SIGKILL)  # its leader lives, so the group is its own

    def remove(self) -> None:
        self.end()
        for suffix in FILES:
            self.path(suffix).unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Deletes the folder that a preflight worked in; one that was killed left it."""
        shutil.rmtree(self.path("work"), ignore_errors=True)


def measure(
    request: Request, python: str, folder: Path, key: str, timeout: float, script: Path = measuring.SCRIPT
) -> Answer:
    """The answer to `request`, whose `key` stands for everything that it follows from; kept in `folder`.

    Raises NotYetError when it is not there after `timeout` seconds: the measurement goes on. Else what
    `measuring.measure` raises; an error is not kept. ConfigError for code of a model that no person has allowed.
    """
    config = request.config
    trust.require_remote_code(Path(request.project_dir), str(config.get("model_path") or ""), config.get("extra") or {})
    deadline = time.monotonic() + timeout
    order = _order(folder, request.what, key)
    try:
        # one that died without an answer is told first, whenever that was: only then it is begun anew
        if order.age > KEPT or not (order.identity is not None or order.path("answer").exists()):
            _begin(order, request, python, script)
        return _wait(order, request, python, deadline)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror}.", "Check its permissions and the space."
        ) from None


def forget(folder: Path, what: str, key: str) -> None:
    """Deletes an answer, so that the next one who asks begins anew."""
    _order(folder, what, key).remove()


def pids(folder: Path) -> Iterator[int]:
    """Measurements that go on, by process id."""
    for order in _orders(folder):
        identity = order.identity
        if identity is not None and process.is_alive(identity):
            yield identity.pid


def _order(folder: Path, what: str, key: str) -> _Order:
    return _Order(folder, f"{what}-{key[:32]}")


def _orders(folder: Path) -> list[_Order]:
    return [_Order(folder, path.stem) for path in folder.glob("*.request")]


def _begin(order: _Order, request: Request, python: str, script: Path) -> None:
    """Starts the process, after whatever else goes on in the project was ended and old answers were removed."""
    measuring.check(python)
    order.folder.mkdir(mode=0o700, exist_ok=True)
    for other in _orders(order.folder):
        other.end()
        if other.age > KEPT or other == order or not other.path("answer").exists():
            other.remove()
    rundir.replace(order.path("request"), codec.dumps(request).encode("utf-8", "surrogateescape"))
    argv = measuring.command(python, script, order.path("request"), order.path("answer"))
    pid = spawn(
        argv, cwd=Path(request.project_dir), env=measuring.environment(LONGEST), stderr=order.path("log"),
        status=order.path("status"), what="the measurement",
    )  # fmt: skip
    rundir.replace(order.path("process"), codec.dumps(process.identify(pid)).encode())


def _wait(order: _Order, request: Request, python: str, deadline: float) -> Answer:
    while True:
        alive = order.alive  # before the answer: what a dead process wrote is complete by then
        text = measuring.read(order.path("answer"))
        if text is not None or not alive:
            return _answer(order, request, python, text)
        if time.monotonic() >= deadline:
            raise _not_yet(order, request)
        cap(order.path("log"))
        time.sleep(LOOK_SECONDS)


def _answer(order: _Order, request: Request, python: str, text: bytes | None) -> Answer:
    ended = Ended(_code(order.path("status")), _tail(order.path("log")), order.age)
    order.end()  # what it left running
    order.sweep()
    try:
        return measuring.outcome(
            request, python, text, replace(ended, code=ended.code or 0) if text else ended, LONGEST
        )
    except Exception:
        order.remove()
        raise


def _code(path: Path) -> int | None:
    """The exit code; None for one that ended at its own deadline. Without a code all of it was killed."""
    try:
        code = int(rundir.read(path))
    except (OSError, FormatError, ValueError):
        return -signal.SIGKILL
    return None if code == -signal.SIGALRM else code


def _not_yet(order: _Order, request: Request) -> NotYetError:
    said = clean(last_line(order.path("log")), 300)
    doing = f"\n{fence(said, 'last output')}" if said else ""
    stuck = ""
    measured = request.what not in measuring.DOING
    if measured and str(request.config.get("model_path", "")).endswith(".py"):
        stuck = (
            ' Importing the model file must not train, download or wait: put that below `if __name__ == "__main__":`.'
        )
    return NotYetError(
        f"Still {measuring.doing(request)}, since {duration(order.age)}; it goes on by itself.",
        f"Call this tool again with the same arguments: it waits for the answer, which is kept.{stuck}{doing}",
    )


def _tail(path: Path) -> str:
    try:
        return rundir.read(path, TAIL, tail=True).decode("utf-8", "replace")
    except (OSError, FormatError):
        return ""
